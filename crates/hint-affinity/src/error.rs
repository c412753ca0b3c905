//! Errors of this crate.

/// Errors of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AffinityError {
    /// A clip distance is outside its range.
    #[error("`{name}` is {found}, expected a finite number in {expected}")]
    ClipRange {
        /// The offending distance, `clip_low` or `clip_high`.
        name: &'static str,
        /// Its value.
        found: f64,
        /// The range it must lie in.
        expected: &'static str,
    },

    /// Two inputs that go together token by token differ in length.
    #[error("`{name}` has {found} elements, expected {expected} (one per token)")]
    LengthMismatch {
        /// The offending input.
        name: &'static str,
        /// Its length, in tokens.
        found: usize,
        /// The length of the input before it, in tokens.
        expected: usize,
    },

    /// Two views that go together element by element differ in shape.
    #[error("`{name}` has shape {found:?}, expected {expected:?} (shape of `log_ratios`)")]
    ShapeMismatch {
        /// The offending input.
        name: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape of `log_ratios`.
        expected: Vec<usize>,
    },

    /// An element is NaN or infinite.
    #[error("`{name}[{index}]` is {found}, expected a finite number")]
    NotFinite {
        /// The offending input.
        name: &'static str,
        /// Token index in logical (row-major) order, masked tokens counted.
        index: usize,
        /// Its value.
        found: f64,
    },

    /// A log-probability is above zero by more than rounding explains.
    #[error("`{name}[{index}]` is {found}, expected the logarithm of a probability, at most 0")]
    PositiveLogProbability {
        /// The offending input.
        name: &'static str,
        /// Index in it.
        index: usize,
        /// Its value.
        found: f64,
    },

    /// A weight is below zero.
    #[error(
        "`weights[{index}]` is {found}, expected at least 0; pass the absolute value of the advantage"
    )]
    NegativeWeight {
        /// Token index in logical (row-major) order, masked tokens counted.
        index: usize,
        /// Its value.
        found: f64,
    },

    /// The bounds of a weight are no range.
    #[error("the weight is bounded by {min} and {max}, expected 0 <= min <= max, both finite")]
    WeightRange {
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
    },

    /// More tokens are shared with a teacher than were given.
    #[error("{found} tokens are shared, expected at most {expected} (as many as `policy` has)")]
    SharedTokens {
        /// Tokens that were declared shared.
        found: usize,
        /// Tokens at the position.
        expected: usize,
    },

    /// Two accumulators that were to be merged measure different things.
    #[error("cannot merge accumulators of different {what}; build both with the same settings")]
    MergeMismatch {
        /// The difference, such as `clip ranges`.
        what: &'static str,
    },
}
