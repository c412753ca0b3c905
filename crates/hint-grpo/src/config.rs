//! Hyper-parameters of a run, and their validation.

use hint_rollout::CollectorConfig;
use serde::{Deserialize, Serialize};

use crate::{
    AdamWConfig, AdvantageEstimator, Aggregation, Baseline, Cispo, ClippedSurrogate,
    GroupNormalized, KlConfig, LeaveOneOut, PolicyLoss, RatioScheme, Reinforce, Sapo,
    ScheduleConfig, SequenceSurrogate, TruncatedImportance,
};

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
    /// Lower clip distance `ε_low`: the ratio is clipped below at `1 − clip_low`. In `(0, 1)`. Also
    /// the lower end of Affinity's band. (HINT reference: `clip_param` 0.2)
    pub clip_low: f64,
    /// Upper clip distance `ε_high`: the ratio is clipped above at `1 + clip_high`. Positive. Also
    /// the upper end of Affinity's band. (HINT reference: `clip_param_high` 0.2)
    pub clip_high: f64,
    /// The KL term to the reference policy.
    pub kl: KlConfig,
    /// Correction for the mismatch between trainer and engine. Off by default.
    pub truncated_importance: Option<TruncatedImportance>,
    /// How token losses are reduced.
    pub aggregation: Aggregation,
    /// What the ratio of a hinted rollout conditions on.
    pub ratio_scheme: RatioScheme,
    /// Exponent `λ` of the Affinity weight on hinted groups. 0 disables the weighting. (AFF-3)
    /// (HINT reference: 1)
    pub affinity_exponent: f64,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            run: RunConfig::default(),
            rollout: CollectorConfig::default(),
            advantage: AdvantageConfig::GroupNormalized { baseline: Baseline::Group {} },
            objective: ObjectiveConfig::ClippedSurrogate { max_ratio: None },
            clip_low: 0.2,
            clip_high: 0.2,
            kl: KlConfig::default(),
            truncated_importance: None,
            aggregation: Aggregation::SequenceMean {},
            ratio_scheme: RatioScheme::Plain {},
            affinity_exponent: 1.0,
            optimizer: OptimizerConfig::default(),
        }
    }
}

/// How long a run is and how its steps are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of everything random in the run. (HINT reference: 42)
    pub seed: u64,
    /// Rollout batches, each followed by `updates_per_batch` optimizer steps.
    pub steps: u64,
    /// Problems per rollout batch. (HINT reference: 64 micro-batches of one group)
    pub problems_per_step: usize,
    /// Optimizer steps per rollout batch, each over the whole batch.
    pub updates_per_batch: usize,
    /// Largest number of tokens, padding included, in one forward pass with gradient. A single row
    /// may exceed it.
    pub max_tokens_per_micro_batch: usize,
    /// Steps between checkpoints. 0 writes one at the end only.
    pub checkpoint_every: u64,
    /// How many checkpoints to keep. At least 1.
    pub keep_checkpoints: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            seed: 42,
            steps: 1000,
            problems_per_step: 64,
            updates_per_batch: 1,
            max_tokens_per_micro_batch: 16_384,
            checkpoint_every: 10,
            keep_checkpoints: 2,
        }
    }
}

/// Which [`AdvantageEstimator`] to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdvantageConfig {
    /// [`GroupNormalized::new`], (ADV-1).
    GroupNormalized {
        /// Whose rewards centre a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
    },
    /// [`GroupNormalized::mean_only`], (ADV-2).
    MeanOnly {
        /// Whose rewards centre a hinted group.
        #[serde(default = "own_group")]
        baseline: Baseline,
    },
    /// [`LeaveOneOut`], (ADV-3).
    LeaveOneOut {},
}

const fn own_group() -> Baseline {
    Baseline::Group {}
}

impl AdvantageConfig {
    /// The estimator.
    pub fn build(self) -> Box<dyn AdvantageEstimator> {
        match self {
            Self::GroupNormalized { baseline } => Box::new(GroupNormalized::new(baseline)),
            Self::MeanOnly { baseline } => Box::new(GroupNormalized::mean_only(baseline)),
            Self::LeaveOneOut {} => Box::new(LeaveOneOut),
        }
    }
}

/// Which [`PolicyLoss`] to use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ObjectiveConfig {
    /// [`ClippedSurrogate`], (GRPO-1).
    ClippedSurrogate {
        /// Cap of the ratio where it is not clipped; more than `1 + clip_high`.
        #[serde(default)]
        max_ratio: Option<f64>,
    },
    /// [`SequenceSurrogate`], (GSPO-1).
    SequenceSurrogate {},
    /// [`Cispo`], (CISPO-1).
    Cispo {
        /// Cap of the detached ratio. Positive.
        max_ratio: f64,
    },
    /// [`Sapo`], (SAPO-1).
    Sapo {
        /// Temperature of the gate for positive advantages. Positive.
        temperature_positive: f64,
        /// Temperature of the gate for other advantages. Positive.
        temperature_negative: f64,
    },
    /// [`Reinforce`], (PG-1).
    Reinforce {},
}

impl ObjectiveConfig {
    /// The objective, with the clip distances of the run.
    pub fn build(self, clip_low: f64, clip_high: f64) -> Box<dyn PolicyLoss> {
        match self {
            Self::ClippedSurrogate { max_ratio } => {
                let loss = ClippedSurrogate::new(clip_low, clip_high);
                Box::new(max_ratio.map_or(loss, |max_ratio| loss.with_max_ratio(max_ratio)))
            }
            Self::SequenceSurrogate {} => Box::new(SequenceSurrogate::new(clip_low, clip_high)),
            Self::Cispo { max_ratio } => Box::new(Cispo::new(max_ratio)),
            Self::Sapo { temperature_positive, temperature_negative } => {
                Box::new(Sapo::new(temperature_positive, temperature_negative))
            }
            Self::Reinforce {} => Box::new(Reinforce),
        }
    }
}

/// The optimizer and its learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate, per optimizer step. (HINT reference: 1e-6)
    pub learning_rate: f64,
    /// Shape of the learning rate over the steps.
    pub schedule: ScheduleConfig,
    /// Largest global norm of the gradient; a larger one is scaled down, once per optimizer step.
    /// (HINT reference: 1)
    pub max_grad_norm: f64,
    /// Hyper-parameters of AdamW.
    pub adamw: AdamWConfig,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-6,
            schedule: ScheduleConfig::default(),
            max_grad_norm: 1.0,
            adamw: AdamWConfig::default(),
        }
    }
}

/// A configuration is invalid; the message names every violated field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Values are out of range.
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
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            message: error.to_string().trim_end().to_owned(),
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Checks ranges and cross-field constraints. The trainer's builder calls it; so may you.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`], naming every violated field.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut check = Validator::default();
        let run = &self.run;
        check.at_least("run.steps", run.steps, 1);
        check.at_least("run.problems_per_step", run.problems_per_step as u64, 1);
        check.at_least("run.updates_per_batch", run.updates_per_batch as u64, 1);
        check.at_least("run.max_tokens_per_micro_batch", run.max_tokens_per_micro_batch as u64, 1);
        check.at_least("run.keep_checkpoints", run.keep_checkpoints as u64, 1);
        for (field, expected, found) in self.rollout.violations() {
            check.that(&format!("rollout.{field}"), false, expected, found);
        }
        let in_unit = 0.0 < self.clip_low && self.clip_low < 1.0;
        check.that("clip_low", in_unit, "must be in (0, 1)", self.clip_low);
        check.positive("clip_high", self.clip_high);
        check.not_negative("kl.coef", self.kl.coef);
        check.not_negative("affinity_exponent", self.affinity_exponent);
        if let Some(correction) = self.truncated_importance {
            check.positive("truncated_importance.max_weight", correction.max_weight);
        }
        match self.objective {
            ObjectiveConfig::ClippedSurrogate { max_ratio: Some(max_ratio) } => check.that(
                "objective.max_ratio",
                max_ratio > 1.0 + self.clip_high,
                "must be more than 1 + clip_high",
                max_ratio,
            ),
            ObjectiveConfig::Cispo { max_ratio } => {
                check.positive("objective.max_ratio", max_ratio);
            }
            ObjectiveConfig::Sapo { temperature_positive, temperature_negative } => {
                check.positive("objective.temperature_positive", temperature_positive);
                check.positive("objective.temperature_negative", temperature_negative);
            }
            ObjectiveConfig::ClippedSurrogate { max_ratio: None }
            | ObjectiveConfig::SequenceSurrogate {}
            | ObjectiveConfig::Reinforce {} => {}
        }
        if let Aggregation::Constant { max_completion_len } = self.aggregation {
            check.at_least("aggregation.max_completion_len", max_completion_len as u64, 1);
        }
        let optimizer = &self.optimizer;
        check.positive("optimizer.learning_rate", optimizer.learning_rate);
        check.positive("optimizer.max_grad_norm", optimizer.max_grad_norm);
        if let crate::Decay::Cosine { final_frac } = optimizer.schedule.decay {
            let holds = (0.0..=1.0).contains(&final_frac);
            check.that(
                "optimizer.schedule.decay.final_frac",
                holds,
                "must be in [0, 1]",
                final_frac,
            );
        }
        for (field, beta) in [
            ("optimizer.adamw.beta1", optimizer.adamw.beta1),
            ("optimizer.adamw.beta2", optimizer.adamw.beta2),
        ] {
            check.that(field, (0.0..1.0).contains(&beta), "must be in [0, 1)", beta);
        }
        check.positive("optimizer.adamw.epsilon", optimizer.adamw.epsilon);
        check.not_negative("optimizer.adamw.weight_decay", optimizer.adamw.weight_decay);
        check.finish()
    }
}

/// Collects violations, so that one run of the program shows them all.
#[derive(Debug, Default)]
struct Validator {
    violations: Vec<String>,
}

impl Validator {
    fn that(&mut self, field: &str, holds: bool, expected: &str, found: impl std::fmt::Display) {
        if !holds {
            self.violations.push(format!("{field}: {expected}, got {found}"));
        }
    }

    fn at_least(&mut self, field: &str, value: u64, least: u64) {
        self.that(field, value >= least, &format!("must be at least {least}"), value);
    }

    fn positive(&mut self, field: &str, value: f64) {
        self.that(field, value > 0.0 && value.is_finite(), "must be positive", value);
    }

    fn not_negative(&mut self, field: &str, value: f64) {
        self.that(field, value >= 0.0 && value.is_finite(), "must not be negative", value);
    }

    fn finish(self) -> Result<(), ConfigError> {
        if self.violations.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(self.violations)) }
    }
}
