//! Exact sets of items.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::answer::unwrapped;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, judged, no_answer, unusable};
use crate::verifier::verdict::Judgment;

/// A verifier for sets of names: the answer has every item of the reference and no other.
///
/// Items are separated by commas, semicolons, line feeds or the word "and", or stand in a JSON list. Order, repetition,
/// case and white space do not matter. `[]`, `{}` and `∅` are the empty set; an answer without items is wrong.
///
/// # Examples
///
/// ```
/// use hint_reward::{RewardInput, Verdict, Verifier, verifier::SetMatch};
///
/// let verdict = |completion| SetMatch::default().verify(&RewardInput::new(completion, "red, green")).verdict;
/// assert_eq!(verdict("<answer>Green and red</answer>"), Verdict::Correct);
/// assert_eq!(verdict("<answer>red, green, blue</answer>"), Verdict::Incorrect);
/// assert_eq!(verdict(r#"<answer>["red"]</answer>"#), Verdict::Incorrect);
/// ```
#[derive(Debug, Clone, Default)]
pub struct SetMatch {
    extraction: Extraction,
}

impl SetMatch {
    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }
}

impl Verifier for SetMatch {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        judged(&self.extraction, input, |answer, reference| {
            let expected = items(reference);
            if expected.is_empty() && !is_empty_set(reference) {
                return unusable("the reference has no items");
            }
            let Some(answer) = answer else {
                return no_answer(input, "no answer was found");
            };
            let found = items(answer);
            if found.is_empty() && !is_empty_set(answer) {
                return compared(false, answer, reference, "the answer has no items");
            }
            let (missing, extra) =
                (expected.difference(&found).count(), found.difference(&expected).count());
            let reason = format!("{missing} items are missing, {extra} are too many");
            compared(missing + extra == 0, answer, reference, &reason)
        })
    }
}

/// Whether a text states that there are no items, and is not just empty.
fn is_empty_set(text: &str) -> bool {
    let text: String = text.chars().filter(|c| !c.is_whitespace() && *c != '$').collect();
    matches!(&*text, "[]" | "{}" | "\\{\\}" | "\\emptyset" | "\\varnothing" | "∅")
}

/// The text without one pair of brackets around it.
fn unbraced(text: &str) -> &str {
    let pairs = [("\\left\\{", "\\right\\}"), ("\\{", "\\}"), ("{", "}"), ("[", "]")];
    let inside = |(open, close): &(&str, &str)| text.strip_prefix(open)?.strip_suffix(close);
    pairs.iter().find_map(inside).unwrap_or(text)
}

fn items(text: &str) -> BTreeSet<String> {
    let plain = |item: &str| {
        let words =
            unwrapped(item.trim()).trim_matches(['.', '"', '\'', '$', '*']).split_whitespace();
        words.collect::<Vec<_>>().join(" ").to_lowercase()
    };
    let listed = match serde_json::from_str::<Value>(text.trim()) {
        Ok(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), ToOwned::to_owned))
            .collect(),
        _ if is_empty_set(text) => Vec::new(),
        _ => unbraced(unwrapped(text.trim()))
            .replace(" and ", ",")
            .split([',', ';', '\n'])
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>(),
    };
    listed.iter().map(|item| plain(item)).filter(|item| !item.is_empty()).collect()
}
