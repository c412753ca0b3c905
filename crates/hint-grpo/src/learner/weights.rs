//! The weights of one optimizer step's hinted samples, and the shape of their ratio.

use hint_affinity::ClipRange;
use hint_rollout::run::RunProgress;

use super::Learner;
use super::column::TokenColumn;
use super::fixed::FixedLogprobs;
use super::minibatch::Minibatch;
use super::sample::{Context, Sample};
use crate::error::GrpoError;
use crate::objective::{HintedFactors, HintedSample, RatioShaping, WeightContext};

/// Weights and shaping of one optimizer step, by position in its policy samples.
#[derive(Debug, Default)]
pub(super) struct LossWeights {
    /// The weight of each hinted sample; empty when nothing is weighted by sample.
    pub(super) rows: Vec<Option<f64>>,
    /// The weights of the tokens of hinted samples; `None` when nothing is weighted by token.
    pub(super) tokens: Option<TokenColumn>,
    /// `γ` of the shaped ratio, if there is one.
    pub(super) gamma: Option<f64>,
}

impl LossWeights {
    /// The weight of a hinted sample.
    pub(super) fn row(&self, position: usize) -> Option<f64> {
        self.rows.get(position).copied().flatten()
    }

    /// Multiplies the weights of the samples at the positions `hinted` by `factors`.
    fn multiply(
        &mut self,
        factors: HintedFactors,
        samples: &[Sample],
        minibatch: &Minibatch,
        hinted: &[usize],
    ) -> Result<(), Lengths> {
        match factors {
            HintedFactors::Samples(factors) => {
                Lengths::of(&factors, hinted.len())?;
                self.rows.resize(minibatch.policy.len(), None);
                for (&position, factor) in hinted.iter().zip(factors) {
                    let row = &mut self.rows[position];
                    *row = Some(row.map_or(factor, |row| row * factor));
                }
            }
            HintedFactors::Tokens(factors) => {
                let len = |position: usize| samples[minibatch.policy[position]].response.len();
                Lengths::of(&factors, hinted.iter().map(|&position| len(position)).sum())?;
                let empty = || TokenColumn::new(minibatch.policy.len());
                let column = self.tokens.get_or_insert_with(empty);
                let mut rest = factors.as_slice();
                for &position in hinted {
                    let (own, others) = rest.split_at(len(position));
                    column.scale(position, own);
                    rest = others;
                }
            }
        }
        Ok(())
    }
}

/// A number of factors other than expected.
struct Lengths {
    found: usize,
    expected: usize,
}

impl Lengths {
    const fn of<T>(factors: &[T], expected: usize) -> Result<(), Self> {
        let found = factors.len();
        if found == expected { Ok(()) } else { Err(Self { found, expected }) }
    }
}

impl Learner {
    /// The weights of an optimizer step. The Affinity of a group and a quantile need all hinted samples
    /// before the first of them is differentiated.
    pub(super) fn loss_weights(
        &self,
        samples: &[Sample],
        minibatch: &Minibatch,
        fixed: &FixedLogprobs,
        band: ClipRange,
        progress: RunProgress,
    ) -> Result<LossWeights, GrpoError> {
        let mut weights = LossWeights::default();
        let hinted = (0..minibatch.policy.len())
            .filter(|&position| samples[minibatch.policy[position]].is_hinted())
            .collect::<Vec<_>>();
        if hinted.is_empty() {
            return Ok(weights);
        }
        let by_quantile = matches!(self.loss.ratio_shaping, RatioShaping::Quantile { .. });
        let needs_ratios =
            by_quantile || self.hinted_weights.iter().any(|one| one.needs().log_ratios);
        let log_ratios = if needs_ratios {
            self.hinted_log_ratios(samples, minibatch, fixed)?
        } else {
            TokenColumn::default()
        };
        let view = |&position: &usize| {
            let index = minibatch.policy[position];
            let sample = &samples[index];
            let log_ratios = log_ratios.get(index).unwrap_or_default();
            let off_context = fixed.off_context.get(index).unwrap_or_default();
            HintedSample {
                group: sample.group,
                advantage: sample.advantage,
                loss_mask: &sample.loss_mask,
                log_ratios,
                off_context,
            }
        };
        let views = hinted.iter().map(view).collect::<Vec<_>>();
        let context = WeightContext::new(progress, band);
        for weight in &self.hinted_weights {
            let factors = weight.weigh(&views, context)?;
            let multiplied = weights.multiply(factors, samples, minibatch, &hinted);
            multiplied.map_err(|Lengths { found, expected }| {
                let name = weight.name();
                GrpoError::HintedFactors { name, found, expected }
            })?;
        }
        weights.gamma = match self.loss.ratio_shaping {
            RatioShaping::Off => None,
            RatioShaping::Fixed { gamma } => Some(gamma),
            RatioShaping::Quantile { quantile: share } => {
                let trained = |position: &usize| {
                    let index = minibatch.policy[*position];
                    samples[index].trained(log_ratios.get(index).unwrap_or_default())
                };
                Some(quantile(hinted.iter().flat_map(trained).collect(), share).exp())
            }
        };
        Ok(weights)
    }

    /// Log-ratios of hinted samples under the current policy, by the index of the sample.
    fn hinted_log_ratios(
        &self,
        samples: &[Sample],
        minibatch: &Minibatch,
        fixed: &FixedLogprobs,
    ) -> Result<TokenColumn, GrpoError> {
        // In the first optimizer step on the same context the policy is the old policy, unless the
        // engine has its own opinion.
        let is_old = |sample: &Sample| {
            minibatch.is_first && sample.has_same_context() && !self.takes_engine_logprobs(sample)
        };
        let scored = |sample: &Sample| sample.is_hinted() && !is_old(sample);
        let mut column = self.score(samples, &minibatch.policy, Context::Numerator, scored)?;
        for &index in &minibatch.policy {
            let sample = &samples[index];
            if !sample.is_hinted() {
                continue;
            }
            match (column.get_mut(index), fixed.old.get(index)) {
                (Some(new), Some(old)) => {
                    new.iter_mut().zip(old).for_each(|(new, old)| *new -= old);
                }
                _ => column.set(index, sample.response.iter().map(|_| 0.0)),
            }
        }
        Ok(column)
    }
}

/// The quantile of `values`, with linear interpolation between neighbors, as `torch.quantile`
/// defaults to. Of log-ratios here: the exponential keeps the order, and interpolates geometrically.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let position = share * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in [0, last]")]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    values[below] + (values[above] - values[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(vec![3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(vec![0.0, 10.0], 0.9), 9.0);
        assert_eq!(quantile(vec![7.0], 0.9), 7.0);
    }
}
