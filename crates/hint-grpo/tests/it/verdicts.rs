//! The rules behind a run's verdict, on made histories: each fires beyond its bound, and none on a healthy run.

mod teaching;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use hint_grpo::verdict::{Condition, History, RULES, RunVerdict};
use hint_grpo::{GrpoConfig, Metrics, metrics};
use hint_rollout::collect::curriculum::{DynamicSampling, ProblemSelection, SignalCriterion};
use hint_rollout::collect::hinted::{CombineRule, Contrast, HintTrigger, Taught};
use hint_rollout::hint::leak::LeakAction;
use hint_rollout::hint::source::{HintSourceConfig, PrefixUnit};

/// A step of a healthy run.
const HEALTHY: [(&str, f64); 17] = [
    (metrics::COMPLETIONS_CLIPPED_RATIO, 0.02),
    (metrics::ENTROPY_TRAINED, 0.5),
    (metrics::FRAC_REWARD_ZERO_STD, 0.4),
    (metrics::GRAD_NORM, 0.1),
    (metrics::HINT_HINTED_FRAC, 0.3),
    (metrics::HINT_LEAKING_ANSWER_FRAC, 0.0),
    (metrics::HINT_RESCUED_FRAC, 0.5),
    (metrics::LEARNING_RATE, 1e-6),
    (metrics::ROLLOUT_ALL_RIGHT_FRAC, 0.2),
    (metrics::ROLLOUT_ALL_WRONG_FRAC, 0.3),
    (metrics::ROLLOUT_COLLAPSED_FRAC, 0.1),
    (metrics::ROLLOUT_DROPPED_FRAC, 0.0),
    (metrics::ROLLOUT_PASS_RATE, 0.4),
    (metrics::ROLLOUT_SHAPING_ONLY_FRAC, 0.0),
    (metrics::SAMPLING_LOGP_DIFFERENCE, 0.01),
    (metrics::SKIPPED_UPDATES, 0.0),
    (metrics::WEIGHTS_CHANGED_FRAC, 0.7),
];

/// `steps` steps of a healthy run, with metrics of the last `changed` ones set to other values.
fn history(steps: u64, changed: u64, values: &[(&str, f64)]) -> History {
    let mut history = History::new();
    for step in 1..=steps {
        let mut of_step = Metrics::new();
        for (name, value) in HEALTHY {
            of_step.set(name, value);
        }
        of_step.set(metrics::NUM_UPDATES, step as f64);
        for (name, value) in values.iter().filter(|_| step > steps - changed) {
            of_step.set(*name, *value);
        }
        history.record(step, &of_step);
    }
    history
}

fn conditions(history: &History) -> Vec<Condition> {
    let verdict = RunVerdict::of(history, &GrpoConfig::default());
    verdict.findings.iter().map(|finding| finding.condition).collect()
}

/// The condition holds with the first values, which are just beyond the bound, and not with the second.
#[track_caller]
fn check(condition: Condition, beyond: &[(&str, f64)], within: &[(&str, f64)]) {
    let found = conditions(&history(40, 5, beyond));
    assert!(found.contains(&condition), "{found:?} lacks {condition}");
    let found = conditions(&history(40, 5, within));
    assert!(!found.contains(&condition), "{found:?} has {condition}");
    // What happened before the latest steps does not count.
    let mut past = history(20, 20, beyond);
    let mut healthy = Metrics::new();
    for (name, value) in HEALTHY {
        healthy.set(name, value);
    }
    for step in 21..=40 {
        healthy.set(metrics::NUM_UPDATES, step as f64);
        healthy.set(metrics::EVAL_FAILED_FRAC, 0.0);
        past.record(step, &healthy);
    }
    let found = conditions(&past);
    assert!(!found.contains(&condition), "{condition} is over: {found:?}");
}

#[test]
fn a_healthy_run_has_no_finding_and_a_young_one_no_verdict() {
    let verdict = |steps| RunVerdict::of(&history(steps, 0, &[]), &GrpoConfig::default());
    for steps in [3, 10, 200] {
        assert_eq!(verdict(steps).findings, []);
        assert_eq!(verdict(steps).condition(), Some(Condition::Healthy));
        assert_eq!(verdict(steps).to_string(), "HEALTHY");
    }
    assert_eq!((verdict(2).condition(), verdict(0).condition()), (None, None));
    assert_eq!(verdict(2).to_string(), "too early for a verdict");
    let wrong = [(metrics::ROLLOUT_ALL_WRONG_FRAC, 1.0), (metrics::HINT_HINTED_FRAC, 0.0)];
    let wrong = RunVerdict::of(&history(1, 1, &wrong), &GrpoConfig::default());
    let text = "too early for a verdict; so far 100 % of the groups are all wrong";
    assert_eq!((wrong.condition(), wrong.to_string().as_str()), (None, text));
}

#[test]
fn each_rule_fires_beyond_its_bound() {
    let one =
        |condition, name, beyond, within| check(condition, &[(name, beyond)], &[(name, within)]);
    one(Condition::Unjudged, metrics::ROLLOUT_DROPPED_FRAC, 0.021, 0.02);
    one(Condition::Unjudged, metrics::EVAL_FAILED_FRAC, 0.021, 0.02);
    one(Condition::CutOff, metrics::COMPLETIONS_CLIPPED_RATIO, 0.11, 0.1);
    one(Condition::Mismatch, metrics::SAMPLING_LOGP_DIFFERENCE, 0.11, 0.1);
    one(Condition::Leaking, metrics::HINT_LEAKING_ANSWER_FRAC, 0.021, 0.02);
    one(Condition::PseudoSignal, metrics::ROLLOUT_SHAPING_ONLY_FRAC, 0.31, 0.3);
    one(Condition::Saturated, metrics::ROLLOUT_ALL_RIGHT_FRAC, 0.81, 0.8);
    one(Condition::Worsening, metrics::ROLLOUT_PASS_RATE, 0.34, 0.36);
    one(Condition::Collapsing, metrics::ENTROPY_TRAINED, 0.099, 0.101);
    one(Condition::Frozen, metrics::WEIGHTS_CHANGED_FRAC, 0.0009, 0.001);
    one(Condition::Frozen, metrics::GRAD_NORM, 0.0, 1e-9);
    one(Condition::Frozen, metrics::LEARNING_RATE, 0.0, 1e-9);
}

/// The history of a run of these metrics, by step.
fn recorded_as(steps: impl IntoIterator<Item = (u64, Vec<(&'static str, f64)>)>) -> History {
    let mut history = History::new();
    for (step, values) in steps {
        history.record_with(step, |name| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        });
    }
    history
}

/// An evaluation with an interval of 0.05 to each side.
fn evaluated(avg: f64) -> Vec<(&'static str, f64)> {
    use metrics::{EVAL_AVG, EVAL_AVG_HIGH, EVAL_AVG_LOW};
    vec![(EVAL_AVG, avg), (EVAL_AVG_LOW, avg - 0.05), (EVAL_AVG_HIGH, avg + 0.05)]
}

#[test]
fn an_accuracy_below_the_best_one_is_worse_whatever_the_reward() {
    let run = |newest: f64| {
        recorded_as((0..=40).map(|step| {
            let mut of_step = match step {
                0 => evaluated(0.5),
                20 => evaluated(0.6),
                40 => evaluated(newest),
                _ => Vec::new(),
            };
            of_step.push((metrics::REWARD, 0.01 * step as f64));
            (step, of_step)
        }))
    };
    let verdict = RunVerdict::of(&run(0.2), &GrpoConfig::default());
    let text = "WORSENING: accuracy without hints fell from 0.60 [0.55, 0.65] to 0.20 [0.15, 0.25]; the reward went \
                from 0.02 to 0.38 (steps 20–40)";
    assert_eq!(verdict.to_string(), text);
    assert!(verdict.findings[0].advice.contains("the reward pays for something else"));
    // The intervals meet at 0.55.
    assert_eq!(conditions(&run(0.49)), [Condition::Worsening]);
    assert_eq!(conditions(&run(0.51)), []);
}

#[test]
fn what_may_be_the_cause_of_a_fall_comes_first() {
    let values = [(metrics::ENTROPY_TRAINED, 0.05), (metrics::ROLLOUT_PASS_RATE, 0.2)];
    let found = conditions(&history(40, 5, &values));
    assert_eq!(found, [Condition::Collapsing, Condition::Worsening]);
}

#[test]
fn a_loss_of_demonstrations_that_rises_is_worse() {
    let run = |last: f64| {
        let nll = |step: u64| if step > 15 { last } else { 1.0 };
        recorded_as((1..=20).map(|step| (step, vec![(metrics::NLL, nll(step))])))
    };
    assert_eq!(conditions(&run(1.21)), [Condition::Worsening]);
    assert_eq!(conditions(&run(1.19)), []);
}

#[test]
fn chance_and_another_choice_of_problems_make_no_run_worse() {
    // A congruential generator, for pass rates of few problems: around 0.5, by 0.2 up and down.
    let fires = |seed: u32| {
        let mut state = seed.wrapping_mul(2_654_435_761);
        let mut noisy = History::new();
        (1..=200).any(|step| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let rate = 0.5 + f64::from(state >> 8) / f64::from(1 << 24) * 0.4 - 0.2;
            noisy.record_with(step, |name| (name == metrics::ROLLOUT_PASS_RATE).then_some(rate));
            step % 5 == 0 && !conditions(&noisy).is_empty()
        })
    };
    let fired = (1..=100).filter(|seed| fires(*seed)).count();
    assert!(fired <= 3, "{fired} of 100 runs without a change");
    let fallen = history(40, 10, &[(metrics::ROLLOUT_PASS_RATE, 0.15)]);
    assert_eq!(conditions(&fallen), [Condition::Worsening]);
    let mut config = GrpoConfig::default();
    config.rollout.selection = ProblemSelection::Curriculum { floor: 0.2 };
    assert_eq!(RunVerdict::of(&fallen, &config).condition(), Some(Condition::Healthy));
}

#[test]
fn a_run_starves_unless_hints_rescue_its_groups() {
    use metrics::{HINT_HINTED_FRAC as HINTED, HINT_RESCUED_FRAC as RESCUED};
    use metrics::{ROLLOUT_ALL_RIGHT_FRAC as RIGHT, ROLLOUT_ALL_WRONG_FRAC as WRONG};
    let all = |hinted, rescued| [(WRONG, 0.9), (HINTED, hinted), (RESCUED, rescued)];
    // 0.9 · 0.9 is 0.81, and 0.9 · 0.88 is 0.79: above 80 % the pass rate may rise.
    let rising = |rescued| {
        [(WRONG, 0.9), (HINTED, 0.9), (RESCUED, rescued), (metrics::ROLLOUT_PASS_RATE, 0.46)]
    };
    check(Condition::Starved, &rising(0.1), &rising(0.12));
    // Every other group is all wrong: a matter of whether the pass rate of 0.4 rises.
    let half = |pass| [(WRONG, 0.51), (HINTED, 0.0), (metrics::ROLLOUT_PASS_RATE, pass)];
    check(Condition::Starved, &half(0.44), &half(0.46));
    check(Condition::Starved, &half(0.3), &[(WRONG, 0.5), (HINTED, 0.0)]);
    check(Condition::Starved, &all(0.0, 0.0), &all(0.9, 0.9));
    // Most groups have no signal, of both kinds.
    let equal = |wrong, right| {
        [(metrics::FRAC_REWARD_ZERO_STD, 0.85), (WRONG, wrong), (RIGHT, right), (HINTED, 0.0)]
    };
    check(Condition::Starved, &equal(0.45, 0.4), &equal(0.4, 0.45));
    check(Condition::Saturated, &equal(0.4, 0.45), &equal(0.45, 0.4));
    // Graded rewards differ although verdicts do not.
    let graded = |frac| [(WRONG, 0.9), (HINTED, 0.0), (metrics::ROLLOUT_GRADED_FRAC, frac)];
    check(Condition::Starved, &graded(0.19), &graded(0.21));
    let graded = |frac| [(RIGHT, 0.9), (metrics::ROLLOUT_GRADED_FRAC, frac)];
    check(Condition::Saturated, &graded(0.19), &graded(0.21));
    let verdict = RunVerdict::of(&history(40, 5, &all(0.9, 0.1)), &GrpoConfig::default());
    let text = verdict.to_string();
    let expected = "STARVED: 90 % of the groups are all wrong, 81 % after hints; the pass rate went from 0.40 to \
                    0.40 (steps 36–40)";
    assert_eq!(text, expected);
    let collapsed = [(WRONG, 0.9), (HINTED, 0.0), (metrics::ROLLOUT_COLLAPSED_FRAC, 0.6)];
    let found = conditions(&history(40, 5, &collapsed));
    assert_eq!(found, [Condition::Starved, Condition::Collapsing], "0.9 · 0.6 is above one half");
}

/// Runs of the embedded task, as `hint-rl train` recorded them: thirty steps with three seeds of two methods, and sixty
/// of `late-0`, which is GRPO with two passes over each batch and finds a signal in its tenth step.
const RECORDED: &str = include_str!("recorded_runs.tsv");

/// The verdict after each step of every recorded run, by the run's name.
fn recorded() -> BTreeMap<&'static str, Vec<Option<Condition>>> {
    let mut lines = RECORDED.lines().map(|line| line.split('\t'));
    let names = lines.next().expect("a head").skip(2).collect::<Vec<_>>();
    let mut runs = BTreeMap::<_, (History, Vec<_>)>::new();
    for mut cells in lines {
        let (run, step) = (cells.next().expect("a run"), cells.next().expect("a step"));
        let values = cells.map(|cell| cell.parse::<f64>().ok()).collect::<Vec<_>>();
        let (history, verdicts) = runs.entry(run).or_default();
        history.record_with(step.parse().expect("a number"), |name| {
            names.iter().position(|known| *known == name).and_then(|at| values[at])
        });
        verdicts.push(RunVerdict::of(history, &GrpoConfig::default()).condition());
    }
    runs.into_iter().map(|(run, (_, verdicts))| (run, verdicts)).collect()
}

#[test]
fn a_recorded_run_that_learns_nothing_is_starved_throughout_and_one_with_hints_healthy() {
    let recorded = recorded();
    assert_eq!(recorded.len(), 7);
    for (run, verdicts) in recorded {
        assert_eq!(verdicts[..2], [None, None], "{run}: too early");
        let mut states = verdicts[2..].to_vec();
        states.dedup();
        let expected = match run.split_once('-').expect("method and seed").0 {
            "grpo" => vec![Condition::Starved],
            "hint" => vec![Condition::Healthy],
            _ => vec![Condition::Starved, Condition::Healthy, Condition::Saturated],
        };
        assert_eq!(states, expected.into_iter().map(Some).collect::<Vec<_>>(), "{run}");
    }
}

#[test]
fn a_mean_near_its_bound_does_not_turn_a_verdict_on_and_off() {
    let mut history = History::new();
    let mut found = Vec::new();
    // Means of 5 steps: around 0.1, where the bound is, then below 0.08.
    let shares = [0.10, 0.12, 0.09].into_iter().cycle().take(30).chain([0.07; 10]);
    for (step, share) in (1..).zip(shares) {
        let mut of_step = Metrics::new();
        of_step.set(metrics::COMPLETIONS_CLIPPED_RATIO, share);
        history.record(step, &of_step);
        found.push(conditions(&history).contains(&Condition::CutOff));
    }
    assert_eq!(found.iter().position(|found| *found), Some(1));
    let changes = found.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((changes, found.last()), (2, Some(&false)), "{found:?}");
}

#[test]
fn shaping_counts_where_it_is_most_of_the_signal() {
    use metrics::{FRAC_REWARD_ZERO_STD as EQUAL, ROLLOUT_SHAPING_ONLY_FRAC as SHAPING};
    check(
        Condition::PseudoSignal,
        &[(SHAPING, 0.21), (EQUAL, 0.6)],
        &[(SHAPING, 0.2), (EQUAL, 0.7)],
    );
}

#[test]
fn skipped_optimizer_steps_freeze_a_run() {
    let skipped = |each: f64| {
        let mut history = History::new();
        for step in 1..=20_u64 {
            let mut of_step = Metrics::new();
            of_step.set(metrics::SKIPPED_UPDATES, each * step as f64);
            of_step.set(metrics::NUM_UPDATES, (1.0 - each) * step as f64);
            history.record(step, &of_step);
        }
        history
    };
    assert_eq!(conditions(&skipped(0.6)), [Condition::Frozen]);
    assert_eq!(conditions(&skipped(0.5)), []);
    let pause = history(2, 2, &[(metrics::LEARNING_RATE, 0.0), (metrics::GRAD_NORM, 0.0)]);
    assert_eq!(conditions(&pause), [], "two steps of a warm-up are no finding");
}

#[test]
fn leaks_that_a_teacher_alone_sees_are_no_finding() {
    let leaks = |hinted: f64| {
        let values = [
            (metrics::HINT_LEAKING_ANSWER_FRAC, 1.0),
            (metrics::HINT_HINTED_FRAC, hinted),
            (metrics::HINT_TAUGHT_FRAC, 1.0),
        ];
        history(10, 10, &values)
    };
    let mut config = GrpoConfig::default();
    let teach = |samples| CombineRule::Teach {
        completions: Taught::All,
        contrast: Contrast::None,
        samples,
    };
    config.rollout.combine = teach(false);
    assert_eq!(RunVerdict::of(&leaks(0.0), &config).findings, []);
    // Completions that are sampled under such a hint as well may copy.
    config.rollout.combine = teach(true);
    let verdict = RunVerdict::of(&leaks(0.5), &config);
    assert_eq!(verdict.condition(), Some(Condition::Leaking));
    assert!(!verdict.findings[0].advice.contains("drop"), "{}", verdict.findings[0].advice);
}

#[test]
fn a_source_that_shows_the_solution_is_not_told_to_drop_its_hints() {
    let history = history(10, 10, &[(metrics::HINT_LEAKING_ANSWER_FRAC, 1.0)]);
    let mut config = GrpoConfig::default();
    config.rollout.source =
        HintSourceConfig::SolutionPrefix { unit: PrefixUnit::Word, in_prompt: false };
    let verdict = RunVerdict::of(&history, &config);
    assert_eq!(verdict.condition(), Some(Condition::Leaking));
    let advice = &verdict.findings[0].advice;
    assert!(advice.contains("`eval/avg`") && !advice.contains("drop"), "{advice}");
}

#[test]
fn leaks_that_the_guard_removes_are_no_finding() {
    let history = history(10, 10, &[(metrics::HINT_LEAKING_ANSWER_FRAC, 1.0)]);
    let mut config = GrpoConfig::default();
    assert_eq!(RunVerdict::of(&history, &config).condition(), Some(Condition::Leaking));
    config.rollout.leak_guard.action = LeakAction::Mask;
    assert_eq!(RunVerdict::of(&history, &config).condition(), Some(Condition::Healthy));
}

#[test]
fn the_most_urgent_finding_is_the_verdict() {
    let dead = [
        (metrics::COMPLETIONS_CLIPPED_RATIO, 0.94),
        (metrics::ROLLOUT_ALL_WRONG_FRAC, 1.0),
        (metrics::HINT_HINTED_FRAC, 0.0),
        (metrics::GRAD_NORM, 0.0),
    ];
    let verdict = RunVerdict::of(&history(10, 10, &dead), &GrpoConfig::default());
    assert_eq!(
        verdict.to_string(),
        "CUT OFF: 94 % of the completions end at 3000 tokens (steps 6–10); also STARVED, FROZEN"
    );
}

#[test]
fn a_policy_that_learned_its_task_may_be_certain() {
    let certain = (metrics::ENTROPY_TRAINED, 0.05);
    let found = |pass| conditions(&history(40, 10, &[certain, (metrics::ROLLOUT_PASS_RATE, pass)]));
    assert!(found(0.44).contains(&Condition::Collapsing));
    assert!(!found(0.9).contains(&Condition::Collapsing));
}

/// A step of 12 groups, in place of which others are drawn.
fn redrawing() -> GrpoConfig {
    let mut config = GrpoConfig::default();
    config.run.prompts_per_step = 12;
    config.rollout.trigger = HintTrigger::Never;
    config.rollout.dynamic_sampling =
        DynamicSampling::UntilSignal { max_rounds: 10, criterion: SignalCriterion::Verdicts };
    config
}

#[test]
fn the_cost_of_drawing_other_groups_is_what_starves_or_saturates_a_run() {
    use metrics::{
        ROLLOUT_ALL_RIGHT_FRAC as RIGHT, ROLLOUT_ALL_WRONG_FRAC as WRONG,
        ROLLOUT_MISSING_GROUPS as MISSING, ROLLOUT_NO_SIGNAL_FRAC as NO_SIGNAL,
        ROLLOUT_ROUNDS as ROUNDS,
    };
    let step = |no_signal: f64, wrong: f64, right: f64, missing: f64| {
        let drawn = [(NO_SIGNAL, no_signal), (WRONG, wrong), (RIGHT, right), (MISSING, missing)];
        let others =
            [(ROUNDS, 9.5), (metrics::FRAC_REWARD_ZERO_STD, 0.0), (metrics::HINT_HINTED_FRAC, 0.0)];
        history(10, 10, &[&drawn[..], &others[..]].concat())
    };
    let verdict = |history: &History| RunVerdict::of(history, &redrawing());
    let found = |no_signal, wrong, right, missing| {
        verdict(&step(no_signal, wrong, right, missing)).condition()
    };
    // Three of four groups are drawn for nothing: without dynamic sampling they would be the batch.
    assert_eq!(conditions(&step(0.77, 0.77, 0.0, 0.0)), [Condition::Starved]);
    assert_eq!(found(0.77, 0.77, 0.0, 0.0), Some(Condition::Healthy));
    assert_eq!(found(0.81, 0.5, 0.31, 0.0), Some(Condition::Starved));
    assert_eq!(found(0.81, 0.31, 0.5, 0.0), Some(Condition::Saturated));
    // One of twelve groups is missing in every step; then one in every other one.
    assert_eq!(found(0.77, 0.77, 0.0, 1.0), Some(Condition::Starved));
    assert_eq!(found(0.77, 0.3, 0.47, 1.0), Some(Condition::Saturated));
    assert_eq!(found(0.77, 0.77, 0.0, 0.5), Some(Condition::Healthy));

    let starved = verdict(&step(0.85, 0.8, 0.05, 3.0));
    let text = "STARVED: 85 % of the groups drawn have no signal, 80 % are all wrong; a step takes 9.5 of 10 rounds and \
                lacks 25 % of its groups (steps 6–10)";
    assert_eq!(starved.to_string(), text);
    let saturated = verdict(&step(0.85, 0.05, 0.8, 0.0));
    let text = "SATURATED: 85 % of the groups drawn have no signal, 80 % are all right; a step takes 9.5 of 10 rounds \
                (steps 6–10)";
    assert_eq!(saturated.to_string(), text);
    for verdict in [starved, saturated] {
        let advice = &verdict.findings[0].advice;
        assert!(!advice.contains("dynamic_sampling"), "the run does so already: {advice}");
        assert!(advice.contains("`rollout.selection`"), "{advice}");
        assert!(keys(advice).all(exists), "{advice}");
        let mut curriculum = redrawing();
        curriculum.rollout.selection = ProblemSelection::Curriculum { floor: 0.2 };
        let history = step(0.85, 0.8, 0.05, 3.0);
        let advice = &RunVerdict::of(&history, &curriculum).findings[0].advice;
        assert!(!advice.contains("rollout.selection"), "the run does so already: {advice}");
    }
}

#[test]
fn a_few_steps_say_little() {
    let all_wrong = [(metrics::ROLLOUT_ALL_WRONG_FRAC, 1.0), (metrics::HINT_HINTED_FRAC, 0.0)];
    assert_eq!(conditions(&history(2, 2, &all_wrong)), []);
    assert!(conditions(&history(3, 3, &all_wrong)).contains(&Condition::Starved));
}

#[test]
fn a_step_that_is_taken_again_counts_once() {
    let whole = history(30, 5, &[]);
    let mut resumed = history(35, 35, &[(metrics::COMPLETIONS_CLIPPED_RATIO, 0.9)]);
    let mut of_step = Metrics::new();
    for (name, value) in HEALTHY {
        of_step.set(name, value);
    }
    for step in 1..=30 {
        of_step.set(metrics::NUM_UPDATES, step as f64);
        resumed.record(step, &of_step);
    }
    assert_eq!(resumed, whole);
}

/// The keys of the configuration that a text names in backticks.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|key| key.contains('.') && !key.contains(['/', ' ']))
}

/// Whether the configuration has the key.
fn exists(key: &str) -> bool {
    let config = serde_json::json!(GrpoConfig::default());
    config.pointer(&format!("/{}", key.replace('.', "/"))).is_some()
}

#[test]
fn advice_names_keys_that_exist() {
    let bad = [
        vec![(metrics::COMPLETIONS_CLIPPED_RATIO, 0.5), (metrics::ROLLOUT_DROPPED_FRAC, 0.5)],
        vec![(metrics::SAMPLING_LOGP_DIFFERENCE, 0.5), (metrics::ROLLOUT_SHAPING_ONLY_FRAC, 0.5)],
        vec![(metrics::ROLLOUT_ALL_WRONG_FRAC, 1.0), (metrics::HINT_LEAKING_ANSWER_FRAC, 0.5)],
        vec![(metrics::ROLLOUT_ALL_WRONG_FRAC, 1.0), (metrics::HINT_HINTED_FRAC, 0.0)],
        vec![(metrics::ROLLOUT_ALL_RIGHT_FRAC, 1.0), (metrics::ENTROPY_TRAINED, 0.0)],
        vec![(metrics::ROLLOUT_ALL_WRONG_FRAC, 1.0), (metrics::ROLLOUT_COLLAPSED_FRAC, 1.0)],
        vec![(metrics::GRAD_NORM, 0.0)],
        vec![(metrics::LEARNING_RATE, 0.0)],
        vec![(metrics::WEIGHTS_CHANGED_FRAC, 0.0)],
        vec![(metrics::SKIPPED_UPDATES, 99.0)],
        vec![(metrics::ROLLOUT_PASS_RATE, 0.1)],
        vec![(metrics::ROLLOUT_ALL_WRONG_FRAC, 1.0), (metrics::HINT_HINTED_FRAC, 1.0)],
    ];
    let (mut seen, mut count) = (std::collections::BTreeSet::new(), 0);
    for values in bad {
        let verdict = RunVerdict::of(&history(40, 5, &values), &GrpoConfig::default());
        for finding in verdict.findings {
            seen.insert(finding.condition);
            for key in keys(&finding.advice) {
                assert!(exists(key), "{}: `{key}`", finding.condition);
                count += 1;
            }
        }
    }
    assert_eq!(seen.len(), RULES.len(), "{seen:?}");
    assert!(count > 20, "{count} keys");
    assert!(!exists("rollout.levle"), "the check above can fail");
}

/// `docs/verdicts.md` has a table made from the rules, and a page per condition.
#[test]
fn the_reference_has_a_page_per_condition() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verdicts.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut table = "| verdict | holds when |\n|---|---|\n".to_owned();
    for rule in RULES {
        let name = rule.condition.name();
        let link = name.to_lowercase().replace(' ', "-");
        writeln!(table, "| [{name}](#{link}) | {} |", rule.when).unwrap();
    }
    assert!(text.contains(&table), "docs/verdicts.md lacks the present table:\n{table}");
    let pages = text.lines().filter_map(|line| line.strip_prefix("## ")).collect::<Vec<_>>();
    assert_eq!(pages, Condition::ALL.map(Condition::name));
    for page in text.split("\n## ").skip(1) {
        for key in keys(page) {
            assert!(exists(key), "`{key}`");
        }
    }
}
