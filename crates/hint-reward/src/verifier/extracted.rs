//! Shared steps of the verifiers here: the answer of a completion, and the verdict if it has none.

use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::fuel::{DEFAULT_FUEL, Stop};
use crate::math::reader::Reader;
use crate::verifier::verdict::{Judgment, Verdict};

/// Judges the result of an extraction from the completion of an input, if there is one, against each reference.
pub(super) fn judged(
    extraction: &Extraction,
    input: &RewardInput<'_>,
    judge: impl Fn(Option<&str>, &str) -> Judgment,
) -> Judgment {
    judged_within(extraction, input, DEFAULT_FUEL, |answer, reference, _| {
        Ok(judge(answer, reference))
    })
}

/// As [`judged`], where the search and all comparisons share one budget. Beyond it the verdict is a timeout.
pub(super) fn judged_within(
    extraction: &Extraction,
    input: &RewardInput<'_>,
    fuel: u64,
    judge: impl Fn(Option<&str>, &str, &mut Reader) -> Result<Judgment, Stop>,
) -> Judgment {
    let mut reader = Reader::new(fuel);
    let found = match extraction.find_in(input, &mut reader) {
        Ok(found) => found,
        Err(stop) => return stopped(stop).with_level(extraction.level()),
    };
    let answer = found.as_ref().map(|(text, _)| text.trim());
    let judgment = Judgment::over(input, |reference| {
        judge(answer, reference, &mut reader).unwrap_or_else(stopped)
    });
    let judgment = judgment.with_level(extraction.level());
    match found {
        Some((_, source)) => judgment.with_source(source),
        None => judgment,
    }
}

/// The judgment of a search or a comparison that ended early.
pub(super) fn stopped(stop: Stop) -> Judgment {
    match stop {
        Stop::OutOfFuel => {
            Judgment::new(Verdict::Timeout).with_reason("the comparison used up its work budget")
        }
        Stop::Unreadable(reason) => Judgment::new(Verdict::Error).with_reason(reason),
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
