//! Texts that end a completion.

use std::sync::Arc;

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::evaluate::{EvaluationOptions, evaluate};
use hint_rollout::{
    Collector, CollectorConfig, Problem, RolloutEngine, Sampling, Seed, StopReason,
};

use crate::scripted::{Bytes, Scripted};

pub(crate) fn sampling() -> Sampling {
    Sampling { stop: vec!["\nQ:".to_owned(), "END".to_owned()], ..Sampling::default() }
}

/// The second completion continues with a problem of its own.
fn script(_: &str, index: usize) -> String {
    let more = ["", "\nQ: 2 + 2? \\boxed{4} END", "..."][index];
    format!("\\boxed{{2}}{more}")
}

#[test]
fn a_completion_is_cut_before_the_first_of_them_with_its_log_probabilities() {
    let (engine, _) = Scripted::new(script);
    let rubric = Rubric::new(ExactMatch::new());
    let config =
        CollectorConfig { group_size: 3, sampling: sampling(), ..CollectorConfig::default() };
    let mut collector = Collector::new(engine, Bytes::default(), rubric, config)
        .expect("the configuration is valid");
    let problem = Problem::new("p", "1 + 1", "2");
    let collected = collector.collect(&[&problem], Seed::new(3)).expect("nothing fails");
    let found = collected.groups[0].rollouts.iter().map(|rollout| {
        let completion = &rollout.completion;
        let lengths = [
            completion.tokens.len(),
            completion.behavior_logprobs.len(),
            completion.loss_mask.len(),
        ];
        (lengths, completion.stop, rollout.score.verdict.is_correct())
    });
    let expected = [
        ([9; 3], StopReason::Stop, true),
        ([9; 3], StopReason::Stop, true),
        ([12; 3], StopReason::Length, true),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!((collected.stats.sampled.tokens, collected.stats.sampled.truncated), (30, 1));
}

#[test]
fn characters_of_several_tokens_stay_whole() {
    // A token is a byte: é has two of them and the mark of a stop text three.
    let (mut engine, _) = Scripted::new(|_: &str, _| "\\boxed{2} é→ more".to_owned());
    let sampling = Sampling { stop: vec!["→".to_owned()], ..Sampling::default() };
    let options = EvaluationOptions { sampling: sampling.greedy(), ..EvaluationOptions::default() };
    let problems = [Problem::new("p", "1 + 1", "2")];
    let rubric = Arc::new(Rubric::new(ExactMatch::new()));
    let found = evaluate(&mut engine, &Bytes::default(), &rubric, &problems, &options, &mut |_| {});
    assert_eq!(found.expect("nothing fails").overall.lengths.max, "\\boxed{2} é".len());
}

#[test]
fn an_evaluation_cuts_as_well() {
    let (mut engine, _) = Scripted::new(|_: &str, _| "\\boxed{2} END \\boxed{3}".to_owned());
    let options =
        EvaluationOptions { sampling: sampling().greedy(), ..EvaluationOptions::default() };
    let problems = [Problem::new("p", "1 + 1", "2")];
    let rubric = Arc::new(Rubric::new(ExactMatch::new()));
    let found = evaluate(&mut engine, &Bytes::default(), &rubric, &problems, &options, &mut |_| {});
    let found = found.expect("nothing fails");
    assert_eq!((found.accuracy(), found.overall.lengths.max), (1.0, 10));
}

/// A completion with two stop texts: one ends at its 12th token, the other begins at its 31st and ends at its 33rd.
pub(crate) const TWO_STOPS: &str = "\\boxed{2}\nQ: 2 + 2? \\boxed{4} END and more...";

/// What is left of [`TWO_STOPS`] with a least length: vLLM too ends at a text that ends behind it.
pub(crate) const fn left_of_two_stops(least: usize) -> (usize, StopReason) {
    match least {
        0..=9 => (9, StopReason::Stop),
        10 | 11 | 31 | 32 => (least, StopReason::Stop),
        12..=30 => (30, StopReason::Stop),
        _ => (TWO_STOPS.len(), StopReason::Length),
    }
}

/// Tokens and end of the two completions that `engine` samples, which are equal.
pub(crate) fn collected(
    engine: impl RolloutEngine + 'static,
    sampling: Sampling,
) -> (usize, StopReason) {
    let rubric = Rubric::new(ExactMatch::new());
    let config = CollectorConfig { group_size: 2, sampling, ..CollectorConfig::default() };
    let mut collector = Collector::new(engine, Bytes::default(), rubric, config)
        .expect("the configuration is valid");
    let problem = Problem::new("p", "1 + 1", "2");
    let collected = collector.collect(&[&problem], Seed::new(3)).expect("nothing fails");
    let [one, other] = &collected.groups[0].rollouts[..] else { panic!("two rollouts") };
    assert_eq!(one.completion, other.completion);
    assert_eq!(one.completion.behavior_logprobs.len(), one.completion.tokens.len());
    (one.completion.tokens.len(), one.completion.stop)
}

#[test]
fn a_text_counts_if_it_ends_behind_the_least_length() {
    for least in 0..=TWO_STOPS.len() {
        let (engine, _) = Scripted::new(|_: &str, _| TWO_STOPS.to_owned());
        let sampling = Sampling { min_completion_len: least, ..sampling() };
        assert_eq!(collected(engine, sampling), left_of_two_stops(least), "{least}");
    }
}
