//! The model of a run: what it is loaded into, and what a run makes of it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use hint_grpo::objective::CreditTeacher;
use hint_grpo::stage::PolicyGradient;
use hint_grpo::{Demonstration, GrpoConfig, Hints, Parts, Rewards, RunBuilder};
use hint_policy::model::LoadReport;
use hint_policy::runtime::FastPath;
use hint_policy::{LoadOptions, LoadedModel, ModelConfig, SharedPolicy, Tokenizer};
use hint_reward::verifier::VerifierConfig;
use hint_reward::{RewardInput, Rubric};
use hint_rollout::data::ProblemSet;
use hint_rollout::{Collector, PromptFormat, RolloutEngine};
use tch::Device;

use super::place::{base_path, model_path};
use super::{Workload, api_key};

/// The model of a run, ready to be trained and sampled from.
pub struct Model {
    /// The policy.
    pub policy: SharedPolicy,
    /// Its weights without the adapters, if it has some.
    pub base: Option<SharedPolicy>,
    /// Shape and constants.
    pub config: ModelConfig,
    /// Where it came from, and how it was loaded.
    pub report: LoadReport,
    /// Operators for GPUs that it does without, each with the reason.
    pub refusals: Vec<(FastPath, &'static str)>,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Tokens that end its completions.
    pub stop_tokens: Vec<u32>,
    /// Its prompt format.
    pub format: Arc<dyn PromptFormat>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Model").field("report", &self.report).finish_non_exhaustive()
    }
}

impl Model {
    /// The parts of a run that samples from it through `engine`.
    pub(crate) fn parts(
        &self,
        engine: Box<dyn RolloutEngine>,
    ) -> Parts<Box<dyn RolloutEngine>, Arc<dyn PromptFormat>> {
        Parts {
            policy: self.policy.clone(),
            engine,
            format: Arc::clone(&self.format),
            rewards: Rewards::configured(),
            hints: Hints::configured_with(api_key),
        }
    }

    /// Samples from it through `engine`, as configured by `config`.
    ///
    /// # Errors
    ///
    /// A configuration out of range.
    pub(crate) fn collector(
        &self,
        engine: Box<dyn RolloutEngine>,
        config: &GrpoConfig,
    ) -> Result<Collector> {
        let (rubric, rollout) = (Rubric::new(config.verifier.build()?), config.rollout.clone());
        Ok(Collector::new(engine, Arc::clone(&self.format), rubric, rollout)?)
    }

    /// The solutions of `problems` as demonstrations. If the verifier does not take one for
    /// correct, because it does not end in a box, the answer follows in one. Problems without a
    /// solution have none.
    ///
    /// # Errors
    ///
    /// When no problem has a solution, or a solution cannot be turned into tokens.
    pub(crate) fn demonstrations(
        &self,
        problems: &ProblemSet,
        verifier: &VerifierConfig,
    ) -> Result<Vec<Demonstration>> {
        let format = &self.format;
        let rubric = Rubric::new(verifier.build()?);
        let (mut demonstrations, mut too_long) = (Vec::new(), Vec::new());
        let limit = self.policy.lock().max_positions();
        for problem in problems.iter() {
            let problem = &*problem?;
            let Some(solution) = &problem.solution else { continue };
            let scores = rubric.score_group(&[RewardInput::new(solution, &problem.answer)])?;
            let text = if scores.iter().all(|score| score.verdict.is_correct()) {
                solution.clone()
            } else {
                format!("{solution}\n\\boxed{{{}}}", problem.answer)
            };
            let completion = format.encode_demonstration(&text)?;
            let prompt = format.encode(problem, None)?;
            if prompt.len() + completion.len() > limit {
                too_long.push(format!("`{}`", problem.id));
                continue;
            }
            demonstrations.push(Demonstration::new(&problem.id, prompt, completion));
        }
        if !too_long.is_empty() {
            let (count, ids) = (too_long.len(), too_long[..too_long.len().min(3)].join(", "));
            note!(
                "{count} demonstrations are left out, because they have more than {limit} tokens: {ids}"
            );
        }
        ensure!(
            !demonstrations.is_empty(),
            "none of the {} training problems has a `solution` to demonstrate",
            problems.len()
        );
        Ok(demonstrations)
    }
}

impl Workload {
    /// Loads the model that a run with this seed trains.
    ///
    /// # Errors
    ///
    /// A model that cannot be read, adapters that do not fit.
    pub fn model(&self, seed: u64) -> Result<Model> {
        self.model_on(seed, self.load.device)
    }

    /// A copy of the model that a run with this seed trains, on `device` if one is given.
    ///
    /// # Errors
    ///
    /// As [`Workload::model`].
    pub(crate) fn copy(&self, seed: u64, device: Option<Device>) -> Result<SharedPolicy> {
        Ok(self.model_on(seed, device.unwrap_or(self.load.device))?.policy)
    }

    fn model_on(&self, seed: u64, device: Device) -> Result<Model> {
        let loaded = self.load_model_on(device)?;
        let config = loaded.policy.config().clone();
        let tokenizer = Arc::new(loaded.tokenizer);
        let format = self.format(&tokenizer, loaded.stop_tokens.clone());
        let policy = loaded.policy.with_gradient_checkpointing(self.gradient_checkpointing);
        let (policy, base) = match &self.lora {
            Some(lora) => {
                let policy = policy.with_lora(lora, seed)?;
                let base = policy.base()?;
                (policy, Some(SharedPolicy::new(base)))
            }
            None => (policy, None),
        };
        let (report, refusals) = (policy.report(), policy.refusals());
        let (policy, stop_tokens) = (SharedPolicy::new(policy), loaded.stop_tokens);
        Ok(Model { policy, base, config, report, refusals, tokenizer, stop_tokens, format })
    }

    /// The training problems whose prompts fit; `say` gets the findings about lengths and hints.
    ///
    /// # Errors
    ///
    /// As [`Collector::check_problems`]; none that fit.
    pub(crate) fn fitting(&self, collector: &Collector, say: impl Fn(&str)) -> Result<ProblemSet> {
        let report = collector.check_problems(&self.train, &self.held_out)?;
        for (number, line) in report.to_string().lines().enumerate() {
            // Behind the number of problems, texts that are too long.
            if number == 0 { say(line) } else { note!("warning: {line}") }
        }
        let fitting = report.fitting(&self.train)?;
        ensure!(!fitting.is_empty(), "no prompt is short enough");
        Ok(fitting)
    }

    /// The files that the model came from: its own, and the base of its adapters.
    pub(crate) fn model_files(&self, model: &Model) -> Vec<PathBuf> {
        let base = model.report.source.iter().filter(|base| **base != self.model).cloned();
        self.own_files().into_iter().chain(base).collect()
    }

    /// The first of [`Self::model_files`], which are known before the model is loaded.
    pub(crate) fn own_files(&self) -> Vec<PathBuf> {
        self.model_files.clone().unwrap_or_else(|| vec![self.model.clone()])
    }

    /// Gives a run the frozen policies that its loss asks for: the reference of a KL term, and the teacher. With it the place
    /// of the teacher's files, if it is another model than the trained one.
    ///
    /// # Errors
    ///
    /// As [`Workload::load_model`]; a teacher with other tokens.
    pub(crate) fn with_frozen_policies(
        &self,
        mut builder: RunBuilder<PolicyGradient>,
        config: &GrpoConfig,
        model: &Model,
    ) -> Result<(RunBuilder<PolicyGradient>, Option<PathBuf>)> {
        if config.loss.needs_reference() {
            let base = model
                .base
                .clone()
                .map_or_else(|| Ok(SharedPolicy::new(self.load_model()?.policy)), anyhow::Ok)?;
            builder = builder.reference(base);
        }
        let Some((teacher, place)) = self.teacher(config, model)? else {
            return Ok((builder, None));
        };
        Ok((builder.teacher(teacher), place))
    }

    /// The further policy that teaches, if the loss asks for one. With it the place of its files, if it is another model
    /// than the trained `model`.
    pub(super) fn teacher(
        &self,
        config: &GrpoConfig,
        model: &Model,
    ) -> Result<Option<(SharedPolicy, Option<PathBuf>)>> {
        let path = match config.loss.further_teacher() {
            None => return Ok(None),
            Some(CreditTeacher::Model { path }) => model_path(&path.to_string_lossy())?,
            Some(_) => return Ok(Some((self.model(config.run.seed)?.policy, None))),
        };
        let options = LoadOptions { base: base_path(&path, None)?, ..self.load.clone() };
        let teacher = LoadedModel::load(&path, &options)
            .with_context(|| format!("cannot load the teacher `{}`", path.display()))?;
        if let Some(token) = model.tokenizer.first_difference(&teacher.tokenizer) {
            bail!(
                "the teacher `{}` has other tokens than the model, such as {token:?}; set `loss.credit.teacher.path` to \
                 a model with the same tokenizer",
                path.display()
            );
        }
        Ok(Some((SharedPolicy::new(teacher.policy), Some(path))))
    }
}
