//! Rewards, verdicts and losses that are not numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use hint_grpo::objective::{LossInput, Reinforce, TokenLoss};
use hint_grpo::{
    Demonstration, GrpoError, Metrics, PolicyLoss, RunDir, SupervisedTrainer, Trainer, metrics,
};
use hint_policy::SharedPolicy;
use hint_reward::{Judgment, Rubric, Verdict, verifier_from_fn};
use hint_rollout::RolloutError;
use hint_rollout::sample::VerdictAction;
use hint_tests::{Digits, lenient_rubric, parts, problems, tiny_policy, weights};

use super::{Faulty, Keep, fail_and_resume, run_config, trainer};

/// The rubric of the task, with a part that is worth `value` from its 60th completion on and nothing
/// before.
fn with_part(value: f64) -> Rubric {
    let scored = AtomicU64::new(0);
    let part = hint_reward::from_fn("part", move |_| {
        if scored.fetch_add(1, Ordering::Relaxed) < 60 { 0.0 } else { value }
    });
    lenient_rubric().with(1.0, part)
}

#[test]
fn a_reward_that_is_not_finite_can_stop_the_run_and_names_the_problem() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = run_config();
        config.rollout.verdicts.error = VerdictAction::Abort;
        let run_dir = RunDir::create(dir.path(), &config).expect("a new folder");
        let parts = |engine| Faulty { engine, format: Digits, rubric: with_part(value) };
        let (mut trainer, _, metrics) = trainer(&config, Some(run_dir), parts);
        let error = trainer.run(&problems()).expect_err("not a number");
        assert!(matches!(error, GrpoError::Rollout(RolloutError::AbortVerdict { .. })), "{error}");
        assert!(error.to_string().contains("problem `"), "{error}");
        assert!(trainer.step() > 0, "steps before the fault are taken");
        assert_eq!(metrics.try_iter().count() as u64, trainer.step());
        drop(trainer);
        RunDir::resume(dir.path()).expect("the run can be taken up");
    }
}

#[test]
fn a_verifier_that_fails_for_some_completions_is_counted_and_for_many_stops_the_run() {
    // Named as the verifier that the run continues with.
    let failing = || {
        Rubric::new(verifier_from_fn("lenient", |input| {
            let verdict = match input.completion.len() {
                0..=3 => Verdict::Error,
                len if len % 2 == 0 => Verdict::Correct,
                _ => Verdict::Incorrect,
            };
            Judgment::new(verdict)
        }))
    };
    let error = fail_and_resume(|engine| Faulty { engine, format: Digits, rubric: failing() });
    assert!(matches!(error, GrpoError::Rollout(RolloutError::TooManyFailures { .. })), "{error}");

    let mut config = run_config();
    config.rollout.verdicts.max_dropped_frac = 1.0;
    let (mut trainer, _, measured) =
        trainer(&config, None, |engine| Faulty { engine, format: Digits, rubric: failing() });
    trainer.run(&problems()).expect("failures are allowed");
    let mut dropped = 0.0;
    for step in measured.try_iter() {
        let share = step.get(metrics::ROLLOUT_DROPPED_FRAC).expect("counted in every step");
        assert_eq!(share, step.get("verdict/error").unwrap_or(0.0));
        assert!(step.iter().all(|(_, value)| value.is_finite()), "{step:?}");
        dropped += share;
    }
    assert!(dropped > 0.0);
}

#[test]
fn a_step_whose_completions_are_all_dropped_takes_no_optimizer_step() {
    let mut config = run_config();
    config.rollout.verdicts.max_dropped_frac = 1.0;
    let (mut trainer, policy, measured) = trainer(&config, None, |engine| {
        let rubric = Rubric::new(verifier_from_fn("failing", |_| Judgment::new(Verdict::Error)));
        Faulty { engine, format: Digits, rubric }
    });
    let before = weights(&policy);
    trainer.run(&problems()).expect("failures are allowed");
    assert!(weights(&policy) == before);
    for step in measured.try_iter() {
        assert_eq!(step.get(metrics::ROLLOUT_DROPPED_FRAC), Some(1.0));
        assert_eq!(step.get(metrics::NUM_UPDATES), Some(0.0));
        assert_eq!(step.get(metrics::REWARD), None);
    }
}

/// REINFORCE whose loss is infinite on two calls of every three.
struct Infinite {
    calls: AtomicU64,
}

impl PolicyLoss for Infinite {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let mut loss = Reinforce.token_loss(input)?;
        if !self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            loss.values *= f64::INFINITY;
        }
        Ok(loss)
    }
}

#[test]
fn a_loss_that_is_not_finite_is_skipped_and_counted() {
    let config = run_config();
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), false);
    let (sender, measured) = std::sync::mpsc::channel();
    let mut trainer = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .objective(Infinite { calls: AtomicU64::new(0) })
        .observer(Keep(sender))
        .build()
        .expect("the configuration is valid");
    trainer.run(&problems()).expect("two skipped steps in a row are allowed");
    let last = measured.try_iter().last().expect("six steps");
    // Twelve optimizer steps of one micro-batch each.
    assert_eq!(last.get(metrics::SKIPPED_UPDATES), Some(8.0));
    assert_eq!(last.get(metrics::NUM_UPDATES), Some(4.0));
    assert!(weights(&policy).iter().all(|weight| weight.is_finite()));
}

#[test]
fn the_supervised_stage_skips_and_counts_outliers_and_stops_after_too_many() {
    let demonstration = |index: u32, weight: f64| {
        let prompt = vec![4 + index % 10, 2];
        Demonstration::new(index.to_string(), prompt, vec![5, 6, 1]).with_weight(weight)
    };
    // Of 64 demonstrations one has a weight that would ruin the run.
    let mut demonstrations = (0..64).map(|index| demonstration(index, 1.0)).collect::<Vec<_>>();
    demonstrations[50] = demonstration(50, 1e6);
    let mut config = run_config();
    config.run.steps = 32;
    config.run.num_iterations = 1;
    config.optimizer.guard.outlier_factor = Some(50.0);
    config.optimizer.guard.window = 4;
    let run = |demonstrations: &[Demonstration]| -> (Result<(), GrpoError>, Vec<Metrics>) {
        let policy = SharedPolicy::new(tiny_policy(7));
        let (sender, measured) = std::sync::mpsc::channel();
        let mut trainer = SupervisedTrainer::builder(policy, config.clone())
            .observer(Keep(sender))
            .build()
            .expect("the configuration is valid");
        let result = trainer.run(demonstrations).map(|_| ());
        (result, measured.try_iter().collect())
    };
    let (result, measured) = run(&demonstrations);
    result.expect("an outlier now and then is allowed");
    let last = measured.last().expect("steps");
    // Two epochs of sixteen steps: the outlier comes by twice.
    assert_eq!(last.get(metrics::SKIPPED_UPDATES), Some(2.0));
    assert_eq!(last.get(metrics::NUM_UPDATES), Some(30.0));
    assert!(last.get(metrics::NLL) < measured[0].get(metrics::NLL), "it learns all the same");

    demonstrations[50] = demonstration(50, 1.0);
    for demonstration in &mut demonstrations {
        demonstration.weight = f64::INFINITY;
    }
    let (result, measured) = run(&demonstrations);
    let error = result.expect_err("nothing but infinite losses");
    assert!(matches!(error, GrpoError::NotFinite { what: "the loss", step: 5, .. }), "{error}");
    assert_eq!(measured.len(), 4);
}
