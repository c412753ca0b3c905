//! Parts of your own, by which a run is recorded and others are refused.

use std::fmt::Debug;
use std::path::Path;

use hint_grpo::advantage::LeaveOneOut;
use hint_grpo::objective::{ClippedSurrogate, LossInput, Reinforce, TokenLoss};
use hint_grpo::optim::{AdamW, AdamWConfig};
use hint_grpo::stage::PolicyGradient;
use hint_grpo::{
    Demonstration, GrpoConfig, GrpoError, Hints, Parts, PolicyLoss, Rewards, RunBuilder, RunDir,
    SupervisedTrainer, Trainer,
};
use hint_policy::SharedPolicy;
use hint_reward::reward::Brevity;
use hint_reward::verifier::{Equality, MathVerifier, VerifierConfig};
use hint_reward::{Judgment, Rubric, Verdict, verifier_from_fn};
use hint_rollout::hint::leak::LeakDetector;
use hint_rollout::hint::source::MaskedSolution;
use hint_rollout::{
    Collector, CollectorConfig, Completion, GenerationRequest, LocalEngine, RolloutEngine,
    RolloutError, WeightSource,
};
use hint_tests::{Digits, STOP, bytes, config, lenient_rubric, parts, problems, tiny_policy};

fn run_config() -> GrpoConfig {
    let mut config = config(8);
    config.run.checkpoint_every = 3;
    config
}

type Builder = RunBuilder<PolicyGradient>;

/// Starts or resumes a run with the parts of `bring`, to step `steps`.
fn run_with(
    dir: &Path,
    steps: u64,
    (rubric, hints): (Rubric, Hints),
    bring: impl FnOnce(Builder, &SharedPolicy) -> Builder,
) -> Result<(), GrpoError> {
    let mut config = run_config();
    config.run.steps = steps;
    let policy = SharedPolicy::new(tiny_policy(7));
    let run_dir = RunDir::resume_or_create(dir, &config)?;
    let parts = Parts { hints, ..parts(&policy, rubric, true) };
    let builder = Trainer::from_config(config, parts)?.run_dir(run_dir);
    bring(builder, &policy).build()?.run(&problems())?;
    Ok(())
}

fn usual() -> (Rubric, Hints) {
    (lenient_rubric(), Hints::configured())
}

/// Starts or resumes a run with an objective of its own, to step `steps`.
fn with_objective<L: PolicyLoss + 'static>(
    dir: &Path,
    steps: u64,
    objective: L,
) -> Result<(), GrpoError> {
    run_with(dir, steps, usual(), |builder, _| builder.objective(objective))
}

/// An objective with a name of its own.
struct Named(&'static str);

impl PolicyLoss for Named {
    fn name(&self) -> String {
        self.0.to_owned()
    }

    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        Reinforce.token_loss(input)
    }
}

#[test]
fn parts_of_ones_own_are_recorded_and_others_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    with_objective(dir.path(), 2, Named("first")).expect("the run works");
    let text = String::from_utf8(bytes(&dir.path().join("config.toml"))).expect("text");
    assert!(text.contains("\nobjective = \"first\"\n"), "{text}");

    let error = with_objective(dir.path(), 4, Named("second")).expect_err("another objective");
    let GrpoError::Mismatch { differences, .. } = &error else { panic!("unexpected {error}") };
    assert_eq!(*differences, ["custom_parts.objective: \"first\" there, \"second\" here"]);
    // The configured objective is another one, too.
    let run_dir = RunDir::resume(dir.path()).expect("a finished run");
    let policy = SharedPolicy::new(tiny_policy(7));
    let error = Trainer::from_config(run_config(), parts(&policy, lenient_rubric(), true))
        .expect("the configuration is valid")
        .run_dir(run_dir)
        .build()
        .expect_err("no objective of its own");
    let expected = "custom_parts.objective: \"first\" there, the configured clipped_surrogate here";
    assert!(error.to_string().contains(expected), "{error}");
    // A program that reads the configuration back must bring what it names.
    let config = GrpoConfig::from_toml(&text).expect("the run's own configuration");
    let error = Trainer::from_config(config, parts(&policy, lenient_rubric(), true))
        .expect("the configuration is valid")
        .build()
        .expect_err("no objective of its own");
    assert!(error.to_string().contains("must be `first`, found `clipped_surrogate`"), "{error}");

    with_objective(dir.path(), 4, Named("first")).expect("the same objective");
}

#[test]
fn closures_and_verifiers_of_one_type_are_told_apart_by_name() {
    let loss = |name: &str| {
        hint_grpo::loss_from_fn(name, |log_ratio, advantages| -(log_ratio.exp() * advantages))
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    with_objective(dir.path(), 2, loss("first")).expect("the run works");
    let error = with_objective(dir.path(), 4, loss("second")).expect_err("another closure");
    assert!(error.to_string().contains("objective: \"first\" there, \"second\" here"), "{error}");

    let verifier = |name: &str| verifier_from_fn(name, |_| Judgment::new(Verdict::Correct));
    let judged = |name: &str, weight, steps| {
        let rubric = Rubric::new(verifier(name)).with_verifier_weight(weight);
        let hints = Hints::configured();
        run_with(&dir.path().join("judged"), steps, (rubric, hints), |builder, _| builder)
    };
    judged("lenient", 1.0, 2).expect("the run works");
    let error = judged("strict", 1.0, 4).expect_err("another verifier").to_string();
    assert!(error.contains("rubric: \"own 1 lenient\" there, \"own 1 strict\" here"), "{error}");
    let error = judged("lenient", 0.5, 4).expect_err("another weight").to_string();
    assert!(error.contains("rubric: \"own 1 lenient\" there, \"own 0.5 lenient\" here"), "{error}");
}

#[test]
fn another_source_of_hints_advantage_or_optimizer_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    run_with(dir.path(), 3, usual(), |builder, _| builder).expect("the run works");
    let build = |hints: Hints, change: fn(Builder, &SharedPolicy) -> Builder| {
        let policy = SharedPolicy::new(tiny_policy(7));
        let parts = Parts { hints, ..parts(&policy, lenient_rubric(), true) };
        let builder = Trainer::from_config(run_config(), parts)
            .expect("the configuration is valid")
            .run_dir(RunDir::resume(dir.path()).expect("a finished run"));
        change(builder, &policy).build().map(|_| ()).expect_err("another part").to_string()
    };
    let hints = hint_rollout::hints_from_fn("nine", |_| Some(hint_rollout::Hint::new("9")));
    let error = build(Hints::own(hints), |builder, _| builder);
    assert!(
        error.contains("custom_parts.source: the configured dataset there, \"nine\" here"),
        "{error}"
    );
    let error = build(Hints::configured(), |builder, policy| {
        let parameters = policy.lock().parameters();
        builder.optimizer(AdamW::new(parameters, AdamWConfig::default()))
    });
    assert!(error.contains("custom_parts.optimizer: the configured adamw there,"), "{error}");
    assert!(error.contains("AdamW"), "{error}");
    let error = build(Hints::configured(), |builder, _| builder.advantage(LeaveOneOut));
    assert!(
        error.contains("custom_parts.advantage: the configured group_normalized there,"),
        "{error}"
    );
    assert!(error.contains("LeaveOneOut"), "{error}");
}

/// The local engine under a name, and perhaps with rules of its own.
struct NamedEngine(LocalEngine, Option<&'static str>);

impl RolloutEngine for NamedEngine {
    fn name(&self) -> Option<String> {
        self.1.map(str::to_owned)
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        self.0.generate(requests)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.0.sync(weights)
    }
}

#[test]
fn another_engine_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let run = |steps, name| {
        let mut config = run_config();
        config.run.steps = steps;
        let policy = SharedPolicy::new(tiny_policy(7));
        let engine = NamedEngine(LocalEngine::new(policy.clone(), vec![STOP]), name);
        let Parts { policy, format, rewards, hints, .. } = parts(&policy, lenient_rubric(), true);
        let parts = Parts { policy, engine, format, rewards, hints };
        let run_dir = RunDir::resume_or_create(dir.path(), &config)?;
        Trainer::from_config(config, parts)?.run_dir(run_dir).build()?.run(&problems())
    };
    run(1, Some("beams of 4")).expect("the run works");
    let error = run(2, Some("beams of 8")).expect_err("another engine").to_string();
    assert!(error.contains("engine: \"beams of 4\" there, \"beams of 8\" here"), "{error}");
    let error = run(2, None).expect_err("another engine").to_string();
    assert!(
        error.contains("engine: \"beams of 4\" there, the configured built-in one here"),
        "{error}"
    );
    run(2, Some("beams of 4")).expect("the same engine");
}

#[test]
fn another_level_or_verifier_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let configured = |config: GrpoConfig| {
        let policy = SharedPolicy::new(tiny_policy(7));
        let parts =
            Parts { rewards: Rewards::configured(), ..parts(&policy, lenient_rubric(), true) };
        let run_dir = RunDir::resume_or_create(dir.path(), &config).expect("a folder");
        let builder = Trainer::from_config(config, parts).expect("the configuration is valid");
        builder.run_dir(run_dir).build()
    };
    let mut config = run_config();
    config.run.steps = 1;
    configured(config.clone()).expect("it builds").run(&problems()).expect("the run works");
    let text = String::from_utf8(bytes(&dir.path().join("config.toml"))).expect("text");
    assert!(text.contains("[verifier]\nlevel = \"strict\""), "{text}");
    let metrics = String::from_utf8(bytes(&dir.path().join("metrics.jsonl"))).expect("text");
    assert!(metrics.contains("\"verifier/extracted_by/none\":1.0"), "{metrics}");

    config.verifier.level = hint_reward::Level::Lenient;
    let error = configured(config.clone()).expect_err("another level").to_string();
    assert!(error.contains("verifier.level: \"strict\" there, \"lenient\" here"), "{error}");
    config.verifier = VerifierConfig { equality: Equality::Set, ..VerifierConfig::default() };
    let error = configured(config).expect_err("another verifier").to_string();
    assert!(error.contains("verifier.equality.type: \"math\" there, \"set\" here"), "{error}");
}

/// A run with the first setting of a part is not resumed with the second.
#[track_caller]
fn differs<T: Copy + Debug>(
    axis: &str,
    settings: [T; 2],
    run: impl Fn(&Path, u64, T) -> Result<(), GrpoError>,
) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let [first, second] = settings;
    run(dir.path(), 1, first).expect("the run works");
    let error = run(dir.path(), 2, second).expect_err("another setting").to_string();
    let (there, here) = (format!("{first:?}"), format!("{second:?}"));
    let (before, after) = error.split_once(" there, ").unwrap_or_else(|| panic!("{error}"));
    assert!(before.contains(axis) && before.contains(&there) && after.contains(&here), "{error}");
    run(dir.path(), 2, first).expect("the same setting");
}

#[test]
fn built_in_parts_of_ones_own_are_told_apart_by_their_settings() {
    differs("objective", [0.2, 0.3], |dir, steps, clip| {
        let clipped = ClippedSurrogate::new(0.2, clip);
        run_with(dir, steps, usual(), |builder, _| builder.objective(clipped))
    });
    differs("optimizer", [0.25, 0.5], |dir, steps, weight_decay| {
        run_with(dir, steps, usual(), |builder, policy| {
            let config = AdamWConfig { weight_decay, ..AdamWConfig::default() };
            builder.optimizer(AdamW::new(policy.lock().parameters(), config))
        })
    });
    differs("rubric", [0.001, 0.002], |dir, steps, tolerance| {
        let verifier = MathVerifier::new().with_relative_tolerance(tolerance);
        let rubric = Rubric::new(verifier.expect("a tolerance"));
        run_with(dir, steps, (rubric, Hints::configured()), |builder, _| builder)
    });
    differs("rubric", [100, 200], |dir, steps, tokens| {
        let brevity = Brevity::new(tokens).expect("more than none");
        let rubric = lenient_rubric().with(0.1, brevity);
        run_with(dir, steps, (rubric, Hints::configured()), |builder, _| builder)
    });
    differs("source", [1.5, 2.5], |dir, steps, number| {
        let masked = MaskedSolution::new().with_placeholder(format!("{number:?}"));
        run_with(dir, steps, (lenient_rubric(), Hints::own(masked)), |builder, _| builder)
    });
}

#[test]
fn a_leak_detector_of_ones_own_is_recorded() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let verifier = VerifierConfig { equality: Equality::Exact, ..VerifierConfig::default() };
    let detector = LeakDetector::of(&verifier).expect("the verifier is valid");
    let bring = |collector: Collector| collector.with_leak_detector(detector);
    run_with(dir.path(), 2, usual(), |builder, _| builder.collector(bring)).expect("the run works");
    let error = run_with(dir.path(), 4, usual(), |builder, _| builder).expect_err("another one");
    assert!(error.to_string().contains("custom_parts.leak_detector: \"LeakDetector"), "{error}");
}

#[test]
fn a_collector_of_another_configuration_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let other = |collector: Collector| {
        let config = CollectorConfig { group_size: 5, ..collector.config().clone() };
        let engine = LocalEngine::new(SharedPolicy::new(tiny_policy(7)), vec![STOP]);
        Collector::new(engine, Digits, lenient_rubric(), config).expect("it is valid")
    };
    let run = run_with(dir.path(), 2, usual(), |builder, _| builder.collector(other));
    let error = run.expect_err("the run records a group size of 4").to_string();
    assert!(error.contains("rollout: must be the configuration of the collector"), "{error}");
}

#[test]
fn another_rubric_of_a_collector_of_ones_own_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let judged = |name: &'static str| {
        move |collector: Collector| {
            let verifier = verifier_from_fn(name, |_| Judgment::new(Verdict::Correct));
            let engine = LocalEngine::new(SharedPolicy::new(tiny_policy(7)), vec![STOP]);
            let config = collector.config().clone();
            Collector::new(engine, Digits, Rubric::new(verifier), config).expect("it is valid")
        }
    };
    let run = |steps, name| {
        let hints = Hints::none();
        run_with(dir.path(), steps, (lenient_rubric(), hints), |builder, _| {
            builder.collector(judged(name))
        })
    };
    run(1, "generous").expect("the run works");
    let error = run(2, "strict").expect_err("another judge").to_string();
    assert!(error.contains("rubric: \"own 1 generous\" there, \"own 1 strict\" here"), "{error}");
    run(2, "generous").expect("the same judge");
}

#[test]
fn another_engine_or_verifier_of_a_supervised_evaluator_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let run = |steps, engine, rubric| {
        let mut config = run_config();
        config.run.steps = steps;
        let policy = SharedPolicy::new(tiny_policy(7));
        let engine = NamedEngine(LocalEngine::new(policy.clone(), vec![STOP]), engine);
        let evaluator = Collector::new(engine, Digits, rubric, config.rollout.clone())?;
        let run_dir = RunDir::resume_or_create(dir.path(), &config)?;
        let mut trainer = SupervisedTrainer::builder(policy, config)
            .evaluator(evaluator)
            .run_dir(run_dir)
            .build()?;
        trainer.run(&[Demonstration::new("a", vec![3], vec![4, STOP])][..]).map(|_| ())
    };
    let configured = VerifierConfig::default().build().expect("a verifier").name();
    let usual = || Rubric::new(VerifierConfig::default().build().expect("a verifier"));
    run(1, Some("beams of 4"), usual()).expect("the run works");
    let error = run(2, Some("beams of 8"), usual()).expect_err("another engine").to_string();
    assert!(error.contains("engine: \"beams of 4\" there, \"beams of 8\" here"), "{error}");

    // Its name begins with that of the configured one.
    let longer = format!("{configured} of pairs");
    let own = verifier_from_fn(longer.clone(), |_| Judgment::new(Verdict::Correct));
    let error = run(2, Some("beams of 4"), Rubric::new(own)).expect_err("another verifier");
    assert!(error.to_string().contains(&format!("own 1 {longer}")), "{error}");
    run(2, Some("beams of 4"), usual()).expect("the same parts");
}
