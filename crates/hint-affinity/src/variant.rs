//! Formulas of Affinity.

use serde::{Deserialize, Deserializer, Serialize};

/// Choice of the formula of Affinity.
///
/// # Examples
///
/// ```
/// use hint_affinity::{AffinityAccumulator, AffinityVariant, ClipRange};
///
/// let clip = ClipRange::symmetric(0.2)?;
/// let mut v1 = AffinityAccumulator::with_variant(clip, AffinityVariant::V1);
/// v1.extend(&[0.0, 0.0, 0.0, 1.0], &[1.0, 1.0, 1.0, 100.0])?;
/// assert_eq!(v1.affinity().eur(), 0.75); // tokens are counted, not weighted
/// assert_eq!(v1.affinity().uc(), 1.0); // exp(-0): here higher is steadier
/// # Ok::<(), hint_affinity::AffinityError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AffinityVariant {
    /// The published formula. UC is a weighted standard deviation in nats; lower is steadier.
    ///
    /// ```text
    /// EUR      = Σ_{t∈B} w_t / Σ_t w_t
    /// μ        = Σ_{t∈B} w_t d_t / Σ_{t∈B} w_t
    /// UC       = sqrt( Σ_{t∈B} w_t (d_t − μ)² / Σ_{t∈B} w_t )
    /// Affinity = EUR · exp(−UC / τ),    τ = ln(1 + clip_high) / 2
    /// ```
    ///
    /// Source: (AFF-1) in [the book](../../book/math.html#affinity).
    #[serde(deserialize_with = "no_fields")]
    Weighted,

    /// The formula of an earlier commit of the reference code. UC is dimensionless and higher is steadier.
    ///
    /// ```text
    /// EUR      = |B| / n
    /// m        = Σ_{t∈B} r_t / |B|,    r_t = exp(d_t)
    /// UC       = exp( −Σ_{t∈B} (r_t − m)² / |B| )
    /// Affinity = EUR · UC
    /// ```
    ///
    /// `n` counts every token given, including those of weight 0, and weights play no part. The variance is the
    /// population one: it divides by `|B|`, so a single token has variance 0. With no token in the band all three
    /// are 0.
    ///
    /// Source: (AFF-2) in [the book](../../book/math.html#affinity).
    #[serde(deserialize_with = "no_fields")]
    V1,
}

impl Default for AffinityVariant {
    /// The published formula.
    fn default() -> Self {
        Self::Weighted
    }
}

/// Reads a variant without fields, which serde by itself would let have any.
fn no_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoFields {}
    NoFields::deserialize(deserializer).map(|NoFields {}| ())
}
