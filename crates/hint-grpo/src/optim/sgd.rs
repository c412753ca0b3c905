//! Stochastic gradient descent with momentum.

use hint_policy::Parameter;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::GrpoError;
use crate::optim::slot::Slot;
use crate::optim::{GroupedParameter, Optimizer, SavedState};

/// Hyper-parameters of [`Sgd`] other than the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Decay of the momentum, `μ`. In `[0, 1)`; 0 keeps no state.
    pub momentum: f64,
    /// Whether to look ahead along the momentum.
    pub nesterov: bool,
    /// Weight decay of matrices, added to the gradient as in torch.
    pub weight_decay: f64,
}

/// Stochastic gradient descent.
///
/// ```text
/// g ← g + λ θ,    b ← μ b + g
/// θ ← θ − η b,    or with Nesterov's momentum  θ ← θ − η (g + μ b)                     (SGD-1)
/// ```
///
/// Source: (SGD-1) in [the book](../../../book/math.html#optimizer), as `torch.optim.SGD` without dampening.
///
/// ```
/// use hint_grpo::Optimizer;
/// use hint_grpo::optim::{Sgd, SgdConfig};
/// use hint_policy::Parameter;
/// use tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let parameter = Parameter { name: "weight".to_owned(), tensor: weight.shallow_clone() };
/// let mut optimizer = Sgd::new(vec![parameter.into()], SgdConfig::default());
/// weight.square().sum(Kind::Float).backward();
/// optimizer.step(0.1)?; // The gradient is 2.
/// assert!((weight.double_value(&[0]) - 0.8).abs() < 1e-6);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug)]
pub struct Sgd {
    parameters: Vec<Parameter>,
    slots: Vec<(Slot, Option<Tensor>)>,
    config: SgdConfig,
}

impl Sgd {
    /// An optimizer of `parameters`, with no momentum yet.
    pub fn new(parameters: Vec<GroupedParameter>, config: SgdConfig) -> Self {
        let slots = parameters.iter().map(|grouped| {
            let slot = Slot::new(grouped, config.weight_decay);
            let momentum = (config.momentum != 0.0).then(|| slot.zeros(None));
            (slot, momentum)
        });
        let slots = slots.collect();
        let parameters = parameters.into_iter().map(|grouped| grouped.parameter).collect();
        Self { parameters, slots, config }
    }

    fn update(&mut self, learning_rate: f64) -> Result<(), tch::TchError> {
        for (slot, momentum) in &mut self.slots {
            let Some(mut gradient) = slot.gradient() else { continue };
            let mut weights = slot.weights();
            if slot.weight_decay != 0.0 {
                gradient = gradient.f_add(&weights.f_mul_scalar(slot.weight_decay)?)?;
            }
            let update = match momentum {
                Some(momentum) => {
                    let _ = momentum.f_mul_scalar_(self.config.momentum)?.f_add_(&gradient)?;
                    if self.config.nesterov {
                        gradient.f_add(&momentum.f_mul_scalar(self.config.momentum)?)?
                    } else {
                        momentum.shallow_clone()
                    }
                }
                None => gradient,
            };
            let _ = weights.f_sub_(&update.f_mul_scalar(learning_rate * slot.lr_multiplier)?)?;
            slot.publish();
        }
        Ok(())
    }
}

impl Optimizer for Sgd {
    fn name(&self) -> String {
        format!("Sgd with {:?}", self.config)
    }

    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        tch::no_grad(|| self.update(learning_rate))
            .map_err(|source| GrpoError::torch("the SGD update", source))
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for (slot, momentum) in &self.slots {
            slot.save(&mut state);
            if let Some(momentum) = momentum {
                state.push((format!("momentum.{}", slot.name), momentum.shallow_clone()));
            }
        }
        state
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        self.load_parts(&SavedState::of(state))
    }

    fn load_parts(&mut self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        for (slot, momentum) in &self.slots {
            slot.load(saved)?;
            if let Some(momentum) = momentum {
                saved.restore_whole(&format!("momentum.{}", slot.name), momentum)?;
            }
        }
        Ok(())
    }
}
