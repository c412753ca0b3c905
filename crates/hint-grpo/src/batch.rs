//! From groups to rows, and from rows to micro-batches. The only code that reads [`RatioScheme`].

use hint_policy::{TokenBatch, TokenRow};
use hint_rollout::{PolicyVersion, RolloutGroup, RolloutSource};
use tch::{Device, Kind, Tensor};

use crate::{GrpoError, RatioScheme, StepTotals};

/// One completion, ready to train.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Index of its group.
    pub(crate) group: usize,
    /// What it was sampled from.
    pub(crate) source: RolloutSource,
    /// The prompt of the ratio's numerator.
    pub(crate) prompt: &'a [u32],
    /// The prompt of the ratio's denominator; `None` where it is 1.
    pub(crate) old_prompt: Option<&'a [u32]>,
    /// The plain prompt.
    pub(crate) plain_prompt: &'a [u32],
    /// The prompt that it was sampled from.
    pub(crate) helped_prompt: &'a [u32],
    /// The completion's tokens.
    pub(crate) completion: &'a [u32],
    /// The engine's log-probabilities, one per completion token.
    pub(crate) behavior_logprobs: &'a [f64],
    /// The weights that sampled it.
    pub(crate) version: PolicyVersion,
    /// Advantage of the completion.
    pub(crate) advantage: f64,
    /// Whether the rewards of its group are all equal.
    pub(crate) zero_variance: bool,
}

impl<'a> Row<'a> {
    /// Whether it came about with help.
    pub(crate) fn is_helped(&self) -> bool {
        self.source != RolloutSource::Plain
    }

    /// Whether the engine's log-probabilities are those of the ratio's denominator under the weights
    /// that sampled it.
    pub(crate) fn has_engine_denominator(&self) -> bool {
        self.source != RolloutSource::Demonstration && self.old_prompt == Some(self.helped_prompt)
    }

    /// Whether numerator and denominator of its ratio condition on the same prompt.
    pub(crate) fn has_same_context(&self) -> bool {
        self.old_prompt == Some(self.prompt)
    }

    /// The prompt of one side.
    pub(crate) fn context(&self, side: Side) -> &'a [u32] {
        match side {
            Side::Numerator => self.prompt,
            Side::Denominator => self.old_prompt.unwrap_or(self.prompt),
            Side::Plain => self.plain_prompt,
            Side::Helped => self.helped_prompt,
        }
    }
}

/// Which rows have no gradient, so that they are left out of the forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Rows without tokens only.
    Empty,
    /// Also rows with an advantage of 0.
    ZeroAdvantage,
    /// Also rows with an advantage of 0 in groups whose rewards are all equal.
    ZeroVariance,
}

/// The rows of a rollout batch, or of a part of it.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    /// Rows with a gradient.
    pub(crate) rows: Vec<Row<'a>>,
    /// What the denominators count, by group: every row, also those without a gradient.
    counts: Vec<StepTotals>,
}

impl<'a> Rows<'a> {
    /// Lays out `groups` under `scheme`, without the rows that `skip` names.
    pub(crate) fn new(
        groups: &'a [RolloutGroup],
        advantages: &[Vec<f64>],
        scheme: RatioScheme,
        skip: Skip,
    ) -> Self {
        let mut counts = Vec::with_capacity(groups.len());
        let mut rows = Vec::new();
        for (index, (group, advantages)) in groups.iter().zip(advantages).enumerate() {
            let rewards = group.rewards();
            let zero_variance = rewards.iter().all(|reward| *reward == rewards[0]);
            let mut count = StepTotals::new(0, 0);
            for (rollout, &advantage) in group.rollouts.iter().zip(advantages) {
                if rollout.is_masked {
                    continue;
                }
                let (prompt, old_prompt) = scheme.prompts(group, rollout);
                let completion = rollout.completion.tokens.as_slice();
                count.rows += 1;
                count.tokens += completion.len();
                let skipped = match skip {
                    Skip::Empty => false,
                    Skip::ZeroAdvantage => advantage == 0.0,
                    Skip::ZeroVariance => advantage == 0.0 && zero_variance,
                };
                if completion.is_empty() || skipped {
                    continue;
                }
                rows.push(Row {
                    group: index,
                    source: rollout.source(),
                    prompt,
                    old_prompt,
                    plain_prompt: &group.prompt,
                    helped_prompt: rollout.hint.as_ref().map_or(&group.prompt, |help| &help.prompt),
                    completion,
                    behavior_logprobs: &rollout.completion.behavior_logprobs,
                    version: rollout.completion.version,
                    advantage,
                    zero_variance,
                });
            }
            counts.push(count);
        }
        Self { rows, counts }
    }

    /// What the denominators of these rows' optimizer step count.
    pub(crate) fn totals(&self) -> StepTotals {
        let rows = self.counts.iter().map(|count| count.rows).sum();
        StepTotals::new(rows, self.counts.iter().map(|count| count.tokens).sum())
    }

    /// Which rows belong to `groups`.
    pub(crate) fn of_groups(&self, groups: &[usize]) -> Vec<usize> {
        let rows = self.rows.iter().enumerate();
        rows.filter(|(_, row)| groups.contains(&row.group)).map(|(index, _)| index).collect()
    }

    /// The rows `indices`, which are those of `groups`.
    pub(crate) fn part(&self, groups: &[usize], indices: &[usize]) -> Self {
        Self {
            rows: indices.iter().map(|&index| self.rows[index]).collect(),
            counts: groups.iter().map(|&group| self.counts[group]).collect(),
        }
    }
}

/// Which of a row's prompts to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// That of the ratio's numerator.
    Numerator,
    /// That of the ratio's denominator.
    Denominator,
    /// The plain one.
    Plain,
    /// The one that it was sampled from.
    Helped,
}

/// The token batch of `rows`.
pub(crate) fn token_batch(
    rows: &[Row<'_>],
    side: Side,
    device: Device,
) -> Result<TokenBatch, GrpoError> {
    let token_rows = rows
        .iter()
        .map(|row| TokenRow { prompt: row.context(side), completion: row.completion })
        .collect::<Vec<_>>();
    Ok(TokenBatch::new(&token_rows, device)?)
}

/// Reads the values of the completion tokens of each row back to the host. `values` `[batch, seq]`.
pub(crate) fn completion_values(values: &Tensor, batch: &TokenBatch) -> Vec<Vec<f64>> {
    let values = values.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
    let seq = batch.seq();
    let flat = Vec::<f64>::try_from(values.view([-1])).expect("the tensor is dense and f64");
    batch
        .prompt_lens()
        .iter()
        .zip(batch.completion_lens())
        .enumerate()
        .map(|(row, (&prompt, &completion))| {
            let start = row * seq + prompt;
            flat[start..start + completion].to_vec()
        })
        .collect()
}

/// Spreads per-token host values to `[batch, seq]` at the completion positions, 0 elsewhere.
pub(crate) fn completion_tensor<'v>(
    values: impl Iterator<Item = &'v [f64]>,
    batch: &TokenBatch,
    kind: Kind,
    device: Device,
) -> Tensor {
    let seq = batch.seq();
    let mut flat = vec![0.0_f64; batch.batch() * seq];
    for ((row, values), &prompt) in values.enumerate().zip(batch.prompt_lens()) {
        let start = row * seq + prompt;
        flat[start..start + values.len()].copy_from_slice(values);
    }
    let shape = [dim(batch.batch()), dim(seq)];
    Tensor::from_slice(&flat).view(shape).to_kind(kind).to_device(device)
}

/// A length as a tensor dimension.
pub(crate) fn dim(len: usize) -> i64 {
    i64::try_from(len).expect("no tensor has 2^63 elements")
}
