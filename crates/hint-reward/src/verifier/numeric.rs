//! Measured numbers, with units and a tolerance.

use crate::error::RewardError;
use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::answer::measured;
use crate::math::reader::Reader;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, judged, no_answer, unusable};
use crate::verifier::verdict::Judgment;

/// A verifier for measured numbers: the extracted number is within a tolerance of the reference.
///
/// Units are converted: `980 cm/s^2` is near `9.8 m/s^2`. A number without a unit is taken to be in the unit of the
/// other side; units of different kinds are incorrect.
///
/// # Examples
///
/// ```
/// use hint_reward::{RewardInput, Verdict, Verifier, verifier::NumericTolerance};
///
/// let verifier = NumericTolerance::new(0.01, 0.0)?;
/// let verdict = |completion| verifier.verify(&RewardInput::new(completion, "9.81")).verdict;
/// assert_eq!(verdict("It is 9.8"), Verdict::Correct);
/// assert_eq!(verdict("It is 9.5"), Verdict::Incorrect);
/// let verdict = |completion| verifier.verify(&RewardInput::new(completion, "2.5 km")).verdict;
/// assert_eq!(verdict(r"\boxed{2510 \text{ m}}"), Verdict::Correct);
/// assert_eq!(verdict(r"\boxed{2.5 \text{ kg}}"), Verdict::Incorrect);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone)]
pub struct NumericTolerance {
    relative: f64,
    absolute: f64,
    extraction: Extraction,
}

impl NumericTolerance {
    /// Returns the verifier that accepts `|x − reference| <= max(relative·|reference|, absolute)`.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] unless both tolerances are finite and at least 0.
    pub fn new(relative: f64, absolute: f64) -> Result<Self, RewardError> {
        for (name, value) in [("relative", relative), ("absolute", absolute)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(RewardError::Setting {
                    name,
                    found: value.to_string(),
                    expected: "a finite number >= 0",
                });
            }
        }
        Ok(Self { relative, absolute, extraction: Extraction::default() })
    }

    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }
}

impl Verifier for NumericTolerance {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let measure = |text: &str| measured(text, &mut Reader::of_one_judgment());
        judged(&self.extraction, input, |answer, reference| {
            let Some(expected) = measure(reference) else {
                return unusable("the reference is no number");
            };
            let Some(answer) = answer else {
                return no_answer(input, "no answer was found");
            };
            let Some(found) = measure(answer) else {
                return compared(false, answer, reference, "the answer is no number");
            };
            let Some(value) = found.in_unit_of(&expected) else {
                return compared(false, answer, reference, "the unit is of another kind");
            };
            // Converting a unit rounds, which counts as nothing even where the tolerance is 0.
            let rounding = 4.0 * f64::EPSILON * expected.value.abs();
            let tolerance = (self.relative * expected.value.abs()).max(self.absolute).max(rounding);
            let near = (value - expected.value).abs() <= tolerance;
            compared(near, answer, reference, "the number is outside the tolerance")
        })
    }
}
