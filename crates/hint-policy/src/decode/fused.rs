//! Weights rearranged for decoding: fewer, larger operations per step.

use tch::{Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::architecture::HeadNorm;
use crate::config::plan::{LayerPlan, NormPlan};
use crate::decode::matrix::Matrix;
use crate::tensor::{size, statistics_kind};
use crate::weights::{LayerWeights, Linear, Projections, Weights};

/// Copies of the weights in the compute kind, made for [`CachedDecoder`](crate::decode).
///
/// - Query, key and value projections are one matrix.
/// - The norm before each of them is folded in: `norm(x) · Wᵀ = (x / |x|) · (W · diag(g) · √hidden)ᵀ`
///   with `|x|` the length of `x` (the `eps` goes into the length).
/// - Rows of queries and keys are reordered so that the two numbers of a rotary pair are
///   neighbors; a rotation is then one complex product. Scores do not change, because both sides
///   of each dot product are reordered alike.
#[derive(Debug)]
pub(crate) struct FusedWeights {
    pub(crate) compute: Kind,
    /// `[vocab, hidden]`.
    pub(crate) embedding: Tensor,
    pub(crate) layers: Vec<FusedLayer>,
    /// Factor on the rows of the embedding.
    pub(crate) embedding_scale: Option<f64>,
    /// Final norm times `√hidden`, `[hidden]`.
    pub(crate) norm: Tensor,
    pub(crate) head: Matrix,
}

/// One transformer block of [`FusedWeights`].
#[derive(Debug)]
pub(crate) struct FusedLayer {
    pub(crate) qkv: Matrix,
    /// Whether the input of `qkv` is normalized.
    pub(crate) norms_input: bool,
    /// Norm of queries and keys times the root of what it goes over, `[heads + kv_heads, head_dim]`.
    pub(crate) head_norm: Option<Tensor>,
    pub(crate) output: Matrix,
    /// Norm of the result of `output`, times `√hidden`.
    pub(crate) after_attention: Option<Tensor>,
    /// Whether the input of `gate` and `up` is normalized.
    pub(crate) norms_middle: bool,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
    /// Norm of the result of `down`, times `√hidden`.
    pub(crate) after_mlp: Option<Tensor>,
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
                layers: weights
                    .layers
                    .iter()
                    .zip(config.layers())
                    .map(|(layer, plan)| FusedLayer::new(config, &plan, layer, compute))
                    .collect(),
                norm: norm_factor(config.norm(), &weights.norm).to_kind(compute),
                head: Matrix::new(Linear::plain(head, None)),
            }
        })
    }

    /// Handles on the same storage.
    pub(crate) fn shallow_clone(&self) -> Self {
        let tensor = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::shallow_clone);
        let layer = |layer: &FusedLayer| FusedLayer {
            qkv: layer.qkv.shallow_clone(),
            norms_input: layer.norms_input,
            head_norm: tensor(&layer.head_norm),
            output: layer.output.shallow_clone(),
            after_attention: tensor(&layer.after_attention),
            norms_middle: layer.norms_middle,
            gate: layer.gate.shallow_clone(),
            up: layer.up.shallow_clone(),
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
    fn new(config: &ModelConfig, plan: &LayerPlan, layer: &LayerWeights, compute: Kind) -> Self {
        let (heads, kv_heads) = (size(plan.heads), size(plan.kv_heads));
        let head_dim = size(plan.head_dim);
        let rotary = if plan.rotation.is_some() { size(config.rotary_dim()) } else { 0 };
        let pair = |tensor: &Tensor, heads: i64| {
            if rotary == 0 {
                return tensor.shallow_clone();
            }
            let shape = tensor.size();
            let by_head = tensor.view([heads, head_dim, -1]);
            let rotated = by_head.narrow(1, 0, rotary).reshape([heads, 2, rotary / 2, -1]);
            let rotated = rotated.transpose(1, 2).reshape([heads, rotary, -1]);
            let rest = by_head.narrow(1, rotary, head_dim - rotary);
            Tensor::cat(&[rotated, rest], 1).reshape(shape)
        };
        // `Double` keeps the folded products of `Float` factors exact until the final rounding.
        let wide = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double);
        let norms = &layer.norms;
        let behind = |parts: &[Tensor], norm: Option<&Tensor>| {
            let joined = Tensor::cat(parts, 0);
            let folded = norm.map(|norm| &joined * norm_factor(plan.norm, norm));
            folded.unwrap_or(joined).to_kind(compute)
        };
        let joined = |biases: Option<Vec<Tensor>>| {
            biases.map(|biases| Tensor::cat(&biases, 0).to_kind(compute))
        };
        let (weights, biases) = parts(&layer.inputs);
        let paired = |parts: &[Tensor]| {
            vec![pair(&parts[0], heads), pair(&parts[1], kv_heads), parts[2].shallow_clone()]
        };
        let qkv = Linear::plain(
            behind(&paired(&weights), norms.before_attention.as_ref()),
            joined(biases.as_deref().map(paired)),
        );
        let (weights, biases) = parts(&layer.gates);
        let gate_or_up = |index: usize| {
            let weight = behind(std::slice::from_ref(&weights[index]), norms.before_mlp.as_ref());
            let bias = biases.as_ref().map(|biases| biases[index].to_kind(compute));
            Matrix::new(Linear::plain(weight, bias))
        };
        let (gate, up) = (gate_or_up(0), gate_or_up(1));
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
        let head_norm = layer.head_norms.as_ref().map(|(query, key)| {
            let spread = |norm: &Tensor, heads| match plan.head_norm {
                HeadNorm::None | HeadNorm::Heads => {
                    let root = (plan.head_dim as f64).sqrt();
                    ((pair(&wide(norm), 1) + plan.norm.offset()) * root)
                        .expand([heads, head_dim], false)
                }
                HeadNorm::Projections => {
                    let factor = pair(&norm_factor(plan.norm, norm), heads);
                    factor.view([heads, head_dim])
                }
            };
            let kind = statistics_kind(compute);
            Tensor::cat(&[spread(query, heads), spread(key, kv_heads)], 0).to_kind(kind)
        });
        Self {
            qkv: Matrix::new(qkv),
            norms_input: norms.before_attention.is_some(),
            head_norm,
            output: ahead(&layer.output, after_attention),
            after_attention: after(after_attention),
            norms_middle: norms.before_mlp.is_some(),
            gate,
            up,
            down: ahead(&layer.down, after_mlp),
            after_mlp: after(after_mlp),
        }
    }
}

/// Weights and biases of each result, adapters merged, `Double`.
fn parts(projections: &Projections) -> (Vec<Tensor>, Option<Vec<Tensor>>) {
    let wide = |tensor: Tensor| tensor.detach().to_kind(Kind::Double);
    let rows = |tensors: Vec<Tensor>| match tensors.as_slice() {
        [joint] if projections.widths.len() > 1 => {
            joint.split_with_sizes(projections.widths.as_slice(), 0)
        }
        _ => tensors,
    };
    let weights = projections.matrices.iter().map(|matrix| wide(matrix.merged())).collect();
    let biases =
        projections.matrices.iter().map(|matrix| Some(wide(matrix.bias.as_ref()?.detach())));
    (rows(weights), biases.collect::<Option<_>>().map(rows))
}

/// What a norm over the width multiplies `x / |x|` by, `[hidden]`, `Double`.
fn norm_factor(plan: NormPlan, norm: &Tensor) -> Tensor {
    let root = (norm.numel() as f64).sqrt();
    (norm.detach().to_kind(Kind::Double) + plan.offset()) * root
}
