//! The supervised loss: the likelihood of given responses.

use hint_policy::{ScoreOptions, TokenScores};
use hint_rollout::sample::RolloutSource;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::Learner;
use super::column::{dim, loss_mask, per_row};
use super::micro_batch::Observed;
use super::packing::Packing;
use super::sample::{Context, SampleBatch, token_batch};
use super::staged::WorkerGradient;
use crate::error::GrpoError;
use crate::metrics;
use crate::objective::{Aggregation, StepTotals, masked_sum};
use crate::tensor::read_together;
use crate::warning::Warning;

/// Scoring and reduction of the samples of the supervised loss.
///
/// ```text
/// L = Σ_k aggregate_{i∈k}( − w_i log π_θ(y_it | x_i, y_i<t) )                           (SFT-1)
/// ```
///
/// `w_i` is [`Sample::sft_weight`](super::Sample::sft_weight), and `k` the sources of the samples: demonstrations have a mean of
/// their own, and prefixes another. The denominators count all samples and all trained tokens of the
/// optimizer step. So the gradient does not depend on the split into micro-batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SftLoss {
    /// Reduction of token losses.
    pub aggregation: Aggregation,
    /// The logits are divided by this. Positive; 1 is the model's own distribution.
    pub temperature: f64,
}

impl Default for SftLoss {
    /// The mean over all tokens of the model's own distribution.
    fn default() -> Self {
        Self { aggregation: Aggregation::TokenMean, temperature: 1.0 }
    }
}

/// The samples of one source in an optimizer step, in micro-batches.
#[derive(Debug)]
pub(super) struct SftPart {
    /// Indices of samples.
    learned: Vec<usize>,
    pub(super) packing: Packing,
    totals: StepTotals,
    /// Whether entropy and micro-batches are reported: where no sample is part of a policy objective, which reports its
    /// own.
    is_alone: bool,
}

/// The measurements of a micro-batch. They may come from another process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SftMeasured {
    loss: f64,
    nll: f64,
    entropy: Option<f64>,
    count: f64,
}

impl Learner {
    /// The samples `indices` of the supervised loss, by source. A source without any token to learn is left out: its
    /// loss is 0.
    pub(super) fn sft_parts(&self, batch: &SampleBatch, indices: &[usize]) -> Vec<SftPart> {
        let samples = batch.samples.as_slice();
        let is_alone = !batch.has_policy_samples();
        let mut parts = Vec::new();
        for source in RolloutSource::ALL.into_iter().rev() {
            let is_member = |index: &usize| samples[*index].source == source;
            let members = indices.iter().copied().filter(is_member).collect::<Vec<_>>();
            let tokens = members.iter().map(|&index| samples[index].trained_tokens()).sum();
            let learned = members.iter().copied().filter(|&i| samples[i].trained_tokens() > 0);
            let learned = learned.collect::<Vec<_>>();
            if learned.is_empty() {
                continue;
            }
            let packing = self.packing(samples, &learned, Context::Numerator);
            let totals = StepTotals::new(members.len(), tokens);
            let totals = totals.in_micro_batches(packing.batches.len());
            parts.push(SftPart { learned, packing, totals, is_alone });
        }
        parts
    }

    /// Adds the gradient of the samples at `positions` of a part.
    pub(super) fn accumulate_sft(
        &self,
        batch: &SampleBatch,
        part: &SftPart,
        positions: &[usize],
        gradient: &mut WorkerGradient<'_>,
    ) -> Result<SftMeasured, GrpoError> {
        let indices = positions.iter().map(|&position| part.learned[position]).collect::<Vec<_>>();
        let rows = indices.iter().map(|&index| &batch.samples[index]).collect::<Vec<_>>();
        let policy = self.policy.lock();
        let batch = token_batch(&rows, Context::Numerator, policy.device())
            .map_err(|error| error.renumbered(&indices))?;
        let options = ScoreOptions {
            temperature: self.sft.temperature,
            entropy: part.is_alone,
            ..ScoreOptions::default()
        };
        let forward =
            policy.forward(&batch, &options).map_err(|error| error.renumbered(&indices))?;
        let TokenScores { logprobs, entropy, .. } = forward.scores();
        let mask = loss_mask(&rows, &batch);
        let weights = rows.iter().map(|sample| sample.sft_weight.unwrap_or(0.0));
        let weights = per_row(&weights.collect::<Vec<_>>(), logprobs).view([dim(rows.len()), 1]);
        let loss = self.sft.aggregation.reduce(&(logprobs.neg() * weights), &mask, part.totals);
        let entropy =
            entropy.as_ref().map_or_else(Tensor::new, |entropy| masked_sum(entropy, &mask));
        let nll = masked_sum(&logprobs.neg(), &mask);
        forward.backward_in_stages(&loss, &mut |stages| gradient.before(&stages))?;
        let [count, nll, entropy, value] =
            read_together([&mask.sum(Kind::Double), &nll, &entropy, &loss]);
        let entropy = entropy.first().copied();
        Ok(SftMeasured { loss: value[0], nll: nll[0], entropy, count: count[0] })
    }
}

impl SftPart {
    /// Reports the micro-batches, and takes up what they measured.
    pub(super) fn observe(
        &self,
        measured: &[SftMeasured],
        observed: &mut Observed,
        warnings: &mut Vec<Warning>,
    ) -> f64 {
        let metrics = &mut observed.metrics;
        if self.is_alone {
            self.packing.report(metrics, warnings);
        }
        let mut loss = 0.0;
        for one in measured {
            metrics.add(metrics::NLL, one.nll, one.count);
            if let Some(entropy) = one.entropy {
                metrics.add(metrics::ENTROPY, entropy, one.count);
                metrics.add(metrics::ENTROPY_TRAINED, entropy, one.count);
            }
            loss += one.loss;
        }
        loss
    }
}
