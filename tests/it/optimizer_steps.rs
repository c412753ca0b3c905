//! From a rollout batch to optimizer steps: minibatches, the old policy, the age of weights.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};

use hint_grpo::config::StaleGroups;
use hint_grpo::objective::OldLogprobs;
use hint_grpo::optim::{AlgorithmConfig, SgdConfig};
use hint_grpo::{
    GrpoConfig, GrpoError, Hints, Metrics, Observer, Parts, Rewards, StepReport, Trainer, Warning,
    loss_from_fn, metrics,
};
use hint_policy::SharedPolicy;
use hint_rollout::{
    Completion, GenerationRequest, LocalEngine, PolicyVersion, RolloutEngine, RolloutError,
    WeightSource,
};
use hint_tests::{Digits, STOP, config, lenient_rubric, parts, problems, tiny_policy, weights};

/// Keeps the report of each step.
struct Keep(Sender<(Metrics, Vec<Warning>)>);

impl Observer for Keep {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = self.0.send((report.metrics.clone(), report.warnings.clone()));
        ControlFlow::Continue(())
    }
}

/// An engine whose completions of odd seeds carry the version before the last synchronization, and
/// log-probabilities that are `shift` too small.
struct Odd {
    inner: LocalEngine,
    last: u64,
    before: u64,
    shift: f64,
}

impl RolloutEngine for Odd {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let mut completions = self.inner.generate(requests)?;
        for (request, completions) in requests.iter().zip(&mut completions) {
            for completion in completions {
                let version = if request.seed % 2 == 1 { self.before } else { self.last };
                completion.version = PolicyVersion(version);
                for logprob in &mut completion.behavior_logprobs {
                    *logprob -= self.shift;
                }
            }
        }
        Ok(completions)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        (self.before, self.last) = (self.last, weights.version().0);
        self.inner.sync(weights)
    }
}

type Reports = Receiver<(Metrics, Vec<Warning>)>;

fn build(config: &GrpoConfig, shift: f64) -> (Trainer, SharedPolicy, Reports) {
    let policy = SharedPolicy::new(tiny_policy(7));
    let inner = LocalEngine::new(policy.clone(), vec![STOP]);
    let engine = Odd { inner, last: 0, before: 0, shift };
    let parts = Parts {
        policy: policy.clone(),
        format: Digits,
        rewards: Rewards::own(lenient_rubric()),
        engine,
        hints: Hints::none(),
    };
    let (sender, reports) = channel();
    let trainer = Trainer::from_config(config.clone(), parts)
        .expect("the configuration is valid")
        .observer(Keep(sender))
        .build()
        .expect("the configuration is valid");
    (trainer, policy, reports)
}

fn steps(config: &GrpoConfig, shift: f64) -> Vec<(Metrics, Vec<Warning>)> {
    let (mut trainer, _, reports) = build(config, shift);
    trainer.run(&problems()).expect("the run works");
    drop(trainer);
    reports.iter().collect()
}

#[test]
fn groups_sampled_with_weights_beyond_the_bound_are_dropped_counted_and_named() {
    let mut config = config(4);
    config.run.prompts_per_step = 8;
    config.run.num_iterations = 2;
    let unbounded = steps(&config, 0.0);
    let value = |metrics: &Metrics, name| metrics.get(name).unwrap_or(f64::NAN);
    // Both versions are those before the first step there.
    assert_eq!(value(&unbounded[0].0, metrics::SAMPLING_STALENESS_MAX), 0.0);
    assert_eq!(value(&unbounded[1].0, metrics::SAMPLING_STALENESS_MAX), 2.0);
    let mean = value(&unbounded[1].0, metrics::SAMPLING_STALENESS);
    assert!(0.0 < mean && mean < 2.0, "{mean}");
    assert_eq!(unbounded[1].0.get(metrics::ROLLOUT_STALE_FRAC), None);
    assert_eq!(value(&unbounded[3].0, metrics::NUM_UPDATES), 8.0);

    config.run.max_staleness = Some(1);
    let bounded = steps(&config, 0.0);
    let dropped = value(&bounded[1].0, metrics::ROLLOUT_STALE_FRAC);
    assert!((dropped - mean / 2.0).abs() < 1e-12, "{dropped}: all groups are of one size");
    let groups = unbounded[1].0.get(metrics::FRAC_REWARD_ZERO_STD);
    assert_ne!(bounded[1].0.get(metrics::FRAC_REWARD_ZERO_STD), groups, "fewer groups train");
    let [Warning::StaleGroups { staleness: 2, max_staleness: 1, .. }] = bounded[1].1[..] else {
        panic!("{:?}", bounded[1].1)
    };

    config.run.stale_groups = StaleGroups::Abort;
    let (mut trainer, _, _) = build(&config, 0.0);
    let error = trainer.run(&problems()).expect_err("some groups are too old");
    assert!(matches!(error, GrpoError::Stale { staleness: 2, max_staleness: 1, .. }), "{error}");
    assert_eq!(trainer.step(), 1);
}

#[test]
fn the_engines_log_probabilities_are_the_denominator_if_configured() {
    let mut config = config(1);
    // So that every ratio is about 2, far above the clip range.
    let shift = 2.0_f64.ln();
    let clipped = |config: &GrpoConfig| {
        steps(config, shift)[0].0.get(metrics::CLIP_RATIO_HIGH).expect("something trains")
    };
    assert_eq!(clipped(&config), 0.0);
    config.run.num_iterations = 2;
    config.optimizer.learning_rate = 1e-9;
    assert_eq!(clipped(&config), 0.0, "recomputed before the first of two optimizer steps");
    config.loss.old_logprobs = OldLogprobs::Engine;
    let share = clipped(&config);
    assert!(0.2 < share && share < 0.9, "{share}: the tokens of positive advantage");
}

/// A loss whose value is the squared advantage, for every policy.
fn squared_advantage(config: &GrpoConfig) -> Metrics {
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), false);
    let (sender, reports) = channel();
    let mut trainer = Trainer::from_config(config.clone(), parts)
        .expect("the configuration is valid")
        .objective(loss_from_fn("square", |log_ratio, advantages| {
            log_ratio * 0.0 + advantages.square()
        }))
        .observer(Keep(sender))
        .build()
        .expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    reports.try_recv().expect("one step").0
}

#[test]
fn the_denominators_of_a_mini_batch_count_its_own_groups() {
    let mut config = config(1);
    config.run.prompts_per_step = 8;
    let whole = squared_advantage(&config);
    config.run.num_minibatches = 4;
    let parts = squared_advantage(&config);
    let loss = |metrics: &Metrics| metrics.get(metrics::LOSS).expect("a loss");
    // Four parts of two groups each: their means average to the mean of the whole.
    assert!((loss(&whole) - loss(&parts)).abs() < 1e-6, "{} {}", loss(&whole), loss(&parts));
    assert!(loss(&whole) > 0.1);
    assert_eq!(parts.get(metrics::NUM_UPDATES), Some(4.0));
    assert_eq!(whole.get(metrics::NUM_UPDATES), Some(1.0));
}

#[test]
fn the_order_of_mini_batches_depends_on_the_seed_alone() {
    let run = |seed: u64| {
        let mut config = config(2);
        config.run.num_minibatches = 2;
        config.run.num_iterations = 2;
        config.run.seed = seed;
        let sgd = SgdConfig { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        config.optimizer.algorithm = AlgorithmConfig::Sgd(sgd);
        config.optimizer.learning_rate = 0.1;
        let (mut trainer, policy, _) = build(&config, 0.0);
        trainer.run(&problems()).expect("the run works");
        weights(&policy)
    };
    assert!(run(3) == run(3));
    assert!(run(3) != run(4));
}

#[test]
fn a_budget_below_every_row_trains_the_same_and_warns() {
    let mut config = config(1);
    config.run.max_tokens_per_micro_batch = 3;
    let reports = steps(&config, 0.0);
    let (metrics, warnings) = &reports[0];
    let rows = metrics.get(metrics::MICRO_BATCH_OVERSIZED).expect("counted");
    assert!(rows > 1.0);
    assert_eq!(metrics.get(metrics::MICRO_BATCHES), Some(rows));
    assert!(metrics.get(metrics::MICRO_BATCH_TOKENS) > Some(3.0));
    assert!(matches!(warnings[..], [Warning::OversizedRows { budget: 3, .. }]), "{warnings:?}");
    config.run.max_tokens_per_micro_batch = 64;
    let reports = steps(&config, 0.0);
    assert!(reports[0].0.get(metrics::MICRO_BATCH_TOKENS) <= Some(64.0));
    assert!(reports[0].1.is_empty());
}
