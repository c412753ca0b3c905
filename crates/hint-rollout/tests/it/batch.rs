//! The batch of a step: selection, dynamic sampling, replay, masks.

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::collect::curriculum::{
    DynamicSampling, ProblemSelection, Replay, SignalCriterion,
};
use hint_rollout::collect::{Collected, SoftOverlongConfig};
use hint_rollout::run::{RunProgress, StepContext};
use hint_rollout::{Collector, CollectorConfig, DatasetHints, Problem, RolloutError, Seed};

use crate::scripted::{Bytes, Log, Scripted};

const RUN: u64 = 7;

fn config() -> CollectorConfig {
    CollectorConfig { group_size: 4, ..CollectorConfig::default() }
}

/// Twelve problems. Each third one is solved half the time; the others never.
fn problems() -> Vec<Problem> {
    let question =
        |n: usize| if n.is_multiple_of(3) { format!("easy {n}") } else { format!("hard {n}") };
    (0..12).map(|n| Problem::new(n.to_string(), question(n), "1")).collect()
}

fn answer(prompt: &str, index: usize) -> String {
    let right = prompt.starts_with("easy") && index.is_multiple_of(2);
    format!("\\boxed{{{}}}", u8::from(right))
}

fn collector(config: CollectorConfig) -> (Collector, Log) {
    let (engine, log) = Scripted::new(answer);
    let rubric = Rubric::new(ExactMatch::new());
    let collector = Collector::new(engine, Bytes::default(), rubric, config);
    (collector.expect("the configuration is valid"), log)
}

fn step(collector: &mut Collector, count: usize, step: u64) -> Collected {
    let context =
        StepContext { seed: Seed::new(RUN).child(step), progress: RunProgress::new(step, 20) };
    collector.collect_batch(&problems(), count, RUN, context).expect("the script works")
}

fn ids(collected: &Collected) -> Vec<&str> {
    collected.groups.iter().map(|group| group.problem_id.as_str()).collect()
}

fn until(max_rounds: usize) -> DynamicSampling {
    DynamicSampling::UntilSignal { max_rounds, criterion: SignalCriterion::Verdicts }
}

#[test]
fn with_everything_off_a_step_takes_the_next_problems_of_the_epoch() {
    let (mut collector, log) = collector(config());
    let steps = (0..3).map(|at| step(&mut collector, 4, at)).collect::<Vec<_>>();
    let mut taken = steps.iter().flat_map(ids).collect::<Vec<_>>();
    assert_eq!((taken.len(), collector.drawn()), (12, 12));
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), 12, "an epoch has every problem once");
    assert_eq!(log.lock().expect("no test panics here").len(), 12);
    // The same completions as when the problems are named one by one.
    let (mut direct, _) = self::collector(config());
    let all = problems();
    let named =
        ids(&steps[1]).iter().map(|id| &all[id.parse::<usize>().unwrap()]).collect::<Vec<_>>();
    let collected = direct.collect(&named, Seed::new(RUN).child(1)).expect("the script works");
    assert_eq!(collected.groups, steps[1].groups);
}

#[test]
fn dynamic_sampling_draws_until_every_group_teaches_something() {
    let (mut collector, log) =
        collector(CollectorConfig { dynamic_sampling: until(10), ..config() });
    let collected = step(&mut collector, 3, 0);
    assert_eq!(collected.groups.len(), 3);
    assert!(collected.groups.iter().all(|group| group.num_correct() == 2));
    let stats = &collected.stats;
    let drawn = usize::try_from(collector.drawn()).unwrap();
    assert!(drawn > 3 && stats.batch.rounds > 1, "two thirds of the problems teach nothing");
    assert_eq!((stats.problems, stats.batch.without_signal), (drawn, drawn - 3));
    assert_eq!(stats.sampled.completions, 4 * drawn, "what was left out was sampled all the same");
    assert_eq!(stats.batch.missing_groups, 0);
    // A few of the others are there to be looked at: all of these are all wrong.
    assert_eq!(collected.untrained.len(), 3.min(drawn - 3));
    assert!(collected.untrained.iter().all(|group| group.num_correct() == 0));
    assert!(collected.untrained.iter().all(|group| group.rollouts.len() == 4));
    let log = log.lock().expect("no test panics here");
    let prompts = log.iter().map(|(prompt, _)| prompt).collect::<std::collections::BTreeSet<_>>();
    let seeds = log.iter().map(|(_, seed)| seed).collect::<std::collections::BTreeSet<_>>();
    assert_eq!((prompts.len(), seeds.len()), (drawn, drawn), "no problem and no seed comes twice");
}

#[test]
fn dynamic_sampling_gives_up_after_its_rounds_and_says_so() {
    let (mut collector, _) = collector(CollectorConfig { dynamic_sampling: until(2), ..config() });
    let collected = step(&mut collector, 12, 0);
    // One epoch has four such problems; what is missing is drawn once more.
    let stats = &collected.stats;
    assert_eq!((stats.batch.rounds, collector.drawn()), (2, 20));
    assert_eq!(collected.groups.len() + stats.batch.missing_groups, 12);
    assert!(stats.batch.missing_groups >= 4, "{}", stats.batch.missing_groups);
    // The next step continues where this one stopped.
    step(&mut collector, 1, 1);
    assert!(collector.drawn() > 20);
}

#[test]
fn of_the_groups_that_are_left_out_a_step_keeps_three_of_each_kind() {
    // Problems are all right, all wrong and mixed, by turns.
    let (engine, _) = Scripted::new(|prompt: &str, index: usize| {
        let right = prompt.starts_with("easy") || prompt.starts_with("mixed") && index == 0;
        format!("\\boxed{{{}}}", u8::from(right))
    });
    let question = |n: usize| format!("{} {n}", ["easy", "hard", "mixed"][n % 3]);
    let problems =
        (0..30).map(|n| Problem::new(n.to_string(), question(n), "1")).collect::<Vec<_>>();
    let config = CollectorConfig { dynamic_sampling: until(1), ..config() };
    let rubric = Rubric::new(ExactMatch::new());
    let mut collector =
        Collector::new(engine, Bytes::default(), rubric, config).expect("a valid configuration");
    let context = StepContext { seed: Seed::new(RUN), progress: RunProgress::new(0, 20) };
    let collected = collector.collect_batch(&problems, 30, RUN, context).expect("the script works");
    assert_eq!((collected.groups.len(), collected.stats.batch.without_signal), (10, 20));
    let right = collected.untrained.iter().map(hint_rollout::RolloutGroup::num_correct);
    let mut right = right.collect::<Vec<_>>();
    right.sort_unstable();
    assert_eq!(right, [0, 0, 0, 4, 4, 4]);
}

#[test]
fn criteria_differ_where_rewards_or_replaced_rollouts_do() {
    // Solved with a hint each time; the reward depends on the length as well.
    let (engine, _) = Scripted::new(|prompt: &str, index: usize| {
        let right = prompt.contains("Hint");
        format!("{}\\boxed{{{}}}", "x".repeat(index), u8::from(right))
    });
    let soft = SoftOverlongConfig { share: 0.75, weight: 1.0 };
    let mut config = CollectorConfig { soft_overlong: Some(soft), ..config() };
    config.sampling.max_completion_len = 16;
    let mut collector =
        Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)
            .expect("the configuration is valid")
            .with_hints(DatasetHints::new());
    let problem = Problem::new("p", "?", "1").with_hint("Hint");
    let collected = collector.collect(&[&problem], Seed::new(0)).expect("the script works");
    let group = &collected.groups[0];
    // Nine characters: 5 of the buffer of 12, and one more each.
    assert_eq!(
        group.rewards(),
        [1.0 - 5.0 / 12.0, 1.0 - 6.0 / 12.0, 1.0 - 7.0 / 12.0, 1.0 - 8.0 / 12.0]
    );
    assert_eq!(group.rollouts[0].score.parts[1], ("soft_overlong".to_owned(), -5.0 / 12.0));
    assert!(!SignalCriterion::Verdicts.has_signal(group), "all are correct");
    assert!(
        SignalCriterion::UnionVerdicts.has_signal(group),
        "those that they replaced were wrong"
    );
    assert!(SignalCriterion::Rewards.has_signal(group));
}

#[test]
fn truncated_completions_are_masked_and_keep_their_reward() {
    let cut_off = |_: &str, index: usize| match index {
        0 => "\\boxed{1}".to_owned(),
        1 => "\\boxed{1} ...".to_owned(),
        _ => "...".to_owned(),
    };
    let collect = |mask_truncated| {
        let (engine, _) = Scripted::new(cut_off);
        let config = CollectorConfig { mask_truncated, ..config() };
        let rubric = Rubric::new(ExactMatch::new());
        let mut collector = Collector::new(engine, Bytes::default(), rubric, config).unwrap();
        collector.collect(&[&problems()[0]], Seed::new(0)).unwrap()
    };
    let masked = |collected: &Collected| {
        collected.groups[0].rollouts.iter().map(|rollout| rollout.is_masked).collect::<Vec<_>>()
    };
    let (off, on) = (collect(false), collect(true));
    assert_eq!((masked(&off), off.stats.judged.masked), (vec![false; 4], 0));
    assert_eq!((masked(&on), on.stats.judged.masked), (vec![false, true, true, true], 3));
    assert_eq!(off.groups[0].rewards(), on.groups[0].rewards());
}

fn replaying(capacity: usize, max_age: u64) -> CollectorConfig {
    let replay = Replay::Recent { capacity, max_age, criterion: SignalCriterion::Verdicts };
    CollectorConfig { replay, ..config() }
}

#[test]
fn replay_fills_a_step_up_with_groups_of_earlier_steps_once() {
    let (mut collector, _) = collector(replaying(8, 5));
    let steps = (0..3).map(|at| step(&mut collector, 4, at)).collect::<Vec<_>>();
    let mut fresh = 0;
    let mut replayed = 0;
    for collected in &steps {
        let teaching = collected.groups.iter().filter(|group| group.has_signal()).count();
        fresh += teaching - collected.stats.batch.replayed;
        replayed += collected.stats.batch.replayed;
        assert_eq!(collected.groups.len(), 4, "a replayed group takes the place of another");
        let mut distinct = ids(collected);
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 4, "no problem comes twice in a step");
    }
    assert_eq!(fresh, 4, "an epoch has four problems that teach something");
    assert!(replayed > 0 && replayed <= fresh, "{replayed}: each of them comes back once at most");
    assert_eq!(steps[0].stats.batch.replayed, 0, "there is nothing to replay yet");
    assert!(steps.iter().all(|c| c.stats.batch.replay_age_sum >= c.stats.batch.replayed as u64));
}

#[test]
fn replay_forgets_what_is_too_old_or_too_much() {
    // Only the first step samples something that teaches.
    let first = |count: usize, config: CollectorConfig, later: u64| {
        let mut visits = 0;
        let (engine, _) = Scripted::new(move |_: &str, index: usize| {
            visits += usize::from(index == 0);
            format!("\\boxed{{{}}}", u8::from(visits <= count && index == 0))
        });
        let mut collector =
            Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)
                .unwrap();
        step(&mut collector, count, 0);
        step(&mut collector, count, later).stats.batch.replayed
    };
    assert_eq!(first(4, replaying(8, 2), 2), 4);
    assert_eq!(first(4, replaying(8, 2), 3), 0, "three steps are more than two");
    assert_eq!(first(4, replaying(3, 2), 1), 3, "only three are kept");
}

#[test]
fn hinted_groups_are_not_replayed() {
    let (engine, _) = Scripted::new(|prompt: &str, index: usize| {
        format!("\\boxed{{{}}}", u8::from(prompt.contains("Hint") && index == 0))
    });
    let rubric = Rubric::new(ExactMatch::new());
    let mut collector = Collector::new(engine, Bytes::default(), rubric, replaying(8, 5))
        .unwrap()
        .with_hints(DatasetHints::new());
    let hinted = [Problem::new("p", "?", "1").with_hint("Hint")];
    let context = |step| StepContext { seed: Seed::new(step), progress: RunProgress::new(step, 9) };
    let collected = collector.collect_batch(&hinted, 1, RUN, context(0)).unwrap();
    assert!(collected.groups[0].is_hinted() && collected.groups[0].has_signal());
    let other = [Problem::new("q", "?", "1")];
    assert_eq!(
        collector.collect_batch(&other, 1, RUN, context(1)).unwrap().stats.batch.replayed,
        0
    );
}

#[test]
fn a_curriculum_prefers_what_is_solved_now_and_then() {
    let selection = ProblemSelection::Curriculum { floor: 0.01 };
    let (mut collector, _) = collector(CollectorConfig { selection, group_size: 30, ..config() });
    let mut easy = 0;
    for at in 0..40 {
        let collected = step(&mut collector, 3, at);
        let ids = ids(&collected);
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        // All twelve are new at first, and weigh the same.
        if at >= 10 {
            easy += ids.iter().filter(|id| id.parse::<usize>().unwrap().is_multiple_of(3)).count();
        }
    }
    // Four of weight 1 against eight of weight 0.13: of three draws without replacement about 2.1.
    assert!(easy > 45, "{easy} of 90, a third would be 30");
}

#[test]
fn a_collector_resumes_with_selection_dynamic_sampling_and_replay() {
    let config = CollectorConfig {
        selection: ProblemSelection::Curriculum { floor: 0.1 },
        dynamic_sampling: until(2),
        ..replaying(6, 4)
    };
    let (mut whole, _) = collector(config.clone());
    let expected = (0..8).map(|at| step(&mut whole, 3, at)).collect::<Vec<_>>();
    assert!(expected.iter().any(|collected| collected.stats.batch.replayed > 0));
    let (mut first, _) = collector(config.clone());
    for at in 0..4 {
        step(&mut first, 3, at);
    }
    // As it is written to a checkpoint and read back.
    let state = serde_json::from_str(&first.state().to_string()).unwrap();
    let (mut second, _) = collector(config);
    second.load_state(&state).unwrap();
    for at in 4..8 {
        let (found, expected) = (step(&mut second, 3, at), &expected[usize::try_from(at).unwrap()]);
        assert_eq!((found.groups, found.stats), (expected.groups.clone(), expected.stats.clone()));
    }
    assert_eq!(second.state(), whole.state());
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let refused = |config: CollectorConfig, expected: &str| {
        let (engine, _) = Scripted::new(answer);
        let rubric = Rubric::new(ExactMatch::new());
        let error = Collector::new(engine, Bytes::default(), rubric, config).unwrap_err();
        let RolloutError::Config(found) = error else { panic!("{error}") };
        assert_eq!(found.iter().map(|violation| &violation.field).collect::<Vec<_>>(), [expected]);
    };
    let selection = ProblemSelection::Curriculum { floor: 0.0 };
    refused(CollectorConfig { selection, ..config() }, "selection.floor");
    refused(
        CollectorConfig { dynamic_sampling: until(0), ..config() },
        "dynamic_sampling.max_rounds",
    );
    refused(replaying(0, 1), "replay.capacity");
    refused(replaying(1, 0), "replay.max_age");
    let soft = SoftOverlongConfig { share: 1.5, weight: 1.0 };
    refused(CollectorConfig { soft_overlong: Some(soft), ..config() }, "soft_overlong.share");
}
