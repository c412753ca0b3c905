//! The configuration of a run: hyper-parameters, their validation, reading and writing.
//!
//! [`GrpoConfig`] is one table per theme. The types of a table live in the module that they configure, such
//! as [`objective`](crate::objective) or [`optim`](crate::optim). Each checks its ranges in a function
//! `check`. The tables of the run as a whole are here. Defaults are HINT's published setting.

use std::collections::BTreeMap;

use hint_reward::RewardError;
use hint_reward::verifier::VerifierConfig;
use hint_rollout::CollectorConfig;
use hint_rollout::collect::curriculum::Replay;
use hint_rollout::collect::hinted::{Combine, Contrast};
use hint_rollout::data::DataConfig;
use hint_rollout::error::Violations;
use hint_rollout::hint::source::HintSourceConfig;
use serde::{Deserialize, Serialize};

use crate::advantage::AdvantageConfig;
use crate::error::ConfigError;
use crate::objective::{CreditForm, ImportanceCorrection, LossConfig, OldLogprobs};
use crate::optim::OptimizerConfig;
use crate::rollout_table::RolloutTableConfig;

mod change;
mod evaluation;
mod prompt;
mod read;
mod run;
mod sft;

pub use change::{CHANGEABLE, Change, is_changeable};
pub(crate) use change::{configured_part, differences, is_below};
pub use evaluation::EvaluationConfig;
pub use prompt::{ModelSettings, PromptConfig};
pub use read::is_given;
pub use run::{RunConfig, Sharding, StaleGroups};
pub use sft::{LearnedTokens, SftConfig};

/// Hyper-parameters of one run. The defaults are HINT's published setting; see
/// [the book](../../../book/configuration.html).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoConfig {
    /// Length of the run and division of its steps.
    pub run: RunConfig,
    /// Files of problems, and how they are read.
    pub data: DataConfig,
    /// Choices that override the model's files.
    pub model: ModelSettings,
    /// Text for the policy beside the problem.
    pub prompt: PromptConfig,
    /// Judge of which completions are correct.
    pub verifier: VerifierConfig,
    /// Sampling of groups, and hints.
    pub rollout: CollectorConfig,
    /// Advantages from rewards.
    pub advantage: AdvantageConfig,
    /// The loss.
    pub loss: LossConfig,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// The supervised stage.
    pub sft: SftConfig,
    /// Evaluation on held-out problems.
    pub evaluation: EvaluationConfig,
    /// The table of completions.
    pub rollout_table: RolloutTableConfig,
    /// The names of parts that the program brought in place of configured ones, by their kind. The run
    /// writes them; a program that reads them back must bring the same parts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_parts: BTreeMap<String, String>,
}

impl GrpoConfig {
    /// Reads a configuration from TOML. Keys that are not given keep their defaults; unknown keys
    /// are errors. The result is validated.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_toml_with(text, [])
    }

    /// Writes the configuration as TOML, every key with its value, so that
    /// [`GrpoConfig::from_toml`] reads the same one back. Optional keys that are not set are left
    /// out.
    ///
    /// ```
    /// use hint_grpo::GrpoConfig;
    ///
    /// let config = GrpoConfig::from_toml("loss.objective = { type = \"cispo\", max_ratio = 5.0 }")?;
    /// assert_eq!(GrpoConfig::from_toml(&config.to_toml()?)?, config);
    /// # Ok::<(), hint_grpo::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Syntax`] for a number that TOML does not have, such as a seed of 2⁶³.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self)
            .map_err(|error| ConfigError::Syntax { message: format!("not in TOML: {error}") })
    }

    /// Checks ranges and cross-field constraints. The trainer's builder calls it; so may you.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`], naming every violated field.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Ok(Violations::check(|at| self.check(at))?)
    }

    /// Whether completions come from older weights, and neither the ratio nor a correction covers their age.
    pub(crate) fn ignores_staleness(&self) -> bool {
        self.run.samples_ahead()
            && self.loss.old_logprobs == OldLogprobs::Recomputed
            && self.loss.importance_correction == ImportanceCorrection::Off
    }

    /// Whether a correction is missing, and possible.
    fn wants_correction(&self) -> bool {
        let truncates = self.rollout.sampling.truncates() || !self.model.banned_tokens.is_empty();
        self.ignores_staleness() && !truncates
    }

    fn check(&self, at: &mut Violations) {
        at.within("run", |at| self.run.check(at));
        at.within("data", |at| self.data.check(at));
        at.within("verifier", |at| self.check_verifier(at));
        at.within("rollout", |at| {
            self.rollout.check(at);
            self.check_teaching(at);
        });
        at.within("advantage", |at| self.advantage.check(at));
        at.within("loss", |at| {
            self.loss.check(at);
            if self.rollout.combine.teaching().is_some() {
                self.loss.check_teaching(at);
            }
            self.check_engine_logprobs(at);
        });
        at.within("optimizer", |at| self.optimizer.check(at));
        at.within("sft", |at| at.within("aggregation", |at| self.sft.aggregation.check(at)));
        at.within("evaluation", |at| self.evaluation.check(at));
        at.within("rollout_table", |at| self.rollout_table.check(at));
    }

    /// A hint teaches from within the question, and a contrast needs another problem.
    fn check_teaching(&self, at: &mut Violations) {
        let source = &self.rollout.source;
        let found = self.run.prompts_per_step;
        let is_placebo = matches!(source, HintSourceConfig::Placebo { .. });
        let expected =
            "must not be \"placebo\" with fewer than 2 problems a step (run.prompts_per_step)";
        at.require(!is_placebo || found >= 2, "source.type", expected, found);
        let Some(teaching) = self.rollout.combine.teaching() else { return };
        let expected = "must be one whose hints join the question where rollout.combine.type is \"teach\", such as a \
                        solution prefix with in_prompt = true";
        at.require(source.is_guidance(), "source.type", expected, source.name());
        let contrasts = teaching.contrast == Contrast::Placebo;
        let expected = "must be \"none\" with fewer than 2 problems a step (run.prompts_per_step)";
        at.require(!contrasts || found >= 2, "combine.contrast", expected, found);
        let is_own = matches!(
            source,
            HintSourceConfig::Placebo { .. }
                | HintSourceConfig::WrongAnswers
                | HintSourceConfig::PeerSuccess
                | HintSourceConfig::SelfHint { .. }
        );
        let expected =
            "must be \"none\" with a source that has no known hint of another problem to give";
        at.require(!contrasts || !is_own, "combine.contrast", expected, source.name());
        let compares = matches!(self.loss.credit.form, CreditForm::Divergence { .. });
        let expected = "must be \"none\" where loss.credit.form.type is \"divergence\", which compares with the teacher alone";
        at.require(!(contrasts && compares), "combine.contrast", expected, "\"placebo\"");
    }

    fn check_verifier(&self, at: &mut Violations) {
        match self.verifier.build() {
            Err(RewardError::Setting { name, found, expected }) => {
                at.require(false, format!("equality.{name}"), format!("must be {expected}"), found);
            }
            Err(error) => {
                let found = serde_json::json!(self.verifier.equality);
                at.require(false, "equality", format!("must be usable ({error})"), found);
            }
            Ok(_) => {}
        }
    }

    /// Parts that read the engine's log-probabilities must fit the distribution of these.
    fn check_engine_logprobs(&self, at: &mut Violations) {
        // The policy that drew a replayed group is known only by what the engine reported of it.
        let replays = self.rollout.replay != Replay::Off;
        let takes_engine = self.loss.old_logprobs == OldLogprobs::Engine;
        let found = serde_json::json!(self.loss.old_logprobs);
        let expected = "must be \"engine\" with rollout.replay";
        at.require(!replays || takes_engine, "old_logprobs", expected, &found);
        // The trainer scores the whole distribution, so that a ratio of the two would not be one of
        // policies: on-policy it would be the truncated share, not 1.
        let truncates = self.rollout.sampling.truncates();
        let expected = "must be \"recomputed\" where rollout.sampling truncates (top_k, top_p, min_p, \
                        min_completion_len, banned_tokens)";
        at.require(!(truncates && takes_engine), "old_logprobs", expected, found);
        let corrects = self.loss.importance_correction != ImportanceCorrection::Off;
        let expected = "must be \"off\" where rollout.sampling truncates (top_k, top_p, min_p, \
                        min_completion_len, banned_tokens)";
        let found = serde_json::json!(self.loss.importance_correction)["type"].clone();
        at.require(!(truncates && corrects), "importance_correction.type", expected, found);
    }
}
