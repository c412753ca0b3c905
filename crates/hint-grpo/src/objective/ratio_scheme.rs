//! The ratio axis: prompts that numerator and denominator of the importance ratio condition on.

use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};

/// Prompts that the importance ratio of a *hinted* sample conditions on. `x` is the plain prompt;
/// `x,h` is the prompt that the sample was drawn from, with the hint or the prefix. Plain samples
/// are the same under all four. A demonstration was sampled from no prompt, so `x,h` is `x` for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RatioScheme {
    /// `π_θ(y|x) / π_old(y|x)`, as in the HINT reference code. The default.
    #[serde(deserialize_with = "no_fields")]
    Plain,
    /// `π_θ(y|x,h) / π_old(y|x,h)`: on-policy for the hinted prompt.
    #[serde(deserialize_with = "no_fields")]
    Hinted,
    /// `π_θ(y|x) / π_old(y|x,h)`: importance-corrected to the plain prompt.
    #[serde(deserialize_with = "no_fields")]
    OffContext,
    /// `π_θ(y|x) / 1`: the rollout is taken for a demonstration, whoever wrote it.
    #[serde(deserialize_with = "no_fields")]
    Demonstration,
}
