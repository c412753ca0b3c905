//! Rewards for form and length, matching verifiers.

use hint_reward::{
    Reward, RewardError, RewardInput, Verdict, Verifier,
    reward::{Brevity, RepetitionPenalty, SoftOverlong, ThinkAnswerFormat},
    verifier::{ChoiceMatch, NumericTolerance, RegexMatch},
};

#[test]
fn the_think_answer_form_allows_nothing_else() -> Result<(), RewardError> {
    let score =
        |text: &str| ThinkAnswerFormat.score(&RewardInput::new(text, "")).map(|score| score > 0.5);
    assert!(score("\n<think>a</think> <answer>b</answer>\n")?);
    for wrong in [
        "<think>a</think>",
        "<answer>b</answer><think>a</think>",
        "x <think>a</think><answer>b</answer>",
        "<think>a</think><answer>b</answer> x",
        "<think> </think><answer>b</answer>",
        "<think>a</think><answer>b</answer><answer>c</answer>",
        "<think>a</think> between <answer>b</answer>",
    ] {
        assert!(!score(wrong)?, "{wrong}");
    }
    Ok(())
}

#[test]
fn length_rewards_need_the_number_of_tokens() {
    let input = RewardInput::new("a b c", "");
    let overlong = SoftOverlong::new(10, 5).expect("valid");
    assert!(matches!(
        overlong.score(&input),
        Err(RewardError::MissingInput { input: "completion_tokens", .. })
    ));
    assert!(
        SoftOverlong::new(10, 0).is_err()
            && SoftOverlong::new(10, 11).is_err()
            && Brevity::new(0).is_err()
    );
}

#[test]
fn settings_are_checked() {
    assert!(matches!(RegexMatch::new("x", "("), Err(RewardError::Setting { name: "pattern", .. })));
    assert!(RepetitionPenalty::new(0).is_err());
    assert!(
        NumericTolerance::new(-1.0, 0.0).is_err() && NumericTolerance::new(0.0, f64::NAN).is_err()
    );
}

#[test]
fn a_choice_is_a_letter_and_not_a_word() {
    let verdict = |completion: &str, reference: &str| {
        ChoiceMatch::default().verify(&RewardInput::new(completion, reference)).verdict
    };
    for text in [
        "b",
        "(B)",
        r"\text{B}",
        "B.",
        r"\boxed{\textbf{(B)}}",
        "The answer is (B) 12.",
        "Answer: B",
        "Option B",
    ] {
        assert_eq!(verdict(text, "B"), Verdict::Correct, "{text}");
    }
    assert_eq!(verdict("Answer: A", "(B)"), Verdict::Incorrect);
    assert_eq!(verdict("Both are fine", "B"), Verdict::NoAnswer);
    assert_eq!(verdict("B", "12"), Verdict::ReferenceUnparseable);
}

#[test]
fn numeric_tolerance_reads_mathematics() {
    let verifier = NumericTolerance::new(1e-3, 0.0).expect("valid");
    let verdict =
        |completion: &str| verifier.verify(&RewardInput::new(completion, r"\sqrt{2}")).verdict;
    assert_eq!(verdict("x = 1.414"), Verdict::Correct);
    assert_eq!(verdict(r"\boxed{\frac{141}{100}}"), Verdict::Incorrect);
    assert_eq!(verdict(r"\boxed{y}"), Verdict::Incorrect);
    assert_eq!(verdict("none"), Verdict::Incorrect);
}
