//! The optimizer steps of a rollout batch.

use hint_affinity::ClipRange;
use hint_policy::{ScoreOptions, TokenBatch, TokenScores};
use hint_rollout::{RolloutGroup, Seed};
use tch::{Kind, Tensor};

use super::affinity::AffinityMeter;
use super::help::HelpFactors;
use super::scoring::Frozen;
use super::{Trainer, order};
use crate::batch::{Row, Rows, Side, completion_tensor, completion_values, dim, token_batch};
use crate::loss::ByRow;
use crate::{
    GrpoError, LossComposition, LossInput, Metrics, PolicyLoss, ShapedRatio, StepTotals, Warning,
    clip_grad_norm, metrics,
};

/// What one optimizer step trains on.
#[derive(Debug)]
struct Part<'a> {
    groups: &'a [&'a RolloutGroup],
    rows: Rows<'a>,
    frozen: Frozen,
    /// Whether the weights are still those before the first optimizer step of the batch.
    is_first: bool,
}

/// What an optimizer step keeps for the metrics.
#[derive(Debug)]
struct Measured {
    loss: f64,
    metrics: Metrics,
    affinity: AffinityMeter,
}

impl Trainer {
    /// Takes the optimizer steps of a batch.
    pub(super) fn train(
        &mut self,
        groups: &[RolloutGroup],
        rows: &Rows<'_>,
        metrics: &mut Metrics,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), GrpoError> {
        let frozen = self.frozen_logprobs(rows)?;
        let run = self.config.run;
        let mut is_first = true;
        for pass in 0..run.updates_per_batch as u64 {
            let seed = Seed::new(run.seed).named("mini_batch").child(self.progress.step);
            for members in order::parts(groups.len(), run.mini_batches, seed.child(pass)) {
                let indices = rows.of_groups(&members);
                let members_of = members.iter().map(|&group| &groups[group]).collect::<Vec<_>>();
                let part = Part {
                    groups: &members_of,
                    rows: rows.part(&members, &indices),
                    frozen: frozen.part(&indices),
                    is_first,
                };
                self.optimizer_step(&part, metrics, warnings)?;
                is_first = false;
            }
        }
        metrics.set(metrics::NUM_UPDATES, self.progress.updates as f64);
        metrics.set(metrics::SKIPPED_UPDATES, self.guard.skipped() as f64);
        metrics.set(metrics::LEARNING_RATE, self.learning_rate());
        Ok(())
    }

    /// Takes one optimizer step, unless the guard skips it.
    fn optimizer_step(
        &mut self,
        part: &Part<'_>,
        metrics: &mut Metrics,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), GrpoError> {
        let clip = ClipRange::new(self.config.clip_low, self.config.clip_high)?;
        let factors = self.help_factors(&part.rows, &part.frozen, part.is_first, clip)?;
        self.optimizer.zero_grad();
        let mut measured =
            Measured { loss: 0.0, metrics: Metrics::new(), affinity: AffinityMeter::new(clip) };
        let packing = self.packing(&part.rows.rows, Side::Numerator);
        packing.report(&mut measured.metrics, warnings);
        let totals = part.rows.totals().in_micro_batches(packing.batches.len());
        for indices in &packing.batches {
            self.accumulate(part, indices, totals, &factors, &mut measured)?;
        }
        measured.loss += self.accumulate_supervised(part.groups, &mut measured.metrics)?;
        let step = self.progress.step + 1;
        let max_norm = self.config.optimizer.max_grad_norm;
        let norm = clip_grad_norm(self.optimizer.parameters(), max_norm);
        if !self.guard.admits(measured.loss, norm, step)? {
            return Ok(());
        }
        self.optimizer.step(self.learning_rate())?;
        self.policy.lock().parameters_changed();
        self.progress.updates += 1;

        measured.metrics.add(metrics::LOSS, measured.loss, 1.0);
        measured.metrics.add(metrics::GRAD_NORM, norm, 1.0);
        for weight in factors.rows.iter().flatten().flatten() {
            measured.metrics.add(metrics::HELP_WEIGHT, *weight, 1.0);
        }
        metrics.merge(&measured.metrics);
        measured.affinity.report(metrics);
        self.measures.observe(&measured.affinity, &part.rows, &factors);
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        let optimizer = &self.config.optimizer;
        let factor = optimizer.schedule.factor(self.progress.step, self.config.run.steps);
        optimizer.learning_rate * factor
    }

    /// Adds the gradient of some rows.
    fn accumulate(
        &self,
        part: &Part<'_>,
        indices: &[usize],
        totals: StepTotals,
        factors: &HelpFactors,
        measured: &mut Measured,
    ) -> Result<(), GrpoError> {
        let frozen = part.frozen.part(indices);
        let factors = factors.part(indices);
        let slice = indices.iter().map(|&index| part.rows.rows[index]).collect::<Vec<_>>();
        let slice = slice.as_slice();
        let policy = self.policy.lock();
        let device = policy.device();
        let batch = token_batch(slice, Side::Numerator, device)?;
        let dropout = self.dropout_seed(indices.first().copied().unwrap_or(0));
        let options = ScoreOptions { entropy: true, dropout_seed: Some(dropout), ..self.scoring() };
        let pass = policy.forward(&batch, &options)?;
        let TokenScores { logprobs, entropy } = pass.scores();
        let kind = logprobs.kind();
        let spread = |values: &[Vec<f64>]| {
            completion_tensor(values.iter().map(Vec::as_slice), &batch, kind, device)
        };
        let old = old_logprobs(&frozen.old, logprobs, &batch);
        let reference = frozen.reference.as_deref().map(spread);
        let behavior =
            completion_tensor(slice.iter().map(|row| row.behavior_logprobs), &batch, kind, device);
        let advantages = advantage_tensor(slice, &batch, kind, device);
        let mask = batch.completion_mask();
        let zero_variance = slice.iter().map(|row| row.zero_variance).collect::<Vec<_>>();
        let zero_variance = Tensor::from_slice(&zero_variance).to_device(device);
        let mut input = LossInput::new(logprobs, &old, &advantages, &mask)
            .with_behavior(&behavior)
            .with_zero_variance(&zero_variance);
        if let Some(reference) = &reference {
            input = input.with_reference(reference);
        }
        let token_weights = factors.tokens.as_ref().map(|weights| {
            let rows = weights.iter().zip(slice);
            let rows = rows.map(|(weights, row)| {
                weights.clone().unwrap_or_else(|| vec![1.0; row.completion.len()])
            });
            spread(&rows.collect::<Vec<_>>())
        });
        if let Some(weights) = &token_weights {
            input = input.with_token_weights(weights);
        }
        let row_weights = factors.rows.as_ref().map(|weights| {
            let weights = weights.iter().map(|weight| weight.unwrap_or(1.0));
            Tensor::from_slice(&weights.collect::<Vec<_>>()).to_kind(kind).to_device(device)
        });
        let shaped = factors.gamma.map(ShapedRatio::new);
        let by_row = shaped.as_ref().map(|helped| ByRow {
            plain: &*self.objective,
            helped,
            is_helped: slice.iter().map(Row::is_helped).collect(),
        });
        let objective =
            by_row.as_ref().map_or(&*self.objective, |by_row| by_row as &dyn PolicyLoss);
        let composition = self.composition(objective);
        let (loss, loss_metrics) = composition.loss(&input, row_weights.as_ref(), totals)?;
        measured.loss += loss.double_value(&[]);
        if !measured.loss.is_finite() {
            // Nothing can be measured, and the guard skips the step.
            return Ok(());
        }
        measured.metrics.merge(&loss_metrics);
        if let Some(entropy) = entropy {
            crate::loss::add_masked(&mut measured.metrics, metrics::ENTROPY, entropy, &mask);
        }
        let new = completion_values(logprobs, &batch);
        let old = completion_values(&old, &batch);
        for (((row, new), old), plain) in slice.iter().zip(&new).zip(&old).zip(&frozen.plain) {
            measured.affinity.push(row, new, old, plain.as_deref())?;
            // Older weights, such as those behind a replayed group, are no fault of the engine.
            let is_current = row.version.0 == self.progress.updates;
            if part.is_first && is_current && !row.is_helped() {
                observe_mismatch(&mut measured.metrics, new, row.behavior_logprobs);
            }
        }
        Ok(pass.backward(&loss)?)
    }

    fn composition<'a>(&self, objective: &'a dyn PolicyLoss) -> LossComposition<'a> {
        LossComposition {
            objective,
            ratio_level: self.config.ratio_level,
            kl: self.config.kl,
            importance: self.config.importance_correction,
            aggregation: self.config.aggregation,
        }
    }
}

/// The ratio's denominator, `[batch, seq]`: `frozen` where a row has one, else `logprobs` themselves
/// without gradient.
fn old_logprobs(frozen: &[Option<Vec<f64>>], logprobs: &Tensor, batch: &TokenBatch) -> Tensor {
    let current = logprobs.detach();
    if frozen.iter().all(Option::is_none) {
        return current;
    }
    let (kind, device) = (logprobs.kind(), logprobs.device());
    let values = frozen.iter().map(|row| row.as_deref().unwrap_or_default());
    let values = completion_tensor(values, batch, kind, device);
    let is_current = frozen.iter().map(Option::is_none).collect::<Vec<_>>();
    let is_current = Tensor::from_slice(&is_current).to_device(device).unsqueeze(-1);
    current.where_self(&is_current, &values)
}

/// Each row's advantage at its completion positions, 0 elsewhere. `[batch, seq]`.
fn advantage_tensor(
    rows: &[Row<'_>],
    batch: &TokenBatch,
    kind: Kind,
    device: tch::Device,
) -> Tensor {
    let advantages = rows.iter().map(|row| row.advantage).collect::<Vec<_>>();
    let column = Tensor::from_slice(&advantages).view([dim(rows.len()), 1]);
    column.to_kind(kind).to_device(device) * batch.completion_mask().to_kind(kind)
}

/// Differences between trainer and engine on the same plain tokens, under the same weights.
fn observe_mismatch(metrics: &mut Metrics, logprobs: &[f64], behavior_logprobs: &[f64]) {
    let differences = logprobs.iter().zip(behavior_logprobs).map(|(new, old)| (new - old).abs());
    let (sum, max) = differences
        .fold((0.0, 0.0_f64), |(sum, max), difference| (sum + difference, max.max(difference)));
    metrics.add(metrics::SAMPLING_LOGP_DIFFERENCE, sum, logprobs.len() as f64);
    metrics.add_max(metrics::SAMPLING_LOGP_DIFFERENCE_MAX, max);
}
