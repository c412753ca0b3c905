//! The operators for GPUs that a model does without.

use tch::{Device, Kind};

use crate::config::ModelConfig;
use crate::config::plan::MixerPlan;
use crate::forward::packed;
use crate::model::CausalLm;
use crate::runtime::FastPath;

impl CausalLm {
    /// The operators for GPUs that this model does without, each with the reason. The reason is the device's, as in
    /// [`FastPath::refusal`], or the model's: its shape, or the kind that it computes in. Tries an operator on the GPU if
    /// that was not done before. Empty on a CPU, where none is used.
    pub fn refusals(&self) -> Vec<(FastPath, &'static str)> {
        if self.device == Device::Cpu {
            return Vec::new();
        }
        let reason = |path: FastPath| {
            path.refusal(self.device).or_else(|| misfit(path, &self.config, self.compute))
        };
        FastPath::ALL.into_iter().filter_map(|path| Some((path, reason(path)?))).collect()
    }
}

/// Why a model of this shape does not take `path` on any GPU when it computes in `compute`, if so.
fn misfit(path: FastPath, config: &ModelConfig, compute: Kind) -> Option<&'static str> {
    match path {
        FastPath::PackedAttention | FastPath::CachedAttention => {
            config.layers().iter().find_map(|layer| match &layer.mixer {
                MixerPlan::Attention(plan) => packed::misfit(plan, compute),
                MixerPlan::DeltaNet(_) => None,
            })
        }
        FastPath::WideSum => (compute != Kind::BFloat16).then_some(packed::FOR_BF16),
        FastPath::AdamW | FastPath::GradientNorm | FastPath::RmsNorm => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Architecture;

    /// The operators that a model refuses, with the reasons.
    fn found(config: &ModelConfig, compute: Kind) -> Vec<(FastPath, &'static str)> {
        let reason = |path| Some((path, misfit(path, config, compute)?));
        FastPath::ALL.into_iter().filter_map(reason).collect()
    }

    #[test]
    fn wide_heads_and_bounded_scores_lose_both_attention_operators_with_a_reason() {
        let attention = [FastPath::PackedAttention, FastPath::CachedAttention];
        for architecture in [Architecture::Llama, Architecture::Gemma3, Architecture::Qwen35] {
            let small = ModelConfig::small(architecture, 60);
            assert!(found(&small, Kind::BFloat16).is_empty(), "{architecture:?}");
            let wide = ModelConfig { head_dim: 256, ..small };
            let reason = "the model's heads are wider than 128";
            assert_eq!(found(&wide, Kind::BFloat16), attention.map(|path| (path, reason)));
        }
        let bounded = ModelConfig::small(Architecture::Gemma2, 60);
        let reason = "the model bounds its scores";
        assert_eq!(found(&bounded, Kind::BFloat16), attention.map(|path| (path, reason)));
    }

    #[test]
    fn operators_for_bf16_say_so_in_other_kinds() {
        let config = ModelConfig::small(Architecture::Llama, 60);
        let expected = [FastPath::PackedAttention, FastPath::CachedAttention, FastPath::WideSum]
            .map(|path| (path, "it is for bf16"));
        assert_eq!(found(&config, Kind::Float), expected);
    }

    #[test]
    fn a_cpu_has_nothing_to_do_without() {
        let config = ModelConfig::small(Architecture::Llama, 60);
        let model = CausalLm::init(&config, 1, Device::Cpu).expect("a valid configuration");
        assert!(model.refusals().is_empty());
    }
}
