//! Resolved settings of a run, and those that a resumed run keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hint_grpo::GrpoConfig;
use hint_grpo::config::{CHANGEABLE, is_changeable};
use hint_policy::LoraConfig;
use hint_policy::runtime::DeviceChoice;
use hint_rollout::collect::hinted::HintTrigger;
use hint_rollout::data::{HeldOut, Problems};
use serde::{Deserialize, Serialize};
use tch::Device;

use super::transfer::VllmWeights;
use crate::hub::Kind;
use crate::presets;
use crate::process::replace_file;
use crate::progress::Output;
use crate::workload::{self, Compute, Source, Workload, device, model_path};

/// Name of the run, in its folder and in `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Method {
    /// The name.
    pub name: String,
    /// Its use of the configuration.
    pub kind: MethodKind,
}

/// Use of the configuration by a method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MethodKind {
    /// Policy gradient without hints: the configuration with its trigger set to `never`.
    Plain,
    /// Policy gradient with the plain configuration.
    Configured,
    /// Policy gradient with the method of a preset, on the task of the configuration.
    Preset(Box<GrpoConfig>),
    /// Supervised training on the problems' solutions, for a warm start or a baseline.
    Supervised,
}

impl Method {
    /// The method with this name. `configured` is the configuration's own method; `overrides` change presets as
    /// they do the configuration.
    ///
    /// # Errors
    ///
    /// An unknown name.
    pub(super) fn named(name: &str, configured: &str, overrides: &[String]) -> Result<Self> {
        let kind = match name {
            "grpo" => MethodKind::Plain,
            "sft" => MethodKind::Supervised,
            name if name == "hint" || name == configured => MethodKind::Configured,
            preset => {
                let overrides = overrides.iter().map(String::as_str);
                let text = presets::text(preset).with_context(|| {
                    format!("`{preset}` in --method is neither sft nor a preset")
                })?;
                let preset = GrpoConfig::from_toml_with(text, overrides)
                    .with_context(|| format!("method `{preset}`"))?;
                MethodKind::Preset(Box::new(preset))
            }
        };
        Ok(Self { name: name.to_owned(), kind })
    }

    /// Whether it trains on demonstrations alone.
    pub(crate) const fn is_supervised(&self) -> bool {
        matches!(self.kind, MethodKind::Supervised)
    }
}

/// Everything that decides a run, resolved: written to `options.json` and read back by `--resume`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The methods, in order.
    pub methods: Vec<Method>,
    /// As given.
    pub model: String,
    /// As given, or the model's default.
    pub problems: String,
    /// As given.
    pub device: DeviceChoice,
    /// As given.
    pub compute: Compute,
    /// As given, with the defaults in place.
    #[serde(default)]
    pub lora: Option<LoraConfig>,
    /// As given.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// As given.
    pub threads: Option<i32>,
    /// As given.
    #[serde(default)]
    pub max_batch: Option<usize>,
    /// As given.
    #[serde(default)]
    pub vllm: Vec<String>,
    /// The variable that holds the key of the servers, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vllm_key_env: Option<String>,
    /// As given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vllm_merged: bool,
    /// As given, each time that the run is started or continued.
    #[serde(skip)]
    pub vllm_weights: VllmWeights,
    /// The configuration, with steps and seed in place.
    pub config: GrpoConfig,
    /// The folder of the run; empty until [`Settings::claim`] finds a free one.
    #[serde(skip)]
    pub out: PathBuf,
    /// Display of the run.
    #[serde(skip)]
    pub output: Output,
    /// The names of the methods that a resumed run continues; all of them if it is empty.
    #[serde(skip)]
    pub only: Vec<String>,
    /// The step to go back to.
    #[serde(skip)]
    pub from_step: Option<u64>,
    /// The number of this process on its machine, where several share the run.
    #[serde(skip)]
    pub local_rank: Option<usize>,
    /// Changes by resumed runs: keys of the configuration, or other dependencies of the run. Remembered, so
    /// that a run that is killed before its checkpoints have the change continues with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Of each method, the changes that its newest checkpoint has. Another difference of the same kind is none of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settled: BTreeMap<String, BTreeSet<String>>,
    /// Whether a folder that holds a run is refused.
    #[serde(skip)]
    pub is_new: bool,
}

/// The file in a run's folder that holds its [`Settings`].
pub(crate) const SETTINGS: &str = "options.json";

/// Data of a run that are compared when it is resumed.
const DATA: [&str; 5] = ["problems", "hints", "solutions", "columns", "held_out"];

/// Whether a key of the configuration decides which problems a run trains or evaluates on.
fn decides_data(key: &str) -> bool {
    let keys = [
        "evaluation.held_out",
        "evaluation.max_problems",
        "rollout.max_prompt_len",
        "rollout.sampling.max_completion_len",
    ];
    key == "evaluation" || keys.iter().any(|decides| key.starts_with(decides))
}

impl Settings {
    /// Adopts the changes of a resumed run.
    pub(super) fn change(&mut self, changes: &[String]) -> Result<()> {
        let (mut overrides, mut keys) = (Vec::new(), Vec::new());
        for change in changes {
            let (key, value) = change
                .split_once('=')
                .with_context(|| format!("`{change}` in --change is no KEY=VALUE"))?;
            let key = key.trim();
            match key {
                "problems" => {
                    value.clone_into(&mut self.problems);
                    keys.extend(DATA);
                }
                "model" => {
                    self.model = pinned(value.to_owned())?;
                    keys.push("model");
                }
                "engine" => {
                    ensure!(
                        value == "local",
                        "--change engine takes `local`; for servers use --vllm"
                    );
                    self.vllm.clear();
                    // They say how to use servers.
                    (self.vllm_key_env, self.vllm_merged) = (None, false);
                    keys.push("engine");
                }
                key => {
                    ensure!(
                        is_changeable(key),
                        "`{key}` cannot change within a run; what can: problems, model, engine, {}",
                        CHANGEABLE.join(", ")
                    );
                    overrides.push(change.as_str());
                    let key = key.strip_prefix("grpo.").unwrap_or(key);
                    keys.push(key);
                    if decides_data(key) {
                        keys.extend(DATA);
                    }
                }
            }
        }
        for key in keys {
            self.may_change(key);
        }
        let changed = |config: &GrpoConfig| -> Result<GrpoConfig> {
            Ok(GrpoConfig::from_toml_with(&config.to_toml()?, overrides.iter().copied())?)
        };
        self.config = changed(&self.config)?;
        for method in &mut self.methods {
            if let MethodKind::Preset(preset) = &mut method.kind {
                **preset = changed(preset)?;
            }
        }
        Ok(())
    }

    /// Names the commits of models and problems on the Hugging Face Hub, so that a resumed run takes the same
    /// files.
    ///
    /// # Errors
    ///
    /// A repository that is not there.
    pub(crate) fn pin(&mut self) -> Result<()> {
        self.model = workload::pinned(Kind::Model, &self.model)?;
        let base = &mut self.config.model.base;
        *base = workload::pinned_base(&self.model, base.as_deref())?;
        self.problems = workload::pinned(Kind::Problems, &self.problems)?;
        let problems = |path: &mut PathBuf| -> Result<()> {
            *path = workload::pinned(Kind::Problems, &path.to_string_lossy())?.into();
            Ok(())
        };
        for file in &mut self.config.data.files {
            let name = file.name();
            let before = file.path.clone();
            problems(&mut file.path)?;
            // Weights are by name.
            if file.path != before {
                file.name = Some(name);
            }
        }
        if let HeldOut::File { path, .. } = &mut self.config.evaluation.held_out {
            problems(path)?;
        }
        Ok(())
    }

    /// Chooses a folder in `runs`, unless the user named one, and creates it.
    ///
    /// # Errors
    ///
    /// A folder that cannot be created.
    pub(crate) fn claim(&mut self) -> Result<()> {
        if self.out.as_os_str().is_empty() {
            self.out = claim_free_folder(Path::new("runs"))?;
        }
        Ok(())
    }

    /// Refuses a folder that another process began a run in, and what is no folder.
    ///
    /// # Errors
    ///
    /// Such a folder.
    pub(super) fn check_new(&self) -> Result<()> {
        // A missing part of the path is created.
        let file = self.out.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir());
        ensure!(
            file.is_none(),
            "`{}` is a file, and --out names a folder",
            file.unwrap_or(Path::new("")).display()
        );
        ensure!(
            !self.is_new || !self.out.join(SETTINGS).exists(),
            "`{0}` already holds a run; continue it with `--resume {0}`, or choose another `--out`",
            self.out.display()
        );
        Ok(())
    }

    /// Creates the run's folder and writes the memory of a resumed run, if it is not there.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        if self.out.join(SETTINGS).exists() { Ok(()) } else { self.write() }
    }

    /// Writes the memory of a resumed run.
    pub(super) fn write(&self) -> Result<()> {
        let file = self.out.join(SETTINGS);
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot create `{}`", self.out.display()))?;
        replace_file(&file, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// Adds a change of a resumed run.
    pub(super) fn may_change(&mut self, key: &str) {
        for settled in self.settled.values_mut() {
            settled.remove(key);
        }
        if !self.changes.iter().any(|known| known == key) {
            self.changes.push(key.to_owned());
            self.changes.sort();
        }
    }

    /// The newest checkpoint of `method` has all changes. Returns whether that is new.
    pub(super) fn settle(&mut self, method: &str) -> bool {
        let is_new = self.open_changes(method).next().is_some();
        if is_new {
            self.settled.insert(method.to_owned(), self.changes.iter().cloned().collect());
        }
        is_new
    }

    /// The differences that `method` may have from its checkpoint.
    pub(super) fn open_changes(&self, method: &str) -> impl Iterator<Item = &String> {
        let settled = self.settled.get(method);
        let is_settled = move |key: &String| settled.is_some_and(|settled| settled.contains(key));
        self.changes.iter().filter(move |key| !is_settled(key))
    }

    /// The methods to run now.
    pub(crate) fn chosen(&self) -> impl Iterator<Item = &Method> {
        let is_chosen = |name| self.only.is_empty() || self.only.contains(name);
        self.methods.iter().filter(move |method| is_chosen(&method.name))
    }

    /// Refuses methods that this task cannot have, two that are the same, and an option of another engine.
    pub(super) fn check_methods(&self) -> Result<()> {
        ensure!(
            self.vllm.is_empty() || self.max_batch.is_none(),
            "--max-batch is for the engine in this process; a server has a limit of its own"
        );
        let for_servers = [
            ("--vllm-merged", self.vllm_merged),
            ("--vllm-key-env", self.vllm_key_env.is_some()),
            ("--vllm-weights", self.vllm_weights != VllmWeights::Auto),
        ];
        for (option, is_given) in for_servers {
            ensure!(
                !(self.vllm.is_empty() && is_given),
                "{option} is for servers; name them with --vllm"
            );
        }
        for server in &self.vllm {
            let rest = server.strip_prefix("http://").or_else(|| server.strip_prefix("https://"));
            let is_address = rest.is_some_and(|rest| {
                rest.starts_with(|first: char| first.is_alphanumeric() || first == '[')
                    && !rest.contains(char::is_whitespace)
            });
            ensure!(
                is_address,
                "--vllm is `{server}`, expected an address such as `http://127.0.0.1:8000`"
            );
        }
        for (at, method) in self.methods.iter().enumerate() {
            let config = self.config(method);
            config.validate().with_context(|| format!("method `{}` on this task", method.name))?;
            self.check_temperatures(&config)?;
            let twin = self.methods[..at].iter().find(|other| {
                other.is_supervised() == method.is_supervised() && self.config(other) == config
            });
            if let Some(twin) = twin {
                bail!(
                    "the methods `{}` and `{}` have the same configuration",
                    twin.name,
                    method.name
                );
            }
        }
        Ok(())
    }

    /// Refuses temperatures that a vLLM server would refuse or raise.
    fn check_temperatures(&self, config: &GrpoConfig) -> Result<()> {
        for (key, temperature) in [
            ("rollout.sampling.temperature", config.rollout.sampling.temperature),
            ("evaluation.temperature", config.evaluation.temperature),
        ] {
            ensure!(
                self.vllm.is_empty() || temperature == 0.0 || (0.01..=2.0).contains(&temperature),
                "{key} is {temperature}; with --vllm it is 0, or from 0.01 to 2"
            );
        }
        Ok(())
    }

    /// The configuration of one method. The only difference between the methods.
    pub(crate) fn config(&self, method: &Method) -> GrpoConfig {
        let mut config = self.config.clone();
        match &method.kind {
            MethodKind::Plain => config.rollout.trigger = HintTrigger::Never,
            MethodKind::Preset(preset) => config = presets::on_task(preset, &config),
            MethodKind::Configured | MethodKind::Supervised => {}
        }
        config
    }

    /// Refuses hints that are not there, before any method begins.
    ///
    /// # Errors
    ///
    /// As [`CollectorConfig::check_hints`](hint_rollout::CollectorConfig::check_hints).
    pub(crate) fn check_hints(&self, problems: &dyn Problems) -> Result<()> {
        for method in self.chosen().filter(|method| !method.is_supervised()) {
            let checked = self.config(method).rollout.check_hints(problems);
            checked.with_context(|| format!("method `{}`", method.name))?;
        }
        Ok(())
    }

    /// The sampler, as a checkpoint records it.
    pub(crate) fn engine_name(&self) -> String {
        if self.vllm.is_empty() {
            "local".to_owned()
        } else {
            format!("vLLM: {}", self.vllm.join(", "))
        }
    }

    /// The device that is asked for, as a checkpoint records it.
    pub(crate) fn device_name(&self) -> String {
        self.device.to_string()
    }

    /// The number of threads that is asked for, as a checkpoint records it.
    pub(crate) fn threads_name(&self) -> String {
        self.threads.map_or_else(|| "auto".to_owned(), |threads| threads.to_string())
    }

    /// The configuration as TOML, or the only method's if there is one.
    ///
    /// # Errors
    ///
    /// A number that TOML does not have.
    pub(crate) fn config_toml(&self) -> Result<String> {
        let config = match self.chosen().collect::<Vec<_>>().as_slice() {
            [method] => self.config(method),
            _ => self.config.clone(),
        };
        Ok(config.to_toml()?)
    }

    /// Model and problems.
    ///
    /// # Errors
    ///
    /// As [`Workload::load`].
    pub(crate) fn workload(&self) -> Result<Workload> {
        Ok(Workload::load(&self.source()?)?
            .with_lora(self.lora.clone())
            .with_prompt(&self.config.model, &self.config.prompt)
            .with_gradient_checkpointing(self.gradient_checkpointing))
    }

    /// Source of model and problems.
    ///
    /// # Errors
    ///
    /// As [`device`].
    pub(crate) fn source(&self) -> Result<Source<'_>> {
        // The processes of one machine have a GPU each.
        let choice = match (self.device, self.local_rank) {
            (DeviceChoice::Auto, Some(rank)) if is_cuda(self.device)? => DeviceChoice::Cuda(rank),
            (DeviceChoice::Cuda(first), Some(rank)) => DeviceChoice::Cuda(first + rank),
            (choice, _) => choice,
        };
        let device = device(choice)?;
        let (model, problems) = (self.model.as_str(), self.problems.as_str());
        let compute = self.compute;
        let (data, evaluation) = (&self.config.data, &self.config.evaluation);
        let verifier = &self.config.verifier;
        Ok(Source { model, problems, data, verifier, device, compute, evaluation })
    }
}

/// Whether a choice stands for a GPU.
fn is_cuda(choice: DeviceChoice) -> Result<bool> {
    Ok(choice.resolve()?.device != Device::Cpu)
}

/// The place of a model that moves with the steps of another run: its newest checkpoint now.
pub(super) fn pinned(model: String) -> Result<String> {
    let is_name =
        matches!(model.as_str(), "tiny" | "tiny-tasks" | "smollm2") || !Path::new(&model).exists();
    if is_name { Ok(model) } else { Ok(model_path(&model)?.display().to_string()) }
}

/// Creates the next free folder. Of several processes that ask at once, each gets its own folder.
fn claim_free_folder(parent: &Path) -> Result<PathBuf> {
    let failed = |path: &Path| format!("cannot create `{}`", path.display());
    std::fs::create_dir_all(parent).with_context(|| failed(parent))?;
    for number in 1..10_000 {
        let path = parent.join(format!("{number:04}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| failed(&path)),
        }
    }
    bail!("`{}` is full; choose a folder with `--out`", parent.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_start_at_once_have_folders_of_their_own() {
        let parent = tempfile::tempdir().unwrap();
        let runs = parent.path().join("runs");
        let mut claimed = std::thread::scope(|scope| {
            let claim = || claim_free_folder(&runs).unwrap();
            let threads = (0..8).map(|_| scope.spawn(claim)).collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        claimed.sort();
        let expected = (1..=8).map(|number| runs.join(format!("{number:04}")));
        assert_eq!(claimed, expected.collect::<Vec<_>>());
    }
}
