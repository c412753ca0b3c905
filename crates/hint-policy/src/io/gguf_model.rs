//! Configuration and weights of a model from a GGUF file.

use std::collections::BTreeSet;

use tch::{Device, Tensor};

use crate::config::architecture::Architecture;
use crate::config::family::{LocalRotation, Unrotated, Windows};
use crate::config::layout::{ParameterSpec, layout};
use crate::config::rope::RopeScaling;
use crate::config::{ModelConfig, hf_layers};
use crate::error::PolicyError;
use crate::gguf::end_tokens::is_end;
use crate::gguf::{Gguf, GgufValue};
use crate::io::gguf_delta_net;
use crate::io::gguf_keys::Keys;
use crate::io::progress::{LoadProgress, LoadedFiles, ProgressRecorder};
use crate::io::safetensors_file;
use crate::tensor::size;

/// Divisors of the rotary frequencies.
const FREQUENCIES: &str = "rope_freqs.weight";

/// The constant inside the root of every norm.
const EPSILON: &str = "attention.layer_norm_rms_epsilon";

/// Divisors of the rotary frequencies for short and for long rows.
const SHORT: &str = "rope_factors_short.weight";
const LONG: &str = "rope_factors_long.weight";

/// Reads the shape of the model from the metadata.
pub(crate) fn config(gguf: &Gguf) -> Result<ModelConfig, PolicyError> {
    let (name, architecture) = architecture(gguf)?;
    let keys = Keys { gguf, prefix: name };
    // OLMo 3 is OLMo 2 with windows.
    let window = keys.size("attention.sliding_window")?.filter(|&window| window > 0);
    let architecture = match architecture {
        Architecture::Olmo2 if window.is_some() => Architecture::Olmo3,
        other => other,
    };
    let mut config = unwindowed(gguf, &keys, architecture)?;
    set_windows(&keys, &mut config, window)?;
    config.rope_scaling = scaling(&keys, &config)?;
    let scaled = config.rope_scaling != RopeScaling::Default;
    if scaled && architecture.family().local_rotation == LocalRotation::Unscaled {
        config.rope_local_theta = Some(config.rope_theta);
    }
    config.validate()?;
    Ok(config)
}

/// The architecture, with its name in the file. Files that hold a part of a model, or another kind of model, are
/// refused.
fn architecture(gguf: &Gguf) -> Result<(&str, Architecture), PolicyError> {
    let kind = gguf.get("general.type").and_then(GgufValue::as_str).unwrap_or("model");
    if kind != "model" {
        let supported = "model; give the file of the model, and an adapter as a folder of PEFT";
        return Err(PolicyError::unsupported("general.type", kind, supported));
    }
    let name = gguf.get("general.architecture").and_then(GgufValue::as_str).unwrap_or("missing");
    let of_family = |known: Architecture| Some(known.family().gguf?.name);
    let architecture = Architecture::ALL.into_iter().find(|known| of_family(*known) == Some(name));
    let Some(architecture) = architecture else {
        let supported: Vec<&str> = Architecture::ALL.into_iter().filter_map(of_family).collect();
        let supported = supported.join(", ");
        return Err(PolicyError::unsupported("general.architecture", name, supported));
    };
    if let Some(parts) =
        gguf.get("split.count").and_then(GgufValue::as_u64).filter(|parts| *parts > 1)
    {
        let supported = "1; join the parts with `llama-gguf-split --merge FIRST WHOLE`";
        return Err(PolicyError::unsupported("split.count", &parts, supported));
    }
    let keys = Keys { gguf, prefix: name };
    refuse_others(&keys)?;
    Ok((name, architecture))
}

/// Refuses mixtures of experts, and models that embed or score texts: they have the architecture of one that writes.
fn refuse_others(keys: &Keys<'_>) -> Result<(), PolicyError> {
    let counts = [
        ("expert_count", "0 (no mixture of experts)"),
        ("pooling_type", "0 (a model that writes text; this one embeds or ranks texts)"),
    ];
    for (key, supported) in counts {
        if let Some(count) = keys.size(key)?.filter(|&count| count > 0) {
            return Err(PolicyError::unsupported(key, &count, supported));
        }
    }
    if keys.get("attention.causal").and_then(GgufValue::as_bool) == Some(false) {
        let supported = "true (a model that writes text; this one sees the whole text)";
        return Err(PolicyError::unsupported("attention.causal", &false, supported));
    }
    if keys.get("classifier.output_labels").is_some() {
        let supported = "none (a model that writes text; this one classifies texts)";
        return Err(PolicyError::unsupported("classifier.output_labels", "a list", supported));
    }
    Ok(())
}

/// The dimension of a head, and of its rotated part.
fn head_dims(
    keys: &Keys<'_>,
    architecture: Architecture,
    default: usize,
) -> Result<(usize, usize), PolicyError> {
    let head_dim = keys.size("attention.key_length")?.unwrap_or(default);
    let rotary_dim = keys.size("rope.dimension_count")?;
    let partly = architecture.family().partly_rotated;
    let same = [
        ("attention.value_length", keys.size("attention.value_length")?),
        ("rope.dimension_count", rotary_dim.filter(|_| !partly)),
    ];
    for (key, value) in same {
        if let Some(value) = value.filter(|&value| value != head_dim) {
            let supported = format!("{head_dim} (the head dimension)");
            return Err(PolicyError::unsupported(key, &value, supported));
        }
    }
    Ok((head_dim, rotary_dim.unwrap_or(head_dim)))
}

/// The shape without windows, and without the scaling of rotary frequencies.
fn unwindowed(
    gguf: &Gguf,
    keys: &Keys<'_>,
    architecture: Architecture,
) -> Result<ModelConfig, PolicyError> {
    let num_attention_heads = keys.required("attention.head_count")?;
    // Layers that predict further tokens come last.
    let further = keys.size("nextn_predict_layers")?.unwrap_or(0);
    let layers = keys.required("block_count")?.saturating_sub(further);
    let delta_net = gguf_delta_net::sizes(keys, architecture, layers)?;
    let hidden_size = keys.required("embedding_length")?;
    let (head_dim, rotary_dim) =
        head_dims(keys, architecture, hidden_size / num_attention_heads.max(1))?;
    let factor = |key: &str| {
        keys.float(key).filter(|&factor| architecture.family().multiplied && factor != 0.0)
    };
    let vocab = gguf.shape("token_embd.weight").and_then(|shape| shape.first().copied());
    let vocab_size = vocab.and_then(|vocab| usize::try_from(vocab).ok());
    let token = |key: &str| {
        let id = gguf.get(&format!("tokenizer.ggml.{key}_token_id"))?.as_u64()?;
        u32::try_from(id).ok()
    };
    let mut layer_indices = 0..layers;
    let is_attention = |layer: &usize| delta_net.as_ref().is_none_or(|sizes| !sizes.mixes(*layer));
    let attention = layer_indices.find(is_attention).unwrap_or(0);
    let has_bias = |name: &str| gguf.shape(&format!("blk.{attention}.{name}.bias")).is_some();
    Ok(ModelConfig {
        architecture,
        vocab_size: vocab_size.ok_or_else(|| PolicyError::MissingTensor {
            path: gguf.path().to_owned(),
            tensor: "token_embd.weight".into(),
        })?,
        hidden_size,
        intermediate_size: keys.required("feed_forward_length")?,
        num_hidden_layers: layers,
        num_attention_heads,
        num_key_value_heads: keys.size("attention.head_count_kv")?.unwrap_or(num_attention_heads),
        head_dim,
        rms_norm_eps: keys.float(EPSILON).ok_or_else(|| {
            PolicyError::config(format!("{}.{EPSILON}", keys.prefix), "missing", "a number")
        })?,
        max_position_embeddings: keys.required("context_length")?,
        rope_theta: keys.float("rope.freq_base").unwrap_or(10_000.0),
        rope_scaling: RopeScaling::Default,
        long_factors: false,
        rope_local_theta: None,
        // Files do not say which.
        rotary_layers: match architecture.family().unrotated {
            Unrotated::Listed { period } => {
                hf_layers::all_but_every_nth(period, layers.min(crate::config::MAX_LAYERS))
            }
            Unrotated::Never | Unrotated::WithoutWindow => Vec::new(),
        },
        partial_rotary_factor: rotary_dim as f64 / head_dim as f64,
        query_pre_attn_scalar: None,
        attention_multiplier: factor("attention.scale"),
        attn_logit_softcapping: None,
        embedding_multiplier: factor("embedding_scale"),
        residual_multiplier: factor("residual_scale"),
        logits_scaling: factor("logit_scale"),
        final_logit_softcapping: None,
        qkv_bias: has_bias("attn_q"),
        output_bias: has_bias("attn_output"),
        mlp_bias: has_bias("ffn_gate"),
        tie_word_embeddings: gguf.shape("output.weight").is_none(),
        sliding_windows: Vec::new(),
        delta_net,
        initializer_range: 0.02,
        bos_token_id: token("bos"),
        eos_token_ids: token("eos").into_iter().collect(),
        pad_token_id: token("padding"),
    })
}

/// Sets which layers have a window, and what follows from that.
fn set_windows(
    keys: &Keys<'_>,
    config: &mut ModelConfig,
    window: Option<usize>,
) -> Result<(), PolicyError> {
    let family = config.architecture.family();
    match family.windows {
        Windows::Pattern { period, .. } => {
            config.sliding_windows = pattern(keys, config, window, period);
        }
        Windows::Listed { period } => {
            if window.is_some() {
                config.sliding_windows = pattern(keys, config, window, period);
            }
        }
        Windows::Everywhere => {
            let layers = config.num_hidden_layers.min(crate::config::MAX_LAYERS);
            config.sliding_windows =
                window.map_or_else(Vec::new, |window| vec![Some(window); layers]);
        }
        Windows::Never | Windows::Flagged => {
            if let Some(window) = window.filter(|&window| window < config.max_position_embeddings) {
                return Err(PolicyError::unsupported("attention.sliding_window", &window, "none"));
            }
        }
    }
    if family.unrotated == Unrotated::WithoutWindow {
        config.rotary_layers = config.sliding_windows.iter().map(Option::is_some).collect();
    }
    if family.bounded {
        gemma(keys, config);
    }
    Ok(())
}

/// Tokens that end a completion: the ones with a key, and the ones with known names.
pub(crate) fn stop_tokens(gguf: &Gguf) -> Vec<u32> {
    let id = |key: &str| {
        let id = gguf.get(&format!("tokenizer.ggml.{key}_token_id"))?.as_u64()?;
        u32::try_from(id).ok()
    };
    let tokens = gguf.get("tokenizer.ggml.tokens").and_then(GgufValue::as_array);
    let named = tokens.unwrap_or_default().iter().zip(0_u32..);
    let named = named.filter(|(token, _)| token.as_str().is_some_and(is_end)).map(|(_, id)| id);
    // GPT-2's tokenizer names its end also as what stands for the unknown, which ends nothing.
    let unknown = id("unknown");
    let keyed = ["eos", "eot", "eom"].into_iter().filter_map(id);
    keyed.chain(named.filter(|id| Some(*id) != unknown)).collect()
}

/// The windows of a family where some layers have one: the listed layers of the file, or all but every
/// `period`-th.
fn pattern(
    keys: &Keys<'_>,
    config: &ModelConfig,
    window: Option<usize>,
    period: usize,
) -> Vec<Option<usize>> {
    let layers = config.num_hidden_layers.min(crate::config::MAX_LAYERS);
    let window = window.unwrap_or(config.max_position_embeddings);
    match keys.get("attention.sliding_window_pattern") {
        Some(GgufValue::Array(slides)) => {
            slides.iter().map(|slides| (slides.as_bool() == Some(true)).then_some(window)).collect()
        }
        Some(own) => {
            let own = own.as_u64().and_then(|period| usize::try_from(period).ok());
            hf_layers::every_nth_full(own.unwrap_or(period), window, layers)
        }
        None => hf_layers::every_nth_full(period, window, layers),
    }
}

/// Special properties of Gemma 2 and 3.
fn gemma(keys: &Keys<'_>, config: &mut ModelConfig) {
    let cap = |key: &str| keys.float(key).filter(|cap| *cap != 0.0);
    let family = config.architecture.family();
    config.attn_logit_softcapping = cap("attn_logit_softcapping").or(family.defaults.score_cap);
    config.final_logit_softcapping = cap("final_logit_softcapping").or(family.defaults.logit_cap);
    if let LocalRotation::Base { default } = family.local_rotation {
        config.rope_local_theta = Some(keys.float("rope.freq_base_swa").unwrap_or(default));
    }
    // The 27B models alone, which have so many layers, have another factor on their scores; files do not tell.
    let divisor = if [46, 62].contains(&config.num_hidden_layers) {
        config.hidden_size / config.num_attention_heads.max(1)
    } else {
        config.head_dim
    };
    config.query_pre_attn_scalar = Some(divisor as f64);
}

/// Reads the tensors of the model in the order of [`layout`], as `Float` on `device`.
pub(crate) fn tensors(
    gguf: &Gguf,
    config: &ModelConfig,
    device: Device,
    observer: &mut dyn FnMut(LoadProgress),
) -> Result<(Vec<Tensor>, LoadedFiles), PolicyError> {
    let mut tensors = Vec::new();
    let files = visit(gguf, config, device, observer, |tensor| tensors.push(tensor))?;
    Ok((tensors, files))
}

/// Hands the tensors of the model to `take`.
pub(crate) fn visit(
    gguf: &Gguf,
    config: &ModelConfig,
    device: Device,
    observer: &mut dyn FnMut(LoadProgress),
    mut take: impl FnMut(Tensor),
) -> Result<LoadedFiles, PolicyError> {
    let size = gguf.size() as u64;
    let mut recorder = ProgressRecorder::new(size, observer);
    for spec in &layout(config) {
        take(tensor(gguf, config, spec, device, &mut recorder)?);
    }
    for name in unused(gguf, config) {
        recorder.unused(&name);
    }
    recorder.file(size);
    Ok(recorder.into_files())
}

/// Content of the file for the model, without its values.
pub(crate) fn survey(gguf: &Gguf, config: &ModelConfig) -> Result<LoadedFiles, PolicyError> {
    let bytes = gguf.size() as u64;
    let mut survey = LoadedFiles { bytes, ..LoadedFiles::default() };
    let specs = layout(config);
    for spec in &specs {
        let spec = located(gguf, config, spec)?;
        gguf.check_type(&spec.name)?;
        if let Some((kind, _)) = gguf.storage(&spec.name) {
            *survey.types.entry(kind).or_default() += spec.values();
        }
    }
    survey.unused = unused(gguf, config);
    Ok(survey)
}

/// Tensors that the model does not use.
fn unused(gguf: &Gguf, config: &ModelConfig) -> Vec<String> {
    let known: BTreeSet<String> =
        layout(config).iter().map(|spec| gguf_name(config, &spec.name)).collect();
    let is_used = |name: &str| known.contains(name) || [FREQUENCIES, SHORT, LONG].contains(&name);
    gguf.tensor_names().filter(|name| !is_used(name)).map(str::to_owned).collect()
}

/// A parameter with the name that the file has for it, as errors do; it is there and has the right shape.
fn located(
    gguf: &Gguf,
    config: &ModelConfig,
    spec: &ParameterSpec,
) -> Result<ParameterSpec, PolicyError> {
    let shape = gguf_delta_net::stored_shape(spec);
    let spec = ParameterSpec { name: gguf_name(config, &spec.name), shape, ..spec.clone() };
    let shape = gguf.shape(&spec.name).ok_or_else(|| PolicyError::MissingTensor {
        path: gguf.path().to_owned(),
        tensor: spec.name.clone(),
    })?;
    safetensors_file::check_shape(gguf.path(), &spec, shape)?;
    Ok(spec)
}

fn tensor(
    gguf: &Gguf,
    config: &ModelConfig,
    spec: &ParameterSpec,
    device: Device,
    recorder: &mut ProgressRecorder<'_>,
) -> Result<Tensor, PolicyError> {
    let parameter = spec;
    let spec = &located(gguf, config, spec)?;
    let name = spec.name.as_str();
    let mut tensor = Tensor::from_slice(&gguf.read(name)?).view(spec.shape.as_slice());
    let paired = name.contains("attn_q.") || name.contains("attn_k.");
    if paired && config.architecture.family().gguf.is_some_and(|gguf| gguf.paired) {
        tensor = unpair(&tensor, config);
    }
    // Files hold the factor of a norm, checkpoints its difference from the offset.
    let is_shifted = name.ends_with("norm.weight") && !name.ends_with("ssm_norm.weight");
    if config.norm().offset() != 0.0 && is_shifted {
        tensor -= config.norm().offset();
    }
    if let Some(sizes) = &config.delta_net {
        tensor = gguf_delta_net::restored(&tensor, parameter, sizes);
    }
    let tensor = safetensors_file::finish(gguf.path(), spec, &tensor, device)?;
    if let Some((kind, bytes)) = gguf.storage(name) {
        recorder.tensor(&kind, tensor.numel(), bytes);
    }
    Ok(tensor)
}

/// Undoes the row order of llama-architecture files, where the two rows of a rotary pair are
/// neighbors. In the Hugging Face layout they are half a head apart.
fn unpair(tensor: &Tensor, config: &ModelConfig) -> Tensor {
    let shape = tensor.size();
    let half = size(config.head_dim / 2);
    tensor.view([shape[0] / (2 * half), half, 2, -1]).transpose(1, 2).reshape(shape)
}

/// The name of a parameter in a GGUF file.
fn gguf_name(config: &ModelConfig, name: &str) -> String {
    const PARTS: [(&str, &str); 13] = [
        ("self_attn.qkv_proj", "attn_qkv"),
        ("mlp.gate_up_proj", "ffn_up"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.query_layernorm", "attn_q_norm"),
        ("self_attn.key_layernorm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let family = config.architecture.family();
    let middle = family.gguf.map_or("ffn_norm", |gguf| gguf.middle_norm);
    // Before and after attention, before and after the feed-forward layer.
    let norms = ["attn_norm", "post_attention_norm", middle, "post_ffw_norm"];
    let norms = family.norms.names().into_iter().zip(norms);
    let norms = norms.filter_map(|(from, to)| Some((from?, to)));
    let mut name = name.replacen("model.layers", "blk", 1);
    for (from, to) in PARTS.into_iter().chain(norms).chain(gguf_delta_net::NAMES) {
        name = name.replace(&format!(".{from}."), &format!(".{to}."));
        if let Some(layer) = name.strip_suffix(&format!(".{from}")) {
            name = format!("{layer}.{to}");
        }
    }
    name
}

/// Rotary scaling from the metadata, or recognized from the factors that converted Llama 3.1
/// models carry as a tensor.
fn scaling(keys: &Keys<'_>, config: &ModelConfig) -> Result<RopeScaling, PolicyError> {
    let is_long = keys.gguf.shape(SHORT).is_some();
    let factor = keys.scaling_factor();
    // As llama.cpp has it, a factor of no type divides all frequencies.
    let default = if (factor - 1.0).abs() > 0.0 { "linear" } else { "none" };
    let kind = keys.text("rope.scaling.type").unwrap_or(default);
    let original = keys.size("rope.scaling.original_context_length")?;
    keys.refuse_unknown_scaling(kind, is_long)?;
    if is_long {
        if !matches!(kind, "none" | "longrope") {
            let supported = format!("none or longrope beside {SHORT}");
            return Err(PolicyError::unsupported("rope.scaling.type", kind, supported));
        }
        let factors =
            |name| Ok::<_, PolicyError>(keys.gguf.read(name)?.into_iter().map(f64::from).collect());
        return Ok(RopeScaling::LongRope {
            short_factor: factors(SHORT)?,
            long_factor: factors(LONG)?,
            original_max_position_embeddings: original.unwrap_or(config.max_position_embeddings),
            attention_factor: keys.float("rope.scaling.attn_factor"),
        });
    }
    let scaling = match kind {
        "none" => RopeScaling::Default,
        "linear" => RopeScaling::Linear { factor },
        "yarn" => RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            attention_factor: keys.float("rope.scaling.yarn_attn_factor"),
            beta_fast: keys.float("rope.scaling.yarn_beta_fast"),
            beta_slow: keys.float("rope.scaling.yarn_beta_slow"),
            mscale: None,
            mscale_all_dim: None,
            truncate: None,
        },
        other => {
            let supported = "none, linear, yarn, or longrope with its tensors of factors";
            return Err(PolicyError::unsupported("rope.scaling.type", other, supported));
        }
    };
    if keys.gguf.shape(FREQUENCIES).is_none() {
        return Ok(scaling);
    }
    if scaling != RopeScaling::Default {
        let supported = format!("none beside {FREQUENCIES}");
        return Err(PolicyError::unsupported("rope.scaling.type", kind, supported));
    }
    let divisors = keys.gguf.read(FREQUENCIES)?;
    let (base, _) = RopeScaling::Default.frequencies(config);
    // The published Llama 3.1 and 3.2 models use these factors, EXAONE 4 the one between them.
    for factor in [8.0, 16.0, 32.0] {
        let candidate = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let (scaled, _) = candidate.frequencies(config);
        let same = divisors.len() == base.len()
            && base.iter().zip(&scaled).zip(&divisors).all(|((base, scaled), &divisor)| {
                (base / scaled / f64::from(divisor) - 1.0).abs() < 1e-4
            });
        if same {
            return Ok(candidate);
        }
    }
    let supported =
        "the factors of Llama 3.1 and 3.2 and of EXAONE 4 (8, 16 or 32 over 8192 positions)";
    Err(PolicyError::unsupported(FREQUENCIES, "a list of other factors", supported))
}
