//! Layers in a `config.json`: rotary frequencies and sliding windows.

use serde_json::{Map, Value, json};

use crate::config::architecture::Architecture;
use crate::config::family::{DeltaNets, Family, LocalRotation, Unrotated, Windows};
use crate::config::hf_file::{HfConfig, size_of};
use crate::config::rope::RopeScaling;
use crate::config::{DeltaNet, ModelConfig};
use crate::error::PolicyError;

/// The name of `LongRoPE`, and its first name.
const LONG: [&str; 2] = ["longrope", "su"];

/// Rotary base and scaling, and the base of the layers with a sliding window if it differs.
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: RopeScaling,
    pub(super) local_theta: Option<f64>,
    /// The share of each head that is rotated.
    pub(super) share: f64,
}

/// From `rope_theta`, `rope_scaling` and `rope_local_base_freq`, or from `rope_parameters`
/// (transformers 5), which some families have once for each kind of layer.
pub(super) fn rope(raw: &HfConfig, architecture: Architecture) -> Result<Rope, PolicyError> {
    let family = architecture.family();
    let mut object = object(raw.rope_scaling.as_ref())?.or(object(raw.rope_parameters.as_ref())?);
    let mut local_theta = match family.local_rotation {
        LocalRotation::Shared | LocalRotation::Unscaled => None,
        LocalRotation::Base { default } => Some(raw.rope_local_base_freq.unwrap_or(default)),
    };
    let by_type = object.filter(|object| {
        family.local_rotation != LocalRotation::Shared && object.contains_key("full_attention")
    });
    if let Some(by_type) = by_type {
        if let Some(Value::Object(local)) = by_type.get("sliding_attention") {
            let kind = local.get("rope_type").and_then(Value::as_str).unwrap_or("default");
            if kind != "default" {
                let option = "rope_parameters.sliding_attention.rope_type";
                return Err(PolicyError::unsupported(option, kind, "default"));
            }
            local_theta = local.get("rope_theta").and_then(Value::as_f64).or(local_theta);
        }
        object = by_type.get("full_attention").and_then(Value::as_object);
    }
    let default = raw.rope_theta.unwrap_or(family.defaults.rope_theta);
    let share = raw.partial_rotary_factor.unwrap_or(family.defaults.rotary_share);
    let Some(object) = object else {
        return Ok(Rope { theta: default, scaling: RopeScaling::Default, local_theta, share });
    };
    let number = |key: &str| object.get(key).and_then(Value::as_f64);
    let share = match object.get("partial_rotary_factor") {
        Some(own) if !family.partly_rotated && own.as_f64() != Some(1.0) => {
            let option = "rope_parameters.partial_rotary_factor";
            return Err(PolicyError::unsupported(option, own, "1"));
        }
        _ => number("partial_rotary_factor").unwrap_or(share),
    };
    let theta = number("rope_theta").unwrap_or(default);
    let mut object = object.clone();
    set_original_positions(raw, family, &mut object)?;
    let ratio = || {
        let original = number("original_max_position_embeddings")?;
        Some(raw.max_position_embeddings? as f64 / original)
    };
    // The two lengths say it as well.
    if object.get("factor").is_some_and(Value::is_null)
        && let Some(ratio) = ratio()
    {
        object.insert("factor".into(), ratio.into());
    }
    if !family.stretched_base {
        object.remove("alpha");
    }
    let scaling = scaling(object)?;
    if family.local_rotation == LocalRotation::Unscaled {
        let local = local_theta.unwrap_or(theta);
        let differs = scaling != RopeScaling::Default || (local - theta).abs() > 0.0;
        local_theta = differs.then_some(local);
    }
    Ok(Rope { theta, scaling, local_theta, share })
}

/// Sets the row length of pre-training, which may stand beside the scaling. For `LongRoPE`, that one counts, and then the
/// default of the family. A second length for YaRN or Llama 3 is refused, and so is a factor that is not the ratio.
/// Versions of transformers disagree on them.
fn set_original_positions(
    raw: &HfConfig,
    family: &Family,
    object: &mut Map<String, Value>,
) -> Result<(), PolicyError> {
    const KEY: &str = "original_max_position_embeddings";
    let kind = object.get("rope_type").or(object.get("type")).and_then(Value::as_str);
    let is_long = kind.is_some_and(|kind| LONG.contains(&kind));
    let is_other = matches!(kind, Some("yarn" | "llama3"));
    let (beside, inside) =
        (raw.original_max_position_embeddings, object.get(KEY).and_then(size_of));
    let max = raw.max_position_embeddings;
    let same = inside.or(max);
    if let Some(beside) = beside.filter(|beside| is_other && same != Some(*beside)) {
        let same = same.map_or_else(|| "none".to_owned(), |same| same.to_string());
        let supported = format!(
            "{same}, as for `rope_scaling`; versions of transformers disagree on which one counts"
        );
        return Err(PolicyError::unsupported(KEY, &beside, supported));
    }
    let original = beside.or(family.defaults.original_positions).or(inside).or(max);
    let Some(original) = original.filter(|_| is_long) else { return Ok(()) };
    object.insert(KEY.into(), original.into());
    let factor = object.remove("factor").filter(|factor| !factor.is_null());
    let ratio = max.unwrap_or(original) as f64 / original as f64;
    match factor {
        Some(factor) if factor.as_f64().is_none_or(|own| (own / ratio - 1.0).abs() > 1e-6) => {
            let supported = format!(
                "{ratio}, the ratio of the two lengths, or no such key; versions of transformers disagree on others"
            );
            Err(PolicyError::unsupported("rope_scaling.factor", &factor, supported))
        }
        _ => Ok(()),
    }
}

/// The `rope_scaling` of a file.
pub(super) fn scaling_object(scaling: &RopeScaling) -> Option<Value> {
    match scaling {
        RopeScaling::Default => None,
        // transformers 4 takes these three keys and no others.
        RopeScaling::LongRope { short_factor, long_factor, attention_factor: None, .. } => Some(
            json!({"type": "longrope", "short_factor": short_factor, "long_factor": long_factor}),
        ),
        scaling => serde_json::to_value(scaling).ok(),
    }
}

/// The `rope_parameters` of a file. Families that transformers 4 does not have, or whose layers with a window are not
/// scaled, need them. There transformers 5 reads the base from nothing else.
pub(super) fn rope_parameters(config: &ModelConfig) -> Option<Value> {
    if config.delta_net.is_some() {
        let plain = || json!({"rope_type": "default"});
        let mut all = scaling_object(&config.rope_scaling).unwrap_or_else(plain);
        all["rope_theta"] = config.rope_theta.into();
        all["partial_rotary_factor"] = config.partial_rotary_factor.into();
        return Some(all);
    }
    if config.architecture.family().local_rotation != LocalRotation::Unscaled {
        return None;
    }
    let plain = json!({"rope_type": "default"});
    let mut full = scaling_object(&config.rope_scaling).unwrap_or_else(|| plain.clone());
    let mut local = plain;
    full["rope_theta"] = config.rope_theta.into();
    local["rope_theta"] = config.rope_local_theta.unwrap_or(config.rope_theta).into();
    Some(json!({"full_attention": full, "sliding_attention": local}))
}

/// The `original_max_position_embeddings` beside it.
pub(super) fn original_positions(scaling: &RopeScaling) -> Option<usize> {
    match scaling {
        RopeScaling::LongRope { original_max_position_embeddings, .. } => {
            Some(*original_max_position_embeddings)
        }
        _ => None,
    }
}

/// Keys of `rope_parameters` beside a scaling. Positions of images have parts of the pairs (`mrope`); all of a text's
/// are one.
const PLAIN: [&str; 4] =
    ["rope_theta", "partial_rotary_factor", "mrope_section", "mrope_interleaved"];

fn object(value: Option<&Value>) -> Result<Option<&Map<String, Value>>, PolicyError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) if object.is_empty() => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => Err(PolicyError::unsupported("rope_scaling", other, "an object")),
    }
}

fn scaling(mut object: Map<String, Value>) -> Result<RopeScaling, PolicyError> {
    for key in ["type", "rope_type"] {
        if object.get(key).is_some_and(|kind| kind == LONG[1]) {
            object.insert(key.into(), LONG[0].into());
        }
    }
    // `type` is the key that transformers used before 4.43.
    let kind = object.remove("type");
    let kind = object.get("rope_type").or(kind.as_ref()).cloned().unwrap_or(Value::Null);
    // `rope_parameters` may hold the base alone.
    let is_plain = kind.is_null() && object.keys().all(|key| PLAIN.contains(&key.as_str()));
    let kind = if is_plain { Value::from("default") } else { kind };
    let name = kind.as_str().unwrap_or("missing");
    if !RopeScaling::SUPPORTED.split(", ").any(|known| known == name) {
        return Err(PolicyError::unsupported(
            "rope_scaling.rope_type",
            name,
            RopeScaling::SUPPORTED,
        ));
    }
    object.insert("rope_type".into(), kind.clone());
    serde_json::from_value(Value::Object(object)).map_err(|error| {
        PolicyError::config("rope_scaling", &error, format!("the fields of rope type {name}"))
    })
}

/// Layers that rotate queries and keys; empty if all do.
pub(super) fn rotary_layers(
    raw: &HfConfig,
    architecture: Architecture,
    layers: usize,
    window: Option<usize>,
    windows: &[Option<usize>],
) -> Vec<bool> {
    let layers = layers.min(crate::config::MAX_LAYERS);
    match architecture.family().unrotated {
        Unrotated::Never => Vec::new(),
        Unrotated::Listed { period } => match &raw.no_rope_layers {
            Some(list) => list.iter().take(layers).map(|&rotates| rotates != 0).collect(),
            None => all_but_every_nth(raw.no_rope_layer_interval.unwrap_or(period), layers),
        },
        Unrotated::WithoutWindow if window.is_none() => Vec::new(),
        Unrotated::WithoutWindow => {
            let windows = windows.iter().map(Option::is_some).chain(std::iter::repeat(false));
            windows.take(layers).collect()
        }
    }
}

/// All but every `period`-th layer.
pub(crate) fn all_but_every_nth(period: usize, layers: usize) -> Vec<bool> {
    (0..layers).map(|layer| !(layer + 1).is_multiple_of(period.max(1))).collect()
}

/// The window of the layers that have one. `null` is none, and a missing key is the default of the family.
pub(super) fn window(
    raw: &HfConfig,
    architecture: Architecture,
) -> Result<Option<usize>, PolicyError> {
    let family = architecture.family();
    let window = match &raw.sliding_window {
        None => family.defaults.window,
        Some(Value::Null) => None,
        Some(value) => Some(size_of(value).ok_or_else(|| {
            PolicyError::config("sliding_window", value, "a positive size or null")
        })?),
    };
    match family.windows {
        Windows::Never => Ok(None),
        Windows::Everywhere | Windows::Listed { .. } => Ok(window),
        Windows::Flagged => Ok(window.filter(|_| raw.use_sliding_window == Some(true))),
        Windows::Pattern { .. } => {
            let expected = format!("a positive size (for {})", family.model_type);
            let missing = || PolicyError::config("sliding_window", "null", expected);
            window.ok_or_else(missing).map(Some)
        }
    }
}

/// The `sliding_window` of a file. transformers takes the default of a family for a key that is missing, so a model
/// without windows has it, too.
pub(super) fn window_key(config: &ModelConfig) -> Option<Value> {
    let Family { windows, unrotated, defaults, .. } = config.architecture.family();
    // Layers without a window rotate only where the key is null.
    let is_unrotated =
        *unrotated == Unrotated::WithoutWindow && config.rotary_layers.contains(&false);
    match config.sliding_windows.iter().copied().flatten().next() {
        Some(window) => Some(window.into()),
        None if is_unrotated => defaults.window.map(Value::from),
        None if matches!(windows, Windows::Everywhere | Windows::Listed { .. }) => {
            defaults.window.map(|_| Value::Null)
        }
        None => None,
    }
}

/// Window of each layer, as transformers derives it for each family.
pub(super) fn sliding_windows(
    raw: &HfConfig,
    architecture: Architecture,
    layers: usize,
    window: Option<usize>,
) -> Result<Vec<Option<usize>>, PolicyError> {
    let family = architecture.family();
    // `validate` refuses more, but only after this list was made.
    let layers = layers.min(crate::config::MAX_LAYERS);
    check_layer_types(raw, architecture, layers, window)?;
    let Some(window) = window else {
        return Ok(Vec::new());
    };
    if family.windows == Windows::Everywhere {
        return Ok(vec![Some(window); layers]);
    }
    let Some(types) = &raw.layer_types else {
        if let Windows::Pattern { period, .. } | Windows::Listed { period } = family.windows {
            let pattern = match &raw.sliding_window_pattern {
                Some(Value::String(letters)) => {
                    // `L` for a window, and `G` for none.
                    let windows = letters.strip_suffix('G').unwrap_or("none");
                    if windows.chars().any(|letter| letter != 'L') {
                        let key = "sliding_window_pattern";
                        return Err(PolicyError::unsupported(key, letters, "LLLG and the like"));
                    }
                    Some(letters.len())
                }
                Some(number) => number.as_u64().and_then(|period| usize::try_from(period).ok()),
                None => raw.class_window_pattern,
            };
            return Ok(every_nth_full(pattern.unwrap_or(period), window, layers));
        }
        if family.unrotated != Unrotated::Never {
            let rotary = rotary_layers(raw, architecture, layers, Some(window), &[]);
            return Ok(rotary.into_iter().map(|rotates| (!rotates).then_some(window)).collect());
        }
        let first = raw.max_window_layers.unwrap_or(28);
        return Ok((0..layers).map(|layer| (layer >= first).then_some(window)).collect());
    };
    if types.iter().all(|name| name == "full_attention") {
        return Ok(Vec::new());
    }
    Ok(types.iter().map(|name| (name == "sliding_attention").then_some(window)).collect())
}

fn other_length(key: &str, found: usize, layers: usize) -> PolicyError {
    let expected = format!("{layers} entries, one for each layer");
    PolicyError::config(key, &format!("a list of {found}"), expected)
}

/// Refuses kinds of layers that the family does not have, a list of another length, and windows of no size.
fn check_layer_types(
    raw: &HfConfig,
    architecture: Architecture,
    layers: usize,
    window: Option<usize>,
) -> Result<(), PolicyError> {
    let family = architecture.family();
    let is_listed = matches!(family.unrotated, Unrotated::Listed { .. });
    if let Some(rotates) =
        raw.no_rope_layers.as_ref().filter(|list| is_listed && list.len() < layers)
    {
        return Err(other_length("no_rope_layers", rotates.len(), layers));
    }
    let Some(types) = &raw.layer_types else { return Ok(()) };
    // Others ignore the list.
    let is_read = !matches!(family.windows, Windows::Never | Windows::Everywhere);
    if !is_read && matches!(family.delta_nets, DeltaNets::Never) {
        return Ok(());
    }
    let other = if matches!(family.delta_nets, DeltaNets::Never) {
        "sliding_attention"
    } else {
        "linear_attention"
    };
    let is_known = |name: &&String| *name == "full_attention" || *name == other;
    if let Some(unknown) = types.iter().find(|name| !is_known(name)) {
        let supported = format!("full_attention, {other}");
        return Err(PolicyError::unsupported("layer_types", unknown, supported));
    }
    if types.len() != layers {
        return Err(other_length("layer_types", types.len(), layers));
    }
    let is_flagged = family.windows == Windows::Flagged;
    if is_flagged && window.is_none() && types.iter().any(|name| name == "sliding_attention") {
        let expected = "a size, and `use_sliding_window` true, where `layer_types` has windows; or \
                        `layer_types` without them";
        return Err(PolicyError::config("sliding_window", "off", expected));
    }
    Ok(())
}

/// Sizes and layers of the gated delta-nets, as transformers derives them.
pub(super) fn delta_net(
    raw: &HfConfig,
    architecture: Architecture,
    layers: usize,
) -> Option<DeltaNet> {
    let DeltaNets::Pattern { period } = architecture.family().delta_nets else {
        return None;
    };
    let layers = match &raw.layer_types {
        Some(types) => types.iter().map(|name| name == "linear_attention").collect(),
        None => all_but_every_nth(
            raw.full_attention_interval.unwrap_or(period),
            layers.min(crate::config::MAX_LAYERS),
        ),
    };
    Some(DeltaNet {
        layers,
        key_heads: raw.linear_num_key_heads.unwrap_or(16),
        value_heads: raw.linear_num_value_heads.unwrap_or(32),
        key_head_dim: raw.linear_key_head_dim.unwrap_or(128),
        value_head_dim: raw.linear_value_head_dim.unwrap_or(128),
        conv_kernel: raw.linear_conv_kernel_dim.unwrap_or(4),
    })
}

/// `period - 1` layers with a window, then one without, and so on.
pub(crate) fn every_nth_full(period: usize, window: usize, layers: usize) -> Vec<Option<usize>> {
    let full = |layer: usize| (layer + 1).is_multiple_of(period.max(1));
    (0..layers).map(|layer| (!full(layer)).then_some(window)).collect()
}
