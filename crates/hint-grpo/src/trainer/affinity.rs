//! Affinity of the rows of a step: the weight of hinted groups, and the instrument.

use std::collections::BTreeMap;

use hint_affinity::{Affinity, AffinityAccumulator, ClipRange};

use crate::batch::Row;
use crate::{GrpoError, Metrics, metrics};

/// Affinity weights of the hinted groups, by group index. (AFF-3) (Deviation D8)
pub(super) fn group_weights(
    rows: &[Row<'_>],
    log_ratios: &[Vec<f64>],
    clip: ClipRange,
    exponent: f64,
) -> Result<BTreeMap<usize, f64>, GrpoError> {
    let mut groups = BTreeMap::new();
    for (row, log_ratios) in rows.iter().zip(log_ratios).filter(|(row, _)| row.hinted) {
        let accumulator = groups.entry(row.group).or_insert_with(|| AffinityAccumulator::new(clip));
        push_row(accumulator, row, log_ratios.iter().copied())?;
    }
    Ok(groups
        .into_iter()
        .map(|(group, accumulator)| (group, accumulator.affinity().weight(exponent)))
        .collect())
}

/// Measures Affinity over the rows of one update.
#[derive(Debug)]
pub(super) struct AffinityMeter {
    trained: AffinityAccumulator,
    behavior: AffinityAccumulator,
}

impl AffinityMeter {
    pub(super) fn new(clip: ClipRange) -> Self {
        let accumulator = || AffinityAccumulator::new(clip);
        Self { trained: accumulator(), behavior: accumulator() }
    }

    /// Adds a row with its log-probabilities under the training and the old distribution.
    pub(super) fn push(
        &mut self,
        row: &Row<'_>,
        logprobs: &[f64],
        old_logprobs: &[f64],
    ) -> Result<(), GrpoError> {
        let difference = |from: &[f64]| {
            logprobs.iter().zip(from).map(|(new, old)| new - old).collect::<Vec<_>>()
        };
        push_row(&mut self.trained, row, difference(old_logprobs).into_iter())?;
        if row.hinted {
            push_row(&mut self.behavior, row, difference(row.behavior_logprobs).into_iter())?;
        }
        Ok(())
    }

    pub(super) fn report(&self, metrics: &mut Metrics) {
        let mut report = |names: [&str; 3], affinity: Affinity| {
            metrics.set(names[0], affinity.value());
            metrics.set(names[1], affinity.eur());
            metrics.set(names[2], affinity.uc());
        };
        if self.trained.tokens() > 0 {
            let names = [metrics::AFFINITY_VALUE, metrics::AFFINITY_EUR, metrics::AFFINITY_UC];
            report(names, self.trained.affinity());
        }
        if self.behavior.tokens() > 0 {
            let names = [
                metrics::AFFINITY_BEHAVIOR_VALUE,
                metrics::AFFINITY_BEHAVIOR_EUR,
                metrics::AFFINITY_BEHAVIOR_UC,
            ];
            report(names, self.behavior.affinity());
        }
    }
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
