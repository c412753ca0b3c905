//! Level search, which groups are kept, and how they are combined, through the collector.

use hint_reward::{ExactMatch, Rubric};
use hint_rollout::collect::Collected;
use hint_rollout::collect::hinted::{
    CombineRule, Contrast, HintTrigger, KeepIf, LevelSearch, Taught, Trigger, TriggerInput,
};
use hint_rollout::data::HintLevel;
use hint_rollout::hint::source::{PeerSuccess, PrefixUnit, SolutionPrefix};
use hint_rollout::hint::{EngineWriter, HintWriter};
use hint_rollout::run::{RunProgress, StepContext, ValueSchedule};
use hint_rollout::sample::RolloutSource;
use hint_rollout::{
    Collector, CollectorConfig, Hint, HintProvider, HintRequest, Problem, Rollout, RolloutError,
    Seed,
};

use crate::scripted::{Bytes, Log, Scripted};

/// The first letters of the problem's solution, as many as the level says.
struct Letters;

impl HintProvider for Letters {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let Some(solution) = &request.problem.solution else { return Ok(None) };
        let count = request.level.of(solution.len());
        Ok(Some(Hint::prefix(&solution[..count])))
    }

    fn levels(&self, _problem: &Problem) -> Option<usize> {
        None
    }
}

/// The solution as it is.
struct Demonstrations;

impl HintProvider for Demonstrations {
    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        Ok(request.problem.solution.clone().map(Hint::demonstration))
    }
}

fn problem() -> Problem {
    Problem::new("p", "6 * 7 =", "42").with_solution(" think \\boxed{42}")
}

/// Every other completion is right once the prompt shows `needed` letters of the solution.
fn collect(
    config: CollectorConfig,
    hints: impl HintProvider + 'static,
    needed: usize,
    progress: RunProgress,
) -> (Collected, Vec<String>) {
    let (engine, log) = Scripted::new(move |prompt: &str, index| {
        let shown = prompt.len() - "6 * 7 =".len();
        let right = shown >= needed && index.is_multiple_of(2);
        if right { "\\boxed{42}".to_owned() } else { "\\boxed{0}".to_owned() }
    });
    let mut collector =
        Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config)
            .expect("the configuration is valid")
            .with_hints(hints);
    let context = StepContext { seed: Seed::new(1), progress };
    let collected = collector.collect(&[&problem()], context).expect("the script works");
    let prompts = log.lock().expect("no test panics here").iter().map(|(p, _)| p.clone()).collect();
    (collected, prompts)
}

fn config() -> CollectorConfig {
    CollectorConfig { group_size: 4, ..CollectorConfig::default() }
}

const START: RunProgress = RunProgress::new(0, 100);

#[test]
fn a_ladder_of_prefixes_stops_at_the_first_success_and_continues_the_solution() {
    let level = LevelSearch::Ladder { shares: Some(vec![0.25, 0.5, 0.75]), plain_first: false };
    let config = CollectorConfig { level, ..config() };
    let (collected, prompts) = collect(config, Letters, 8, START);
    // 17 letters: a quarter is 5, half is 9.
    assert_eq!(prompts, ["6 * 7 =", "6 * 7 = thin", "6 * 7 = think \\b"]);
    let [group] = &collected.groups[..] else { panic!("one group") };
    assert_eq!((group.rollouts.len(), group.num_correct(), group.replaced.len()), (4, 2, 4));
    let applied = group.hint().expect("the group is hinted");
    assert_eq!((applied.prefix_len, applied.share), (9, 0.5));
    assert_eq!(group.rollouts[0].text, " think \\b\\boxed{42}", "prefix and continuation");
    assert_eq!(group.rollouts[0].source(), RolloutSource::Prefix);
    let stats = &collected.stats;
    assert_eq!((stats.hinted.attempts, stats.hinted.groups, stats.hinted.rescued), (2, 1, 1));
    assert_eq!(stats.sampled.completions, 12);
    // The first rung's completions helped nobody, and stay to be looked at.
    let shares = group.discarded.iter().map(|one| one.hint.as_ref().expect("hinted").share);
    assert_eq!(shares.collect::<Vec<_>>(), [0.25; 4]);
}

#[test]
fn a_ladder_may_begin_with_the_plain_prompt_once_more() {
    // Solved at the second sampling of the plain prompt; or never there.
    for (solved_at, prompts, is_hinted) in [(2, 2, false), (99, 3, true)] {
        let mut seen = 0;
        let (engine, log) = Scripted::new(move |prompt: &str, index| {
            seen += usize::from(index == 0 && prompt == "6 * 7 =");
            let right = seen == solved_at || prompt != "6 * 7 =";
            let text = if right && index.is_multiple_of(2) { r"\boxed{42}" } else { r"\boxed{0}" };
            text.to_owned()
        });
        let level = LevelSearch::Ladder { shares: Some(vec![0.5, 1.0]), plain_first: true };
        let config = CollectorConfig { level, ..config() };
        let rubric = Rubric::new(ExactMatch::new());
        let mut collector = Collector::new(engine, Bytes::default(), rubric, config)
            .expect("the configuration is valid")
            .with_hints(Letters);
        let collected = collector.collect(&[&problem()], Seed::new(1)).expect("the script works");
        assert_eq!(log.lock().expect("no test panics here").len(), prompts);
        let [group] = &collected.groups[..] else { panic!("one group") };
        assert_eq!((group.is_hinted(), group.num_correct()), (is_hinted, 2));
        let stats = &collected.stats;
        assert_eq!(stats.hinted.groups, usize::from(is_hinted), "the plain prompt is no hint");
        let record = collector.record().get("p").expect("it was asked");
        let plain = if is_hinted { 4 } else { 8 };
        assert_eq!((record.plain.total, record.level), (plain, None));
    }
}

#[test]
fn a_steered_share_is_remembered_from_visit_to_visit_and_in_the_state() {
    let annealing = ValueSchedule::constant(1.0);
    let level = LevelSearch::Steered { start: 0.5, target_rate: 0.5, gain: 0.5, annealing };
    let config = CollectorConfig { level, trigger: HintTrigger::Always, ..config() };
    let collector = |config: &CollectorConfig| {
        // Half of the completions are right from 13 letters on.
        let (engine, log) = Scripted::new(|prompt: &str, index| {
            let right = prompt.len() >= "6 * 7 =".len() + 13 && index.is_multiple_of(2);
            if right { "\\boxed{42}".to_owned() } else { "\\boxed{0}".to_owned() }
        });
        let rubric = Rubric::new(ExactMatch::new());
        let collector = Collector::new(engine, Bytes::default(), rubric, config.clone());
        (collector.expect("the configuration is valid").with_hints(Letters), log)
    };
    let config = CollectorConfig { keep_if: KeepIf::Always, ..config };
    let (mut first, log) = collector(&config);
    let mut levels = Vec::new();
    for visit in 0..3 {
        first.collect(&[&problem()], Seed::new(visit)).expect("the script works");
        levels.push(first.record().get("p").expect("it was asked").level.expect("steered"));
    }
    // Nothing right at a half; half right at three quarters, which stay.
    assert_eq!(levels, [0.75, 0.75, 0.75]);
    let lens = |log: &Log| {
        let log = log.lock().expect("no test panics here");
        log.iter().map(|(prompt, _)| prompt.len() - "6 * 7 =".len()).collect::<Vec<_>>()
    };
    assert_eq!(lens(&log), [9, 13, 13], "17 letters");
    let (mut second, log) = collector(&config);
    second.load_state(&first.state()).expect("its own state");
    second.collect(&[&problem()], Seed::new(9)).expect("the script works");
    assert_eq!(lens(&log), [13], "the share of the first");
}

#[test]
fn a_trigger_may_look_for_few_answers() {
    let trigger = HintTrigger::AnswerDiversityBelow { share: 0.5 };
    let fires = |answers| trigger.fires(&TriggerInput::new(0, 4).with_answers(answers));
    assert_eq!([fires(1), fires(2), fires(4)], [true, false, false]);
    assert!(!trigger.fires(&TriggerInput::new(0, 0)), "no completion, no answer");
}

#[test]
fn a_success_of_the_group_is_a_hint_for_the_others() {
    let (engine, _) =
        Scripted::new(|_, index| format!("\\boxed{{{}}}", if index == 2 { 42 } else { 0 }));
    let combine =
        CombineRule::Teach { completions: Taught::Wrong, contrast: Contrast::None, samples: false };
    let config = CollectorConfig { combine, trigger: HintTrigger::Always, ..config() };
    let rubric = Rubric::new(ExactMatch::new());
    let mut collector = Collector::new(engine, Bytes::default(), rubric, config)
        .expect("the configuration is valid")
        .with_hints(PeerSuccess);
    let collected = collector.collect(&[&problem()], Seed::new(1)).expect("the script works");
    let teacher = collected.groups[0].teacher.as_ref().expect("one was right");
    assert!(teacher.hint.hint.text.contains(r"Correct solution: \boxed{42}"), "{:?}", teacher.hint);
    assert_eq!(teacher.is_taught, [true, true, false, true]);
}

#[test]
fn a_prefix_in_tokens_is_cut_by_the_policys_own_tokens() {
    let level = LevelSearch::Ladder { shares: Some(vec![0.25]), plain_first: false };
    let config = CollectorConfig { level, ..config() };
    let (_, prompts) = collect(config, SolutionPrefix::new(PrefixUnit::Token), 99, START);
    assert_eq!(prompts, ["6 * 7 =", "6 * 7 = thin"]);
    // Here a token is a byte, and `é` has two of them: it is there as a whole or not at all.
    let (mut engine, _) = Scripted::new(|_, _| String::new());
    let format = Bytes::default();
    let mut writer = EngineWriter::new(&mut engine, &format);
    let mut cut = |share| writer.first_tokens("aé b", HintLevel::new(share)).expect("bytes");
    assert_eq!([cut(0.0), cut(0.2), cut(0.4)], ["", "a", "a"]);
    let problem = problem();
    let alone = SolutionPrefix::new(PrefixUnit::Token).hint(&HintRequest::new(&problem));
    assert!(alone.is_err(), "tokens are the policy's");
}

#[test]
fn a_hint_that_does_not_help_changes_nothing() {
    let level = LevelSearch::Ladder { shares: Some(vec![0.25, 0.5]), plain_first: false };
    let (collected, prompts) = collect(CollectorConfig { level, ..config() }, Letters, 99, START);
    assert_eq!(prompts.len(), 3);
    let [group] = &collected.groups[..] else { panic!("one group") };
    assert!(!group.is_hinted() && group.replaced.is_empty());
    assert_eq!((collected.stats.hinted.groups, collected.stats.hinted.rescued), (1, 0));
    assert_eq!(group.discarded.len(), 8, "both attempts");
}

#[test]
fn keeping_can_ask_for_differences() {
    for (keep_if, correct, total, expected) in [
        (KeepIf::Always, 0, 4, true),
        (KeepIf::Always, 0, 0, false),
        (KeepIf::AnyCorrect, 0, 4, false),
        (KeepIf::AnyCorrect, 4, 4, true),
        (KeepIf::Mixed, 4, 4, false),
        (KeepIf::Mixed, 1, 4, true),
    ] {
        assert_eq!(keep_if.keeps(correct, total), expected, "{keep_if:?} {correct}/{total}");
    }
}

#[test]
fn combinations_put_successes_where_they_say() {
    let combined = |combine| {
        let (collected, _) = collect(CollectorConfig { combine, ..config() }, Letters, 1, START);
        let [group] = &collected.groups[..] else { panic!("one group") };
        let sources = group.rollouts.iter().map(Rollout::is_hinted);
        let others = (group.replaced.len(), group.supervised.len(), group.discarded.len());
        (sources.collect::<Vec<_>>(), others)
    };
    assert_eq!(combined(CombineRule::ReplaceAll), (vec![true; 4], (4, 0, 0)));
    let one = vec![true, false, false, false];
    assert_eq!(combined(CombineRule::ReplaceOneFailure), (one, (1, 0, 3)));
    let two = vec![true, true, false, false];
    assert_eq!(combined(CombineRule::ReplaceFailures), (two, (2, 0, 2)));
    let appended = [vec![false; 4], vec![true; 4]].concat();
    assert_eq!(combined(CombineRule::Append), (appended, (0, 0, 0)));
    assert_eq!(combined(CombineRule::Supervise), (vec![false; 4], (0, 2, 2)));
}

#[test]
fn demonstrations_join_without_being_sampled() {
    let config =
        CollectorConfig { trigger: HintTrigger::Always, combine: CombineRule::Append, ..config() };
    let (collected, prompts) = collect(config, Demonstrations, 99, START);
    assert_eq!(prompts, ["6 * 7 ="]);
    let [group] = &collected.groups[..] else { panic!("one group") };
    let demonstration = group.rollouts.last().expect("it was appended");
    assert_eq!(demonstration.source(), RolloutSource::Demonstration);
    assert!(demonstration.is_correct());
    assert_eq!(demonstration.completion.tokens.len(), " think \\boxed{42}".len());
    assert!(demonstration.completion.behavior_logprobs.iter().all(|logprob| *logprob == 0.0));
    assert_eq!(collected.stats.sampled.completions, 4, "only what was sampled counts");
    assert_eq!(group.rewards(), [0.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn plain_completions_that_nobody_looks_at_are_not_sampled() {
    let level = LevelSearch::Binomial { count: 5, probability: ValueSchedule::constant(1.0) };
    let always = CollectorConfig { trigger: HintTrigger::Always, level, ..config() };
    let (collected, prompts) = collect(always.clone(), Letters, 1, START);
    assert_eq!(prompts, ["6 * 7 = think \\boxed{42}"]);
    assert_eq!(collected.groups[0].rollouts.len(), 4);
    // No hint at all: the plain prompt is sampled after all.
    let level = LevelSearch::Binomial { count: 5, probability: ValueSchedule::constant(0.0) };
    let (collected, prompts) = collect(CollectorConfig { level, ..always }, Letters, 1, START);
    assert_eq!(prompts, ["6 * 7 ="]);
    assert!(!collected.groups[0].is_hinted());
}

#[test]
fn annealed_help_ends() {
    let over = hint_rollout::run::RunPoint::Fraction { fraction: 0.5 };
    let schedule = ValueSchedule::Linear { from: 1.0, to: 0.0, over, afterwards: None };
    let config = CollectorConfig { level: LevelSearch::One { level: schedule }, ..config() };
    let shown = |step| {
        let (_, prompts) = collect(config.clone(), Letters, 99, RunProgress::new(step, 100));
        prompts.get(1).map(|prompt| prompt.len() - "6 * 7 =".len())
    };
    assert_eq!([shown(0), shown(25), shown(50)], [Some(17), Some(9), None]);
}

#[test]
fn the_record_follows_problems_over_the_run_and_resumes() {
    let build = || {
        let mut visits = 0;
        // Solved with a hint, and without one from the third visit on.
        let (engine, _) = Scripted::new(move |prompt: &str, index| {
            let plain = prompt.len() == "6 * 7 =".len();
            visits += usize::from(plain && index == 0);
            let right = if plain { visits >= 3 && index == 0 } else { index < 2 };
            if right { "\\boxed{42}".to_owned() } else { "\\boxed{0}".to_owned() }
        });
        Collector::new(engine, Bytes::default(), Rubric::new(ExactMatch::new()), config())
            .expect("the configuration is valid")
            .with_hints(Letters)
    };
    let mut collector = build();
    for visit in 0..3 {
        collector.collect(&[&problem()], Seed::new(visit)).expect("the script works");
    }
    let success = collector.record().get("p").expect("the problem was asked");
    assert_eq!((success.plain.correct, success.plain.total), (1, 12));
    assert_eq!((success.last.correct, success.last.total), (1, 4));
    assert_eq!((success.hinted.correct, success.hinted.total), (4, 8));
    assert_eq!((success.plain_after_hint.correct, success.plain_after_hint.total), (1, 8));
    assert_eq!(collector.record().internalization_gap(), Some(0.5 - 0.125));
    let mut resumed = build();
    resumed.load_state(&collector.state()).expect("its own state");
    assert_eq!(resumed.record(), collector.record());
}
