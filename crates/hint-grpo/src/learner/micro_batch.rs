//! One micro-batch of the policy objective: gather, forward, loss, backward, observe.

use hint_affinity::ClipRange;
use hint_policy::{ForwardPass, Policy, ScoreOptions, TokenBatch, TokenScores};
use hint_rollout::Seed;
use hint_rollout::run::RunProgress;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::affinity::AffinityTracker;
use super::column::{TokenColumn, dim, loss_mask, per_row, responses_of, spread};
use super::fixed::FixedLogprobs;
use super::minibatch::Minibatch;
use super::sample::{Context, Sample, token_batch};
use super::staged::WorkerGradient;
use super::teacher_scores::TeacherScores;
use super::weights::LossWeights;
use super::{Learner, RatioLogprobs};
use crate::error::GrpoError;
use crate::metrics::{self, Metrics};
use crate::objective::{
    ByRow, Credit, CreditInput, LossComposition, LossInput, LossMetrics, PolicyLoss, ShapedRatio,
    StepTotals, add_masked, masked_sum,
};
use crate::tensor::{read_together, rounded, upload};

/// Values of an optimizer step for the metrics.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) loss: f64,
    pub(super) metrics: Metrics,
    pub(super) affinity: AffinityTracker,
    /// By the index of the sample.
    pub(super) logprobs: Vec<(usize, RatioLogprobs)>,
}

impl Observed {
    pub(super) fn new(band: ClipRange) -> Self {
        let affinity = AffinityTracker::new(band);
        Self { loss: 0.0, metrics: Metrics::new(), affinity, logprobs: Vec::new() }
    }
}

/// The measurements of a micro-batch. They may come from another process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) loss: f64,
    /// `None` where the loss is not finite: nothing can be measured.
    tokens: Option<MeasuredTokens>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MeasuredTokens {
    metrics: Metrics,
    /// How many train.
    count: f64,
    /// The sum of their entropies, if the policy has them.
    entropy: Option<f64>,
    /// Log-probabilities of the responses.
    new: TokenColumn,
    old: TokenColumn,
    /// Under the teacher of a divergence; rows that are not taught have none.
    teacher: TokenColumn,
}

impl Measured {
    /// The log-probabilities of the responses under the policy, by row. None where the loss is not finite.
    pub(super) fn logprobs(&self) -> impl Iterator<Item = &[f64]> {
        self.tokens.iter().flat_map(|tokens| tokens.new.rows())
    }
}

/// Inputs of an optimizer step on policy samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct PolicyStep<'s> {
    pub(super) samples: &'s [Sample],
    pub(super) minibatch: &'s Minibatch,
    pub(super) fixed: &'s FixedLogprobs,
    pub(super) weights: &'s LossWeights,
    pub(super) progress: RunProgress,
    /// The denominators, with the number of micro-batches.
    pub(super) totals: StepTotals,
}

/// The samples of a micro-batch, and their tokens.
#[derive(Debug)]
struct MicroBatch<'s> {
    /// In the minibatch.
    positions: &'s [usize],
    rows: Vec<&'s Sample>,
    tokens: TokenBatch,
    /// The taught rows under their teacher, where the loss has a divergence from it.
    teacher: Option<TeacherScores>,
}

impl<'s> MicroBatch<'s> {
    fn gather(
        step: PolicyStep<'s>,
        positions: &'s [usize],
        credit: &dyn Credit,
        device: Device,
    ) -> Result<Self, GrpoError> {
        let rows = positions.iter().map(|&position| &step.samples[step.minibatch.policy[position]]);
        let rows = rows.collect::<Vec<_>>();
        let tokens = token_batch(&rows, Context::Numerator, device)?;
        let teacher = TeacherScores::new(credit, &rows, &tokens, device);
        Ok(Self { positions, rows, tokens, teacher })
    }

    /// Log-probabilities of the response of a taught row under its fixed teacher, and under the distribution to compare
    /// with. The latter is `None` where it is the current policy.
    fn taught(&self, step: PolicyStep<'s>, row: usize) -> Option<(&'s [f64], Option<&'s [f64]>)> {
        let index = step.minibatch.policy[self.positions[row]];
        Some((step.fixed.teacher(index)?, step.fixed.compared(index)))
    }
}

/// Everything that a loss reads of a micro-batch, except the log-probabilities, as tensors.
#[derive(Debug)]
struct Columns {
    mask: Tensor,
    advantages: Tensor,
    old: Tensor,
    behavior: Tensor,
    /// Absent where it is `old` in every row.
    drawn: Option<Tensor>,
    reference: Option<Tensor>,
    zero_variance: Tensor,
    token_weights: Option<Tensor>,
    row_weights: Option<Tensor>,
}

impl Learner {
    /// Adds the gradient of the policy samples at `positions` of the minibatch. It does not where the loss `before` it, of
    /// this process's other micro-batches, is not finite. The host waits for the device once, before the backward pass.
    pub(super) fn accumulate(
        &self,
        step: PolicyStep<'_>,
        positions: &[usize],
        before: f64,
        gradient: &mut WorkerGradient<'_>,
    ) -> Result<Measured, GrpoError> {
        let (policy, credit) = (self.policy.lock(), &*self.credit);
        // A row of the micro-batch is named by its place in the batch.
        let named = |error: GrpoError| {
            let indices = positions.iter().map(|&position| step.minibatch.policy[position]);
            error.renumbered(&indices.collect::<Vec<_>>())
        };
        let micro_batch =
            MicroBatch::gather(step, positions, credit, policy.device()).map_err(named)?;
        let (forward, micro_batch) = self.forward(&**policy, step, micro_batch).map_err(named)?;
        let columns = Columns::new(step, &micro_batch, &forward.scores().logprobs, credit)?;
        let (loss, metrics) = self.policy_loss(step, &micro_batch, &columns, forward.scores())?;
        let (value, tokens) = measure(&micro_batch, &columns, forward.scores(), &loss, metrics);
        if !(before + value).is_finite() {
            // Nothing can be measured, and the guard skips the step.
            return Ok(Measured { loss: value, tokens: None });
        }
        forward.backward_in_stages(&loss, &mut |stages| gradient.before(&stages))?;
        Ok(Measured { loss: value, tokens: Some(tokens) })
    }

    /// The forward pass of a micro-batch. The teacher of a divergence is asked before it if the support is the
    /// teacher's, else after it.
    fn forward<'p, 's>(
        &self,
        policy: &'p dyn Policy,
        step: PolicyStep<'_>,
        micro_batch: MicroBatch<'s>,
    ) -> Result<(ForwardPass<'p>, MicroBatch<'s>), GrpoError> {
        let MicroBatch { positions, rows, mut tokens, mut teacher } = micro_batch;
        let seed = self.dropout_seed(step.progress, positions.first().copied().unwrap_or(0));
        let mut options =
            ScoreOptions { entropy: true, dropout_seed: Some(seed), ..self.scoring() };
        let forward = match &mut teacher {
            None => policy.forward(&tokens, &options)?,
            Some(teacher) if teacher.has_support() => {
                self.score_teacher(policy, teacher, &rows, None)?;
                if let Some(alternatives) = teacher.alternatives(&tokens) {
                    tokens = tokens.with_alternatives(&alternatives)?;
                }
                policy.forward(&tokens, &options)?
            }
            Some(teacher) => {
                options.top_k = teacher.divergence.top_k;
                let forward = policy.forward(&tokens, &options)?;
                let support = forward.scores().alternatives.as_ref().map(|scored| &scored.tokens);
                self.score_teacher(policy, teacher, &rows, support)?;
                forward
            }
        };
        Ok((forward, MicroBatch { positions, rows, tokens, teacher }))
    }

    fn score_teacher(
        &self,
        live: &dyn Policy,
        scores: &mut TeacherScores,
        rows: &[&Sample],
        support: Option<&Tensor>,
    ) -> Result<(), GrpoError> {
        self.with_teacher(live, |teacher| scores.score(teacher, rows, support, self.scoring()))
    }

    /// The loss of a micro-batch, and its metrics.
    fn policy_loss(
        &self,
        step: PolicyStep<'_>,
        micro_batch: &MicroBatch<'_>,
        columns: &Columns,
        TokenScores { logprobs, alternatives, .. }: &TokenScores,
    ) -> Result<(Tensor, LossMetrics), GrpoError> {
        let Columns { mask, advantages, old, behavior, zero_variance, .. } = columns;
        let mut input = LossInput::new(logprobs, old, advantages, mask)
            .with_behavior(behavior)
            .with_zero_variance(zero_variance);
        if let Some(drawn) = &columns.drawn {
            input = input.with_drawn(drawn);
        }
        if let Some(reference) = &columns.reference {
            input = input.with_reference(reference);
        }
        if let Some(weights) = &columns.token_weights {
            input = input.with_token_weights(weights);
        }
        let shaped = step.weights.gamma.map(ShapedRatio::new);
        let by_row = shaped.as_ref().map(|hinted| ByRow {
            plain: &*self.objective,
            hinted,
            is_hinted: micro_batch.rows.iter().map(|sample| sample.is_hinted()).collect(),
        });
        let objective =
            by_row.as_ref().map_or(&*self.objective, |by_row| by_row as &dyn PolicyLoss);
        let composition = LossComposition {
            objective,
            ratio_level: self.loss.ratio_level,
            kl: self.loss.kl,
            importance: self.loss.importance_correction,
            aggregation: self.loss.aggregation,
        };
        let row_weights = columns.row_weights.as_ref();
        let (loss, mut metrics) = composition.loss(&input, row_weights, step.totals)?;
        let Some(teacher) = &micro_batch.teacher else { return Ok((loss, metrics)) };
        let values = teacher.values(alternatives.as_ref(), logprobs)?;
        add_masked(
            &mut metrics,
            metrics::TEACHER_DIVERGENCE,
            &values,
            &columns.taught(micro_batch),
        );
        let values = match row_weights {
            Some(weights) => values * weights.unsqueeze(-1),
            None => values,
        };
        let term = self.loss.aggregation.reduce(&values, mask, step.totals);
        Ok((loss + term * teacher.divergence.coef, metrics))
    }

    /// Takes up the measurements of the micro-batch of the samples at `positions`. These are entropy, Affinity, and the
    /// mismatch with the engine, all of trained tokens.
    pub(super) fn observe(
        &self,
        step: PolicyStep<'_>,
        positions: &[usize],
        measured: &Measured,
        observed: &mut Observed,
    ) -> Result<(), GrpoError> {
        observed.loss += measured.loss;
        let Some(tokens) = measured.tokens.as_ref().filter(|_| observed.loss.is_finite()) else {
            return Ok(());
        };
        observed.metrics.merge(&tokens.metrics);
        if let Some(entropy) = tokens.entropy {
            observed.metrics.add(metrics::ENTROPY_TRAINED, entropy, tokens.count);
            if step.minibatch.counts_all {
                observed.metrics.add(metrics::ENTROPY, entropy, tokens.count);
            }
        }
        for (row, &position) in positions.iter().enumerate() {
            let index = step.minibatch.policy[position];
            let [new, old] = [&tokens.new, &tokens.old].map(|all| all.get(row).unwrap_or_default());
            let teacher = tokens.teacher.get(row);
            let sample = &step.samples[index];
            let plain = step.fixed.plain.get(index);
            observed.affinity.observe(sample, new, old, plain)?;
            let fixed =
                || Some((step.fixed.teacher(index)?, step.fixed.compared(index).unwrap_or(old)));
            let taught = match teacher {
                // A divergence is from the current policy.
                Some(teacher) => Some((teacher, new)),
                None => fixed(),
            };
            if let Some((teacher, compared)) = taught {
                observed.affinity.observe_teacher(sample, teacher, compared)?;
            }
            if self.keeps_logprobs {
                let contrast = taught.map(|(_, compared)| compared);
                let ratio = RatioLogprobs {
                    logprobs: rounded(new),
                    old_logprobs: rounded(old),
                    plain_logprobs: plain.map(rounded),
                    ref_logprobs: step.fixed.reference.get(index).map(rounded),
                    teacher_logprobs: taught.map(|(teacher, _)| rounded(teacher)),
                    contrast_logprobs: contrast.filter(|one| *one != old).map(rounded),
                };
                observed.logprobs.push((index, ratio));
            }
            // Older weights, such as those behind a replayed group, are no fault of the engine.
            let is_current = sample.version.0 == self.updates;
            if step.minibatch.is_first && is_current && !sample.is_hinted() {
                observe_mismatch(&mut observed.metrics, sample, new);
            }
        }
        Ok(())
    }

    /// The entropy of the samples `indices` under the present policy, summed over their tokens, and the number of
    /// these. No gradient.
    pub(super) fn entropy(
        &self,
        samples: &[Sample],
        indices: &[usize],
    ) -> Result<(f64, f64), GrpoError> {
        let policy = self.policy.lock();
        let options = ScoreOptions { entropy: true, ..self.scoring() };
        let mut own = Vec::new();
        let packing = self.packing(samples, indices, Context::Numerator);
        for (batch_index, members) in packing.of(|worker| self.processes.owns(worker)) {
            let members = members.iter().map(|&member| indices[member]).collect::<Vec<_>>();
            let rows = members.iter().map(|&index| &samples[index]).collect::<Vec<_>>();
            let batch = token_batch(&rows, Context::Numerator, policy.device())
                .map_err(|error| error.renumbered(&members))?;
            let scores = tch::no_grad(|| policy.score(&batch, &options))
                .map_err(|error| error.renumbered(&members))?;
            let mask = loss_mask(&rows, &batch);
            if let Some(entropy) = &scores.entropy {
                let [entropy, tokens] =
                    read_together([&masked_sum(entropy, &mask), &mask.sum(Kind::Double)]);
                own.push((batch_index, entropy[0], tokens[0]));
            }
        }
        let mut all = self.processes.all_gather_values(own)?.concat();
        all.sort_by_key(|(index, ..)| *index);
        let add = |(sum, count), (_, entropy, tokens)| (sum + entropy, count + tokens);
        Ok(all.into_iter().fold((0.0, 0.0), add))
    }

    /// Seed of the dropout of a forward pass: from the run's seed and progress, and the first
    /// sample of the micro-batch. The supervised loss drops nothing.
    fn dropout_seed(&self, progress: RunProgress, first: usize) -> u64 {
        let seed = Seed::new(self.seed).named("dropout").child(progress.step).child(self.updates);
        seed.child(first as u64).value()
    }
}

/// Reads back the loss, and what [`Learner::observe`] takes up.
fn measure(
    micro_batch: &MicroBatch<'_>,
    columns: &Columns,
    scores: &TokenScores,
    loss: &Tensor,
    metrics: LossMetrics,
) -> (f64, MeasuredTokens) {
    let MicroBatch { rows, tokens, teacher, .. } = micro_batch;
    let (mask, logprobs) = (&columns.mask, &scores.logprobs);
    let entropy = scores.entropy.as_ref();
    let entropy = entropy.map_or_else(Tensor::new, |entropy| masked_sum(entropy, mask));
    let count = mask.sum(Kind::Double);
    let taught = teacher.as_ref().and_then(|teacher| teacher.logprobs.as_ref());
    let undefined = Tensor::new();
    let taught = taught.unwrap_or(&undefined);
    let ([loss, count, entropy, new, old, taught], metrics) =
        metrics.read_with([loss, &count, &entropy, logprobs, &columns.old, taught]);
    let [new, old] = [new, old].map(|values| responses_of(values, tokens));
    let teacher = teacher.as_ref().map(|teacher| teacher.by_row(&taught, rows.len()));
    let teacher = teacher.unwrap_or_else(|| TokenColumn::new(rows.len()));
    let entropy = entropy.first().copied();
    (loss[0], MeasuredTokens { metrics, count: count[0], entropy, new, old, teacher })
}

impl Columns {
    /// In the kind and on the device of `like`, the log-probabilities.
    fn new(
        step: PolicyStep<'_>,
        micro_batch: &MicroBatch<'_>,
        like: &Tensor,
        credit: &dyn Credit,
    ) -> Result<Self, GrpoError> {
        let MicroBatch { positions, rows, tokens, .. } = micro_batch;
        let indices = || positions.iter().map(|&position| step.minibatch.policy[position]);
        let column =
            |column: &TokenColumn| spread(indices().map(|index| column.get(index)), tokens, like);
        let mask = loss_mask(rows, tokens);
        let advantages = rows.iter().map(|sample| sample.advantage).collect::<Vec<_>>();
        let advantages = per_row(&advantages, like).view([dim(rows.len()), 1]);
        let zero_variance = rows.iter().map(|sample| sample.zero_variance).collect::<Vec<_>>();
        let has_reference = indices().any(|index| step.fixed.reference.get(index).is_some());
        let old = or_current(indices().map(|index| step.fixed.old.get(index)), tokens, like);
        let drawn = indices().map(|index| step.fixed.drawn.get(index));
        let is_drawn_elsewhere = drawn.clone().any(|row| row.is_some());
        let weight = |(sample, &position): (&&Sample, &usize)| {
            sample.policy_weight.unwrap_or(1.0) * step.weights.row(position).unwrap_or(1.0)
        };
        let weights = rows.iter().zip(*positions).map(weight).collect::<Vec<_>>();
        let is_weighted =
            !step.weights.rows.is_empty() || weights.iter().any(|weight| *weight != 1.0);
        let advantages = advantages * mask.to_kind(like.kind());
        let advantages = credited(credit, step, micro_batch, &advantages, &mask, like)?;
        Ok(Self {
            advantages,
            drawn: is_drawn_elsewhere.then(|| or_current(drawn, tokens, &old)),
            old,
            behavior: spread(
                rows.iter().map(|sample| Some(sample.behavior_logprobs.as_slice())),
                tokens,
                like,
            ),
            reference: has_reference.then(|| column(&step.fixed.reference)),
            zero_variance: upload(&zero_variance, like.device()),
            token_weights: step.weights.tokens.as_ref().map(|weights| {
                let ones = rows.iter().map(|sample| vec![1.0; sample.response.len()]);
                let ones = ones.collect::<Vec<_>>();
                let rows = positions.iter().zip(&ones);
                spread(
                    rows.map(|(&row, ones)| Some(weights.get(row).unwrap_or(ones))),
                    tokens,
                    like,
                )
            }),
            row_weights: is_weighted.then(|| per_row(&weights, like)),
            mask,
        })
    }

    /// True on the tokens that train and that a hint teaches. `[batch, seq]`, `Bool`.
    fn taught(&self, micro_batch: &MicroBatch<'_>) -> Tensor {
        let rows = micro_batch.rows.iter().map(|sample| sample.is_taught()).collect::<Vec<_>>();
        self.mask.logical_and(&upload(&rows, self.mask.device()).unsqueeze(-1))
    }
}

/// The advantages of tokens, `[batch, seq]`; the hint that teaches credits the tokens of taught samples.
fn credited(
    credit: &dyn Credit,
    step: PolicyStep<'_>,
    micro_batch: &MicroBatch<'_>,
    advantages: &Tensor,
    mask: &Tensor,
    like: &Tensor,
) -> Result<Tensor, GrpoError> {
    let MicroBatch { rows, tokens, .. } = micro_batch;
    let is_taught = rows.iter().map(|sample| sample.is_taught()).collect::<Vec<_>>();
    if is_taught.iter().all(|taught| !taught) {
        return Ok(advantages.shallow_clone());
    }
    let (teacher, compared) = if let Some(scores) = &micro_batch.teacher {
        // A divergence is from the current policy.
        (scores.spread_logprobs(like)?, like.detach())
    } else {
        let both = || (0..rows.len()).map(|row| micro_batch.taught(step, row));
        let teacher = spread(both().map(|both| Some(both?.0)), tokens, like);
        (teacher, or_current(both().map(|both| both?.1), tokens, like))
    };
    let is_taught = upload(&is_taught, like.device()).unsqueeze(-1);
    let other = is_taught.logical_and(mask).logical_not();
    let delta = (teacher - compared).masked_fill(&other, 0.0);
    let credited = credit.advantages(CreditInput::new(advantages, &delta, mask))?;
    if credited.size() != advantages.size() {
        let (found, expected) = (credited.size(), advantages.size());
        let (name, like) = ("credit", "advantages");
        return Err(GrpoError::Shape { name, like, found, expected });
    }
    Ok(credited.where_self(&other.logical_not(), advantages))
}

/// Log-probabilities, `[batch, seq]`: the given ones of a row, else `logprobs` themselves without gradient.
fn or_current<'v>(
    rows: impl Iterator<Item = Option<&'v [f64]>> + Clone,
    batch: &TokenBatch,
    logprobs: &Tensor,
) -> Tensor {
    let current = logprobs.detach();
    let is_current = rows.clone().map(|row| row.is_none()).collect::<Vec<_>>();
    if is_current.iter().all(|current| *current) {
        return current;
    }
    let values = spread(rows, batch, logprobs);
    let is_current = upload(&is_current, logprobs.device()).unsqueeze(-1);
    current.where_self(&is_current, &values)
}

/// Differences between trainer and engine on the same plain tokens, under the same weights.
fn observe_mismatch(metrics: &mut Metrics, sample: &Sample, logprobs: &[f64]) {
    let pairs = sample.trained(logprobs).zip(sample.trained(&sample.behavior_logprobs));
    let (mut sum, mut most, mut count) = (0.0, 0.0_f64, 0.0);
    for difference in pairs.map(|(new, behavior)| (new - behavior).abs()) {
        (sum, most, count) = (sum + difference, most.max(difference), count + 1.0);
    }
    metrics.add(metrics::SAMPLING_LOGP_DIFFERENCE, sum, count);
    metrics.add_max(metrics::SAMPLING_LOGP_DIFFERENCE_MAX, most);
}
