//! The measurements of an optimizer step, from the micro-batches of all processes.

use serde::{Deserialize, Serialize};

use super::Learner;
use super::fixed::FixedLogprobs;
use super::micro_batch::Measured;
use super::minibatch::Minibatch;
use super::packing::Packing;
use super::sample::{Context, Sample};
use super::sft::SftMeasured;
use crate::error::GrpoError;

/// The measurements of the micro-batches of one process, with their indices.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct OwnMeasured {
    /// The sum of the losses of the policy objective.
    pub(super) loss: f64,
    pub(super) policy: Vec<(usize, Measured)>,
    /// By part and micro-batch.
    pub(super) sft: Vec<(usize, usize, SftMeasured)>,
}

/// The measurements of all micro-batches of an optimizer step, in order.
pub(super) struct MeasuredStep {
    pub(super) policy: Vec<Measured>,
    pub(super) sft: Vec<Vec<SftMeasured>>,
}

impl MeasuredStep {
    pub(super) fn of(all: Vec<OwnMeasured>, parts: usize) -> Self {
        let (mut policy, mut sft) = (Vec::new(), Vec::new());
        for one in all {
            policy.extend(one.policy);
            sft.extend(one.sft);
        }
        policy.sort_by_key(|(index, _)| *index);
        sft.sort_by_key(|(part, index, _)| (*part, *index));
        let mut by_part = (0..parts).map(|_| Vec::new()).collect::<Vec<_>>();
        for (part, _, measured) in sft {
            by_part[part].push(measured);
        }
        let policy = policy.into_iter().map(|(_, measured)| measured).collect();
        Self { policy, sft: by_part }
    }
}

impl Learner {
    /// Keeps the denominators that `fixed` waits for, `measured` by the forward passes of a minibatch under the old
    /// policy. Scores those that a loss that is not finite left unmeasured, while the policy is still the old one.
    pub(super) fn keep_denominators(
        &self,
        fixed: &mut FixedLogprobs,
        samples: &[Sample],
        minibatch: &Minibatch,
        packing: &Packing,
        measured: &[Measured],
    ) -> Result<(), GrpoError> {
        for (positions, measured) in packing.batches.iter().zip(measured) {
            for (&position, logprobs) in positions.iter().zip(measured.logprobs()) {
                let index = minibatch.policy[position];
                let sample = &samples[index];
                let is_scored = sample.has_same_context() && !self.takes_engine_logprobs(sample);
                if is_scored && fixed.old.get(index).is_none() {
                    fixed.old.set(index, logprobs.iter().copied());
                }
            }
        }
        let together = std::mem::take(&mut fixed.scored_together);
        let is_missing = |index: &usize| fixed.old.get(*index).is_none();
        let missing = together.iter().copied().filter(is_missing).collect::<Vec<_>>();
        if !missing.is_empty() {
            // All of them once more, so that each is in the micro-batch in which it would have been.
            let scored = self.score(samples, &together, Context::Denominator, |_| true)?;
            for index in missing {
                fixed.old.set(index, scored.get(index).unwrap_or_default().iter().copied());
            }
        }
        Ok(())
    }
}
