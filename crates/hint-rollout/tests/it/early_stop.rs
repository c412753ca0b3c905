//! Plain groups that end early.

use std::sync::Arc;

use hint_reward::{ExactMatch, RewardInput, Rubric, from_fn};
use hint_rollout::collect::curriculum::ProblemSuccess;
use hint_rollout::collect::{Collected, EarlyStop};
use hint_rollout::sample::SuccessCount;
use hint_rollout::{
    Collector, CollectorConfig, Completion, GenerationRequest, Hint, PolicyVersion, Problem,
    RolloutEngine, RolloutError, RolloutGroup, Seed, StopReason, hints_from_fn,
};

use crate::scripted::{Bytes, Process, Scripted, Watched, text};

const RIGHT: &str = "\\boxed{1}";
const WRONG: &str = "\\boxed{3}";
const LONG: &str = "let me think about that for long: \\boxed{1}";

/// What is said about each problem. Of the first two completions, the shortest has 9 tokens.
static SCRIPT: [(&str, [&str; 4]); 6] = [
    // The third ends before the second, and is thrown away. The fourth is cut after 12 tokens.
    ("right", [RIGHT, "so \\boxed{1}", RIGHT, LONG]),
    // The others are cut after 9 tokens each.
    ("wrong", [WRONG, WRONG, LONG, LONG]),
    ("mixed", [WRONG, RIGHT, LONG, RIGHT]),
    // The first two agree. Another one that has ended does not, and has no say.
    ("seems", [RIGHT, "so \\boxed{1}", WRONG, LONG]),
    // The second is the last to end, and agrees with the first.
    ("later", [WRONG, "let me think about that for longer: \\boxed{3}", LONG, RIGHT]),
    ("broken", ["nan \\boxed{1}", RIGHT, LONG, RIGHT]),
];

fn said(request: &GenerationRequest, index: usize) -> &'static str {
    let prompt = text(&request.prompt);
    if prompt.contains("a hint") {
        return if index == 0 { RIGHT } else { WRONG };
    }
    let found = SCRIPT.iter().find(|(id, _)| prompt == *id);
    found.map(|(_, said)| said[index]).expect("the prompt is one of the script")
}

fn cut(said: &str, len: usize) -> Completion {
    let len = len.min(said.len());
    let stop = if len < said.len() { StopReason::Length } else { StopReason::Stop };
    let tokens = said.bytes().take(len).map(u32::from).collect();
    Completion::new(tokens, vec![-0.5; len], stop, PolicyVersion(0))
}

/// Writes all completions at the same time, a token of each after the other, and ends requests that are decided.
fn lockstep() -> impl RolloutEngine + 'static {
    Watched::new(|requests, watch| {
        let mut ends = vec![usize::MAX; requests.len()];
        for len in 1..60 {
            for (place, request) in requests.iter().enumerate() {
                for index in 0..request.num_completions {
                    let said = said(request, index);
                    if said.len() == len && len <= ends[place] {
                        watch.on_completion(place, index, &cut(said, len));
                        if watch.is_decided(place) {
                            ends[place] = len;
                        }
                    }
                }
            }
        }
        let group = |(request, end): (&GenerationRequest, usize)| {
            (0..request.num_completions).map(|index| cut(said(request, index), end)).collect()
        };
        Ok(requests.iter().zip(ends).map(group).collect())
    })
}

/// Writes one completion after the other, the last one first, so the first ones are the last to end.
fn last_first() -> impl RolloutEngine + 'static {
    Watched::new(|requests, watch| {
        let group = |(place, request): (usize, &GenerationRequest)| {
            let whole = |index| cut(said(request, index), usize::MAX);
            let group = (0..request.num_completions).map(whole).collect::<Vec<_>>();
            for (index, completion) in group.iter().enumerate().rev() {
                watch.on_completion(place, index, completion);
            }
            group
        };
        Ok(requests.iter().enumerate().map(group).collect())
    })
}

fn config(needed: Option<usize>) -> CollectorConfig {
    let early_stop = needed.map(|needed| EarlyStop { needed });
    CollectorConfig { group_size: 4, early_stop, ..CollectorConfig::default() }
}

fn rubric() -> Rubric {
    let nan = |input: &RewardInput<'_>| {
        if input.completion.contains("nan") { f64::NAN } else { 0.0 }
    };
    Rubric::new(ExactMatch::new()).with(1.0, from_fn("nan", nan))
}

fn collector(
    engine: impl RolloutEngine + 'static,
    config: CollectorConfig,
) -> Result<Collector, RolloutError> {
    Collector::new(engine, Bytes::default(), rubric(), config)
}

fn problems() -> Vec<Problem> {
    SCRIPT.iter().map(|(id, _)| Problem::new(*id, *id, "1")).collect()
}

fn collect(collector: &mut Collector) -> Result<Collected, RolloutError> {
    let problems = problems();
    collector.collect(&problems.iter().collect::<Vec<_>>(), Seed::new(1))
}

fn sizes(groups: &[RolloutGroup]) -> Vec<usize> {
    groups.iter().map(|group| group.rollouts.len()).collect()
}

#[test]
fn a_group_whose_first_completions_agree_ends_and_others_do_not() {
    let mut stopping = collector(lockstep(), config(Some(2))).expect("a valid configuration");
    let found = collect(&mut stopping).expect("it works");
    assert_eq!(sizes(&found.groups), [2, 2, 4, 2, 2, 3]);
    let texts = found.groups[0].rollouts.iter().map(|rollout| rollout.text.as_str());
    assert_eq!(texts.collect::<Vec<_>>(), [RIGHT, "so \\boxed{1}"]);
    let whole = collector(lockstep(), config(None)).and_then(|mut one| collect(&mut one));
    let whole = whole.expect("it works");
    assert_eq!(sizes(&whole.groups), [4, 4, 4, 4, 4, 3]);
    assert_eq!(found.groups[2], whole.groups[2]);
    assert_eq!(found.groups[5], whole.groups[5]);
    let off = whole.stats.sampled;
    assert_eq!((off.stoppable, off.early_stopped, off.early_stopped_tokens), (0, 0, 0));

    let mut shared = collector(lockstep(), config(Some(2))).expect("a valid configuration");
    shared.share_with(Arc::new(Process(1)));
    let by_workers = collect(&mut shared).expect("it works");
    assert_eq!((by_workers.groups, by_workers.stats), (found.groups, found.stats));
}

#[test]
fn a_group_is_the_same_whatever_ends_first() {
    let at_once = collector(lockstep(), config(Some(2))).and_then(|mut one| collect(&mut one));
    let at_once = at_once.expect("it works");
    let last_first = collector(last_first(), config(Some(2))).and_then(|mut one| collect(&mut one));
    let last_first = last_first.expect("it works");
    assert_eq!(at_once.groups, last_first.groups);
    let (at_once, last_first) = (at_once.stats, last_first.stats);
    assert_eq!((at_once.plain, at_once.judged), (last_first.plain, last_first.judged));
    let (at_once, last_first) = (at_once.sampled, last_first.sampled);
    assert_eq!(at_once.lengths, last_first.lengths);
    assert_eq!(at_once.early_stopped, last_first.early_stopped);
    assert!(at_once.early_stopped_tokens < last_first.early_stopped_tokens);
}

#[test]
fn rates_and_lengths_are_over_the_first_completions_of_every_group() {
    let mut collector = collector(lockstep(), config(Some(2))).expect("a valid configuration");
    let stats = collect(&mut collector).expect("it works").stats;
    let sampled = stats.sampled;
    assert_eq!((sampled.stoppable, sampled.early_stopped), (6, 4));
    let later = LONG.len() + RIGHT.len();
    assert_eq!(sampled.early_stopped_tokens, (9 + 12) + (9 + 9) + (9 + 12) + later);
    let all = SCRIPT.iter().flat_map(|(_, said)| said).map(|said| said.len()).sum::<usize>();
    assert_eq!(sampled.tokens, all - 4 * LONG.len() + 42, "what was thrown away was sampled");
    let first = SCRIPT.iter().flat_map(|(_, said)| &said[..2]).map(|said| said.len());
    assert_eq!(sampled.lengths.count, 12);
    assert_eq!(sampled.lengths.sum, first.sum::<usize>());
    assert_eq!((sampled.completions, sampled.truncated), (12, 0), "what was cut is not in there");
    assert_eq!(stats.plain.success, SuccessCount { correct: 6, total: 11 });
    assert_eq!((stats.plain.all_wrong, stats.plain.all_right), (2, 3));
    assert_eq!(stats.judged.verdicts.values().sum::<usize>(), 12);
    assert_eq!((stats.judged.dropped, stats.judged.reward_failures["nan"]), (1, 1));

    let record = |id: &str| {
        let success = collector.record().get(id).copied();
        let ProblemSuccess { plain, mean_tokens, .. } = success.expect("it was asked");
        (plain.correct, plain.total, mean_tokens)
    };
    assert_eq!(record("right"), (2, 2, Some(10.5)));
    assert_eq!(record("wrong"), (0, 2, Some(9.0)));
    assert_eq!(record("mixed"), (1, 2, Some(9.0)));
    assert_eq!(record("broken"), (1, 1, Some(9.0)));
}

#[test]
fn a_group_that_ends_all_wrong_is_hinted_as_a_whole() {
    let hints = hints_from_fn("same", |_| Some(Hint::new("a hint")));
    let collector = collector(lockstep(), config(Some(2))).expect("a valid configuration");
    let mut collector = collector.with_hints(hints);
    let found = collect(&mut collector).expect("it works");
    assert_eq!(sizes(&found.groups), [2, 4, 4, 2, 4, 3]);
    let group = &found.groups[1];
    assert!(group.is_hinted() && group.num_correct() == 1);
    assert_eq!(group.replaced.len(), 2);
    assert!(found.groups[4].is_hinted(), "its first ones are wrong, and the others thrown away");
    let hinted = found.stats.hinted;
    assert_eq!((hinted.groups, hinted.success.total, hinted.paired_plain.total), (2, 8, 4));
    assert_eq!(found.stats.sampled.completions, 20, "none of the hinted ones is left out");
}

#[test]
fn what_cannot_end_groups_is_refused() {
    #[track_caller]
    fn refused(collector: Result<Collector, RolloutError>, words: [&str; 2]) {
        let error = collector.and_then(|mut collector| {
            let at_start = collector.check_data(&problems()).map(|_| ());
            let at_step = collect(&mut collector).map(|_| ());
            assert_eq!(at_start.is_err(), at_step.is_err());
            at_step
        });
        let error = error.expect_err("it cannot work");
        assert!(matches!(error, RolloutError::Config { .. }), "{error}");
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let (silent, log) = Scripted::new(|_: &str, _: usize| RIGHT.to_owned());
    refused(collector(silent, config(Some(2))), ["rollout.early_stop", "ends no requests"]);
    assert!(log.lock().expect("no panic").is_empty(), "nothing is sampled");
    let mut shared = collector(lockstep(), config(Some(2))).expect("a valid configuration");
    shared.share_with(Arc::new(Process(2)));
    refused(Ok(shared), ["rollout.early_stop", "several processes"]);
    for needed in [0, 1, 4, 9] {
        refused(collector(lockstep(), config(Some(needed))), ["early_stop.needed", "at least 2"]);
    }
}
