//! The command line of `hint-rl train`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use hint_grpo::GrpoConfig;
use hint_grpo::config::is_given;
use hint_policy::runtime::DeviceChoice;
use hint_reward::verifier::Equality;
use hint_rollout::collect::curriculum::ProblemSelection;
use hint_rollout::collect::hinted::HintTrigger;
use hint_rollout::data::{DataFile, HeldOut};

use super::same_options;
use super::settings::{Method, SETTINGS, Settings, pinned};
use super::transfer::VllmWeights;
use crate::launch::Backend;
use crate::process::{is_small, threads};
use crate::progress::Output;
use crate::workload::{
    Compute, DATA_FILES, FastPathOptions, PromptOptions, columns, equality, is_made_up,
};

/// Trains a policy with one or several methods, by default GRPO and HINT, and compares them without hints.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The methods to run, one after the other, from the same weights and seed, such as `grpo,hint,luffy`. `grpo` has
    /// no hints, `hint` is this configuration, and `sft` is supervised, on the problems' solutions. Presets
    /// (docs/methods.md) run on the model, data, optimizer, steps and sampling of this configuration. The default is
    /// `grpo` and `hint`, or `grpo` and the file of --config.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) method: Vec<String>,

    /// `tiny` or `tiny-tasks` (in the repository), `smollm2` (fetched once), a folder in Hugging Face format, or a GGUF
    /// file. `owner/name[@revision]` is on the Hugging Face Hub.
    #[arg(long, default_value = "tiny")]
    pub(crate) model: String,

    /// `swaps`, `chains` or `walks` (made up on the spot), or `gsm-symbolic` or `champ` (from `hint-prepare`). Or a
    /// file or folder of problems in JSON, CSV or Parquet. `owner/name[@revision][:split]` is on the Hugging Face
    /// Hub. Several are mixed, each with an optional weight [default: `swaps` with the tiny model, `chains` with
    /// `tiny-tasks`, else `gsm-symbolic`].
    #[arg(long, value_name = "NAME|FILE[=WEIGHT]")]
    pub(crate) problems: Vec<String>,

    /// The column of the problems that holds the `question`, `answer`, `hint`, `solution`, `level` or
    /// `id`, where its name is unusual. It may be a path with dots, and given several times.
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub(crate) column: Vec<String>,

    /// Steps of each run, in place of the configuration's.
    #[arg(long)]
    pub(crate) steps: Option<u64>,

    /// Seed of each run, in place of the configuration's; below 2⁶³, the largest number of TOML.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,

    /// `cpu`, `cuda`, `cuda:N`, or `auto` for the first GPU if there is one.
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,

    /// Number format of the forward and backward passes [default: bf16 on a GPU, f32 on a CPU]. Weights and moments
    /// are f32 either way.
    #[arg(long, value_enum)]
    pub(crate) compute: Option<Compute>,

    /// Switches of operators for GPUs.
    #[command(flatten)]
    pub(crate) fast_paths: FastPathOptions,

    /// Train low-rank adapters in place of the weights: `rank=16,alpha=32,dropout=0.05,
    /// targets=q_proj+v_proj`, all of it optional. Checkpoints hold the adapters, in PEFT's format.
    #[arg(long, value_name = "KEY=VALUE,...", num_args = 0..=1, default_missing_value = "")]
    pub(crate) lora: Option<String>,

    /// Choices that override the model's files.
    #[command(flatten)]
    pub(crate) prompt: PromptOptions,

    /// Keep only the inputs of transformer blocks for the backward pass. It takes less memory and a
    /// second forward pass, with the same bits on a CPU.
    #[arg(long)]
    pub(crate) gradient_checkpointing: bool,

    /// CPU threads [default: 1 with the tiny model, else as many cores as the process may use]. Results
    /// on a CPU are the same bytes for the same number.
    #[arg(long, value_parser = threads)]
    pub(crate) threads: Option<i32>,

    /// Most completions that are decoded at a time [default: 256]. Fewer take less memory and more time.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) max_batch: Option<usize>,

    /// Hyper-parameters in TOML, in place of the model's preset in `examples/configs`.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,

    /// Sets one key of the configuration, such as `run.steps=200`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Servers that sample.
    #[command(flatten)]
    pub(crate) servers: ServerOptions,

    /// Most problems to evaluate on, before and after; `evaluation.max_problems` of the configuration.
    #[arg(long)]
    pub(crate) held_out: Option<usize>,

    /// Folder for metrics, checkpoints and `summary.json` [default: the next free folder in
    /// `runs`].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Continue the run in this folder. It remembers the other options. Only these may be given again: `--steps`,
    /// `--device`, `--threads`, `--max-batch`, `--gradient-checkpointing` and `--method` (one of those that it was
    /// started with). So may `--vllm`, `--vllm-key-env`, `--vllm-merged` and `--vllm-weights`.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = [
            "out", "config", "set", "model", "problems", "column", "seed", "compute", "held_out", "lora",
            "chat_template_kwargs", "template_date", "long_factors", "no_chat_template", "stop_token", "stop", "min_completion_len",
            "ban_token", "system", "instruction", "base",
        ]
    )]
    pub(crate) resume: Option<PathBuf>,

    /// How the run is started, again and in several processes.
    #[command(flatten)]
    pub launch: Launch,

    /// Change something of the resumed run, such as `optimizer.learning_rate=1e-6`, `run.steps=200`,
    /// `problems=FILE` or `model=PATH`; may be given several times. Checkpoints keep the history.
    #[arg(long, value_name = "KEY=VALUE", requires = "resume")]
    pub(crate) change: Vec<String>,

    /// Go back to the checkpoint of this step; later ones are removed.
    #[arg(long, value_name = "N", requires = "resume", conflicts_with_all = ["dry_run", "print_config"])]
    pub(crate) from_step: Option<u64>,

    /// Print the resolved configuration as TOML, which `--config` reads, and end.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) print_config: bool,

    /// Check configuration, model, problems and reference answers, print an estimate of the memory,
    /// sample one group, take one forward and backward pass. Train and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Estimate the memory of one of so many processes. The dry run itself takes one.
    #[arg(long, visible_alias = "world", value_name = "N", requires = "dry_run", default_value = "1", value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    pub(crate) world_size: usize,

    /// Display.
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Servers that sample.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerOptions {
    /// Sample with the vLLM server at this address, which serves the model as `policy` (docs/vllm.md);
    /// may be given several times. Of several processes, the first one asks it for all.
    #[arg(long, value_name = "URL")]
    pub(crate) vllm: Vec<String>,

    /// The environment variable that holds the API key of the servers [default: `VLLM_API_KEY`, if it is set].
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) vllm_key_env: Option<String>,

    /// Give servers the whole weights with --lora, adapters merged. Without this they get the adapters, for which they
    /// need options of their own (docs/vllm.md). A run keeps it when it is resumed.
    #[arg(long)]
    pub(crate) vllm_merged: bool,

    /// Way of whole weights to servers. The first lines of the run name it for each.
    #[arg(long, value_enum, default_value_t = VllmWeights::Auto)]
    pub(crate) vllm_weights: VllmWeights,
}

/// How a run is started, again and in several processes.
#[derive(Debug, Clone, Args)]
pub struct Launch {
    /// Continue the run in the folder that `--out` names if there is one, and start it otherwise. A run that continues
    /// keeps the options that it was started with. So a launcher or a scheduler can start the same command line again.
    #[arg(long, requires = "out")]
    pub auto_resume: bool,

    /// Longest wait for another process of the run, in seconds [default: 600]. One that ends is noticed within seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub collective_timeout: Option<u64>,

    /// Address of this machine that the other processes of the run reach it at. By default it is the one that
    /// connections to `MASTER_ADDR` come from.
    #[arg(long, value_name = "ADDRESS")]
    pub bind_address: Option<String>,

    /// Way of the tensors of GPUs between the processes of the run. The first lines of the run name it.
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    pub(crate) backend: Backend,
}

impl Options {
    /// Resolves defaults and presets; or reads back the options of a resumed run. Writes nothing.
    ///
    /// # Errors
    ///
    /// Options that do not fit together, an invalid configuration, a folder that is in use.
    pub(crate) fn resolve(self) -> Result<Settings> {
        if let Some(out) = self.resume.clone() {
            return self.resolve_resumed(out);
        }
        if let Some(out) = self.out.clone().filter(|out| self.launch.auto_resume && is_run(out)) {
            self.output.note(format_args!(
                "continuing the run in {}, with the options that it was started with",
                out.display()
            ));
            let Self { threads, output, servers, device, compute, .. } = self.clone();
            let given = Self { out: None, ..self }.resolve()?;
            let has_servers = !servers.vllm.is_empty();
            let settings = Self { device, threads, servers, output, ..Self::resume(out)? };
            let settings = settings.resolve()?;
            same_options::check(&settings, &given, (compute.is_some(), has_servers))?;
            return Ok(settings);
        }
        // Clap skips `requires` where the option that is required conflicts with one that is there.
        ensure!(
            self.change.is_empty() && self.from_step.is_none(),
            "--change and --from-step are for a run that continues; name it with --resume DIR"
        );
        let (problems, files) = problems(&self.problems)?;
        let is_default = problems.is_none();
        let problems = problems.unwrap_or_else(|| match self.model.as_str() {
            "tiny" => "swaps".to_owned(),
            "tiny-tasks" => "chains".to_owned(),
            _ => "gsm-symbolic".to_owned(),
        });
        let mut config = base_config(&self)?;
        if !self.column.is_empty() {
            config.data.columns = columns(&self.column)?;
        }
        if !files.is_empty() {
            config.data.files = files;
        }
        let from_config = is_default && !config.data.files.is_empty();
        let problems = if from_config { DATA_FILES.to_owned() } else { problems };
        // Problems that are made up bring held-out ones of their own; of others a share is held out.
        if !is_set(&self, "evaluation.held_out")? {
            config.evaluation.held_out =
                if is_made_up(&problems) { HeldOut::None } else { HeldOut::Share { frac: 0.2 } };
        }
        if let Some(weights) = config.data.weights() {
            ensure!(
                config.rollout.selection == ProblemSelection::Epochs,
                "weights of `data.files` are a way to select problems, so `rollout.selection` must be \
                 \"epochs\""
            );
            let by = "dataset".to_owned();
            config.rollout.selection = ProblemSelection::Mixture { by, weights };
        }
        if config.verifier.equality == Equality::default() && !is_set(&self, "verifier.equality")? {
            config.verifier.equality = equality(&problems);
        }
        config.run.steps = self.steps.unwrap_or(config.run.steps);
        config.run.seed = self.seed.unwrap_or(config.run.seed);
        config.evaluation.max_problems = self.held_out.or(config.evaluation.max_problems);
        self.prompt.set(&mut config);
        config.validate()?;
        let methods = self.methods(&config)?;
        let out = self.out.unwrap_or_default();
        let chosen = self.device.resolve()?;
        let settings = Settings {
            methods,
            problems,
            device: self.device,
            compute: Compute::or_default(self.compute, chosen.device),
            gradient_checkpointing: self.gradient_checkpointing,
            lora: self.lora.as_deref().map(super::lora::parse).transpose()?,
            vllm: self.servers.vllm,
            vllm_key_env: self.servers.vllm_key_env,
            vllm_merged: self.servers.vllm_merged,
            vllm_weights: self.servers.vllm_weights,
            // The tiny model's operations are too small to share between threads.
            threads: self.threads.or(is_small(&self.model).then_some(1)),
            max_batch: self.max_batch,
            model: pinned(self.model)?,
            config,
            out,
            output: self.output,
            only: Vec::new(),
            from_step: None,
            local_rank: None,
            changes: Vec::new(),
            settled: BTreeMap::new(),
            is_new: true,
        };
        settings.check_new()?;
        settings.check_methods()?;
        Ok(settings)
    }

    /// The methods that are asked for. Without hints, the plain configuration would be GRPO once more.
    fn methods(&self, config: &GrpoConfig) -> Result<Vec<Method>> {
        let file = self.config.as_deref().and_then(Path::file_stem);
        let stem = file.map_or("hint".into(), |stem| stem.to_string_lossy().to_lowercase());
        // These names mean something else.
        let configured = if ["grpo", "sft"].contains(&&*stem) { "hint" } else { &stem }.to_owned();
        let names = match self.method.as_slice() {
            [] if config.rollout.trigger == HintTrigger::Never && stem == "grpo" => vec![stem],
            [] if config.rollout.trigger == HintTrigger::Never => vec![configured.clone()],
            [] => vec!["grpo".to_owned(), configured.clone()],
            names => names.iter().map(|name| name.to_lowercase()).collect(),
        };
        let repeated = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
        ensure!(
            repeated.is_none(),
            "--method names {} twice",
            repeated.map_or("", |(_, name)| name)
        );
        let method = |name: &String| Method::named(name, &configured, &self.set);
        names.iter().map(method).collect()
    }
}

/// The name of a single set of problems, and the files of a mixture.
fn problems(given: &[String]) -> Result<(Option<String>, Vec<DataFile>)> {
    if let [one] = given
        && (Path::new(one).exists() || !one.contains('='))
    {
        return Ok((Some(one.clone()), Vec::new()));
    }
    let mut files = Vec::new();
    for given in given {
        let weighted = given.rsplit_once('=').filter(|_| !Path::new(given).exists());
        let (path, weight) = weighted.map_or((given.as_str(), None), |(p, w)| (p, Some(w)));
        let mut file = DataFile::new(path);
        let weight = weight.map(str::parse).transpose();
        file.weight =
            weight.with_context(|| format!("`{given}` in --problems is no FILE=WEIGHT"))?;
        files.push(file);
    }
    let name = (!files.is_empty()).then(|| DATA_FILES.to_owned());
    Ok((name, files))
}

/// Whether a run has begun in a folder.
fn is_run(out: &Path) -> bool {
    out.join(SETTINGS).exists()
}

/// Whether the user's file or overrides name a key.
fn is_set(options: &Options, key: &str) -> Result<bool> {
    let text = options.config.as_deref().map(read).transpose()?.unwrap_or_default();
    Ok(is_given(&text, options.set.iter().map(String::as_str), key)?)
}

/// The user's file, or the preset of the model.
fn base_config(options: &Options) -> Result<GrpoConfig> {
    if let Some(path) = &options.config {
        read_config(path, &options.set)
    } else {
        let text = if is_small(&options.model) {
            include_str!("../../presets/tiny.toml")
        } else {
            include_str!("../../presets/smollm2.toml")
        };
        Ok(GrpoConfig::from_toml_with(text, options.set.iter().map(String::as_str))?)
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn read_config(path: &Path, overrides: &[String]) -> Result<GrpoConfig> {
    GrpoConfig::from_toml_with(&read(path)?, overrides.iter().map(String::as_str))
        .with_context(|| format!("in `{}`", path.display()))
}

#[cfg(test)]
pub(super) mod tests {
    use clap::FromArgMatches;

    use super::*;

    impl Options {
        /// The options of a command line.
        pub(in crate::train) fn parse<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<Self> {
            let command = Self::augment_args(clap::Command::new("train"));
            Ok(Self::from_arg_matches(&command.try_get_matches_from(args)?)?)
        }
    }

    pub(in crate::train) fn resolve(args: &[&str]) -> Result<Settings> {
        let args = std::iter::once("hint_grpo").chain(args.iter().copied());
        Options::parse(args)?.resolve()
    }

    #[test]
    fn the_printed_configuration_of_every_preset_reads_back() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let config = read_config(&path, &[]).unwrap();
            let printed = config.to_toml().unwrap();
            assert_eq!(GrpoConfig::from_toml(&printed).unwrap(), config, "{}", path.display());
        }
    }

    #[test]
    fn overrides_are_in_the_printed_configuration() {
        let settings = resolve(&[
            "--set",
            "grpo.optimizer.max_grad_norm=0.28",
            "--seed",
            "7",
            "--method",
            "grpo",
            "--stop",
            "Question:",
            "--min-completion-len",
            "2",
        ]);
        let printed = settings.unwrap().config_toml().unwrap();
        let config = GrpoConfig::from_toml(&printed).unwrap();
        assert_eq!((config.optimizer.max_grad_norm, config.run.seed), (0.28, 7));
        assert_eq!(config.rollout.trigger, HintTrigger::Never);
        let sampling = config.rollout.sampling;
        assert_eq!(
            (&*sampling.stop, sampling.min_completion_len),
            (&["Question:".to_owned()][..], 2)
        );
    }

    #[test]
    fn problems_of_a_file_are_held_out_by_share_unless_the_user_says_otherwise() {
        let held_out = |args: &[&str]| resolve(args).unwrap().config.evaluation.held_out;
        let share = HeldOut::Share { frac: 0.2 };
        assert_eq!(held_out(&[]), HeldOut::None);
        assert_eq!(held_out(&["--problems", "some.jsonl"]), share);
        assert_eq!(held_out(&["--model", "smollm2"]), share);
        assert_eq!(held_out(&["--model", "smollm2", "--problems", "swaps"]), HeldOut::None);
        let file =
            ["--problems", "a.jsonl", "--set", "evaluation.held_out={type='file',path='b.jsonl'}"];
        assert_eq!(held_out(&file), HeldOut::File { path: "b.jsonl".into(), columns: None });
    }

    #[track_caller]
    pub(in crate::train) fn refused(args: &[&str], expected: &str) {
        let error = format!("{:#}", resolve(args).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn options_that_do_not_fit_together_are_refused() {
        refused(&["--from-step", "3"], "--resume");
        refused(&["--from-step", "3", "--out", "x"], "name it with --resume DIR");
        refused(&["--change", "run.steps=3", "--out", "x"], "name it with --resume DIR");
        refused(&["--resume", "x", "--set", "run.seed=3"], "cannot be used with");
        refused(&["--resume", "x", "--from-step", "3", "--dry-run"], "cannot be used with");
        refused(&["--resume", "no/such/run"], "is `no/such/run` the `--out` of a run?");
        refused(&["--device", "tpu"], "auto, cpu, cuda or cuda:N");
        refused(&["--set", "evaluation.evry=3"], "did you mean `every`?");
        refused(&["--resume", "x", "--stop", "Q:"], "cannot be used with");
        refused(&["--min-completion-len", "9999"], "min_completion_len: must not exceed");
        refused(&["--set", "evaluation.k=[4]"], "evaluation.k: must be between 1 and");
        let file = tempfile::NamedTempFile::new().unwrap();
        let (file, below) = (file.path(), file.path().join("run"));
        for out in [file, &below] {
            let expected = format!("`{}` is a file, and --out names a folder", file.display());
            refused(&["--out", out.to_str().unwrap()], &expected);
        }
    }

    fn methods(args: &[&str]) -> Vec<(String, GrpoConfig)> {
        let settings = resolve(args).unwrap();
        let config = |method: &Method| (method.name.clone(), settings.config(method));
        settings.methods.iter().map(config).collect()
    }

    #[test]
    fn methods_are_presets_by_name_on_the_task_of_the_configuration() {
        let found = methods(&["--method", "grpo,hint,luffy", "--set", "loss.kl.coef=0.25"]);
        let names = found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["grpo", "hint", "luffy"]);
        let [(_, grpo), (_, hint), (_, luffy)] = &found[..] else { panic!("three") };
        assert_eq!(grpo.rollout.trigger, HintTrigger::Never);
        assert_eq!((luffy.rollout.group_size, luffy.loss.kl.coef), (7, 0.25));
        assert_eq!((&luffy.rollout.sampling, luffy.run), (&hint.rollout.sampling, hint.run));
        refused(&["--method", "grpo,grpo"], "--method names grpo twice");
        refused(&["--method", "lufy"], "presets are adaprefix, agent_g2,");
        let never = ["--method", "grpo,hint", "--set", "rollout.trigger={type='never'}"];
        refused(&never, "the methods `grpo` and `hint` have the same configuration");
        refused(
            &["--max-batch", "8", "--vllm", "http://localhost:1"],
            "--max-batch is for the engine",
        );
        refused(&["--vllm-merged", "--lora"], "--vllm-merged is for servers");
        refused(&["--vllm-key-env", "PATH"], "--vllm-key-env is for servers; name them with");
        refused(&["--vllm-weights", "folder"], "--vllm-weights is for servers");
        let with_servers = |key: &str| {
            refused(&["--vllm", "http://localhost:1", "--set", key], "it is 0, or from 0.01 to 2");
        };
        with_servers("rollout.sampling.temperature=2.5");
        with_servers("rollout.sampling.temperature=0.005");
        with_servers("evaluation.temperature=2.01");
        assert!(resolve(&["--set", "rollout.sampling.temperature=2.5"]).is_ok());
    }

    #[test]
    fn a_file_gives_its_method_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mine = file("Mine.toml", "rollout.group_size = 5");
        let names =
            |args: &[&str]| methods(args).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&["--config", &mine]), ["grpo", "mine"]);
        assert_eq!(names(&["--config", &mine, "--method", "mine,luffy"]), ["mine", "luffy"]);
        assert_eq!(names(&["--config", &mine, "--method", "hint"]), ["hint"]);
        // Without hints it is GRPO itself, and runs once.
        let plain = file("plain.toml", "rollout.trigger = { type = 'never' }");
        assert_eq!(names(&["--config", &plain]), ["plain"]);
        let grpo = file("grpo.toml", "rollout.trigger = { type = 'never' }");
        assert_eq!(names(&["--config", &grpo]), ["grpo"]);
        let sft = file("sft.toml", "rollout.group_size = 5");
        assert!(
            resolve(&["--config", &sft, "--method", "sft"]).unwrap().methods[0].is_supervised()
        );
        let files = file("files.toml", "data.files = [{ path = 'a.jsonl' }]");
        for model in ["tiny", "smollm2"] {
            let found = methods(&["--config", &files, "--model", model]);
            assert_eq!(found[0].1.evaluation.held_out, HeldOut::Share { frac: 0.2 });
        }
        let held_out = |args: &[&str]| methods(args)[0].1.evaluation.held_out.clone();
        let own = ["--config", &mine, "--problems", "some.jsonl"];
        assert_eq!(held_out(&own), HeldOut::Share { frac: 0.2 });
    }
}
