//! The command line of the main example, and what a resumed run remembers of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use hint_grpo::GrpoConfig;
use hint_rollout::HintTrigger;
use serde::{Deserialize, Serialize};
use tch::Device;

/// Trains a policy with plain GRPO and with HINT, and compares them without hints.
#[derive(Debug, Clone, Parser, Serialize, Deserialize)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// The method to run; without it both, one after the other, from the same weights and seed.
    #[arg(long, value_enum)]
    pub method: Option<Method>,

    /// `tiny` (in the repository), `smollm2` (fetched once), a folder in Hugging Face format, or a
    /// GGUF file.
    #[arg(long, default_value = "tiny")]
    pub model: String,

    /// `swaps` (made up on the spot), `gsm-symbolic` or `champ` (fetched once), or a JSONL file with
    /// `question`, `answer` and `abstract_hint` [default: `swaps` with the tiny model, else
    /// `gsm-symbolic`].
    #[arg(long)]
    pub problems: Option<String>,

    /// Steps of each run, in place of the configuration's.
    #[arg(long)]
    pub steps: Option<u64>,

    /// Seed of each run, in place of the configuration's.
    #[arg(long)]
    pub seed: Option<u64>,

    /// `cpu`, `cuda`, `cuda:N`, or `auto` for the first GPU if there is one.
    #[arg(long, default_value = "auto")]
    pub device: String,

    /// Number format of the forward and backward passes. Weights and moments are f32 either way.
    #[arg(long, value_enum, default_value = "f32")]
    pub compute: Compute,

    /// CPU threads [default: 1 with the tiny model, else libtorch's choice]. Results are the same
    /// bytes for the same number.
    #[arg(long)]
    pub threads: Option<i32>,

    /// Hyper-parameters in TOML, in place of the model's preset in `examples/configs`.
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,

    /// Sets one key of the configuration, such as `clip_high=0.28`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    #[serde(default)]
    pub set: Vec<String>,

    /// Problems to hold out for the accuracies before and after.
    #[arg(long)]
    pub held_out: Option<usize>,

    /// Where to write metrics, checkpoints and `summary.json` [default: the next free folder in
    /// `runs`].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Go on with the run in this folder. It remembers the other options; only `--steps` and
    /// `--device` may be given again.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "config", "method", "set"])]
    #[serde(skip)]
    pub resume: Option<PathBuf>,
}

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The configuration with its trigger set to `never`.
    Grpo,
    /// The configuration as it is.
    Hint,
}

impl Method {
    /// The name in `summary.json` and of the run's folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpo => "grpo",
            Self::Hint => "hint",
        }
    }
}

/// Number format of forward and backward passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compute {
    /// 32 bit.
    F32,
    /// bfloat16, for GPUs and large models.
    Bf16,
}

/// Everything that decides what a run does, resolved: written to `options.json` and read back by
/// `--resume`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The methods, in order.
    pub methods: Vec<Method>,
    /// As given.
    pub model: String,
    /// As given, or the model's default.
    pub problems: String,
    /// As given.
    pub device: String,
    /// As given.
    pub compute: Compute,
    /// As given.
    pub threads: Option<i32>,
    /// As given, or the problem set's default.
    pub held_out: usize,
    /// The configuration, with steps and seed in place.
    pub config: GrpoConfig,
    /// The folder of the run.
    #[serde(skip)]
    pub out: PathBuf,
    /// Whether the run goes on.
    #[serde(skip)]
    pub resumed: bool,
}

const SETTINGS: &str = "options.json";

impl Options {
    /// Resolves defaults and presets, and creates the run's folder; or reads back what a resumed run
    /// was started with.
    ///
    /// # Errors
    ///
    /// Options that do not fit together, an invalid configuration, a folder that is in use.
    pub fn resolve(self) -> Result<Settings> {
        if let Some(out) = self.resume.clone() {
            return self.resolve_resumed(out);
        }
        let problems = match (&self.problems, self.model.as_str()) {
            (Some(problems), _) => problems.clone(),
            (None, "tiny") => "swaps".to_owned(),
            (None, _) => "gsm-symbolic".to_owned(),
        };
        let mut config = match &self.config {
            Some(path) => read_config(path, &self.set)?,
            None => preset(&self.model, &self.set)?,
        };
        config.run.steps = self.steps.unwrap_or(config.run.steps);
        config.run.seed = self.seed.unwrap_or(config.run.seed);
        config.validate()?;
        let out = match self.out {
            Some(out) => out,
            None => next_free_folder(Path::new("runs"))?,
        };
        let file = out.join(SETTINGS);
        ensure!(
            !file.exists(),
            "`{0}` already holds a run; go on with `--resume {0}`, or choose another `--out`",
            out.display()
        );
        let settings = Settings {
            methods: self.method.map_or_else(|| vec![Method::Grpo, Method::Hint], |one| vec![one]),
            held_out: self.held_out.unwrap_or(if problems == "swaps" { 200 } else { 20 }),
            problems,
            device: self.device,
            compute: self.compute,
            // The tiny model's operations are too small to share between threads.
            threads: self.threads.or((self.model == "tiny").then_some(1)),
            model: self.model,
            config,
            out,
            resumed: false,
        };
        settings.device()?;
        std::fs::create_dir_all(&settings.out)
            .with_context(|| format!("cannot create `{}`", settings.out.display()))?;
        let text = serde_json::to_string_pretty(&settings)? + "\n";
        std::fs::write(&file, text)
            .with_context(|| format!("cannot write `{}`", file.display()))?;
        Ok(settings)
    }

    fn resolve_resumed(self, out: PathBuf) -> Result<Settings> {
        let file = out.join(SETTINGS);
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!(
                "cannot read `{}`; is `{}` the `--out` of a run?",
                file.display(),
                out.display()
            )
        })?;
        let mut settings: Settings = serde_json::from_str(&text)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        settings.out = out;
        settings.resumed = true;
        settings.config.run.steps = self.steps.unwrap_or(settings.config.run.steps);
        if self.device != "auto" {
            settings.device = self.device;
        }
        settings.device()?;
        Ok(settings)
    }
}

impl Settings {
    /// The device to train on.
    ///
    /// # Errors
    ///
    /// An unknown name, or a GPU that is not there.
    pub fn device(&self) -> Result<Device> {
        let gpus = tch::Cuda::device_count();
        let device = match self.device.as_str() {
            "auto" if gpus > 0 => Device::Cuda(0),
            "cpu" | "auto" => Device::Cpu,
            "cuda" => Device::Cuda(0),
            other => match other.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(index)) => Device::Cuda(index),
                _ => bail!("unknown device `{other}`; use cpu, cuda, cuda:N or auto"),
            },
        };
        if let Device::Cuda(index) = device {
            let count = usize::try_from(gpus).unwrap_or(0);
            ensure!(index < count, "`{}` asked for, but libtorch sees {count} GPUs", self.device);
        }
        Ok(device)
    }

    /// The configuration of one method. The only difference between the methods.
    pub fn config(&self, method: Method) -> GrpoConfig {
        let mut config = self.config.clone();
        if method == Method::Grpo {
            config.rollout.trigger = HintTrigger::Never {};
        }
        config
    }
}

/// The preset of a model.
fn preset(model: &str, overrides: &[String]) -> Result<GrpoConfig> {
    let text = if model == "tiny" {
        include_str!("../configs/tiny.toml")
    } else {
        include_str!("../configs/smollm2.toml")
    };
    Ok(GrpoConfig::from_toml_with(text, overrides.iter().map(String::as_str))?)
}

fn read_config(path: &Path, overrides: &[String]) -> Result<GrpoConfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    GrpoConfig::from_toml_with(&text, overrides.iter().map(String::as_str))
        .with_context(|| format!("in `{}`", path.display()))
}

fn next_free_folder(parent: &Path) -> Result<PathBuf> {
    (1..10_000)
        .map(|number| parent.join(format!("{number:04}")))
        .find(|path| !path.exists())
        .with_context(|| format!("`{}` is full; choose a folder with `--out`", parent.display()))
}
