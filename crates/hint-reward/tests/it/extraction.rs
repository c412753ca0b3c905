//! Finding the answer in running text.

use hint_reward::{
    Extraction, MathVerifier, RewardInput, Verdict, Verifier, extract::AnswerSource,
};

#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    assert_eq!(Extraction::default().extract(text).as_deref(), expected, "{text}");
}

#[test]
fn the_last_box_wins_and_boxes_of_a_list_are_joined() {
    check(r"first \boxed{1}, then \boxed{2}", Some("2"));
    check(r"$\boxed{1}$ and $\boxed{2}$", Some("1, 2"));
    check(r"\boxed{1}, \boxed{2}, \boxed{3}", Some("1, 2, 3"));
    check(r"$x = \boxed{1}$ and $y = \boxed{2}$", Some("x = 1, y = 2"));
    check(r"Thus $x = \boxed{1}$.", Some("1"));
    check(r"\boxed{1}, but no: \boxed{2}", Some("2"));
}

#[test]
fn thinking_is_ignored_when_text_follows() {
    check(r"<think>\boxed{1}</think> \boxed{2}", Some("2"));
    check(r"<think>\boxed{1}</think>", Some("1"));
    check(r"<think>\boxed{1}", Some("1"));
}

#[test]
fn phrases_tags_and_hashes_are_found() {
    check("The answer is 12.", Some("12"));
    check("**Answer:** $\\frac{1}{2}$", Some("$\\frac{1}{2}$"));
    check("Final answer: the largest $n$ is 34.", Some("the largest $n$ is 34"));
    check("the answer is 10, since 5 + 5 = 10", Some("10"));
    check("<answer> 7 </answer> done", Some("7"));
    check("5 + 5 = 10\n#### 10", Some("10"));
}

#[test]
fn formulas_and_numbers_of_a_sentence_are_found() {
    check("Hence $a=1$ and so $b=2$.", Some("b=2"));
    check("It takes 3 hours and costs 1,250.50 dollars", Some("1,250.50 dollars"));
    check("a change of -4 degrees in 1 line: -4 it is", Some("-4"));
    check("He has 3 cats and 4 dogs", None);
    check("It is more than 12", None);
    check("about 25% of them", Some("25%"));
    check("no number here at all", None);
}

#[test]
fn remarks_around_an_answer_are_left_out() {
    check("12 (i.e., all of them)", Some("12"));
    check("1/2, or equivalently 0.5", Some("1/2"));
    check("0 is the only possible value", Some("0"));
    check("The limit exists and is equal to (a+3b)/2", Some("(a+3b)/2"));
    check("0 (none of them)", Some("0"));
    check("The color is blue.", Some("blue"));
}

#[test]
fn hashes_are_taken_back_behind_the_answer_and_not_by_it() {
    let found = |text: &str| Extraction { sources: vec![AnswerSource::Hashes] }.extract(text);
    assert_eq!(found("#### May 5").as_deref(), Some("May 5"));
    assert_eq!(found("#### incorrect").as_deref(), Some("incorrect"));
    assert_eq!(found("#### 12\nWait, no, that is wrong."), None);
    let judged = MathVerifier::strict().verify(&RewardInput::new("#### 12 is wrong.", "12"));
    assert_ne!(judged.verdict, Verdict::Correct);
}

#[test]
fn sources_are_tried_in_their_order() {
    let text = "#### 2\n\\boxed{2}";
    let first = |source| {
        let extraction = Extraction { sources: vec![source, AnswerSource::Boxed] };
        let verifier = MathVerifier::new().with_extraction(extraction);
        verifier.verify(&RewardInput::new(text, "2")).source
    };
    assert_eq!(first(AnswerSource::Hashes), Some(AnswerSource::Hashes));
    assert_eq!(first(AnswerSource::Boxed), Some(AnswerSource::Boxed));
    assert_eq!(first(AnswerSource::AnswerTag), Some(AnswerSource::Boxed));
    // A text that names another answer behind the first states none of them.
    let hashes = Extraction { sources: vec![AnswerSource::Hashes, AnswerSource::Boxed] };
    assert_eq!(hashes.extract("#### 1\n\\boxed{2}"), None);
}

#[test]
fn emphasis_around_a_label_multiplies_nothing() {
    let verdict = |text: &str| MathVerifier::strict().verify(&RewardInput::new(text, "9")).verdict;
    for text in [
        r"**Answer:** \boxed{9}",
        r"**Final Answer:** $\boxed{9}$",
        "**Answer:**\n\\boxed{9}",
        r"*Answer:* \boxed{9}",
        r"**Answer:** **\boxed{9}**",
    ] {
        assert_eq!(verdict(text), Verdict::Correct, "{text}");
    }
    for text in [
        r"**x** * \boxed{9}",
        r"2 * 3 * \boxed{9}",
        r"2*a*\boxed{9}",
        r"**The answer is not** \boxed{9}",
        r"**two times** \boxed{9}",
    ] {
        assert_ne!(verdict(text), Verdict::Correct, "{text}");
    }
}
