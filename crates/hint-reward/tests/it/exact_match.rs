//! The simple verifier.

use hint_reward::{ExactMatch, RewardInput, Verdict, Verifier};

#[track_caller]
fn check(answer: &str, reference: &str, expected: Verdict) {
    let judgment = ExactMatch::whole_text().verify(&RewardInput::new(answer, reference));
    assert_eq!(judgment.verdict, expected, "{answer} against {reference}: {judgment:?}");
}

#[test]
fn numbers_are_compared_exactly() {
    for (answer, reference) in [
        ("4", "4.0"),
        ("-05", "-5"),
        ("1,000", "1000"),
        ("0.5", r"\frac{1}{2}"),
        (".5", "2/4"),
        ("$12$.", "12"),
    ] {
        check(answer, reference, Verdict::Correct);
    }
    for (answer, reference) in [("0.333", "1/3"), ("5", "-5"), ("10,00", "1000"), ("1/0", "2/0")] {
        check(answer, reference, Verdict::Incorrect);
    }
    check("100000000000000000000000001", "100000000000000000000000000", Verdict::Incorrect);
}

#[test]
fn strings_are_compared_without_decoration() {
    check(r"\left( x, y \right)", "(x,y)", Verdict::Correct);
    check(r"\text{blue}", "blue", Verdict::Correct);
    check("blue", "red", Verdict::Incorrect);
}

#[test]
fn a_reference_may_be_boxed_and_must_not_be_empty() {
    check("7", r"Thus \boxed{7}", Verdict::Correct);
    check("7", " ", Verdict::ReferenceUnparseable);
}

#[test]
fn a_truncated_completion_with_a_box_is_judged() {
    let verifier = ExactMatch::new();
    let cut = RewardInput::new(r"\boxed{4} because", "4").with_truncated(true);
    assert_eq!(verifier.verify(&cut).verdict, Verdict::Correct);
}
