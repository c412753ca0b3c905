//! A correct completion of the same group as a hint.

use crate::data::{AllowedLeak, Hint};
use crate::error::RolloutError;
use crate::hint::provider::{HintProvider, HintRequest};

/// Shows the first plain completion of the group that is correct; without one there is no hint. It gives the answer
/// away by design, and is meant for hints that teach the completions that are wrong. (SDPO)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerSuccess;

impl HintProvider for PeerSuccess {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        let success = request.failed.iter().find(|rollout| rollout.is_correct());
        let text = success.map(|rollout| rollout.text.trim()).filter(|text| !text.is_empty());
        // The policy found it by itself.
        let hint =
            |text| Hint::new(format!("Correct solution: {text}")).allowing(AllowedLeak::Answer);
        Ok(text.map(hint))
    }
}
