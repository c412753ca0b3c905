//! The state before a batch, for a batch that fails after its first optimizer step.

use hint_policy::Parameter;
use serde_json::Value;
use tch::{Device, Tensor};

use super::Learner;
use crate::error::GrpoError;
use crate::optim::{SavedState, bytes};

/// Keeps what is needed to take a failed batch back.
pub(super) struct Undo {
    /// Whether a batch may have to be taken back.
    is_on: bool,
    /// Most bytes of a copy.
    limit: u64,
    /// The guard before the batch, which counts norms before weights change.
    guard: Value,
    copy: Option<Before>,
}

impl Undo {
    pub(super) const fn new(limit_mib: u64) -> Self {
        let limit = limit_mib.saturating_mul(1 << 20);
        Self { is_on: false, limit, guard: Value::Null, copy: None }
    }

    /// Begins a batch.
    pub(super) fn begin(&mut self, guard: Value) {
        self.guard = guard;
        self.copy = None;
    }
}

/// A copy of everything that optimizer steps change, on the host.
struct Before {
    weights: Vec<(String, Tensor)>,
    /// As [`Learner::state_tensors`] has it.
    state: Vec<(String, Tensor)>,
    updates: u64,
}

impl Learner {
    /// Whether the batches to come keep what [`Learner::undo`] needs.
    pub(crate) const fn keep_undo(&mut self, keep: bool) {
        self.undo.is_on = keep;
    }

    /// Copies the state before the first of several optimizer steps. It does nothing if the copy is too large, or if other
    /// processes hold a part of the state.
    pub(super) fn remember(&mut self) {
        let many = self.num_iterations * self.num_minibatches > 1;
        if !many || !self.undo.is_on || self.undo.copy.is_some() || self.needs_others() {
            return;
        }
        let weights = self.weights();
        let size = weights.iter().map(|(_, tensor)| bytes(tensor)).sum::<u64>();
        let average = self.average();
        let average = average.iter().map(|(_, tensor)| bytes(tensor)).sum::<u64>();
        if size + average + self.optimizer.state_bytes() > self.undo.limit {
            return;
        }
        let copied = |tensors: Vec<(String, Tensor)>| {
            let tensors = tensors.into_iter();
            // A copy even where it is on the host already.
            let copy = |tensor: Tensor| tensor.detach().to_device(Device::Cpu).copy();
            tensors.map(|(name, tensor)| (name, copy(tensor))).collect()
        };
        self.undo.copy = Some(Before {
            weights: copied(weights),
            state: copied(self.state_tensors()),
            updates: self.updates,
        });
    }

    /// Drops the copy after a step that did not fail.
    pub(crate) fn forget(&mut self) {
        self.undo.copy = None;
    }

    /// Takes the optimizer steps of a failed batch back. Whether the state is now that before the batch.
    pub(crate) fn undo(&mut self) -> Result<bool, GrpoError> {
        let Some(Before { weights, state, updates }) = self.undo.copy.take() else {
            return Ok(false);
        };
        let guard = std::mem::take(&mut self.undo.guard);
        tch::no_grad(|| {
            for ((_, mut tensor), (_, before)) in self.weights().into_iter().zip(&weights) {
                tensor.copy_(before);
            }
            self.load_state(updates, &SavedState::of(&state), &guard)
        })?;
        self.policy.lock().parameters_changed();
        self.is_stepping = false;
        Ok(true)
    }

    fn weights(&self) -> Vec<(String, Tensor)> {
        let pair = |Parameter { name, tensor }| (name, tensor);
        self.policy.lock().parameters().into_iter().map(pair).collect()
    }
}
