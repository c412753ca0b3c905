//! From the groups of a step to the records of the rollout table.

use hint_rollout::data::Problems;
use hint_rollout::{RolloutError, RolloutGroup};

use crate::learner::UpdateReport;
use crate::rollout_table::{RolloutRecord, records};

/// The records of a step, and the samples that they became.
#[derive(Debug, Default)]
pub(super) struct Table {
    records: Vec<RolloutRecord>,
    /// The index of each rollout's sample, by group and rollout.
    samples: Vec<Vec<Option<usize>>>,
}

impl Table {
    /// The groups of step `step`, in collected form. The last ones may have no advantages, as they do not train.
    pub(super) fn new(
        step: u64,
        groups: &[&RolloutGroup],
        advantages: &[Vec<f64>],
        problems: &dyn Problems,
    ) -> Result<Self, RolloutError> {
        let records = records(step, groups, Some(advantages), problems)?;
        Ok(Self { records, samples: Vec::new() })
    }

    /// Sets the index of each rollout's sample, by group and rollout.
    pub(super) fn set_samples(&mut self, samples: Vec<Vec<Option<usize>>>) {
        self.samples = samples;
    }

    /// The records, with the measurements of the optimizer steps.
    pub(super) fn measured(self, update: &UpdateReport) -> Vec<RolloutRecord> {
        let Self { mut records, samples } = self;
        for record in &mut records {
            let stats = update.groups.get(&record.group).copied().unwrap_or_default();
            record.affinity = stats.affinity;
            record.behavior_affinity = stats.behavior_affinity;
            record.hinted_weight = stats.hinted_weight;
            let of_group = samples.get(record.group);
            let sample = of_group.and_then(|of_group| *of_group.get(record.completion)?);
            if let Some(ratio) = sample.and_then(|sample| update.logprobs.get(&sample)) {
                record.logprobs = Some(ratio.logprobs.clone());
                record.old_logprobs = Some(ratio.old_logprobs.clone());
                record.plain_logprobs.clone_from(&ratio.plain_logprobs);
                record.ref_logprobs.clone_from(&ratio.ref_logprobs);
                record.teacher_logprobs.clone_from(&ratio.teacher_logprobs);
                record.contrast_logprobs.clone_from(&ratio.contrast_logprobs);
            }
        }
        records
    }
}
