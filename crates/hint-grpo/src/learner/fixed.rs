//! Log-probabilities that do not change during the optimizer steps of a batch.

use std::collections::BTreeSet;

use hint_policy::{Policy, ScoreOptions, SharedPolicy};

use super::Learner;
use super::column::{TokenColumn, read_responses};
use super::packing::Packing;
use super::sample::{Context, Sample, token_batch};
use crate::error::{ConfigError, GrpoError};
use crate::objective::{ImportanceCorrection, OldLogprobs};

/// Log-probabilities on the host, by the index of the sample in its batch.
#[derive(Debug)]
pub(super) struct FixedLogprobs {
    /// Of the ratio's denominator. Absent where the old policy is the current one and conditions on
    /// the prompt of the numerator.
    pub(super) old: TokenColumn,
    /// Of the reference policy, if there is a KL term.
    pub(super) reference: TokenColumn,
    /// Of hinted samples on the plain prompt, where the numerator conditions on another.
    pub(super) plain: TokenColumn,
    /// `log π_old(y|x) − log π_old(y|x⊕h)` of hinted samples, if a weight needs it.
    pub(super) off_context: TokenColumn,
    /// Of the old policy on the prompt that the tokens were drawn from, for the importance correction. Absent where the
    /// ratio's denominator conditions on that prompt.
    pub(super) drawn: TokenColumn,
    /// Of taught samples under the hint that teaches them.
    teacher: TokenColumn,
    /// Counterpart of the teacher, where it is not the ratio's denominator.
    compared: TokenColumn,
    /// Whether `old` still lacks denominators that the next forward pass computes: as long as the policy is the old one.
    pub(super) waits: bool,
    /// The samples whose denominators one pass scores, as long as it has left some of their micro-batches out.
    pub(super) scored_together: Vec<usize>,
}

impl FixedLogprobs {
    /// Log-probabilities of a sample under the hint that teaches it, if one does.
    pub(super) fn teacher(&self, index: usize) -> Option<&[f64]> {
        self.teacher.get(index)
    }

    /// Counterpart of a sample's teacher. `None` where it is the policy before the first optimizer step, which is
    /// still the current one.
    pub(super) fn compared(&self, index: usize) -> Option<&[f64]> {
        self.compared.get(index).or_else(|| self.old.get(index))
    }
}

impl Learner {
    /// Micro-batches of the samples `indices`; their entries are positions in `indices`.
    pub(super) fn packing(
        &self,
        samples: &[Sample],
        indices: &[usize],
        context: Context,
    ) -> Packing {
        let lens = indices.iter().map(|&index| samples[index].row_len(context));
        let workers = self.processes.num_virtual_workers();
        Packing::dealt(&lens.collect::<Vec<_>>(), self.max_tokens_per_micro_batch, workers)
    }

    /// Whether the engine reported the denominator of a sample's ratio.
    pub(super) fn takes_engine_logprobs(&self, sample: &Sample) -> bool {
        self.loss.old_logprobs == OldLogprobs::Engine && sample.has_engine_denominator()
    }

    /// Scores are at the sampling temperature: the ratio is one of the distributions that are sampled
    /// (Deviation D4).
    pub(super) fn scoring(&self) -> ScoreOptions {
        ScoreOptions { temperature: self.temperature, ..ScoreOptions::default() }
    }

    /// Scores the samples `indices` in `context` under `policy`, without gradient.
    fn score_into(
        &self,
        column: &mut TokenColumn,
        policy: &dyn Policy,
        samples: &[Sample],
        indices: &[usize],
        context: Context,
    ) -> Result<(), GrpoError> {
        let known = BTreeSet::new();
        self.score_except(&known, column, policy, samples, indices, context)
    }

    /// As [`Self::score_into`], without the micro-batches `known`. The others are the same as with them.
    fn score_except(
        &self,
        known: &BTreeSet<Vec<usize>>,
        column: &mut TokenColumn,
        policy: &dyn Policy,
        samples: &[Sample],
        indices: &[usize],
        context: Context,
    ) -> Result<(), GrpoError> {
        let mut own = Vec::new();
        let packing = self.packing(samples, indices, context);
        for (_, members) in packing.of(|worker| self.processes.owns(worker)) {
            let members = by_sample(members, indices);
            if known.contains(&members) {
                continue;
            }
            let rows = members.iter().map(|&index| &samples[index]).collect::<Vec<_>>();
            let batch = token_batch(&rows, context, policy.device())
                .map_err(|error| error.renumbered(&members))?;
            let scores = tch::no_grad(|| policy.score(&batch, &self.scoring()))
                .map_err(|error| error.renumbered(&members))?;
            let scored = read_responses(&scores.logprobs, &batch);
            for (row, &index) in members.iter().enumerate() {
                let scored = scored.get(row).unwrap_or_default();
                if self.processes.is_alone() {
                    column.set(index, scored.iter().copied());
                } else {
                    own.push((index, scored.to_vec()));
                }
            }
        }
        if !self.processes.is_alone() {
            for (index, scored) in self.processes.all_gather_values(own)?.into_iter().flatten() {
                column.set(index, scored);
            }
        }
        Ok(())
    }

    /// The samples among `indices` that `wanted` picks, scored under the current policy.
    pub(super) fn score(
        &self,
        samples: &[Sample],
        indices: &[usize],
        context: Context,
        wanted: impl Fn(&Sample) -> bool,
    ) -> Result<TokenColumn, GrpoError> {
        let mut column = TokenColumn::new(samples.len());
        let picked = indices.iter().copied().filter(|&index| wanted(&samples[index]));
        let picked = picked.collect::<Vec<_>>();
        if !picked.is_empty() {
            self.score_into(&mut column, &**self.policy.lock(), samples, &picked, context)?;
        }
        Ok(column)
    }

    /// The fixed log-probabilities of the samples `indices`. `many`: more than one optimizer step
    /// follows. The first one trains the samples `first`.
    pub(super) fn fixed_logprobs(
        &self,
        samples: &[Sample],
        indices: &[usize],
        many: bool,
        first: &[usize],
    ) -> Result<FixedLogprobs, GrpoError> {
        let first_scores = many && self.first_step_scores();
        let has_all = first_scores && self.num_minibatches == 1;
        let is_scored = |index: &usize| {
            let sample = &samples[*index];
            !self.takes_engine_logprobs(sample)
                && sample.contexts.denominator.is_some()
                && ((many && !has_all) || !sample.has_same_context())
        };
        let picked = indices.iter().copied().filter(is_scored).collect::<Vec<_>>();
        let known = if first_scores && !has_all {
            self.first_step_micro_batches(samples, &picked, first)
        } else {
            BTreeSet::new()
        };
        let mut scored = TokenColumn::new(samples.len());
        if !picked.is_empty() {
            let policy = self.policy.lock();
            let context = Context::Denominator;
            self.score_except(&known, &mut scored, &**policy, samples, &picked, context)?;
        }
        let waits = has_all || !known.is_empty();
        let scored_together = if known.is_empty() { Vec::new() } else { picked };
        let weighs_off_context = self.hinted_weights.iter().any(|one| one.needs().off_context);
        let plain = self.score_hinted(samples, indices, Context::Plain, &scored, |sample| {
            weighs_off_context || sample.contexts.numerator != sample.contexts.plain
        })?;
        let corrects = self.loss.importance_correction != ImportanceCorrection::Off;
        let sampled = self.score_hinted(samples, indices, Context::Sampled, &scored, |sample| {
            weighs_off_context || (corrects && sample.is_drawn_elsewhere())
        })?;
        let mut off_context = TokenColumn::new(samples.len());
        if weighs_off_context {
            for &index in indices {
                if let (Some(plain), Some(sampled)) = (plain.get(index), sampled.get(index)) {
                    let ratios = plain.iter().zip(sampled).map(|(plain, sampled)| plain - sampled);
                    off_context.set(index, ratios);
                }
            }
        }
        let drawn = if corrects {
            drawn_logprobs(samples, indices, &sampled)
        } else {
            TokenColumn::new(samples.len())
        };
        let old = self.with_given_denominators(scored, samples, indices);
        let reference = self.reference_logprobs(samples, indices)?;
        let (teacher, compared) = self.teacher_logprobs(samples, indices)?;
        Ok(FixedLogprobs {
            old,
            reference,
            plain,
            off_context,
            drawn,
            teacher,
            compared,
            waits,
            scored_together,
        })
    }

    /// Whether the forward pass of the first optimizer step gives denominators of its samples for the later ones. It does
    /// where it drops nothing, and no weight needs the denominators before it.
    fn first_step_scores(&self) -> bool {
        let weighs_off_context = self.hinted_weights.iter().any(|one| one.needs().off_context);
        !weighs_off_context && !self.policy.lock().drops_inputs()
    }

    /// Micro-batches of a pass over the denominators of the samples `picked` that the first optimizer step has as well. By
    /// indices of samples. That step trains the samples `first`. Its forward pass has the same rows there, in the same
    /// order and on the same prompts. So it gives the same bits. Rows in other company may differ in their last bits.
    fn first_step_micro_batches(
        &self,
        samples: &[Sample],
        picked: &[usize],
        first: &[usize],
    ) -> BTreeSet<Vec<usize>> {
        let micro_batches = |indices: &[usize], context| {
            let packing = self.packing(samples, indices, context);
            let named = packing.batches.iter().map(|members| by_sample(members, indices));
            named.collect::<Vec<_>>()
        };
        let has_same_contexts =
            |members: &Vec<usize>| members.iter().all(|&index| samples[index].has_same_context());
        let trained = micro_batches(first, Context::Numerator).into_iter();
        let trained = trained.filter(has_same_contexts).collect::<BTreeSet<_>>();
        let scored = micro_batches(picked, Context::Denominator).into_iter();
        scored.filter(|members| trained.contains(members)).collect()
    }

    /// The hinted samples that `wanted` picks, scored in `context`. Samples whose denominator, in `scored`,
    /// conditions on the same prompt are not scored again.
    fn score_hinted(
        &self,
        samples: &[Sample],
        indices: &[usize],
        context: Context,
        scored: &TokenColumn,
        wanted: impl Fn(&Sample) -> bool,
    ) -> Result<TokenColumn, GrpoError> {
        let wanted = |index: &usize| samples[*index].is_hinted() && wanted(&samples[*index]);
        let (mut known, mut missing) = (Vec::new(), Vec::new());
        for index in indices.iter().copied().filter(wanted) {
            let sample = &samples[index];
            let same = sample.contexts.denominator.as_deref() == Some(sample.context(context));
            match scored.get(index).filter(|_| same) {
                Some(logprobs) => known.push((index, logprobs)),
                None => missing.push(index),
            }
        }
        let mut column = self.score(samples, &missing, context, |_| true)?;
        for (index, logprobs) in known {
            column.set(index, logprobs.iter().copied());
        }
        Ok(column)
    }

    /// The denominators that were scored, and those that need no score: reported by the engine, or of
    /// demonstrations.
    fn with_given_denominators(
        &self,
        mut scored: TokenColumn,
        samples: &[Sample],
        indices: &[usize],
    ) -> TokenColumn {
        for &index in indices {
            let sample = &samples[index];
            if self.takes_engine_logprobs(sample) {
                scored.set(index, sample.behavior_logprobs.iter().copied());
            } else if sample.contexts.denominator.is_none() {
                // The distribution that a demonstration comes from draws nothing else.
                scored.set(index, sample.response.iter().map(|_| 0.0));
            }
        }
        scored
    }

    /// The log-probabilities of the reference policy, if there is a KL term.
    fn reference_logprobs(
        &self,
        samples: &[Sample],
        indices: &[usize],
    ) -> Result<TokenColumn, GrpoError> {
        let mut column = TokenColumn::new(samples.len());
        if self.loss.kl.coef != 0.0 && !indices.is_empty() {
            let policy = self.reference("loss.kl.coef")?.lock();
            self.score_into(&mut column, &**policy, samples, indices, Context::Numerator)?;
        }
        Ok(column)
    }

    /// The reference policy, which the key `asks` for.
    pub(super) fn reference(&self, asks: &str) -> Result<&SharedPolicy, GrpoError> {
        self.reference.as_ref().ok_or_else(|| {
            let expected = "must have a reference policy in the learner's parts";
            ConfigError::one(asks, expected, "none").into()
        })
    }

    /// The log-probabilities of taught samples under the hint that teaches them, and their counterpart where it is not
    /// the ratio's denominator. The counterpart is the contrast, or the policy itself where the denominator is the
    /// engine's.
    fn teacher_logprobs(
        &self,
        samples: &[Sample],
        indices: &[usize],
    ) -> Result<(TokenColumn, TokenColumn), GrpoError> {
        let empty = || TokenColumn::new(samples.len());
        let taught = |wanted: &dyn Fn(&Sample) -> bool| {
            let taught = |index: &usize| samples[*index].is_taught() && wanted(&samples[*index]);
            indices.iter().copied().filter(taught).collect::<Vec<_>>()
        };
        let all = taught(&|_| true);
        if all.is_empty() || self.credit.divergence().is_some() {
            return Ok((empty(), empty()));
        }
        let (mut teacher, mut compared) = (empty(), empty());
        let contrasted = taught(&|sample| sample.contexts.contrast.is_some());
        let live = self.policy.lock();
        self.with_teacher(&**live, |policy| {
            self.score_into(&mut teacher, policy, samples, &all, Context::Teacher)?;
            self.score_into(&mut compared, policy, samples, &contrasted, Context::Contrast)
        })?;
        let engine = taught(&|sample| {
            sample.contexts.contrast.is_none() && self.takes_engine_logprobs(sample)
        });
        self.score_into(&mut compared, &**live, samples, &engine, Context::Plain)?;
        Ok((teacher, compared))
    }
}

/// The samples of a micro-batch, whose `members` are positions in `indices`.
fn by_sample(members: &[usize], indices: &[usize]) -> Vec<usize> {
    members.iter().map(|&member| indices[member]).collect()
}

/// The old policy's log-probabilities on the prompt that drew the tokens of the samples `indices`. They are those in
/// `sampled`, for samples whose denominator has another prompt. Nobody drew a demonstration, nor a sample that is taken
/// for one. Such a sample has the engine's log-probabilities, and so a weight of 1.
fn drawn_logprobs(samples: &[Sample], indices: &[usize], sampled: &TokenColumn) -> TokenColumn {
    let mut drawn = TokenColumn::new(samples.len());
    for &index in indices {
        let sample = &samples[index];
        if sample.is_demonstration() {
            drawn.set(index, sample.behavior_logprobs.iter().copied());
        } else if sample.is_drawn_elsewhere()
            && let Some(logprobs) = sampled.get(index)
        {
            drawn.set(index, logprobs.iter().copied());
        }
    }
    drawn
}
