//! The weight axis: what the loss of helped rollouts is multiplied by, and how their ratio is shaped.

use hint_affinity::AffinityVariant;
use hint_rollout::ValueSchedule;
use serde::{Deserialize, Serialize};

/// A factor of the loss of helped rollouts, not differentiated. A configuration lists any number of
/// them; their product counts. Plain rollouts have a weight of 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HelpWeight {
    /// `Affinity^λ` of the group's helped rollouts. (AFF-3)
    Affinity {
        /// `λ`. Not negative. (HINT reference: 1)
        exponent: f64,
        /// Which formula of Affinity.
        #[serde(default)]
        variant: AffinityVariant,
    },
    /// Per token, how much less likely it was without the help:
    ///
    /// ```text
    /// w_t = clamp( π_old(y_t | x) / π_old(y_t | x⊕h), min, max )                        (HELP-1)
    /// ```
    ///
    /// It multiplies the objective, not the KL term. Source: (HELP-1) in `docs/math.md`.
    OffContext {
        /// Lower bound. Not negative.
        min: f64,
        /// Upper bound. Not below `min`.
        max: f64,
    },
    /// A value over the run.
    Schedule {
        /// Not negative.
        value: ValueSchedule,
    },
}

/// Whether the objective of helped rollouts is a shaped ratio, without any clip, instead of the
/// configured one.
///
/// ```text
/// ℓ_t = −Â_t r_t / (r_t + γ)                                                            (HELP-2)
/// ```
///
/// The slope is largest where the ratio is small, so tokens that the policy finds unlikely learn most.
/// Source: (HELP-2) in `docs/math.md`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RatioShaping {
    /// No: helped rollouts have the configured objective.
    Off {},
    /// Yes, with a fixed `γ` (LUFFY: 0.1).
    Fixed {
        /// Positive.
        gamma: f64,
    },
    /// Yes, with `γ` a quantile of the ratios of all helped tokens of the update (Guide-GRPO: 0.9).
    Quantile {
        /// In `(0, 1)`.
        quantile: f64,
    },
}
