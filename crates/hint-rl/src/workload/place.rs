//! Locations of models and problems, by the names that users give.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hint_grpo::RunDir;
use hint_grpo::config::EvaluationConfig;
use hint_rollout::data::{DataConfig, HeldOut};

use super::{DATA_FILES, is_made_up};
use crate::fetch::{Fetcher, SMOLLM2};
use crate::hub::{self, HubName, Kind};
use crate::tasks;
use crate::tiny::tiny_model;

/// The newest checkpoint of the run in `path`, if it holds one; else `path` itself.
fn newest_checkpoint(path: PathBuf) -> Result<PathBuf> {
    if path.join("options.json").is_file() {
        let mut methods = Vec::new();
        for entry in std::fs::read_dir(&path)? {
            let method = entry?.path();
            if !RunDir::checkpoints(&method)?.is_empty() {
                methods.push(format!("`{}`", method.display()));
            }
        }
        methods.sort();
        let (path, methods) = (path.display(), methods.join(", "));
        bail!("`{path}` holds the runs of a comparison; name one of them: {methods}");
    }
    let mut checkpoints = RunDir::checkpoints(&path)?;
    Ok(checkpoints.pop().map_or(path, |(_, checkpoint)| checkpoint))
}

/// A model on this machine.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Its files, where its folder may hold others.
    pub(super) files: Option<Vec<PathBuf>>,
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self { path, files: None }
    }
}

/// The place of a model, by the name that `--model` takes; fetches it if need be.
///
/// # Errors
///
/// A model that cannot be fetched, a folder with several runs.
pub(crate) fn model_path(name: &str) -> Result<PathBuf> {
    Ok(model_place(name)?.path)
}

/// The place of a model that is on this machine already. `None` for one that would be fetched.
///
/// # Errors
///
/// As [`model_path`].
pub(crate) fn local_model(name: &str) -> Result<Option<PathBuf>> {
    let is_here = match name {
        "tiny" | "tiny-tasks" => true,
        "smollm2" => Fetcher::of_user()?.path(&SMOLLM2).exists(),
        name => Path::new(name).exists(),
    };
    is_here.then(|| model_path(name)).transpose()
}

pub(super) fn model_place(name: &str) -> Result<Place> {
    match name {
        "tiny" => Ok(tiny_model().into()),
        "tiny-tasks" => Ok(tasks::model::model().into()),
        "smollm2" => Ok(Fetcher::of_user()?.fetch(&SMOLLM2, &mut notice)?.into()),
        path if Path::new(path).exists() => Ok(newest_checkpoint(PathBuf::from(path))?.into()),
        name => {
            let on_hub = HubName::parse(name).with_context(|| {
                format!(
                    "there is no `{name}`; a model is `tiny`, `tiny-tasks`, `smollm2`, a GGUF \
                     file, a folder (Hugging Face format or a run), or `owner/name` on the Hub"
                )
            })?;
            let fetched = hub::fetch(Kind::Model, &on_hub, &mut notice)?;
            Ok(Place { path: fetched.path, files: Some(fetched.files) })
        }
    }
}

/// The file or folder of problems, by its path or its name on the Hub.
///
/// # Errors
///
/// Problems that are not there or cannot be fetched.
pub(crate) fn problems_path(name: &str) -> Result<PathBuf> {
    if Path::new(name).exists() {
        return Ok(PathBuf::from(name));
    }
    let on_hub = HubName::parse(name).with_context(|| {
        format!(
            "there is no `{name}`; problems are `swaps`, `chains`, `walks`, `gsm-symbolic`, `champ`, a file, or \
             `owner/name` on the Hugging Face Hub"
        )
    })?;
    Ok(hub::fetch(Kind::Problems, &on_hub, &mut notice)?.path)
}

/// The configuration of data with paths in place of names.
pub(super) fn local_data(config: &DataConfig) -> Result<DataConfig> {
    let mut config = config.clone();
    for file in &mut config.files {
        file.name = Some(file.name());
        file.path = problems_path(&file.path.to_string_lossy())?;
    }
    Ok(config)
}

/// The configuration of evaluation with a path in place of a name.
pub(super) fn local_evaluation(config: &EvaluationConfig) -> Result<EvaluationConfig> {
    let mut config = config.clone();
    if let HeldOut::File { path, .. } = &mut config.held_out {
        *path = problems_path(&path.to_string_lossy())?;
    }
    Ok(config)
}

/// The base of an adapter in `model`: the `given` one, or the adapter's own, if that is a name on the Hub.
///
/// # Errors
///
/// A base that cannot be fetched.
pub(crate) fn base_path(model: &Path, given: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let given_name = given.as_ref().map(|base| base.to_string_lossy().into_owned());
    let name = given_name.or_else(|| named_base(model));
    match name.filter(|name| !Path::new(name).exists()).and_then(|name| HubName::parse(&name)) {
        Some(name) => Ok(Some(hub::fetch(Kind::Model, &name, &mut notice)?.path)),
        None => Ok(given),
    }
}

/// The base that the adapter in a folder names, unless it is in a folder below.
fn named_base(model: &Path) -> Option<String> {
    let bytes = std::fs::read(model.join("adapter_config.json")).ok()?;
    let config = serde_json::from_slice::<serde_json::Value>(&bytes).ok()?;
    let name = config["base_model_name_or_path"].as_str()?;
    (!model.join(name).exists()).then(|| name.to_owned())
}

/// The base of an adapter at the commit that it has now, if it is a name on the Hub.
///
/// # Errors
///
/// A repository that is not there.
pub(crate) fn pinned_base(model: &str, given: Option<&Path>) -> Result<Option<PathBuf>> {
    let named =
        || named_base(&model_path(model).ok()?).filter(|name| HubName::parse(name).is_some());
    let name = given.map(|base| base.to_string_lossy().into_owned()).or_else(named);
    Ok(name.map(|name| pinned(Kind::Model, &name)).transpose()?.map(PathBuf::from))
}

/// A name at the commit that it has now, if it is one on the Hub.
///
/// # Errors
///
/// A repository that is not there.
pub(crate) fn pinned(kind: Kind, name: &str) -> Result<String> {
    let known = ["tiny", "tiny-tasks", "smollm2", "gsm-symbolic", "champ", DATA_FILES];
    let is_known = known.contains(&name) || is_made_up(name);
    match HubName::parse(name).filter(|_| !is_known && !Path::new(name).exists()) {
        Some(on_hub) => Ok(hub::pin(kind, &on_hub, &mut notice)?.to_string()),
        None => Ok(name.to_owned()),
    }
}

fn notice(line: &str) {
    inform!("{line}");
}
