//! The clip distances and the band of log-ratios they span.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::AffinityError;

/// Validated clip distances: the ratio is kept in `[1 − clip_low, 1 + clip_high]`, both ends included.
///
/// # Examples
///
/// ```
/// use hint_affinity::ClipRange;
///
/// let clip = ClipRange::new(0.2, 0.28)?;
/// assert!(clip.contains(0.0));
/// assert!(clip.contains(*clip.log_range().end()));
/// assert!(!clip.contains(0.3));
/// # Ok::<(), hint_affinity::AffinityError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Distances", into = "Distances")]
pub struct ClipRange {
    clip_low: f64,
    clip_high: f64,
}

/// The serialized form, before validation.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Distances {
    clip_low: f64,
    clip_high: f64,
}

impl ClipRange {
    /// Returns the range `[1 − clip_low, 1 + clip_high]` of ratios.
    ///
    /// # Errors
    ///
    /// [`AffinityError::ClipRange`] unless `clip_low` is in `(0, 1)` and `clip_high` is positive and finite.
    pub fn new(clip_low: f64, clip_high: f64) -> Result<Self, AffinityError> {
        if !(clip_low > 0.0 && clip_low < 1.0) {
            return Err(AffinityError::ClipRange {
                name: "clip_low",
                found: clip_low,
                expected: "(0, 1)",
            });
        }
        if !(clip_high > 0.0 && clip_high.is_finite()) {
            return Err(AffinityError::ClipRange {
                name: "clip_high",
                found: clip_high,
                expected: "(0, inf)",
            });
        }
        Ok(Self { clip_low, clip_high })
    }

    /// Returns the range with the same distance on both sides.
    ///
    /// # Errors
    ///
    /// As [`ClipRange::new`].
    pub fn symmetric(clip: f64) -> Result<Self, AffinityError> {
        Self::new(clip, clip)
    }

    /// Lower clip distance, dimensionless.
    pub fn clip_low(self) -> f64 {
        self.clip_low
    }

    /// Upper clip distance, dimensionless.
    pub fn clip_high(self) -> f64 {
        self.clip_high
    }

    /// The band of log-ratios, `ln(1 − clip_low) ..= ln(1 + clip_high)`, in nats.
    pub fn log_range(self) -> RangeInclusive<f64> {
        (-self.clip_low).ln_1p()..=self.clip_high.ln_1p()
    }

    /// The scale `τ = ln(1 + clip_high) / 2` that turns UC into a discount, in nats (Deviation D9).
    pub fn tau(self) -> f64 {
        self.clip_high.ln_1p() / 2.0
    }

    /// Whether a token with this log-ratio (nats) is inside the band, both ends included.
    pub fn contains(self, log_ratio: f64) -> bool {
        self.log_range().contains(&log_ratio)
    }
}

impl TryFrom<Distances> for ClipRange {
    type Error = AffinityError;

    fn try_from(distances: Distances) -> Result<Self, AffinityError> {
        Self::new(distances.clip_low, distances.clip_high)
    }
}

impl From<ClipRange> for Distances {
    fn from(clip: ClipRange) -> Self {
        Self { clip_low: clip.clip_low, clip_high: clip.clip_high }
    }
}
