//! Multiple choice, by letter or by the text of a choice.

use serde_json::Value;

use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::fuel::{DEFAULT_FUEL, Stop};
use crate::math::parse::choice::named_choice;
use crate::math::reader::Reader;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, judged_within, no_answer, unusable};
use crate::verifier::math::MathVerifier;
use crate::verifier::verdict::Judgment;

/// A verifier for multiple choice: the extracted answer names one letter, or gives the text of one choice.
///
/// `B`, `(b)`, `\text{B}`, `B.`, `B) 12` and `Option B` all name B. The problem's row may have a column `choices` or
/// `options`. Then the text of a choice names it too, if no other choice has an equal text. A letter and a text that
/// disagree are incorrect. The column is one of these:
///
/// | shape | of |
/// |---|---|
/// | `["11", "12"]` | MMLU, MMLU-Pro |
/// | `{"A": "11", "B": "12"}` | |
/// | `{"text": ["11", "12"], "label": ["1", "2"]}` | ARC |
/// | `[{"label": "A", "text": "11"}, …]` | |
///
/// A reference is a label, else the index of a choice from 0, else a letter, else a text. So `2` means C wherever
/// there are three unlabeled choices, whatever their texts are. Beyond the work budget of one judgment the verdict is
/// [`Verdict::Timeout`](crate::Verdict::Timeout).
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
#[derive(Debug, Clone)]
pub struct ChoiceMatch {
    extraction: Extraction,
    fuel: u64,
}

impl Default for ChoiceMatch {
    fn default() -> Self {
        Self { extraction: Extraction::default(), fuel: DEFAULT_FUEL }
    }
}

impl ChoiceMatch {
    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }

    /// Sets the budget of one judgment, in work units of about ten nanoseconds.
    #[must_use]
    pub fn with_fuel(mut self, units: u64) -> Self {
        self.fuel = units;
        self
    }
}

impl Verifier for ChoiceMatch {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let choices = Choices::of(input);
        judged_within(&self.extraction, input, self.fuel, |answer, reference, reader| {
            let expected = choices.labeled(reference).or_else(|| choices.indexed(reference));
            let Some(expected) = choices.named(expected, reference, reader)? else {
                return Ok(unusable("the reference names no choice"));
            };
            let found = match answer {
                Some(text) => choices.named(choices.labeled(text), text, reader)?,
                None => None,
            };
            let Some(found) = found else {
                return Ok(no_answer(input, "no choice was named").with_compared(expected));
            };
            // A letter with the text of another choice takes itself back.
            let explained = match answer.and_then(explanation) {
                Some(text) => choices.with_text(text, reader)?,
                None => None,
            };
            let agrees = explained.is_none_or(|explained| explained == found);
            let (found, expected) = (found.to_string(), expected.to_string());
            let equal = found == expected && agrees;
            Ok(compared(equal, &found, &expected, "another choice was named"))
        })
    }
}

/// The choices of a problem's row.
struct Choices(Vec<Choice>);

struct Choice {
    letter: char,
    /// A label that is no letter, such as `1`.
    label: Option<String>,
    text: String,
}

impl Choices {
    fn of(input: &RewardInput<'_>) -> Self {
        let text =
            |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let listed = |texts: &[Value], labels: &[Value]| {
            let choices = ('A'..='Z').zip(texts).enumerate().map(|(index, (letter, choice))| {
                let label = labels.get(index).or_else(|| choice.get("label")).map(text);
                let own = label.as_deref().and_then(choice_letter);
                Choice {
                    letter: own.unwrap_or(letter),
                    label: label.filter(|_| own.is_none()),
                    text: text(choice.get("text").unwrap_or(choice)),
                }
            });
            choices.collect()
        };
        Self(match input.column("choices").or_else(|| input.column("options")) {
            Some(Value::Array(texts)) => listed(texts, &[]),
            Some(Value::Object(choices)) => match (choices.get("text"), choices.get("label")) {
                (Some(Value::Array(texts)), Some(Value::Array(labels))) => listed(texts, labels),
                (Some(Value::Array(texts)), None) => listed(texts, &[]),
                _ => {
                    let named = choices.iter().filter_map(|(name, value)| {
                        Some(Choice {
                            letter: choice_letter(name)?,
                            label: None,
                            text: text(value),
                        })
                    });
                    named.collect()
                }
            },
            _ => Vec::new(),
        })
    }

    /// The choice with this label, which is no letter.
    fn labeled(&self, text: &str) -> Option<char> {
        let bare = text.trim_matches(['$', '*', '.', '(', ')', ' ']);
        let found = self.0.iter().find(|choice| choice.label.as_deref() == Some(bare))?;
        Some(found.letter)
    }

    /// The choice with this index from 0, where there are no labels of their own.
    fn indexed(&self, text: &str) -> Option<char> {
        let choice = self.0.get(text.trim().parse::<usize>().ok()?)?;
        self.0.iter().all(|choice| choice.label.is_none()).then_some(choice.letter)
    }

    /// The choice already found, else the one whose letter or text this is.
    fn named(
        &self,
        found: Option<char>,
        text: &str,
        reader: &mut Reader,
    ) -> Result<Option<char>, Stop> {
        match found.or_else(|| choice_letter(text)) {
            Some(letter) => Ok(Some(letter)),
            None => self.with_text(text, reader),
        }
    }

    /// The one choice with this text.
    fn with_text(&self, text: &str, reader: &mut Reader) -> Result<Option<char>, Stop> {
        let verifier = MathVerifier::new();
        let mut only = None;
        for choice in &self.0 {
            if verifier.judged(text, &choice.text, reader)?.verdict.is_correct()
                && only.replace(choice.letter).is_some()
            {
                return Ok(None);
            }
        }
        Ok(only)
    }
}

/// Text behind the letter of an answer: the `12` of `(B) 12`.
fn explanation(answer: &str) -> Option<&str> {
    let start = answer.find([')', '.', ':'])? + 1;
    let rest = answer[start..].trim_matches(['}', ' ', '$', '\\', '~']);
    (!rest.is_empty()).then_some(rest)
}

/// The letter a text names, in upper case.
fn choice_letter(text: &str) -> Option<char> {
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
