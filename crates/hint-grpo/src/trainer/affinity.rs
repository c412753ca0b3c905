//! Affinity of the rows of a step: the weight of hinted groups, and the instrument.

use std::collections::BTreeMap;

use hint_affinity::{Affinity, AffinityAccumulator, AffinityVariant, ClipRange};
use hint_rollout::RolloutSource;

use crate::batch::Row;
use crate::{GrpoError, Metrics, metrics};

/// Affinity weights of the helped rows of each group, by group index. (AFF-3) (Deviation D8)
/// `log_ratios` has an entry for each helped row.
pub(super) fn group_weights(
    rows: &[Row<'_>],
    log_ratios: &[Option<Vec<f64>>],
    clip: ClipRange,
    exponent: f64,
    variant: AffinityVariant,
) -> Result<BTreeMap<usize, f64>, GrpoError> {
    let mut groups = BTreeMap::new();
    for (row, log_ratios) in rows.iter().zip(log_ratios) {
        let Some(log_ratios) = log_ratios else { continue };
        let accumulator = groups
            .entry(row.group)
            .or_insert_with(|| AffinityAccumulator::with_variant(clip, variant));
        push_row(accumulator, row, log_ratios.iter().copied())?;
    }
    Ok(groups
        .into_iter()
        .map(|(group, accumulator)| (group, accumulator.affinity().weight(exponent)))
        .collect())
}

/// Measures Affinity over the rows of one update: of the ratio that trains, and of `π_θ(y|x)` against
/// the distribution that drew the tokens. Each also by what the rows were sampled from.
#[derive(Debug)]
pub(super) struct AffinityMeter {
    clip: ClipRange,
    trained: AffinityAccumulator,
    /// Over helped rows.
    behavior: AffinityAccumulator,
    trained_by_source: BTreeMap<RolloutSource, AffinityAccumulator>,
    behavior_by_source: BTreeMap<RolloutSource, AffinityAccumulator>,
    /// Of the ratio that trains, and against the distribution that drew the tokens.
    by_group: BTreeMap<usize, [AffinityAccumulator; 2]>,
}

impl AffinityMeter {
    pub(super) fn new(clip: ClipRange) -> Self {
        Self {
            clip,
            trained: AffinityAccumulator::new(clip),
            behavior: AffinityAccumulator::new(clip),
            trained_by_source: BTreeMap::new(),
            behavior_by_source: BTreeMap::new(),
            by_group: BTreeMap::new(),
        }
    }

    /// Adds a row with its log-probabilities under the training and the old distribution, and on the
    /// plain prompt where the training distribution conditions on another.
    pub(super) fn push(
        &mut self,
        row: &Row<'_>,
        logprobs: &[f64],
        old_logprobs: &[f64],
        plain_logprobs: Option<&[f64]>,
    ) -> Result<(), GrpoError> {
        let difference = |new: &[f64], old: &[f64]| {
            new.iter().zip(old).map(|(new, old)| new - old).collect::<Vec<_>>()
        };
        let clip = self.clip;
        let new = || AffinityAccumulator::new(clip);
        let trained = difference(logprobs, old_logprobs);
        push_row(&mut self.trained, row, trained.iter().copied())?;
        let by_source = self.trained_by_source.entry(row.source).or_insert_with(new);
        push_row(by_source, row, trained.iter().copied())?;
        let [of_group, behavior_of_group] =
            self.by_group.entry(row.group).or_insert_with(|| [new(), new()]);
        push_row(of_group, row, trained.into_iter())?;
        let plain = if row.prompt == row.plain_prompt { Some(logprobs) } else { plain_logprobs };
        let Some(plain) = plain else { return Ok(()) };
        let behavior = difference(plain, row.behavior_logprobs);
        push_row(behavior_of_group, row, behavior.iter().copied())?;
        if row.is_helped() {
            push_row(&mut self.behavior, row, behavior.iter().copied())?;
        }
        let by_source = self.behavior_by_source.entry(row.source).or_insert_with(new);
        push_row(by_source, row, behavior.into_iter())
    }

    /// Affinity of the ratio that trains, and against the distribution that drew the tokens, by the index
    /// of the group; `None` where no token was measured.
    pub(super) fn by_group(&self) -> impl Iterator<Item = (usize, [Option<Affinity>; 2])> {
        self.by_group.iter().map(|(&group, both)| {
            let measured = |one: &AffinityAccumulator| (one.tokens() > 0).then(|| one.affinity());
            (group, both.each_ref().map(measured))
        })
    }

    pub(super) fn report(&self, metrics: &mut Metrics) {
        let mut report = |names: [&str; 3], accumulator: &AffinityAccumulator| {
            if accumulator.tokens() > 0 {
                set(metrics, names, accumulator.affinity());
            }
        };
        let names = [metrics::AFFINITY_VALUE, metrics::AFFINITY_EUR, metrics::AFFINITY_UC];
        report(names, &self.trained);
        let names = [
            metrics::AFFINITY_BEHAVIOR_VALUE,
            metrics::AFFINITY_BEHAVIOR_EUR,
            metrics::AFFINITY_BEHAVIOR_UC,
        ];
        report(names, &self.behavior);
        for (prefix, by_source) in
            [("affinity", &self.trained_by_source), ("affinity/behavior", &self.behavior_by_source)]
        {
            for (source, accumulator) in by_source {
                let name = |what| format!("{prefix}/{}/{what}", source.name());
                let names = ["value", "eur", "uc"].map(name);
                report(names.each_ref().map(String::as_str), accumulator);
            }
        }
    }
}

fn set(metrics: &mut Metrics, names: [&str; 3], affinity: Affinity) {
    metrics.set(names[0], affinity.value());
    metrics.set(names[1], affinity.eur());
    metrics.set(names[2], affinity.uc());
}

fn push_row(
    accumulator: &mut AffinityAccumulator,
    row: &Row<'_>,
    log_ratios: impl Iterator<Item = f64>,
) -> Result<(), GrpoError> {
    for log_ratio in log_ratios {
        accumulator.push(log_ratio, row.advantage.abs())?;
    }
    Ok(())
}
