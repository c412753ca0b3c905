//! Low-rank adapters (`LoRA`, arXiv 2106.09685) on the projections of a model whose own weights stay.
//!
//! `y = x Wᵀ + s · drop(x) Aᵀ Bᵀ` with `A` `[rank, in]`, `B` `[out, rank]` and `s = alpha / rank`, or
//! `alpha / √rank` (rank-stabilized, arXiv 2312.03732). Names, files and defaults are those of PEFT.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::ModelConfig;
use super::dropout;
use super::weights::{Linear, PROJECTIONS, Weights, projection_path};
use crate::batch::len;
use crate::{Parameter, PolicyError};

/// Which target stands for every projection of the transformer blocks.
pub(crate) const ALL_LINEAR: &str = "all-linear";

/// Shape and place of low-rank adapters.
///
/// # Examples
///
/// ```
/// use hint_policy::{Architecture, CausalLm, LoraConfig, ModelConfig, Policy};
/// use tch::Device;
///
/// let config = ModelConfig::small(Architecture::Llama, 60);
/// let policy = CausalLm::init(&config, 1, Device::Cpu)?;
/// let lora = LoraConfig { rank: 4, ..LoraConfig::default() };
/// let policy = policy.with_lora(&lora, 7)?;
/// // Only the adapters are trained: two matrices for each of 7 projections of 4 layers.
/// assert_eq!(policy.parameters().len(), 2 * 7 * 4);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of the update of each projection. At least 1.
    pub rank: usize,
    /// Numerator of the update's scale. Positive.
    pub alpha: f64,
    /// Share of the inputs that an adapter does not see while training. In `[0, 1)`.
    pub dropout: f64,
    /// The projections that get an adapter: `"all-linear"`, or names as in PEFT, each a path such
    /// as `"model.layers.0.self_attn.q_proj"` or the end of one, such as `"q_proj"`.
    pub target_modules: Vec<String>,
    /// Whether the scale is `alpha / √rank` in place of `alpha / rank`.
    pub rank_stabilized: bool,
}

impl Default for LoraConfig {
    /// Rank 16 and alpha 32 on every projection, without dropout.
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            target_modules: vec![ALL_LINEAR.to_owned()],
            rank_stabilized: false,
        }
    }
}

impl LoraConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] naming the field.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.rank == 0 || self.rank > 1 << 20 {
            return Err(PolicyError::option("lora.rank", &self.rank, "at least 1"));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(PolicyError::option("lora.alpha", &self.alpha, "a positive number"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(PolicyError::option("lora.dropout", &self.dropout, "at least 0, below 1"));
        }
        if self.target_modules.is_empty() {
            return Err(PolicyError::option("lora.target_modules", "[]", "at least one name"));
        }
        Ok(())
    }

    /// Factor on the update.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }

    /// The projections of a model that get an adapter: layer and index in [`PROJECTIONS`].
    fn targets(&self, layers: usize) -> Result<Vec<(usize, usize)>, PolicyError> {
        let all = (0..layers)
            .flat_map(|layer| (0..PROJECTIONS.len()).map(move |projection| (layer, projection)));
        let matches = |target: &str, (layer, projection): (usize, usize)| {
            let path = projection_path(layer, projection);
            target == ALL_LINEAR
                || path
                    .strip_suffix(target)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let unmatched = |target: &&String| !all.clone().any(|place| matches(target, place));
        if let Some(target) = self.target_modules.iter().find(unmatched) {
            let names = PROJECTIONS.map(|path| path.rsplit('.').next().unwrap_or(path));
            return Err(PolicyError::Unsupported {
                option: "target_modules".into(),
                value: target.clone(),
                supported: format!("{ALL_LINEAR}, paths of modules, {}", names.join(", ")),
            });
        }
        let wanted = |place: &(usize, usize)| {
            self.target_modules.iter().any(|target| matches(target, *place))
        };
        Ok(all.clone().filter(wanted).collect())
    }
}

/// The adapter of one projection.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// `[rank, in]`, `Float`, requires grad.
    pub(crate) down: Tensor,
    /// `[out, rank]`, `Float`, requires grad.
    pub(crate) up: Tensor,
    scale: f64,
    dropout: f64,
    /// Tells the dropout masks of the model's adapters apart.
    stream: u64,
}

impl Adapter {
    /// What the adapter adds to the projection of `x` `[.., in]`. Drops inputs only when given a
    /// seed.
    pub(crate) fn forward(&self, x: &Tensor, dropout_seed: Option<u64>) -> Tensor {
        let kind = x.kind();
        let apply = |x: &Tensor| {
            let inner = x.linear(&self.down.to_kind(kind), None::<&Tensor>);
            inner.linear(&self.up.to_kind(kind), None::<&Tensor>) * self.scale
        };
        match dropout_seed {
            Some(seed) if self.dropout > 0.0 => {
                apply(&dropout::apply(x, self.dropout, dropout::mix(seed, self.stream)))
            }
            _ => apply(x),
        }
    }

    /// What the adapter adds to the weight, `[out, in]`, `Double`, no grad.
    pub(crate) fn delta(&self) -> Tensor {
        let wide = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double);
        wide(&self.up).matmul(&wide(&self.down)) * self.scale
    }

    /// Its two matrices under PEFT's names.
    fn parameters(&self, path: &str) -> [Parameter; 2] {
        [("lora_A", &self.down), ("lora_B", &self.up)].map(|(part, tensor)| Parameter {
            name: adapter_name(path, part),
            tensor: tensor.shallow_clone(),
        })
    }
}

/// Name of an adapter's matrix in PEFT's files; `part` is `lora_A` or `lora_B`.
pub(crate) fn adapter_name(path: &str, part: &str) -> String {
    format!("base_model.model.{path}.{part}.weight")
}

/// Puts an adapter on every target. `create` makes the tensor of a name and shape; the adapters
/// require grad, the other weights do not any more.
pub(crate) fn attach(
    config: &ModelConfig,
    weights: &mut Weights,
    lora: &LoraConfig,
    device: Device,
    mut create: impl FnMut(&str, &[i64]) -> Result<Tensor, PolicyError>,
) -> Result<(), PolicyError> {
    lora.validate()?;
    let rank = crate::batch::size(lora.rank);
    let mut adapters = Vec::new();
    for ((layer, projection), stream) in
        lora.targets(config.num_hidden_layers)?.into_iter().zip(0..)
    {
        let path = projection_path(layer, projection);
        let shape = weights.layers[layer].projections()[projection].weight.size();
        let mut matrix = |part: &str, shape: &[i64]| {
            let tensor = create(&adapter_name(&path, part), shape)?;
            Ok::<_, PolicyError>(
                tensor.to_kind(Kind::Float).to_device(device).set_requires_grad(true),
            )
        };
        let adapter = Adapter {
            down: matrix("lora_A", &[rank, shape[1]])?,
            up: matrix("lora_B", &[shape[0], rank])?,
            scale: lora.scale(),
            dropout: lora.dropout,
            stream,
        };
        adapters.push((layer, projection, adapter));
    }
    weights.freeze();
    for (layer, projection, adapter) in adapters {
        weights.layers[layer].projections_mut()[projection].adapter = Some(adapter);
    }
    Ok(())
}

/// Handles on the matrices of all adapters, layer by layer.
pub(crate) fn parameters(weights: &Weights) -> Vec<Parameter> {
    adapted(weights).flat_map(|(path, adapter)| adapter.parameters(&path)).collect()
}

/// The adapters with the paths of their projections.
pub(crate) fn adapted(weights: &Weights) -> impl Iterator<Item = (String, &Adapter)> {
    weights.layers.iter().enumerate().flat_map(|(layer, weights)| {
        let projections: [&Linear; PROJECTIONS.len()] = weights.projections();
        projections.into_iter().enumerate().filter_map(move |(projection, linear)| {
            Some((projection_path(layer, projection), linear.adapter.as_ref()?))
        })
    })
}

/// Initial values: `A` uniform within `1 / √in`, as PEFT draws it, and `B` zero, so that the model
/// starts as it is. Each tensor draws from a stream of its own.
pub(crate) fn initial(seed: u64) -> impl FnMut(&str, &[i64]) -> Result<Tensor, PolicyError> {
    let mut stream = 0;
    move |name, shape| {
        if name.ends_with("lora_B.weight") {
            return Ok(Tensor::zeros(shape, (Kind::Float, Device::Cpu)));
        }
        stream += 1;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let bound = 1.0 / (shape[1] as f64).sqrt();
        let count = len(shape[0]) * len(shape[1]);
        let values: Vec<f64> = (0..count).map(|_| rng.random_range(-bound..bound)).collect();
        Ok(Tensor::from_slice(&values).view(shape))
    }
}
