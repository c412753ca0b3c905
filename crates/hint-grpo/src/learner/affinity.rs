//! Affinity as an instrument: of the samples of an optimizer step, by source and by group.

use std::collections::BTreeMap;

use hint_affinity::{Affinity, AffinityAccumulator, ClipRange};
use hint_rollout::sample::RolloutSource;

use super::sample::Sample;
use crate::error::GrpoError;
use crate::metrics::{self, Metrics};

/// Measures Affinity over the samples of one optimizer step. One is of the ratio that trains, one
/// of `π_θ(y|x)` against the distribution that drew the tokens. Each also by source and by group.
#[derive(Debug)]
pub(super) struct AffinityTracker {
    band: ClipRange,
    trained: AffinityAccumulator,
    /// Over hinted samples.
    behavior: AffinityAccumulator,
    trained_by_source: BTreeMap<RolloutSource, AffinityAccumulator>,
    behavior_by_source: BTreeMap<RolloutSource, AffinityAccumulator>,
    /// Of the hint that teaches plain samples against the policy without it.
    teacher: AffinityAccumulator,
    /// The mean of that log-ratio, as a sum.
    teacher_delta: f64,
    /// Of the ratio that trains, and against the distribution that drew the tokens.
    by_group: BTreeMap<usize, [AffinityAccumulator; 2]>,
}

impl AffinityTracker {
    pub(super) fn new(band: ClipRange) -> Self {
        Self {
            band,
            trained: AffinityAccumulator::new(band),
            behavior: AffinityAccumulator::new(band),
            teacher: AffinityAccumulator::new(band),
            teacher_delta: 0.0,
            trained_by_source: BTreeMap::new(),
            behavior_by_source: BTreeMap::new(),
            by_group: BTreeMap::new(),
        }
    }

    /// Adds a sample with its log-probabilities under the training and the old distribution. Also
    /// on the plain prompt, where the training distribution conditions on another.
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

    /// Adds a taught sample, with its log-probabilities under the teacher and under the distribution that it is
    /// compared with. All its tokens have the same weight: the hint fits or it does not, for any reward of the
    /// completion.
    pub(super) fn observe_teacher(
        &mut self,
        sample: &Sample,
        teacher: &[f64],
        compared: &[f64],
    ) -> Result<(), GrpoError> {
        let pairs = sample.trained(teacher).zip(sample.trained(compared));
        for delta in pairs.map(|(teacher, compared)| teacher - compared) {
            self.teacher.push(delta, 1.0)?;
            self.teacher_delta += delta;
        }
        Ok(())
    }

    /// Affinity of the ratio that trains, and against the distribution that drew the tokens, by the index
    /// of the group. `None` where no token was measured.
    pub(super) fn by_group(&self) -> impl Iterator<Item = (usize, [Option<Affinity>; 2])> {
        self.by_group.iter().map(|(&group, both)| {
            let measured = |one: &AffinityAccumulator| (one.tokens() > 0).then(|| one.affinity());
            (group, both.each_ref().map(measured))
        })
    }

    pub(super) fn report(&self, metrics: &mut Metrics) {
        let mut report = |names: [&str; 3], source: &str, accumulator: &AffinityAccumulator| {
            if accumulator.tokens() > 0 {
                let affinity = accumulator.affinity();
                let values = [affinity.value(), affinity.eur(), affinity.uc()];
                for (name, value) in names.into_iter().zip(values) {
                    metrics.set(metrics::member(name, source), value);
                }
            }
        };
        report(TRAINED, "", &self.trained);
        report(BEHAVIOR, "", &self.behavior);
        report(TEACHER, "", &self.teacher);
        for (names, by_source) in [
            (TRAINED_BY_SOURCE, &self.trained_by_source),
            (BEHAVIOR_BY_SOURCE, &self.behavior_by_source),
        ] {
            for (source, accumulator) in by_source {
                report(names, source.name(), accumulator);
            }
        }
        if self.teacher.tokens() > 0 {
            metrics.add(metrics::TEACHER_DELTA, self.teacher_delta, self.teacher.tokens() as f64);
        }
    }
}

/// The names of Affinity, EUR and UC.
const TRAINED: [&str; 3] = [metrics::AFFINITY_VALUE, metrics::AFFINITY_EUR, metrics::AFFINITY_UC];
const BEHAVIOR: [&str; 3] = [
    metrics::AFFINITY_BEHAVIOR_VALUE,
    metrics::AFFINITY_BEHAVIOR_EUR,
    metrics::AFFINITY_BEHAVIOR_UC,
];
const TRAINED_BY_SOURCE: [&str; 3] =
    [metrics::AFFINITY_SOURCE_VALUE, metrics::AFFINITY_SOURCE_EUR, metrics::AFFINITY_SOURCE_UC];
const BEHAVIOR_BY_SOURCE: [&str; 3] = [
    metrics::AFFINITY_BEHAVIOR_SOURCE_VALUE,
    metrics::AFFINITY_BEHAVIOR_SOURCE_EUR,
    metrics::AFFINITY_BEHAVIOR_SOURCE_UC,
];

const TEACHER: [&str; 3] =
    [metrics::AFFINITY_TEACHER_VALUE, metrics::AFFINITY_TEACHER_EUR, metrics::AFFINITY_TEACHER_UC];

/// Adds the log-ratios of a sample with this advantage.
fn push(
    accumulator: &mut AffinityAccumulator,
    log_ratios: &[f64],
    weight: f64,
) -> Result<(), GrpoError> {
    log_ratios.iter().try_for_each(|log_ratio| Ok(accumulator.push(*log_ratio, weight)?))
}
