//! Shared steps of the verifiers here: the answer of a completion, and the verdict if it has none.

use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::reader::Reader;
use crate::verifier::verdict::{Judgment, Verdict};

/// Judges the result of an extraction from the completion of an input, if there is one, against each reference.
pub(super) fn judged(
    extraction: &Extraction,
    input: &RewardInput<'_>,
    judge: impl Fn(Option<&str>, &str) -> Judgment,
) -> Judgment {
    let found = extraction.find_in(input, &mut Reader::of_one_judgment()).ok().flatten();
    let answer = found.as_ref().map(|(text, _)| text.trim());
    let judgment = Judgment::over(input, |reference| judge(answer, reference));
    let judgment = judgment.with_level(extraction.level());
    match found {
        Some((_, source)) => judgment.with_source(source),
        None => judgment,
    }
}

/// The judgment on a completion without an answer.
pub(super) fn no_answer(input: &RewardInput<'_>, reason: &str) -> Judgment {
    let verdict = if input.truncated { Verdict::Truncated } else { Verdict::NoAnswer };
    Judgment::new(verdict).with_compared(input.reference).with_reason(reason)
}

/// The judgment on a reference that cannot be used.
pub(super) fn unusable(reason: impl Into<String>) -> Judgment {
    Judgment::new(Verdict::ReferenceUnparseable).with_reason(reason)
}

/// Correct or incorrect, with the reason for the latter.
pub(super) fn compared(equal: bool, answer: &str, reference: &str, reason: &str) -> Judgment {
    let verdict = if equal { Verdict::Correct } else { Verdict::Incorrect };
    let judgment = Judgment::new(verdict).with_extracted(answer).with_compared(reference);
    if equal { judgment } else { judgment.with_reason(reason) }
}
