//! Evaluation without hints.

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::{EvaluationOptions, Problem, Sampling, evaluate};

use crate::scripted::{Bytes, Scripted};

#[test]
fn accuracy_is_counted_by_level_on_plain_prompts() {
    let (mut engine, log) = Scripted::new(|prompt: &str, _| match prompt {
        "a" => "\\boxed{1}".to_owned(),
        "b" => "\\boxed{9}".to_owned(),
        _ => "no answer ...".to_owned(),
    });
    let problems = [
        Problem::new("a", "a", "1").with_level("1").with_hint("never shown"),
        Problem::new("b", "b", "2").with_level("1"),
        Problem::new("c", "c", "3").with_level("2"),
    ];
    let options =
        EvaluationOptions { completions_per_problem: 2, sampling: Sampling::default(), seed: 1 };
    let rubric = Rubric::new(ExactMatch::new());
    let evaluation = evaluate(&mut engine, &Bytes::default(), &rubric, &problems, &options)
        .expect("the script works");
    assert_eq!((evaluation.all.correct, evaluation.all.total), (2, 6));
    assert_eq!(evaluation.by_level["1"].rate(), Some(0.5));
    assert_eq!(evaluation.by_level["2"].rate(), Some(0.0));
    assert_eq!(evaluation.truncated, 2);
    assert!(log.lock().expect("no test panics here").iter().all(|(prompt, _)| prompt.len() == 1));
}
