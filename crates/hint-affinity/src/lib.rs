//! Affinity: how well outside guidance fits a policy, measured from log-ratios and weights alone.
//!
//! HINT rescues a group of completions that all failed by sampling again with a hint in the prompt. The rescued
//! group then trains the policy, and Affinity measures how much of that update the policy can take. It is the
//! share of the update weight inside the clip band ([`Affinity::eur`]), discounted by the spread of the log-ratios
//! there ([`Affinity::uc`]). The trainer multiplies the loss of a hinted group by [`Affinity::weight`].
//!
//! The crate works on plain `f64` slices and `ndarray` views. A trainer copies the log-ratios of the trained tokens
//! to the host once per micro-batch. So nothing here needs a tensor library, and everything can be tested without
//! one. Sums are kept in double-double arithmetic. So an [`AffinityAccumulator`] gives the same answer for every
//! split of the tokens into batches and every order.
//!
//! ```
//! use hint_affinity::{AffinityAccumulator, ClipRange, affinity};
//!
//! let clip = ClipRange::symmetric(0.2)?;
//! let log_ratios = [0.01, -0.02, 0.5]; // nats; the last token is outside the band
//! let weights = [1.0, 1.0, 2.0]; // |advantage| of each token's completion
//!
//! let whole = affinity(&log_ratios, &weights, clip)?;
//! assert_eq!(whole.eur(), 0.5);
//! assert!(whole.value() < whole.eur());
//!
//! let mut streamed = AffinityAccumulator::new(clip);
//! streamed.extend(&log_ratios[..1], &weights[..1])?;
//! streamed.extend(&log_ratios[1..], &weights[1..])?;
//! assert_eq!(streamed.affinity(), whole);
//! # Ok::<(), hint_affinity::AffinityError>(())
//! ```
//!
//! | item | content |
//! |---|---|
//! | [`affinity`], [`affinity_masked`] | one call on slices, or on `ndarray` views with a mask |
//! | [`AffinityAccumulator`] | the same, streaming and mergeable |
//! | [`ClipRange`] | validated clip distances and the band they span |
//! | [`HintTransfer`] | hint reliance, gap and off-context weight of completions on two prompts |
//! | [`TeacherFit`] | overlap and teachability over the tokens that a policy considers |
//! | [`AffinityVariant`] | the published formula, or the one of an earlier commit of the reference code |
//!
//! It does not compute log-probabilities, advantages or losses, and it does not decide which groups are weighted.
#![forbid(unsafe_code)]

mod clip;
mod variant;

mod accumulator;
mod affinity;
mod measure;
mod support;
mod transfer;

mod error;
mod sum;

pub use accumulator::AffinityAccumulator;
pub use affinity::Affinity;
pub use clip::ClipRange;
pub use error::AffinityError;
pub use measure::{affinity, affinity_masked};
pub use support::TeacherFit;
pub use transfer::HintTransfer;
pub use variant::AffinityVariant;
