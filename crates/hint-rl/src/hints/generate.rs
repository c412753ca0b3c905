//! `hint-rl generate-hints`: writes hints of any source into a problem file: masked solutions, a teacher, self-hints, …
//!
//! ```text
//! hint-rl generate-hints problems.jsonl --out hinted.jsonl \
//!     --set rollout.source.type=masked_solution
//! hint-rl generate-hints problems.jsonl --out hinted.jsonl --config teacher.toml
//! ```
//!
//! at the address in `teacher.toml`
//!
//! ```toml
//! [rollout]
//! leak_guard = { action = "drop", retries = 3 }
//!
//! [rollout.source]
//! type = "teacher"
//! endpoint = "http://127.0.0.1:8000/v1"
//! model = "a-model"
//! api_key_env = "TEACHER_KEY"
//! cache = "teacher-cache"
//! budget = { requests = 2000 }
//! ```
//!
//! Prints the number of hints written, and their leaks. Ctrl-C ends it after a batch; the same command
//! continues it. A teacher behind `https` needs `--features https`; self-hints and prefixes in tokens
//! need `--model`. Sources that ask nobody take a second for ten thousand problems.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use hint_grpo::GrpoConfig;
use hint_policy::{LoadOptions, LoadedModel, SharedPolicy};
use hint_rollout::hint::source::HintSourceConfig;
use hint_rollout::hint::{EngineWriter, HintWriter, WriteRequest};
use hint_rollout::run::{Activity, Work};
use hint_rollout::{LocalEngine, PromptFormat, RolloutError};

use super::file::{GenerateSettings, GenerateSummary, Generation};
use crate::process::catch_signals;
use crate::terminal::live::Live;
use crate::workload::{api_key, base_path, columns, model_path, problems_path};

/// Writes hints of any source into a problem file.
#[derive(Debug, Args)]
pub struct Options {
    /// A file of problems in JSON, CSV or Parquet; `owner/name[@revision][:split]` is on the Hugging Face Hub.
    problems: PathBuf,
    /// The column of the problems that holds a field, where its name is unusual; as `hint-rl train` takes it.
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,
    /// File to write. A file that this program did not finish is continued.
    #[arg(long)]
    out: PathBuf,
    /// A configuration; `rollout.source`, `rollout.leak_guard`, `[verifier]`, `[model]` and `[prompt]` of it count.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Sets one key of the configuration; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Share of the source's help, in `[0, 1]`.
    #[arg(long, default_value_t = 1.0)]
    level: f64,
    /// Seed of hints that are drawn.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Problems asked about at a time.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// The policy, as `hint-rl train` takes it, for sources that need one.
    #[arg(long)]
    model: Option<String>,
}

/// For sources that need no policy.
struct NoPolicy;

impl HintWriter for NoPolicy {
    fn write(&mut self, _requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
        Err(RolloutError::other(
            "hint writer",
            "the source needs a policy; name one with `--model`",
        ))
    }
}

/// Runs the command.
///
/// # Errors
///
/// An invalid configuration, files that cannot be read or written, a source that fails.
pub fn run(options: &Options) -> Result<ExitCode> {
    let stop = catch_signals("finishing the batch")?;
    let text = match &options.config {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?,
        None => String::new(),
    };
    let config = GrpoConfig::from_toml_with(&text, options.set.iter().map(String::as_str))?;
    if matches!(config.rollout.source, HintSourceConfig::WrongAnswers) {
        bail!("wrong answers are those of a run's completions; they cannot be written beforehand");
    }
    if matches!(config.rollout.source, HintSourceConfig::Placebo { .. }) {
        bail!(
            "a placebo is the hint of another problem of a step; it cannot be written beforehand"
        );
    }
    let provider = config.rollout.source.build(api_key)?;
    let file = problems_path(&options.problems.to_string_lossy())?;
    let generation = Generation::open(&file, &columns(&options.column)?, &options.out)?;
    let settings = GenerateSettings {
        source: config.rollout.source.clone(),
        leak_guard: config.rollout.leak_guard,
        verifier: config.verifier.clone(),
        model: config.model.clone(),
        prompt: config.prompt.clone(),
        level: options.level,
        seed: options.seed,
        problems: generation.checksum(),
    };
    let activity = Activity::default();
    activity.begin(Work::Other, generation.len());
    let live = Live::counter("hints", "problems", &activity);
    let progress = |done: usize| {
        activity.set(done);
        !stop.requested()
    };

    let summary = match &options.model {
        None => generation.run(&settings, &*provider, &mut NoPolicy, options.batch, progress)?,
        Some(path) => {
            let (mut engine, format) = policy(path, config)?;
            let mut writer = EngineWriter::new(&mut engine, &*format);
            generation.run(&settings, &*provider, &mut writer, options.batch, progress)?
        }
    };
    drop(live);
    print(&summary);
    if stop.requested() {
        note!("stopped; the same command continues");
    }
    Ok(stop.exit_code())
}

/// The policy of the name `model`, and its prompts, as `config` wants them.
fn policy(model: &str, mut config: GrpoConfig) -> Result<(LocalEngine, Arc<dyn PromptFormat>)> {
    let path = model_path(model)?;
    let base = base_path(&path, config.model.base.clone())?;
    let load = LoadOptions { base, ..LoadOptions::default() };
    let loaded = LoadedModel::load(&path, &load)
        .with_context(|| format!("cannot load the model `{}`", path.display()))?;
    let loaded = config.apply(loaded)?;
    let engine = LocalEngine::new(SharedPolicy::new(loaded.policy), loaded.stop_tokens.clone());
    let format = config.prompt.format(Arc::new(loaded.tokenizer), loaded.stop_tokens);
    Ok((engine, format))
}

fn print(summary: &GenerateSummary) {
    let GenerateSummary { problems, resumed, hints, without, leaks, state } = summary;
    for (name, count) in [
        ("problems", *problems),
        ("done before", *resumed),
        ("hints written", *hints),
        ("without a hint", *without),
        ("hints that gave something away", leaks.leaking),
        ("  the answer", leaks.answer),
        ("  a step's value", leaks.step),
        ("  dropped", leaks.dropped),
        ("  used with blanks", leaks.masked),
        ("asked again", leaks.retries),
    ] {
        say!("{name:<31} {count:>7}");
    }
    let spent = &state["spent"];
    if let (Some(requests), Some(tokens)) = (spent["requests"].as_u64(), spent["tokens"].as_u64()) {
        say!("{:<31} {requests:>7}", "requests to the teacher");
        say!("{:<31} {tokens:>7}", "tokens of the teacher");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::tiny_model;

    #[test]
    fn the_policy_that_writes_hints_is_asked_as_the_configuration_says() {
        let model = tiny_model().to_string_lossy().into_owned();
        let stop_tokens = |overrides: &[&str]| {
            let config = GrpoConfig::from_toml_with("", overrides.iter().copied()).unwrap();
            policy(&model, config).unwrap().1.stop_tokens().to_vec()
        };
        let plain = stop_tokens(&[]);
        let token = (0..9).find(|id| !plain.contains(id)).unwrap();
        let tokenizer = LoadedModel::load(tiny_model(), &LoadOptions::default()).unwrap().tokenizer;
        let text = serde_json::json!([tokenizer.decode(&[token]).unwrap()]);
        let more = stop_tokens(&[&format!("model.stop_tokens={text}")]);
        assert!(more.contains(&token), "{more:?}");
    }
}
