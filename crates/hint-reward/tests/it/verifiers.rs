//! Attempts to cheat the verifiers of choices, numbers, sets, patterns, texts and JSON.

use std::collections::BTreeMap;

use hint_reward::verifier::{ChoiceMatch, NumericTolerance, PatternMatch, SetMatch, TextDistance};
use hint_reward::{ExactMatch, RewardInput, Verdict, Verifier};
use serde_json::json;

use Verdict::{Correct, Incorrect, NoAnswer, ReferenceUnparseable, Timeout};

#[track_caller]
fn check(verifier: &dyn Verifier, reference: &str, expected: &[(&str, Verdict)]) {
    for (completion, verdict) in expected {
        let judgment = verifier.verify(&RewardInput::new(completion, reference));
        assert_eq!(
            judgment.verdict, *verdict,
            "{completion:?} against {reference:?}: {judgment:?}"
        );
    }
}

#[test]
fn a_choice_is_one_letter() {
    check(
        &ChoiceMatch::default(),
        "B",
        &[
            (r"\boxed{B}", Correct),
            ("The answer is (B) 12.", Correct),
            ("<think>The answer is B.</think> The answer is C.", Incorrect),
            (r"\boxed{A, B, C, D}", NoAnswer),
            (r"\boxed{A or B}", NoAnswer),
            (r"\boxed{ABCD}", NoAnswer),
            (r"\boxed{(A)(B)(C)(D)}", NoAnswer),
            ("The answer is (B) or (C).", NoAnswer),
            ("<think>The answer is B.</think>", NoAnswer),
            ("The answer is not B.", NoAnswer),
        ],
    );
    let columns = BTreeMap::from([("choices".to_owned(), json!(["11", "12", "12.0", "red"]))]);
    for (completion, verdict) in [
        (r"\boxed{\text{red}}", Correct),
        (r"\boxed{D}", Correct),
        (r"\boxed{\text{(D) red}}", Correct),
        (r"\boxed{\text{(D) } 11}", Incorrect),
        (r"\boxed{11}", Incorrect),
        // The text of two choices.
        (r"\boxed{12}", NoAnswer),
        (r"\boxed{11, 12, red}", NoAnswer),
    ] {
        let input = RewardInput::new(completion, "D").with_columns(&columns);
        assert_eq!(ChoiceMatch::default().verify(&input).verdict, verdict, "{completion}");
    }
}

#[test]
fn a_number_is_one_value_in_one_unit() {
    let exact = NumericTolerance::new(0.0, 0.0).unwrap();
    check(
        &exact,
        "2.51 km",
        &[
            (r"\boxed{2510\text{ m}}", Correct),
            (r"\boxed{2.51\times10^6\text{ mm}}", Correct),
            (r"\boxed{2.51}", Correct),
            (r"\boxed{2510}", Incorrect),
            (r"\boxed{2.51\text{ m}}", Incorrect),
            (r"\boxed{2.51\text{ km}^2}", Incorrect),
            (r"\boxed{2.51\text{ km/h}}", Incorrect),
            (r"\boxed{2.51000001\text{ km}}", Incorrect),
            (r"\boxed{2.51\text{ or }2.52\text{ km}}", Incorrect),
            (r"\boxed{2.5\text{ km to }2.6\text{ km}}", Incorrect),
            (r"\boxed{[2, 3]}", Incorrect),
            (r"\boxed{x}", Incorrect),
            (r"\boxed{\infty}", Incorrect),
            (r"\boxed{2.51 \pm 1}", Incorrect),
        ],
    );
    let near = NumericTolerance::new(0.05, 0.0).unwrap();
    check(&near, "0", &[(r"\boxed{0}", Correct), (r"\boxed{0.01}", Incorrect)]);
    check(
        &near,
        "25 mW",
        &[
            (r"\boxed{0.025\text{ W}}", Correct),
            (r"\boxed{26\text{ mW}}", Correct),
            (r"\boxed{25\text{ MW}}", Incorrect),
            (r"\boxed{25\text{ W}}", Incorrect),
            (r"\boxed{25\text{ mV}}", Incorrect),
        ],
    );
    check(&near, "about a dozen things", &[(r"\boxed{12}", ReferenceUnparseable)]);
}

#[test]
fn choices_are_read_in_the_shapes_of_public_data_sets() {
    let verdict = |column: &str, choices: serde_json::Value, reference: &str, completion: &str| {
        let columns = BTreeMap::from([(column.to_owned(), choices)]);
        let input = RewardInput::new(completion, reference).with_columns(&columns);
        ChoiceMatch::default().verify(&input).verdict
    };
    // MMLU: the answer is an index, whatever the texts are.
    let numbers = json!(["2", "3", "4", "5"]);
    for (completion, expected) in [
        (r"\boxed{C}", Correct),
        (r"\boxed{4}", Correct),
        (r"\boxed{A}", Incorrect),
        (r"\boxed{2}", Incorrect),
    ] {
        assert_eq!(verdict("choices", numbers.clone(), "2", completion), expected, "{completion}");
    }
    // An integer that is no index is a text.
    assert_eq!(verdict("choices", numbers, "5", r"\boxed{D}"), Correct);
    // ARC: labels are letters or numbers.
    let letters = json!({"text": ["red", "blue"], "label": ["A", "B"]});
    assert_eq!(verdict("choices", letters.clone(), "B", r"\boxed{\text{blue}}"), Correct);
    assert_eq!(verdict("choices", letters, "B", r"\boxed{A}"), Incorrect);
    let digits = json!({"text": ["red", "blue", "green"], "label": ["1", "2", "3"]});
    for (completion, expected) in [
        (r"\boxed{2}", Correct),
        (r"\boxed{(2)}", Correct),
        (r"\boxed{\text{blue}}", Correct),
        (r"\boxed{3}", Incorrect),
        (r"\boxed{\text{green}}", Incorrect),
    ] {
        assert_eq!(verdict("choices", digits.clone(), "2", completion), expected, "{completion}");
    }
    // MMLU-Pro: ten options in a column of another name.
    let options: Vec<String> = (1..=10).map(|n| format!("{n} m")).collect();
    assert_eq!(verdict("options", json!(options), "J", r"\boxed{10\text{ m}}"), Correct);
    assert_eq!(verdict("options", json!(options), "9", r"\boxed{J}"), Correct);
    assert_eq!(verdict("options", json!(options), "J", r"\boxed{I}"), Incorrect);
    let objects = json!([{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}]);
    assert_eq!(verdict("choices", objects, "B", r"\boxed{\text{blue}}"), Correct);
}

#[test]
fn work_beyond_the_budget_is_a_timeout_of_every_verifier() {
    // More words behind the box than one judgment may read.
    let long = format!(r"\boxed{{12}}{}", " the sum of the answer".repeat(60_000));
    let verifiers: [(&dyn Verifier, &str); 5] = [
        (&ChoiceMatch::default(), "B"),
        (&NumericTolerance::new(0.0, 0.0).unwrap(), "12"),
        (&SetMatch::default(), "12"),
        (&PatternMatch::default(), "12"),
        (&TextDistance::new(0.8).unwrap(), "12"),
    ];
    for (verifier, reference) in verifiers {
        check(verifier, reference, &[(&long, Timeout)]);
    }
    // The comparison itself.
    check(
        &NumericTolerance::new(0.0, 0.0).unwrap().with_fuel(60),
        "12",
        &[(r"\boxed{12}", Timeout)],
    );
    let columns = BTreeMap::from([("choices".to_owned(), json!(["x^2+1", "(x+1)^2"]))]);
    let input = RewardInput::new(r"\boxed{x^2+2x+1}", "B").with_columns(&columns);
    assert_eq!(ChoiceMatch::default().verify(&input).verdict, Correct);
    assert_eq!(ChoiceMatch::default().with_fuel(300).verify(&input).verdict, Timeout);
}

#[test]
fn a_measured_number_may_have_a_name_and_no_condition() {
    let exact = NumericTolerance::new(0.0, 0.0).unwrap();
    check(
        &exact,
        "5",
        &[
            (r"\boxed{x = 5}", Correct),
            (r"\boxed{v = 5\text{ m/s}}", Correct),
            (r"\boxed{2x = 5}", Incorrect),
            (r"\boxed{x^2 = 5}", Incorrect),
            (r"\boxed{5\text{ for }x=2}", Incorrect),
            (r"\boxed{5 = 6}", Incorrect),
        ],
    );
    check(
        &exact,
        "v = 5 m/s",
        &[(r"\boxed{v = 5}", Correct), (r"\boxed{t = 5}", Incorrect), (r"\boxed{5}", Correct)],
    );
    check(&exact, "2v = 5", &[(r"\boxed{5}", ReferenceUnparseable)]);
}

#[test]
fn a_set_has_each_item_and_no_other() {
    check(
        &SetMatch::default(),
        "red, green",
        &[
            (r"\boxed{\text{green, red}}", Correct),
            (r"\boxed{\{\text{green}, \text{red}\}}", Correct),
            ("<answer>[\"Green\", \"red\", \"red\"]</answer>", Correct),
            ("<answer>red</answer>", Incorrect),
            ("<answer>red, green, blue</answer>", Incorrect),
            ("<answer>red and not green</answer>", Incorrect),
            ("<answer>red green</answer>", Incorrect),
            ("<answer>[]</answer>", Incorrect),
            ("<answer>,,,</answer>", Incorrect),
        ],
    );
    check(
        &SetMatch::default(),
        "[]",
        &[
            ("<answer>[]</answer>", Correct),
            (r"\boxed{\emptyset}", Correct),
            ("<answer>none, nothing</answer>", Incorrect),
            ("<answer>.</answer>", Incorrect),
            (r"\boxed{\{0\}}", Incorrect),
        ],
    );
    check(&SetMatch::default(), " ", &[("<answer>[]</answer>", ReferenceUnparseable)]);
}

#[test]
fn a_pattern_matches_the_whole_answer_in_linear_time() {
    let pattern = PatternMatch::default();
    check(
        &pattern,
        r"cat|category",
        &[
            (r"\boxed{category}", Correct),
            (r"\boxed{cat}", Correct),
            (r"\boxed{cat egory}", Incorrect),
            (r"\boxed{concat}", Incorrect),
        ],
    );
    // What another engine takes exponential time for.
    let text = format!(r"\boxed{{{}b}}", "a".repeat(20_000));
    check(&pattern, "(a+)+c", &[(&text, Incorrect)]);
    for broken in ["a)|(b", "[", "(", "x{2,1}"] {
        check(&pattern, broken, &[(r"\boxed{a}", ReferenceUnparseable)]);
    }
}

#[test]
fn a_text_is_as_near_as_asked_for() {
    let near = TextDistance::new(0.8).unwrap();
    let long = format!(r"\boxed{{{}}}", "photosynthesis ".repeat(400));
    check(
        &near,
        "photosynthesis",
        &[
            (r"\boxed{\mathrm{photosynthesis}}", Correct),
            (r"\boxed{photosyntesis}", Correct),
            (r"\boxed{photosynthesis respiration}", Incorrect),
            (r"\boxed{p}", Incorrect),
            (&long, Incorrect),
        ],
    );
    check(&near, "", &[(r"\boxed{x}", ReferenceUnparseable)]);
}

#[test]
fn exact_equality_looks_behind_thinking_and_keeps_gaps_between_digits() {
    check(
        &ExactMatch::new(),
        "12",
        &[
            (r"\boxed{12}", Correct),
            (r"\boxed{\text{12}}", Correct),
            (r"\boxed{1{,}2}", Incorrect),
            (r"\boxed{1 2}", Incorrect),
            (r"<think>\boxed{12}</think> I do not know.", NoAnswer),
            (r"<think>\boxed{12}</think> \boxed{13}", Incorrect),
        ],
    );
}

#[cfg(feature = "json-schema")]
#[test]
fn json_is_one_value_with_each_member_once() {
    let schema = json!({"type": "object", "required": ["x"]});
    let config = json!({ "equality": {"type": "json", "schema": schema} });
    let config: hint_reward::verifier::VerifierConfig = serde_json::from_value(config).unwrap();
    let verifier = config.build().unwrap();
    let deep = "[".repeat(20_000);
    check(
        &verifier,
        r#"{"x": 3, "y": ["a:b", 1]}"#,
        &[
            (r#"{"y": ["a:b", 1.0], "x": 3.0}"#, Correct),
            ("```json\n{\"x\": 3, \"y\": [\"a:b\", 1]}\n```", Correct),
            (r#"{"x": 4, "x": 3, "y": ["a:b", 1]}"#, Incorrect),
            (r#"{"x": 3, "y": ["a:b", 1], "z": 0}"#, Incorrect),
            (r#"{"x": "3", "y": ["a:b", 1]}"#, Incorrect),
            (r#"{"x": 3, "y": [1, "a:b"]}"#, Incorrect),
            (r#"{"x": 3, "y": ["a:b", 1]} or {"x": 4, "y": ["a:b", 1]}"#, Incorrect),
            (r#"<think>{"x": 3, "y": ["a:b", 1]}</think> I do not know."#, NoAnswer),
            (r#"{"x": 3, "y": ["a:b", 1]"#, Incorrect),
            (&deep, NoAnswer),
        ],
    );
    // An integer that a float cannot hold is not that float.
    check(&verifier, r#"{"x": 9007199254740993}"#, &[(r#"{"x": 9007199254740992.0}"#, Incorrect)]);
    let columns: BTreeMap<String, serde_json::Value> =
        BTreeMap::from([("schema".to_owned(), json!(7))]);
    let input = RewardInput::new("{}", "").with_columns(&columns);
    assert_eq!(verifier.verify(&input).verdict, ReferenceUnparseable);
}
