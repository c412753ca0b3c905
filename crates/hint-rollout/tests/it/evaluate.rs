//! Evaluation without hints.

use std::collections::BTreeMap;
use std::sync::Arc;

use hint_reward::{ExactMatch, MathVerifier, Rubric, Verdict, from_fn};
use hint_rollout::evaluate::{Evaluation, EvaluationOptions, evaluate};
use hint_rollout::{Problem, RolloutError, Sampling};
use serde_json::json;

use crate::scripted::{Bytes, Scripted};

fn run(
    script: impl FnMut(&str, usize) -> String + Send,
    rubric: impl Into<Arc<Rubric>>,
    problems: &[Problem],
    options: &EvaluationOptions,
) -> Result<Evaluation, RolloutError> {
    let (mut engine, _) = Scripted::new(script);
    let rubric = rubric.into();
    evaluate(&mut engine, &Bytes::default(), &rubric, &problems, options, &mut |_| {})
}

fn sampled(completions: usize) -> EvaluationOptions {
    EvaluationOptions::sampled(completions, Sampling::default())
}

#[test]
fn scores_are_counted_by_column_on_plain_prompts() {
    let (mut engine, log) = Scripted::new(|prompt: &str, _| match prompt {
        "a" => "\\boxed{1}".to_owned(),
        "b" => "\\boxed{9}".to_owned(),
        _ => "no answer ...".to_owned(),
    });
    let mut problems = [
        Problem::new("a", "a", "1").with_level("1").with_hint("never shown"),
        Problem::new("b", "b", "2").with_level("1"),
        Problem::new("c", "c", "3").with_level("2"),
    ];
    problems[1].columns.insert("category".to_owned(), json!("algebra"));
    let rubric = Arc::new(Rubric::new(ExactMatch::new()));
    let mut heard = Vec::new();
    let options = EvaluationOptions { problems_per_call: 2, kept_completions: 1, ..sampled(2) };
    let mut listen = |done| heard.push(done);
    let found = evaluate(&mut engine, &Bytes::default(), &rubric, &problems, &options, &mut listen)
        .unwrap();
    assert!((found.accuracy() - 1.0 / 3.0).abs() < 1e-15);
    assert_eq!((found.overall.problems, found.overall.completions), (3, 6));
    assert_eq!(found.by["level"]["1"].avg.value, 0.5);
    assert_eq!(found.by["level"]["2"].avg.value, 0.0);
    assert_eq!(found.by["category"].keys().collect::<Vec<_>>(), ["algebra"]);
    assert_eq!(found.by["category"]["algebra"].problems, 1);
    assert!((found.overall.truncated_frac - 1.0 / 3.0).abs() < 1e-15);
    let verdicts = [(Verdict::Correct, 2), (Verdict::Incorrect, 2), (Verdict::Truncated, 2)];
    assert_eq!(found.overall.verdicts, BTreeMap::from(verdicts));
    let lengths = found.overall.lengths;
    assert_eq!((lengths.tokens, lengths.min, lengths.max), (2 * (9 + 9 + 13), 9, 13));
    assert_eq!((lengths.median, lengths.mean_correct), (9.0, Some(9.0)));
    assert_eq!(heard, [2, 3]);
    let kept = found.groups.iter().map(|group| {
        let [rollout] = &group.rollouts[..] else { panic!("one completion is kept") };
        (group.problem_id.as_str(), rollout.text.as_str(), rollout.score.verdict)
    });
    let expected = [
        ("a", "\\boxed{1}", Verdict::Correct),
        ("b", "\\boxed{9}", Verdict::Incorrect),
        ("c", "no answer ...", Verdict::Truncated),
    ];
    assert_eq!(kept.collect::<Vec<_>>(), expected);
    assert!(log.lock().unwrap().iter().all(|(prompt, _)| prompt.len() == 1));
}

#[test]
fn pass_and_majority_follow_from_the_votes() {
    // 1/2 and 0.5 are one wrong answer: 2 correct, 3 against, 1 against, 2 abstain.
    let answers = ["4", "4", "1/2", "0.5", r"\frac12", "7", "", ""];
    let script = move |_: &str, index: usize| match answers[index] {
        "" => "I do not know.".to_owned(),
        answer => format!("\\boxed{{{answer}}}"),
    };
    let problems = [Problem::new("a", "a", "4")];
    let rubric = Arc::new(Rubric::new(MathVerifier::new()));
    let options = EvaluationOptions { k: vec![8, 1, 3], ..sampled(8) };
    let found = run(script, Arc::clone(&rubric), &problems, &options).unwrap();
    let votes = found.problems[0].votes.clone().unwrap();
    assert_eq!((votes.correct, votes.wrong.as_slice(), votes.abstained), (2, &[3, 1][..], 2));
    assert_eq!(found.overall.pass_at.keys().copied().collect::<Vec<_>>(), [1, 3, 8]);
    // 1 − C(6, 3) / C(8, 3) = 1 − 20 / 56
    assert!((found.overall.pass_at[&3].value - 36.0 / 56.0).abs() < 1e-12);
    assert_eq!(found.overall.maj_at[&8].value, 0.0);
    assert!((found.overall.maj_at[&1].value - 0.25).abs() < 1e-12);
    assert_eq!(found.problems[0].answers[2].as_deref(), Some("1/2"));
    let by = &found.overall.extracted_by;
    assert_eq!((by["boxed"].correct, by["boxed"].total), (2, 6));
    assert_eq!((by["none"].correct, by["none"].total), (0, 2));
    // Each accepted answer is as good as the first.
    let problems = [Problem::new("a", "a", "4").with_accepted(["7"])];
    let found = run(script, Arc::clone(&rubric), &problems, &options).unwrap();
    assert_eq!(found.problems[0].correct, 3);
}

#[test]
fn without_extracted_answers_there_is_no_majority() {
    let reward = from_fn("long", |input| f64::from(u8::from(input.completion.len() > 1)));
    let script = |_: &str, index: usize| "x".repeat(index + 1);
    let problems = [Problem::new("a", "a", "4")];
    let found = run(script, Rubric::from(reward), &problems, &sampled(4)).unwrap();
    assert_eq!(found.accuracy(), 0.75);
    assert!(found.overall.maj_at.is_empty());
}

#[test]
fn the_outcome_of_a_problem_depends_on_its_id_alone() {
    let seeds = |ids: &[&str]| {
        let (mut engine, log) = Scripted::new(|_: &str, _| "x".to_owned());
        let problems = ids.iter().map(|id| Problem::new(*id, *id, "1")).collect::<Vec<_>>();
        let rubric = Arc::new(Rubric::new(ExactMatch::new()));
        let format = Bytes::default();
        evaluate(&mut engine, &format, &rubric, &problems, &sampled(2), &mut |_| {}).unwrap();
        log.lock().unwrap().iter().cloned().collect::<BTreeMap<_, _>>()
    };
    let all = seeds(&["a", "b", "c"]);
    assert_eq!(seeds(&["c", "a"])["a"], all["a"]);
    assert_ne!(all["a"], all["b"]);
}

#[test]
fn results_survive_json() {
    let problems = [Problem::new("a", "a", "1").with_level("1"), Problem::new("b", "b", "2")];
    let script = |_: &str, index: usize| format!("\\boxed{{{}}}", index % 3);
    let found = run(script, Rubric::new(ExactMatch::new()), &problems, &sampled(6)).unwrap();
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), found);
    let Evaluation { overall, .. } = found;
    assert!(overall.avg.low < overall.avg.value || overall.avg.value == overall.avg.high);
    assert_eq!(overall.pass_at.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 6]);
}

#[track_caller]
fn refused(options: &EvaluationOptions, problems: &[Problem], expected: &str) {
    let script = |_: &str, _: usize| String::new();
    let error = run(script, Rubric::new(ExactMatch::new()), problems, options)
        .expect_err("the options are invalid");
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let one = [Problem::new("a", "a", "1")];
    refused(&EvaluationOptions { k: vec![5], ..sampled(4) }, &one, "k: must be between 1 and");
    let greedy = EvaluationOptions::greedy(&Sampling::default());
    let greedy = EvaluationOptions { completions_per_problem: 2, ..greedy };
    refused(&greedy, &one, "must be 1 when sampling is greedy");
    refused(&sampled(0), &one, "completions_per_problem: must be at least 1, found 0");
    refused(&sampled(1), &[], "no problems to evaluate on");
}
