//! Measured numbers, with units and a tolerance.

use crate::error::RewardError;
use crate::extract::Extraction;
use crate::input::RewardInput;
use crate::math::answer::measured;
use crate::math::fuel::DEFAULT_FUEL;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, judged_within, no_answer, unusable};
use crate::verifier::verdict::Judgment;

/// A verifier for measured numbers: the extracted number is within a tolerance of the reference.
///
/// Units are converted: `980 cm/s^2` is near `9.8 m/s^2`. A number without a unit is taken to be in the unit of the
/// other side; units of different kinds are incorrect.
///
/// A number may have a name, as in `v = 9.8 m/s`; where both sides have one, the names must be the same. An equation of
/// more than a name, such as `2v = 9.8`, and a number with a condition, such as `9.8 for t = 1`, are no numbers.
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
    fuel: u64,
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
        Ok(Self { relative, absolute, extraction: Extraction::default(), fuel: DEFAULT_FUEL })
    }

    /// Sets where the answer is looked for.
    #[must_use]
    pub fn with_extraction(mut self, extraction: Extraction) -> Self {
        self.extraction = extraction;
        self
    }

    /// Sets the budget of one judgment, in work units of about ten nanoseconds. Beyond it the verdict is
    /// [`Verdict::Timeout`](crate::Verdict::Timeout).
    #[must_use]
    pub fn with_fuel(mut self, units: u64) -> Self {
        self.fuel = units;
        self
    }
}

impl Verifier for NumericTolerance {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        judged_within(&self.extraction, input, self.fuel, |answer, reference, reader| {
            let Some(expected) = measured(reference, reader)? else {
                return Ok(unusable("the reference is no number"));
            };
            let Some(answer) = answer else {
                return Ok(no_answer(input, "no answer was found"));
            };
            let incorrect = |reason| Ok(compared(false, answer, reference, reason));
            let Some(found) = measured(answer, reader)? else {
                return incorrect("the answer is no number");
            };
            if !found.may_be_named_as(&expected) {
                return incorrect("the number has another name");
            }
            let Some(value) = found.in_unit_of(&expected) else {
                return incorrect("the unit is of another kind");
            };
            // Converting a unit rounds, which counts as nothing even where the tolerance is 0.
            let rounding = 4.0 * f64::EPSILON * expected.value.abs();
            let tolerance = (self.relative * expected.value.abs()).max(self.absolute).max(rounding);
            let near = (value - expected.value).abs() <= tolerance;
            Ok(compared(near, answer, reference, "the number is outside the tolerance"))
        })
    }
}
