//! Adapters in PEFT's files: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::layout::{HEAD, Init, ParameterSpec, layout, projection_names};
use crate::config::lora::{ALL_LINEAR, LoraConfig, is_name};
use crate::error::PolicyError;
use crate::files::{atomic, text};
use crate::io::safetensors_file::{self, ParsedFile};
use crate::io::save;
use crate::weights::{Weights, adapter};

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";

/// The remedy for adapters that are not read.
const MERGE: &str =
    "of another kind, merge the adapter in PEFT by `merge_and_unload`, and load the result";

/// What PEFT puts before the path of a module.
const PREFIX: &str = "base_model.model.";

/// Keys that are read here, or that do not change the result of a trained adapter. Any other key must be
/// off, so that variants of later versions are refused by their names.
const KNOWN: [&str; 27] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// An `adapter_config.json`.
#[derive(Debug)]
pub(crate) struct AdapterConfig {
    pub(crate) lora: LoraConfig,
    /// `base_model_name_or_path`.
    pub(crate) base: Option<PathBuf>,
}

/// Reads `adapter_config.json` from `dir`, and the names of the adapted modules from the weights where it has only a
/// pattern of them.
pub(crate) fn read_config(dir: &Path) -> Result<AdapterConfig, PolicyError> {
    let path = dir.join(CONFIG);
    let text = text::read(&path)?;
    let raw: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|source| PolicyError::Json { path: path.clone(), source })?;
    let is_on = |key: &&str| raw.get(*key).is_some_and(|value| !is_off(value));
    let is_plain = match raw.get("target_modules") {
        Some(Value::String(name)) => name == ALL_LINEAR,
        _ => true,
    };
    let targets = if is_plain && !["exclude_modules", "layers_to_transform"].iter().any(is_on) {
        listed_targets(&raw)?
    } else {
        stored_targets(dir)?
    };
    let mut lora = lora_config(&raw, targets)?;
    let mut patterns = lora.rank_pattern.keys().chain(lora.alpha_pattern.keys());
    if patterns.any(|pattern| !is_name(pattern)) {
        let paths = stored_targets(dir)?;
        lora.rank_pattern = by_path(lora.rank_pattern, &paths);
        lora.alpha_pattern = by_path(lora.alpha_pattern, &paths);
    }
    lora.validate()?;
    let base = raw.get("base_model_name_or_path").and_then(Value::as_str);
    Ok(AdapterConfig { lora, base: base.filter(|base| !base.is_empty()).map(PathBuf::from) })
}

/// `target_modules` as a list.
fn listed_targets(raw: &Map<String, Value>) -> Result<Vec<String>, PolicyError> {
    let value = raw.get("target_modules").cloned().unwrap_or(Value::Null);
    let targets = match &value {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let supported = "all-linear, a list of names or a pattern of them";
    targets.ok_or_else(|| unsupported("target_modules", &value, supported))
}

/// Paths of the modules that have adapters in the weights: patterns of them are Python's, and the weights say the same.
fn stored_targets(dir: &Path) -> Result<Vec<String>, PolicyError> {
    let file = open(dir)?;
    let file = file.parse()?;
    let path = |name: &str| {
        let path = name.strip_suffix(".weight")?.trim_end_matches(".default");
        let path = path.strip_suffix(".lora_A")?.strip_prefix(PREFIX)?;
        // Models of several kinds of input.
        let text = path.replacen("language_model.", "", 1);
        Some(if text.starts_with("layers.") { format!("model.{text}") } else { text })
    };
    let mut paths: Vec<String> = file.names().into_iter().filter_map(path).collect();
    paths.sort_unstable();
    Ok(paths)
}

/// Patterns with the paths that they fit in place of regular expressions, as PEFT matches them. An expression that does
/// not parse, or that differs from another one about a path, stays.
fn by_path<T: Clone + PartialEq>(
    patterns: BTreeMap<String, T>,
    paths: &[String],
) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    for (pattern, value) in patterns {
        match Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")) {
            Ok(expression) if !is_name(&pattern) => {
                let fitting = paths.iter().filter(|path| expression.is_match(path));
                for name in fitting.map(|path| format!("^{path}")) {
                    if all.get(&name).is_some_and(|known| *known != value) {
                        all.insert(pattern.clone(), value.clone());
                    }
                    all.insert(name, value.clone());
                }
            }
            _ => {
                all.insert(pattern, value);
            }
        }
    }
    all
}

fn lora_config(
    raw: &Map<String, Value>,
    target_modules: Vec<String>,
) -> Result<LoraConfig, PolicyError> {
    let get = |key: &str| raw.get(key).filter(|value| !value.is_null());
    let text = |key: &str| get(key).and_then(Value::as_str);
    if text("peft_type") != Some("LORA") {
        let value = get("peft_type").cloned().unwrap_or(Value::Null);
        return Err(unsupported("peft_type", &value, &format!("LORA; {MERGE}")));
    }
    // Heads that score or embed.
    if let Some(task) = get("task_type").filter(|task| task.as_str() != Some("CAUSAL_LM")) {
        return Err(unsupported("task_type", task, "CAUSAL_LM"));
    }
    if let Some(bias) = get("bias").filter(|bias| bias.as_str() != Some("none")) {
        return Err(unsupported("bias", bias, &format!("none; {MERGE}")));
    }
    let others = raw.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str()));
    for (key, value) in others {
        // An empty object of options is on.
        if !is_off(value) || key.starts_with("use_") && value.is_object() {
            return Err(unsupported(key, value, &format!("null (off); {MERGE}")));
        }
    }
    // Other names change the base model's own weights, which the files do not hold.
    let plain = |value: &Value| match value {
        Value::String(name) => matches!(name.as_str(), "gaussian" | "orthogonal"),
        _ => true,
    };
    if let Some(value) = get("init_lora_weights").filter(|value| !plain(value)) {
        let supported = format!("true, false, gaussian, orthogonal; {MERGE}");
        return Err(unsupported("init_lora_weights", value, &supported));
    }
    // PEFT has no default for a null.
    let number = |key: &str, default: f64| raw.get(key).map_or(Some(default), Value::as_f64);
    let field = |key: &str, expected: &str| {
        PolicyError::config(
            key,
            &raw.get(key).map_or_else(|| "missing".to_owned(), Value::to_string),
            expected,
        )
    };
    let rank =
        raw.get("r").map_or(Some(8), Value::as_u64).and_then(|rank| usize::try_from(rank).ok());
    Ok(LoraConfig {
        rank: rank.ok_or_else(|| field("r", "a positive integer"))?,
        alpha: number("lora_alpha", 8.0).ok_or_else(|| field("lora_alpha", "a number"))?,
        dropout: number("lora_dropout", 0.0).ok_or_else(|| field("lora_dropout", "a number"))?,
        target_modules,
        rank_stabilized: get("use_rslora")
            .map_or(Some(false), Value::as_bool)
            .ok_or_else(|| field("use_rslora", "true or false"))?,
        rank_pattern: parsed(raw, "rank_pattern", "an object of positive integers")?,
        alpha_pattern: parsed(raw, "alpha_pattern", "an object of numbers")?,
        modules_to_save: parsed(raw, "modules_to_save", "a list of names")?,
    })
}

/// A value that may be missing or `null`.
fn parsed<T: DeserializeOwned + Default>(
    raw: &Map<String, Value>,
    key: &str,
    expected: &str,
) -> Result<T, PolicyError> {
    match raw.get(key).filter(|value| !value.is_null()) {
        None => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| PolicyError::config(key, value, expected)),
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn unsupported(option: &str, value: &Value, supported: &str) -> PolicyError {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    PolicyError::unsupported(option, &value, supported)
}

/// The weights of the folder `dir`.
fn open(dir: &Path) -> Result<safetensors_file::MappedFile, PolicyError> {
    let path = dir.join(WEIGHTS);
    if path.is_file() {
        return safetensors_file::MappedFile::open(&path);
    }
    let remedy = if dir.join("adapter_model.bin").is_file() {
        "the folder holds the adapter in PyTorch's own format alone; load it once with PEFT and save it by \
         `save_pretrained`, which writes safetensors"
    } else {
        "the folder holds the description of an adapter without its weights; get them, too"
    };
    Err(PolicyError::MissingFile { path, remedy: remedy.into() })
}

/// A tensor of an adapter, under its name in the file. Adapters on models of several kinds of input have the language
/// model's path in their names. Those that no PEFT wrote may have the adapter's name, `default`, in front of the last part.
fn spec(name: &str, shape: &[i64], names: &[&str]) -> ParameterSpec {
    let inner = name.strip_prefix(PREFIX).unwrap_or(name);
    let layers = inner.strip_prefix("model.").unwrap_or(inner);
    let stored = [
        name.to_owned(),
        format!("base_model.model.language_model.{inner}"),
        format!("base_model.model.model.language_model.{layers}"),
    ];
    let with_default = |name: &String| {
        let (module, part) = name.rsplit_once('.').unwrap_or_default();
        format!("{module}.default.{part}")
    };
    let all = stored.iter().cloned().chain(stored.iter().map(with_default));
    let stored = all.into_iter().find(|stored| names.contains(&stored.as_str()));
    let name = stored.unwrap_or_else(|| name.to_owned());
    ParameterSpec { name, shape: shape.to_vec(), init: Init::Zeros }
}

/// A tensor beside those of the adapters, under the name of a parameter of the model.
pub(crate) struct Beside {
    /// Its name in the file.
    stored: String,
    /// The parameter. A tied head is the embedding.
    pub(crate) name: String,
    tensor: Tensor,
    path: PathBuf,
}

impl Beside {
    /// Checks that it is the `parameter` of the base model. PEFT stores embeddings whether or not they were trained; then
    /// the model is the same without it. Returns its name in the file.
    pub(crate) fn check(&self, parameter: &Tensor) -> Result<String, PolicyError> {
        let own = self.tensor.to_device(parameter.device());
        if own.size() == parameter.size() && own == parameter.to_kind(Kind::Float) {
            return Ok(self.stored.clone());
        }
        let supported = format!(
            "tensors that equal the base model's; PEFT stored a changed `{}`: merge the adapter there by \
             `merge_and_unload`, and load the result",
            self.name
        );
        Err(PolicyError::unsupported(&self.path.display().to_string(), &self.stored, supported))
    }
}

/// The tensors of a `file` beside those that were `used`.
fn beside(
    config: &ModelConfig,
    dir: &Path,
    file: &ParsedFile<'_>,
    used: &BTreeSet<String>,
) -> Result<Vec<Beside>, PolicyError> {
    let path = dir.join(WEIGHTS);
    let specs = layout(config);
    let others = file.names().into_iter().filter(|name| !used.contains(*name));
    let tensor = |stored: &str| {
        let name = stored.strip_prefix(PREFIX).unwrap_or(stored).replacen("language_model.", "", 1);
        let tied = name == HEAD && config.tie_word_embeddings;
        let name = if tied { specs[0].name.clone() } else { name };
        if !specs.iter().any(|spec| spec.name == name) {
            let reason = format!(
                "tensor `{stored}` belongs to no adapter that `{CONFIG}` describes; {MERGE}"
            );
            return Err(PolicyError::Corrupt { path: path.clone(), reason });
        }
        let tensor = file.any(stored, Device::Cpu)?;
        Ok(Beside { stored: stored.to_owned(), name, tensor, path: path.clone() })
    };
    others.map(tensor).collect()
}

/// Checks that the folder `dir` holds the adapter that `lora` describes, and that its values are finite. Returns the
/// tensors beside it, which [`Beside::check`] compares with the base model.
pub(crate) fn survey(
    config: &ModelConfig,
    lora: &LoraConfig,
    dir: &Path,
) -> Result<Vec<Beside>, PolicyError> {
    let file = open(dir)?;
    let file = file.parse()?;
    let mut used = BTreeSet::new();
    for (name, shape) in adapter::shapes(config, lora)? {
        let spec = spec(&name, &shape, &file.names());
        drop(file.read(&spec, Device::Cpu)?);
        used.insert(spec.name);
    }
    beside(config, dir, &file, &used)
}

/// Puts the adapters of the folder `dir` on the projections. Returns the names of tensors that the adapted model does not
/// use.
pub(crate) fn attach(
    config: &ModelConfig,
    weights: &mut Weights,
    lora: &LoraConfig,
    dir: &Path,
    device: Device,
) -> Result<Vec<String>, PolicyError> {
    let file = open(dir)?;
    let file = file.parse()?;
    let mut used = BTreeSet::new();
    adapter::attach(config, weights, lora, device, |name, shape| {
        let spec = spec(name, shape, &file.names());
        let tensor = file.read(&spec, device)?;
        used.insert(spec.name);
        Ok(Some(tensor))
    })?;
    let parameters = weights.parameters();
    let beside = beside(config, dir, &file, &used)?.into_iter();
    let check = |beside: Beside| {
        let parameter = parameters.iter().find(|parameter| parameter.name == beside.name);
        parameter.map(|parameter| beside.check(&parameter.tensor))
    };
    beside.filter_map(check).collect()
}

/// Writes the adapters of a model, `Float`, each file replacing its predecessor atomically.
pub(crate) fn write(
    config: &ModelConfig,
    weights: &Weights,
    lora: &LoraConfig,
    base: Option<&Path>,
    dir: &Path,
) -> Result<(), PolicyError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| PolicyError::Write { path: dir.to_owned(), source })?;
    save::write_tensors(&dir.join(WEIGHTS), adapter::parameters(weights), Kind::Float)?;
    // PEFT writes out what the shorthand stands for.
    let targets: Vec<String> = if lora.target_modules.iter().any(|name| name == ALL_LINEAR) {
        projection_names(config).into_iter().map(str::to_owned).collect()
    } else {
        lora.target_modules.clone()
    };
    let json = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.map(|base| base.display().to_string()),
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": targets,
        "use_rslora": lora.rank_stabilized,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "rank_pattern": lora.rank_pattern,
        "alpha_pattern": lora.alpha_pattern,
        "modules_to_save": Some(&lora.modules_to_save).filter(|names| !names.is_empty()),
    });
    let path = dir.join(CONFIG);
    let text = serde_json::to_string_pretty(&json)
        .map_err(|source| PolicyError::Json { path: path.clone(), source })?;
    atomic::write(&path, &text)
}
