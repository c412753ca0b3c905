//! Affinity of one update, in one call.

use ndarray::{ArrayView, Dimension};

use crate::accumulator::{AffinityAccumulator, check_token};
use crate::affinity::Affinity;
use crate::clip::ClipRange;
use crate::error::AffinityError;

/// Affinity of one update: how much of it lands inside the clip band, and how consistently.
///
/// ```text
/// EUR      = Σ_{t∈B} w_t / Σ_t w_t
/// μ        = Σ_{t∈B} w_t d_t / Σ_{t∈B} w_t
/// UC       = sqrt( Σ_{t∈B} w_t (d_t − μ)² / Σ_{t∈B} w_t )
/// Affinity = EUR · exp(−UC / τ),    τ = ln(1 + clip_high) / 2
/// ```
///
/// with `d_t` the log-ratio of token `t` and `w_t` its weight (the absolute advantage of its completion). `B` are
/// the tokens whose ratio lies in `[1 − clip_low, 1 + clip_high]`, both ends included.
///
/// Source: (AFF-1) in [the book](../../book/math.html#affinity). Zero total weight, or no weight in the band, gives [`Affinity::ZERO`].
/// The guards of 1e-8 in the denominators of the reference code are left out (Deviation D1).
///
/// # Units
///
/// `log_ratios` and the returned UC are in nats; the rest is dimensionless.
///
/// # Errors
///
/// [`AffinityError::LengthMismatch`] if the slices differ in length, [`AffinityError::NotFinite`] if any element is
/// NaN or infinite, [`AffinityError::NegativeWeight`] if a weight is below 0.
///
/// # Examples
///
/// ```
/// use hint_affinity::{ClipRange, affinity};
///
/// let on_policy = affinity(&[0.0, 0.0], &[1.0, 1.0], ClipRange::symmetric(0.2)?)?;
/// assert_eq!(on_policy.value(), 1.0);
/// # Ok::<(), hint_affinity::AffinityError>(())
/// ```
pub fn affinity(
    log_ratios: &[f64],
    weights: &[f64],
    clip: ClipRange,
) -> Result<Affinity, AffinityError> {
    let mut accumulator = AffinityAccumulator::new(clip);
    accumulator.extend(log_ratios, weights)?;
    Ok(accumulator.affinity())
}

/// Affinity over the elements of array views where `mask` is true. Source: (AFF-1) in [the book](../../book/math.html#affinity).
///
/// Elements under a false mask are never looked at: they may be NaN.
///
/// # Shapes
///
/// All three views have the same shape, `[batch, seq]` in a trainer; any number of axes works. A weight per row is
/// spread with `ndarray`'s own broadcast, as below.
///
/// # Errors
///
/// [`AffinityError::ShapeMismatch`] if the shapes differ, else as [`affinity`], for unmasked elements only.
///
/// # Examples
///
/// ```
/// use hint_affinity::{ClipRange, affinity_masked};
/// use ndarray::{Axis, array};
///
/// let log_ratios = array![[0.0, 0.0], [0.0, f64::NAN]];
/// let mask = array![[true, true], [true, false]];
/// let advantages = array![1.0_f64, -1.0];
///
/// let weights = advantages.mapv(f64::abs).insert_axis(Axis(1));
/// let weights = weights.broadcast(log_ratios.dim()).expect("one weight per row");
/// let clip = ClipRange::symmetric(0.2)?;
/// assert_eq!(affinity_masked(log_ratios.view(), weights, mask.view(), clip)?.value(), 1.0);
/// # Ok::<(), hint_affinity::AffinityError>(())
/// ```
#[expect(
    clippy::needless_pass_by_value,
    reason = "a view is a borrow; ndarray passes views by value too"
)]
pub fn affinity_masked<D: Dimension>(
    log_ratios: ArrayView<'_, f64, D>,
    weights: ArrayView<'_, f64, D>,
    mask: ArrayView<'_, bool, D>,
    clip: ClipRange,
) -> Result<Affinity, AffinityError> {
    for (name, shape) in [("weights", weights.shape()), ("mask", mask.shape())] {
        if shape != log_ratios.shape() {
            return Err(AffinityError::ShapeMismatch {
                name,
                found: shape.to_vec(),
                expected: log_ratios.shape().to_vec(),
            });
        }
    }
    let mut accumulator = AffinityAccumulator::new(clip);
    let tokens = log_ratios.iter().zip(weights.iter()).zip(mask.iter());
    for (index, ((&log_ratio, &weight), &trains)) in tokens.enumerate() {
        if trains {
            check_token(index, log_ratio, weight)?;
            accumulator.add(log_ratio, weight);
        }
    }
    Ok(accumulator.affinity())
}
