//! The forward pass of a model, as data.
//!
//! A [`LayerPlan`] says everything about one transformer block that its weights do not. The training pass, the
//! decoder and the differentiable definition each interpret it; none of them asks for a family.

use half::bf16;
use tch::Kind;

use crate::config::ModelConfig;
use crate::config::architecture::{Activation, HeadNorm, NormFactor};

/// One transformer block.
///
/// With `n` for a norm, which is the identity where the weights have none:
///
/// ```text
/// h = x + residual · n(attention(n(x)))
/// y = h + residual · n(down(activation(gate(n(h))) · up(n(h))))
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LayerPlan {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) norm: NormPlan,
    /// What the norms of queries and keys, if there are any, go over.
    pub(crate) head_norm: HeadNorm,
    /// Which frequencies queries and keys are rotated by.
    pub(crate) rotation: Option<Rotation>,
    /// How many latest positions a query sees, its own included.
    pub(crate) window: Option<usize>,
    /// Factor on the scores.
    pub(crate) scale: f64,
    /// Scores `s` become `cap · tanh(s / cap)`.
    pub(crate) softcap: Option<f64>,
    pub(crate) activation: Activation,
    /// Factor on what is added to the residual stream.
    pub(crate) residual: Option<f64>,
}

/// A norm, but for its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NormPlan {
    /// Constant inside the root.
    pub(crate) eps: f64,
    pub(crate) factor: NormFactor,
}

impl NormPlan {
    /// What is added to the weight.
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
    /// Those of layers with a sliding window, where they are others.
    Local,
}

/// What happens to logits before their softmax.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LogitPlan {
    /// What they are divided by, at first.
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
        let family = self.architecture.family();
        let window = self.sliding_window(index);
        let is_local = self.rope_local_theta.is_some() && window.is_some();
        let rotation = if is_local { Rotation::Local } else { Rotation::Global };
        let divisor = self.query_pre_attn_scalar.unwrap_or(self.head_dim as f64);
        let is_rotated = self.rotary_layers.get(index).copied().unwrap_or(true);
        LayerPlan {
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            norm: self.norm(),
            head_norm: family.head_norm,
            rotation: is_rotated.then_some(rotation),
            window,
            scale: self.attention_multiplier.unwrap_or(1.0 / divisor.sqrt()),
            softcap: self.attn_logit_softcapping,
            activation: family.activation,
            residual: self.residual_multiplier,
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
