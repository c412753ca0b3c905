//! Models for tests: random ones of random shape, and one with fixed logits.

use std::path::Path;

use hint_policy::config::{Architecture, DeltaNet};
use hint_policy::{CausalLm, ModelConfig, Parameter, Policy, PolicyError, TokenBatch};
use proptest::prelude::*;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::device;

/// The model of `config` with more keys of `config.json`. What a family does not take is left out, one object at a time, so
/// that tests need no list of families.
pub(crate) fn with_keys(config: &ModelConfig, changes: &[Value]) -> ModelConfig {
    let mut json = serde_json::to_value(config).unwrap();
    for change in changes {
        let mut changed = json.clone();
        changed.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        if serde_json::from_value::<ModelConfig>(changed.clone()).is_ok() {
            json = changed;
        }
    }
    serde_json::from_value(json).unwrap()
}

/// Keys for a window in those layers that slide.
pub(crate) fn windows(window: usize, slides: &[bool]) -> Value {
    let kind = |&slides: &bool| if slides { "sliding_attention" } else { "full_attention" };
    let types: Vec<&str> = slides.iter().map(kind).collect();
    json!({"sliding_window": window, "use_sliding_window": true, "layer_types": types})
}

/// Keys for heads of which half is rotated, in both forms.
pub(crate) fn half_rotated() -> Value {
    let rope =
        json!({"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5});
    json!({"partial_rotary_factor": 0.5, "rope_parameters": rope})
}

/// Small configurations that vary in everything an architecture may vary in.
pub(crate) fn configs() -> impl Strategy<Value = ModelConfig> {
    let sizes = (1_usize..4, 1_usize..4, 1_usize..3, 1_usize..5, 5_usize..40);
    let options = (0..Architecture::ALL.len(), any::<[bool; 5]>(), 1_usize..6);
    (sizes, options).prop_map(|((layers, kv_heads, group, half_head, vocab), options)| {
        let (architecture, [bias, mlp_bias, tied, windowed, mixed], window) = options;
        let small = ModelConfig::small(Architecture::ALL[architecture], vocab);
        // Some models have no attention at all.
        let delta_net = small.delta_net.is_some().then(|| DeltaNet {
            layers: (0..layers).map(|layer| (layer + window) % 3 != 1).collect(),
            key_heads: kv_heads,
            value_heads: kv_heads * group,
            key_head_dim: 2 * half_head,
            value_head_dim: 2 * half_head + 1,
            conv_kernel: window,
        });
        let config = ModelConfig {
            hidden_size: 24,
            intermediate_size: 20,
            num_hidden_layers: layers,
            num_attention_heads: kv_heads * group,
            num_key_value_heads: kv_heads,
            head_dim: 2 * half_head,
            max_position_embeddings: 64,
            // An even number of dimensions of a head is rotated: all, or half of them below.
            partial_rotary_factor: 1.0,
            tie_word_embeddings: tied,
            initializer_range: 0.3,
            delta_net,
            ..small
        };
        let rotates: Vec<u8> = (0..layers).map(|layer| u8::from(layer.is_multiple_of(2))).collect();
        let slides: Vec<bool> = (0..layers).map(|layer| !(mixed && layer == 1)).collect();
        let mut keys = vec![
            json!({"no_rope_layers": rotates}),
            // Some families have all biases or none.
            json!({"attention_bias": bias, "mlp_bias": bias}),
            json!({"attention_bias": bias, "attention_out_bias": mlp_bias}),
            json!({"mlp_bias": mlp_bias}),
            half_rotated(),
        ];
        if windowed {
            keys.push(windows(window, &slides));
        }
        with_keys(&config, &keys)
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
