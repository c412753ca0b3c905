//! `num_tokens`: every token of prompts and completions that the engine or the loss has seen.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hint_grpo::{Demonstration, Hints, Parts, Rewards, RunDir, SupervisedTrainer, Trainer};
use hint_policy::SharedPolicy;
use hint_rollout::{DatasetHints, LocalEngine, RolloutEngine};
use hint_tests::{
    Digits, STOP, Sampled, config, lenient_rubric, metric_lines, problems, tiny_policy,
};

/// The metric after the last step.
fn num_tokens(dir: &Path) -> u64 {
    let lines = metric_lines(dir);
    let tokens = lines.last().expect("a step")["num_tokens"].as_f64().expect("a number");
    assert_eq!(tokens.fract(), 0.0);
    format!("{tokens:.0}").parse().expect("a count")
}

#[test]
fn prompts_count_once_for_each_completion_plain_and_hinted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = config(5);
    let policy = SharedPolicy::new(tiny_policy(7));
    let seen = Arc::new(AtomicU64::new(0));
    let inner = LocalEngine::new(policy.clone(), vec![STOP]);
    let counted = Arc::clone(&seen);
    // The prompt counts once for each of its completions, as TRL does.
    let engine = Sampled::new(inner, move |inner, requests| {
        let sampled = inner.generate(requests)?;
        for (request, completions) in requests.iter().zip(&sampled) {
            for completion in completions {
                let tokens = request.prompt.len() + completion.tokens.len();
                counted.fetch_add(tokens as u64, Ordering::Relaxed);
            }
        }
        Ok(sampled)
    });
    let parts = Parts {
        policy,
        format: Digits,
        rewards: Rewards::own(lenient_rubric()),
        engine,
        hints: Hints::own(DatasetHints::new()),
    };
    let run_dir = RunDir::create(dir.path(), &config).expect("an empty folder");
    let mut trainer = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .run_dir(run_dir)
        .build()
        .expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    let seen = seen.load(Ordering::Relaxed);
    assert_eq!(trainer.num_tokens(), seen);
    assert_eq!(num_tokens(dir.path()), seen);
}

#[test]
fn demonstrations_count_whole_in_every_pass() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(3);
    (config.run.prompts_per_step, config.run.num_iterations) = (2, 2);
    config.run.num_minibatches = 2;
    let demonstrations = (0..4)
        .map(|id| Demonstration::new(id.to_string(), vec![4, 5, 6], vec![7, STOP]))
        .collect::<Vec<_>>();
    let run_dir = RunDir::create(dir.path(), &config).expect("an empty folder");
    SupervisedTrainer::builder(SharedPolicy::new(tiny_policy(7)), config)
        .run_dir(run_dir)
        .build()
        .expect("the configuration is valid")
        .run(&demonstrations)
        .expect("the run works");
    // Five tokens each, two demonstrations a step, two passes, three steps.
    assert_eq!(num_tokens(dir.path()), 5 * 2 * 2 * 3);
}
