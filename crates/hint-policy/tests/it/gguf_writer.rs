//! Writes GGUF files byte by byte, for tests and as seeds of the fuzz targets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use hint_policy::config::DeltaNet;
use hint_policy::{CausalLm, Policy};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

/// Metadata values that tests write.
pub(crate) enum Meta {
    Bool(bool),
    U32(u32),
    F32(f32),
    Text(&'static str),
    Texts(Vec<String>),
    Kinds(Vec<i32>),
    Scores(Vec<f32>),
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A GGUF version 3 file of `F32` tensors.
pub(crate) fn write(metadata: &[(String, Meta)], tensors: &[(String, Tensor)]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        let kind = |out: &mut Vec<u8>, kind: u32| out.extend(kind.to_le_bytes());
        match value {
            Meta::Bool(value) => {
                kind(&mut out, 7);
                out.push(u8::from(*value));
            }
            Meta::U32(value) => {
                kind(&mut out, 4);
                out.extend(value.to_le_bytes());
            }
            Meta::F32(value) => {
                kind(&mut out, 6);
                out.extend(value.to_le_bytes());
            }
            Meta::Text(value) => {
                kind(&mut out, 8);
                text(&mut out, value);
            }
            Meta::Texts(values) => {
                kind(&mut out, 9);
                kind(&mut out, 8);
                out.extend((values.len() as u64).to_le_bytes());
                for value in values {
                    text(&mut out, value);
                }
            }
            Meta::Kinds(values) => {
                kind(&mut out, 9);
                kind(&mut out, 5);
                out.extend((values.len() as u64).to_le_bytes());
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Meta::Scores(values) => {
                kind(&mut out, 9);
                kind(&mut out, 6);
                out.extend((values.len() as u64).to_le_bytes());
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, tensor) in tensors {
        text(&mut out, name);
        let shape = tensor.size();
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| out.extend(size.to_le_bytes()));
        out.extend(0_u32.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        let values: Vec<f32> =
            Vec::try_from(tensor.detach().to_kind(Kind::Float).contiguous().view([-1]))
                .expect("f32");
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

/// `policy` as llama.cpp's converter writes it.
pub(crate) fn from_policy(policy: &CausalLm) -> Vec<u8> {
    let mut metadata = model_metadata(policy);
    metadata.extend(tokenizer_metadata("gpt-2"));
    write(&metadata, &tensors(policy))
}

/// How llama.cpp's converter stores the family of `policy`.
pub(crate) fn stored(policy: &CausalLm) -> &'static Stored {
    let family = policy.config().architecture.model_type();
    let stored = NAMES.families.get(family);
    stored.unwrap_or_else(|| panic!("no family {family}; gen/gguf_names.py writes it"))
}

/// The shape of `policy`.
pub(crate) fn model_metadata(policy: &CausalLm) -> Vec<(String, Meta)> {
    let (config, name) = (policy.config(), stored(policy).architecture.as_str());
    let size = |key: &str, value: usize| (format!("{name}.{key}"), Meta::U32(value as u32));
    let mut metadata = vec![
        ("general.architecture".to_owned(), Meta::Text(name)),
        size("block_count", config.num_hidden_layers),
        size("context_length", config.max_position_embeddings),
        size("embedding_length", config.hidden_size),
        size("feed_forward_length", config.intermediate_size),
        size("attention.head_count", config.num_attention_heads),
        size("attention.head_count_kv", config.num_key_value_heads),
        size("attention.key_length", config.head_dim),
        (format!("{name}.rope.freq_base"), Meta::F32(config.rope_theta as f32)),
        (format!("{name}.attention.layer_norm_rms_epsilon"), Meta::F32(config.rms_norm_eps as f32)),
    ];
    let floats = [
        ("attention.scale", config.attention_multiplier),
        ("embedding_scale", config.embedding_multiplier),
        ("residual_scale", config.residual_multiplier),
        ("logit_scale", config.logits_scaling),
        ("attn_logit_softcapping", config.attn_logit_softcapping),
        ("final_logit_softcapping", config.final_logit_softcapping),
    ];
    for (key, value) in floats {
        if let Some(value) = value {
            metadata.push((format!("{name}.{key}"), Meta::F32(value as f32)));
        }
    }
    #[expect(clippy::cast_sign_loss, reason = "a share of a size")]
    let rotary = (config.head_dim as f64 * config.partial_rotary_factor).round() as u32;
    metadata.push((format!("{name}.rope.dimension_count"), Meta::U32(rotary)));
    if let Some(sizes) = &config.delta_net {
        let period = sizes.layers.iter().take_while(|&&mixes| mixes).count() + 1;
        metadata.extend([
            size("ssm.conv_kernel", sizes.conv_kernel),
            size("ssm.state_size", sizes.key_head_dim),
            size("ssm.group_count", sizes.key_heads),
            size("ssm.time_step_rank", sizes.value_heads),
            size("ssm.inner_size", sizes.value_heads * sizes.value_head_dim),
            size("full_attention_interval", period),
        ]);
    }
    if let Some(theta) = config.rope_local_theta {
        metadata.push((format!("{name}.rope.freq_base_swa"), Meta::F32(theta as f32)));
    }
    if let Some(window) = config.sliding_windows.iter().copied().flatten().next() {
        metadata.push(size("attention.sliding_window", window));
    }
    metadata
}

/// What gguf-py has, by `gen/gguf_names.py`.
#[derive(Deserialize)]
pub(crate) struct AllNames {
    /// By `model_type`.
    families: BTreeMap<String, Stored>,
    /// By the names of golden models.
    pub(crate) models: BTreeMap<String, ModelNames>,
    /// Keys of metadata, with `{arch}` for the architecture.
    pub(crate) keys: BTreeSet<String>,
}

/// How the converter stores a family.
#[derive(Deserialize)]
pub(crate) struct Stored {
    architecture: String,
    /// Whether the two rows of a rotary pair become neighbors.
    paired: bool,
    /// Whether norms grow by 1.
    pub(crate) shifted: bool,
}

/// The names for one model.
#[derive(Deserialize)]
pub(crate) struct ModelNames {
    pub(crate) architecture: String,
    /// Tensors by parameter; `N` stands for a layer.
    tensors: BTreeMap<String, String>,
}

/// Those of the golden file.
pub(crate) static NAMES: LazyLock<AllNames> = LazyLock::new(|| {
    let path = crate::golden::golden_dir().0.join("gguf_names.json");
    let text = std::fs::read_to_string(path).expect("the golden file is there");
    serde_json::from_str(&text).expect("the golden file parses")
});

impl AllNames {
    /// The names of the tensors of all models of an architecture.
    fn of_architecture(&self, architecture: &str) -> BTreeMap<&str, &str> {
        let models = self.models.values().filter(|model| model.architecture == architecture);
        let names = models.flat_map(|model| &model.tensors);
        // Golden models may have no head of their own.
        let head = ("lm_head.weight", "output.weight");
        names.map(|(from, to)| (from.as_str(), to.as_str())).chain([head]).collect()
    }
}

/// The name of the tensor for a parameter.
fn stored_name(names: &BTreeMap<&str, &str>, parameter: &str) -> String {
    let layer = parameter.split('.').find(|part| part.parse::<usize>().is_ok());
    let Some(layer) = layer.map(|layer| format!(".{layer}.")) else {
        return names[parameter].to_owned();
    };
    names[parameter.replacen(&layer, ".N.", 1).as_str()].replacen(".N.", &layer, 1)
}

/// The weights of `policy`.
pub(crate) fn tensors(policy: &CausalLm) -> Vec<(String, Tensor)> {
    let (config, stored) = (policy.config(), stored(policy));
    let names = NAMES.of_architecture(&stored.architecture);
    policy
        .parameters()
        .into_iter()
        .map(|parameter| {
            let pairs = parameter.name.contains("q_proj") || parameter.name.contains("k_proj");
            let tensor = parameter.tensor.to_device(Device::Cpu);
            let tensor = if pairs && stored.paired {
                let shape = tensor.size();
                let half = config.head_dim as i64 / 2;
                let heads = shape[0] / (2 * half);
                tensor.view([heads, 2, half, -1]).transpose(1, 2).reshape(shape)
            } else {
                tensor
            };
            let is_own = parameter.name.ends_with("linear_attn.norm.weight");
            let tensor = if stored.shifted && parameter.name.ends_with("norm.weight") && !is_own {
                tensor + 1.0
            } else {
                tensor
            };
            let tensor = match &config.delta_net {
                Some(sizes) => delta_net(&parameter.name, &tensor, sizes),
                None => tensor,
            };
            (stored_name(&names, &parameter.name), tensor)
        })
        .collect()
}

/// A tensor of a gated delta-net as the converter writes it: value heads of one key head lie apart, so that the i-th of all
/// key heads are neighbors.
fn delta_net(name: &str, tensor: &Tensor, sizes: &DeltaNet) -> Tensor {
    let (keys, values) = (sizes.key_heads as i64, sizes.value_heads as i64);
    let heads: Vec<i64> = (0..values / keys)
        .flat_map(|one| (0..keys).map(move |key| key * (values / keys) + one))
        .collect();
    let tiled = |tensor: &Tensor, before: i64, width: i64| {
        let rows =
            heads.iter().flat_map(|head| (0..width).map(move |row| before + head * width + row));
        let rows: Vec<i64> = (0..before).chain(rows).collect();
        tensor.index_select(0, &Tensor::from_slice(&rows))
    };
    let (width, before) = (sizes.value_head_dim as i64, 2 * keys * sizes.key_head_dim as i64);
    match name.split_once("linear_attn.").map_or("", |(_, part)| part) {
        "in_proj_qkv.weight" => tiled(tensor, before, width),
        "conv1d.weight" => tiled(&tensor.squeeze_dim(1), before, width),
        "in_proj_z.weight" => tiled(tensor, 0, width),
        "in_proj_a.weight" | "in_proj_b.weight" | "dt_bias" => tiled(tensor, 0, 1),
        "A_log" => tiled(&-tensor.exp(), 0, 1),
        "out_proj.weight" => tiled(&tensor.transpose(0, 1), 0, width).transpose(0, 1).contiguous(),
        _ => tensor.shallow_clone(),
    }
}

/// Byte-level BPE over the 256 bytes, one merge and one control token.
pub(crate) fn tokenizer_metadata(pre: &'static str) -> Vec<(String, Meta)> {
    // The printable stand-ins of GPT-2: bytes that print stay, the others move to 256 and up.
    let prints = |byte: &u32| {
        (33..127).contains(byte) || (161..173).contains(byte) || (174..256).contains(byte)
    };
    let mut characters: Vec<u32> = (0..256).filter(prints).collect();
    let others = 256 - characters.len() as u32;
    characters.extend(256..256 + others);
    let mut tokens: Vec<String> =
        characters.iter().filter_map(|&code| char::from_u32(code)).map(String::from).collect();
    tokens.push("12".to_owned());
    tokens.push("<|end|>".to_owned());
    let mut kinds = vec![1; 257];
    kinds.push(3);
    let entry = |key: &str, value| (format!("tokenizer.ggml.{key}"), value);
    vec![
        entry("model", Meta::Text("gpt2")),
        entry("pre", Meta::Text(pre)),
        entry("tokens", Meta::Texts(tokens)),
        entry("merges", Meta::Texts(vec!["1 2".to_owned()])),
        entry("token_type", Meta::Kinds(kinds)),
        entry("eos_token_id", Meta::U32(257)),
    ]
}

/// `SentencePiece` of four letters, two ways to join them, and a byte for anything else.
pub(crate) fn sentence_piece_metadata() -> Vec<(String, Meta)> {
    let pieces = [
        ("<unk>", 2, 0.0),
        ("<s>", 3, 0.0),
        ("</s>", 3, 0.0),
        ("<0x21>", 6, 0.0),
        ("\u{2581}", 1, -9.0),
        ("a", 1, -8.0),
        ("b", 1, -7.0),
        ("c", 1, -6.0),
        ("ab", 1, -2.0),
        ("bc", 1, -1.0),
    ];
    let entry = |key: &str, value| (format!("tokenizer.ggml.{key}"), value);
    vec![
        entry("model", Meta::Text("llama")),
        entry("tokens", Meta::Texts(pieces.iter().map(|piece| piece.0.to_owned()).collect())),
        entry("token_type", Meta::Kinds(pieces.iter().map(|piece| piece.1).collect())),
        entry("scores", Meta::Scores(pieces.iter().map(|piece| piece.2).collect())),
        entry("unknown_token_id", Meta::U32(0)),
        entry("bos_token_id", Meta::U32(1)),
        entry("eos_token_id", Meta::U32(2)),
    ]
}
