//! The likelihood of demonstrations and prefixes as a term next to the policy objective.

use hint_rollout::RolloutGroup;
use serde::{Deserialize, Serialize};

use super::Trainer;
use crate::{GrpoError, Metrics, NllRow, NllTerm, metrics};

/// Negative log-likelihood of given tokens, added to the loss of every update of a step.
///
/// ```text
/// L = c · Σ_it −log π_θ(y_it | x_i, y_i<t) / Σ_i |y_i|                                  (HELP-3)
/// ```
///
/// once over the demonstrations that [`CombineRule::Supervise`](hint_rollout::CombineRule) kept aside and once
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
            rows.map(|rollout| NllRow::new(&group.prompt, &rollout.completion.tokens))
        });
        let prefixes = groups.iter().filter_map(|group| group.hint()).filter_map(|help| {
            let start = help.prompt.len() - help.prefix_len;
            let (prompt, completion) = help.prompt.split_at(start);
            (help.prefix_len > 0).then_some(NllRow::new(prompt, completion))
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
        rows: &[NllRow<'_>],
        metrics: &mut Metrics,
    ) -> Result<f64, GrpoError> {
        let tokens = rows.iter().map(NllRow::learned).sum::<usize>();
        if coef == 0.0 || tokens == 0 {
            return Ok(0.0);
        }
        let value = NllTerm::new(coef)
            .with_temperature(self.config.rollout.sampling.temperature)
            .with_max_tokens(self.config.run.max_tokens_per_micro_batch)
            // The entropy of a step is that of its rollouts.
            .accumulate(&**self.policy.lock(), rows, &mut Metrics::new())?;
        metrics.add(metrics::SUPERVISED_LOSS, value / coef * tokens as f64, tokens as f64);
        Ok(value)
    }
}
