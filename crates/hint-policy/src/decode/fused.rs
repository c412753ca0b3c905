//! Weights rearranged for decoding: fewer, larger operations per step.

use tch::{Kind, Tensor};

use crate::config::ModelConfig;
use crate::decode::matrix::Matrix;
use crate::tensor::{size, statistics_kind};
use crate::weights::{LayerWeights, Linear, Weights};

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
    /// Norm of each query and key head times `√head_dim`, `[heads + kv_heads, head_dim]`.
    pub(crate) head_norm: Option<Tensor>,
    pub(crate) output: Matrix,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
    /// Norms after attention and after the feed-forward layer, times `√hidden`.
    pub(crate) sandwich: Option<(Tensor, Tensor)>,
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
                    .map(|layer| FusedLayer::new(config, layer, compute))
                    .collect(),
                norm: norm_factor(config, &weights.norm).to_kind(compute),
                head: Matrix::new(Linear::plain(head, None)),
            }
        })
    }

    /// Handles on the same storage.
    pub(crate) fn shallow_clone(&self) -> Self {
        let layer = |layer: &FusedLayer| FusedLayer {
            qkv: layer.qkv.shallow_clone(),
            head_norm: layer.head_norm.as_ref().map(Tensor::shallow_clone),
            output: layer.output.shallow_clone(),
            gate: layer.gate.shallow_clone(),
            up: layer.up.shallow_clone(),
            down: layer.down.shallow_clone(),
            sandwich: layer
                .sandwich
                .as_ref()
                .map(|(attention, mlp)| (attention.shallow_clone(), mlp.shallow_clone())),
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
    fn new(config: &ModelConfig, layer: &LayerWeights, compute: Kind) -> Self {
        let (heads, kv_heads) =
            (size(config.num_attention_heads), size(config.num_key_value_heads));
        let head_dim = size(config.head_dim);
        let pair = |tensor: &Tensor, heads: i64| {
            let shape = tensor.size();
            tensor.view([heads, 2, head_dim / 2, -1]).transpose(1, 2).reshape(shape)
        };
        // `Double` keeps the folded products of `Float` factors exact until the final rounding.
        let wide = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double);
        let fold = |parts: &[Tensor], norm: &Tensor| {
            (Tensor::cat(parts, 0) * norm_factor(config, norm)).to_kind(compute)
        };
        let bias = |linear: &Linear| linear.bias.as_ref().map(wide);
        let plain = |linear: &Linear| {
            let bias = linear.bias.as_ref().map(|bias| bias.detach().to_kind(compute));
            Matrix::new(Linear::plain(linear.merged().to_kind(compute), bias))
        };
        let wide_weight = |linear: &Linear| linear.merged().to_kind(Kind::Double);
        let join = |parts: Vec<Option<Tensor>>| {
            let parts: Option<Vec<Tensor>> = parts.into_iter().collect();
            parts.map(|parts| Tensor::cat(&parts, 0).to_kind(compute))
        };
        let (query, key, value) = (&layer.query, &layer.key, &layer.value);
        let qkv = Linear::plain(
            fold(
                &[
                    pair(&wide_weight(query), heads),
                    pair(&wide_weight(key), kv_heads),
                    wide_weight(value),
                ],
                &layer.input_norm,
            ),
            join(vec![
                bias(query).map(|bias| pair(&bias, heads)),
                bias(key).map(|bias| pair(&bias, kv_heads)),
                bias(value),
            ]),
        );
        let behind_norm = |linear: &Linear| {
            let weight = fold(&[wide_weight(linear)], &layer.mlp_norm);
            Matrix::new(Linear::plain(weight, join(vec![bias(linear)])))
        };
        let (gate, up) = (behind_norm(&layer.gate), behind_norm(&layer.up));
        let head_norm = layer.head_norms.as_ref().map(|(query, key)| {
            let spread = |norm: &Tensor, heads| {
                ((pair(&wide(norm), 1) + config.norm_offset()) * (config.head_dim as f64).sqrt())
                    .expand([heads, head_dim], false)
            };
            let kind = statistics_kind(compute);
            Tensor::cat(&[spread(query, heads), spread(key, kv_heads)], 0).to_kind(kind)
        });
        let (output, down) = (plain(&layer.output), plain(&layer.down));
        let sandwich = layer.sandwich.as_ref().map(|(attention, mlp)| {
            let factor = |norm: &Tensor| norm_factor(config, norm).to_kind(compute);
            (factor(attention), factor(mlp))
        });
        Self { qkv: Matrix::new(qkv), head_norm, output, gate, up, down, sandwich }
    }
}

/// What a norm over the width multiplies `x / |x|` by, `[hidden]`, `Double`.
fn norm_factor(config: &ModelConfig, norm: &Tensor) -> Tensor {
    let root = (config.hidden_size as f64).sqrt();
    (norm.detach().to_kind(Kind::Double) + config.norm_offset()) * root
}
