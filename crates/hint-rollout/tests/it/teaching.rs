//! Hints that teach: the plain group stays, and gets the prompts that it is scored under.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::collect::Collected;
use hint_rollout::collect::hinted::{CombineRule, Contrast, HintTrigger, Taught};
use hint_rollout::hint::source::{PrefixUnit, SolutionPrefix};
use hint_rollout::sample::TeacherPrompts;
use hint_rollout::{
    Collector, CollectorConfig, DatasetHints, Hint, HintProvider, Problem, Rollout, RolloutError,
    Seed, hints_from_fn,
};

use crate::scripted::{Bytes, Scripted, text};

/// Every other completion of the first question is right, and none of the others.
fn collect(
    combine: CombineRule,
    hints: impl HintProvider + 'static,
    problems: &[Problem],
) -> Result<(Collected, usize), RolloutError> {
    let (engine, log) = Scripted::new(|prompt: &str, index| {
        let right = prompt.contains("6 * 7") && index.is_multiple_of(2);
        format!("\\boxed{{{}}}", if right { "42" } else { "0" })
    });
    let trigger = HintTrigger::Always;
    let config = CollectorConfig { group_size: 4, trigger, combine, ..CollectorConfig::default() };
    let mut collector =
        Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)?
            .with_hints(hints);
    assert!(collector.teaches());
    let problems = problems.iter().collect::<Vec<_>>();
    let collected = collector.collect(&problems, Seed::new(7))?;
    let asked = log.lock().expect("no test panics here").len();
    Ok((collected, asked))
}

const fn teach(completions: Taught, contrast: Contrast, samples: bool) -> CombineRule {
    CombineRule::Teach { completions, contrast, samples }
}

fn problems() -> Vec<Problem> {
    vec![
        Problem::new("a", "6 * 7", "42").with_hint("Multiply.").with_solution("It is 42."),
        Problem::new("b", "1 + 1", "2").with_hint("Add.").with_solution("It is 2."),
        Problem::new("c", "9 - 1", "8"),
    ]
}

fn prompts(teacher: &TeacherPrompts) -> (String, Option<String>) {
    let contrast = teacher.contrast.as_ref();
    (text(&teacher.hint.prompt), contrast.map(|contrast| text(&contrast.prompt)))
}

#[test]
fn nothing_is_sampled_under_a_hint_that_teaches() {
    let combine = teach(Taught::Wrong, Contrast::None, false);
    let (collected, asked) =
        collect(combine, DatasetHints::new(), &problems()).expect("the script works");
    assert_eq!(asked, 3, "one plain group for each problem");
    let [a, b, c] = &collected.groups[..] else { panic!("three groups") };
    assert!(collected.groups.iter().all(|group| !group.is_hinted()));
    let of_a = a.teacher.as_ref().expect("it has a hint");
    let (prompt, contrast) = prompts(of_a);
    assert!(prompt.contains("6 * 7") && prompt.contains("Multiply."), "{prompt}");
    assert_eq!((contrast, &of_a.is_taught), (None, &vec![false, true, false, true]));
    assert_eq!(b.teacher.as_ref().expect("it has a hint").is_taught, [true; 4]);
    assert!(c.teacher.is_none(), "it has no hint");
    assert_eq!((collected.stats.hinted.taught, collected.stats.hinted.groups), (2, 0));
}

#[test]
fn a_hint_may_teach_plain_completions_and_be_sampled_under() {
    let combine = teach(Taught::All, Contrast::None, true);
    let (collected, asked) =
        collect(combine, DatasetHints::new(), &problems()).expect("the script works");
    assert_eq!(asked, 5, "a plain group for each problem, a hinted one for two");
    let group = &collected.groups[0];
    assert_eq!(group.teacher.as_ref().expect("it has a hint").is_taught, [true; 4]);
    let hinted = group.rollouts.iter().map(Rollout::is_hinted).collect::<Vec<_>>();
    assert_eq!(hinted, [[false; 4], [true; 4]].concat());
    assert_eq!(collected.groups[1].rollouts.len(), 4, "no hinted completion is right");
    let stats = &collected.stats.hinted;
    assert_eq!((stats.taught, stats.groups, stats.rescued), (2, 2, 1));
    assert_eq!(stats.leaks.judged, 2, "each hint is judged once");
}

#[test]
fn the_hint_that_teaches_is_the_one_that_is_sampled_under() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let hints = hints_from_fn("counted", move |_| {
        Some(Hint::new(format!("Hint {}.", count.fetch_add(1, Ordering::SeqCst))))
    });
    let combine = teach(Taught::Wrong, Contrast::None, true);
    let (collected, _) = collect(combine, hints, &problems()[..1]).expect("the script works");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let group = &collected.groups[0];
    let teacher = group.teacher.as_ref().expect("it has a hint");
    assert_eq!(teacher.is_taught, [false, true, false, true]);
    assert_eq!(group.rollouts.len(), 8);
    assert!(group.rollouts[4..].iter().all(|one| one.hint.as_ref() == Some(&teacher.hint)));
}

#[test]
fn a_contrast_is_the_hint_of_another_problem_with_the_own_question() {
    let combine = teach(Taught::All, Contrast::Placebo, false);
    let (collected, _) =
        collect(combine, DatasetHints::new(), &problems()).expect("the script works");
    let teacher = collected.groups[0].teacher.as_ref().expect("there is another hint");
    let (_, contrast) = prompts(teacher);
    let contrast = contrast.expect("there is another hint");
    assert!(contrast.contains("6 * 7") && contrast.contains("Add."), "{contrast}");
    assert!(!contrast.contains("Multiply."), "{contrast}");
    // Without another hint the group is not taught at all.
    let (collected, _) =
        collect(combine, DatasetHints::new(), &problems()[..1]).expect("the script works");
    assert!(collected.groups[0].teacher.is_none());
    assert_eq!(collected.stats.hinted.taught, 0);
}

#[test]
fn a_hint_behind_the_prompt_cannot_teach() {
    let combine = teach(Taught::All, Contrast::None, false);
    let prefix = || SolutionPrefix::new(PrefixUnit::Word);
    let error = collect(combine, prefix(), &problems()).expect_err("it follows the prompt");
    assert!(error.to_string().contains("problem `a`"), "{error}");
    let (collected, _) =
        collect(combine, prefix().in_prompt(), &problems()).expect("it joins the question");
    let teacher = collected.groups[0].teacher.as_ref().expect("it has a solution");
    assert!(prompts(teacher).0.contains("It is 42."));
}
