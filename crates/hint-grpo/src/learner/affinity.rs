//! Affinity as an instrument: of the samples of an optimizer step, by source and by group.

use std::collections::BTreeMap;

use hint_affinity::{Affinity, AffinityAccumulator, ClipRange};
use hint_rollout::sample::RolloutSource;

use super::sample::Sample;
use crate::error::GrpoError;
use crate::metrics::Metrics;

/// What the names of metrics begin with.
const TRAINED: &str = "affinity";
const BEHAVIOR: &str = "affinity/behavior";

/// Measures Affinity over the samples of one optimizer step: of the ratio that trains, and of
/// `π_θ(y|x)` against the distribution that drew the tokens. Each also by source and by group.
#[derive(Debug)]
pub(super) struct AffinityTracker {
    band: ClipRange,
    trained: AffinityAccumulator,
    /// Over hinted samples.
    behavior: AffinityAccumulator,
    trained_by_source: BTreeMap<RolloutSource, AffinityAccumulator>,
    behavior_by_source: BTreeMap<RolloutSource, AffinityAccumulator>,
    /// Of the ratio that trains, and against the distribution that drew the tokens.
    by_group: BTreeMap<usize, [AffinityAccumulator; 2]>,
}

impl AffinityTracker {
    pub(super) fn new(band: ClipRange) -> Self {
        Self {
            band,
            trained: AffinityAccumulator::new(band),
            behavior: AffinityAccumulator::new(band),
            trained_by_source: BTreeMap::new(),
            behavior_by_source: BTreeMap::new(),
            by_group: BTreeMap::new(),
        }
    }

    /// Adds a sample with its log-probabilities under the training and the old distribution, and on
    /// the plain prompt where the training distribution conditions on another.
    pub(super) fn observe(
        &mut self,
        sample: &Sample,
        logprobs: &[f64],
        old_logprobs: &[f64],
        plain_logprobs: Option<&[f64]>,
    ) -> Result<(), GrpoError> {
        let band = self.band;
        let new = || AffinityAccumulator::new(band);
        let difference = |new: &[f64], old: &[f64]| {
            let pairs = sample.trained(new).zip(sample.trained(old));
            pairs.map(|(new, old)| new - old).collect::<Vec<_>>()
        };
        let weight = sample.advantage.abs();
        let trained = difference(logprobs, old_logprobs);
        push(&mut self.trained, &trained, weight)?;
        push(self.trained_by_source.entry(sample.source).or_insert_with(new), &trained, weight)?;
        let [of_group, behavior_of_group] =
            self.by_group.entry(sample.group).or_insert_with(|| [new(), new()]);
        push(of_group, &trained, weight)?;
        let is_plain = sample.contexts.numerator == sample.contexts.plain;
        let Some(plain) = (if is_plain { Some(logprobs) } else { plain_logprobs }) else {
            return Ok(());
        };
        let behavior = difference(plain, &sample.behavior_logprobs);
        push(behavior_of_group, &behavior, weight)?;
        if sample.is_hinted() {
            push(&mut self.behavior, &behavior, weight)?;
        }
        push(self.behavior_by_source.entry(sample.source).or_insert_with(new), &behavior, weight)
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
        let mut report = |prefix: &str, accumulator: &AffinityAccumulator| {
            if accumulator.tokens() > 0 {
                let affinity = accumulator.affinity();
                metrics.set(format!("{prefix}/value"), affinity.value());
                metrics.set(format!("{prefix}/eur"), affinity.eur());
                metrics.set(format!("{prefix}/uc"), affinity.uc());
            }
        };
        report(TRAINED, &self.trained);
        report(BEHAVIOR, &self.behavior);
        for (prefix, by_source) in
            [(TRAINED, &self.trained_by_source), (BEHAVIOR, &self.behavior_by_source)]
        {
            for (source, accumulator) in by_source {
                report(&format!("{prefix}/{}", source.name()), accumulator);
            }
        }
    }
}

/// Adds the log-ratios of a sample with this advantage.
fn push(
    accumulator: &mut AffinityAccumulator,
    log_ratios: &[f64],
    weight: f64,
) -> Result<(), GrpoError> {
    log_ratios.iter().try_for_each(|log_ratio| Ok(accumulator.push(*log_ratio, weight)?))
}
