//! Aggregation of token losses into one number.

use hint_rollout::error::Violations;
use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Aggregation of token losses into one number. The set of the literature is closed, hence an enum.
///
/// ```text
/// sequence mean        Σ_i ( Σ_t m_it ℓ_it / |y_i| ) / N                               (AGG-1)
/// token mean           Σ_it m_it ℓ_it / Σ_it m_it                                      (AGG-2)
/// constant             Σ_it m_it ℓ_it / (N · L)                                        (AGG-3)
/// sequence sum         Σ_it m_it ℓ_it / N                                              (AGG-4)
/// local token mean     Σ_b ( Σ_{it∈b} m_it ℓ_it / Σ_{it∈b} m_it ) / M                  (AGG-5)
/// ```
///
/// `N` is the number of completions and `Σ m` the number of completion tokens *of the whole
/// optimizer step*. So the gradient does not depend on the split of the step into micro-batches. The
/// local token mean is the exception: it averages over the `M` micro-batches `b`. Source: (AGG-1) to
/// (AGG-5) in [the book](../../../book/math.html#aggregation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Aggregation {
    /// Mean over each sequence, then over sequences (GRPO, HINT).
    #[serde(deserialize_with = "no_fields")]
    SequenceMean,
    /// Sum over all tokens of the optimizer step divided by their number (DAPO).
    #[serde(deserialize_with = "no_fields")]
    TokenMean,
    /// Sum divided by the number of sequences times a fixed length (Dr. GRPO).
    Constant {
        /// The fixed length, in tokens.
        max_completion_len: usize,
    },
    /// Sum over each sequence, mean over sequences (LUSPO).
    #[serde(deserialize_with = "no_fields")]
    SequenceSum,
    /// Mean over the tokens of each micro-batch, then over micro-batches (BNPO). The gradient depends
    /// on how the step is split; use it to reproduce results that were found with it.
    #[serde(deserialize_with = "no_fields")]
    LocalTokenMean,
}

/// Counts for the denominators: totals over the whole optimizer step, rows without any gradient
/// included.
///
/// ```
/// use hint_grpo::objective::{Aggregation, StepTotals};
/// use tch::Tensor;
///
/// // Half of a step: this micro-batch has 2 of its 4 tokens.
/// let values = Tensor::from_slice2(&[[1.0, 3.0]]);
/// let mask = Tensor::from_slice2(&[[true, true]]);
/// let totals = StepTotals::new(2, 4).in_micro_batches(2);
/// let share = Aggregation::TokenMean.reduce(&values, &mask, totals);
/// assert_eq!(share.double_value(&[]), 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTotals {
    /// Completions.
    pub rows: usize,
    /// Completion tokens.
    pub tokens: usize,
    /// Micro-batches. Only [`Aggregation::LocalTokenMean`] depends on it.
    pub micro_batches: usize,
}

impl StepTotals {
    /// A step of `rows` completions with `tokens` completion tokens in one micro-batch.
    pub const fn new(rows: usize, tokens: usize) -> Self {
        Self { rows, tokens, micro_batches: 1 }
    }

    /// The same step in `micro_batches` parts.
    #[must_use]
    pub const fn in_micro_batches(mut self, micro_batches: usize) -> Self {
        self.micro_batches = micro_batches;
        self
    }
}

impl Aggregation {
    pub(crate) fn check(self, at: &mut Violations) {
        if let Self::Constant { max_completion_len } = self {
            at.at_least("max_completion_len", max_completion_len as u64, 1);
        }
    }

    /// Whether the gradient of a step is independent of how its rows are split into micro-batches.
    pub const fn is_split_invariant(self) -> bool {
        !matches!(self, Self::LocalTokenMean)
    }

    /// The share of the step's loss that these rows contribute: a scalar of the kind of `values`.
    ///
    /// # Shapes
    ///
    /// `values` `[batch, seq]`, floating; `mask` `[batch, seq]`, `Bool`.
    pub fn reduce(self, values: &Tensor, mask: &Tensor, totals: StepTotals) -> Tensor {
        let mask = mask.to_kind(values.kind());
        let per_row = (values * &mask).sum_dim_intlist([-1_i64].as_slice(), false, None::<Kind>);
        let rows = totals.rows.max(1) as f64;
        match self {
            Self::SequenceMean => {
                let lens = mask.sum_dim_intlist([-1_i64].as_slice(), false, None::<Kind>);
                // An empty completion has no token to average over; its sum is 0.
                (per_row / lens.clamp_min(1.0)).sum(None::<Kind>) / rows
            }
            Self::TokenMean => per_row.sum(None::<Kind>) / totals.tokens.max(1) as f64,
            Self::Constant { max_completion_len } => {
                per_row.sum(None::<Kind>) / (rows * max_completion_len.max(1) as f64)
            }
            Self::SequenceSum => per_row.sum(None::<Kind>) / rows,
            Self::LocalTokenMean => {
                let tokens = mask.sum(None::<Kind>).clamp_min(1.0);
                per_row.sum(None::<Kind>) / tokens / totals.micro_batches.max(1) as f64
            }
        }
    }
}
