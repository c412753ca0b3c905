//! The loss of a run, part by part.

use hint_affinity::{AffinityVariant, ClipRange};
use hint_rollout::error::Violations;
use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};

use super::{
    Aggregation, Cispo, ClippedSurrogate, CreditConfig, CreditForm, CreditTeacher, GeometricMean,
    HintedWeight, HintedWeightConfig, ImportanceCorrection, KlConfig, OldLogprobs, PolicyLoss,
    RatioLevel, RatioScheme, RatioShaping, Reinforce, Sapo,
};
use crate::error::GrpoError;

/// Default of the lower and upper clip distance of the ratio. (HINT reference: `clip_param` and
/// `clip_param_high`)
const CLIP: f64 = 0.2;

/// The loss of a policy-gradient run, part by part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// The token-level objective.
    pub objective: ObjectiveConfig,
    /// Whether the importance ratio is one of tokens or of sequences.
    pub ratio_level: RatioLevel,
    /// Prompts that the ratio of a hinted sample conditions on.
    pub ratio_scheme: RatioScheme,
    /// Whether the objective of hinted samples is a shaped ratio.
    pub ratio_shaping: RatioShaping,
    /// Log-probabilities in the ratio's denominator.
    pub old_logprobs: OldLogprobs,
    /// Correction for the mismatch between trainer and engine. Off by default.
    pub importance_correction: ImportanceCorrection,
    /// The KL term to the reference policy.
    pub kl: KlConfig,
    /// Reduction of token losses.
    pub aggregation: Aggregation,
    /// Factors of the loss of hinted samples; their product counts. Empty: all weigh the same.
    pub hinted_weight: Vec<HintedWeightConfig>,
    /// Division of the advantage over the tokens of completions that a hint teaches. It counts where the
    /// rollout uses hints to teach, by [`CombineRule::Teach`](hint_rollout::collect::hinted::CombineRule).
    pub credit: CreditConfig,
    /// The band of ratios that Affinity counts as inside the policy. It defaults to the clip range of
    /// the objective, or to 0.2 on both sides where the objective has none.
    pub affinity_band: Option<AffinityBand>,
    /// The likelihood of demonstrations and prefixes next to the objective. Off by default.
    pub sft: SftTerm,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            objective: ObjectiveConfig::default(),
            ratio_level: RatioLevel::Token,
            ratio_scheme: RatioScheme::Plain,
            ratio_shaping: RatioShaping::Off,
            old_logprobs: OldLogprobs::Recomputed,
            importance_correction: ImportanceCorrection::Off,
            kl: KlConfig::default(),
            aggregation: Aggregation::SequenceMean,
            hinted_weight: vec![HintedWeightConfig::Affinity {
                exponent: 1.0,
                variant: AffinityVariant::Weighted,
            }],
            credit: CreditConfig::default(),
            affinity_band: None,
            sft: SftTerm::default(),
        }
    }
}

/// A band of ratios, `[1 − clip_low, 1 + clip_high]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AffinityBand {
    /// In `(0, 1)`.
    pub clip_low: f64,
    /// Positive.
    pub clip_high: f64,
}

/// Negative log-likelihood of given tokens, added to the loss of every optimizer step.
///
/// ```text
/// L = c · Σ_it −log π_θ(y_it | x_i, y_i<t) / Σ_i |y_i|                                (HINTED-3)
/// ```
///
/// once over the demonstrations that [`CombineRule::Supervise`](hint_rollout::collect::hinted::CombineRule) kept aside and once
/// over the prefixes of prefixed rollouts, one per group. The denominators count the whole optimizer
/// step. Source: (HINTED-3) in [the book](../../../book/math.html#hinted-completions).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftTerm {
    /// Coefficient of the demonstrations' term. Not negative.
    pub demonstration_coef: f64,
    /// Coefficient of the prefixes' term. Not negative. (UFT: 0.001)
    pub prefix_coef: f64,
}

/// Choice of the [`PolicyLoss`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ObjectiveConfig {
    /// [`ClippedSurrogate`], (GRPO-1).
    ClippedSurrogate {
        /// Lower clip distance `ε_low`: the ratio is clipped below at `1 − clip_low`. In `(0, 1)`.
        /// (HINT reference: 0.2)
        #[serde(default = "clip")]
        clip_low: f64,
        /// Upper clip distance `ε_high`: the ratio is clipped above at `1 + clip_high`. Positive.
        /// (HINT reference: 0.2)
        #[serde(default = "clip")]
        clip_high: f64,
        /// Cap of the ratio where it is not clipped; more than `1 + clip_high`.
        #[serde(default)]
        max_ratio: Option<f64>,
        /// Bound of the loss of a negative advantage, in units of its size; more than 1. (GRPO-2)
        #[serde(default)]
        dual_clip: Option<f64>,
    },
    /// [`GeometricMean`], (GMPO-1).
    GeometricMean {
        /// Lower clip distance. In `(0, 1)`.
        #[serde(default = "clip")]
        clip_low: f64,
        /// Upper clip distance. Positive.
        #[serde(default = "clip")]
        clip_high: f64,
    },
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
    #[serde(deserialize_with = "no_fields")]
    Reinforce,
}

const fn clip() -> f64 {
    CLIP
}

impl Default for ObjectiveConfig {
    /// HINT's published setting.
    fn default() -> Self {
        Self::ClippedSurrogate { clip_low: CLIP, clip_high: CLIP, max_ratio: None, dual_clip: None }
    }
}

impl LossConfig {
    /// The weights of hinted samples that are not 1 everywhere.
    pub(crate) fn build_hinted_weights(&self) -> Vec<Box<dyn HintedWeight>> {
        let weights = self.hinted_weight.iter().filter(|weight| !weight.is_one());
        weights.map(|weight| Box::new(*weight) as Box<dyn HintedWeight>).collect()
    }

    /// Whether a reference policy is needed: for a KL term, or as a teacher.
    pub fn needs_reference(&self) -> bool {
        self.kl.coef != 0.0 || self.credit.needs_reference()
    }

    /// The policy that teaches, if it is one besides the trained one and the reference: a program loads it.
    pub fn further_teacher(&self) -> Option<&CreditTeacher> {
        Some(&self.credit.teacher).filter(|teacher| teacher.is_further())
    }

    /// The band of ratios that Affinity counts as inside the policy.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Affinity`] for a band out of range, which a valid configuration cannot have.
    pub fn affinity_band(&self) -> Result<ClipRange, GrpoError> {
        let given = self.affinity_band.map(|band| (band.clip_low, band.clip_high));
        let (low, high) = given.or_else(|| self.objective.clip()).unwrap_or((CLIP, CLIP));
        Ok(ClipRange::new(low, high)?)
    }

    /// Reports a credit that cannot work where hints teach.
    pub(crate) fn check_teaching(&self, at: &mut Violations) {
        let is_by_token = self.ratio_level == RatioLevel::Token
            && !matches!(self.objective, ObjectiveConfig::GeometricMean { .. });
        let found = match self.credit.form {
            CreditForm::Advantage { .. } => "\"advantage\"",
            CreditForm::Weight { .. } => "\"weight\"",
            CreditForm::Divergence { .. } => return,
        };
        let expected = "must be \"divergence\" with a ratio of sequences (ratio_level, geometric_mean), whose tokens \
                        share one gradient";
        at.require(is_by_token, "credit.form.type", expected, found);
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        at.within("objective", |at| self.objective.check(at));
        at.within("importance_correction", |at| self.importance_correction.check(at));
        at.within("kl", |at| at.not_negative("coef", self.kl.coef));
        at.within("aggregation", |at| self.aggregation.check(at));
        for (index, weight) in self.hinted_weight.iter().enumerate() {
            at.within(format_args!("hinted_weight[{index}]"), |at| weight.check(at));
        }
        at.within("ratio_shaping", |at| self.ratio_shaping.check(at));
        at.within("credit", |at| self.credit.check(at));
        if let Some(AffinityBand { clip_low, clip_high }) = self.affinity_band {
            at.within("affinity_band", |at| check_clip(clip_low, clip_high, at));
        }
        at.within("sft", |at| {
            at.not_negative("demonstration_coef", self.sft.demonstration_coef);
            at.not_negative("prefix_coef", self.sft.prefix_coef);
        });
    }
}

impl ObjectiveConfig {
    /// The objective.
    pub fn build(self) -> Box<dyn PolicyLoss> {
        match self {
            Self::ClippedSurrogate { clip_low, clip_high, max_ratio, dual_clip } => {
                let mut loss = ClippedSurrogate::new(clip_low, clip_high);
                if let Some(max_ratio) = max_ratio {
                    loss = loss.with_max_ratio(max_ratio);
                }
                if let Some(dual_clip) = dual_clip {
                    loss = loss.with_dual_clip(dual_clip);
                }
                Box::new(loss)
            }
            Self::GeometricMean { clip_low, clip_high } => {
                Box::new(GeometricMean::new(clip_low, clip_high))
            }
            Self::Cispo { max_ratio } => Box::new(Cispo::new(max_ratio)),
            Self::Sapo { temperature_positive, temperature_negative } => {
                Box::new(Sapo::new(temperature_positive, temperature_negative))
            }
            Self::Reinforce => Box::new(Reinforce),
        }
    }

    /// Its clip distances, lower and upper, if it clips.
    pub const fn clip(self) -> Option<(f64, f64)> {
        match self {
            Self::ClippedSurrogate { clip_low, clip_high, .. }
            | Self::GeometricMean { clip_low, clip_high } => Some((clip_low, clip_high)),
            Self::Cispo { .. } | Self::Sapo { .. } | Self::Reinforce => None,
        }
    }

    fn check(self, at: &mut Violations) {
        if let Some((clip_low, clip_high)) = self.clip() {
            check_clip(clip_low, clip_high, at);
        }
        match self {
            Self::ClippedSurrogate { clip_high, max_ratio, dual_clip, .. } => {
                if let Some(max_ratio) = max_ratio {
                    let holds = max_ratio > 1.0 + clip_high;
                    at.require(
                        holds && max_ratio.is_finite(),
                        "max_ratio",
                        "must be finite and more than 1 + clip_high",
                        max_ratio,
                    );
                }
                if let Some(dual_clip) = dual_clip {
                    at.require(
                        dual_clip > 1.0 && dual_clip.is_finite(),
                        "dual_clip",
                        "must be finite and more than 1",
                        dual_clip,
                    );
                }
            }
            Self::Cispo { max_ratio } => at.positive("max_ratio", max_ratio),
            Self::Sapo { temperature_positive, temperature_negative } => {
                at.positive("temperature_positive", temperature_positive);
                at.positive("temperature_negative", temperature_negative);
            }
            Self::GeometricMean { .. } | Self::Reinforce => {}
        }
    }
}

fn check_clip(clip_low: f64, clip_high: f64, at: &mut Violations) {
    at.require(0.0 < clip_low && clip_low < 1.0, "clip_low", "must be in (0, 1)", clip_low);
    at.positive("clip_high", clip_high);
}
