//! The ratio axis: what numerator and denominator of the importance ratio condition on.

use hint_rollout::{Rollout, RolloutGroup};
use serde::{Deserialize, Serialize};

/// What the importance ratio of a *helped* rollout conditions on. `x` is the plain prompt; `x,h` is
/// the prompt that the rollout was sampled from, with the hint or the prefix. Plain rollouts are the
/// same under all four. A demonstration was sampled from no prompt, so `x,h` is `x` for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RatioScheme {
    /// `π_θ(y|x) / π_old(y|x)`: what the HINT reference code does. The default.
    Plain {},
    /// `π_θ(y|x,h) / π_old(y|x,h)`: on-policy for the hinted prompt.
    Hinted {},
    /// `π_θ(y|x) / π_old(y|x,h)`: importance-corrected to the plain prompt.
    OffContext {},
    /// `π_θ(y|x) / 1`: the rollout is taken for a demonstration, whoever wrote it.
    Demonstration {},
}

impl RatioScheme {
    /// The prompts that numerator and denominator of one rollout condition on; no denominator where
    /// it is 1. Groups may mix plain and helped rollouts.
    pub(crate) fn prompts<'a>(
        self,
        group: &'a RolloutGroup,
        rollout: &'a Rollout,
    ) -> (&'a [u32], Option<&'a [u32]>) {
        let plain = group.prompt.as_slice();
        let Some(help) = &rollout.hint else { return (plain, Some(plain)) };
        let helped = help.prompt.as_slice();
        match self {
            Self::Plain {} => (plain, Some(plain)),
            Self::Hinted {} => (helped, Some(helped)),
            Self::OffContext {} => (plain, Some(helped)),
            Self::Demonstration {} => (plain, None),
        }
    }
}
