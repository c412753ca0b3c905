//! Multiple choice, by letter or by the text of a choice.

use serde_json::Value;

use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::parse::choice::named_choice;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, judged, no_answer, unusable};
use crate::verifier::math::equivalent;
use crate::verifier::verdict::Judgment;

/// A verifier for multiple choice: the extracted answer names one letter, or gives the text of one choice.
///
/// `B`, `(b)`, `\text{B}`, `B.`, `B) 12` and `Option B` all name B. The problem's row may have a column `choices`, a
/// list or an object of letters to texts. Then the text of a choice names it too, if no other choice has an equal
/// text. A letter and a text that disagree are incorrect.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
///
/// use hint_reward::{RewardInput, Verdict, Verifier, verifier::ChoiceMatch};
/// use serde_json::json;
///
/// let verdict = |completion| ChoiceMatch::default().verify(&RewardInput::new(completion, "B")).verdict;
/// assert_eq!(verdict("The answer is (B) 12."), Verdict::Correct);
/// assert_eq!(verdict(r"\boxed{C}"), Verdict::Incorrect);
/// assert_eq!(verdict(r"\boxed{12}"), Verdict::NoAnswer);
///
/// let columns = BTreeMap::from([("choices".to_owned(), json!(["11", "12", "red"]))]);
/// let verdict = |completion| {
///     ChoiceMatch::default().verify(&RewardInput::new(completion, "B").with_columns(&columns)).verdict
/// };
/// assert_eq!(verdict(r"\boxed{12}"), Verdict::Correct);
/// assert_eq!(verdict(r"\boxed{\text{Red}}"), Verdict::Incorrect);
/// assert_eq!(verdict(r"\boxed{\text{(B) } 11}"), Verdict::Incorrect);
/// ```
#[derive(Debug, Clone, Default)]
pub struct ChoiceMatch {
    extraction: Extraction,
}

impl ChoiceMatch {
    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }
}

impl Verifier for ChoiceMatch {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let choices = choices(input);
        judged(&self.extraction, input, |answer, reference| {
            let Some(expected) = choice(reference).or_else(|| by_text(reference, &choices)) else {
                return unusable("the reference names no choice");
            };
            let found =
                answer.and_then(choice).or_else(|| answer.and_then(|text| by_text(text, &choices)));
            let Some(found) = found else {
                return no_answer(input, "no choice was named").with_compared(expected);
            };
            // A letter with the text of another choice takes itself back.
            let explained = answer.and_then(explanation).and_then(|text| by_text(text, &choices));
            let agrees = explained.is_none_or(|explained| explained == found);
            let (found, expected) = (found.to_string(), expected.to_string());
            compared(found == expected && agrees, &found, &expected, "another choice was named")
        })
    }
}

/// The choices of the problem's row, by letter.
fn choices(input: &RewardInput<'_>) -> Vec<(char, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    match input.column("choices") {
        Some(Value::Array(choices)) => ('A'..='Z').zip(choices.iter().map(text)).collect(),
        Some(Value::Object(choices)) => {
            choices.iter().filter_map(|(name, value)| Some((choice(name)?, text(value)))).collect()
        }
        _ => Vec::new(),
    }
}

/// The one choice with this text.
fn by_text(text: &str, choices: &[(char, String)]) -> Option<char> {
    let mut found = choices.iter().filter(|(_, choice)| equivalent(text, choice));
    let only = found.next()?.0;
    found.next().is_none().then_some(only)
}

/// Text behind the letter of an answer: the `12` of `(B) 12`.
fn explanation(answer: &str) -> Option<&str> {
    let start = answer.find([')', '.', ':'])? + 1;
    let rest = answer[start..].trim_matches(['}', ' ', '$', '\\', '~']);
    (!rest.is_empty()).then_some(rest)
}

/// The letter a text names, in upper case.
fn choice(text: &str) -> Option<char> {
    let text = text.trim();
    named_choice(text)
        .or_else(|| {
            // With a choice asked for, a small letter is one too.
            let bare = text.trim_matches(['$', '*', '.', ' ']);
            (bare.len() == 1)
                .then(|| bare.chars().next())
                .flatten()
                .filter(char::is_ascii_alphabetic)
        })
        .map(|letter| letter.to_ascii_uppercase())
}
