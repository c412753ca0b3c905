//! A user's own parts on the axes that configurations close.

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::collect::hinted::{
    Combine, LevelInput, Levels, Taught, Teaching, Trigger, TriggerInput, from_fn,
};
use hint_rollout::data::HintLevel;
use hint_rollout::hint::source::SolutionPrefix;
use hint_rollout::{
    Collector, CollectorConfig, DatasetHints, Hint, HintRequest, Problem, Rollout, RolloutGroup,
    Seed, hints_from_fn,
};

use crate::scripted::{Bytes, Scripted};

/// Right half the time without a hint, and from the second half of the hint on always.
fn script(prompt: &str, index: usize) -> String {
    let right = prompt.contains("Multiply.") || index == 0;
    format!("\\boxed{{{}}}", if right { "42" } else { "0" })
}

fn problem() -> Problem {
    Problem::new("p", "6 * 7", "42").with_hint("Multiply.")
}

fn collector() -> Collector {
    let (engine, _) = Scripted::new(script);
    let config = CollectorConfig { group_size: 4, ..CollectorConfig::default() };
    Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)
        .expect("the configuration is valid")
}

/// The parts that are not configured, without the prompt format of these tests.
fn custom_parts(collector: &Collector) -> Vec<(&'static str, String)> {
    let mut parts = collector.custom_parts();
    let (axis, format) = parts.pop().expect("a format of your own is recorded");
    assert!(axis == "format" && format.ends_with("Bytes"), "{axis}: {format}");
    parts
}

fn group(mut collector: Collector) -> RolloutGroup {
    let collected = collector.collect(&[&problem()], Seed::new(7)).expect("the script works");
    collected.groups.into_iter().next().expect("one problem has one group")
}

#[test]
fn a_trigger_of_ones_own_decides_which_groups_get_hints() {
    assert!(!group(collector().with_hints(DatasetHints::new())).is_hinted(), "one is right");
    let few = from_fn("at_most_one", |input: &TriggerInput| input.correct <= 1);
    let collector = collector().with_hints(DatasetHints::new()).with_trigger(few);
    assert_eq!(custom_parts(&collector), [("trigger", "at_most_one".to_owned())]);
    assert!(group(collector).is_hinted());
}

/// Takes levels from the top down until one fails.
struct Descent;

impl Levels for Descent {
    fn next(&self, input: &LevelInput<'_>) -> Option<HintLevel> {
        if input.tried.last().is_some_and(|(_, rate)| *rate == 0.0) {
            return None;
        }
        4_usize.checked_sub(input.tried.len()).map(|number| HintLevel::number(number, 4))
    }

    fn prefers(&self, new: f64, _best: f64) -> bool {
        new > 0.0
    }
}

#[test]
fn a_level_search_of_ones_own_sees_what_was_tried_and_picks_what_counts() {
    // The completion continues the prefix, and is right if that is at least `ab`.
    let (engine, log) = Scripted::new(|prompt: &str, _| {
        let right = prompt.ends_with("ab") || prompt.ends_with("abc") || prompt.ends_with("abcd");
        format!("\\boxed{{{}}}", if right { "42" } else { "0" })
    });
    let config = CollectorConfig { group_size: 2, ..CollectorConfig::default() };
    let collector =
        Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)
            .expect("the configuration is valid")
            .with_hints(SolutionPrefix::new(hint_rollout::hint::source::PrefixUnit::Character))
            .with_levels(Descent);
    assert_eq!(
        custom_parts(&collector),
        [
            ("level", std::any::type_name::<Descent>().to_owned()),
            ("source", "SolutionPrefix { unit: Character, in_prompt: false }".to_owned())
        ]
    );
    let mut collector = collector;
    let problem = Problem::new("p", "6 * 7", "42").with_solution("abcd");
    let collected = collector.collect(&[&problem], Seed::new(7)).expect("the script works");
    assert_eq!(collected.stats.hinted.attempts, 4, "abcd, abc, ab succeed, a does not");
    let hint = collected.groups[0].hint().expect("the group is hinted");
    assert_eq!((hint.hint.text.as_str(), hint.share), ("ab", 0.5));
    assert_eq!(log.lock().expect("no test panics here").len(), 5);
}

#[test]
fn a_combination_of_ones_own_makes_the_group() {
    let first = from_fn("first", |group: &mut RolloutGroup, hinted: Vec<Rollout>| {
        group.rollouts.extend(hinted.into_iter().take(1));
    });
    let always = from_fn("always", |_: &TriggerInput| true);
    let collector =
        collector().with_hints(DatasetHints::new()).with_trigger(always).with_combine(first);
    let group = group(collector);
    let hinted = group.rollouts.iter().map(Rollout::is_hinted).collect::<Vec<_>>();
    assert_eq!(hinted, [false, false, false, false, true]);
}

/// Hints teach the failures of a group.
struct Tutor;

impl Combine for Tutor {
    fn combine(&self, _group: &mut RolloutGroup, _hinted: Vec<Rollout>) {
        unreachable!("nothing is sampled under the hint");
    }

    fn teaching(&self) -> Option<Teaching> {
        Some(Teaching { completions: Taught::Wrong, ..Teaching::default() })
    }
}

#[test]
fn a_combination_of_ones_own_may_teach() {
    let always = from_fn("always", |_: &TriggerInput| true);
    let collector =
        collector().with_hints(DatasetHints::new()).with_trigger(always).with_combine(Tutor);
    assert!(collector.teaches());
    let group = group(collector);
    let teacher = group.teacher.expect("the problem has a hint");
    assert_eq!(teacher.is_taught, [false, true, true, true]);
    assert!(group.rollouts.iter().all(|rollout| !rollout.is_hinted()));
}

#[test]
fn sources_that_the_configuration_does_not_name_are_recorded() {
    assert_eq!(custom_parts(&collector().with_hints(DatasetHints::new())), []);
    let polite =
        hints_from_fn("polite", |_: &HintRequest<'_>| Some(Hint::new("Please try again.")));
    let parts = custom_parts(&collector().with_hints(polite));
    assert_eq!(parts, [("source", "polite".to_owned())]);
}

#[test]
fn parts_can_be_boxed() {
    let _: Option<Box<dyn Trigger>> = None;
    let _: Option<Box<dyn Levels>> = None;
    let _: Option<Box<dyn Combine>> = None;
}
