//! The numbers of one update: EUR, UC and Affinity.

use serde::{Deserialize, Serialize};

/// Measurements of one update: EUR, UC and their combination.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Affinity {
    eur: f64,
    uc: f64,
    value: f64,
}

impl Affinity {
    /// Nothing of the update fits: no weight at all, or none of it inside the clip band.
    pub const ZERO: Self = Self { eur: 0.0, uc: 0.0, value: 0.0 };

    pub(crate) fn new(eur: f64, uc: f64, value: f64) -> Self {
        Self { eur, uc, value }
    }

    /// Share of the update weight inside the clip band, in `[0, 1]`.
    pub fn eur(self) -> f64 {
        self.eur
    }

    /// Weighted standard deviation of the log-ratios in the band, in nats; lower is steadier.
    ///
    /// Under [`AffinityVariant::V1`](crate::AffinityVariant::V1) it is `exp(−Var)`, dimensionless, and higher is steadier.
    pub fn uc(self) -> f64 {
        self.uc
    }

    /// Affinity, in `[0, 1]`; 1 on-policy.
    pub fn value(self) -> f64 {
        self.value
    }

    /// The factor on the loss of a hinted group, without gradient.
    ///
    /// ```text
    /// weight = Affinity^λ,    λ = exponent
    /// ```
    ///
    /// An exponent of 0 switches the weighting off: the weight is 1 even if Affinity is 0.
    ///
    /// Source: (AFF-3) in [the book](../../book/math.html#affinity).
    ///
    /// # Examples
    ///
    /// ```
    /// use hint_affinity::{Affinity, ClipRange, affinity};
    ///
    /// let half = affinity(&[0.0, 1.0], &[1.0, 1.0], ClipRange::symmetric(0.2)?)?;
    /// assert_eq!(half.weight(1.0), 0.5);
    /// assert_eq!(half.weight(2.0), 0.25);
    /// assert_eq!(Affinity::ZERO.weight(0.0), 1.0);
    /// # Ok::<(), hint_affinity::AffinityError>(())
    /// ```
    pub fn weight(self, exponent: f64) -> f64 {
        self.value.powf(exponent)
    }
}
