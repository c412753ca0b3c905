//! The two-stage rollout.

use hint_reward::{ExactMatch, Judgment, Rubric, Verdict, from_fn, verifier_from_fn};
use hint_rollout::collect::Collected;
use hint_rollout::collect::hinted::HintTrigger;
use hint_rollout::sample::{VerdictAction, VerdictPolicy};
use hint_rollout::{Collector, CollectorConfig, DatasetHints, Problem, RolloutError, Seed};

use crate::scripted::{Bytes, Scripted};

fn config() -> CollectorConfig {
    CollectorConfig { group_size: 4, ..CollectorConfig::default() }
}

fn problems() -> Vec<Problem> {
    vec![
        Problem::new("easy", "1 + 1", "2").with_hint("Count."),
        Problem::new("hard", "6 * 7", "42").with_hint("Multiply."),
        Problem::new("hopeless", "P = NP?", "no").with_hint("Think."),
    ]
}

/// Solves `easy` half the time, `hard` half the time with a hint, `hopeless` never.
fn script(prompt: &str, index: usize) -> String {
    let right = match prompt {
        prompt if prompt.starts_with("1 + 1") => "2",
        prompt if prompt.starts_with("6 * 7") && prompt.contains("Multiply.") => "42",
        _ => "0",
    };
    format!("\\boxed{{{}}}", if index.is_multiple_of(2) { right } else { "0" })
}

fn collect(config: CollectorConfig, hints: bool) -> Result<Collected, RolloutError> {
    let (engine, _) = Scripted::new(script);
    let mut collector =
        Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)?;
    if hints {
        collector = collector.with_hints(DatasetHints::new());
    }
    let problems = problems();
    collector.collect(&problems.iter().collect::<Vec<_>>(), Seed::new(7))
}

#[test]
fn only_groups_that_are_all_wrong_get_a_hint() {
    let collected = collect(config(), true).expect("the script works");
    let [easy, hard, hopeless] = &collected.groups[..] else { panic!("three groups") };
    assert!(!easy.is_hinted());
    assert_eq!(easy.num_correct(), 2);
    assert!(hard.is_hinted());
    assert_eq!(hard.num_correct(), 2);
    assert_eq!(hard.replaced.len(), 4);
    let hint = hard.hint().expect("hard is hinted");
    assert_ne!(hint.prompt, hard.prompt);
    assert!(hint.prompt.starts_with(&hard.prompt), "the hint follows the plain question");
    // Still all wrong with a hint: the plain group stays.
    assert!(!hopeless.is_hinted());
    assert!(hopeless.replaced.is_empty());

    let stats = &collected.stats;
    assert_eq!((stats.plain.all_wrong, stats.hinted.groups, stats.hinted.rescued), (2, 2, 1));
    assert_eq!((stats.plain.success.correct, stats.plain.success.total), (2, 12));
    assert_eq!((stats.hinted.success.correct, stats.hinted.success.total), (2, 8));
    assert_eq!((stats.hinted.paired_plain.correct, stats.hinted.paired_plain.total), (0, 8));
    assert_eq!(stats.sampled.completions, 20);
}

#[test]
fn without_hints_every_group_is_plain() {
    let never = CollectorConfig { trigger: HintTrigger::Never, ..config() };
    for collected in [collect(config(), false), collect(never, true)] {
        let collected = collected.expect("the script works");
        assert!(collected.groups.iter().all(|group| !group.is_hinted()));
        assert_eq!(collected.stats.sampled.completions, 12);
    }
}

#[test]
fn shaped_rewards_do_not_hide_that_a_group_solved_nothing() {
    let (engine, _) = Scripted::new(script);
    let rubric = Rubric::new(ExactMatch::new()).with(0.5, from_fn("format", |_| 1.0));
    let mut collector = Collector::new(engine, Bytes::default(), rubric, config())
        .expect("the configuration is valid")
        .with_hints(DatasetHints::new());
    let problems = problems();
    let collected = collector
        .collect(&problems.iter().collect::<Vec<_>>(), Seed::new(7))
        .expect("the script works");
    assert!(collected.groups[1].is_hinted());
    assert_eq!(collected.groups[1].rewards(), [1.5, 0.5, 1.5, 0.5]);
}

#[test]
fn seeds_depend_on_problem_and_stage_alone() {
    let seeds = |hints: bool, seed: u64| {
        let (engine, log) = Scripted::new(script);
        let mut collector =
            Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config())
                .expect("the configuration is valid");
        if hints {
            collector = collector.with_hints(DatasetHints::new());
        }
        let problems = problems();
        let problems = problems.iter().collect::<Vec<_>>();
        collector.collect(&problems, Seed::new(seed)).expect("the script works");
        drop(collector);
        std::sync::Arc::into_inner(log)
            .expect("the engine is gone")
            .into_inner()
            .expect("no test panics here")
    };
    let (plain, hinted) = (seeds(false, 7), seeds(true, 7));
    assert_eq!(plain[..], hinted[..3], "hints change no plain request");
    assert_eq!(hinted.len(), 5);
    let distinct = hinted.iter().map(|(_, seed)| seed).collect::<std::collections::HashSet<_>>();
    assert_eq!(distinct.len(), 5);
    assert_ne!(plain, seeds(false, 8));
}

/// A verifier that fails on every completion whose index is below `failures`.
fn collect_with_failures(
    failures: usize,
    verdict: Verdict,
    verdicts: VerdictPolicy,
) -> Result<Collected, RolloutError> {
    let (engine, _) =
        Scripted::new(move |_: &str, index| if index < failures { "?".into() } else { "2".into() });
    let verifier = verifier_from_fn("letters", move |input| match input.completion {
        "?" => Judgment::new(verdict).with_reason("the script says so"),
        _ => Judgment::new(Verdict::Correct),
    });
    // The share is one of this one group.
    let verdicts = VerdictPolicy { window: 1, ..verdicts };
    let config = CollectorConfig { verdicts, ..config() };
    let mut collector = Collector::new(engine, Bytes::default(), Rubric::new(verifier), config)?;
    let problem = Problem::new("p", "1 + 1", "2");
    collector.collect(&[&problem], Seed::new(0))
}

#[test]
fn failures_are_dropped_and_counted_up_to_the_limit() {
    let lenient = VerdictPolicy { max_dropped_frac: 0.25, ..VerdictPolicy::default() };
    let collected = collect_with_failures(1, Verdict::Timeout, lenient).expect("within the limit");
    assert_eq!(collected.groups[0].rollouts.len(), 3);
    assert_eq!(collected.stats.judged.dropped, 1);
    assert_eq!(collected.stats.judged.verdicts["timeout"], 1);
    let dropped = &collected.groups[0].dropped;
    assert_eq!(dropped.iter().map(|one| one.text.as_str()).collect::<Vec<_>>(), ["?"]);
    assert_eq!(dropped[0].score.judgment.reason.as_deref(), Some("the script says so"));
    assert!(collected.untrained.is_empty());

    let error = collect_with_failures(2, Verdict::Timeout, lenient).expect_err("above the limit");
    let RolloutError::TooManyFailures { failed: 2, judged: 4, .. } = error else {
        panic!("unexpected error {error}");
    };
}

#[test]
fn a_failed_verifier_never_triggers_a_hint() {
    // All four completions fail: there is no group at all, rather than an all-wrong one.
    let lenient = VerdictPolicy { max_dropped_frac: 1.0, ..VerdictPolicy::default() };
    let collected = collect_with_failures(4, Verdict::Error, lenient).expect("within the limit");
    assert!(collected.groups.is_empty());
    assert_eq!((collected.stats.plain.all_wrong, collected.stats.hinted.groups), (0, 0));
    // They are kept to be looked at, and so is the only one that could be judged.
    let [group] = &collected.untrained[..] else { panic!("{:?}", collected.untrained) };
    assert_eq!((group.rollouts.len(), group.discarded.len(), group.dropped.len()), (0, 0, 4));
    let collected = collect_with_failures(3, Verdict::Error, lenient).expect("within the limit");
    let group = &collected.untrained[0];
    assert_eq!((group.rollouts.len(), group.discarded.len(), group.dropped.len()), (0, 1, 3));
}

#[test]
fn verdicts_can_abort_or_count_as_wrong() {
    let abort = VerdictPolicy { timeout: VerdictAction::Abort, ..VerdictPolicy::default() };
    let error = collect_with_failures(1, Verdict::Timeout, abort).expect_err("the policy aborts");
    assert_eq!(
        error.to_string(),
        "a completion of problem `p` was judged `timeout`, which the verdict policy answers with \
         abort (the script says so)"
    );
    let wrong = VerdictPolicy { timeout: VerdictAction::Wrong, ..VerdictPolicy::default() };
    let collected = collect_with_failures(1, Verdict::Timeout, wrong).expect("counted as wrong");
    assert_eq!(collected.groups[0].rewards(), [0.0, 1.0, 1.0, 1.0]);
}

#[test]
fn invalid_configurations_are_refused() {
    let sampling = hint_rollout::Sampling { temperature: 0.0, ..Default::default() };
    for config in [
        CollectorConfig { group_size: 1, ..config() },
        CollectorConfig { sampling, ..config() },
        CollectorConfig { trigger: HintTrigger::SuccessRateBelow { rate: 1.5 }, ..config() },
    ] {
        let error = collect(config, false).expect_err("the configuration is invalid");
        assert!(matches!(error, RolloutError::Config(_)), "{error}");
    }
}

#[test]
fn unknown_keys_are_refused_in_every_variant() {
    for text in [
        r#"{"group_sise": 4}"#,
        r#"{"trigger": {"type": "all_wrong", "rate": 0.5}}"#,
        r#"{"trigger": {"type": "never", "x": 1}}"#,
        r#"{"sampling": {"temprature": 1.0}}"#,
        r#"{"verdicts": {"timeouts": "drop"}}"#,
    ] {
        assert!(serde_json::from_str::<CollectorConfig>(text).is_err(), "{text}");
    }
    let text = serde_json::to_string(&config()).expect("a configuration is plain data");
    assert_eq!(serde_json::from_str::<CollectorConfig>(&text).expect("round trip"), config());
}
