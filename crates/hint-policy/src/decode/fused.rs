//! Weights rearranged for decoding: fewer, larger operations per step.

use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::family::{Activation, HeadNorm};
use crate::config::plan::{AttentionPlan, DeltaNetPlan, LayerPlan, MixerPlan, NormPlan};
use crate::decode::matrix::{Gates, Matrix};
use crate::decode::unit::Unit;
use crate::tensor::{size, statistics_kind};
use crate::weights::{DeltaNetWeights, LayerWeights, Linear, MixerWeights, Projections, Weights};

/// Copies of the weights in the compute kind, made for [`CachedDecoder`](crate::decode).
///
/// - The projections to the inputs of a mixer are one matrix; gates of attention come last in it.
/// - The norm before each of them is folded in: `norm(x) · Wᵀ = (x / |x|) · (W · diag(g) · √hidden)ᵀ`
///   with `|x|` the length of `x` (the `eps` goes into the length). Where a GPU divides by the root of the mean in one
///   operation, `√hidden` is left out.
/// - Rows of queries and keys are reordered so that the two numbers of a rotary pair are neighbors.
///   A rotation is then one complex product. Scores do not change, because both sides of each dot
///   product are reordered alike.
#[derive(Debug)]
pub(crate) struct FusedWeights {
    pub(crate) compute: Kind,
    /// `[vocab, hidden]`.
    pub(crate) embedding: Tensor,
    pub(crate) layers: Vec<FusedLayer>,
    /// Factor on the rows of the embedding.
    pub(crate) embedding_scale: Option<f64>,
    /// Factor of the final norm, `[hidden]`.
    pub(crate) norm: Tensor,
    pub(crate) head: Matrix,
}

/// One transformer block of [`FusedWeights`].
#[derive(Debug)]
pub(crate) struct FusedLayer {
    /// To the inputs of the mixer.
    pub(crate) inputs: Matrix,
    /// Whether the input of `inputs` is normalized.
    pub(crate) norms_input: bool,
    pub(crate) mixer: FusedMixer,
    pub(crate) output: Matrix,
    /// Factor of the norm of the result of `output`.
    pub(crate) after_attention: Option<Tensor>,
    /// Whether the input of `gates` is normalized.
    pub(crate) norms_middle: bool,
    pub(crate) activation: Activation,
    pub(crate) gates: Gates,
    pub(crate) down: Matrix,
    /// Factor of the norm of the result of `down`.
    pub(crate) after_mlp: Option<Tensor>,
}

/// Mixing of tokens in the block.
#[derive(Debug)]
pub(crate) enum FusedMixer {
    Attention(FusedAttention),
    DeltaNet(FusedDeltaNet),
}

/// Attention, without its projections.
#[derive(Debug)]
pub(crate) struct FusedAttention {
    pub(crate) plan: AttentionPlan,
    /// Index among the model's blocks with attention.
    pub(crate) slot: usize,
    /// Factor of the norm of queries and keys, `[heads + kv_heads, head_dim]`.
    pub(crate) head_norm: Option<Tensor>,
}

/// A gated delta-net, without its projections, in the kind of the statistics.
#[derive(Debug)]
pub(crate) struct FusedDeltaNet {
    pub(crate) plan: DeltaNetPlan,
    /// Index among the model's gated delta-nets.
    pub(crate) slot: usize,
    pub(crate) weights: DeltaNetWeights,
    /// The kernels of the convolution by position, `[kernel, channels]`.
    pub(crate) taps: Tensor,
    /// Factors on the log-decays, `[value_heads]`.
    pub(crate) slope: Tensor,
    /// Norm of a head's result and its factor, in the compute kind.
    pub(crate) unit: Unit,
    pub(crate) norm: Tensor,
}

impl FusedMixer {
    fn shallow_clone(&self) -> Self {
        match self {
            Self::Attention(attention) => Self::Attention(FusedAttention {
                head_norm: attention.head_norm.as_ref().map(Tensor::shallow_clone),
                ..*attention
            }),
            Self::DeltaNet(net) => Self::DeltaNet(FusedDeltaNet {
                weights: net.weights.map(Tensor::shallow_clone),
                taps: net.taps.shallow_clone(),
                slope: net.slope.shallow_clone(),
                unit: net.unit.shallow_clone(),
                norm: net.norm.shallow_clone(),
                ..*net
            }),
        }
    }
}

impl FusedDeltaNet {
    fn new(plan: DeltaNetPlan, slot: usize, weights: &DeltaNetWeights, compute: Kind) -> Self {
        let kind = statistics_kind(compute);
        let weights = weights.map(|tensor| tensor.detach().to_kind(kind));
        Self {
            taps: weights.conv.squeeze_dim(1).transpose(0, 1).contiguous(),
            slope: weights.decay.to_kind(Kind::Double).exp().neg().to_kind(kind),
            norm: norm_factor(plan.norm, &weights.norm).to_kind(compute),
            unit: Unit::new(plan.value_dim, plan.norm.eps, kind, weights.norm.device()),
            plan,
            slot,
            weights,
        }
    }

    /// Inputs of the convolution, gates, rates and decays, of the results of the input projections side by side.
    pub(crate) fn split(&self, projected: &Tensor) -> [Tensor; 4] {
        let DeltaNetPlan { value_heads, .. } = self.plan;
        let widths = [self.plan.channels(), self.plan.values(), value_heads, value_heads];
        let parts = projected.split_with_sizes(widths.map(size), -1);
        parts.try_into().expect("there are four projections")
    }
}

impl FusedWeights {
    pub(crate) fn new(config: &ModelConfig, weights: &Weights, compute: Kind) -> Self {
        tch::no_grad(|| {
            let cast = |tensor: &Tensor| tensor.detach().to_kind(compute);
            let embedding = cast(&weights.embedding);
            let head = match &weights.head {
                Some(head) => cast(head),
                None => embedding.shallow_clone(),
            };
            Self {
                compute,
                embedding,
                embedding_scale: config.embedding_scale(compute),
                layers: {
                    let (mut attention, mut delta_nets) = (0, 0);
                    let blocks = weights.layers.iter().zip(config.layers());
                    let fused = blocks.map(|(layer, plan)| {
                        let count = match plan.mixer {
                            MixerPlan::Attention(_) => &mut attention,
                            MixerPlan::DeltaNet(_) => &mut delta_nets,
                        };
                        *count += 1;
                        FusedLayer::new(config, &plan, *count - 1, layer, compute)
                    });
                    fused.collect()
                },
                norm: norm_factor(config.norm(), &weights.norm).to_kind(compute),
                head: Matrix::new(Linear::plain(head, None)),
            }
        })
    }

    /// Handles on the same storage.
    pub(crate) fn shallow_clone(&self) -> Self {
        let tensor = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::shallow_clone);
        let layer = |layer: &FusedLayer| FusedLayer {
            inputs: layer.inputs.shallow_clone(),
            norms_input: layer.norms_input,
            mixer: layer.mixer.shallow_clone(),
            output: layer.output.shallow_clone(),
            after_attention: tensor(&layer.after_attention),
            norms_middle: layer.norms_middle,
            activation: layer.activation,
            gates: layer.gates.shallow_clone(),
            down: layer.down.shallow_clone(),
            after_mlp: tensor(&layer.after_mlp),
        };
        Self {
            compute: self.compute,
            embedding: self.embedding.shallow_clone(),
            embedding_scale: self.embedding_scale,
            layers: self.layers.iter().map(layer).collect(),
            norm: self.norm.shallow_clone(),
            head: self.head.shallow_clone(),
        }
    }
}

impl FusedLayer {
    fn new(
        config: &ModelConfig,
        plan: &LayerPlan,
        slot: usize,
        layer: &LayerWeights,
        compute: Kind,
    ) -> Self {
        let norms = &layer.norms;
        let behind = |parts: &[Tensor], norm: Option<&Tensor>| {
            let joined = Tensor::cat(parts, 0);
            match norm {
                Some(norm) => folded(&joined, &norm_factor(plan.norm, norm), compute),
                // `Double` ones of these numbers would round to the same.
                None => joined.to_kind(compute),
            }
        };
        let joined = |biases: Option<Vec<Tensor>>| {
            biases.map(|biases| Tensor::cat(&biases, 0).to_kind(compute))
        };
        let (weights, biases) = parts(&layer.inputs);
        let arranged = |parts: Vec<Tensor>| match plan.mixer {
            MixerPlan::Attention(plan) => HeadOrder::new(config, &plan).arrange(&parts),
            MixerPlan::DeltaNet(_) => parts,
        };
        let inputs = Linear::plain(
            behind(&arranged(weights), norms.before_attention.as_ref()),
            joined(biases.map(arranged)),
        );
        let (weights, biases) = parts(&layer.gates);
        let gate_or_up = |index: usize| {
            let weight = behind(std::slice::from_ref(&weights[index]), norms.before_mlp.as_ref());
            let bias = joined(biases.as_ref().map(|all| vec![all[index].shallow_clone()]));
            Linear::plain(weight, bias)
        };
        let gates = Gates::new(gate_or_up(0), gate_or_up(1));
        // The factor on what a part adds is its norm's, or its own.
        let ahead = |linear: &Linear, norm: Option<&Tensor>| {
            let factor = plan.residual.filter(|_| norm.is_none());
            let scaled = |tensor: Tensor| match factor {
                Some(factor) => (tensor.to_kind(Kind::Double) * factor).to_kind(compute),
                None => tensor.to_kind(compute),
            };
            let bias = linear.bias.as_ref().map(|bias| scaled(bias.detach()));
            Matrix::new(Linear::plain(scaled(linear.merged()), bias))
        };
        let after = |norm: Option<&Tensor>| {
            let factor = norm_factor(plan.norm, norm?);
            Some((factor * plan.residual.unwrap_or(1.0)).to_kind(compute))
        };
        let (after_attention, after_mlp) =
            (norms.after_attention.as_ref(), norms.after_mlp.as_ref());
        let mixer = match (plan.mixer, &layer.mixer) {
            (MixerPlan::Attention(plan), MixerWeights::Attention { head_norms }) => {
                let order = HeadOrder::new(config, &plan);
                let norms = head_norms.as_ref();
                let head_norm = norms.map(|(query, key)| order.norms(query, key, compute));
                FusedMixer::Attention(FusedAttention { plan, slot, head_norm })
            }
            (MixerPlan::DeltaNet(plan), MixerWeights::DeltaNet(weights)) => {
                FusedMixer::DeltaNet(FusedDeltaNet::new(plan, slot, weights, compute))
            }
            _ => unreachable!("weights are arranged by the plan"),
        };
        Self {
            inputs: Matrix::new(inputs),
            norms_input: norms.before_attention.is_some(),
            mixer,
            output: ahead(&layer.output, after_attention),
            after_attention: after(after_attention),
            norms_middle: norms.before_mlp.is_some(),
            activation: plan.activation,
            gates,
            down: ahead(&layer.down, after_mlp),
            after_mlp: after(after_mlp),
        }
    }
}

/// The order of rows in which the two numbers of a rotary pair are neighbors.
struct HeadOrder {
    plan: AttentionPlan,
    /// Dimensions of a head that are rotated.
    rotary: i64,
}

impl HeadOrder {
    fn new(config: &ModelConfig, plan: &AttentionPlan) -> Self {
        let rotary = if plan.rotation.is_some() { size(config.rotary_dim()) } else { 0 };
        Self { plan: *plan, rotary }
    }

    fn pair(&self, tensor: &Tensor, heads: i64) -> Tensor {
        let (rotary, head_dim) = (self.rotary, size(self.plan.head_dim));
        if rotary == 0 {
            return tensor.shallow_clone();
        }
        let shape = tensor.size();
        let by_head = tensor.reshape([heads, head_dim, -1]);
        let rotated = by_head.narrow(1, 0, rotary).reshape([heads, 2, rotary / 2, -1]);
        let rotated = rotated.transpose(1, 2).reshape([heads, rotary, -1]);
        let rest = by_head.narrow(1, rotary, head_dim - rotary);
        Tensor::cat(&[rotated, rest], 1).reshape(shape)
    }

    /// The rows of the projections that make queries, keys, values, and gates if there are any.
    fn arrange(&self, parts: &[Tensor]) -> Vec<Tensor> {
        let (heads, kv_heads) = (size(self.plan.heads), size(self.plan.kv_heads));
        let (query, gate) = if self.plan.gated {
            // Each head's gate lies behind its query.
            let pairs = parts[0].reshape([heads, 2, size(self.plan.head_dim), -1]);
            let mut shape = parts[0].size();
            shape[0] /= 2;
            let part = |index| pairs.select(1, index).reshape(shape.as_slice());
            (part(0), Some(part(1)))
        } else {
            (parts[0].shallow_clone(), None)
        };
        let key = self.pair(&parts[1], kv_heads);
        let arranged = [self.pair(&query, heads), key, parts[2].shallow_clone()];
        arranged.into_iter().chain(gate).collect()
    }

    /// [`FusedAttention::head_norm`].
    fn norms(&self, query: &Tensor, key: &Tensor, compute: Kind) -> Tensor {
        let plan = &self.plan;
        let (heads, kv_heads) = (size(plan.heads), size(plan.kv_heads));
        let head_dim = size(plan.head_dim);
        let spread = |norm: &Tensor, heads| match plan.head_norm {
            HeadNorm::None | HeadNorm::Heads | HeadNorm::RotatedHeads => {
                let root = Unit::root(plan.head_dim, norm.device());
                let norm = norm.detach().to_kind(Kind::Double);
                ((self.pair(&norm, 1) + plan.norm.offset()) * root).expand([heads, head_dim], false)
            }
            HeadNorm::Projections => {
                let factor = self.pair(&norm_factor(plan.norm, norm), heads);
                factor.view([heads, head_dim])
            }
        };
        let kind = statistics_kind(compute);
        Tensor::cat(&[spread(query, heads), spread(key, kv_heads)], 0).to_kind(kind)
    }
}

/// Weights and biases of each result. Weights with adapters are merged, and `Double`; all others are `Float`.
fn parts(projections: &Projections) -> (Vec<Tensor>, Option<Vec<Tensor>>) {
    let rows = |tensors: Vec<Tensor>| match tensors.as_slice() {
        [joint] if projections.widths.len() > 1 => {
            joint.split_with_sizes(projections.widths.as_slice(), 0)
        }
        _ => tensors,
    };
    let is_adapted = projections.matrices.iter().any(|matrix| matrix.adapter.is_some());
    let kind = if is_adapted { Kind::Double } else { Kind::Float };
    let weights = projections.matrices.iter().map(|matrix| matrix.merged().to_kind(kind)).collect();
    let biases = projections.matrices.iter().map(|matrix| Some(matrix.bias.as_ref()?.detach()));
    (rows(weights), biases.collect::<Option<_>>().map(rows))
}

/// Numbers of a matrix that are `Double` at a time on a CPU: 2 MiB, which caches hold.
const WIDE_ELEMENTS: i64 = 1 << 18;

/// The matrix `joined` `[out, in]` times `factor` `[in]`, in the kind `compute`. `Double` keeps the products of `Float`
/// factors exact until the final rounding. Each number is one product, so a cut into rows changes no bit.
fn folded(joined: &Tensor, factor: &Tensor, compute: Kind) -> Tensor {
    let rows = if joined.device() == Device::Cpu {
        (WIDE_ELEMENTS / factor.size()[0].max(1)).max(1)
    } else {
        // A GPU takes fewer, larger operations.
        joined.size()[0].max(1)
    };
    let result = Tensor::empty(joined.size(), (compute, joined.device()));
    for (mut result, part) in result.split(rows, 0).into_iter().zip(joined.split(rows, 0)) {
        result.copy_(&(part.to_kind(Kind::Double) * factor));
    }
    result
}

/// Factor of [`Unit`]'s result in a norm over the width, `[hidden]`, `Double`.
fn norm_factor(plan: NormPlan, norm: &Tensor) -> Tensor {
    let root = Unit::root(norm.numel(), norm.device());
    (norm.detach().to_kind(Kind::Double) + plan.offset()) * root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_cut_into_rows_nor_a_fold_without_double_numbers_changes_a_bit() {
        tch::set_num_threads(1);
        let width = 700;
        // So many rows that three parts are folded, of which the last one is smaller.
        let rows = 2 * (WIDE_ELEMENTS / width) + 5;
        let matrix = (Tensor::arange(rows * width, (Kind::Float, Device::Cpu)) * 0.37).sin();
        let matrix = matrix.view([rows, width]);
        let factor = Tensor::arange(width, (Kind::Double, Device::Cpu)).cos() + 1.5;
        let wide = matrix.to_kind(Kind::Double);
        for compute in [Kind::Float, Kind::BFloat16, Kind::Double] {
            let expected = (&wide * &factor).to_kind(compute);
            assert!(folded(&matrix, &factor, compute).equal(&expected), "{compute:?}");
            // Where there is no norm.
            assert!(matrix.to_kind(compute).equal(&wide.to_kind(compute)), "{compute:?}");
        }
    }
}
