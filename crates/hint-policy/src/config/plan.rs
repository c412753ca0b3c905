//! The forward pass of a model, as data.
//!
//! A [`LayerPlan`] describes one transformer block completely, without its weights. The training pass, the
//! decoder and the differentiable definition each interpret it; none of them names a family.

use half::bf16;
use tch::Kind;

use crate::config::family::{Activation, HeadNorm, NormFactor};
use crate::config::{DeltaNet, ModelConfig};

/// One transformer block.
///
/// With `n` for a norm, which is the identity where the weights have none:
///
/// ```text
/// h = x + residual · n(output(mix(inputs(n(x)))))
/// y = h + residual · n(down(activation(gate(n(h))) · up(n(h))))
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LayerPlan {
    pub(crate) mixer: MixerPlan,
    pub(crate) norm: NormPlan,
    pub(crate) activation: Activation,
    /// Factor on additions to the residual stream.
    pub(crate) residual: Option<f64>,
}

/// Mixing of the tokens of a row: the part between the input projections and the output projection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum MixerPlan {
    Attention(AttentionPlan),
    DeltaNet(DeltaNetPlan),
}

/// Attention of queries to keys and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AttentionPlan {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Norms of queries and keys.
    pub(crate) norm: NormPlan,
    /// Dimension of the norms of queries and keys, if there are any.
    pub(crate) head_norm: HeadNorm,
    /// Rotary frequencies of queries and keys.
    pub(crate) rotation: Option<Rotation>,
    /// Number of latest positions that a query sees, its own included.
    pub(crate) window: Option<usize>,
    /// Factor on the scores.
    pub(crate) scale: f64,
    /// Scores `s` become `cap · tanh(s / cap)`.
    pub(crate) softcap: Option<f64>,
    /// Whether the query projection holds, behind each head, the gate of the head's result: `sigmoid` of it.
    pub(crate) gated: bool,
}

impl AttentionPlan {
    /// Width of the queries.
    pub(crate) const fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of the keys, and of the values.
    pub(crate) const fn keys(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// A gated delta-net.
///
/// The first projection is convolved along the row, activated by `silu` and cut into queries, keys and values. Queries and
/// keys are divided by their lengths. The second gates the result. The third is the rate
/// `β = sigmoid(b)` at which each head's state changes. The fourth gives its decay `g = −exp(A) · softplus(a + dt)`. For each token
///
/// ```text
/// S ← exp(g) · S
/// S ← S + k (β · (v − Sᵀ k))ᵀ
/// o = n(Sᵀ q / √key_dim) · silu(z)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DeltaNetPlan {
    pub(crate) key_heads: usize,
    pub(crate) value_heads: usize,
    pub(crate) key_dim: usize,
    pub(crate) value_dim: usize,
    /// Positions that the convolution sees.
    pub(crate) kernel: usize,
    /// Norm of each head's result.
    pub(crate) norm: NormPlan,
}

impl DeltaNetPlan {
    /// Numbers of a token that are convolved: queries, keys and values.
    pub(crate) const fn channels(&self) -> usize {
        2 * self.keys() + self.values()
    }

    /// Width of the queries, and of the keys.
    pub(crate) const fn keys(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Width of the values.
    pub(crate) const fn values(&self) -> usize {
        self.value_heads * self.value_dim
    }
}

/// A norm, without its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NormPlan {
    /// Constant inside the root.
    pub(crate) eps: f64,
    pub(crate) factor: NormFactor,
}

impl NormPlan {
    /// Addend of the weight.
    pub(crate) const fn offset(&self) -> f64 {
        match self.factor {
            NormFactor::Weight | NormFactor::WideWeight => 0.0,
            NormFactor::OnePlusWeight => 1.0,
        }
    }

    /// Whether the quotient is rounded before it is multiplied.
    pub(crate) const fn rounds(&self) -> bool {
        matches!(self.factor, NormFactor::Weight)
    }
}

/// Tables of rotary frequencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotation {
    Global,
    /// The frequencies of layers with a sliding window, where they differ.
    Local,
}

/// Transformation of logits before their softmax.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LogitPlan {
    /// Their first divisor.
    pub(crate) divisor: Option<f64>,
    /// Then logits `l` become `cap · tanh(l / cap)`.
    pub(crate) softcap: Option<f64>,
}

impl ModelConfig {
    /// The blocks.
    pub(crate) fn layers(&self) -> Vec<LayerPlan> {
        (0..self.num_hidden_layers).map(|index| self.layer(index)).collect()
    }

    /// A block.
    pub(crate) fn layer(&self, index: usize) -> LayerPlan {
        let delta_net = self.delta_net.as_ref().filter(|delta_net| delta_net.mixes(index));
        LayerPlan {
            mixer: match delta_net {
                Some(sizes) => MixerPlan::DeltaNet(self.delta_net(sizes)),
                None => MixerPlan::Attention(self.attention(index)),
            },
            norm: self.norm(),
            activation: self.architecture.family().activation,
            residual: self.residual_multiplier,
        }
    }

    fn delta_net(&self, sizes: &DeltaNet) -> DeltaNetPlan {
        DeltaNetPlan {
            key_heads: sizes.key_heads,
            value_heads: sizes.value_heads,
            key_dim: sizes.key_head_dim,
            value_dim: sizes.value_head_dim,
            kernel: sizes.conv_kernel,
            norm: NormPlan { eps: self.rms_norm_eps, factor: NormFactor::Weight },
        }
    }

    /// The attention of a block that has it.
    pub(crate) fn attention(&self, index: usize) -> AttentionPlan {
        let family = self.architecture.family();
        let window = self.sliding_window(index);
        let is_local = self.rope_local_theta.is_some() && window.is_some();
        let rotation = if is_local { Rotation::Local } else { Rotation::Global };
        let divisor = self.query_pre_attn_scalar.unwrap_or(self.head_dim as f64);
        let is_rotated = self.rotary_layers.get(index).copied().unwrap_or(true);
        AttentionPlan {
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            norm: self.norm(),
            head_norm: family.head_norm,
            rotation: is_rotated.then_some(rotation),
            window,
            scale: self.attention_multiplier.unwrap_or(1.0 / divisor.sqrt()),
            softcap: self.attn_logit_softcapping,
            gated: family.output_gate,
        }
    }

    /// All norms.
    pub(crate) fn norm(&self) -> NormPlan {
        NormPlan { eps: self.rms_norm_eps, factor: self.architecture.family().norm_factor }
    }

    /// Factor on the embeddings in kind `compute`, if any.
    pub(crate) fn embedding_scale(&self, compute: Kind) -> Option<f64> {
        if !self.architecture.family().embedding_root {
            return self.embedding_multiplier;
        }
        let root = (self.hidden_size as f64).sqrt();
        // The published models were trained with the root rounded to the kind of the activations.
        Some(if compute == Kind::BFloat16 { bf16::from_f64(root).to_f64() } else { root })
    }

    /// The logits.
    pub(crate) fn logits(&self) -> LogitPlan {
        LogitPlan { divisor: self.logits_scaling, softcap: self.final_logit_softcapping }
    }
}
