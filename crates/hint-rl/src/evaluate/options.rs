//! Options of `hint-rl evaluate`, and the configuration they make.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use hint_grpo::GrpoConfig;
use hint_grpo::config::is_given;
use hint_policy::runtime::DeviceChoice;
use hint_reward::verifier::Equality;
use hint_rollout::data::{DataConfig, HeldOut};
use hint_rollout::error::Violations;
use hint_rollout::evaluate::EvaluationOptions;

use crate::process::threads;
use crate::train::SETTINGS;
use crate::workload::{Compute, FastPathOptions, PromptOptions, columns, equality};

/// Evaluates a model on problems, without hints.
#[derive(Debug, Args)]
pub struct Options {
    /// `tiny` or `tiny-tasks` (in the repository), `smollm2` (fetched once), a folder in Hugging Face format, a
    /// GGUF file, or a checkpoint. The folder of a run stands for its newest checkpoint. `owner/name` is on the
    /// Hugging Face Hub.
    #[arg(long, default_value = "tiny")]
    pub(super) model: String,

    /// `swaps`, `chains` or `walks` (made up on the spot), or `gsm-symbolic` or `champ` (from `hint-prepare`). Or a
    /// file or folder of problems in JSON, CSV or Parquet. `owner/name[@revision][:split]` is on the Hugging Face
    /// Hub.
    #[arg(long, default_value = "swaps")]
    pub(super) problems: String,

    /// The column of the problems that holds the `question`, `answer`, `level` or `id`, where its name is
    /// unusual. It may be a path with dots, and given several times.
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub(super) column: Vec<String>,

    /// Only the problems that a run with this held-out share holds out, such as 0.2. `swaps` has held-out problems of
    /// its own [default: all; of a run, its held-out problems].
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(super) share: Option<f64>,

    /// At most this many problems, with the lowest hashes of ids.
    #[arg(long, value_name = "N", default_value_t = 200, alias = "limit")]
    pub(super) held_out: usize,

    /// Sampled completions per problem; 0 for none.
    #[arg(long, default_value_t = 8)]
    pub(super) samples: usize,

    /// The k of pass@k and maj@k, such as `1,4,8` [default: --samples].
    #[arg(long, value_delimiter = ',')]
    pub(super) k: Vec<usize>,

    /// Problems handed to the engine at once; changes no result. More keep a GPU busy.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(super) problems_per_call: usize,

    /// Leave the greedy completions out.
    #[arg(long)]
    pub(super) no_greedy: bool,

    /// Temperature of the sampled completions [default: 1; of a run, its own].
    #[arg(long)]
    pub(super) temperature: Option<f64>,

    /// Nucleus of the sampled completions, in (0, 1] [default: 1; of a run, its own].
    #[arg(long)]
    pub(super) top_p: Option<f64>,

    /// Longest completion, in tokens [default: 512; of a run, its own].
    #[arg(long)]
    pub(super) max_completion_len: Option<usize>,

    /// Columns to report by.
    #[arg(long, value_delimiter = ',', default_value = "level,category")]
    pub(super) by: Vec<String>,

    /// Seed of completions and intervals.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,

    /// `cpu`, `cuda`, `cuda:N`, or `auto` for the first GPU if there is one.
    #[arg(long, default_value = "auto")]
    pub(super) device: DeviceChoice,

    /// Number format of the forward pass [default: bf16 on a GPU, f32 on a CPU].
    #[arg(long, value_enum)]
    pub(super) compute: Option<Compute>,

    /// Switches of operators for GPUs.
    #[command(flatten)]
    pub(super) fast_paths: FastPathOptions,

    /// CPU threads [default: 1 with the tiny model, else as many cores as the process may use].
    #[arg(long, value_parser = threads)]
    pub(super) threads: Option<i32>,

    /// Most completions that are decoded at a time [default: 256]. Fewer take less memory and more time.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(super) max_batch: Option<usize>,

    /// Sets one key of the verifier, such as `verifier.level=strict` or
    /// `verifier.equality={type='numeric',relative=0.01}`. It may be given several times. The
    /// default is the level `lenient`, which also takes answers from running text; a run has its
    /// own verifier.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,

    #[command(flatten)]
    pub(super) prompt: PromptOptions,

    /// Print warnings, errors and the table alone.
    #[arg(long)]
    pub(super) quiet: bool,

    /// File for the results.
    #[arg(long, value_name = "FILE.json")]
    pub(super) out: Option<PathBuf>,

    /// File for the completions with their texts, for `hint-rl show`. With greedy and sampled ones together, the
    /// greedy one is the first of each problem.
    #[arg(long, value_name = "FILE.parquet")]
    pub(super) completions: Option<PathBuf>,
}

impl Options {
    /// The configuration of the evaluation: of the run that trained the model, if one did, and of these options.
    ///
    /// # Errors
    ///
    /// Options out of range, a configuration that cannot be read.
    pub(super) fn config(&self) -> Result<GrpoConfig> {
        ensure!(self.samples > 0 || !self.no_greedy, "--no-greedy with --samples 0 leaves nothing");
        let mut config = base_config(self)?;
        config.evaluation.max_problems = Some(self.held_out);
        if let Some(frac) = self.share {
            config.evaluation.held_out = HeldOut::Share { frac };
        }
        if !self.column.is_empty() {
            config.data.columns = columns(&self.column)?;
        }
        self.prompt.set(&mut config);
        let sampling = &mut config.rollout.sampling;
        sampling.temperature = self.temperature.unwrap_or(sampling.temperature);
        sampling.top_p = self.top_p.unwrap_or(sampling.top_p);
        sampling.max_completion_len =
            self.max_completion_len.unwrap_or(sampling.max_completion_len);
        Ok(config)
    }

    /// The greedy and the sampled evaluation with this configuration, where they are asked for.
    ///
    /// # Errors
    ///
    /// Options out of range.
    pub(super) fn protocols(&self, config: &GrpoConfig) -> Result<[Option<EvaluationOptions>; 2]> {
        let sampling = &config.rollout.sampling;
        let greedy = (!self.no_greedy).then(|| EvaluationOptions::greedy(sampling));
        let sampled = (self.samples > 0).then(|| {
            let k = if self.k.is_empty() { vec![self.samples] } else { self.k.clone() };
            EvaluationOptions { k, ..EvaluationOptions::sampled(self.samples, sampling.clone()) }
        });
        let complete = |protocol: EvaluationOptions| {
            let each = protocol.completions_per_problem;
            let protocol = EvaluationOptions {
                by: self.by.clone(),
                seed: self.seed,
                scoring: config.rollout.scoring,
                problems_per_call: self.problems_per_call,
                kept_completions: self.completions.as_ref().map_or(0, |_| each),
                ..protocol
            };
            Violations::check(|at| protocol.check(at))?;
            anyhow::Ok(protocol)
        };
        Ok([greedy.map(complete).transpose()?, sampled.map(complete).transpose()?])
    }
}

/// The value of `--share`.
fn share(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|share| 0.0 < *share && *share < 1.0);
    value.ok_or_else(|| "must be between 0 and 1".to_owned())
}

/// The configuration without a run.
const DEFAULTS: &str = "verifier.level = 'lenient'
rollout.sampling = { temperature = 1.0, max_completion_len = 512 }";

/// Configuration that a run trained with, if the model is one; else the defaults of this command. The verifier is
/// lenient then, as the outputs are other people's.
fn base_config(options: &Options) -> Result<GrpoConfig> {
    for item in &options.set {
        ensure!(
            item.trim_start().starts_with("verifier."),
            "`--set {item}`: only `verifier.` counts"
        );
    }
    let set = || options.set.iter().map(String::as_str);
    if let Some(file) = run_config(Path::new(&options.model)) {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        let mut config = GrpoConfig::from_toml_with(&text, set())
            .with_context(|| format!("in `{}`", file.display()))?;
        if !options.quiet {
            note!("prompt, verifier and sampling are those of the run: `{}`", file.display());
        }
        if !trained_on(&file, &options.problems) {
            config.data = DataConfig::default();
            config.evaluation.held_out = HeldOut::None;
        }
        return Ok(config);
    }
    let mut config = GrpoConfig::from_toml_with(DEFAULTS, set())?;
    let equality_is_set = is_given("", set(), "verifier.equality")?;
    if config.verifier.equality == Equality::default() && !equality_is_set {
        config.verifier.equality = equality(&options.problems);
    }
    Ok(config)
}

/// The configuration of the run that `model` is the folder or a checkpoint of.
fn run_config(model: &Path) -> Option<PathBuf> {
    let model = model.canonicalize().ok()?;
    let run = match model.parent() {
        Some(parent) if parent.file_name().is_some_and(|name| name == "checkpoints") => {
            parent.parent()?
        }
        _ if model.join("checkpoints").is_dir() => &model,
        _ => return None,
    };
    Some(run.join("config.toml")).filter(|file| file.is_file())
}

/// Whether the run with this configuration file trained on these problems. Its columns and held-out problems are
/// theirs then.
fn trained_on(config: &Path, problems: &str) -> bool {
    let options = config.parent().and_then(Path::parent).map(|runs| runs.join(SETTINGS));
    let text = options.and_then(|file| std::fs::read(file).ok());
    let options = text.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let trained = options.and_then(|options| Some(options["problems"].as_str()?.to_owned()));
    let is_same_file = |trained: &str| {
        let files = [trained, problems].map(|name| Path::new(name).canonicalize().ok());
        files[0].is_some() && files[0] == files[1]
    };
    trained.is_some_and(|trained| trained == problems || is_same_file(&trained))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use hint_reward::Level;

    use super::*;

    fn config(args: &[&str]) -> Result<GrpoConfig> {
        let command = Options::augment_args(clap::Command::new("evaluate"));
        let args = std::iter::once("evaluate").chain(args.iter().copied());
        base_config(&Options::from_arg_matches(&command.try_get_matches_from(args)?)?)
    }

    #[test]
    fn the_defaults_are_those_of_the_help() {
        let config = config(&[]).unwrap();
        let sampling = &config.rollout.sampling;
        assert_eq!((sampling.temperature, sampling.top_p), (1.0, 1.0));
        assert_eq!(sampling.max_completion_len, 512);
        assert_eq!(config.verifier.level, Level::Lenient);
        assert_eq!(config.verifier.equality, Equality::Exact, "swaps has letters as answers");
    }

    #[test]
    fn a_run_is_evaluated_as_it_trained() {
        let runs = tempfile::tempdir().unwrap();
        let run = runs.path().join("hint");
        let checkpoint = run.join("checkpoints/step-00000002");
        std::fs::create_dir_all(&checkpoint).unwrap();
        let text = "verifier.level = 'strict'\nrollout.sampling.temperature = 0.7\n\
                    data.columns.question = 'q'\n\
                    evaluation.held_out = { type = 'share', frac = 0.2 }";
        std::fs::write(run.join("config.toml"), text).unwrap();
        std::fs::write(runs.path().join(SETTINGS), "{\"problems\": \"a.jsonl\"}").unwrap();
        for model in [&run, &checkpoint] {
            let model = model.to_str().unwrap();
            let own = config(&["--model", model, "--problems", "a.jsonl"]).unwrap();
            assert_eq!(
                (own.verifier.level, own.rollout.sampling.temperature),
                (Level::Strict, 0.7)
            );
            assert_ne!(own.data, DataConfig::default());
            assert_eq!(own.evaluation.held_out, HeldOut::Share { frac: 0.2 });
            // Columns are those of the problems that the run trained on.
            let other = config(&["--model", model, "--problems", "b.jsonl"]).unwrap();
            assert_eq!((other.verifier.level, other.data), (Level::Strict, DataConfig::default()));
            assert_eq!(other.evaluation.held_out, HeldOut::None);
        }
    }
}
