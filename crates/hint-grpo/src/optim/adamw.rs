//! Adam with decoupled weight decay.

use hint_policy::Parameter;
use hint_policy::runtime::FastPath;
use hint_policy::runtime::fused::{self, AdamWStep, adamw_on_cpu, has_adamw_on_cpu};
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use crate::error::GrpoError;
use crate::optim::flat::{Bucket, Chunk, Gradients, Scratch};
use crate::optim::shard::{FlatBuffer, Shard, StatePart, buffer_len, take_gradient};
use crate::optim::{GroupedParameter, Optimizer, SavedState};

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

/// Adam with decoupled weight decay, over flat buffers.
///
/// Weights and moments are updated in `f32` (or `f64`). A policy that holds `f32` weights shares the
/// buffer. One that holds coarser weights gets rounded copies of `f32` master weights (Deviation D7).
///
/// ```text
/// θ ← θ (1 − η λ)
/// m ← β₁ m + (1 − β₁) g,    v ← β₂ v + (1 − β₂) g²
/// θ ← θ − η / (1 − β₁ᵗ) · m / ( √v / √(1 − β₂ᵗ) + ε )                                (ADAMW-1)
/// ```
///
/// On a CPU one kernel does this in one pass over the buffers, in `f32`. On a GPU libtorch's fused step does, if
/// [`FastPath::AdamW`] is taken.
///
/// Source: (ADAMW-1) in [the book](../../../book/math.html#optimizer), in the order of operations of `torch.optim.AdamW`.
///
/// The parameters become views of the buffers. So build the optimizer before other code keeps views
/// of their storage. A learner of several workers [shares](Optimizer::shard) it, and moves the weights to other buffers. So build that
/// one before as well. Drop an optimizer before building another one of the same parameters.
///
/// ```
/// use hint_grpo::Optimizer;
/// use hint_grpo::optim::{AdamW, AdamWConfig};
/// use hint_policy::Parameter;
/// use tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let parameter = Parameter { name: "weight".to_owned(), tensor: weight.shallow_clone() };
/// let mut optimizer = AdamW::new(vec![parameter], AdamWConfig::default());
/// weight.square().sum(Kind::Float).backward();
/// optimizer.step(0.1)?; // The first step is as long as the learning rate.
/// assert!((weight.double_value(&[0]) - 0.9).abs() < 1e-4);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug)]
pub struct AdamW {
    parameters: Vec<Parameter>,
    buckets: Vec<Bucket>,
    steps: i64,
    config: AdamWConfig,
    /// This process, if the learner puts the gradient of all processes into the buffers.
    shard: Option<Shard>,
}

impl AdamW {
    /// An optimizer of `parameters`, with zero moments.
    pub fn new(parameters: Vec<Parameter>, config: AdamWConfig) -> Self {
        Self::grouped(parameters.into_iter().map(GroupedParameter::from).collect(), config)
    }

    /// An optimizer of parameters with settings of their groups, with zero moments.
    pub fn grouped(parameters: Vec<GroupedParameter>, config: AdamWConfig) -> Self {
        Self::of_shard(parameters, config, Shard::WHOLE)
    }

    /// As [`AdamW::grouped`], with the state of one of several processes.
    pub(super) fn of_shard(
        parameters: Vec<GroupedParameter>,
        config: AdamWConfig,
        shard: Shard,
    ) -> Self {
        let shard = (shard.world_size > 1).then_some(shard);
        let buckets = lay_out(&parameters, &config, shard);
        let parameters = parameters.into_iter().map(|grouped| grouped.parameter).collect();
        Self { parameters, buckets, steps: 0, config, shard }
    }

    fn update(&mut self, learning_rate: f64) -> Result<(), TchError> {
        let (steps, config) = (self.steps as f64, &self.config);
        for bucket in &mut self.buckets {
            if self.shard.is_none() {
                bucket.layout.gather_gradients();
                update_bucket(bucket, steps, learning_rate, config)?;
                continue;
            }
            let borrowed = bucket.borrow_range();
            let updated =
                borrowed.and_then(|()| update_bucket(bucket, steps, learning_rate, config));
            // After an error as well, so that the learner can free the memory.
            bucket.return_range();
            updated?;
        }
        Ok(())
    }
}

/// (ADAMW-1) on a bucket that has its gradient, in place.
fn update_bucket(
    bucket: &mut Bucket,
    steps: f64,
    learning_rate: f64,
    config: &AdamWConfig,
) -> Result<(), TchError> {
    let learning_rate = learning_rate * bucket.layout.lr_multiplier;
    let AdamWConfig { beta1, beta2, epsilon, .. } = *config;
    let weight_decay = bucket.layout.weight_decay;
    let step = AdamWStep { learning_rate, beta1, beta2, weight_decay, epsilon };
    if FastPath::AdamW.is_taken(bucket.layout.device()) {
        return update_fused(bucket, steps, &step);
    }
    let whole = bucket.whole()?;
    if has_adamw_on_cpu(&whole.weights, &whole.gradient) {
        return update_on_cpu(whole, steps, &step);
    }
    let factors = Factors {
        decay: 1.0 - learning_rate * weight_decay,
        step_size: learning_rate / (1.0 - beta1.powf(steps)),
        second_correction: (1.0 - beta2.powf(steps)).sqrt(),
    };
    bucket.for_each_chunk(|chunk, scratch| update_chunk(chunk, scratch, config, &factors))
}

/// The buffers of parameters. Several processes or virtual workers share many of them. So a backward pass completes the
/// gradients of one after the other.
fn lay_out(
    parameters: &[GroupedParameter],
    config: &AdamWConfig,
    shard: Option<Shard>,
) -> Vec<Bucket> {
    let sizes = parameters.iter().map(|grouped| grouped.parameter.tensor.size());
    let elements = sizes.map(|size| size.iter().product::<i64>()).sum::<i64>();
    let gradients = match shard {
        Some(_) => Gradients::Lent(buffer_len(elements)),
        None => Gradients::Kept,
    };
    let shard = shard.unwrap_or(Shard::WHOLE);
    tch::no_grad(|| Bucket::lay_out(parameters, config.weight_decay, gradients, shard))
}

/// (ADAMW-1) by one operation for each stretch of the buffers, in place.
fn update_fused(bucket: &mut Bucket, steps: f64, step: &AdamWStep) -> Result<(), TchError> {
    let steps = Tensor::f_full([0_i64; 0], steps, (Kind::Float, bucket.layout.device()))?;
    for Chunk { weights, published, gradient, first, second } in bucket.chunks_mut() {
        let gradient = gradient.f_to_kind(weights.kind())?;
        fused::adamw([weights, &gradient, first, second], &steps, step)?;
        if let Some(published) = published {
            published.copy_(weights);
        }
    }
    Ok(())
}

/// (ADAMW-1) by one kernel, in place.
fn update_on_cpu(whole: Chunk, steps: f64, step: &AdamWStep) -> Result<(), TchError> {
    let Chunk { mut weights, published, gradient, mut first, mut second } = whole;
    adamw_on_cpu([&mut weights, &mut first, &mut second], &gradient, steps, step);
    match published {
        Some(mut published) => published.f_copy_(&weights),
        None => Ok(()),
    }
}

/// Constants of one step.
struct Factors {
    decay: f64,
    step_size: f64,
    second_correction: f64,
}

/// (ADAMW-1) on one stretch of the buffers, in place.
fn update_chunk(
    chunk: &mut Chunk,
    scratch: &mut Scratch,
    config: &AdamWConfig,
    factors: &Factors,
) -> Result<(), TchError> {
    let Chunk { weights, published, gradient, first, second } = chunk;
    let [scaled, denominator, widened] = scratch;
    let gradient = if gradient.kind() == weights.kind() {
        &*gradient
    } else {
        widened.copy_(gradient);
        &*widened
    };
    if factors.decay != 1.0 {
        let _ = weights.f_mul_scalar_(factors.decay)?;
    }
    let _ = first.f_lerp_(gradient, 1.0 - config.beta1)?;
    let _ = gradient.f_mul_scalar_out(scaled, 1.0 - config.beta2)?;
    let _ = second.f_mul_scalar_(config.beta2)?.f_addcmul_(scaled, gradient)?;
    let _ = second.f_sqrt_out(denominator)?;
    let _ = denominator.f_div_scalar_(factors.second_correction)?.f_add_scalar_(config.epsilon)?;
    let _ = first.f_mul_scalar_out(scaled, -factors.step_size)?;
    let _ = weights.f_addcdiv_(scaled, denominator)?;
    if let Some(published) = published {
        published.copy_(weights);
    }
    Ok(())
}

impl Optimizer for AdamW {
    fn name(&self) -> String {
        format!("AdamW with {:?}", self.config)
    }

    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        self.steps += 1;
        tch::no_grad(|| self.update(learning_rate))
            .map_err(|source| GrpoError::torch("the AdamW update", source))
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.state_parts().into_iter().filter_map(StatePart::into_whole).collect()
    }

    fn shard(&mut self, shard: Shard) -> Option<Vec<FlatBuffer>> {
        if self.shard != Some(shard) {
            let holds_all = self.shard.is_none_or(|old| old.world_size == 1);
            assert!(holds_all || self.steps == 0, "other processes hold a part of the state");
            // Before the first step the policy may have other weights by now.
            let state = (self.steps > 0).then(|| self.state());
            let grouped = self.buckets.iter().flat_map(|bucket| bucket.layout.grouped());
            let grouped = grouped.collect::<Vec<_>>();
            // Their memory is free before the new ones take theirs.
            self.buckets.clear();
            for GroupedParameter { parameter, .. } in &grouped {
                take_gradient(&parameter.tensor);
            }
            self.buckets = lay_out(&grouped, &self.config, Some(shard));
            self.shard = Some(shard);
            if let Some(state) = state {
                self.load_state(&state).expect("it is its own state");
            }
        }
        Some(self.buckets.iter().map(Bucket::buffer).collect())
    }

    fn state_parts(&self) -> Vec<StatePart> {
        let steps = Tensor::from_slice(&[self.steps]);
        let mut parts = vec![StatePart::whole("steps".to_owned(), &steps)];
        for bucket in &self.buckets {
            bucket.save(&mut parts, self.steps > 0);
        }
        parts
    }

    fn state_bytes(&self) -> u64 {
        let steps = size_of_val(&self.steps) as u64;
        steps + self.buckets.iter().map(Bucket::state_bytes).sum::<u64>()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        self.load_parts(&SavedState::of(state))
    }

    fn load_parts(&mut self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        self.steps = saved.steps()?;
        let moments = self.steps > 0;
        tch::no_grad(|| self.buckets.iter_mut().try_for_each(|bucket| bucket.load(saved, moments)))
    }
}
