//! Estimators of the KL divergence to the reference policy.

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Per-token estimators of `KL(π_θ ‖ π_ref)` from samples of `π_θ`, with
/// `d = ref_logprobs − logprobs`.
///
/// ```text
/// k1 = −d              k2 = d²/2              k3 = exp(d) − d − 1                        (KL-1)
/// ```
///
/// Source: (KL-1) in [the book](../../../book/math.html#kl-and-importance-weights) (Schulman 2020). GRPO and HINT use k3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// Unbiased, can be negative.
    K1,
    /// Biased, low variance.
    K2,
    /// Unbiased and never negative.
    #[default]
    K3,
}

impl KlEstimator {
    /// The estimate of each token, in nats, of the shape of `logprobs` and differentiable in it.
    pub fn per_token(self, logprobs: &Tensor, ref_logprobs: &Tensor) -> Tensor {
        let difference = ref_logprobs - logprobs;
        match self {
            Self::K1 => -difference,
            Self::K2 => difference.square() * 0.5,
            Self::K3 => difference.exp() - &difference - 1.0,
        }
    }
}

/// Groups that have a KL term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlGroups {
    /// All of them.
    #[default]
    All,
    /// Groups whose rewards are not all equal. A group without a reward signal is then not pulled
    /// to the reference either. It still counts in the denominators.
    Varied,
}

/// The KL term of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KlConfig {
    /// Weight `β` per token. 0 disables the term and skips the reference forward pass. (HINT: 0)
    pub coef: f64,
    /// The estimator.
    pub estimator: KlEstimator,
    /// Multiplies the estimate by the importance ratio at the run's ratio level, which corrects its
    /// gradient off-policy.
    pub importance_weighted: bool,
    /// Groups that have the term.
    pub groups: KlGroups,
}
