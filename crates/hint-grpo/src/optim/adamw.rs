//! Adam with decoupled weight decay.

use hint_policy::Parameter;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{GrpoError, Optimizer};

/// Hyper-parameters of [`AdamW`] other than the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first moment, `β₁`. In `[0, 1)`.
    pub beta1: f64,
    /// Decay of the second moment, `β₂`. In `[0, 1)`.
    pub beta2: f64,
    /// Added to the root of the second moment. Positive.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices, per unit of learning rate. Vectors (norms, biases) are
    /// not decayed.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// torch's defaults, without weight decay, as the HINT reference code.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// Adam with decoupled weight decay on `f32` (or `f64`) parameters, moments of the same kind. The
/// policy computes in another kind if it likes; its master weights stay `f32` (Deviation D7).
///
/// ```text
/// θ ← θ (1 − η λ)
/// m ← β₁ m + (1 − β₁) g,    v ← β₂ v + (1 − β₂) g²
/// θ ← θ − η / (1 − β₁ᵗ) · m / ( √v / √(1 − β₂ᵗ) + ε )                                (ADAMW-1)
/// ```
///
/// Source: (ADAMW-1) in `docs/math.md`, in the order of operations of `torch.optim.AdamW`.
#[derive(Debug)]
pub struct AdamW {
    parameters: Vec<Parameter>,
    moments: Vec<Moments>,
    steps: i64,
    config: AdamWConfig,
}

#[derive(Debug)]
struct Moments {
    first: Tensor,
    second: Tensor,
}

impl AdamW {
    /// An optimizer of `parameters`, with zero moments.
    pub fn new(parameters: Vec<Parameter>, config: AdamWConfig) -> Self {
        let moments = parameters
            .iter()
            .map(|parameter| {
                let zeros = || parameter.tensor.detach().zeros_like();
                Moments { first: zeros(), second: zeros() }
            })
            .collect();
        Self { parameters, moments, steps: 0, config }
    }

    fn update(&mut self, learning_rate: f64) -> Result<(), tch::TchError> {
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        let steps = self.steps as f64;
        let step_size = learning_rate / (1.0 - beta1.powf(steps));
        let second_correction = (1.0 - beta2.powf(steps)).sqrt();
        for (parameter, moments) in self.parameters.iter_mut().zip(&mut self.moments) {
            let gradient = parameter.tensor.grad();
            if !gradient.defined() {
                continue;
            }
            if weight_decay != 0.0 && parameter.tensor.dim() >= 2 {
                let _ = parameter.tensor.f_mul_scalar_(1.0 - learning_rate * weight_decay)?;
            }
            let _ = moments.first.f_lerp_(&gradient, 1.0 - beta1)?;
            let _ = moments
                .second
                .f_mul_scalar_(beta2)?
                .f_add_(&(gradient.f_square()? * (1.0 - beta2)))?;
            let denominator = (moments.second.f_sqrt()? / second_correction) + epsilon;
            let _ = parameter.tensor.f_sub_(&(&moments.first / denominator * step_size))?;
        }
        Ok(())
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        self.steps += 1;
        tch::no_grad(|| self.update(learning_rate))
            .map_err(|source| GrpoError::Torch { operation: "the AdamW update", source })
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = vec![("steps".to_owned(), Tensor::from_slice(&[self.steps]))];
        for (parameter, moments) in self.parameters.iter().zip(&self.moments) {
            state.push((format!("first.{}", parameter.name), moments.first.shallow_clone()));
            state.push((format!("second.{}", parameter.name), moments.second.shallow_clone()));
        }
        state
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        let find = |name: String, like: Option<&Tensor>| {
            let found = state.iter().find(|(candidate, _)| *candidate == name);
            let (_, tensor) = found.ok_or_else(|| {
                GrpoError::other("optimizer", format!("its saved state lacks `{name}`"))
            })?;
            match like {
                Some(like) if like.size() != tensor.size() => {
                    let (got, expected) = (tensor.size(), like.size());
                    let message =
                        format!("its saved `{name}` has shape {got:?}, expected {expected:?}");
                    Err(GrpoError::other("optimizer", message))
                }
                _ => Ok(tensor),
            }
        };
        self.steps = find("steps".to_owned(), None)?.to_kind(Kind::Int64).int64_value(&[0]);
        for (parameter, moments) in self.parameters.iter().zip(&mut self.moments) {
            moments
                .first
                .copy_(find(format!("first.{}", parameter.name), Some(&parameter.tensor))?);
            moments
                .second
                .copy_(find(format!("second.{}", parameter.name), Some(&parameter.tensor))?);
        }
        Ok(())
    }
}
