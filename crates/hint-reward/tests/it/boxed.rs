//! Extraction of boxed answers.

use hint_reward::extract::{BoxedAnswer, extract_boxed};
use proptest::prelude::*;

#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    assert_eq!(extract_boxed(text), expected, "{text}");
}

#[test]
fn the_last_balanced_box_wins() {
    check(r"\boxed{1} then \boxed{2}", Some("2"));
    check(r"\boxed{1} then \boxed{2", Some("1"));
    check(r"\fbox{7}", Some("7"));
    check(r"\boxed {7}", Some("7"));
    check(r"\boxed 7.", Some("7"));
    check(r"\boxed 42.", Some("42"));
    check("none", None);
    check(r"\boxedsomething{3}", None);
}

#[test]
fn braces_nest_and_escaped_braces_do_not_count() {
    check(r"\boxed{\frac{\sqrt{2}}{2}}", Some(r"\frac{\sqrt{2}}{2}"));
    check(r"\boxed{\left\{1,2\right\}}", Some(r"\left\{1,2\right\}"));
    check(r"\boxed{\{1}", Some(r"\{1"));
    check(r"{ \boxed{3} ", Some("3"));
}

#[test]
fn a_box_in_a_box_belongs_to_the_outer_one() {
    check(r"\boxed{a\boxed{b}c}", Some(r"a\boxed{b}c"));
    check(r"\boxed{ \boxed{b}", Some("b"));
}

#[test]
fn an_empty_box_is_an_empty_answer() {
    check(r"\boxed{}", Some(""));
}

proptest! {
    #[test]
    fn extraction_inverts_wrapping(content in "[a-z0-9+{}\\\\ ]{0,30}", before in "[^\\\\{}]{0,20}") {
        let wrapped = format!("{before}\\boxed{{{content}}}");
        let all = BoxedAnswer::all(&wrapped);
        let mut depth = 0_i32;
        let mut escaped = false;
        let balanced = content.chars().all(|c| {
            match c {
                _ if escaped => {
                    escaped = false;
                    return true;
                }
                '\\' => escaped = true,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth >= 0
        });
        if balanced && depth == 0 && !escaped {
            prop_assert_eq!(all.len(), 1);
            prop_assert_eq!(all[0].content, content.as_str());
            prop_assert_eq!(all[0].span.clone(), before.len()..wrapped.len());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\\\boxed|\\\\|\\{|\\}|é|.){0,40}") {
        for answer in BoxedAnswer::all(&text) {
            prop_assert!(text[answer.span.clone()].contains(answer.content));
        }
    }
}
