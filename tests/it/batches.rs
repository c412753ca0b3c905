//! What the collector does about groups that teach little, through a real model and trainer.

use std::path::Path;
use std::sync::{Arc, Mutex};

use hint_grpo::objective::OldLogprobs;
use hint_grpo::{GrpoConfig, Metrics, Observer, Outcome, RunDir, StepReport, Trainer, Warning};
use hint_policy::SharedPolicy;
use hint_rollout::collect::curriculum::{
    DynamicSampling, ProblemSelection, Replay, SignalCriterion,
};
use hint_tests::{
    StopAfter, bytes, config, lenient_rubric, parts, problems, tiny_policy, trainer, weights,
};
use serde_json::Value;

const STEPS: u64 = 8;

/// Everything on at once, with hints.
fn everything() -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.checkpoint_every = 3;
    config.run.rollout_table = true;
    config.rollout.mask_truncated = true;
    config.rollout.selection = ProblemSelection::Curriculum { floor: 0.2 };
    let criterion = SignalCriterion::UnionVerdicts;
    config.rollout.dynamic_sampling = DynamicSampling::UntilSignal { max_rounds: 2, criterion };
    config.rollout.replay = Replay::Recent { capacity: 6, max_age: 4, criterion };
    config.loss.old_logprobs = OldLogprobs::Engine;
    config
}

fn finish(dir: &Path, config: &GrpoConfig) -> Vec<f32> {
    let run_dir = RunDir::resume_or_create(dir, config);
    let (mut trainer, policy) = trainer(config, true, Some(run_dir.expect("a usable folder")));
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
    weights(&policy)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = String::from_utf8(bytes(file)).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_run_with_everything_on_resumes_to_the_same_bytes() {
    let whole = tempfile::tempdir().expect("a temporary folder");
    let expected = finish(whole.path(), &everything());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = everything();
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    let run_dir = RunDir::create(dir.path(), &config).expect("an empty folder");
    let mut trainer = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .run_dir(run_dir)
        .observer(StopAfter(4))
        .build()
        .expect("the configuration is valid");
    assert!(matches!(trainer.run(&problems()), Ok(Outcome::Stopped { step: 4, .. })));
    // What an interrupted step may have written is cut off again.
    let table = dir.path().join("rollouts.jsonl");
    let mut longer = bytes(&table);
    longer.extend(b"{\"step\": 5");
    std::fs::write(&table, longer).expect("the folder is writable");
    assert!(finish(dir.path(), &everything()) == expected);
    for file in ["metrics.jsonl", "rollouts.jsonl"] {
        assert!(bytes(&dir.path().join(file)) == bytes(&whole.path().join(file)), "{file}");
    }
    let metrics = lines(&whole.path().join("metrics.jsonl"));
    let seen = |name: &str| metrics.iter().any(|line| line[name].as_f64() > Some(0.0));
    for name in ["rollout/rounds", "rollout/no_signal_frac", "rollout/replayed_groups"] {
        assert!(seen(name), "{name} never occurred, so nothing was tested");
    }
}

#[test]
fn replay_needs_to_know_the_policy_that_drew_a_group() {
    let mut config = everything();
    config.loss.old_logprobs = OldLogprobs::Recomputed;
    let error = config.validate().expect_err("the ratio would be 1 whatever the age").to_string();
    assert!(error.contains("loss.old_logprobs: must be \"engine\" with rollout.replay"), "{error}");
}

/// Collects the metrics of every step.
struct Keep(Arc<Mutex<Vec<Metrics>>>);

impl Observer for Keep {
    fn on_step(&mut self, report: &StepReport) -> std::ops::ControlFlow<()> {
        self.0.lock().expect("no test panics here").push(report.metrics.clone());
        std::ops::ControlFlow::Continue(())
    }
}

#[test]
fn replayed_groups_do_not_count_as_a_difference_of_the_engine() {
    let mut config = everything();
    config.run.checkpoint_every = 0;
    // So that a step moves log-probabilities by far more than rounding does.
    config.optimizer.learning_rate = 1e-2;
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut trainer = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .observer(Keep(Arc::clone(&kept)))
        .build()
        .expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    let steps = kept.lock().expect("no test panics here");
    let replayed = |step: &&Metrics| step.get("rollout/replayed_groups") > Some(0.0);
    let differences = steps.iter().filter(replayed);
    let differences = differences
        .filter_map(|step| step.get("sampling/sampling_logp_difference/max"))
        .collect::<Vec<_>>();
    assert!(!differences.is_empty(), "no step trained on both fresh and replayed groups");
    // The engine shares the weights; what is left is f32 in another order, below 1e-5.
    assert!(differences.iter().all(|difference| *difference < 1e-3), "{differences:?}");
}

/// Counts what the warnings and the metrics say is missing.
struct Missing(Arc<Mutex<[f64; 2]>>);

impl Observer for Missing {
    fn on_step(&mut self, report: &StepReport) -> std::ops::ControlFlow<()> {
        let mut sums = self.0.lock().expect("no test panics here");
        for warning in &report.warnings {
            if let Warning::MissingGroups { missing, wanted, rounds, .. } = warning {
                assert_eq!((*wanted, *rounds), (4, 1));
                sums[0] += *missing as f64;
            }
        }
        sums[1] += report.metrics.get("rollout/missing_groups").unwrap_or(0.0);
        std::ops::ControlFlow::Continue(())
    }
}

#[test]
fn a_step_that_lacks_groups_goes_on_and_warns() {
    let mut config = config(3);
    let criterion = SignalCriterion::Verdicts;
    config.rollout.dynamic_sampling = DynamicSampling::UntilSignal { max_rounds: 1, criterion };
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), false);
    let sums = Arc::new(Mutex::new([0.0; 2]));
    let mut trainer = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .observer(Missing(Arc::clone(&sums)))
        .build()
        .expect("the configuration is valid");
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
    let [warned, measured] = *sums.lock().expect("no test panics here");
    assert!(warned > 0.0 && warned == measured, "{warned} {measured}");
}

#[test]
fn the_rollout_table_agrees_with_the_metrics() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(STEPS);
    // With this seed hints rescue some groups.
    config.run.seed = 3;
    config.run.rollout_table = true;
    finish(dir.path(), &config);
    let metrics = lines(&dir.path().join("metrics.jsonl"));
    let table = lines(&dir.path().join("rollouts.jsonl"));
    let number = |value: &Value| value.as_f64().expect("a number");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let mut hinted_groups = 0;
    for (metrics, step) in metrics.iter().zip(1..) {
        let groups = table.iter().filter(|line| line["step"] == step).collect::<Vec<_>>();
        assert_eq!(groups.len(), 4);
        let rewards = groups.iter().flat_map(|line| list(&line["rewards"])).collect::<Vec<_>>();
        let mean = rewards.iter().map(number).sum::<f64>() / rewards.len() as f64;
        assert!((mean - number(&metrics["reward"])).abs() < 1e-12);
        for line in groups {
            let advantages = list(&line["advantages"]);
            assert!(advantages.iter().map(number).sum::<f64>().abs() < 1e-9);
            let varied = advantages.iter().any(|advantage| number(advantage) != 0.0);
            assert_eq!(line["affinity"].is_null(), !varied, "only what trains is measured: {line}");
            if varied {
                // On-policy: the ratio is 1.
                assert!((number(&line["affinity"]["value"]) - 1.0).abs() < 1e-9);
            }
            let verdicts = line["verdicts"].as_object().expect("counts").values();
            assert_eq!(verdicts.map(number).sum::<f64>(), 4.0);
            if line["sources"][0] == "hinted" {
                hinted_groups += 1;
                assert_eq!(list(&line["replaced_rewards"]).len(), 4);
                assert!(number(&line["hinted_weight"]) > 0.0 && number(&line["hint_share"]) == 1.0);
                assert!(number(&line["behavior_affinity"]["value"]) < 1.0);
            } else {
                assert!(line["hinted_weight"].is_null() && line["hint_share"].is_null());
            }
        }
    }
    assert!(hinted_groups > 0);
}

#[test]
fn masked_completions_have_no_gradient_and_are_not_counted() {
    // Of four tokens nearly every completion is cut off; the stop token ends the others.
    let trained = |mask_truncated: bool| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(STEPS);
        config.run.rollout_table = true;
        config.rollout.mask_truncated = mask_truncated;
        config.rollout.sampling.max_completion_len = 4;
        let weights = finish(dir.path(), &config);
        (weights, lines(&dir.path().join("rollouts.jsonl")))
    };
    let (off, on) = (trained(false), trained(true));
    let masked = |table: &[Value]| {
        let flags = table.iter().flat_map(|line| line["masked"].as_array().cloned().unwrap());
        flags.filter(|flag| *flag == true).count()
    };
    assert_eq!(masked(&off.1), 0);
    assert!(masked(&on.1) > 0);
    let all_masked = |line: &&Value| {
        line["masked"].as_array().is_some_and(|flags| flags.iter().all(|flag| *flag == true))
    };
    let varied = |line: &Value| {
        let advantages = line["advantages"].as_array().expect("a list");
        advantages.iter().any(|advantage| advantage.as_f64() != Some(0.0))
    };
    let silent = on.1.iter().filter(all_masked).filter(|line| varied(line)).collect::<Vec<_>>();
    assert!(!silent.is_empty(), "a group with advantages is cut off as a whole");
    assert!(silent.iter().all(|line| line["affinity"].is_null()), "none of its tokens trains");
    // Sampled from the same weights, so the same rewards and advantages.
    assert_eq!(off.1[0]["advantages"], on.1[0]["advantages"]);
    assert!(off.0 != on.0, "the loss is another one");
}
