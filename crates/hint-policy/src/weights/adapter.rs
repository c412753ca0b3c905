//! Low-rank adapters (`LoRA`, arXiv 2106.09685) on the projections of a model whose own weights stay.
//!
//! `y = x Wᵀ + s · drop(x) Aᵀ Bᵀ` with `A` `[rank, in]`, `B` `[out, rank]` and `s = alpha / rank`, or
//! `alpha / √rank` (rank-stabilized, arXiv 2312.03732). Names, files and defaults follow PEFT.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::layout::{layout, projection_path, projections};
use crate::config::lora::LoraConfig;
use crate::error::PolicyError;
use crate::policy::Parameter;
use crate::tensor::{len, size};
use crate::weights::{LayerWeights, Weights, dropout};

/// The adapter of one projection.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// Path of the projection in the model.
    path: String,
    /// `[rank, in]`, `Float`, requires grad.
    pub(crate) down: Tensor,
    /// `[out, rank]`, `Float`, requires grad.
    pub(crate) up: Tensor,
    scale: f64,
    dropout: f64,
    /// Separates the dropout masks of the model's adapters.
    stream: u64,
}

impl Adapter {
    /// Addend of the adapter to the projection of `x` `[.., in]`. Drops inputs only when given a
    /// seed.
    pub(crate) fn forward(&self, x: &Tensor, dropout_seed: Option<u64>) -> Tensor {
        let kind = x.kind();
        let apply = |x: &Tensor| {
            let inner = x.linear(&self.down.to_kind(kind), None::<&Tensor>);
            inner.linear(&self.up.to_kind(kind), None::<&Tensor>) * self.scale
        };
        match dropout_seed {
            Some(seed) if self.drops_inputs() => {
                apply(&dropout::apply(x, self.dropout, dropout::mix(seed, self.stream)))
            }
            _ => apply(x),
        }
    }

    /// Whether it drops inputs when given a seed.
    pub(super) fn drops_inputs(&self) -> bool {
        self.dropout > 0.0
    }

    /// Addend of the adapter to the weight, `[out, in]`, `Double`, no grad.
    pub(crate) fn delta(&self) -> Tensor {
        let wide = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double);
        wide(&self.up).matmul(&wide(&self.down)) * self.scale
    }

    /// Its two matrices under PEFT's names.
    fn parameters(&self) -> [Parameter; 2] {
        [("lora_A", &self.down), ("lora_B", &self.up)].map(|(part, tensor)| Parameter {
            name: adapter_name(&self.path, part),
            tensor: tensor.shallow_clone(),
        })
    }
}

/// Name of an adapter's matrix in PEFT's files; `part` is `lora_A` or `lora_B`.
pub(crate) fn adapter_name(path: &str, part: &str) -> String {
    format!("base_model.model.{path}.{part}.weight")
}

/// Name in PEFT's files of a parameter that is saved in whole.
pub(crate) fn saved_name(name: &str) -> String {
    format!("base_model.model.{name}")
}

/// A name without the beginning that PEFT's files give it.
pub(super) fn name_in_model(name: &str) -> &str {
    name.strip_prefix("base_model.model.").unwrap_or(name)
}

/// Names and shapes of the tensors of an adapter, as its files hold them.
pub(crate) fn shapes(
    config: &ModelConfig,
    lora: &LoraConfig,
) -> Result<Vec<(String, Vec<i64>)>, PolicyError> {
    let specs = layout(config);
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let mut shapes = Vec::new();
    for (layer, projection) in lora.targets(config)? {
        let path = projection_path(layer, projections(config, layer)[projection]);
        let rank = size(lora.shape_of(&path).0);
        let weight = format!("{path}.weight");
        let shape = specs.iter().find(|spec| spec.name == weight).map(|spec| &spec.shape);
        let [rows, columns] = shape.map_or([0, 0], |shape| [shape[0], shape[1]]);
        shapes.push((adapter_name(&path, "lora_A"), vec![rank, columns]));
        shapes.push((adapter_name(&path, "lora_B"), vec![rows, rank]));
    }
    for index in lora.saved(config, &names)? {
        shapes.push((saved_name(&names[index]), specs[index].shape.clone()));
    }
    Ok(shapes)
}

/// Puts an adapter on every target. `create` makes the tensor of a name and shape, or leaves a module that is
/// saved in whole unchanged. These and the adapters require grad; the other weights do not any more.
pub(crate) fn attach(
    config: &ModelConfig,
    weights: &mut Weights,
    lora: &LoraConfig,
    device: Device,
    mut create: impl FnMut(&str, &[i64]) -> Result<Option<Tensor>, PolicyError>,
) -> Result<(), PolicyError> {
    lora.validate()?;
    let mut adapters = Vec::new();
    for ((layer, projection), stream) in lora.targets(config)?.into_iter().zip(0..) {
        let path = projection_path(layer, projections(config, layer)[projection]);
        let (rank, scale) = lora.shape_of(&path);
        let rank = size(rank);
        let shape = weights.layers[layer].projections()[projection].weight.size();
        let mut matrix = |part: &str, shape: &[i64]| {
            let tensor = create(&adapter_name(&path, part), shape)?;
            let tensor = tensor.expect("an adapter's matrix is there");
            Ok::<_, PolicyError>(
                tensor.to_kind(Kind::Float).to_device(device).set_requires_grad(true),
            )
        };
        let adapter = Adapter {
            down: matrix("lora_A", &[rank, shape[1]])?,
            up: matrix("lora_B", &[shape[0], rank])?,
            scale,
            dropout: lora.dropout,
            stream,
            path,
        };
        adapters.push((layer, projection, adapter));
    }
    let parameters = weights.parameters();
    let own: Vec<String> = parameters.iter().map(|parameter| parameter.name.clone()).collect();
    let mut saved = Vec::new();
    for index in lora.saved(config, &own)? {
        let Parameter { name, tensor } = &parameters[index];
        let values = match create(&saved_name(name), &tensor.size())? {
            Some(values) => values.to_kind(Kind::Float).to_device(device),
            None => tensor.detach().copy(),
        };
        saved.push((index, values.set_requires_grad(true)));
    }
    weights.freeze();
    weights.train(config, saved);
    for (layer, projection, adapter) in adapters {
        weights.layers[layer].projections_mut()[projection].adapter = Some(adapter);
    }
    Ok(())
}

/// Handles on the matrices of all adapters, layer by layer, and on modules that are saved in whole, under
/// PEFT's names.
pub(crate) fn parameters(weights: &Weights) -> Vec<Parameter> {
    let saved = weights.saved().map(|parameter| Parameter {
        name: saved_name(&parameter.name),
        tensor: parameter.tensor.shallow_clone(),
    });
    adapted(weights).flat_map(|(_, adapter)| adapter.parameters()).chain(saved).collect()
}

/// The adapters with the paths of their projections.
pub(crate) fn adapted(weights: &Weights) -> impl Iterator<Item = (&str, &Adapter)> {
    weights.layers.iter().flat_map(LayerWeights::projections).filter_map(|linear| {
        let adapter = linear.adapter.as_ref()?;
        Some((adapter.path.as_str(), adapter))
    })
}

/// Initial values: `A` uniform within `1 / √in`, as PEFT draws it, and `B` zero, so that the model
/// starts unchanged. Each tensor draws from a stream of its own.
pub(crate) fn initial(
    seed: u64,
) -> impl FnMut(&str, &[i64]) -> Result<Option<Tensor>, PolicyError> {
    let mut stream = 0;
    move |name, shape| {
        if name.ends_with("lora_B.weight") {
            return Ok(Some(Tensor::zeros(shape, (Kind::Float, Device::Cpu))));
        }
        if !name.ends_with("lora_A.weight") {
            return Ok(None);
        }
        stream += 1;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let bound = 1.0 / (shape[1] as f64).sqrt();
        let count = len(shape[0]) * len(shape[1]);
        let values: Vec<f64> = (0..count).map(|_| rng.random_range(-bound..bound)).collect();
        Ok(Some(Tensor::from_slice(&values).view(shape)))
    }
}
