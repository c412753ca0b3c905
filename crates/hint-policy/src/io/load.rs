//! Finding a model in a folder or file, and reading it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::hf_file::HfConfig;
use crate::config::layout::layout;
use crate::error::PolicyError;
use crate::files::text;
use crate::gguf::Gguf;
use crate::io::progress::{LoadProgress, LoadedFiles};
use crate::io::{generation, gguf_model, peft, safetensors_file};

/// Target device of a model, and the kind that it computes in.
///
/// ```no_run
/// use hint_policy::{LoadOptions, LoadedModel};
/// use tch::{Device, Kind};
///
/// let options = LoadOptions { compute: Kind::Float, ..LoadOptions::on(Device::Cuda(0)) };
/// let model = LoadedModel::load("Qwen2.5-0.5B-Instruct", &options)?;
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Device of the parameters.
    pub device: Device,
    /// Kind of the forward and backward pass: `Float`, `BFloat16` or `Double`. [`LoadOptions::on`] has the one that suits a
    /// device.
    pub compute: Kind,
    /// The base model of an adapter, in place of the one that the adapter names. Needed where that is a
    /// model of the Hugging Face Hub, since nothing is downloaded here.
    pub base: Option<PathBuf>,
}

impl LoadOptions {
    /// The kind that suits `device`: `Float` on a CPU, `BFloat16` elsewhere.
    pub fn on(device: Device) -> Self {
        let compute = if device == Device::Cpu { Kind::Float } else { Kind::BFloat16 };
        Self { device, compute, base: None }
    }
}

impl Default for LoadOptions {
    /// `Float` on the CPU.
    fn default() -> Self {
        Self::on(Device::Cpu)
    }
}

/// Files beside a model that embeds texts, whatever its class.
const EMBEDDING_MODEL: [&str; 2] = ["modules.json", "config_sentence_transformers.json"];

/// A model as its files hold it.
#[derive(Debug)]
pub(crate) struct ModelFiles {
    pub(crate) config: ModelConfig,
    /// One for each parameter of the configuration, in order.
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) files: LoadedFiles,
    /// `generation_config.json`, or an empty one.
    pub(crate) generation: Map<String, Value>,
    /// Tokens that end a completion, sorted: all that these files name.
    pub(crate) stop_tokens: Vec<u32>,
    /// Place of the tensors.
    pub(crate) path: PathBuf,
    /// The folder of an adapter on them.
    pub(crate) adapter: Option<PathBuf>,
}

/// Reads a Hugging Face folder, a GGUF file, or an adapter with its base model.
pub(crate) fn load(
    path: &Path,
    options: &LoadOptions,
    observer: &mut dyn FnMut(LoadProgress),
) -> Result<ModelFiles, PolicyError> {
    if path.is_file() {
        return load_gguf(&Gguf::open(path)?, options, observer);
    }
    check_compute(options.compute)?;
    let path = &resolve(path);
    if is_adapter(path)? {
        return load_adapted(path, options, observer);
    }
    let config = folder_config(path)?;
    let (tensors, files) =
        safetensors_file::read(path, &config, &layout(&config), options.device, observer)?;
    let generation = generation::read(path)?;
    let stop_tokens = sorted([&generation::stop_tokens(&generation), &config.eos_token_ids]);
    let path = path.clone();
    Ok(ModelFiles { config, tensors, files, generation, stop_tokens, path, adapter: None })
}

/// Whether a folder holds an adapter in place of a model.
pub(crate) fn is_adapter(path: &Path) -> Result<bool, PolicyError> {
    let is_described = path.join(peft::CONFIG).is_file();
    let has_adapter = path.join(peft::WEIGHTS).is_file();
    if is_described && has_adapter && safetensors_file::exist(path) {
        let found = format!("{} beside {}", peft::WEIGHTS, safetensors_file::SINGLE);
        let supported = "a model or an adapter in one folder: programs disagree on which one counts; move either away";
        return Err(PolicyError::unsupported(&path.display().to_string(), &found, supported));
    }
    Ok(is_described && !safetensors_file::exist(path))
}

/// The configuration of a folder with weights.
pub(crate) fn folder_config(path: &Path) -> Result<ModelConfig, PolicyError> {
    let config_path = path.join("config.json");
    if !config_path.is_file() {
        let mut expected =
            "a folder with `config.json` and `model.safetensors`, or a `.gguf` file".to_owned();
        let snapshots = path.join("snapshots");
        if let Some(inner) = inner_models(&snapshots) {
            expected += "; it is a folder of a cache with several snapshots, ";
            expected += &inner;
            expected += " in `snapshots`, and without `refs/main`: give one of them";
        } else if let Some(inner) = inner_models(path) {
            expected += "; it holds some in ";
            expected += &inner;
            expected += ": give one of them";
        }
        return Err(PolicyError::NoModel { path: path.to_owned(), expected });
    }
    if EMBEDDING_MODEL.iter().any(|name| path.join(name).is_file()) {
        let supported = "models that write texts; this one compares them";
        let option = path.display().to_string();
        return Err(PolicyError::unsupported(
            &option,
            "a folder of sentence-transformers",
            supported,
        ));
    }
    if !safetensors_file::exist(path) {
        let path = path.join(safetensors_file::SINGLE);
        return Err(PolicyError::MissingFile { remedy: weights_remedy(&path), path });
    }
    read_config(&config_path)
}

/// Names of folders and files inside a folder that may be models.
fn inner_models(path: &Path) -> Option<String> {
    let is_model = |path: &Path| {
        let holds = |name: &str| path.join(name).is_file();
        path.extension().is_some_and(|kind| kind == "gguf")
            || holds("config.json")
            || holds(peft::CONFIG)
    };
    let names = names(path, |name| is_model(&path.join(name)));
    (!names.is_empty()).then(|| names.join(", "))
}

/// The names in a folder that pass a test, in quotes, sorted; of many the first.
fn names(path: &Path, test: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| test(name))
        .map(|name| format!("`{name}`"))
        .collect();
    names.sort_unstable();
    names.truncate(5);
    names
}

/// Remedy for missing weights.
fn weights_remedy(path: &Path) -> String {
    let dir = path.parent().unwrap_or(path);
    if has_pickled_weights(dir) {
        return "the folder holds weights in PyTorch's own format alone; load the model once with transformers and save \
                it by `save_pretrained`, which writes them as safetensors"
            .to_owned();
    }
    let is_part = |name: &str| name.ends_with(".safetensors") && name.starts_with("model-");
    if let [_, ..] = names(dir, is_part).as_slice() {
        return "the folder holds parts of it without their index, `model.safetensors.index.json`; get that file, too"
            .to_owned();
    }
    let is_other = |name: &str| {
        Path::new(name).extension().is_some_and(|kind| kind == "safetensors" || kind == "gguf")
    };
    match names(dir, is_other).as_slice() {
        [] => "the folder holds no weights; get them, too".to_owned(),
        others => format!(
            "the folder holds {} in its place; a GGUF file is given by its path, other layouts are saved once more with \
             transformers",
            others.join(", ")
        ),
    }
}

/// The folder that holds the files: of a cache folder `models--OWNER--NAME` the snapshot that its `main`
/// stands for, or the only one.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    let commit = std::fs::read_to_string(path.join("refs").join("main")).unwrap_or_default();
    let snapshots = path.join("snapshots");
    let snapshot = snapshots.join(commit.trim());
    if !commit.trim().is_empty() && snapshot.is_dir() {
        return snapshot;
    }
    let entries = std::fs::read_dir(&snapshots).into_iter().flatten().flatten();
    let found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    match found.as_slice() {
        [only] if !path.join("config.json").exists() => only.clone(),
        _ => path.to_owned(),
    }
}

/// Reads an adapter's base model, which it names by a local path, absolute or from the adapter.
fn load_adapted(
    dir: &Path,
    options: &LoadOptions,
    observer: &mut dyn FnMut(LoadProgress),
) -> Result<ModelFiles, PolicyError> {
    let base = find_base(dir, peft::read_config(dir)?.base, options.base.as_deref())?;
    let mut read = load(&base, options, observer)?;
    let own = generation::stop_tokens(&generation::read(dir)?);
    read.stop_tokens = sorted([&read.stop_tokens, &own]);
    Ok(ModelFiles { adapter: Some(dir.to_owned()), ..read })
}

/// The base model of the adapter in `dir`: the `given` one, else the adapter's own. Its path begins at the adapter or at
/// the working directory. Another adapter is refused.
pub(crate) fn find_base(
    dir: &Path,
    named: Option<PathBuf>,
    given: Option<&Path>,
) -> Result<PathBuf, PolicyError> {
    if named.is_none() && given.is_none() {
        let expected = "a base model in `base_model_name_or_path`, which names none; give its path as \
                        `LoadOptions::base` (`--base`)";
        let path = dir.join(peft::CONFIG);
        return Err(PolicyError::NoModel { path, expected: expected.into() });
    }
    let named = named.unwrap_or_default();
    let candidates = match given {
        Some(base) => vec![base.to_owned()],
        None => vec![dir.join(&named), named.clone()],
    };
    let found = candidates.into_iter().find(|path| path.exists());
    let found = found.ok_or_else(|| PolicyError::NoModel {
        path: given.map_or(named, Path::to_owned),
        expected: "the base model that `base_model_name_or_path` of `adapter_config.json` names, in a local \
                   folder or file; download it and give its path as `LoadOptions::base` (`--base`)"
            .into(),
    })?;
    let found = resolve(&found);
    if is_adapter(&found)? {
        let supported = "a model without adapters; merge that adapter into its own base first, by \
                         `hint-rl export --merged` or PEFT's `merge_and_unload`";
        let path = found.display().to_string();
        return Err(PolicyError::unsupported(
            "base model",
            &format!("{path} (an adapter)"),
            supported,
        ));
    }
    Ok(found)
}

/// Reads the model of an opened GGUF file.
pub(crate) fn load_gguf(
    gguf: &Gguf,
    options: &LoadOptions,
    observer: &mut dyn FnMut(LoadProgress),
) -> Result<ModelFiles, PolicyError> {
    check_compute(options.compute)?;
    let config = gguf_model::config(gguf)?;
    let (tensors, files) = gguf_model::tensors(gguf, &config, options.device, observer)?;
    Ok(ModelFiles {
        stop_tokens: sorted([&gguf_model::stop_tokens(gguf), &config.eos_token_ids]),
        config,
        tensors,
        files,
        generation: Map::new(),
        path: gguf.path().to_owned(),
        adapter: None,
    })
}

/// Whether there are weights in PyTorch's own format.
fn has_pickled_weights(dir: &Path) -> bool {
    ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"]
        .iter()
        .any(|name| dir.join(name).exists())
}

/// Reads `config.json`.
fn read_config(path: &Path) -> Result<ModelConfig, PolicyError> {
    let text = text::read(path)?;
    let raw: HfConfig = serde_json::from_str(&text)
        .map_err(|source| PolicyError::Json { path: path.to_owned(), source })?;
    ModelConfig::try_from(raw)
}

/// Refuses kinds in which the forward pass is not implemented.
pub(crate) fn check_compute(compute: Kind) -> Result<(), PolicyError> {
    match compute {
        Kind::Float | Kind::BFloat16 | Kind::Double => Ok(()),
        other => {
            let expected = "Float, BFloat16 or Double";
            Err(PolicyError::option("compute", &format!("{other:?}"), expected))
        }
    }
}

/// All of them, once each.
pub(crate) fn sorted(lists: [&[u32]; 2]) -> Vec<u32> {
    let mut tokens = lists.concat();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}
