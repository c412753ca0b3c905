//! Models for tests: random ones of random shape, and one with fixed logits.

use std::path::Path;

use hint_policy::config::{Architecture as A, DeltaNet};
use hint_policy::{CausalLm, ModelConfig, Parameter, Policy, PolicyError, TokenBatch};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::device;

/// Small configurations that vary in everything an architecture may vary in.
pub(crate) fn configs() -> impl Strategy<Value = ModelConfig> {
    let sizes = (1_usize..4, 1_usize..4, 1_usize..3, 1_usize..5, 5_usize..40);
    let options = (0..A::ALL.len(), any::<[bool; 4]>(), 1_usize..6);
    (sizes, options).prop_map(|((layers, kv_heads, group, half_head, vocab), options)| {
        let (architecture, [bias, mlp_bias, tied, windowed], window) = options;
        let architecture = A::ALL[architecture];
        let free_biases =
            !matches!(architecture, A::Qwen2 | A::MiMo | A::Mistral | A::Phi3 | A::Exaone4);
        let mlp_biases = matches!(architecture, A::Llama | A::SmolLm3 | A::Granite | A::SeedOss);
        let pattern = matches!(architecture, A::Gemma2 | A::Gemma3 | A::Olmo3 | A::Exaone4);
        let any = matches!(
            architecture,
            A::Mistral | A::Phi3 | A::Qwen2 | A::MiMo | A::Qwen3 | A::SmolLm3
        );
        let sliding_windows = if pattern && layers > 1 {
            (0..layers).map(|layer| (layer != 1).then_some(window)).collect()
        } else if windowed && (pattern || any) {
            vec![Some(window); layers]
        } else {
            vec![]
        };
        let rotary_layers = match architecture {
            A::SmolLm3 => (0..layers).map(|layer| layer % 2 == 0).collect(),
            A::Exaone4 => sliding_windows.iter().map(Option::is_some).collect(),
            _ => vec![],
        };
        let partly = matches!(architecture, A::Phi3 | A::Qwen35) && half_head % 2 == 0;
        let small = ModelConfig::small(architecture, vocab);
        // Some models have no attention at all.
        let delta_net = small.delta_net.is_some().then(|| DeltaNet {
            layers: (0..layers).map(|layer| (layer + window) % 3 != 1).collect(),
            key_heads: kv_heads,
            value_heads: kv_heads * group,
            key_head_dim: 2 * half_head,
            value_head_dim: 2 * half_head + 1,
            conv_kernel: window,
        });
        ModelConfig {
            hidden_size: 24,
            intermediate_size: 20,
            num_hidden_layers: layers,
            num_attention_heads: kv_heads * group,
            num_key_value_heads: kv_heads,
            head_dim: 2 * half_head,
            max_position_embeddings: 64,
            qkv_bias: matches!(architecture, A::Qwen2 | A::MiMo) || (bias && free_biases),
            output_bias: bias && free_biases,
            // transformers has all biases of InternLM 3 or none.
            mlp_bias: if architecture == A::InternLm3 { bias } else { mlp_bias && mlp_biases },
            rotary_layers,
            partial_rotary_factor: if partly { 0.5 } else { 1.0 },
            tie_word_embeddings: tied,
            sliding_windows,
            initializer_range: 0.3,
            delta_net,
            ..small
        }
    })
}

/// A random model whose biases and norms are not trivial either.
pub(crate) fn random_model(config: &ModelConfig, seed: u64) -> CausalLm {
    tch::set_num_threads(1);
    let policy = CausalLm::init(config, seed, device()).expect("the configuration is valid");
    tch::no_grad(|| {
        for (index, mut parameter) in policy.parameters().into_iter().enumerate() {
            if parameter.tensor.dim() == 1 {
                let count = parameter.tensor.size()[0];
                let wave = Tensor::arange(count, (Kind::Float, device())) + index as f64;
                let _ = parameter.tensor.g_add_(&(wave.sin() * 0.2));
            }
        }
    });
    policy
}

/// Predicts the same logits everywhere, through the default decoder.
pub(crate) struct FixedLogits(pub(crate) Tensor);

impl FixedLogits {
    pub(crate) fn new(logits: &[f32]) -> Self {
        tch::set_num_threads(1);
        Self(Tensor::from_slice(logits))
    }
}

impl Policy for FixedLogits {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        let [batch, seq] = tokens.tokens().size()[..] else {
            unreachable!("tokens have two dimensions")
        };
        Ok(self.0.expand([batch, seq, self.0.size()[0]], false))
    }
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }
    fn device(&self) -> Device {
        self.0.device()
    }
    fn vocab_size(&self) -> usize {
        self.0.numel()
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn save(&self, _dir: &Path) -> Result<(), PolicyError> {
        Ok(())
    }
}
