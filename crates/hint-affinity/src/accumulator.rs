//! Affinity of tokens that arrive in pieces.

use std::ops::RangeInclusive;

use crate::affinity::Affinity;
use crate::clip::ClipRange;
use crate::error::AffinityError;
use crate::sum::DoubleDouble;
use crate::variant::AffinityVariant;

/// Affinity of tokens that arrive in pieces: micro-batches of a step, or shards that are merged later.
///
/// The result does not depend on the split of the tokens into calls. To a relative 1e-12 of EUR and Affinity, it
/// does not depend on their order either. Only five sums are kept, in double-double arithmetic.
///
/// Source: (AFF-1) and (AFF-2) in [the book](../../book/math.html#affinity).
///
/// # Examples
///
/// ```
/// use hint_affinity::{AffinityAccumulator, ClipRange, affinity};
///
/// let clip = ClipRange::symmetric(0.2)?;
/// let mut first = AffinityAccumulator::new(clip);
/// first.push(0.05, 1.0)?;
/// let mut second = AffinityAccumulator::new(clip);
/// second.push(-0.05, 1.0)?;
/// first.merge(&second)?;
/// assert_eq!(first.affinity(), affinity(&[0.05, -0.05], &[1.0, 1.0], clip)?);
/// # Ok::<(), hint_affinity::AffinityError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AffinityAccumulator {
    clip: ClipRange,
    /// `clip.log_range()`: two logarithms that would cost more than the rest of a token.
    band: RangeInclusive<f64>,
    variant: AffinityVariant,
    /// Tokens seen.
    tokens: usize,
    /// Weight of all tokens; under [`AffinityVariant::V1`] every token weighs 1.
    total: DoubleDouble,
    /// Weight of the tokens in the band.
    in_band: DoubleDouble,
    /// First moment of the deviation over the band.
    first: DoubleDouble,
    /// Second moment of the deviation over the band.
    second: DoubleDouble,
}

impl AffinityAccumulator {
    /// Returns an empty accumulator of the published formula.
    pub fn new(clip: ClipRange) -> Self {
        Self::with_variant(clip, AffinityVariant::default())
    }

    /// Returns an empty accumulator of the given formula.
    pub fn with_variant(clip: ClipRange, variant: AffinityVariant) -> Self {
        let zero = DoubleDouble::default();
        Self {
            clip,
            band: clip.log_range(),
            variant,
            tokens: 0,
            total: zero,
            in_band: zero,
            first: zero,
            second: zero,
        }
    }

    /// Tokens added so far, including those of weight 0.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Adds one token with its log-ratio (nats) and weight (the absolute advantage of its completion).
    ///
    /// # Errors
    ///
    /// [`AffinityError::NotFinite`] or [`AffinityError::NegativeWeight`], with the number of tokens added before as
    /// the index; the accumulator is unchanged then.
    pub fn push(&mut self, log_ratio: f64, weight: f64) -> Result<(), AffinityError> {
        check_token(self.tokens, log_ratio, weight)?;
        self.add(log_ratio, weight);
        Ok(())
    }

    /// Adds tokens with their log-ratios (nats) and weights.
    ///
    /// # Errors
    ///
    /// [`AffinityError::LengthMismatch`], [`AffinityError::NotFinite`] or [`AffinityError::NegativeWeight`], with an
    /// index into these slices; the accumulator is unchanged then.
    pub fn extend(&mut self, log_ratios: &[f64], weights: &[f64]) -> Result<(), AffinityError> {
        if weights.len() != log_ratios.len() {
            return Err(AffinityError::LengthMismatch {
                name: "weights",
                found: weights.len(),
                expected: log_ratios.len(),
            });
        }
        for (index, (&log_ratio, &weight)) in log_ratios.iter().zip(weights).enumerate() {
            check_token(index, log_ratio, weight)?;
        }
        for (&log_ratio, &weight) in log_ratios.iter().zip(weights) {
            self.add(log_ratio, weight);
        }
        Ok(())
    }

    /// Adds the tokens of another accumulator.
    ///
    /// # Errors
    ///
    /// [`AffinityError::MergeMismatch`] if the two differ in clip range or variant.
    pub fn merge(&mut self, other: &Self) -> Result<(), AffinityError> {
        if self.clip != other.clip {
            return Err(AffinityError::MergeMismatch { what: "clip ranges" });
        }
        if self.variant != other.variant {
            return Err(AffinityError::MergeMismatch { what: "variants" });
        }
        self.tokens += other.tokens;
        self.total = self.total + other.total;
        self.in_band = self.in_band + other.in_band;
        self.first = self.first + other.first;
        self.second = self.second + other.second;
        Ok(())
    }

    /// Affinity of everything added so far; [`Affinity::ZERO`] if the total weight is 0 or no token is in the band.
    pub fn affinity(&self) -> Affinity {
        let in_band = self.in_band.to_f64();
        if in_band <= 0.0 {
            return Affinity::ZERO;
        }
        let eur = (in_band / self.total.to_f64()).min(1.0);
        let mean = self.first / self.in_band;
        // Rounding can leave a variance of about -1e-34 when all deviations are equal.
        let variance = (self.second / self.in_band - mean * mean).to_f64().max(0.0);
        match self.variant {
            AffinityVariant::Weighted => {
                let uc = variance.sqrt();
                Affinity::new(eur, uc, eur * (-uc / self.clip.tau()).exp())
            }
            AffinityVariant::V1 => {
                let uc = (-variance).exp();
                Affinity::new(eur, uc, eur * uc)
            }
        }
    }

    /// Adds a token that was checked.
    pub(crate) fn add(&mut self, log_ratio: f64, weight: f64) {
        let in_band = self.band.contains(&log_ratio);
        let (deviation, weight) = match self.variant {
            AffinityVariant::Weighted => (log_ratio, weight),
            // The variance of r is that of r − 1, which keeps its digits near ratio 1. Outside the band the
            // deviation is not used, and exp could overflow there.
            AffinityVariant::V1 => (if in_band { log_ratio.exp_m1() } else { 0.0 }, 1.0),
        };
        self.tokens += 1;
        self.total = self.total + weight.into();
        if in_band {
            let moment = DoubleDouble::product(weight, deviation);
            self.in_band = self.in_band + weight.into();
            self.first = self.first + moment;
            self.second = self.second + moment * deviation.into();
        }
    }
}

/// Checks one token at the door.
pub(crate) fn check_token(index: usize, log_ratio: f64, weight: f64) -> Result<(), AffinityError> {
    if !log_ratio.is_finite() {
        return Err(AffinityError::NotFinite { name: "log_ratios", index, found: log_ratio });
    }
    if !weight.is_finite() {
        return Err(AffinityError::NotFinite { name: "weights", index, found: weight });
    }
    if weight < 0.0 {
        return Err(AffinityError::NegativeWeight { index, found: weight });
    }
    Ok(())
}
