//! A parameter with its master weights.

use tch::{Kind, Tensor};

use crate::error::GrpoError;
use crate::optim::{GroupedParameter, SavedState};

/// A parameter that is updated on its own, in `f32` (or `f64`) for any kind of the policy.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) tensor: Tensor,
    /// The weights in full precision, when the policy's are not.
    master: Option<Tensor>,
    pub(super) lr_multiplier: f64,
    pub(super) weight_decay: f64,
}

impl Slot {
    pub(super) fn new(grouped: &GroupedParameter, weight_decay: f64) -> Self {
        let tensor = grouped.parameter.tensor.shallow_clone();
        Self {
            name: grouped.parameter.name.clone(),
            master: needs_master(tensor.kind()).then(|| tensor.detach().to_kind(Kind::Float)),
            tensor,
            lr_multiplier: grouped.lr_multiplier,
            weight_decay: grouped.decay(weight_decay),
        }
    }

    /// Takes the weights in full precision from the policy again.
    pub(super) fn refresh(&mut self) {
        if self.master.is_some() {
            self.master = Some(self.tensor.detach().to_kind(Kind::Float));
        }
    }

    /// Leaves the weights in full precision to another process.
    pub(super) fn release(&mut self) {
        self.master = None;
    }

    /// Whether its weights are too coarse to be updated.
    pub(super) fn needs_master(&self) -> bool {
        needs_master(self.tensor.kind())
    }

    /// The full-precision weights.
    pub(super) fn weights(&self) -> Tensor {
        self.master.as_ref().unwrap_or(&self.tensor).shallow_clone()
    }

    /// The gradient in the kind of the full-precision weights, if there is one.
    pub(super) fn gradient(&self) -> Option<Tensor> {
        let gradient = self.tensor.grad();
        gradient.defined().then(|| gradient.to_kind(self.weights().kind()))
    }

    /// Writes the full-precision weights back to the policy.
    pub(super) fn publish(&mut self) {
        if let Some(master) = &self.master {
            self.tensor.copy_(master);
        }
    }

    /// Zeros of the shape of the weights, with the dimension `one` of length 1 if given.
    pub(super) fn zeros(&self, one: Option<usize>) -> Tensor {
        let weights = self.weights();
        let mut size = weights.size();
        if let Some(one) = one {
            size[one] = 1;
        }
        Tensor::zeros(size, (weights.kind(), weights.device()))
    }

    pub(super) fn save(&self, state: &mut Vec<(String, Tensor)>) {
        if let Some(master) = &self.master {
            state.push((format!("master.{}", self.name), master.shallow_clone()));
        }
    }

    pub(super) fn load(&self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        match &self.master {
            Some(master) => saved.restore_whole(&format!("master.{}", self.name), master),
            None => Ok(()),
        }
    }
}

/// Whether weights of `kind` are too coarse to be updated. At a learning rate of 1e-6 most updates of
/// a bf16 weight round to nothing (Deviation D7).
pub(super) fn needs_master(kind: Kind) -> bool {
    !matches!(kind, Kind::Float | Kind::Double)
}
