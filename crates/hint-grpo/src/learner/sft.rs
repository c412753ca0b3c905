//! The supervised loss: the likelihood of given responses.

use hint_policy::{ScoreOptions, TokenScores};
use hint_rollout::run::Work;
use hint_rollout::sample::RolloutSource;
use tch::{Kind, Tensor};

use super::Learner;
use super::column::{dim, loss_mask, per_row};
use super::micro_batch::Observed;
use super::sample::{Context, Sample, SampleBatch, token_batch};
use crate::error::GrpoError;
use crate::metrics::{self, Metrics};
use crate::objective::{Aggregation, StepTotals, masked_sum};
use crate::tensor::read_together;
use crate::warning::Warning;

/// Scoring and reduction of the samples of the supervised loss.
///
/// ```text
/// L = Σ_k aggregate_{i∈k}( − w_i log π_θ(y_it | x_i, y_i<t) )                           (SFT-1)
/// ```
///
/// `w_i` is [`Sample::sft_weight`], and `k` the sources of the samples: demonstrations have a mean of
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

impl Learner {
    /// Adds the gradient of the supervised loss of the samples `indices`. Without any token to learn
    /// the loss is 0 and nothing is added. Micro-batches and entropy are reported where no sample is
    /// part of a policy objective, which reports its own.
    pub(super) fn accumulate_sft(
        &self,
        batch: &SampleBatch,
        indices: &[usize],
        observed: &mut Observed,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), GrpoError> {
        let samples = batch.samples.as_slice();
        let is_alone = !batch.has_policy_samples();
        let mut all_sources = 0.0;
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
            if is_alone {
                packing.report(&mut observed.metrics, warnings);
            }
            let totals = StepTotals::new(members.len(), tokens);
            let totals = totals.in_micro_batches(packing.batches.len());
            let mut loss = 0.0;
            self.activity.begin(Work::Training, packing.batches.len());
            for positions in &packing.batches {
                let rows = positions.iter().map(|&position| &samples[learned[position]]);
                let rows = rows.collect::<Vec<_>>();
                loss += self.accumulate_sft_rows(&rows, totals, is_alone, &mut observed.metrics)?;
                self.activity.advance(1);
            }
            all_sources += loss;
        }
        observed.loss += all_sources;
        Ok(())
    }

    fn accumulate_sft_rows(
        &self,
        rows: &[&Sample],
        totals: StepTotals,
        reports_entropy: bool,
        metrics: &mut Metrics,
    ) -> Result<f64, GrpoError> {
        let policy = self.policy.lock();
        let batch = token_batch(rows, Context::Numerator, policy.device())?;
        let options = ScoreOptions {
            temperature: self.sft.temperature,
            entropy: reports_entropy,
            ..ScoreOptions::default()
        };
        let forward = policy.forward(&batch, &options)?;
        let TokenScores { logprobs, entropy, .. } = forward.scores();
        let mask = loss_mask(rows, &batch);
        let weights = rows.iter().map(|sample| sample.sft_weight.unwrap_or(0.0));
        let weights = per_row(&weights.collect::<Vec<_>>(), logprobs).view([dim(rows.len()), 1]);
        let loss = self.sft.aggregation.reduce(&(logprobs.neg() * weights), &mask, totals);
        let entropy =
            entropy.as_ref().map_or_else(Tensor::new, |entropy| masked_sum(entropy, &mask));
        let nll = masked_sum(&logprobs.neg(), &mask);
        forward.backward(&loss)?;
        let [count, nll, entropy, value] =
            read_together([&mask.sum(Kind::Double), &nll, &entropy, &loss]);
        metrics.add(metrics::NLL, nll[0], count[0]);
        if let [entropy] = entropy[..] {
            metrics.add(metrics::ENTROPY, entropy, count[0]);
            metrics.add(metrics::ENTROPY_TRAINED, entropy, count[0]);
        }
        Ok(value[0])
    }
}
