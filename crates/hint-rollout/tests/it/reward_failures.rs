//! Rewards that fail, panic, or take too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hint_reward::{ExactMatch, Reward, RewardError, RewardInput, Rubric, Verdict, from_fn};
use hint_rollout::collect::Collected;
use hint_rollout::evaluate::{EvaluationOptions, evaluate};
use hint_rollout::sample::ScoringConfig;
use hint_rollout::sample::{VerdictAction, VerdictPolicy};
use hint_rollout::{Collector, CollectorConfig, Problem, RolloutError, Seed};

use crate::scripted::{Bytes, Scripted};

fn answer(_: &str, index: usize) -> String {
    format!("\\boxed{{{index}}}")
}

/// Fails with an error for the completion that says 1.
struct Fallible;

impl Reward for Fallible {
    fn name(&self) -> &'static str {
        "fallible"
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        if input.completion.contains("{1}") {
            let (part, source) = ("fallible".to_owned(), "the disk is full".into());
            return Err(RewardError::Other { part, source });
        }
        Ok(0.5)
    }
}

fn rubric() -> Rubric {
    let nan = |input: &RewardInput<'_>| {
        if input.completion.contains("{2}") { f64::NAN } else { 0.0 }
    };
    let panics = |input: &RewardInput<'_>| {
        assert!(!input.completion.contains("{3}"), "three is not for me");
        0.0
    };
    Rubric::new(ExactMatch::new())
        .with(1.0, Fallible)
        .with(1.0, from_fn("nan", nan))
        .with(1.0, from_fn("panics", panics))
}

fn collect(rubric: Rubric, config: CollectorConfig) -> Result<Collected, RolloutError> {
    let config = CollectorConfig { group_size: 6, ..config };
    let (engine, _) = Scripted::new(answer);
    let mut collector = Collector::new(engine, Bytes::default(), rubric, config)?;
    let problems = ["a", "b", "c"].map(|id| Problem::new(id, id, "0"));
    collector.collect(&problems.iter().collect::<Vec<_>>(), Seed::new(1))
}

#[test]
fn an_error_a_nan_and_a_panic_cost_one_completion_each_and_are_counted_by_name() {
    let collected = collect(rubric(), CollectorConfig::default()).expect("the run continues");
    for group in &collected.groups {
        let texts = group.rollouts.iter().map(|rollout| rollout.text.as_str()).collect::<Vec<_>>();
        assert_eq!(texts, ["\\boxed{0}", "\\boxed{4}", "\\boxed{5}"]);
        assert_eq!(group.rewards(), [1.5, 0.5, 0.5], "the others have all their parts");
    }
    assert_eq!((collected.stats.judged.dropped, collected.stats.judged.verdicts["error"]), (9, 9));
    let failures = &collected.stats.judged.reward_failures;
    let failures = failures.iter().map(|(name, count)| (name.as_str(), *count));
    assert_eq!(failures.collect::<Vec<_>>(), [("fallible", 3), ("nan", 3), ("panics", 3)]);
}

#[test]
fn one_policy_says_what_they_mean() {
    let verdicts = VerdictPolicy { error: VerdictAction::Abort, ..VerdictPolicy::default() };
    let config = CollectorConfig { verdicts, ..CollectorConfig::default() };
    let error = collect(rubric(), config).expect_err("the policy says so");
    let text = error.to_string();
    assert!(text.contains("problem `a`") && text.contains("fallible failed: the disk is full"));
}

#[test]
fn scores_do_not_depend_on_the_number_of_threads() {
    let run = |threads| {
        let scoring = ScoringConfig { threads, ..ScoringConfig::default() };
        let config = CollectorConfig { scoring, ..CollectorConfig::default() };
        let collected = collect(rubric(), config).expect("the run continues");
        (collected.groups, collected.stats)
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(16));
}

#[test]
fn problems_are_scored_side_by_side() {
    let most = |threads| {
        let (active, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let slow = move |_: &RewardInput<'_>| {
            seen.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            active.fetch_sub(1, Ordering::SeqCst);
            0.0
        };
        let scoring = ScoringConfig { threads, ..ScoringConfig::default() };
        let config = CollectorConfig { scoring, ..CollectorConfig::default() };
        let rubric = Rubric::new(ExactMatch::new()).with(1.0, from_fn("slow", slow));
        collect(rubric, config).expect("the reward is finite");
        most.load(Ordering::SeqCst)
    };
    assert_eq!(most(1), 1);
    assert_eq!(most(3), 3, "there are three problems");
}

/// Takes a minute for one of the problems.
fn hangs(input: &RewardInput<'_>) -> f64 {
    if input.problem_id == "b" {
        std::thread::sleep(Duration::from_mins(1));
    }
    0.0
}

#[test]
fn a_reward_that_hangs_is_left_behind() {
    let rubric = Rubric::new(ExactMatch::new()).with(1.0, from_fn("hangs", hangs));
    let scoring = ScoringConfig { threads: 3, deadline_s: 0.5 };
    let config = CollectorConfig { scoring, ..CollectorConfig::default() };
    let collected = collect(rubric, config).expect("the run continues");
    let ids = collected.groups.iter().map(|group| group.problem_id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(collected.stats.judged.verdicts["timeout"], 6);
    assert_eq!(collected.stats.judged.reward_failures["hangs"], 6);
}

#[test]
fn a_panic_and_a_hang_cost_one_completion_each_under_the_name_of_their_reward() {
    let b = |input: &RewardInput<'_>| {
        assert!(!input.completion.contains("{4}"), "four is not for me");
        if input.completion.contains("{2}") {
            std::thread::sleep(Duration::from_mins(1));
        }
        0.25
    };
    let rubric =
        Rubric::new(ExactMatch::new()).with(1.0, from_fn("a", |_| 0.5)).with(1.0, from_fn("b", b));
    // Printing a panic with its backtrace takes part of the deadline.
    let scoring = ScoringConfig { threads: 3, deadline_s: 3.0 };
    let config = CollectorConfig { scoring, ..CollectorConfig::default() };
    let collected = collect(rubric, config).expect("the run continues");
    for group in &collected.groups {
        assert_eq!(group.rewards(), [1.75, 0.75, 0.75, 0.75]);
    }
    let judged = &collected.stats.judged;
    assert_eq!((judged.verdicts["error"], judged.verdicts["timeout"]), (3, 3));
    assert_eq!(judged.reward_failures.iter().collect::<Vec<_>>(), [(&"b".to_owned(), &6)]);
}

#[test]
fn a_reward_that_always_fails_ends_the_step_early() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let broken = from_fn("broken", move |_: &RewardInput<'_>| {
        seen.fetch_add(1, Ordering::SeqCst);
        f64::NAN
    });
    let (engine, _) = Scripted::new(answer);
    let rubric = Rubric::new(ExactMatch::new()).with(1.0, broken);
    let config = CollectorConfig { group_size: 4, ..CollectorConfig::default() };
    let mut collector = Collector::new(engine, Bytes::default(), rubric, config).expect("valid");
    let problems = (0..200).map(|index| Problem::new(format!("p{index}"), "1", "0"));
    let problems = problems.collect::<Vec<_>>();
    let error = collector.collect(&problems.iter().collect::<Vec<_>>(), Seed::new(1));
    let error = error.expect_err("every completion fails");
    // 5 % of 200 groups are 10.
    assert!(
        matches!(&error, RolloutError::TooManyFailures { failed: 41..=44, problem, .. } if problem == "p10"),
        "{error}"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 44, "the other 189 problems are not scored");
}

#[test]
fn one_bad_row_does_not_end_a_run_and_a_broken_verifier_does() {
    let fails = |which: &'static str| {
        from_fn(
            "fails",
            move |input: &RewardInput<'_>| {
                if input.problem_id.starts_with(which) { f64::NAN } else { 0.0 }
            },
        )
    };
    let run = |which, steps: u64, group_size| {
        let (engine, _) = Scripted::new(answer);
        let rubric = Rubric::new(ExactMatch::new()).with(1.0, fails(which));
        let config = CollectorConfig { group_size, ..CollectorConfig::default() };
        let mut collector = Collector::new(engine, Bytes::default(), rubric, config)?;
        for step in 0..steps {
            // Two problems per step, of which every twentieth step has a bad one.
            let bad = if step % 20 == 0 { "bad" } else { "good" };
            let problems = [Problem::new(bad, "1", "0"), Problem::new("good", "2", "0")];
            let problems = problems.iter().collect::<Vec<_>>();
            collector.collect(&problems, Seed::new(step))?;
            // State of a resumed run.
            let state = collector.state();
            collector.load_state(&state)?;
        }
        Ok::<_, RolloutError>(())
    };
    for group_size in [2, 8, 16, 64] {
        let run = |which, steps| run(which, steps, group_size);
        run("bad", 100).expect("2.5 % are within the limit, though half of a step is not");
        let error = run("", 100).expect_err("every completion fails");
        // 5 % of 64 groups are 3.2.
        let all = 4 * group_size;
        assert!(
            matches!(error, RolloutError::TooManyFailures { failed, judged, .. } if (failed, judged) == (all, all)),
            "{error}"
        );
    }
}

#[test]
fn an_evaluation_counts_them_as_errors() {
    let (mut engine, _) = Scripted::new(answer);
    let problems = [Problem::new("a", "a", "0")];
    let options = EvaluationOptions::sampled(4, hint_rollout::Sampling::default());
    let rubric = Arc::new(rubric());
    let found = evaluate(&mut engine, &Bytes::default(), &rubric, &problems, &options, &mut |_| {})
        .expect("the evaluation continues");
    assert_eq!(found.overall.verdicts[&Verdict::Error], 3);
}

#[test]
fn an_evaluation_leaves_a_reward_that_hangs_behind() {
    let (mut engine, _) = Scripted::new(answer);
    let problems = ["a", "b", "c"].map(|id| Problem::new(id, id, "0"));
    let scoring = ScoringConfig { threads: 3, deadline_s: 0.5 };
    let options = EvaluationOptions {
        scoring,
        ..EvaluationOptions::sampled(2, hint_rollout::Sampling::default())
    };
    let rubric = Arc::new(Rubric::new(ExactMatch::new()).with(1.0, from_fn("hangs", hangs)));
    let found = evaluate(&mut engine, &Bytes::default(), &rubric, &problems, &options, &mut |_| {})
        .expect("the evaluation continues");
    let ids = found.problems.iter().map(|problem| problem.id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(found.overall.verdicts[&Verdict::Timeout], 2);
}
