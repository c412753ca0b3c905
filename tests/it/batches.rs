//! Groups with little to teach: the collector's response, through a real model and trainer.

use std::path::Path;
use std::sync::{Arc, Mutex};

use hint_grpo::objective::OldLogprobs;
use hint_grpo::rollout_table::{RolloutRecord, RolloutRole, read_rollouts};
use hint_grpo::{GrpoConfig, Metrics, Observer, Outcome, RunDir, StepReport, Trainer, Warning};
use hint_policy::SharedPolicy;
use hint_rollout::collect::curriculum::{
    DynamicSampling, ProblemSelection, Replay, SignalCriterion,
};
use hint_rollout::sample::RolloutSource;
use hint_tests::{
    StopAfter, bytes, config, lenient_rubric, metric_lines, parts, problems, tiny_policy, trainer,
    weights,
};
use serde_json::Value;

const STEPS: u64 = 8;

/// Everything on at once, with hints.
fn everything() -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.checkpoint_every = 3;
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
    drop(trainer);
    // What an interrupted step may have written is removed again.
    let later = dir.path().join("rollouts/step-00000009.parquet");
    std::fs::write(&later, "PAR1").expect("the folder is writable");
    assert!(finish(dir.path(), &everything()) == expected);
    assert!(!later.exists());
    let tables = RunDir::rollouts(whole.path()).expect("a readable folder");
    assert_eq!(tables.len() as u64, STEPS);
    let names = tables.iter().map(|(step, _)| format!("rollouts/step-{step:08}.parquet"));
    for file in names.chain(["metrics.jsonl".to_owned()]) {
        assert!(bytes(&dir.path().join(&file)) == bytes(&whole.path().join(&file)), "{file}");
    }
    let metrics = metric_lines(whole.path());
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

/// Counts the missing groups of the warnings and the metrics.
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

/// The rollout table of a run: the records of each step.
fn table(root: &Path) -> Vec<Vec<RolloutRecord>> {
    let files = RunDir::rollouts(root).expect("a readable folder");
    files.iter().map(|(_, path)| read_rollouts(path).expect("a whole file")).collect()
}

/// The records of each group that are part of it.
fn groups(step: &[RolloutRecord]) -> Vec<Vec<&RolloutRecord>> {
    let members = step.iter().filter(|record| record.advantage.is_some()).collect::<Vec<_>>();
    members.chunk_by(|a, b| a.group == b.group).map(<[_]>::to_vec).collect()
}

/// Collects the records that observers get.
struct KeepRollouts(Arc<Mutex<Vec<Vec<RolloutRecord>>>>);

impl Observer for KeepRollouts {
    fn on_rollouts(&mut self, step: u64, rollouts: &[RolloutRecord]) {
        assert!(rollouts.iter().all(|record| record.step == step));
        self.0.lock().expect("no test panics here").push(rollouts.to_vec());
    }
}

#[test]
fn the_rollout_table_agrees_with_the_metrics() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(STEPS);
    // With this seed hints rescue some groups.
    config.run.seed = 3;
    let policy = SharedPolicy::new(tiny_policy(7));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut trainer = Trainer::from_config(config.clone(), parts(&policy, lenient_rubric(), true))
        .expect("the configuration is valid")
        .run_dir(RunDir::create(dir.path(), &config).expect("an empty folder"))
        .observer(KeepRollouts(Arc::clone(&seen)))
        .build()
        .expect("the configuration is valid");
    assert_eq!(trainer.run(&problems()).expect("the run works"), Outcome::Completed);
    let metrics = metric_lines(dir.path());
    let table = table(dir.path());
    assert!(table == *seen.lock().expect("no test panics here"), "observers see the same");
    assert_eq!(table.len() as u64, STEPS);
    let number = |value: &Value| value.as_f64().expect("a number");
    let (mut hinted_groups, mut failed_attempts) = (0, 0);
    for (metrics, step) in metrics.iter().zip(&table) {
        let groups = groups(step);
        assert_eq!(groups.len(), 4);
        let rewards = groups.iter().flatten().map(|record| record.reward).collect::<Vec<_>>();
        let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
        assert!((mean - number(&metrics["reward"])).abs() < 1e-12);
        for group in groups {
            let first = group[0];
            let advantages = group.iter().filter_map(|record| record.advantage).collect::<Vec<_>>();
            assert!(advantages.iter().sum::<f64>().abs() < 1e-9);
            assert_eq!(group.len(), 4);
            let varied = advantages.iter().any(|advantage| *advantage != 0.0);
            assert_eq!(first.affinity.is_some(), varied, "only what trains is measured: {first:?}");
            for record in &group {
                assert!(record.question.as_ref().is_some_and(|text| !text.is_empty()));
                assert_eq!(record.behavior_logprobs.len(), record.tokens.len());
                // The log-probabilities are those behind the advantage that trained.
                let trained = record.advantage != Some(0.0);
                assert_eq!(record.logprobs.is_some(), trained);
                if let (Some(new), Some(old)) = (&record.logprobs, &record.old_logprobs) {
                    assert_eq!(new.len(), record.tokens.len());
                    // On-policy: the ratio is 1.
                    assert!(new.iter().zip(old).all(|(new, old)| (new - old).abs() < 1e-5));
                    let drawn = new.iter().zip(&record.behavior_logprobs);
                    let differs = drawn.into_iter().any(|(new, drawn)| (new - drawn).abs() > 1e-3);
                    assert_eq!(differs, record.hint.is_some(), "a hint changes the distribution");
                }
            }
            if varied {
                assert!((first.affinity.expect("measured").value() - 1.0).abs() < 1e-9);
            }
            let replaced = step.iter().filter(|record| {
                record.group == first.group && record.role == RolloutRole::Replaced
            });
            if first.source == RolloutSource::Hinted {
                hinted_groups += 1;
                assert_eq!(replaced.count(), 4);
                assert!(first.hinted_weight > Some(0.0) && first.hint_share == Some(1.0));
                assert!(first.behavior_affinity.expect("measured").value() < 1.0);
                assert!(
                    first.sampled_prompt.as_ref().is_some_and(|hinted| *hinted != first.prompt)
                );
            } else {
                assert_eq!(replaced.count(), 0);
                assert!(first.hinted_weight.is_none() && first.hint_share.is_none());
                let discarded = step.iter().filter(|record| {
                    record.group == first.group && record.role == RolloutRole::Discarded
                });
                failed_attempts += discarded.clone().count();
                assert!(discarded.clone().all(|record| record.hint.is_some()));
                assert!(discarded.clone().all(|record| !record.verdict.is_correct()));
            }
        }
    }
    assert!(hinted_groups > 0 && failed_attempts > 0);
}

#[test]
fn the_table_has_a_few_of_the_groups_that_dynamic_sampling_left_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(STEPS);
    config.rollout.dynamic_sampling =
        DynamicSampling::UntilSignal { max_rounds: 2, criterion: SignalCriterion::Verdicts };
    finish(dir.path(), &config);
    let metrics = metric_lines(dir.path());
    let is_left_out = |record: &&RolloutRecord| record.role == RolloutRole::LeftOut;
    let mut left_out = 0;
    for (step, line) in table(dir.path()).iter().zip(&metrics) {
        for group in step.chunk_by(|a, b| a.group == b.group) {
            let members = group.iter().filter(is_left_out).collect::<Vec<_>>();
            assert_eq!(members.is_empty(), group.iter().any(|record| record.advantage.is_some()));
            if members.is_empty() {
                continue;
            }
            left_out += 1;
            assert!(line["rollout/no_signal_frac"].as_f64() > Some(0.0), "{line}");
            assert!(group.iter().all(|record| record.logprobs.is_none()));
            let correct = members.iter().filter(|record| record.verdict.is_correct()).count();
            assert!(correct == 0 || correct == members.len(), "{correct} of {}", members.len());
        }
    }
    assert!(left_out > 0, "no group was left out, so nothing was tested");
}

#[test]
fn the_table_can_be_thinner_or_off() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = config(STEPS);
    config.rollout_table.every = 3;
    finish(dir.path(), &config);
    let kept = RunDir::rollouts(dir.path()).expect("a readable folder");
    assert_eq!(kept.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 4, 7]);
    let dir = tempfile::tempdir().expect("a temporary folder");
    config.rollout_table.every = 0;
    finish(dir.path(), &config);
    assert!(!dir.path().join("rollouts").exists());
}

#[test]
fn masked_completions_have_no_gradient_and_are_not_counted() {
    // Of four tokens nearly every completion is cut off; the stop token ends the others.
    let trained = |mask_truncated: bool| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(STEPS);
        config.rollout.mask_truncated = mask_truncated;
        config.rollout.sampling.max_completion_len = 4;
        let weights = finish(dir.path(), &config);
        (weights, table(dir.path()))
    };
    let (off, on) = (trained(false), trained(true));
    let masked = |table: &[Vec<RolloutRecord>]| {
        table.iter().flatten().filter(|record| record.role == RolloutRole::Masked).count()
    };
    assert_eq!(masked(&off.1), 0);
    assert!(masked(&on.1) > 0);
    let all = on.1.iter().flat_map(|step| groups(step));
    let silent = all.filter(|group| {
        group.iter().all(|record| record.role == RolloutRole::Masked)
            && group.iter().any(|record| record.advantage != Some(0.0))
    });
    let silent = silent.collect::<Vec<_>>();
    assert!(!silent.is_empty(), "a group with advantages is cut off as a whole");
    assert!(silent.iter().all(|group| group[0].affinity.is_none()), "none of its tokens trains");
    // Sampled from the same weights, so the same rewards and advantages.
    let advantages = |table: &[Vec<RolloutRecord>]| {
        table[0].iter().map(|record| record.advantage).collect::<Vec<_>>()
    };
    assert_eq!(advantages(&off.1), advantages(&on.1));
    assert!(off.0 != on.0, "the loss is another one");
}
