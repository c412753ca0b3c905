//! Intervals of a step's means, from the completions of its groups.

use std::collections::BTreeMap;

use hint_grpo::metrics;
use hint_grpo::rollout_table::{RolloutRecord, RolloutRole};
use hint_rollout::sample::RolloutSource;

use super::charts::{PASS_INTERVAL, REWARD_INTERVAL};
use super::run::Run;

/// The 97.5 % quantile of the normal distribution.
const QUANTILE: f64 = 1.96;

/// Sum and number of the completions of each group, by step.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    reward: BTreeMap<u64, BTreeMap<usize, (f64, f64)>>,
    pass: BTreeMap<u64, BTreeMap<usize, (f64, f64)>>,
}

impl Intervals {
    pub(super) fn add(&mut self, records: &[RolloutRecord]) {
        for record in records {
            let add = |to: &mut BTreeMap<u64, BTreeMap<usize, (f64, f64)>>, value: f64| {
                let group = to.entry(record.step).or_default().entry(record.group).or_default();
                *group = (group.0 + value, group.1 + 1.0);
            };
            if matches!(record.role, RolloutRole::Trained | RolloutRole::Masked) {
                add(&mut self.reward, record.reward);
            }
            // A completion that could not be judged counts nowhere.
            if record.source == RolloutSource::Plain && record.role != RolloutRole::Dropped {
                add(&mut self.pass, f64::from(record.verdict.is_correct()));
            }
        }
    }

    /// Adds the ends of the intervals to the columns of the run. A step has one where its completions in the
    /// table have the mean of its metric. Of groups that dynamic sampling left out, for one, it holds a few.
    pub(super) fn set(&self, run: &mut Run) {
        for (groups, metric, names, bounds) in [
            (&self.reward, metrics::REWARD, REWARD_INTERVAL, (f64::NEG_INFINITY, f64::INFINITY)),
            (&self.pass, metrics::ROLLOUT_PASS_RATE, PASS_INTERVAL, (0.0, 1.0)),
        ] {
            let mut ends = [BTreeMap::new(), BTreeMap::new()];
            for (&step, groups) in groups {
                // Groups that are all equal say nothing of how far others may lie.
                let interval = interval(groups.values().copied()).filter(|(_, half)| *half > 0.0);
                let Some((mean, half)) = interval else { continue };
                if run.at(metric, step).is_some_and(|metric| (metric - mean).abs() < 1e-6) {
                    ends[0].insert(step, (mean - half).max(bounds.0));
                    ends[1].insert(step, (mean + half).min(bounds.1));
                }
            }
            for (name, values) in names.into_iter().zip(ends).filter(|(_, ends)| !ends.is_empty()) {
                run.set(name, &values);
            }
        }
    }
}

/// Mean and half the width of its 95 % interval: groups are drawn, completions within them are not independent.
fn interval(groups: impl Iterator<Item = (f64, f64)> + Clone) -> Option<(f64, f64)> {
    let (sum, count) = groups.clone().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
    let clusters = groups.clone().count() as f64;
    if clusters < 2.0 {
        return None;
    }
    let mean = sum / count;
    let squares = groups.map(|(sum, count)| (sum - count * mean).powi(2)).sum::<f64>();
    let variance = squares / (count * count) * clusters / (clusters - 1.0);
    Some((mean, QUANTILE * variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_what_varies() {
        // Means 0, 1/2 and 1: sample deviation 1/2, standard error 1/(2√3).
        let (mean, half) = interval([(0.0, 4.0), (2.0, 4.0), (4.0, 4.0)].into_iter()).unwrap();
        assert_eq!(mean, 0.5);
        assert!((half - 1.96 * 0.5 / 3.0_f64.sqrt()).abs() < 1e-12, "{half}");
        assert_eq!(interval([(1.0, 4.0)].into_iter()), None);
    }
}
