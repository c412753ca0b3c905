//! Meta-Hints from worked solutions, by rule.
//!
//! The hint says what to find in which order and with which operation, in the words of the
//! solution, and has no number in it: no digits, no number words (what counts is documented in
//! [`numbers_in`]), hence no intermediate value and no answer. A step that
//! cannot be said without a number is left out.

use std::collections::BTreeSet;

use hint_reward::{ExactNumber, numbers_in};
use hint_rollout::without_calculations;

use super::step::step;
use super::token::sentences;

/// What is left to say when no step could be put into words.
const GENERAL: &str = "Work out the quantities in the order in which the question introduces them, \
                       and combine them as it says.";

/// A Meta-Hint for `question` from its worked `solution`. Never contains a number.
pub fn meta_hint(question: &str, solution: &str) -> String {
    let given: BTreeSet<ExactNumber> =
        numbers_in(question).into_iter().flat_map(|m| [m.readings, m.parts].concat()).collect();
    let known = |text: &str| ExactNumber::parse(text).is_some_and(|number| given.contains(&number));
    let mut steps: Vec<String> = Vec::new();
    for sentence in sentences(&without_calculations(solution)) {
        let Some(step) = step(&sentence, &known) else { continue };
        let step = lower_like(question, &step);
        if numbers_in(&step).is_empty() && !steps.contains(&step) {
            steps.push(step);
        }
    }
    match steps.as_slice() {
        [] => GENERAL.to_owned(),
        [only] => format!("{}.", capitalize(only)),
        [first, middle @ .., last] => {
            let middle = middle.iter().map(|step| format!("Then {step}."));
            let parts: Vec<String> = std::iter::once(format!("First {first}."))
                .chain(middle)
                .chain(std::iter::once(format!("Finally, {last}.")))
                .collect();
            parts.join(" ")
        }
    }
}

/// Writes a word that started a sentence of the solution as the question writes it.
fn lower_like(question: &str, step: &str) -> String {
    let in_question: BTreeSet<&str> =
        question.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let lower = |word: &str| {
        let lower = word.to_lowercase();
        let stem = word.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let known = in_question.contains(stem.to_lowercase().as_str());
        if known && !in_question.contains(stem) { lower } else { word.to_owned() }
    };
    step.split(' ').map(lower).collect::<Vec<_>>().join(" ")
}

fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_names_the_steps_in_order_and_no_number() {
        let question = "Kim packs 4 boxes of 30 pens and gives 50 pens away. How many are left?";
        let solution =
            "Kim packs 4*30=<<4*30=120>>120 pens.\nSo she keeps 120-50 = <<120-50=70>>70 pens.";
        assert_eq!(
            meta_hint(question, solution),
            "First multiply to find how many pens Kim packs. \
             Finally, subtract to find how many pens she keeps."
        );
    }

    #[test]
    fn solution_without_words_still_gives_a_hint() {
        assert_eq!(meta_hint("How much?", ""), GENERAL);
        assert_eq!(meta_hint("How much?", "7\n12 12 12 <<"), GENERAL);
    }

    #[test]
    fn odd_texts_neither_panic_nor_leave_a_number() {
        let pieces =
            ["=", "3", "x", "(", "/", "because", "a total of", "½", "$", "so", "two", ",", ":"];
        // Every sequence of four pieces, which covers each rule's edges.
        for i in 0..pieces.len().pow(4) {
            let at = |power: u32| pieces[i / pieces.len().pow(power) % pieces.len()];
            let hint = meta_hint("?", &[at(0), at(1), at(2), at(3)].join(" "));
            assert_eq!(numbers_in(&hint), [], "{hint}");
        }
    }
}
