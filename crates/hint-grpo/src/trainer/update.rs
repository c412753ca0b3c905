//! The optimizer steps of a rollout batch.

use hint_affinity::ClipRange;
use hint_policy::{Policy, ScoreOptions, TokenBatch, TokenScores};
use tch::{Kind, Tensor};

use super::Trainer;
use super::affinity::{AffinityMeter, group_weights};
use crate::batch::{
    Row, Rows, Side, completion_tensor, completion_values, dim, micro_batches, token_batch,
};
use crate::{
    GrpoError, LossComposition, LossInput, Metrics, RatioScheme, StepTotals, clip_grad_norm,
    metrics,
};

/// Log-probabilities that do not change during the updates of a batch, one list per row.
#[derive(Debug, Default)]
struct Frozen {
    /// `None` when the old policy is the current one and conditions on the same prompt.
    old: Option<Vec<Vec<f64>>>,
    reference: Option<Vec<Vec<f64>>>,
}

/// What an update keeps for the metrics.
#[derive(Debug)]
struct Measured {
    /// Whether the weights are still those that the engine sampled with.
    first_update: bool,
    loss: f64,
    metrics: Metrics,
    affinity: AffinityMeter,
}

impl Trainer {
    /// Takes the optimizer steps of a batch.
    pub(super) fn train(
        &mut self,
        rows: &Rows<'_>,
        metrics: &mut Metrics,
    ) -> Result<(), GrpoError> {
        let clip = ClipRange::new(self.config.clip_low, self.config.clip_high)?;
        let frozen = self.frozen_logprobs(rows)?;
        let rate = self.learning_rate();
        for update in 0..self.config.run.updates_per_batch {
            let weights = self.affinity_weights(rows, &frozen, update, clip)?;
            self.optimizer.zero_grad();
            let mut measured = Measured {
                first_update: update == 0,
                loss: 0.0,
                metrics: Metrics::new(),
                affinity: AffinityMeter::new(clip),
            };
            let ranges = self.micro_batches(&rows.rows, Side::Numerator);
            let totals = rows.totals.in_micro_batches(ranges.len());
            for range in ranges {
                self.accumulate(rows, range, totals, &frozen, weights.as_deref(), &mut measured)?;
            }
            let step = self.progress.step + 1;
            if !measured.loss.is_finite() {
                return Err(GrpoError::NotFinite { what: "the loss", value: measured.loss, step });
            }
            let max_norm = self.config.optimizer.max_grad_norm;
            let norm = clip_grad_norm(self.optimizer.parameters(), max_norm);
            if !norm.is_finite() {
                return Err(GrpoError::NotFinite { what: "the gradient norm", value: norm, step });
            }
            self.optimizer.step(rate)?;
            self.policy.lock().parameters_changed();
            self.progress.updates += 1;

            measured.metrics.add(metrics::LOSS, measured.loss, 1.0);
            measured.metrics.add(metrics::GRAD_NORM, norm, 1.0);
            for weight in weights.iter().flatten().flatten() {
                measured.metrics.add(metrics::AFFINITY_WEIGHT, *weight, 1.0);
            }
            metrics.merge(&measured.metrics);
            measured.affinity.report(metrics);
        }
        metrics.set(metrics::LEARNING_RATE, rate);
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        let optimizer = &self.config.optimizer;
        let factor = optimizer.schedule.factor(self.progress.step, self.config.run.steps);
        optimizer.learning_rate * factor
    }

    fn micro_batches(&self, rows: &[Row<'_>], side: Side) -> Vec<std::ops::Range<usize>> {
        let lens = rows.iter().map(|row| {
            let prompt = match side {
                Side::Numerator => row.prompt,
                Side::Denominator => row.old_prompt,
            };
            prompt.len() + row.completion.len()
        });
        micro_batches(&lens.collect::<Vec<_>>(), self.config.run.max_tokens_per_micro_batch)
    }

    /// Scores at the sampling temperature: the ratio is one of the distributions that are sampled
    /// (Deviation D4).
    fn score(
        &self,
        policy: &dyn Policy,
        batch: &TokenBatch,
        entropy: bool,
    ) -> Result<TokenScores, GrpoError> {
        let temperature = self.config.rollout.sampling.temperature;
        Ok(policy.score(batch, &ScoreOptions { temperature, entropy })?)
    }

    /// Log-probabilities of every row under `policy`, without gradient, on the host.
    fn score_rows(
        &self,
        policy: &dyn Policy,
        rows: &[Row<'_>],
        side: Side,
    ) -> Result<Vec<Vec<f64>>, GrpoError> {
        let mut values = Vec::with_capacity(rows.len());
        for range in self.micro_batches(rows, side) {
            let batch = token_batch(&rows[range], side, policy.device())?;
            let scores = tch::no_grad(|| self.score(policy, &batch, false))?;
            values.extend(completion_values(&scores.logprobs, &batch));
        }
        Ok(values)
    }

    fn frozen_logprobs(&self, rows: &Rows<'_>) -> Result<Frozen, GrpoError> {
        let off_context = matches!(self.config.ratio_scheme, RatioScheme::OffContext {})
            && rows.rows.iter().any(|row| row.hinted);
        let old = if off_context || self.config.run.updates_per_batch > 1 {
            Some(self.score_rows(&**self.policy.lock(), &rows.rows, Side::Denominator)?)
        } else {
            None
        };
        let reference = match &self.reference {
            Some(reference) if self.config.kl.coef != 0.0 => {
                Some(self.score_rows(&**reference.lock(), &rows.rows, Side::Numerator)?)
            }
            _ => None,
        };
        Ok(Frozen { old, reference })
    }

    /// The Affinity weight of each row, `None` for plain ones; or `None` when nothing is weighted.
    fn affinity_weights(
        &self,
        rows: &Rows<'_>,
        frozen: &Frozen,
        update: usize,
        clip: ClipRange,
    ) -> Result<Option<Vec<Option<f64>>>, GrpoError> {
        let exponent = self.config.affinity_exponent;
        if exponent == 0.0 || !rows.rows.iter().any(|row| row.hinted) {
            return Ok(None);
        }
        let hinted = rows.rows.iter().filter(|row| row.hinted).copied().collect::<Vec<_>>();
        let same_context = !matches!(self.config.ratio_scheme, RatioScheme::OffContext {});
        let log_ratios = match &frozen.old {
            // A group's weight needs all its rows before the first of them is differentiated.
            Some(old) if update > 0 || !same_context => {
                let new = self.score_rows(&**self.policy.lock(), &hinted, Side::Numerator)?;
                let old = rows.rows.iter().zip(old).filter(|(row, _)| row.hinted);
                new.iter()
                    .zip(old)
                    .map(|(new, (_, old))| new.iter().zip(old).map(|(n, o)| n - o).collect())
                    .collect::<Vec<Vec<f64>>>()
            }
            // The first update on the same context: the policy is the old policy.
            _ => hinted.iter().map(|row| vec![0.0; row.completion.len()]).collect(),
        };
        let groups = group_weights(&hinted, &log_ratios, clip, exponent)?;
        let weight = |row: &Row<'_>| row.hinted.then(|| groups[&row.group]);
        Ok(Some(rows.rows.iter().map(weight).collect()))
    }

    /// Adds the gradient of some rows.
    fn accumulate(
        &self,
        rows: &Rows<'_>,
        range: std::ops::Range<usize>,
        totals: StepTotals,
        frozen: &Frozen,
        weights: Option<&[Option<f64>]>,
        measured: &mut Measured,
    ) -> Result<(), GrpoError> {
        let slice = &rows.rows[range.clone()];
        let policy = self.policy.lock();
        let device = policy.device();
        let batch = token_batch(slice, Side::Numerator, device)?;
        let TokenScores { logprobs, entropy } = self.score(&**policy, &batch, true)?;
        let kind = logprobs.kind();
        let spread = |values: &[Vec<f64>]| {
            completion_tensor(values.iter().map(Vec::as_slice), &batch, kind, device)
        };
        let old = match &frozen.old {
            Some(old) => spread(&old[range.clone()]),
            None => logprobs.detach(),
        };
        let reference = frozen.reference.as_ref().map(|values| spread(&values[range.clone()]));
        let behavior =
            completion_tensor(slice.iter().map(|row| row.behavior_logprobs), &batch, kind, device);
        let advantages = advantage_tensor(slice, &batch, kind, device);
        let mask = batch.completion_mask();
        let zero_variance = slice.iter().map(|row| row.zero_variance).collect::<Vec<_>>();
        let zero_variance = Tensor::from_slice(&zero_variance).to_device(device);
        let mut input = LossInput::new(&logprobs, &old, &advantages, &mask)
            .with_behavior(&behavior)
            .with_zero_variance(&zero_variance);
        if let Some(reference) = &reference {
            input = input.with_reference(reference);
        }
        let row_weights = weights.map(|weights| {
            let weights = weights[range].iter().map(|weight| weight.unwrap_or(1.0));
            Tensor::from_slice(&weights.collect::<Vec<_>>()).to_kind(kind).to_device(device)
        });
        let (loss, loss_metrics) = self.composition().loss(&input, row_weights.as_ref(), totals)?;
        loss.f_backward()
            .map_err(|source| GrpoError::Torch { operation: "the backward pass", source })?;

        measured.loss += loss.double_value(&[]);
        measured.metrics.merge(&loss_metrics);
        if let Some(entropy) = entropy {
            crate::loss::add_masked(&mut measured.metrics, metrics::ENTROPY, &entropy, &mask);
        }
        let new = completion_values(&logprobs, &batch);
        let old = completion_values(&old, &batch);
        for ((row, new), old) in slice.iter().zip(&new).zip(&old) {
            measured.affinity.push(row, new, old)?;
            if measured.first_update && !row.hinted {
                observe_mismatch(&mut measured.metrics, new, row.behavior_logprobs);
            }
        }
        Ok(())
    }

    fn composition(&self) -> LossComposition<'_> {
        LossComposition {
            objective: &*self.objective,
            ratio_level: self.config.ratio_level,
            kl: self.config.kl,
            importance: self.config.importance_correction,
            aggregation: self.config.aggregation,
        }
    }
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

/// Differences between trainer and engine on the same plain tokens.
fn observe_mismatch(metrics: &mut Metrics, logprobs: &[f64], behavior_logprobs: &[f64]) {
    let differences = logprobs.iter().zip(behavior_logprobs).map(|(new, old)| (new - old).abs());
    let (sum, max) = differences
        .fold((0.0, 0.0_f64), |(sum, max), difference| (sum + difference, max.max(difference)));
    metrics.add(metrics::SAMPLING_LOGP_DIFFERENCE, sum, logprobs.len() as f64);
    metrics.add_max(metrics::SAMPLING_LOGP_DIFFERENCE_MAX, max);
}
