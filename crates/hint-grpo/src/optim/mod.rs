//! From gradients to weights: optimizers, parameter groups, schedules, clipping and the guard.
//!
//! An [`Optimizer`] updates parameters from their gradients. The learning rate is an argument, so that a
//! schedule ([`ScheduleConfig`]) is a pure function of the step. [`group_parameters`] gives parameters other
//! settings by their names. [`clip_grad_norm`] bounds the gradient once per optimizer step. The guard
//! ([`GuardConfig`]) skips steps that would ruin a run. [`OptimizerConfig`] names all of it in a configuration.

use hint_policy::Parameter;
use hint_policy::runtime::{FastPath, fused};
use tch::{Kind, Tensor};

use crate::error::GrpoError;

mod adafactor;
mod adamw;
mod config;
mod flat;
mod groups;
mod guard;
mod muon;
mod schedule;
mod sgd;
mod slot;
mod state;

pub use adafactor::{Adafactor, AdafactorConfig};
pub use adamw::{AdamW, AdamWConfig};
pub use config::{AlgorithmConfig, OptimizerConfig};
pub use groups::{GroupedParameter, ParameterGroup, group_parameters};
pub(crate) use guard::Guard;
pub use guard::GuardConfig;
pub use muon::{Muon, MuonConfig, MuonScale};
pub use schedule::{Decay, ScheduleConfig};
pub use sgd::{Sgd, SgdConfig};

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
    /// optimizer keeps the default.
    fn state(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// Memory of the state once steps were taken, in bytes. By default that of [`Optimizer::state`], which may leave out
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

    fn state_bytes(&self) -> u64 {
        (**self).state_bytes()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        (**self).load_state(state)
    }
}

pub(crate) fn bytes(tensor: &Tensor) -> u64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
}

/// Scales all gradients so that their global L2 norm is at most `max_norm`, and returns the norm
/// before. A gradient whose norm is not finite is left unchanged.
///
/// Called once per optimizer step, on the sum of all micro-batches (Deviation D3).
///
/// # Panics
///
/// Where libtorch fails, as its other operations do.
pub fn clip_grad_norm(parameters: &[Parameter], max_norm: f64) -> f64 {
    let gradients = parameters
        .iter()
        .map(|parameter| parameter.tensor.grad())
        .filter(Tensor::defined)
        .collect::<Vec<_>>();
    tch::no_grad(|| {
        let at_once = fused_norm(&gradients);
        let norm = at_once.unwrap_or_else(|| exact_norm(&gradients));
        // The 1e-6 is that of `torch.nn.utils.clip_grad_norm_`.
        let scale = max_norm / (norm + 1e-6);
        if norm.is_finite() && scale < 1.0 {
            if at_once.is_some() {
                // No other way afterwards: a part may be scaled already.
                let all = gradients.iter().collect::<Vec<_>>();
                fused::scale(&all, scale).expect("it was tried");
            } else {
                for mut gradient in gradients {
                    gradient *= scale;
                }
            }
        }
        norm
    })
}

/// The norm of all gradients in f64, in which the squares of a large f32 gradient do not overflow. Read back at once: one
/// wait for the device.
fn exact_norm(gradients: &[Tensor]) -> f64 {
    if gradients.is_empty() {
        return 0.0;
    }
    let square = |gradient: &Tensor| gradient.to_kind(Kind::Double).square().sum(Kind::Double);
    let squares = gradients.iter().map(square).collect::<Vec<_>>();
    sum(&Tensor::stack(&squares, 0)).sqrt()
}

/// The norm of all gradients from that of each, which a GPU computes in one operation without copies. `None` where it has
/// no such operation, and where the squares in f32 overflow.
fn fused_norm(gradients: &[Tensor]) -> Option<f64> {
    let first = gradients.first()?;
    let alike =
        |gradient: &Tensor| gradient.kind() == Kind::Float && gradient.device() == first.device();
    if !gradients.iter().all(alike) || !FastPath::GradientNorm.is_taken(first.device()) {
        return None;
    }
    let norms = fused::norms(&gradients.iter().collect::<Vec<_>>()).ok()?;
    let norm = sum(&norms.to_kind(Kind::Double).square()).sqrt();
    norm.is_finite().then_some(norm)
}

/// The sum of a vector, added up on the host in order.
fn sum(values: &Tensor) -> f64 {
    Vec::<f64>::try_from(values).expect("a vector of f64").into_iter().sum()
}

/// Gives every parameter a gradient of zeros. Without one, a step in which nothing trains leaves out
/// the momentum of a fresh process. It would not leave out the momentum of a process that has trained
/// before. So a resumed run would diverge from an uninterrupted one.
pub(crate) fn materialize_gradients(parameters: &[Parameter]) -> Result<(), GrpoError> {
    for parameter in parameters {
        (parameter.tensor.sum(parameter.tensor.kind()) * 0.0)
            .f_backward()
            .map_err(|source| GrpoError::torch("the first backward pass", source))?;
        parameter.tensor.shallow_clone().zero_grad();
    }
    Ok(())
}
