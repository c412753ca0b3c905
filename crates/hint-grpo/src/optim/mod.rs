//! From gradients to weights: optimizers, parameter groups, schedules, clipping and the guard.
//!
//! An [`Optimizer`] updates parameters from their gradients. The learning rate is an argument, so that a
//! schedule ([`ScheduleConfig`]) is a pure function of the step. [`group_parameters`] gives parameters other
//! settings by their names. [`clip_grad_norm`] bounds the gradient once per optimizer step. The guard
//! ([`GuardConfig`]) skips steps that would ruin a run. [`OptimizerConfig`] names all of it in a configuration.

use hint_policy::Parameter;
use tch::Tensor;

use crate::error::GrpoError;

mod adafactor;
mod adamw;
mod config;
mod flat;
mod gradient_memory;
mod groups;
mod guard;
mod muon;
mod norm;
mod saved;
mod schedule;
mod sgd;
mod shard;
mod slot;
mod state_file;

pub use adafactor::{Adafactor, AdafactorConfig};
pub use adamw::{AdamW, AdamWConfig};
pub use config::{AlgorithmConfig, OptimizerConfig};
pub use gradient_memory::GradientMemory;
pub use groups::{GroupedParameter, ParameterGroup, group_parameters};
pub(crate) use guard::Guard;
pub use guard::GuardConfig;
pub use muon::{Muon, MuonConfig, MuonScale};
pub use norm::clip_grad_norm;
pub(crate) use norm::{clip_factor, norm_of};
pub use saved::SavedState;
pub use schedule::{Decay, ScheduleConfig};
pub use sgd::{Sgd, SgdConfig};
pub use shard::{BufferMember, FlatBuffer, Shard, StatePart};
pub(crate) use shard::{Slices, len, part, squares_of_units};
#[cfg(test)]
pub(crate) use state_file::write_parts;
pub(crate) use state_file::write_state;

/// Updates parameters from their gradients.
///
/// An optimizer is built from the parameters before the policy is handed to the trainer. Tensors
/// are shallow handles, so it shares their storage. The learning rate is an argument. So a schedule
/// is a pure function of the step, and nothing must be kept in sync.
///
/// ```
/// use hint_grpo::{GrpoError, Optimizer};
/// use hint_policy::Parameter;
/// use tch::Tensor;
///
/// /// Steps of equal size in every coordinate.
/// struct SignDescent {
///     parameters: Vec<Parameter>,
/// }
///
/// impl Optimizer for SignDescent {
///     fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
///         tch::no_grad(|| {
///             for parameter in &mut self.parameters {
///                 let gradient = parameter.tensor.grad();
///                 if gradient.defined() {
///                     parameter.tensor -= gradient.sign() * learning_rate;
///                 }
///             }
///         });
///         Ok(())
///     }
///
///     fn parameters(&self) -> &[Parameter] {
///         &self.parameters
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no optimizer",
    note = "implement its methods `step` and `parameters`; `hint_grpo::optim` holds known ones"
)]
pub trait Optimizer: Send {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of
    /// its type: a part with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Applies one update with the gradients accumulated since [`Optimizer::zero_grad`]. A
    /// parameter without a gradient keeps its value.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Torch`], or a user's own error through [`GrpoError::other`].
    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError>;

    /// The parameters that are updated.
    fn parameters(&self) -> &[Parameter];

    /// Clears the gradients.
    fn zero_grad(&mut self) {
        for parameter in self.parameters() {
            parameter.tensor.shallow_clone().zero_grad();
        }
    }

    /// The complete state that a resumed run needs to continue bit for bit, by name. A stateless
    /// optimizer keeps the default. A [sharded](Optimizer::shard) one returns the tensors that it holds whole.
    fn state(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// Keeps the state of a part of the weights alone, that of one process among several. The learner calls it once,
    /// before the first step, in a run that processes or virtual workers share. An optimizer of which other processes hold a part
    /// cannot be cut in another way after a step.
    ///
    /// From then on [`Optimizer::step`] updates the own ranges of the buffers alone, from [`FlatBuffer::gradient`]. The
    /// learner makes room for the gradients of the parameters, and exchanges the new weights. The smaller the buffers are, the
    /// less of the gradient is there at a time. `None`, as by default, means that every process updates all weights and keeps
    /// all of the state and of the gradient.
    fn shard(&mut self, shard: Shard) -> Option<Vec<FlatBuffer>> {
        let _ = shard;
        None
    }

    /// The part of the state that this process holds: a [`StatePart`] for each tensor, in the same order in every process.
    /// The parts of all processes make up [`Optimizer::state`], which is the default.
    fn state_parts(&self) -> Vec<StatePart> {
        let parts = self.state().into_iter();
        parts.map(|(name, tensor)| StatePart::whole(name, &tensor)).collect()
    }

    /// Memory of the state once steps were taken, in bytes, as this process holds it. By default that of [`Optimizer::state`], which may leave out
    /// what is zero before the first step.
    fn state_bytes(&self) -> u64 {
        self.state().iter().map(|(_, tensor)| bytes(tensor)).sum()
    }

    /// Restores a value of [`Optimizer::state`].
    ///
    /// # Errors
    ///
    /// An error when a tensor is missing or has another shape.
    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        let _ = state;
        Ok(())
    }

    /// As [`Optimizer::load_state`], tensor by tensor: the counterpart of [`Optimizer::state_parts`]. So a process need not
    /// have more of a checkpoint in memory than it keeps. By default it reads everything for [`Optimizer::load_state`].
    ///
    /// # Errors
    ///
    /// As there; also errors of reading and of other processes.
    fn load_parts(&mut self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        let read = |name: &str| Ok((name.to_owned(), saved.tensor(name)?));
        let state = saved.names().into_iter().map(read).collect::<Result<Vec<_>, GrpoError>>()?;
        self.load_state(&state)
    }
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        (**self).step(learning_rate)
    }

    fn parameters(&self) -> &[Parameter] {
        (**self).parameters()
    }

    fn zero_grad(&mut self) {
        (**self).zero_grad();
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        (**self).state()
    }

    fn shard(&mut self, shard: Shard) -> Option<Vec<FlatBuffer>> {
        (**self).shard(shard)
    }

    fn state_parts(&self) -> Vec<StatePart> {
        (**self).state_parts()
    }

    fn state_bytes(&self) -> u64 {
        (**self).state_bytes()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        (**self).load_state(state)
    }

    fn load_parts(&mut self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        (**self).load_parts(saved)
    }
}

pub(crate) fn bytes(tensor: &Tensor) -> u64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
}

/// Gives every parameter a gradient of zeros. Without one, a step in which nothing trains leaves out
/// the momentum of a fresh process. It would not leave out the momentum of a process that has trained
/// before. So a resumed run would diverge from an uninterrupted one.
pub(crate) fn materialize_gradients(parameters: &[Parameter]) -> Result<(), GrpoError> {
    for parameter in parameters {
        let gradient = parameter.tensor.grad();
        if gradient.defined() && gradient.size() != parameter.tensor.size() {
            // Of an optimizer to which somebody else was to lend the room.
            parameter.tensor.grad().set_data(&parameter.tensor.detach().zeros_like());
        }
        (parameter.tensor.sum(parameter.tensor.kind()) * 0.0)
            .f_backward()
            .map_err(|source| GrpoError::torch("the first backward pass", source))?;
        parameter.tensor.shallow_clone().zero_grad();
    }
    Ok(())
}
