//! The likelihood of demonstrations and prefixes as a term next to the policy objective.

use hint_policy::{TokenBatch, TokenRow};
use hint_rollout::RolloutGroup;
use serde::{Deserialize, Serialize};
use tch::Kind;

use super::Trainer;
use crate::packing::Packing;
use crate::{GrpoError, Metrics, metrics};

/// Negative log-likelihood of given tokens, added to the loss of every update of a step.
///
/// ```text
/// L = c · Σ_it −log π_θ(y_it | x_i, y_i<t) / Σ_i |y_i|                                  (HELP-3)
/// ```
///
/// once over the demonstrations that [`Merge::Supervise`](hint_rollout::Merge) kept aside and once
/// over the prefixes of prefixed rollouts, one per group. The denominators count the whole step.
/// Source: (HELP-3) in `docs/math.md`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisedTerm {
    /// Coefficient of the demonstrations' term. Not negative.
    pub demonstration_coef: f64,
    /// Coefficient of the prefixes' term. Not negative. (UFT: 0.001)
    pub prefix_coef: f64,
}

impl Trainer {
    /// Adds the gradient of both terms, and returns their value.
    pub(super) fn accumulate_supervised(
        &self,
        groups: &[&RolloutGroup],
        metrics: &mut Metrics,
    ) -> Result<f64, GrpoError> {
        let SupervisedTerm { demonstration_coef, prefix_coef } = self.config.supervised_term;
        let supervised = groups.iter().flat_map(|group| {
            let rows = group.supervised.iter();
            rows.map(|rollout| TokenRow {
                prompt: &group.prompt,
                completion: &rollout.completion.tokens,
            })
        });
        let prefixes = groups.iter().filter_map(|group| group.help()).filter_map(|help| {
            let start = help.prompt.len() - help.prefix_len;
            let (prompt, completion) = help.prompt.split_at(start);
            (help.prefix_len > 0).then_some(TokenRow { prompt, completion })
        });
        let demonstrations = self.accumulate_likelihood(
            demonstration_coef,
            &supervised.collect::<Vec<_>>(),
            metrics,
        )?;
        let prefixes = prefixes.collect::<Vec<_>>();
        Ok(demonstrations + self.accumulate_likelihood(prefix_coef, &prefixes, metrics)?)
    }

    fn accumulate_likelihood(
        &self,
        coef: f64,
        rows: &[TokenRow<'_>],
        metrics: &mut Metrics,
    ) -> Result<f64, GrpoError> {
        let tokens = rows.iter().map(|row| row.completion.len()).sum::<usize>();
        if coef == 0.0 || tokens == 0 {
            return Ok(0.0);
        }
        let policy = self.policy.lock();
        let lens = rows.iter().map(|row| row.prompt.len() + row.completion.len());
        let budget = self.config.run.max_tokens_per_micro_batch;
        let mut total = 0.0;
        for indices in Packing::new(&lens.collect::<Vec<_>>(), budget).batches {
            let some = indices.into_iter().map(|index| rows[index]).collect::<Vec<_>>();
            let batch = TokenBatch::new(&some, policy.device())?;
            let logprobs = self.score(&**policy, &batch, false)?.logprobs;
            let logprobs = logprobs.masked_fill(&batch.completion_mask().logical_not(), 0.0);
            let loss = logprobs.sum(None::<Kind>) * (-coef / tokens as f64);
            loss.f_backward()
                .map_err(|source| GrpoError::Torch { operation: "the backward pass", source })?;
            total += loss.double_value(&[]);
        }
        metrics.add(metrics::SUPERVISED_LOSS, total / coef * tokens as f64, tokens as f64);
        Ok(total)
    }
}
