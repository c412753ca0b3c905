//! Groups that show a finding: one for each rule, and for each way in which a rule finds something.

use hint_grpo::rollout_table::RolloutRecord;
use hint_grpo::verdict::{Condition, Example, Finding, History, RULES, RunVerdict, examples};
use hint_grpo::{GrpoConfig, metrics};
use hint_rollout::collect::curriculum::{DynamicSampling, SignalCriterion};
use serde_json::{Value, json};

/// A record, by the columns in which it differs from a wrong plain completion.
fn record(group: usize, completion: usize, changes: &Value) -> RolloutRecord {
    let mut record = json!({
        "step": 20, "group": group, "completion": completion, "problem": format!("p{group}"),
        "question": "What is 1/4 + 1/4?", "reference": "0.5", "role": "trained", "source": "plain",
        "text": "It is 1.", "prompt": [1], "tokens": [7, 8], "stop": "stop", "version": 0,
        "verdict": "incorrect", "extracted": format!("{group}-{completion}"), "extracted_by": "phrase",
        "reward": 0.0, "reward_parts": {}, "advantage": 0.0,
        "behavior_logprobs": [-0.5, -1.5], "logprobs": [-0.5, -1.5], "old_logprobs": [-0.5, -1.5],
    });
    for (key, value) in changes.as_object().expect("columns") {
        record[key] = value.clone();
    }
    serde_json::from_value(record).expect("the columns of a record")
}

/// Two groups of four: one with these changes in its completions, and a mixed one.
fn groups(changes: [&Value; 4]) -> Vec<RolloutRecord> {
    let mixed = [
        json!({"verdict": "correct", "reward": 1.0, "advantage": 0.1}),
        json!({"advantage": -0.1}),
    ];
    let of_mixed = (0..4).map(|at| record(0, at, &mixed[at % 2]));
    of_mixed.chain((0..4).map(|at| record(1, at, changes[at]))).collect()
}

/// The finding of `condition` over twenty steps with these values, the last five of which differ.
fn finding(condition: Condition, before: &[(&str, f64)], latest: &[(&str, f64)]) -> Finding {
    let mut history = History::new();
    for step in 0..=20 {
        let values = if step > 15 { latest } else { before };
        history.record_with(step, |name| {
            let value = values.iter().find(|(known, _)| *known == name);
            value.map(|(_, value)| *value)
        });
    }
    let found = RunVerdict::of(&history, &GrpoConfig::default()).findings;
    let found = found.into_iter().find(|finding| finding.condition == condition);
    found.unwrap_or_else(|| panic!("{condition} does not hold"))
}

/// Names and values of metrics.
type Values<'v> = &'v [(&'v str, f64)];

/// The group of `records` that shows the finding of these values, and why.
#[track_caller]
fn check(
    condition: Condition,
    (before, latest): (Values<'_>, Values<'_>),
    records: &[RolloutRecord],
    (evaluated, group, why): (bool, usize, &str),
) {
    let shown = examples(&finding(condition, before, latest), records, 1);
    let [Example { step: 20, problem, .. }] = &shown[..] else { panic!("{condition}: {shown:?}") };
    assert_eq!(
        (shown[0].evaluated, shown[0].group, problem),
        (evaluated, group, &format!("p{group}"))
    );
    assert_eq!(shown[0].why, why, "{condition}");
}

#[test]
fn every_condition_has_groups_that_show_it() {
    use Condition::{
        Collapsing, CutOff, Frozen, Leaking, Mismatch, PseudoSignal, Saturated, Starved, Unjudged,
    };
    let none = json!({});
    let latest = |condition, values: &[(&str, f64)], changes: [&Value; 4], why| {
        check(condition, (&[], values), &groups(changes), (false, 1, why));
    };
    let failed = json!({"role": "dropped", "verdict": "timeout", "advantage": null});
    let values = [(metrics::ROLLOUT_DROPPED_FRAC, 0.1)];
    latest(Unjudged, &values, [&none, &none, &none, &failed], "1 of 4 not judged");
    let cut = json!({"stop": "length"});
    let values = [(metrics::COMPLETIONS_CLIPPED_RATIO, 0.5)];
    latest(CutOff, &values, [&cut, &cut, &none, &none], "2 of 4 completions cut off");
    let other = json!({"behavior_logprobs": [-0.5, -0.5]});
    let values = [(metrics::SAMPLING_LOGP_DIFFERENCE, 0.5)];
    latest(Mismatch, &values, [&other; 4], "0.500 nats per token between engine and trainer");
    // The answer is 0.5: no text comparison finds it.
    let leak = json!({"source": "hinted", "hint": "so it is \\frac12", "hint_leaks": true});
    let values = [(metrics::HINT_LEAKING_ANSWER_FRAC, 0.5)];
    latest(Leaking, &values, [&leak; 4], "the hint gives the answer away");
    // Older tables do not tell: the text is compared.
    let old =
        json!({"source": "hinted", "hint": "it is 9125.", "reference": "9125", "hint_leaks": null});
    latest(Leaking, &values, [&old; 4], "the hint gives the answer away");
    let paid = json!({"reward": 0.25});
    let values = [(metrics::ROLLOUT_SHAPING_ONLY_FRAC, 0.5), (metrics::FRAC_REWARD_ZERO_STD, 0.2)];
    let why = "all wrong, with rewards from 0.000 to 0.250";
    latest(PseudoSignal, &values, [&paid, &none, &none, &none], why);
    let values = [(metrics::ROLLOUT_ALL_WRONG_FRAC, 0.9)];
    latest(Starved, &values, [&none; 4], "4 wrong completions, with different answers");
    let right = json!({"verdict": "correct", "reward": 1.0});
    let values = [(metrics::ROLLOUT_ALL_RIGHT_FRAC, 0.9)];
    latest(Saturated, &values, [&right; 4], "all 4 completions right");
    let same = json!({"extracted": "3"});
    let values = [(metrics::ROLLOUT_ALL_WRONG_FRAC, 0.9), (metrics::ROLLOUT_COLLAPSED_FRAC, 0.9)];
    latest(Collapsing, &values, [&same; 4], "4 of 4 answer `3`");
    // By entropy: the answers need not agree.
    let certain = json!({"behavior_logprobs": [-0.01, -0.03]});
    let entropy = |value| [(metrics::ENTROPY_TRAINED, value), (metrics::ROLLOUT_PASS_RATE, 0.5)];
    let records = groups([&certain; 4]);
    let why = "0.020 nats per token to choose from";
    check(Collapsing, (&entropy(0.5), &entropy(0.01)), &records, (false, 1, why));
    let values = [(metrics::GRAD_NORM, 0.0)];
    latest(Frozen, &values, [&none; 4], "no completion has an advantage; 0 of 4 right");
    let large = json!({"advantage": -1.5});
    let why = "advantages up to 1.50 have not moved the weights";
    for name in [metrics::LEARNING_RATE, metrics::WEIGHTS_CHANGED_FRAC] {
        latest(Frozen, &[(name, 0.0)], [&large, &none, &none, &none], why);
    }
}

#[test]
fn groups_that_dynamic_sampling_left_out_show_what_they_cost() {
    let mut config = GrpoConfig::default();
    config.rollout.dynamic_sampling =
        DynamicSampling::UntilSignal { max_rounds: 10, criterion: SignalCriterion::Verdicts };
    let left_out = |verdict: &str, reward: f64| json!({"role": "left_out", "verdict": verdict, "reward": reward, "advantage": null, "logprobs": null});
    for (condition, wrong, changes, why) in [
        (
            Condition::Starved,
            0.9,
            left_out("incorrect", 0.0),
            "4 wrong completions, with different answers",
        ),
        (Condition::Saturated, 0.0, left_out("correct", 1.0), "all 4 completions right"),
    ] {
        let mut history = History::new();
        let values = [
            (metrics::ROLLOUT_NO_SIGNAL_FRAC, 0.9),
            (metrics::ROLLOUT_ALL_WRONG_FRAC, wrong),
            (metrics::ROLLOUT_ALL_RIGHT_FRAC, 0.9 - wrong),
            (metrics::GRAD_NORM, 0.0),
        ];
        for step in 1..=20 {
            history.record_with(step, |name| {
                let value = values.iter().find(|(known, _)| *known == name);
                value.map(|(_, value)| *value)
            });
        }
        let records = groups([&changes; 4]);
        let findings = RunVerdict::of(&history, &config).findings;
        assert_eq!(findings[0].condition, condition);
        let shown = examples(&findings[0], &records, 3);
        let shown = shown.iter().map(|one| (one.group, &*one.why)).collect::<Vec<_>>();
        assert_eq!(shown, [(1, why)]);
        // They have no gradient by choice.
        assert_eq!(findings[1].condition, Condition::Frozen);
        assert_eq!(examples(&findings[1], &records, 3), []);
    }
}

#[test]
fn findings_of_evaluations_are_shown_by_evaluations() {
    let evaluated = |step: u64, group: usize, completion: usize, verdict: &str| {
        let role =
            json!({"step": step, "role": "evaluated", "verdict": verdict, "advantage": null});
        record(group, completion, &role)
    };
    let mut records = groups([&json!({}); 4]);
    for group in 0..3 {
        for completion in 0..4 {
            // At the end, group 2 lost three right completions, and group 1 one.
            let lost = [0, 1, 3][group];
            records.push(evaluated(0, group, completion, "correct"));
            let verdict = if completion < lost { "incorrect" } else { "correct" };
            records.push(evaluated(20, group, completion, verdict));
        }
    }
    let score = |avg: f64| {
        let ends = [(metrics::EVAL_AVG_LOW, avg - 0.05), (metrics::EVAL_AVG_HIGH, avg + 0.05)];
        [ends[0], ends[1], (metrics::EVAL_AVG, avg)]
    };
    let both = (&score(0.6)[..], &score(0.2)[..]);
    let why = "4 of 4 kept completions right at step 0, now 1 of 4";
    check(Condition::Worsening, both, &records, (true, 2, why));
    assert_eq!(examples(&finding(Condition::Worsening, both.0, both.1), &records, 9).len(), 2);
    records.push(evaluated(20, 0, 4, "error"));
    let failed = [(metrics::EVAL_FAILED_FRAC, 0.1)];
    let why = "1 of 5 not judged";
    check(Condition::Unjudged, (&[], &failed), &records, (true, 0, why));
}

#[test]
fn a_falling_pass_rate_is_shown_by_plain_completions() {
    let rate = |value| [(metrics::ROLLOUT_PASS_RATE, value)];
    // Hinted ones do not count.
    let hinted = json!({"source": "hinted", "hint": "h", "verdict": "correct"});
    let records = groups([&hinted, &hinted, &hinted, &json!({})]);
    let why = "0 of 1 plain completions right";
    check(Condition::Worsening, (&rate(0.5), &rate(0.2)), &records, (false, 1, why));
}

#[test]
fn no_rule_is_without_a_test_of_its_examples() {
    // Each has a case above; another rule needs one there.
    assert_eq!(RULES.len(), 10);
}
