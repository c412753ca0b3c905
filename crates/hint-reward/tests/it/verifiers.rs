//! Attempts to cheat the verifiers of choices, numbers, sets, patterns, texts and JSON.

use std::collections::BTreeMap;

use hint_reward::verifier::{ChoiceMatch, NumericTolerance, PatternMatch, SetMatch, TextDistance};
use hint_reward::{ExactMatch, RewardInput, Verdict, Verifier};
use serde_json::json;

use Verdict::{Correct, Incorrect, NoAnswer, ReferenceUnparseable};

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
