//! The weight axis: factors of the loss of hinted samples, and the shape of their ratio.

use std::collections::BTreeMap;

use hint_affinity::{AffinityAccumulator, AffinityVariant, ClipRange};
use hint_rollout::error::Violations;
use hint_rollout::run::no_fields;
use hint_rollout::run::{RunProgress, ValueSchedule};
use serde::{Deserialize, Serialize};

use crate::error::GrpoError;

/// Inputs of a [`HintedWeight`] from one hinted sample.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HintedSample<'a> {
    /// Index of its group within the batch.
    pub group: usize,
    /// Advantage of the response.
    pub advantage: f64,
    /// Tokens of the response that train. One per token.
    pub loss_mask: &'a [bool],
    /// `log π_θ − log π_old` of each token, in nats; empty unless [`WeightNeeds::log_ratios`].
    pub log_ratios: &'a [f64],
    /// `log π_old(y_t | x) − log π_old(y_t | x⊕h)` of each token, in nats; empty unless
    /// [`WeightNeeds::off_context`].
    pub off_context: &'a [f64],
}

impl<'a> HintedSample<'a> {
    /// The entries of `values`, one per token, whose tokens train.
    pub fn trained(&self, values: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        self.loss_mask.iter().zip(values).filter(|(trains, _)| **trains).map(|(_, value)| *value)
    }
}

/// Progress of a run when weights are computed, and its band of Affinity.
///
/// ```
/// use hint_affinity::ClipRange;
/// use hint_grpo::objective::WeightContext;
/// use hint_rollout::run::RunProgress;
///
/// let context = WeightContext::new(RunProgress::new(30, 40), ClipRange::symmetric(0.2)?);
/// assert_eq!(context.progress.fraction(), 0.75);
/// # Ok::<(), hint_affinity::AffinityError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct WeightContext {
    /// Progress of the run.
    pub progress: RunProgress,
    /// The band of ratios that counts as inside the policy.
    pub band: ClipRange,
}

impl WeightContext {
    /// A context.
    pub const fn new(progress: RunProgress, band: ClipRange) -> Self {
        Self { progress, band }
    }
}

/// Log-probabilities that a [`HintedWeight`] reads. Each may cost a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WeightNeeds {
    /// [`HintedSample::log_ratios`].
    pub log_ratios: bool,
    /// [`HintedSample::off_context`].
    pub off_context: bool,
}

/// Factors of the loss of hinted samples.
#[derive(Debug, Clone, PartialEq)]
pub enum HintedFactors {
    /// One per sample, of its whole loss.
    Samples(Vec<f64>),
    /// One per token, one sample after the other: of its objective, not of its KL term.
    Tokens(Vec<f64>),
}

/// A factor of the loss of hinted samples, not differentiated. The product of all factors counts; plain
/// samples have a factor of 1.
///
/// ```
/// use hint_grpo::objective::{HintedFactors, HintedSample, HintedWeight, WeightContext};
/// use hint_grpo::GrpoError;
///
/// /// Halves the loss of hinted failures.
/// struct SoftFailures;
///
/// impl HintedWeight for SoftFailures {
///     fn weigh(
///         &self,
///         samples: &[HintedSample<'_>],
///         _context: WeightContext,
///     ) -> Result<HintedFactors, GrpoError> {
///         let factor = |sample: &HintedSample<'_>| if sample.advantage < 0.0 { 0.5 } else { 1.0 };
///         Ok(HintedFactors::Samples(samples.iter().map(factor).collect()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no weight of hinted samples",
    note = "implement its method `weigh`; `hint_grpo::objective::HintedWeightConfig` holds known ones"
)]
pub trait HintedWeight: Send {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of its
    /// type: a part with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Log-probabilities that it reads. None by default.
    fn needs(&self) -> WeightNeeds {
        WeightNeeds::default()
    }

    /// The factors of `samples`: all hinted samples of one optimizer step, at least one.
    ///
    /// # Errors
    ///
    /// A user's own error through [`GrpoError::other`].
    fn weigh(
        &self,
        samples: &[HintedSample<'_>],
        context: WeightContext,
    ) -> Result<HintedFactors, GrpoError>;
}

impl<W: HintedWeight + ?Sized> HintedWeight for Box<W> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn needs(&self) -> WeightNeeds {
        (**self).needs()
    }

    fn weigh(
        &self,
        samples: &[HintedSample<'_>],
        context: WeightContext,
    ) -> Result<HintedFactors, GrpoError> {
        (**self).weigh(samples, context)
    }
}

/// A [`HintedWeight`] that a configuration can name. A configuration lists any number of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HintedWeightConfig {
    /// `Affinity^λ` of the group's hinted samples. (AFF-3)
    Affinity {
        /// `λ`. Not negative. (HINT reference: 1)
        exponent: f64,
        /// Formula of Affinity.
        #[serde(default)]
        variant: AffinityVariant,
    },
    /// Per token, how much less likely it was without the hint:
    ///
    /// ```text
    /// w_t = clamp( ( π_old(y_t | x) / π_old(y_t | x⊕h) )^exponent, min, max )         (HINTED-1)
    /// ```
    ///
    /// With an exponent of −1 a token counts for more the more likely the hint made it.
    ///
    /// It multiplies the objective, not the KL term. Source: (HINTED-1) in [the book](../../../book/math.html#hinted-completions).
    OffContext {
        /// In `[−8, 8]`. (OC-GRPO: 1)
        #[serde(default = "one")]
        exponent: f64,
        /// Lower bound. Not negative.
        min: f64,
        /// Upper bound. Not below `min`.
        max: f64,
    },
    /// A value over the run.
    Schedule {
        /// Not negative.
        value: ValueSchedule,
    },
}

const fn one() -> f64 {
    1.0
}

impl HintedWeightConfig {
    /// Whether it is 1 everywhere, so that nothing has to be computed.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self, Self::Affinity { exponent, .. } if *exponent == 0.0)
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        match *self {
            Self::Affinity { exponent, .. } => at.not_negative("exponent", exponent),
            Self::OffContext { exponent, min, max } => {
                let in_range = (-8.0..=8.0).contains(&exponent);
                at.require(in_range, "exponent", "must be in [-8, 8]", exponent);
                at.bounds(min, max);
            }
            Self::Schedule { value } => {
                let holds = value.all(|value| value >= 0.0 && value.is_finite());
                let found = format!("{value:?}");
                at.require(holds, "value", "must be finite and not negative", found);
            }
        }
    }
}

impl HintedWeight for HintedWeightConfig {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn needs(&self) -> WeightNeeds {
        WeightNeeds {
            log_ratios: matches!(self, Self::Affinity { .. }) && !self.is_one(),
            off_context: matches!(self, Self::OffContext { .. }),
        }
    }

    fn weigh(
        &self,
        samples: &[HintedSample<'_>],
        context: WeightContext,
    ) -> Result<HintedFactors, GrpoError> {
        Ok(match *self {
            Self::Affinity { exponent, variant } => {
                let groups = group_affinity(samples, context.band, exponent, variant)?;
                HintedFactors::Samples(samples.iter().map(|one| groups[&one.group]).collect())
            }
            Self::OffContext { exponent, min, max } => {
                let weight = |ratio: &f64| (exponent * ratio).exp().clamp(min, max);
                let ratios = samples.iter().flat_map(|sample| sample.off_context);
                HintedFactors::Tokens(ratios.map(weight).collect())
            }
            Self::Schedule { value } => {
                HintedFactors::Samples(vec![value.at(context.progress); samples.len()])
            }
        })
    }
}

/// Affinity weights by group. (AFF-3) (Deviation D8)
fn group_affinity(
    samples: &[HintedSample<'_>],
    band: ClipRange,
    exponent: f64,
    variant: AffinityVariant,
) -> Result<BTreeMap<usize, f64>, GrpoError> {
    let mut groups = BTreeMap::new();
    for sample in samples {
        let accumulator: &mut AffinityAccumulator = groups
            .entry(sample.group)
            .or_insert_with(|| AffinityAccumulator::with_variant(band, variant));
        for log_ratio in sample.trained(sample.log_ratios) {
            accumulator.push(log_ratio, sample.advantage.abs())?;
        }
    }
    let weight = |accumulator: AffinityAccumulator| accumulator.affinity().weight(exponent);
    Ok(groups.into_iter().map(|(group, accumulator)| (group, weight(accumulator))).collect())
}

/// Whether the objective of hinted samples is a shaped ratio, without any clip, instead of the
/// configured one.
///
/// ```text
/// ℓ_t = −Â_t r_t / (r_t + γ)                                                          (HINTED-2)
/// ```
///
/// The slope is largest where the ratio is small, so tokens that the policy finds unlikely learn most.
/// Source: (HINTED-2) in [the book](../../../book/math.html#hinted-completions).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RatioShaping {
    /// No: hinted samples have the configured objective.
    #[serde(deserialize_with = "no_fields")]
    Off,
    /// Yes, with a fixed `γ` (LUFFY: 0.1).
    Fixed {
        /// Positive.
        gamma: f64,
    },
    /// Yes, with `γ` a quantile of the ratios of all hinted tokens of the optimizer step
    /// (Guide-GRPO: 0.9).
    Quantile {
        /// In `(0, 1)`.
        quantile: f64,
    },
}

impl RatioShaping {
    pub(crate) fn check(self, at: &mut Violations) {
        match self {
            Self::Off => {}
            Self::Fixed { gamma } => at.positive("gamma", gamma),
            Self::Quantile { quantile } => {
                let holds = 0.0 < quantile && quantile < 1.0;
                at.require(holds, "quantile", "must be in (0, 1)", quantile);
            }
        }
    }
}
