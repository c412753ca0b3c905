//! Models and problems by name.

mod device;
mod model;
mod place;
mod prompt;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hint_grpo::config::{EvaluationConfig, ModelSettings, PromptConfig};
use hint_policy::{LoadOptions, LoadedModel, LoraConfig, Tokenizer};
use hint_process::is_in_memory;
use hint_reward::verifier::{Equality, VerifierConfig};
use hint_reward::{MathVerifier, RewardInput, Verdict, Verifier};
use hint_rollout::data::{Columns, DataConfig, DataFile, HeldOut, ProblemSet, ReadProblems, Split};
use hint_rollout::net::ApiKey;
use hint_rollout::{Problem, PromptFormat, RolloutError};
use tch::Device;

pub(crate) use self::device::{Compute, FastPathOptions, device, report_refusals};
pub use self::model::Model;
use self::place::{Place, local_data, local_evaluation, model_place};
pub(crate) use self::place::{
    base_path, local_model, model_path, pinned, pinned_base, problems_path,
};
pub(crate) use self::prompt::PromptOptions;
use crate::fetch::Fetcher;
use crate::progress::LoadBar;
use crate::tasks;
use crate::tasks::model::is_own;
use crate::tiny::{is_tiny, swaps, tiny_format};

/// Source of model and problems.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'s> {
    /// `tiny`, `tiny-tasks`, `smollm2`, a folder in Hugging Face format, a GGUF file, the folder of a run, or a
    /// [`HubName`](crate::hub::HubName). Of a run, the newest checkpoint is taken.
    pub model: &'s str,
    /// `swaps`, `chains`, `walks`, `gsm-symbolic`, `champ`, a file or a folder, a [`HubName`](crate::hub::HubName), or `data.files` for those of `data`.
    pub problems: &'s str,
    /// Reading of the problem files.
    pub data: &'s DataConfig,
    /// The verifier. Problems that it cannot judge are left out.
    pub verifier: &'s VerifierConfig,
    /// Device of the model.
    pub device: Device,
    /// In which number format.
    pub compute: Compute,
    /// Choice of the held-out problems.
    pub evaluation: &'s EvaluationConfig,
}

/// The problems that `data.files` of the configuration lists.
pub(crate) const DATA_FILES: &str = "data.files";

/// The remedy where most references cannot be read as mathematics.
pub(crate) const NOT_MATH: &str = "if answers are words or letters and not mathematics, compare them as text: \
                                   --set verifier.equality.type=exact";

/// The held-out problems of made-up families, unless another number is asked for.
const HELD_OUT: usize = 200;

/// Whether problems of this name are made up on the spot, by [`swaps`] or by one of the [families](tasks::FAMILIES).
/// They bring held-out problems of their own, and their answers are compared as text.
pub(crate) fn is_made_up(problems: &str) -> bool {
    problems == "swaps" || tasks::family(problems).is_some()
}

/// The model's place, the training problems and the held-out ones.
#[derive(Debug)]
pub struct Workload {
    model: PathBuf,
    /// Its files, where its folder may hold others.
    model_files: Option<Vec<PathBuf>>,
    load: LoadOptions,
    lora: Option<LoraConfig>,
    model_config: ModelSettings,
    prompt: PromptConfig,
    gradient_checkpointing: bool,
    made_up: bool,
    /// Problems to train on.
    pub train: ProblemSet,
    /// Problems to evaluate on; none of them is trained on.
    pub held_out: ProblemSet,
    /// Problems that are held out, but more than are evaluated.
    pub unused: usize,
    /// Remarks about the problems for a person.
    pub notes: Vec<String>,
    /// Problems that are left out, and why.
    pub left_out: Vec<String>,
}

impl Workload {
    /// Finds model and problems, and fetches missing files.
    ///
    /// # Errors
    ///
    /// Anything that cannot be found, fetched or read, by name.
    pub(crate) fn load(source: &Source<'_>) -> Result<Self> {
        let model = model_place(source.model)?;
        // For problems beyond the memory, so not in memory again.
        let spill_dir = source.data.spill_dir.clone().or_else(disk_for_temporary_files);
        let data = &DataConfig { spill_dir, ..source.data.clone() };
        let problems = match source.problems {
            DATA_FILES => local_data(data)?.read()?,
            made if is_made_up(made) => {
                let count = source.evaluation.max_problems.unwrap_or(HELD_OUT);
                let (train, held_out) = match tasks::family(made) {
                    Some(family) => tasks::split(family, count)?,
                    None => swaps::problems(count),
                };
                return Self::new(model, source, train.into(), held_out.into());
            }
            name @ ("gsm-symbolic" | "champ") => {
                let file = Fetcher::of_user()?.prepared(name);
                ensure!(
                    file.exists(),
                    "`{name}` was not fetched yet; run `cargo run --release --bin hint-prepare -- {name}`"
                );
                data.read_file(&DataFile::new(file))?
            }
            file => data.read_file(&DataFile::new(problems_path(file)?))?,
        };
        let ReadProblems { problems, repeated, dropped, .. } = problems;
        let mut on_disk = problems.on_disk();
        let split = local_evaluation(source.evaluation)?.split(problems, data)?;
        if let HeldOut::File { .. } = source.evaluation.held_out {
            on_disk += split.held_out.on_disk();
        }
        for rows in dropped.iter().chain(&split.dropped) {
            note!("warning: {rows}");
        }
        let (mut notes, mut left_out) = (Vec::new(), Vec::new());
        if on_disk > 0 {
            let dir = data.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
            notes.push(format!(
                "{on_disk} problems are kept on disk in `{}`, because all of them take more than {} MiB of memory \
                 (`data.memory_mib`)",
                dir.display(),
                data.memory_mib
            ));
            if is_in_memory(&dir) {
                note!(
                    "warning: `{}` is in memory itself; name a folder on a disk by `data.spill_dir`",
                    dir.display()
                );
            }
        }
        if repeated > 0 {
            left_out.push(format!(
                "{repeated} problems are left out, because an earlier one asks the same"
            ));
        }
        left_out.extend(split.removed_line());
        let Split { train, held_out, unused, .. } = split;
        ensure!(
            !held_out.is_empty() || source.evaluation.held_out == HeldOut::None,
            "none of the {} problems is held out; raise the share, or set `evaluation.held_out` to \
             another file or to none",
            train.len()
        );
        let workload = Self::new(model, source, train, held_out)?;
        let mut workload = Self { unused, notes, left_out, ..workload };
        workload.leave_out_unreadable(source.verifier)?;
        Ok(workload)
    }

    /// Leaves out the problems whose reference answers the verifier cannot use: nothing could be judged.
    fn leave_out_unreadable(&mut self, config: &VerifierConfig) -> Result<()> {
        let verifier = config.build()?;
        let is_math = matches!(config.equality, Equality::Math { .. });
        let fault = |problem: &Problem| {
            if is_math { math_fault(problem) } else { fault(&*verifier, problem) }
        };
        let count = self.train.len() + self.held_out.len();
        let (mut unusable, mut first) = (0, None);
        let mut is_usable = |problem: &Problem| {
            let Some(fault) = fault(problem) else { return true };
            unusable += 1;
            let answer = problem.answer.chars().take(60).collect::<String>();
            first.get_or_insert_with(|| format!("`{}`, `{answer}`: {fault}", problem.id));
            false
        };
        self.train = self.train.filter(|problem| Ok::<_, RolloutError>(is_usable(problem)))?;
        self.held_out =
            self.held_out.filter(|problem| Ok::<_, RolloutError>(is_usable(problem)))?;
        match first {
            None => self.notes.push(format!("audit: {count} references, all usable")),
            Some(first) => {
                let mut line = format!(
                    "audit: {unusable} of {count} problems are left out, because their references are unusable; \
                     the first is {first}"
                );
                if is_math && 2 * unusable > count {
                    line = format!("{line}; {NOT_MATH}");
                }
                self.left_out.push(line);
            }
        }
        ensure!(
            !self.train.is_empty(),
            "no problem is left to train on, and {} are held out; {}",
            self.held_out.len(),
            [&self.left_out[..], &self.notes].concat().join("; ")
        );
        Ok(())
    }

    fn new(
        model: Place,
        source: &Source<'_>,
        train: ProblemSet,
        held_out: ProblemSet,
    ) -> Result<Self> {
        let load =
            LoadOptions { device: source.device, compute: source.compute.kind()?, base: None };
        Ok(Self {
            model: model.path,
            model_files: model.files,
            load,
            lora: None,
            model_config: ModelSettings::default(),
            prompt: PromptConfig::default(),
            gradient_checkpointing: false,
            made_up: is_made_up(source.problems),
            train,
            held_out,
            unused: 0,
            notes: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// The same workload, with gradient checkpointing if `checkpointing`.
    #[must_use]
    pub(crate) fn with_gradient_checkpointing(mut self, checkpointing: bool) -> Self {
        self.gradient_checkpointing = checkpointing;
        self
    }

    /// The same workload, with low-rank adapters trained in place of the weights.
    #[must_use]
    pub(crate) fn with_lora(mut self, lora: Option<LoraConfig>) -> Self {
        self.lora = lora;
        self
    }

    /// The same workload, with the model's files and prompts as the configuration wants them.
    #[must_use]
    pub(crate) fn with_prompt(mut self, model: &ModelSettings, prompt: &PromptConfig) -> Self {
        self.load.base.clone_from(&model.base);
        self.model_config = model.clone();
        self.prompt = prompt.clone();
        self
    }

    /// The device that the model is loaded onto.
    pub(crate) const fn device(&self) -> Device {
        self.load.device
    }

    /// Loads the model, with the weights training starts from.
    ///
    /// # Errors
    ///
    /// A model that cannot be read, by file and tensor.
    pub(crate) fn load_model(&self) -> Result<LoadedModel> {
        self.load_model_on(self.load.device)
    }

    fn load_model_on(&self, device: Device) -> Result<LoadedModel> {
        let bar = LoadBar::new();
        let mut load = LoadOptions { device, ..self.load.clone() };
        load.base = base_path(&self.model, load.base)?;
        let loaded = LoadedModel::load_with(&self.model, &load, |progress| bar.set(progress));
        let loaded =
            loaded.with_context(|| format!("cannot load the model `{}`", self.model.display()))?;
        for warning in loaded.tokenizer.warnings() {
            note!("warning: {warning}");
        }
        let loaded = self.model_config.apply(loaded)?;
        let known = loaded.tokenizer.template_variables();
        for name in
            self.model_config.chat_template_kwargs.keys().filter(|name| !known.contains(name))
        {
            note!("warning: {}", unread_variable(name, &known));
        }
        if loaded.stop_tokens.is_empty() {
            note!(
                "warning: the model has no stop token, so that every completion is cut off at \
                 `rollout.sampling.max_completion_len`; name one with --stop-token"
            );
        }
        if let Some(token) = loaded.tokenizer.unstopped_turn(&loaded.stop_tokens) {
            note!(
                "warning: the chat template ends an answer by {token:?}, which ends no completion; add it with \
                 `--stop-token`"
            );
        }
        Ok(loaded)
    }

    /// The prompt format of the model: its chat template, or plain text when it has none. The models of this repository
    /// are asked as in the training of the tiny model. So is any model on made-up problems.
    pub fn format(
        &self,
        tokenizer: &Arc<Tokenizer>,
        stop_tokens: Vec<u32>,
    ) -> Arc<dyn PromptFormat> {
        let tokenizer = Arc::clone(tokenizer);
        let is_plain = !tokenizer.has_chat_template();
        if is_plain && (self.made_up || is_tiny(&tokenizer) || is_own(&tokenizer)) {
            return Arc::new(tiny_format(tokenizer, stop_tokens));
        }
        self.prompt.format(tokenizer, stop_tokens)
    }
}

/// Why mathematics cannot use the references of a problem, if one answer that it can use is not among them.
fn math_fault(problem: &Problem) -> Option<String> {
    let verifier = MathVerifier::new();
    let mut findings = problem.references().map(|one| verifier.audit_reference(one));
    let finding = findings.next().flatten()?;
    findings.all(|finding| finding.is_some()).then(|| finding.to_string())
}

/// Why a verifier cannot use the reference of a problem, whatever the completion.
fn fault(verifier: &dyn Verifier, problem: &Problem) -> Option<String> {
    let input = RewardInput::new(r"\boxed{0}", &problem.answer)
        .with_accepted(&problem.accepted)
        .with_problem_id(&problem.id)
        .with_columns(&problem.columns);
    let judgment = verifier.verify(&input);
    let is_unusable = judgment.verdict == Verdict::ReferenceUnparseable;
    is_unusable.then(|| judgment.reason.unwrap_or_else(|| "it cannot be used".to_owned()))
}

/// A variable that the chat template never reads, so that it changes nothing.
fn unread_variable(name: &str, known: &[String]) -> String {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!(
        "the chat template does not read `{name}` of `model.chat_template_kwargs`; its variables: {known}"
    )
}

/// Reads all problems of a file or folder, and warns of rows that are left out. Returns their number, too.
///
/// # Errors
///
/// As [`DataConfig::read_file`].
pub(crate) fn read_all(
    path: &Path,
    columns: &Columns,
    max_dropped_frac: f64,
) -> Result<(Vec<Problem>, usize)> {
    let columns = columns.clone();
    let memory_mib = u64::MAX;
    let data = DataConfig { columns, memory_mib, max_dropped_frac, ..DataConfig::default() };
    let read = data.read_file(&DataFile::new(path))?;
    for rows in &read.dropped {
        note!("warning: {rows}");
    }
    let left_out = read.dropped.iter().map(|rows| rows.count).sum();
    Ok((read.problems.to_vec()?, left_out))
}

/// A folder for temporary files on a disk, where the usual one is in memory.
fn disk_for_temporary_files() -> Option<PathBuf> {
    let lasting = PathBuf::from("/var/tmp");
    let is_better = is_in_memory(&std::env::temp_dir()) && lasting.is_dir();
    let is_writable = || tempfile::tempfile_in(&lasting).is_ok();
    (is_better && !is_in_memory(&lasting) && is_writable()).then_some(lasting)
}

/// The equality of answers, unless the configuration names another. Problems that are made up compare text, because
/// their letters are no factors; others compare mathematics.
pub(crate) fn equality(problems: &str) -> Equality {
    if is_made_up(problems) { Equality::Exact } else { Equality::default() }
}

/// Columns from `FIELD=COLUMN` entries of `--column`.
///
/// # Errors
///
/// An entry of another form, a field that problems do not have.
pub(crate) fn columns(entries: &[String]) -> Result<Columns> {
    let mut fields = serde_json::Map::new();
    for entry in entries {
        let (field, column) = entry
            .split_once('=')
            .with_context(|| format!("`{entry}` in --column is no FIELD=COLUMN"))?;
        fields.insert(field.trim().to_owned(), column.into());
    }
    serde_json::from_value(fields.into()).context("in --column")
}

/// The key in an environment variable that the configuration names. It goes only to the server that the
/// configuration names.
pub fn api_key(variable: &str) -> Option<ApiKey> {
    #[expect(clippy::disallowed_methods, reason = "the configuration names the variable")]
    let key = std::env::var(variable).ok()?;
    (!key.trim().is_empty()).then(|| ApiKey::new(key))
}

#[cfg(test)]
mod tests {
    use hint_grpo::GrpoConfig;
    use hint_grpo::objective::CreditTeacher;

    use super::*;

    #[test]
    fn names_of_nothing_are_answered_with_what_there_is() {
        #[track_caller]
        fn check(model: &str, problems: &str, expected: &str) {
            let config = GrpoConfig::default();
            let source = Source {
                model,
                problems,
                data: &config.data,
                verifier: &config.verifier,
                device: Device::Cpu,
                compute: Compute::F32,
                evaluation: &config.evaluation,
            };
            let error = Workload::load(&source).expect_err("there is no such thing").to_string();
            assert!(
                error.starts_with("there is no `nothing`; ") && error.contains(expected),
                "{error}"
            );
        }
        check("nothing", "swaps", "a folder (Hugging Face format or a run)");
        // Before anything is fetched.
        check("nothing", "champ", "a folder (Hugging Face format or a run)");
        check("tiny", "nothing", "`gsm-symbolic`, `champ`, a file");
    }

    #[test]
    fn problems_that_any_verifier_cannot_judge_are_left_out() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("problems.jsonl");
        let rows = [("1", "12 m"), ("2", "about a dozen"), ("3", "(1, 2"), ("4", "7")];
        let row = |(id, answer)| serde_json::json!({"id": id, "question": id, "answer": answer});
        let rows = rows.map(|one| row(one).to_string()).join("\n");
        std::fs::write(&file, rows).expect("the folder is writable");
        let left_out = |equality: Equality| {
            let mut config = GrpoConfig::default();
            config.verifier.equality = equality;
            let source = Source {
                model: "tiny",
                problems: file.to_str().expect("a text"),
                data: &config.data,
                verifier: &config.verifier,
                device: Device::Cpu,
                compute: Compute::F32,
                evaluation: &config.evaluation,
            };
            let workload = Workload::load(&source).expect("some are left");
            let all = workload.train.to_vec().expect("in memory");
            let ids = all.into_iter().map(|problem| problem.id).collect::<Vec<_>>();
            (ids.join(" "), workload.left_out.concat())
        };
        let (ids, notes) = left_out(Equality::Numeric { relative: 0.0, absolute: 0.0 });
        assert_eq!(ids, "1 4");
        assert!(notes.contains("2 of 4 problems are left out") && notes.contains("`2`"), "{notes}");
        let (ids, notes) = left_out(Equality::Pattern);
        assert_eq!(ids, "1 2 4");
        assert!(notes.contains("no regular expression"), "{notes}");
    }

    #[test]
    fn another_model_teaches_if_it_has_the_same_tokens() {
        let mut config = GrpoConfig::default();
        let source = Source {
            model: "tiny",
            problems: "swaps",
            data: &config.data,
            verifier: &config.verifier,
            device: Device::Cpu,
            compute: Compute::F32,
            evaluation: &config.evaluation,
        };
        let workload = Workload::load(&source).expect("it is there");
        let model = workload.model(1).expect("it loads");
        assert!(workload.teacher(&config, &model).expect("none is asked for").is_none());
        let place = model_path("tiny").expect("it is there");
        config.loss.credit.teacher = CreditTeacher::Model { path: place.clone() };
        let (_, found) = workload.teacher(&config, &model).expect("it loads").expect("a teacher");
        assert_eq!(found.as_ref(), Some(&place));
        // The same weights, where two tokens have changed places.
        let other = tempfile::tempdir().expect("a temporary folder");
        for file in std::fs::read_dir(&place).expect("a folder").flatten() {
            std::fs::copy(file.path(), other.path().join(file.file_name())).expect("a file");
        }
        let path = other.path().join("tokenizer.json");
        let text = std::fs::read_to_string(&path).expect("a tokenizer");
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let vocab = json["model"]["vocab"].as_object_mut().expect("tokens");
        let (a, b) = (vocab["a"].clone(), vocab["b"].clone());
        vocab.extend([("a".to_owned(), b), ("b".to_owned(), a)]);
        std::fs::write(&path, json.to_string()).expect("the folder is writable");
        config.loss.credit.teacher = CreditTeacher::Model { path: other.path().to_owned() };
        let error = workload.teacher(&config, &model).expect_err("other tokens").to_string();
        assert!(error.contains("loss.credit.teacher.path"), "{error}");
    }
}
