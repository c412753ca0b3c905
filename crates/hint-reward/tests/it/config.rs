//! Verifiers by configuration, several references, and what a judgment records.

use hint_reward::extract::AnswerSource;
use hint_reward::verifier::VerifierConfig;
use hint_reward::{Judgment, Level, RewardInput, Verdict, Verifier};
use serde_json::{Value, json};

fn judge(config: Value, completion: &str, reference: &str, accepted: &[&str]) -> Judgment {
    let config: VerifierConfig = serde_json::from_value(config).expect("a configuration");
    let accepted: Vec<String> = accepted.iter().map(ToString::to_string).collect();
    let input = RewardInput::new(completion, reference).with_accepted(&accepted);
    config.build().expect("values in range").verify(&input)
}

#[test]
fn each_equality_accepts_any_of_several_references() {
    for (equality, right, wrong, references) in [
        (json!({"type": "math"}), r"\boxed{0.5}", r"\boxed{0.6}", ["7", r"\frac12"]),
        (json!({"type": "exact"}), r"\boxed{0.5}", r"\boxed{0.6}", ["7", "1/2"]),
        (json!({"type": "choice"}), "The answer is B.", "The answer is C.", ["A", "B"]),
        (
            json!({"type": "numeric", "relative": 0.1}),
            r"\boxed{52 \text{ cm}}",
            r"\boxed{52}",
            ["3", "0.5 m"],
        ),
        (json!({"type": "set"}), "<answer>b, a</answer>", "<answer>b</answer>", ["c", "a, b"]),
        (json!({"type": "pattern"}), r"\boxed{x7}", r"\boxed{77}", ["y", "x[0-9]"]),
        (
            json!({"type": "text", "min_similarity": 0.8}),
            r"\boxed{colours}",
            r"\boxed{calls}",
            ["hue", "colour"],
        ),
    ] {
        let config = json!({ "equality": equality });
        let [first, second] = references;
        let verdict = |completion| judge(config.clone(), completion, first, &[second]).verdict;
        assert_eq!(verdict(right), Verdict::Correct, "{config}");
        assert_eq!(verdict(wrong), Verdict::Incorrect, "{config}");
    }
}

#[cfg(feature = "json-schema")]
#[test]
fn json_is_valid_under_the_schema_and_equal_to_one_reference() {
    let schema = json!({"type": "object", "required": ["x"]});
    let config = json!({ "equality": {"type": "json", "schema": schema} });
    let verdict =
        |completion| judge(config.clone(), completion, r#"{"x":1}"#, &[r#"{"x":2}"#]).verdict;
    assert_eq!(verdict(r#"{"x": 2}"#), Verdict::Correct);
    assert_eq!(verdict(r#"{"x": 3}"#), Verdict::Incorrect);
    assert_eq!(verdict(r#"{"y": 2}"#), Verdict::Incorrect);
}

#[test]
fn a_judgment_records_the_level_and_the_rule() {
    let found = |level: &str, completion| {
        let judgment = judge(json!({ "level": level }), completion, "12", &[]);
        (judgment.verdict, judgment.level, judgment.source)
    };
    let (strict, lenient) = (Some(Level::Strict), Some(Level::Lenient));
    let boxed = Some(AnswerSource::Boxed);
    assert_eq!(found("strict", r"\boxed{12}"), (Verdict::Correct, strict, boxed));
    assert_eq!(found("strict", "I count 12 of them."), (Verdict::NoAnswer, strict, None));
    let (verdict, level, source) = found("lenient", "I count 12 of them.");
    assert_eq!((verdict, level), (Verdict::Correct, lenient));
    assert!(source.is_some());
    // Thinking is no answer to the strict level.
    assert_eq!(found("strict", r"<think>\boxed{12}").0, Verdict::NoAnswer);
    assert_eq!(found("strict", r"<think>\boxed{12}</think>").0, Verdict::NoAnswer);
    assert_eq!(found("strict", r"<think>\boxed{1}</think>\boxed{12}").0, Verdict::Correct);
}

#[test]
fn one_readable_reference_is_enough() {
    let verdict = |completion| judge(json!({}), completion, r"\frac{1}{", &["7"]).verdict;
    assert_eq!(verdict(r"\boxed{7}"), Verdict::Correct);
    assert_eq!(verdict(r"\boxed{8}"), Verdict::Incorrect);
    let verdict = judge(json!({}), r"\boxed{8}", r"\frac{1}{", &[]).verdict;
    assert_eq!(verdict, Verdict::ReferenceUnparseable);
}

#[test]
fn values_out_of_range_are_refused_with_their_names() {
    let config: VerifierConfig =
        serde_json::from_value(json!({"equality": {"type": "text", "min_similarity": 2.0}}))
            .unwrap();
    let error = config.build().err().expect("2 is no similarity").to_string();
    assert!(error.contains("`min_similarity` is 2, expected a number in (0, 1]"), "{error}");
}
