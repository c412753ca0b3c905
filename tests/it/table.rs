//! The rollout table of real runs: hints that teach, the reference policy, and completions that could not be judged.

use std::path::Path;

use hint_grpo::objective::{
    CreditConfig, CreditForm, CreditTeacher, DivergenceKind, Support, Tail,
};
use hint_grpo::rollout_table::{RolloutRecord, RolloutRole, read_rollouts};
use hint_grpo::verdict::{Condition, History, RunVerdict, examples};
use hint_grpo::{GrpoConfig, Metrics, Observer, RunDir, Trainer};
use hint_policy::{CausalLm, Policy, ScoreOptions, SharedPolicy, TokenBatch, TokenRow};
use hint_reward::{Judgment, Rubric, Verdict, verifier_from_fn};
use hint_rollout::collect::hinted::{CombineRule, Contrast, HintTrigger, Taught};
use hint_tests::{
    bytes, config, device, lenient_rubric, metric_lines, parts, problems, tiny_policy,
};
use tch::Kind;

/// The policy of the KL term and of teachers.
const REFERENCE: u64 = 8;

/// Runs a step or more, and returns the records of the first.
fn first_step(dir: &Path, config: &GrpoConfig, rubric: Rubric) -> Vec<RolloutRecord> {
    let policy = SharedPolicy::new(tiny_policy(7));
    let mut builder = Trainer::from_config(config.clone(), parts(&policy, rubric, true))
        .expect("the configuration is valid")
        .run_dir(RunDir::create(dir, config).expect("an empty folder"));
    if config.loss.kl.coef > 0.0 {
        builder = builder.reference(SharedPolicy::new(tiny_policy(REFERENCE)));
    }
    let mut trainer = builder.build().expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    let files = RunDir::rollouts(dir).expect("a readable folder");
    read_rollouts(&files[0].1).expect("a whole file")
}

/// Log-probabilities of a completion's tokens.
fn logprobs(policy: &CausalLm, prompt: &[u32], completion: &[u32]) -> Vec<f64> {
    let batch = TokenBatch::new(&[TokenRow { prompt, completion }], device()).expect("one row");
    let scores = policy.score(&batch, &ScoreOptions::default()).expect("the row fits");
    let scores = scores.logprobs.detach().to_kind(Kind::Double).squeeze_dim(0);
    Vec::<f64>::try_from(scores).expect("a dense row")[prompt.len()..].to_vec()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let near = |(found, expected): (&f32, &f64)| (f64::from(*found) - expected).abs() < 1e-4;
    assert!(found.iter().zip(expected).all(near), "{found:?} {expected:?}");
}

fn teaching(form: CreditForm) -> GrpoConfig {
    let mut config = config(1);
    config.rollout.trigger = HintTrigger::Always;
    config.rollout.combine =
        CombineRule::Teach { completions: Taught::Wrong, contrast: Contrast::None, samples: false };
    config.loss.credit = CreditConfig { form, teacher: CreditTeacher::Live };
    config
}

#[test]
fn a_hint_that_teaches_is_beside_the_completions_that_it_teaches() {
    let divergence = CreditForm::Divergence {
        mix: 0.5,
        coef: 1.0,
        kind: DivergenceKind::ReverseKl,
        top_k: 5,
        support: Support::Student,
        tail: Tail::Bucket,
    };
    let form = CreditForm::Advantage { mix: 0.5, max: Some(5.0) };
    let policy = tiny_policy(7);
    for form in [form, divergence] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let records = first_step(dir.path(), &teaching(form), lenient_rubric());
        let mut taught = 0;
        for record in &records {
            let is_taught = !record.verdict.is_correct();
            let found = record.teacher_hint.as_deref();
            assert_eq!(found, is_taught.then_some("nine"), "{record:?}");
            let Some(teacher) = record.teacher_logprobs.as_deref() else { continue };
            let prompt = record.teacher_prompt.as_deref().expect("it teaches");
            assert_ne!(prompt, record.prompt);
            assert_close(teacher, &logprobs(&policy, prompt, &record.tokens));
            let compared = record.contrast_logprobs.as_ref().or(record.old_logprobs.as_ref());
            let compared = compared.expect("it was scored");
            assert_eq!(record.contrast_hint, None);
            assert_close(compared, &logprobs(&policy, &record.prompt, &record.tokens));
            taught += 1;
        }
        assert!(taught > 0 && records.len() > taught, "{taught} of {}", records.len());
    }
}

#[test]
fn the_reference_of_a_kl_term_is_in_the_table() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(1);
    config.loss.kl.coef = 0.1;
    let records = first_step(dir.path(), &config, lenient_rubric());
    let reference = tiny_policy(REFERENCE);
    let scored = records.iter().filter_map(|record| Some((record, record.ref_logprobs.as_ref()?)));
    let scored = scored.collect::<Vec<_>>();
    assert!(!scored.is_empty());
    for (record, found) in scored {
        assert_close(found, &logprobs(&reference, &record.prompt, &record.tokens));
    }
}

/// Adds the number of right completions to the metrics.
#[derive(Default)]
struct CountRight(f64);

impl Observer for CountRight {
    fn on_rollouts(&mut self, _step: u64, rollouts: &[RolloutRecord]) {
        self.0 = rollouts.iter().filter(|record| record.verdict.is_correct()).count() as f64;
    }

    fn add_metrics(&mut self, step: u64, metrics: &mut Metrics) {
        metrics.set("own/right", self.0);
        metrics.set("own/step", step as f64);
    }
}

#[test]
fn an_observer_adds_metrics_of_the_completions_that_it_saw() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = config(3);
    let policy = SharedPolicy::new(tiny_policy(7));
    let mut trainer = Trainer::from_config(config.clone(), parts(&policy, lenient_rubric(), true))
        .expect("the configuration is valid")
        .run_dir(RunDir::create(dir.path(), &config).expect("an empty folder"))
        .observer(Box::new(CountRight::default()) as Box<dyn Observer>)
        .build()
        .expect("the configuration is valid");
    trainer.run(&problems()).expect("the run works");
    let files = RunDir::rollouts(dir.path()).expect("a readable folder");
    for (line, (step, path)) in metric_lines(dir.path()).into_iter().zip(files) {
        let records = read_rollouts(&path).expect("a whole file");
        let right = records.iter().filter(|record| record.verdict.is_correct()).count();
        assert_eq!(line["own/right"].as_f64(), Some(right as f64));
        assert_eq!(line["own/step"].as_f64(), Some(step as f64));
    }
    let events = bytes(&dir.path().join("tensorboard/events.out.tfevents.0.hint-rl"));
    let name = b"own/right";
    assert_eq!(events.windows(name.len()).filter(|window| window == name).count(), 3);
}

#[test]
fn completions_that_could_not_be_judged_are_in_the_table_and_show_the_verdict() {
    // A verifier that fails on some completions of most problems, and on all of one.
    let rubric = || {
        Rubric::new(verifier_from_fn("flaky", |input| {
            let length = input.completion.len();
            let verdict = if input.prompt == "02" || length % 5 == 0 {
                Verdict::Error
            } else if length % 3 == 0 {
                Verdict::Correct
            } else {
                Verdict::Incorrect
            };
            Judgment::new(verdict).with_reason("no answer came")
        }))
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(4);
    config.rollout.verdicts.max_dropped_frac = 1.0;
    first_step(dir.path(), &config, rubric());
    let mut records = Vec::new();
    for (_, path) in RunDir::rollouts(dir.path()).expect("a readable folder") {
        records.extend(read_rollouts(&path).expect("a whole file"));
    }
    let mut history = History::new();
    for line in metric_lines(dir.path()) {
        let step = line["step"].as_u64().expect("a step");
        history.record_with(step, |name| line[name].as_f64());
        let of_step = || records.iter().filter(|record| record.step == step);
        let dropped = of_step().filter(|record| record.role == RolloutRole::Dropped);
        assert!(
            dropped.clone().all(|one| one.verdict == Verdict::Error && one.advantage.is_none())
        );
        assert!(dropped.clone().all(|one| one.reason.as_deref() == Some("no answer came")));
        let share = dropped.count() as f64 / of_step().count() as f64;
        let expected = line["rollout/dropped_frac"].as_f64().expect("a share");
        assert!((share - expected).abs() < 1e-12, "step {step}: {share} {expected}");
    }
    let none_judged = records.iter().filter(|record| record.problem == "2").collect::<Vec<_>>();
    assert_eq!(
        none_judged.len(),
        4,
        "a group that does not train has its place, in one step of four"
    );
    assert!(none_judged.iter().all(|record| record.role == RolloutRole::Dropped));
    let verdict = RunVerdict::of(&history, &config);
    assert_eq!(verdict.condition(), Some(Condition::Unjudged), "{verdict}");
    let shown = examples(&verdict.findings[0], &records, 3);
    assert_eq!((shown.len(), shown[0].problem.as_str()), (3, "2"), "{shown:?}");
    assert_eq!(shown[0].why, "4 of 4 not judged");
}
