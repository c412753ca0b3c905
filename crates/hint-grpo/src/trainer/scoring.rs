//! Log-probabilities that do not change during the updates of a batch.

use hint_policy::{Policy, ScoreOptions};
use hint_rollout::Seed;

use super::Trainer;
use crate::batch::{Row, Rows, Side, completion_values, token_batch};
use crate::packing::Packing;
use crate::run_dir::Progress;
use crate::{GrpoError, HelpWeight, OldLogprobs};

/// Log-probabilities on the host, one entry per row.
#[derive(Debug)]
pub(super) struct Frozen {
    /// Of the ratio's denominator. `None` where the old policy is the current one and conditions on
    /// the prompt of the numerator.
    pub(super) old: Vec<Option<Vec<f64>>>,
    pub(super) reference: Option<Vec<Vec<f64>>>,
    /// Of helped rows on the plain prompt, where the numerator conditions on another.
    pub(super) plain: Vec<Option<Vec<f64>>>,
    /// Off-context ratios `log π_old(y|x) − log π_old(y|x⊕h)` of helped rows, if they are weighted by
    /// them.
    pub(super) off_context: Option<Vec<Option<Vec<f64>>>>,
}

impl Frozen {
    /// Those of the rows `indices`.
    pub(super) fn part(&self, indices: &[usize]) -> Self {
        fn pick<T: Clone>(values: &[T], indices: &[usize]) -> Vec<T> {
            indices.iter().map(|&index| values[index].clone()).collect()
        }
        Self {
            old: pick(&self.old, indices),
            reference: self.reference.as_ref().map(|values| pick(values, indices)),
            plain: pick(&self.plain, indices),
            off_context: self.off_context.as_ref().map(|values| pick(values, indices)),
        }
    }
}

impl Trainer {
    pub(super) fn packing(&self, rows: &[Row<'_>], side: Side) -> Packing {
        let lens = rows.iter().map(|row| row.context(side).len() + row.completion.len());
        Packing::new(&lens.collect::<Vec<_>>(), self.config.run.max_tokens_per_micro_batch)
    }

    /// Whether the ratio's denominator of a row is what the engine reported.
    pub(super) fn takes_engine_logprobs(&self, row: &Row<'_>) -> bool {
        self.config.old_logprobs == OldLogprobs::Engine && row.has_engine_denominator()
    }

    /// Scores are at the sampling temperature: the ratio is one of the distributions that are sampled
    /// (Deviation D4).
    pub(super) fn scoring(&self) -> ScoreOptions {
        let temperature = self.config.rollout.sampling.temperature;
        ScoreOptions { temperature, ..ScoreOptions::default() }
    }

    /// What the dropout of a forward pass of the policy gradient depends on (supervised terms drop
    /// nothing): the seed of the run, how far
    /// it is, and the first row of the micro-batch.
    pub(super) fn dropout_seed(&self, first_row: usize) -> u64 {
        let Progress { step, updates, .. } = self.progress;
        let seed = Seed::new(self.config.run.seed).named("dropout").child(step).child(updates);
        seed.child(first_row as u64).value()
    }

    /// Log-probabilities of every row under `policy`, without gradient, on the host.
    pub(super) fn score_rows(
        &self,
        policy: &dyn Policy,
        rows: &[Row<'_>],
        side: Side,
    ) -> Result<Vec<Vec<f64>>, GrpoError> {
        let mut values = vec![Vec::new(); rows.len()];
        for indices in self.packing(rows, side).batches {
            let some = indices.iter().map(|&index| rows[index]).collect::<Vec<_>>();
            let batch = token_batch(&some, side, policy.device())?;
            let scores = tch::no_grad(|| policy.score(&batch, &self.scoring()))?;
            for (index, row) in indices.into_iter().zip(completion_values(&scores.logprobs, &batch))
            {
                values[index] = row;
            }
        }
        Ok(values)
    }

    /// Those of the rows that `wanted` picks, under the current policy; `None` for the others.
    pub(super) fn score_some<'r>(
        &self,
        rows: &[Row<'r>],
        side: Side,
        wanted: impl Fn(&Row<'r>) -> bool,
    ) -> Result<Vec<Option<Vec<f64>>>, GrpoError> {
        let some = rows.iter().filter(|row| wanted(row)).copied().collect::<Vec<_>>();
        let mut values = if some.is_empty() {
            Vec::new()
        } else {
            self.score_rows(&**self.policy.lock(), &some, side)?
        }
        .into_iter();
        Ok(rows.iter().map(|row| if wanted(row) { values.next() } else { None }).collect())
    }

    pub(super) fn frozen_logprobs(&self, rows: &Rows<'_>) -> Result<Frozen, GrpoError> {
        let rows = &rows.rows;
        let many = self.config.run.optimizer_steps_per_batch() > 1;
        let scores_denominator = |row: &Row<'_>| {
            !self.takes_engine_logprobs(row)
                && row.old_prompt.is_some()
                && (many || !row.has_same_context())
        };
        let mut old = self.score_some(rows, Side::Denominator, scores_denominator)?;
        // What was scored as a denominator is not scored again under the same prompt.
        let denominators = old.clone();
        let score_new = |side, wanted: &dyn Fn(&Row<'_>) -> bool| {
            let known = |row: &Row<'_>| {
                scores_denominator(row) && row.old_prompt == Some(row.context(side))
            };
            let mut values = self.score_some(rows, side, |row| wanted(row) && !known(row))?;
            for ((value, row), denominator) in values.iter_mut().zip(rows).zip(&denominators) {
                if wanted(row) && known(row) {
                    value.clone_from(denominator);
                }
            }
            Ok::<_, GrpoError>(values)
        };
        for (row, old) in rows.iter().zip(&mut old) {
            if self.takes_engine_logprobs(row) {
                *old = Some(row.behavior_logprobs.to_vec());
            } else if row.old_prompt.is_none() {
                // The distribution that a demonstration comes from draws nothing else.
                *old = Some(vec![0.0; row.completion.len()]);
            }
        }
        let reference = match &self.reference {
            Some(reference) if self.config.kl.coef != 0.0 => {
                Some(self.score_rows(&**reference.lock(), rows, Side::Numerator)?)
            }
            _ => None,
        };
        let weights = self.config.weight.iter();
        let off_context =
            weights.clone().any(|weight| matches!(weight, HelpWeight::OffContext { .. }));
        let plain = score_new(Side::Plain, &|row| {
            row.is_helped() && (off_context || row.prompt != row.plain_prompt)
        })?;
        let off_context = if off_context {
            let helped = score_new(Side::Helped, &|row| row.is_helped())?;
            let ratios = plain.iter().zip(helped).map(|(plain, helped)| {
                let pairs = plain.as_ref()?.iter().zip(helped?);
                Some(pairs.map(|(plain, helped)| plain - helped).collect())
            });
            Some(ratios.collect())
        } else {
            None
        };
        Ok(Frozen { old, reference, plain, off_context })
    }
}
