//! The tensors of a model by their role in the forward pass, and the adapters on them.
//!
//! [`Weights`] holds one `Float` master per parameter of [`layout`], the same storage under two views. One
//! is a list for optimizers and files, one is by role for the forward pass. [`adapter`] adds low-rank
//! updates to projections, which are then trained in place of the masters; [`init`] draws fresh values. A [`Cast`] keeps a
//! copy of a matrix in the kind of the computation.

pub(crate) mod adapter;
mod cast;
mod dropout;
pub(crate) mod init;

use std::collections::BTreeMap;
use std::ops::Range;

use tch::{Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::layout::{
    CONV, DECAY, DECAY_BIAS, DELTA_NORM, DOWN, ProjectionGroup, gates, inputs, layout, output,
};
use crate::config::plan::MixerPlan;
use crate::policy::Parameter;
use crate::tensor::size;
use crate::weights::adapter::Adapter;

pub(crate) use cast::Cast;

/// A projection `x · weightᵀ + bias`, and its adapter.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[out, in]`.
    pub(crate) weight: Tensor,
    /// `[out]`.
    pub(crate) bias: Option<Tensor>,
    pub(crate) adapter: Option<Adapter>,
    pub(crate) cast: Cast,
}

impl Linear {
    /// A projection without adapter.
    pub(crate) fn plain(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias, adapter: None, cast: Cast::default() }
    }

    /// Handles on the same storage, without adapter.
    pub(crate) fn shallow_clone(&self) -> Self {
        let bias = self.bias.as_ref().map(Tensor::shallow_clone);
        Self::plain(self.weight.shallow_clone(), bias)
    }

    /// The weight plus its adapter: `Double` if there is one, else the plain weight. No grad.
    pub(crate) fn merged(&self) -> Tensor {
        let weight = self.weight.detach();
        match &self.adapter {
            Some(adapter) => weight.to_kind(Kind::Double) + adapter.delta(),
            None => weight,
        }
    }

    /// Applies the projection in the kind of `x`, casting the master weights; differentiable.
    /// Adapters drop inputs only when given a seed.
    pub(crate) fn forward(&self, x: &Tensor, dropout_seed: Option<u64>) -> Tensor {
        let bias = self.bias.as_ref().map(|bias| bias.to_kind(x.kind()));
        let y = x.linear(&self.weight.to_kind(x.kind()), bias.as_ref());
        match &self.adapter {
            Some(adapter) => y + adapter.forward(x, dropout_seed),
            None => y,
        }
    }
}

/// Projections of one input: a matrix for each result, or one whose results are cut apart.
#[derive(Debug)]
pub(crate) struct Projections {
    pub(crate) matrices: Vec<Linear>,
    /// Width of each result.
    pub(crate) widths: Vec<i64>,
}

impl Projections {
    /// The results, side by side if there is one matrix.
    pub(crate) fn split(&self, results: Vec<Tensor>) -> Vec<Tensor> {
        match results.as_slice() {
            [joint] if self.widths.len() > 1 => joint.split_with_sizes(self.widths.as_slice(), -1),
            _ => results,
        }
    }

    /// Applies the projections to `x`, casting the master weights; differentiable. Adapters drop inputs only
    /// when given a seed.
    pub(crate) fn forward(&self, x: &Tensor, dropout_seed: Option<u64>) -> Vec<Tensor> {
        self.split(self.matrices.iter().map(|matrix| matrix.forward(x, dropout_seed)).collect())
    }
}

/// The parameters of one transformer block.
#[derive(Debug)]
pub(crate) struct LayerWeights {
    /// To the inputs of the mixer.
    pub(crate) inputs: Projections,
    pub(crate) mixer: MixerWeights,
    /// Behind the mixer.
    pub(crate) output: Linear,
    /// Gate and up.
    pub(crate) gates: Projections,
    pub(crate) down: Linear,
    pub(crate) norms: LayerNorms,
}

/// The mixer of a block, without its projections.
#[derive(Debug)]
pub(crate) enum MixerWeights {
    Attention {
        /// Norms of queries and keys.
        head_norms: Option<(Tensor, Tensor)>,
    },
    DeltaNet(DeltaNetWeights),
}

/// A gated delta-net, without its projections.
#[derive(Debug)]
pub(crate) struct DeltaNetWeights {
    /// `[channels, 1, kernel]`.
    pub(crate) conv: Tensor,
    /// Logarithm of each head's decay, `[value_heads]`.
    pub(crate) decay: Tensor,
    /// Bias of the projection to decays, `[value_heads]`.
    pub(crate) decay_bias: Tensor,
    /// `[value_dim]`.
    pub(crate) norm: Tensor,
}

/// The norms of a transformer block over the width of the model, as far as it has them.
#[derive(Debug)]
pub(crate) struct LayerNorms {
    pub(crate) before_attention: Option<Tensor>,
    pub(crate) after_attention: Option<Tensor>,
    pub(crate) before_mlp: Option<Tensor>,
    pub(crate) after_mlp: Option<Tensor>,
}

impl DeltaNetWeights {
    /// A tensor made of each.
    pub(crate) fn map(&self, make: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            conv: make(&self.conv),
            decay: make(&self.decay),
            decay_bias: make(&self.decay_bias),
            norm: make(&self.norm),
        }
    }
}

impl LayerWeights {
    /// In the order of [`projections`](crate::config::layout::projections).
    pub(crate) fn projections(&self) -> Vec<&Linear> {
        let Self { inputs, output, gates, down, .. } = self;
        inputs.matrices.iter().chain([output]).chain(&gates.matrices).chain([down]).collect()
    }

    /// In the order of [`projections`](crate::config::layout::projections).
    pub(crate) fn projections_mut(&mut self) -> Vec<&mut Linear> {
        let Self { inputs, output, gates, down, .. } = self;
        let (inputs, gates) = (inputs.matrices.iter_mut(), gates.matrices.iter_mut());
        inputs.chain([output]).chain(gates).chain([down]).collect()
    }
}

/// All parameters of a model: `Float` masters that require grad, unless adapters are trained in
/// their place.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) embedding: Tensor,
    pub(crate) layers: Vec<LayerWeights>,
    pub(crate) norm: Tensor,
    /// `None` when tied to the embedding.
    pub(crate) head: Option<Tensor>,
    pub(crate) head_cast: Cast,
    parameters: Vec<Parameter>,
    /// Parameters that are trained beside adapters, and their former state.
    originals: BTreeMap<usize, Tensor>,
}

impl Weights {
    /// Arranges tensors that were created in the order of [`layout`]; makes them require grad.
    pub(crate) fn new(config: &ModelConfig, tensors: Vec<Tensor>) -> Self {
        let specs = layout(config);
        assert_eq!(specs.len(), tensors.len(), "one tensor per parameter");
        let parameters: Vec<Parameter> = specs
            .into_iter()
            .zip(tensors)
            .map(|(spec, tensor)| Parameter {
                name: spec.name,
                // A view would hold on to the storage it was made from when an optimizer moves it.
                tensor: tensor.detach().to_kind(Kind::Float).set_requires_grad(true),
            })
            .collect();
        Self::arrange(config, parameters)
    }

    /// Gives each parameter its place.
    fn arrange(config: &ModelConfig, parameters: Vec<Parameter>) -> Self {
        let by_name: BTreeMap<&str, &Tensor> = parameters
            .iter()
            .map(|parameter| (parameter.name.as_str(), &parameter.tensor))
            .collect();
        let find = |name: &str| by_name.get(name).map(|tensor| tensor.shallow_clone());
        let get = |name: &str| find(name).expect("`layout` lists every tensor of the model");
        let linear = |name: &str| {
            Linear::plain(get(&format!("{name}.weight")), find(&format!("{name}.bias")))
        };
        let family = config.architecture.family();
        let [before_attention, after_attention, before_mlp, after_mlp] = family.norms.names();
        let layers = (0..config.num_hidden_layers)
            .map(|layer| {
                let name = |part: &str| format!("model.layers.{layer}.{part}");
                let norm =
                    |part: Option<&str>| part.map(|part| get(&name(&format!("{part}.weight"))));
                let group = |group: ProjectionGroup| Projections {
                    matrices: group.names.iter().map(|path| linear(&name(path))).collect(),
                    widths: group.widths.into_iter().map(size).collect(),
                };
                LayerWeights {
                    inputs: group(inputs(config, layer)),
                    mixer: match config.layer(layer).mixer {
                        MixerPlan::Attention(plan) => MixerWeights::Attention {
                            head_norms: plan
                                .head_norm
                                .names()
                                .map(|[query, key]| (get(&name(query)), get(&name(key)))),
                        },
                        MixerPlan::DeltaNet(_) => MixerWeights::DeltaNet(DeltaNetWeights {
                            conv: get(&name(CONV)),
                            decay: get(&name(DECAY)),
                            decay_bias: get(&name(DECAY_BIAS)),
                            norm: get(&name(DELTA_NORM)),
                        }),
                    },
                    output: linear(&name(output(config, layer).0)),
                    gates: group(gates(config)),
                    down: linear(&name(DOWN)),
                    norms: LayerNorms {
                        before_attention: norm(before_attention),
                        after_attention: norm(after_attention),
                        before_mlp: norm(before_mlp),
                        after_mlp: norm(after_mlp),
                    },
                }
            })
            .collect();
        let embedding = get("model.embed_tokens.weight");
        let norm = get("model.norm.weight");
        let head = find("lm_head.weight");
        let (head_cast, originals) = (Cast::default(), BTreeMap::new());
        Self { embedding, layers, norm, head, head_cast, parameters, originals }
    }

    /// The weights without adapters, on the same storage, and in their state before the training of parameters
    /// beside them.
    pub(crate) fn base(&self, config: &ModelConfig) -> Self {
        let mut parameters = self.parameters();
        for (&index, original) in &self.originals {
            parameters[index].tensor = original.shallow_clone();
        }
        Self::arrange(config, parameters)
    }

    /// Lets the weights (not those of adapters) require no gradient any more.
    pub(crate) fn freeze(&mut self) {
        for parameter in &self.parameters {
            let _ = parameter.tensor.set_requires_grad(false);
        }
    }

    /// Puts tensors that are trained beside adapters into the places of parameters.
    pub(crate) fn train(&mut self, config: &ModelConfig, tensors: Vec<(usize, Tensor)>) {
        let mut parameters = self.parameters();
        for (index, tensor) in tensors {
            let original = std::mem::replace(&mut parameters[index].tensor, tensor);
            self.originals.insert(index, original);
        }
        self.replace(config, parameters);
    }

    /// Parameters that train beside adapters.
    pub(crate) fn saved(&self) -> impl Iterator<Item = &Parameter> {
        self.originals.keys().map(|&index| &self.parameters[index])
    }

    /// Converts frozen weights to another kind. Trained ones keep theirs, and so do the constants of a delta-net's decay,
    /// which is computed in `Float`.
    pub(crate) fn narrow(&mut self, config: &ModelConfig, kind: Kind) {
        let is_decay = |name: &str| name.ends_with(DECAY) || name.ends_with(DECAY_BIAS);
        let mut parameters = self.parameters();
        for (index, parameter) in parameters.iter_mut().enumerate() {
            if !self.originals.contains_key(&index) && !is_decay(&parameter.name) {
                parameter.tensor = parameter.tensor.to_kind(kind);
            }
        }
        for original in self.originals.values_mut() {
            *original = original.to_kind(kind);
        }
        self.replace(config, parameters);
    }

    /// Puts other tensors into the places of the parameters; adapters stay.
    fn replace(&mut self, config: &ModelConfig, parameters: Vec<Parameter>) {
        let mut replaced = Self::arrange(config, parameters);
        replaced.originals = std::mem::take(&mut self.originals);
        for (new, old) in replaced.layers.iter_mut().zip(&mut self.layers) {
            for (new, old) in new.projections_mut().into_iter().zip(old.projections_mut()) {
                new.adapter = old.adapter.take();
            }
        }
        *self = replaced;
    }

    /// Handles on the trained parameters: all, or the adapters' if there are any.
    pub(crate) fn trainable(&self) -> Vec<Parameter> {
        let adapters = adapter::parameters(self);
        if adapters.is_empty() { self.parameters() } else { adapters }
    }

    /// The stages of the backward pass in which the gradient of each parameter of [`Self::trainable`] changes. The head with
    /// the last norm is the first one. Then follow the blocks from last to first, and the embedding.
    pub(crate) fn gradient_stages(&self) -> Vec<Range<usize>> {
        let is_tied = self.head.is_none();
        let stages = |parameter: Parameter| stages_of(&parameter.name, self.layers.len(), is_tied);
        self.trainable().into_iter().map(stages).collect()
    }

    /// As [`Self::parameters`], with adapters added.
    pub(crate) fn merged_parameters(&self) -> Vec<Parameter> {
        let mut merged: BTreeMap<String, Tensor> = adapter::adapted(self)
            .map(|(path, adapter)| (format!("{path}.weight"), adapter.delta()))
            .collect();
        let mut parameters = self.parameters();
        for parameter in &mut parameters {
            if let Some(delta) = merged.remove(&parameter.name) {
                parameter.tensor = parameter.tensor.detach().to_kind(Kind::Double) + delta;
            }
        }
        parameters
    }

    /// Handles on all parameters except the adapters', in checkpoint order.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        self.parameters
            .iter()
            .map(|parameter| Parameter {
                name: parameter.name.clone(),
                tensor: parameter.tensor.shallow_clone(),
            })
            .collect()
    }

    /// The matrix of the LM head, `[vocab, hidden]`.
    pub(crate) fn head(&self) -> &Tensor {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Whether adapters drop inputs when given a seed.
    pub(crate) fn drops_inputs(&self) -> bool {
        adapter::adapted(self).any(|(_, adapter)| adapter.drops_inputs())
    }

    /// Drops the copies of matrices in other kinds.
    pub(crate) fn drop_casts(&self) {
        self.casts().for_each(Cast::drop_copy);
    }

    fn casts(&self) -> impl Iterator<Item = &Cast> {
        let projections = self.layers.iter().flat_map(LayerWeights::projections);
        projections.map(|linear| &linear.cast).chain([&self.head_cast])
    }

    /// Numbers of the copies of matrices in other kinds.
    #[cfg(test)]
    pub(crate) fn kept_casts(&self) -> usize {
        self.casts().map(Cast::kept).sum()
    }

    /// A number that changes with every in-place update that autograd sees.
    pub(crate) fn version(&self) -> i64 {
        let adapters = adapter::adapted(self).flat_map(|(_, adapter)| [&adapter.down, &adapter.up]);
        let weights = self.parameters.iter().map(|parameter| &parameter.tensor);
        weights.chain(adapters).map(Tensor::internal_version).sum()
    }
}

/// The stages of [`Weights::gradient_stages`] for a parameter or an adapter, by its name.
fn stages_of(name: &str, layers: usize, is_tied: bool) -> Range<usize> {
    let end = layers + 2;
    let name = adapter::name_in_model(name);
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
    if let Some(layer) = layer.and_then(|number| number.parse::<usize>().ok())
        && layer < layers
    {
        let stage = layers - layer;
        return stage..stage + 1;
    }
    match name {
        "lm_head.weight" | "model.norm.weight" => 0..1,
        "model.embed_tokens.weight" if !is_tied => end - 1..end,
        // The head adds to a tied embedding as well.
        _ => 0..end,
    }
}
