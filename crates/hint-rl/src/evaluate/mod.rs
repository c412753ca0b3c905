//! `hint-rl evaluate`: evaluates a model on problems, without hints.
//!
//! ```text
//! hint-rl evaluate
//! hint-rl evaluate --model runs/0001/hint --problems swaps
//! hint-rl evaluate --model model.gguf --problems problems.jsonl --out result.json
//! ```
//!
//! Prints one table, for all problems and by level and category. It has the accuracy of one greedy
//! completion per problem. It has avg@k, pass@k and maj@k of sampled ones, with 95 % intervals over
//! problems. `--out FILE.json` keeps everything, down to each completion's verdict. The default
//! takes half a minute on two CPU cores. `--help` lists the options.

mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use hint_grpo::GrpoConfig;
use hint_grpo::config::{EvaluationConfig, is_given};
use hint_grpo::rollout_table::{RolloutRecord, evaluated, write_rollouts};
use hint_policy::SharedPolicy;
use hint_policy::runtime::DeviceChoice;
use hint_reward::Rubric;
use hint_reward::verifier::{Equality, VerifierConfig};
use hint_rollout::data::{DataConfig, HeldOut, ProblemSet};
use hint_rollout::error::Violations;
use hint_rollout::evaluate::{Evaluation, EvaluationOptions, evaluate};
use hint_rollout::run::Activity;
use hint_rollout::{LocalEngine, RolloutEngine};
use serde::Serialize;

use self::table::{Counter, rules, table};
use crate::process::{is_small, keep_freed_memory, set_threads, threads};
use crate::progress::Output;
use crate::terminal::hush;
use crate::train::SETTINGS;
use crate::workload::{Compute, PromptOptions, Source, Workload, columns, device, equality};

/// Evaluates a model on problems, without hints.
#[derive(Debug, Args)]
pub struct Options {
    /// `tiny` or `tiny-tasks` (in the repository), `smollm2` (fetched once), a folder in Hugging Face format, a
    /// GGUF file, or a checkpoint. The folder of a run stands for its newest checkpoint. `owner/name` is on the
    /// Hugging Face Hub.
    #[arg(long, default_value = "tiny")]
    model: String,

    /// `swaps`, `chains` or `walks` (made up on the spot), or `gsm-symbolic` or `champ` (from `hint-prepare`). Or a
    /// file or folder of problems in JSON, CSV or Parquet. `owner/name[@revision][:split]` is on the Hugging Face
    /// Hub.
    #[arg(long, default_value = "swaps")]
    problems: String,

    /// The column of the problems that holds the `question`, `answer`, `level` or `id`, where its name is
    /// unusual. It may be a path with dots, and given several times.
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,

    /// Only the problems that a run with this held-out share holds out, such as 0.2. `swaps` has held-out problems of
    /// its own [default: all; of a run, its held-out problems].
    #[arg(long, value_name = "SHARE")]
    share: Option<f64>,

    /// At most this many problems, with the lowest hashes of ids.
    #[arg(long, value_name = "N", default_value_t = 200, alias = "limit")]
    held_out: usize,

    /// Sampled completions per problem; 0 for none.
    #[arg(long, default_value_t = 8)]
    samples: usize,

    /// The k of pass@k and maj@k, such as `1,4,8` [default: --samples].
    #[arg(long, value_delimiter = ',')]
    k: Vec<usize>,

    /// Problems handed to the engine at once; changes no result. More keep a GPU busy.
    #[arg(long, value_name = "N", default_value_t = 16)]
    problems_per_call: usize,

    /// Leave the greedy completions out.
    #[arg(long)]
    no_greedy: bool,

    /// Temperature of the sampled completions [default: 1; of a run, its own].
    #[arg(long)]
    temperature: Option<f64>,

    /// Nucleus of the sampled completions, in (0, 1] [default: 1; of a run, its own].
    #[arg(long)]
    top_p: Option<f64>,

    /// Longest completion, in tokens [default: 512; of a run, its own].
    #[arg(long)]
    max_completion_len: Option<usize>,

    /// Columns to report by.
    #[arg(long, value_delimiter = ',', default_value = "level,category")]
    by: Vec<String>,

    /// Seed of completions and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// `cpu`, `cuda`, `cuda:N`, or `auto` for the first GPU if there is one.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,

    /// Number format of the forward pass [default: bf16 on a GPU, f32 on a CPU].
    #[arg(long, value_enum)]
    compute: Option<Compute>,

    /// CPU threads [default: 1 with the tiny model, else as many cores as the process may use].
    #[arg(long, value_parser = threads)]
    threads: Option<i32>,

    /// Most completions that are decoded at a time [default: 256]. Fewer take less memory and more time.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    max_batch: Option<usize>,

    /// Sets one key of the verifier, such as `verifier.level=strict` or
    /// `verifier.equality={type='numeric',relative=0.01}`. It may be given several times. The
    /// default is the level `lenient`, which also takes answers from running text; a run has its
    /// own verifier.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    #[command(flatten)]
    prompt: PromptOptions,

    /// Print warnings, errors and the table alone.
    #[arg(long)]
    quiet: bool,

    /// File for the results.
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,

    /// File for the completions with their texts, for `hint-rl show`. With greedy and sampled ones together, the
    /// greedy one is the first of each problem.
    #[arg(long, value_name = "FILE.parquet")]
    completions: Option<PathBuf>,
}

/// Content of the `--out` file.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    problems: &'a str,
    /// The verifier.
    verifier: &'a VerifierConfig,
    /// One greedy completion per problem.
    greedy: Option<&'a Evaluation>,
    /// Sampled completions.
    sampled: Option<&'a Evaluation>,
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

/// Runs the command.
///
/// # Errors
///
/// Options out of range, a model or problems that cannot be read, a result that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.samples > 0 || !options.no_greedy,
        "--no-greedy with --samples 0 leaves nothing"
    );
    if options.quiet {
        hush();
    }
    let mut config = base_config(options)?;
    set_threads(options.threads.or(is_small(&options.model).then_some(1)));
    let evaluation = EvaluationConfig {
        max_problems: Some(options.held_out),
        held_out: match options.share {
            Some(frac) => HeldOut::Share { frac },
            None => config.evaluation.held_out.clone(),
        },
        ..EvaluationConfig::default()
    };
    let share = options.share.unwrap_or(0.5);
    ensure!(0.0 < share && share < 1.0, "--share must be between 0 and 1, found {share}");
    let device = device(options.device)?;
    options.prompt.set(&mut config);
    let verifier = config.verifier.clone();
    let given = columns(&options.column)?;
    let columns = if options.column.is_empty() { config.data.columns.clone() } else { given };
    let data = DataConfig { columns, ..DataConfig::default() };
    let workload = Workload::load(&Source {
        model: &options.model,
        problems: &options.problems,
        data: &data,
        verifier: &verifier,
        device,
        compute: Compute::or_default(options.compute, device),
        evaluation: &evaluation,
    })?
    .with_prompt(&config.model, &config.prompt);
    let problems = if workload.held_out.is_empty() {
        workload.train.sample_by_hash(options.held_out)?
    } else {
        workload.held_out.clone()
    };
    let output = Output { quiet: options.quiet, json: false };
    let (model, count) = (&options.model, problems.len());
    output.note(format_args!("{model} on {}: {count} problems", options.problems));
    for line in &workload.notes {
        output.note(format_args!("{line}"));
    }

    let mut sampling = config.rollout.sampling.clone();
    sampling.temperature = options.temperature.unwrap_or(sampling.temperature);
    sampling.top_p = options.top_p.unwrap_or(sampling.top_p);
    sampling.max_completion_len = options.max_completion_len.unwrap_or(sampling.max_completion_len);
    let protocol = |protocol: EvaluationOptions| {
        let (by, seed) = (options.by.clone(), options.seed);
        let each = protocol.completions_per_problem;
        let kept_completions = options.completions.as_ref().map_or(0, |_| each);
        let (scoring, problems_per_call) = (config.rollout.scoring, options.problems_per_call);
        let protocol = EvaluationOptions {
            by,
            seed,
            scoring,
            problems_per_call,
            kept_completions,
            ..protocol
        };
        Violations::check(|at| protocol.check(at))?;
        anyhow::Ok(protocol)
    };
    let mut greedy = protocol(EvaluationOptions::greedy(&sampling))?;
    let sampled = EvaluationOptions::sampled(options.samples.max(1), sampling);
    let k = if options.k.is_empty() { vec![options.samples.max(1)] } else { options.k.clone() };
    let mut sampled = protocol(EvaluationOptions { k, ..sampled })?;

    let model = workload.load_model()?;
    output.note(format_args!("{}", model.policy.report()));
    keep_freed_memory(device);
    let banned = config.model.banned_ids(&model.tokenizer)?;
    greedy.sampling.banned_tokens.extend_from_slice(&banned);
    sampled.sampling.banned_tokens.extend(banned);
    let tokenizer = model.tokenizer.into();
    let format = workload.format(&tokenizer, model.stop_tokens.clone());
    let mut engine = LocalEngine::new(SharedPolicy::new(model.policy), model.stop_tokens)
        .with_tokenizer(tokenizer);
    if let Some(max_batch) = options.max_batch {
        engine = engine.with_max_batch(max_batch);
    }
    let activity = Activity::default();
    engine.watch(&activity);
    let mut run = |name: &str, protocol: &EvaluationOptions| {
        let each = protocol.completions_per_problem;
        let mut counter =
            (!options.quiet).then(|| Counter::new(name, problems.len(), each, &activity));
        let rubric = Arc::new(Rubric::new(verifier.build()?));
        let done = &mut |done| {
            if let Some(counter) = &mut counter {
                counter.set(done);
            }
        };
        evaluate(&mut engine, &format, &rubric, &problems, protocol, done)
            .context("cannot evaluate")
    };
    let greedy = if options.no_greedy { None } else { Some(run("greedy", &greedy)?) };
    let sampled = if options.samples == 0 { None } else { Some(run("sampled", &sampled)?) };
    let left_out = greedy.as_ref().or(sampled.as_ref()).map_or(&[][..], |one| &one.left_out);
    if let Some(first) = left_out.first() {
        let count = left_out.len();
        note!(
            "{count} problems are left out, because their prompts are too long; the first is `{first}`"
        );
    }
    say!("{}", table(greedy.as_ref(), sampled.as_ref()));
    say!("{}", rules(greedy.as_ref(), sampled.as_ref()));
    if let Some(path) = &options.out {
        let (greedy, sampled) = (greedy.as_ref(), sampled.as_ref());
        let (model, problems) = (options.model.as_str(), options.problems.as_str());
        let report = Report { model, problems, verifier: &verifier, greedy, sampled };
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if let Some(path) = &options.completions {
        write_rollouts(path, &records(greedy.as_ref(), sampled.as_ref(), &problems)?)?;
    }
    Ok(())
}

/// The completions of both evaluations, by problem.
fn records(
    greedy: Option<&Evaluation>,
    sampled: Option<&Evaluation>,
    problems: &ProblemSet,
) -> Result<Vec<RolloutRecord>> {
    let of =
        |one: Option<&Evaluation>| one.map_or(Ok(Vec::new()), |one| evaluated(0, one, problems));
    let (mut all, sampled) = (of(greedy)?, of(sampled)?);
    let first = usize::from(greedy.is_some());
    all.extend(sampled.into_iter().map(|mut record| {
        record.completion += first;
        record
    }));
    all.sort_by_key(|record| (record.group, record.completion));
    Ok(all)
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
