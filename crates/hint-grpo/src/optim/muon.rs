//! Muon: orthogonalized momentum for matrices.

use std::collections::BTreeMap;

use hint_policy::Parameter;
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use crate::error::GrpoError;
use crate::optim::flat::{Gradients, Layout};
use crate::optim::groups::matches;
use crate::optim::shard::{FlatBuffer, Shard, StatePart};
use crate::optim::slot::Slot;
use crate::optim::{AdamW, AdamWConfig, GroupedParameter, Optimizer, SavedState, bytes};

/// Dependence of the step size on the shape of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MuonScale {
    /// `√max(1, rows / columns)`, as in the first publication.
    Original,
    /// `0.2 √max(rows, columns)`, which gives updates of AdamW's size. So one learning rate fits the
    /// matrices and the parameters that AdamW updates.
    #[default]
    MatchRmsAdamw,
}

impl MuonScale {
    fn factor(self, size: &[i64]) -> f64 {
        let (rows, columns) = (size[0] as f64, size[1] as f64);
        match self {
            Self::Original => (rows / columns).max(1.0).sqrt(),
            Self::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
        }
    }
}

/// Hyper-parameters of [`Muon`] other than the learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MuonConfig {
    /// Decay of the momentum, `μ`. In `[0, 1)`.
    pub momentum: f64,
    /// Whether to look ahead along the momentum.
    pub nesterov: bool,
    /// Decoupled weight decay of the matrices, per unit of learning rate.
    pub weight_decay: f64,
    /// Newton-Schulz iterations. At least 1.
    pub iterations: usize,
    /// Kind of the Newton-Schulz iterations: bf16 as in torch, else the kind of the weights.
    pub half_precision: bool,
    /// Dependence of the step size on the shape.
    pub scale: MuonScale,
    /// Names of matrices that AdamW updates, with `*` for any characters.
    pub exclude: Vec<String>,
    /// AdamW's hyper-parameters, for everything that is not a matrix or is excluded.
    pub adamw: AdamWConfig,
}

impl Default for MuonConfig {
    /// torch's defaults, except the scale and the precision. Embeddings and LM head are AdamW's.
    fn default() -> Self {
        Self {
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.1,
            iterations: 5,
            half_precision: false,
            scale: MuonScale::default(),
            exclude: vec!["*embed*".to_owned(), "lm_head*".to_owned()],
            adamw: AdamWConfig::default(),
        }
    }
}

/// Muon for matrices, AdamW for the rest.
///
/// ```text
/// b ← μ b + (1 − μ) g,    u = b, or with Nesterov's momentum  (1 − μ) g + μ b
/// X = u / ‖u‖,    k times:  A = X Xᵀ,  X ← 3.4445 X + (−4.7750 A + 2.0315 A²) X
/// θ ← θ (1 − η λ) − η · scale · X                                                     (MUON-1)
/// ```
///
/// Source: (MUON-1) in [the book](../../../book/math.html#optimizer), as `torch.optim.Muon`.
///
/// ```
/// use hint_grpo::Optimizer;
/// use hint_grpo::optim::{Muon, MuonConfig};
/// use hint_policy::Parameter;
/// use tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::eye(2, (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let parameter = Parameter { name: "weight".to_owned(), tensor: weight.shallow_clone() };
/// let mut optimizer = Muon::new(vec![parameter.into()], MuonConfig::default());
/// weight.square().sum(Kind::Float).backward();
/// optimizer.step(0.1)?;
/// assert!(weight.double_value(&[0, 0]) < 1.0);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug)]
pub struct Muon {
    parameters: Vec<Parameter>,
    matrices: Vec<Matrix>,
    rest: Option<AdamW>,
    config: MuonConfig,
}

/// A matrix, and its momentum if this process updates it.
#[derive(Debug)]
struct Matrix {
    grouped: GroupedParameter,
    slot: Slot,
    momentum: Option<Tensor>,
}

impl Matrix {
    /// Leaves the matrix to another process.
    fn release(&mut self) {
        self.slot.release();
        self.momentum = None;
    }

    /// Its state by the prefixes of the names.
    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        if let Some(momentum) = &self.momentum {
            self.slot.save(&mut state);
            state.push((format!("momentum.{}", self.slot.name), momentum.shallow_clone()));
        }
        state
    }

    /// Restores its state. A process that has none of it asks for the same tensors.
    fn load(&self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        match &self.momentum {
            Some(momentum) => {
                self.slot.load(saved)?;
                saved.restore_whole(&format!("momentum.{}", self.slot.name), momentum)
            }
            None => self.parts().iter().try_for_each(|part| saved.restore(part)),
        }
    }

    /// The parts of its state; empty ones for a matrix of another process.
    fn parts(&self) -> Vec<StatePart> {
        if self.momentum.is_some() {
            let state = self.state().into_iter();
            return state.map(|(name, tensor)| StatePart::whole(name, &tensor)).collect();
        }
        let prefixes =
            if self.slot.needs_master() { &["master", "momentum"][..] } else { &["momentum"] };
        let weights = self.slot.weights();
        let kind = if self.slot.needs_master() { Kind::Float } else { weights.kind() };
        let part = |prefix: &&str| StatePart {
            name: format!("{prefix}.{}", self.slot.name),
            size: weights.size(),
            start: 0,
            values: Tensor::zeros([0], (kind, weights.device())),
        };
        prefixes.iter().map(part).collect()
    }
}

impl Muon {
    /// An optimizer of `parameters`, with no momentum yet.
    pub fn new(parameters: Vec<GroupedParameter>, config: MuonConfig) -> Self {
        Self::of_shard(parameters, config, Shard::WHOLE)
    }

    /// As [`Muon::new`], with the state of one of several processes.
    pub(super) fn of_shard(
        parameters: Vec<GroupedParameter>,
        config: MuonConfig,
        shard: Shard,
    ) -> Self {
        let handle = |parameter: &Parameter| Parameter {
            name: parameter.name.clone(),
            tensor: parameter.tensor.shallow_clone(),
        };
        let all = parameters.iter().map(|grouped| handle(&grouped.parameter)).collect();
        let (matrices, rest): (Vec<_>, Vec<_>) = parameters.into_iter().partition(|grouped| {
            let name = &grouped.parameter.name;
            let excluded = config.exclude.iter().any(|pattern| matches(pattern, name));
            grouped.parameter.tensor.dim() == 2 && !excluded
        });
        let sizes = matrices.iter().map(|grouped| grouped.parameter.tensor.numel());
        let owners = owners(&sizes.collect::<Vec<_>>(), shard.world_size);
        let matrices = matrices.into_iter().zip(owners).map(|(grouped, owner)| {
            let slot = Slot::new(&grouped, config.weight_decay);
            let momentum = (owner == shard.rank).then(|| slot.zeros(None));
            let mut matrix = Matrix { grouped, slot, momentum };
            if matrix.momentum.is_none() {
                matrix.release();
            }
            matrix
        });
        let matrices = matrices.collect();
        let rest = (!rest.is_empty()).then(|| AdamW::of_shard(rest, config.adamw, shard));
        Self { parameters: all, matrices, rest, config }
    }

    fn update(&mut self, learning_rate: f64) -> Result<(), TchError> {
        let config = &self.config;
        for Matrix { slot, momentum, .. } in &mut self.matrices {
            let (Some(momentum), Some(gradient)) = (momentum, slot.gradient()) else { continue };
            let _ = momentum.f_lerp_(&gradient, 1.0 - config.momentum)?;
            let update = if config.nesterov {
                gradient.f_lerp(momentum, config.momentum)?
            } else {
                momentum.shallow_clone()
            };
            let mut weights = slot.weights();
            let kind = if config.half_precision { Kind::BFloat16 } else { weights.kind() };
            let update = orthogonalize(&update.to_kind(kind), config.iterations)?;
            let learning_rate = learning_rate * slot.lr_multiplier;
            let step_size = learning_rate * config.scale.factor(&weights.size());
            if slot.weight_decay != 0.0 {
                let _ = weights.f_mul_scalar_(1.0 - learning_rate * slot.weight_decay)?;
            }
            let _ = weights.f_sub_(&update.to_kind(weights.kind()).f_mul_scalar(step_size)?)?;
            slot.publish();
        }
        Ok(())
    }
}

/// The process that updates each matrix: in order, with about as many elements for each process.
fn owners(sizes: &[usize], world_size: usize) -> Vec<usize> {
    let total = sizes.iter().sum::<usize>().max(1);
    let mut start = 0;
    let owner = |size: &usize| {
        let middle = start + size / 2;
        start += size;
        (middle * world_size / total).min(world_size - 1)
    };
    sizes.iter().map(owner).collect()
}

/// The Newton-Schulz iteration of (MUON-1). `matrix` and result `[rows, columns]`.
fn orthogonalize(matrix: &Tensor, iterations: usize) -> Result<Tensor, TchError> {
    // The Gram matrix is that of the shorter side.
    let tall = matrix.size()[0] > matrix.size()[1];
    let matrix = if tall { matrix.tr() } else { matrix.shallow_clone() };
    let norm = matrix.f_square()?.f_sum(None::<Kind>)?.f_sqrt()?;
    let mut x = matrix.f_div(&norm.f_clamp_min(1e-7)?)?;
    for _ in 0..iterations {
        let gram = x.f_matmul(&x.tr())?;
        let update = (&gram * -4.7750) + gram.f_matmul(&gram)? * 2.0315;
        x = (&x * 3.4445) + update.f_matmul(&x)?;
    }
    Ok(if tall { x.tr() } else { x })
}

impl Optimizer for Muon {
    fn name(&self) -> String {
        format!("Muon with {:?}", self.config)
    }

    fn step(&mut self, learning_rate: f64) -> Result<(), GrpoError> {
        if let Some(rest) = &mut self.rest {
            rest.step(learning_rate)?;
        }
        tch::no_grad(|| self.update(learning_rate))
            .map_err(|source| GrpoError::torch("the Muon update", source))
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.rest.as_ref().map(AdamW::state).unwrap_or_default();
        state.extend(self.matrices.iter().flat_map(Matrix::state));
        state
    }

    /// Each matrix is updated by one process, since its momentum is made orthogonal as a whole.
    fn shard(&mut self, shard: Shard) -> Option<Vec<FlatBuffer>> {
        let sizes = self.matrices.iter().map(|matrix| matrix.grouped.parameter.tensor.numel());
        let owners = owners(&sizes.collect::<Vec<_>>(), shard.world_size);
        let mut by_name = BTreeMap::new();
        for (matrix, owner) in self.matrices.iter_mut().zip(owners) {
            by_name.insert(matrix.slot.name.clone(), owner);
            if owner != shard.rank {
                matrix.release();
            } else if matrix.momentum.is_none() {
                // The policy may have other weights by now.
                matrix.slot.refresh();
            }
        }
        let grouped = self.matrices.iter().map(|matrix| &matrix.grouped).collect::<Vec<_>>();
        // A process owns matrices in a row. So a part of them would be summed by one process alone.
        let room = Gradients::Lent(i64::MAX);
        let layouts = tch::no_grad(|| Layout::of(&grouped, self.config.weight_decay, room));
        let owner = |name: &str| by_name.get(name).copied().unwrap_or_default();
        let mut buffers =
            layouts.iter().map(|layout| layout.split(owner, shard)).collect::<Vec<_>>();
        buffers.extend(self.rest.as_mut().and_then(|rest| rest.shard(shard)).into_iter().flatten());
        Some(buffers)
    }

    fn state_parts(&self) -> Vec<StatePart> {
        let mut parts = self.rest.as_ref().map(AdamW::state_parts).unwrap_or_default();
        parts.extend(self.matrices.iter().flat_map(Matrix::parts));
        parts
    }

    fn state_bytes(&self) -> u64 {
        let of_rest = self.rest.as_ref().map_or(0, AdamW::state_bytes);
        let of_matrices = self.matrices.iter().flat_map(Matrix::state);
        of_rest + of_matrices.map(|(_, tensor)| bytes(&tensor)).sum::<u64>()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), GrpoError> {
        self.load_parts(&SavedState::of(state))
    }

    fn load_parts(&mut self, saved: &SavedState<'_>) -> Result<(), GrpoError> {
        if let Some(rest) = &mut self.rest {
            rest.load_parts(saved)?;
        }
        self.matrices.iter().try_for_each(|matrix| matrix.load(saved))
    }
}
