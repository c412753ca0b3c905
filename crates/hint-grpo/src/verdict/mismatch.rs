//! The engine and the trainer assign different probabilities to the same tokens.

use super::{Condition, Found, History, Rule};
use crate::config::GrpoConfig;
use crate::metrics;

/// Mean nats per token above which a token's probability differs by a tenth.
const BOUND: f64 = 0.1;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Mismatch,
    when: "the log-probabilities of engine and trainer, under the same weights, differ by more than 0.1 nats per \
           token on average",
    find,
};

fn find(history: &History, _config: &GrpoConfig) -> Option<Found> {
    let difference = history.beyond(metrics::SAMPLING_LOGP_DIFFERENCE, BOUND)?;
    let advice = "compare the engine's model, chat template and number format with the trainer's (`docs/vllm.md`); \
                  sample the whole distribution (`rollout.sampling.top_p` 1, `rollout.sampling.top_k` unset); \
                  `loss.importance_correction` corrects what remains";
    Some(Found {
        evidence: format!("engine and trainer differ by {difference:.3} nats per token"),
        advice: advice.to_owned(),
        measured: vec![(metrics::SAMPLING_LOGP_DIFFERENCE, difference)],
        since: None,
    })
}
