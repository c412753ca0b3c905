//! Hyper-parameters of a run, and their validation.

use hint_affinity::AffinityVariant;
use hint_rollout::error::Violations;
use hint_rollout::{CollectorConfig, Replay};
use serde::{Deserialize, Serialize};

use self::validate::Validator;
use crate::{
    Aggregation, Baseline, HelpWeight, ImportanceCorrection, KlConfig, OldLogprobs, RatioLevel,
    RatioScheme, RatioShaping, SupervisedConfig, SupervisedTerm,
};

mod advantage;
mod evaluation;
mod objective;
mod optimizer;
mod read;
mod run;
mod validate;

pub use advantage::AdvantageConfig;
pub use evaluation::EvaluationConfig;
pub use objective::ObjectiveConfig;
pub use optimizer::{AlgorithmConfig, OptimizerConfig};
pub use run::{RunConfig, StaleGroups};

/// Hyper-parameters of one run. The defaults are HINT's published setting; see
/// `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoConfig {
    /// How long the run is and how its steps are cut.
    pub run: RunConfig,
    /// How groups are sampled, judged and hinted.
    pub rollout: CollectorConfig,
    /// How rewards become advantages.
    pub advantage: AdvantageConfig,
    /// The token-level objective.
    pub objective: ObjectiveConfig,
    /// Whether the importance ratio is one of tokens or of sequences.
    pub ratio_level: RatioLevel,
    /// Whose log-probabilities the ratio's denominator has.
    pub old_logprobs: OldLogprobs,
    /// Lower clip distance `ε_low`: the ratio is clipped below at `1 − clip_low`. In `(0, 1)`. Also
    /// the lower end of Affinity's band. (HINT reference: `clip_param` 0.2)
    pub clip_low: f64,
    /// Upper clip distance `ε_high`: the ratio is clipped above at `1 + clip_high`. Positive. Also
    /// the upper end of Affinity's band. (HINT reference: `clip_param_high` 0.2)
    pub clip_high: f64,
    /// The KL term to the reference policy.
    pub kl: KlConfig,
    /// Correction for the mismatch between trainer and engine. Off by default.
    pub importance_correction: ImportanceCorrection,
    /// How token losses are reduced.
    pub aggregation: Aggregation,
    /// What the ratio of a hinted rollout conditions on.
    pub ratio_scheme: RatioScheme,
    /// Factors of the loss of helped rollouts; their product counts. Empty: all weigh the same.
    pub weight: Vec<HelpWeight>,
    /// Whether the objective of helped rollouts is a shaped ratio.
    pub shaping: RatioShaping,
    /// The likelihood of demonstrations and prefixes next to the objective. Off by default.
    pub supervised_term: SupervisedTerm,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// The supervised stage.
    pub supervised: SupervisedConfig,
    /// Evaluation on held-out problems.
    pub evaluation: EvaluationConfig,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            run: RunConfig::default(),
            rollout: CollectorConfig::default(),
            advantage: AdvantageConfig::GroupNormalized { baseline: Baseline::Group {} },
            objective: ObjectiveConfig::ClippedSurrogate { max_ratio: None, dual_clip: None },
            ratio_level: RatioLevel::Token,
            old_logprobs: OldLogprobs::Recomputed,
            clip_low: 0.2,
            clip_high: 0.2,
            kl: KlConfig::default(),
            importance_correction: ImportanceCorrection::Off {},
            aggregation: Aggregation::SequenceMean {},
            ratio_scheme: RatioScheme::Plain {},
            weight: vec![HelpWeight::Affinity {
                exponent: 1.0,
                variant: AffinityVariant::Weighted {},
            }],
            shaping: RatioShaping::Off {},
            supervised_term: SupervisedTerm::default(),
            optimizer: OptimizerConfig::default(),
            supervised: SupervisedConfig::default(),
            evaluation: EvaluationConfig::default(),
        }
    }
}

/// A configuration is invalid; the message names every violated field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Values are out of range, or names are unknown.
    #[error("invalid configuration: {}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The text is not valid TOML, or has a key or a type that the configuration does not know.
    #[error("cannot read the configuration: {message}")]
    Syntax {
        /// What the parser said, with line and column.
        message: String,
    },
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
    /// let config = GrpoConfig::from_toml("clip_high = 0.28")?;
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
        let mut check = Validator::default();
        self.run.check(&mut check);
        let mut at = Violations::new();
        at.within("rollout", |at| self.rollout.check(at));
        for violation in &at {
            check.that(&violation.field, false, &violation.expected, &violation.found);
        }
        // The policy that drew a replayed group is known by what the engine said of it alone.
        let replays = !matches!(self.rollout.replay, Replay::Off);
        let holds = !replays || self.old_logprobs == OldLogprobs::Engine;
        let found = serde_json::json!(self.old_logprobs);
        check.that("old_logprobs", holds, "must be \"engine\" with rollout.replay", found);
        let in_unit = 0.0 < self.clip_low && self.clip_low < 1.0;
        check.that("clip_low", in_unit, "must be in (0, 1)", self.clip_low);
        check.positive("clip_high", self.clip_high);
        check.not_negative("kl.coef", self.kl.coef);
        let term = self.supervised_term;
        check.not_negative("supervised_term.demonstration_coef", term.demonstration_coef);
        check.not_negative("supervised_term.prefix_coef", term.prefix_coef);
        check_help(&self.weight, self.shaping, &mut check);
        check_importance(self.importance_correction, &mut check);
        self.advantage.check(&mut check);
        self.objective.check(self.clip_high, &mut check);
        if let Aggregation::Constant { max_completion_len } = self.aggregation {
            check.at_least("aggregation.max_completion_len", max_completion_len as u64, 1);
        }
        self.optimizer.check(&mut check);
        if let Aggregation::Constant { max_completion_len } = self.supervised.aggregation {
            let field = "supervised.aggregation.max_completion_len";
            check.at_least(field, max_completion_len as u64, 1);
        }
        self.evaluation.check(&mut check);
        check.finish()
    }
}

fn check_importance(correction: ImportanceCorrection, check: &mut Validator) {
    match correction {
        ImportanceCorrection::Off {} => {}
        ImportanceCorrection::Truncate { max_weight, .. } => {
            check.positive("importance_correction.max_weight", max_weight);
        }
        ImportanceCorrection::Mask { min_weight, max_weight, .. } => {
            check.not_negative("importance_correction.min_weight", min_weight);
            let holds = max_weight > min_weight && max_weight.is_finite();
            let expected = "must be more than min_weight";
            check.that("importance_correction.max_weight", holds, expected, max_weight);
        }
    }
}

fn check_help(weights: &[HelpWeight], shaping: RatioShaping, check: &mut Validator) {
    for (index, weight) in weights.iter().enumerate() {
        let field = |name| format!("weight[{index}].{name}");
        match *weight {
            HelpWeight::Affinity { exponent, .. } => {
                check.not_negative(&field("exponent"), exponent);
            }
            HelpWeight::OffContext { min, max } => {
                check.not_negative(&field("min"), min);
                let holds = max >= min && max.is_finite();
                check.that(&field("max"), holds, "must not be below min", max);
            }
            HelpWeight::Schedule { value } => {
                let holds = value.all(|value| value >= 0.0 && value.is_finite());
                check.that(&field("value"), holds, "must not be negative", format!("{value:?}"));
            }
        }
    }
    match shaping {
        RatioShaping::Off {} => {}
        RatioShaping::Fixed { gamma } => check.positive("shaping.gamma", gamma),
        RatioShaping::Quantile { quantile } => {
            let holds = 0.0 < quantile && quantile < 1.0;
            check.that("shaping.quantile", holds, "must be in (0, 1)", quantile);
        }
    }
}
