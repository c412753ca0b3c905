//! Models and problems by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hint_policy::{LoadOptions, LoadedModel, Tokenizer};
use hint_reward::{ExactMatch, MathVerifier, Rubric};
use hint_rollout::{
    ApiKey, ChatFormat, HintTemplate, Problem, PromptFormat, TextFormat, read_problems,
};
use tch::Kind;

use crate::options::{Compute, Settings};
use crate::source::{self, Champ, Fetcher, GsmSymbolic, SourceProblem};
use crate::swaps;

/// What is asked of every model with a chat template.
const INSTRUCTION: &str = "Put your final answer within \\boxed{}.";

/// The model's place, the training problems and the held-out ones.
#[derive(Debug)]
pub struct Workload {
    model: PathBuf,
    load: LoadOptions,
    tiny: bool,
    swaps: bool,
    /// Problems to train on.
    pub train: Vec<Problem>,
    /// Problems for the accuracies before and after; none of them is trained on.
    pub held_out: Vec<Problem>,
}

impl Workload {
    /// Finds model and problems, fetching what is not there.
    ///
    /// # Errors
    ///
    /// What cannot be found, fetched or read, by name.
    pub fn load(settings: &Settings) -> Result<Self> {
        let fetcher = fetcher()?;
        let model = match settings.model.as_str() {
            "tiny" => tiny_model(),
            "smollm2" => fetcher.fetch(&source::SMOLLM2, &mut notice)?,
            path => PathBuf::from(path),
        };
        let problems = match settings.problems.as_str() {
            "swaps" => {
                let (train, held_out) = swaps::problems(settings.held_out);
                return Self::new(model, settings, train, held_out);
            }
            "gsm-symbolic" => {
                let folder = fetcher.fetch(&source::GSM_SYMBOLIC, &mut notice)?;
                convert(GsmSymbolic::load(&folder)?.base_problems())
            }
            "champ" => {
                let file = fetcher.fetch(&source::CHAMP, &mut notice)?;
                convert(Champ::load(&file)?.problems)
            }
            file => read_problems(file)?,
        };
        let (train, held_out) = split(problems, settings.held_out)?;
        Self::new(model, settings, train, held_out)
    }

    fn new(
        model: PathBuf,
        settings: &Settings,
        train: Vec<Problem>,
        held_out: Vec<Problem>,
    ) -> Result<Self> {
        let compute = match settings.compute {
            Compute::F32 => Kind::Float,
            Compute::Bf16 => Kind::BFloat16,
        };
        let load = LoadOptions { device: settings.device()?, compute };
        let (tiny, swaps) = (settings.model == "tiny", settings.problems == "swaps");
        Ok(Self { model, load, tiny, swaps, train, held_out })
    }

    /// Loads the model, with the weights training starts from.
    ///
    /// # Errors
    ///
    /// A model that cannot be read, by file and tensor.
    pub fn load_model(&self) -> Result<LoadedModel> {
        LoadedModel::load(&self.model, &self.load)
            .with_context(|| format!("cannot load the model `{}`", self.model.display()))
    }

    /// What is correct: mathematically equal answers; for `swaps`, whose letters are no factors, the
    /// same text.
    pub fn rubric(&self) -> Rubric {
        if self.swaps { Rubric::new(ExactMatch::new()) } else { Rubric::new(MathVerifier::new()) }
    }

    /// What the verifier makes of the reference answers, in one line.
    pub fn audit(&self) -> Option<String> {
        let references = self.train.iter().chain(&self.held_out).map(|problem| &problem.answer);
        (!self.swaps).then(|| MathVerifier::new().audit(references).summary())
    }

    /// The prompt format of the model: its chat template, or plain text when it has none.
    pub fn format(
        &self,
        tokenizer: &Arc<Tokenizer>,
        stop_tokens: Vec<u32>,
    ) -> Arc<dyn PromptFormat> {
        let tokenizer = Arc::clone(tokenizer);
        if self.tiny {
            Arc::new(tiny_format(tokenizer, stop_tokens))
        } else if tokenizer.has_chat_template() {
            Arc::new(ChatFormat::new(tokenizer, stop_tokens).with_instruction(INSTRUCTION))
        } else {
            let format = TextFormat::new(tokenizer, stop_tokens);
            Arc::new(format.with_frame("Question: ", format!("\n{INSTRUCTION}\nAnswer:")))
        }
    }
}

/// Fetches into the user's cache folder.
fn fetcher() -> Result<Fetcher> {
    #[expect(clippy::disallowed_methods, reason = "a program finds the user's cache folder")]
    let [xdg, home] = ["XDG_CACHE_HOME", "HOME"].map(|name| std::env::var_os(name).map(Into::into));
    Ok(Fetcher::new(source::cache_root(xdg, home)?))
}

#[expect(clippy::print_stderr, reason = "the notice of a program")]
fn notice(line: &str) {
    eprintln!("{line}");
}

/// The checkpoint in the repository, wherever the program was built.
pub fn tiny_model() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
    if built.exists() { built } else { PathBuf::from("examples/tiny") }
}

/// How the tiny model was shown problems and hints.
pub fn tiny_format(tokenizer: impl Into<Arc<Tokenizer>>, stop_tokens: Vec<u32>) -> TextFormat {
    let template = HintTemplate { introduction: swaps::HINT_INTRODUCTION.to_owned() };
    let (prefix, suffix) = swaps::FRAME;
    let format = TextFormat::new(tokenizer.into(), stop_tokens);
    format.with_frame(prefix, suffix).with_hint_template(template)
}

fn convert(problems: Vec<SourceProblem>) -> Vec<Problem> {
    problems.into_iter().map(Problem::from).collect()
}

/// The key in an environment variable: the one place in which the examples read one. It goes to the
/// server that the configuration names, and nowhere else.
pub fn api_key(variable: &str) -> Option<ApiKey> {
    #[expect(clippy::disallowed_methods, reason = "the configuration names the variable")]
    let key = std::env::var(variable).ok()?;
    (!key.trim().is_empty()).then(|| ApiKey::new(key))
}

/// Holds out `count` problems: those whose id hashes lowest, so that the choice depends neither on
/// the order of the file nor on the seed.
fn split(problems: Vec<Problem>, count: usize) -> Result<(Vec<Problem>, Vec<Problem>)> {
    ensure!(
        count < problems.len(),
        "{count} problems are to be held out, but there are only {}; lower `--held-out`",
        problems.len()
    );
    let mut hashed = problems
        .iter()
        .map(|problem| (crc32fast::hash(problem.id.as_bytes()), problem.id.clone()))
        .collect::<Vec<_>>();
    hashed.sort_unstable();
    let chosen =
        hashed.into_iter().take(count).map(|(_, id)| id).collect::<std::collections::BTreeSet<_>>();
    let (held_out, train) = problems.into_iter().partition(|problem| chosen.contains(&problem.id));
    Ok((train, held_out))
}
