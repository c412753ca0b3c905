//! Adafactor: second moments of matrices in factored form.

use hint_policy::Parameter;
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use crate::error::GrpoError;
use crate::optim::slot::Slot;
use crate::optim::{GroupedParameter, Optimizer, SavedState};

/// Hyper-parameters of [`Adafactor`] other than the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdafactorConfig {
    /// Exponent of the decay of the second moment, `1 − tᵖ`. Not positive.
    pub beta2_decay: f64,
    /// Least scale of a parameter, `ε₂`. Positive.
    pub epsilon: f64,
    /// Largest root mean square of an update before the step size, `d`. At least 1.
    pub clip_threshold: f64,
    /// Decoupled weight decay of matrices, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdafactorConfig {
    /// torch's defaults.
    fn default() -> Self {
        Self { beta2_decay: -0.8, epsilon: 1e-3, clip_threshold: 1.0, weight_decay: 0.0 }
    }
}

/// Adafactor, which keeps one number per row and per column of a matrix instead of two per element.
///
/// ```text
/// ρ = min(η, 1/√t),    α = max(ε₂, RMS(θ)) ρ,    θ ← θ (1 − η λ)
/// R ← lerp(R, mean_columns g², tᵖ),   C ← lerp(C, mean_rows g², tᵖ),   V = R C / max(mean R, ε₁)
/// U = g / √max(V, ε₁²),    θ ← θ − α U / max(1, RMS(U) / d)                           (ADAFACTOR-1)
/// ```
///
/// `ε₁` is the machine precision of the weights; the second moment of a vector is not factored. Source:
/// (ADAFACTOR-1) in [the book](../../../book/math.html#optimizer), as `torch.optim.Adafactor`.
///
/// ```
/// use hint_grpo::Optimizer;
/// use hint_grpo::optim::{Adafactor, AdafactorConfig};
/// use hint_policy::Parameter;
/// use tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let parameter = Parameter { name: "weight".to_owned(), tensor: weight.shallow_clone() };
/// let mut optimizer = Adafactor::new(vec![parameter.into()], AdafactorConfig::default());
/// weight.square().sum(Kind::Float).backward();
/// optimizer.step(0.1)?;
/// assert!((weight.double_value(&[0]) - 0.9).abs() < 1e-4);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug)]
pub struct Adafactor {
    parameters: Vec<Parameter>,
    slots: Vec<(Slot, Moments)>,
    steps: i64,
    config: AdafactorConfig,
}

#[derive(Debug)]
enum Moments {
    Vector(Tensor),
    Matrix { row: Tensor, column: Tensor },
}

impl Moments {
    fn new(slot: &Slot) -> Self {
        let dims = slot.tensor.dim();
        if dims < 2 {
            return Self::Vector(slot.zeros(None));
        }
        Self::Matrix { row: slot.zeros(Some(dims - 1)), column: slot.zeros(Some(dims - 2)) }
    }

    fn named(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Self::Vector(variance) => vec![("variance", variance)],
            Self::Matrix { row, column } => vec![("row", row), ("column", column)],
        }
    }

    /// Takes the squares of `gradient` in, and returns the second moment of each element.
    fn update(&mut self, gradient: &Tensor, weight: f64, floor: f64) -> Result<Tensor, TchError> {
        let squares = gradient.f_square()?;
        match self {
            Self::Vector(variance) => {
                let _ = variance.f_lerp_(&squares, weight)?;
                variance.f_clamp_min(floor * floor)
            }
            Self::Matrix { row, column } => {
                let mean = |dim: i64| squares.f_mean_dim([dim].as_slice(), true, None::<Kind>);
                let _ = row.f_lerp_(&mean(-1)?, weight)?;
                let _ = column.f_lerp_(&mean(-2)?, weight)?;
                let scale = row.f_mean_dim([-2_i64].as_slice(), true, None::<Kind>)?;
                let estimate = row.f_matmul(column)?.f_div(&scale.f_clamp_min(floor)?)?;
                estimate.f_clamp_min(floor * floor)
            }
        }
    }
}

impl Adafactor {
    /// An optimizer of `parameters`, with zero moments.
    pub fn new(parameters: Vec<GroupedParameter>, config: AdafactorConfig) -> Self {
        let slots = parameters.iter().map(|grouped| {
            let slot = Slot::new(grouped, config.weight_decay);
            let moments = Moments::new(&slot);
            (slot, moments)
        });
        let slots = slots.collect();
        let parameters = parameters.into_iter().map(|grouped| grouped.parameter).collect();
        Self { parameters, slots, steps: 0, config }
    }

    fn update(&mut self, learning_rate: f64) -> Result<(), TchError> {
        let steps = self.steps as f64;
        for (slot, moments) in &mut self.slots {
            let Some(gradient) = slot.gradient() else { continue };
            let learning_rate = learning_rate * slot.lr_multiplier;
            let mut weights = slot.weights();
            // Both factors stay on the device, which the host would wait for.
            let scale = root_mean_square(&weights)?.f_clamp_min(self.config.epsilon)?;
            let step_size = scale.f_mul_scalar(learning_rate.min(1.0 / steps.sqrt()))?;
            if slot.weight_decay != 0.0 {
                let _ = weights.f_mul_scalar_(1.0 - learning_rate * slot.weight_decay)?;
            }
            let floor =
                if weights.kind() == Kind::Double { f64::EPSILON } else { f64::from(f32::EPSILON) };
            let weight = steps.powf(self.config.beta2_decay);
            let second = moments.update(&gradient, weight, floor)?;
            let update = second.f_rsqrt()?.f_mul(&gradient)?;
            let excess = root_mean_square(&update)?.f_div_scalar(self.config.clip_threshold)?;
            let factor = step_size.f_div(&excess.f_clamp_min(1.0)?)?;
            let _ = weights.f_sub_(&update.f_mul(&factor)?)?;
            slot.publish();
        }
        Ok(())
    }
}

/// In `f64`, without dimensions.
fn root_mean_square(tensor: &Tensor) -> Result<Tensor, TchError> {
    tensor.f_square()?.f_mean(Kind::Double)?.f_sqrt()
}

impl Optimizer for Adafactor {
    fn name(&self) -> String {
        format!("Adafactor with {:?}", self.config)
    }

    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        self.steps += 1;
        tch::no_grad(|| self.update(learning_rate))
            .map_err(|source| GrpoError::torch("the Adafactor update", source))
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = vec![("steps".to_owned(), Tensor::from_slice(&[self.steps]))];
        for (slot, moments) in &self.slots {
            slot.save(&mut state);
            for (prefix, tensor) in moments.named() {
                state.push((format!("{prefix}.{}", slot.name), tensor.shallow_clone()));
            }
        }
        state
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        self.load_parts(&SavedState::of(state))
    }

    fn load_parts(&mut self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        self.steps = saved.steps()?;
        for (slot, moments) in &self.slots {
            slot.load(saved)?;
            for (prefix, tensor) in moments.named() {
                saved.restore_whole(&format!("{prefix}.{}", slot.name), tensor)?;
            }
        }
        Ok(())
    }
}
