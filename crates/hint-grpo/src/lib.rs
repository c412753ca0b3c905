//! Group-relative policy optimisation with hints.
//!
//! The trainer samples groups (with a second, hinted stage where the first one failed), turns
//! rewards into advantages and takes optimizer steps on a loss that is put together from small
//! parts. Each part is a trait of one method or a closed enum, and none knows of the others: an
//! objective does not reduce, an aggregation does not clip, and which prompt the importance ratio
//! conditions on is decided in one place, [`RatioScheme`], that no loss can see. So every
//! combination works, and a new idea is a few lines.
//!
//! The denominators of a step count the whole step, so the gradient does not depend on how its rows
//! are split into micro-batches; and all randomness is derived from the seed and the step, so a run
//! that was killed and resumed ends with the same bytes as one that was not.
//!
//! ```
//! use hint_grpo::{AdvantageEstimator, Baseline, GroupNormalized, ScoredGroup};
//!
//! let group = ScoredGroup::new("problem-1", &[1.0, 0.0, 0.0, 1.0]);
//! let advantages = GroupNormalized::new(Baseline::Group {}).estimate(&group)?;
//! assert!(advantages[0] > 0.8 && advantages[1] < -0.8);
//! # Ok::<(), hint_grpo::GrpoError>(())
//! ```
//!
//! | item | what it is |
//! |---|---|
//! | [`Trainer`], [`GrpoConfig`] | the training loop, and its hyper-parameters |
//! | [`AdvantageEstimator`], [`Baseline`] | from rewards to advantages |
//! | [`PolicyLoss`], [`LossComposition`], [`Aggregation`], [`KlConfig`] | the parts of a loss |
//! | [`SupervisedTrainer`], [`NllTerm`] | learning from demonstrations, alone or next to an objective |
//! | [`RatioScheme`] | which prompt the ratio conditions on |
//! | [`Optimizer`], [`AdamW`] | from gradients to weights |
//! | [`Observer`], [`Metrics`] | what a run reports |
//! | [`EvaluationConfig`] | which problems are held out, and when and how they are evaluated |
//! | [`RunDir`] | the files of a run: metrics, timings, checkpoints |
//!
//! # Panics
//!
//! libtorch reports running out of memory as a panic of the tensor operation that needed it.

#![forbid(unsafe_code)]

mod error;

mod config;

mod advantage;

mod aggregation;

mod kl;

mod loss;

mod ratio_scheme;

mod old_policy;

mod help_weight;

mod batch;

mod packing;

mod optim;

mod schedule;

pub mod metrics;

mod observer;

pub mod prelude;

mod warning;

mod run_dir;

mod supervised;

mod trainer;

pub use advantage::{
    AdvantageEstimator, Baseline, BatchNormalized, GroupNormalized, LeaveOneOut, QuantileBaseline,
    ScoredGroup, Whitened,
};
pub use aggregation::{Aggregation, StepTotals};
pub use config::{
    AdvantageConfig, AlgorithmConfig, ConfigError, EvaluationConfig, GrpoConfig, ObjectiveConfig,
    OptimizerConfig, RunConfig, StaleGroups,
};
pub use error::GrpoError;
pub use help_weight::{HelpWeight, RatioShaping};
pub use kl::{KlConfig, KlEstimator, KlGroups};
pub use loss::{
    Cispo, ClippedSurrogate, FnLoss, GeometricMean, ImportanceCorrection, ImportanceLevel,
    LossComposition, LossInput, PolicyLoss, RatioLevel, Reinforce, Sapo, ShapedRatio, TokenLoss,
    loss_from_fn,
};
pub use metrics::Metrics;
pub use observer::{FnObserver, Observer, Phase, StepReport, Timings, observer_from_fn};
pub use old_policy::OldLogprobs;
pub use optim::{
    Adafactor, AdafactorConfig, AdamW, AdamWConfig, GroupedParameter, GuardConfig, Muon,
    MuonConfig, MuonScale, Optimizer, ParameterGroup, Sgd, SgdConfig, clip_grad_norm,
    group_parameters,
};
pub use ratio_scheme::RatioScheme;
pub use run_dir::RunDir;
pub use schedule::{Decay, ScheduleConfig};
pub use supervised::{
    Demonstration, LearnedTokens, NllRow, NllTerm, SupervisedConfig, SupervisedTrainer,
    SupervisedTrainerBuilder,
};
pub use trainer::{Outcome, SupervisedTerm, Trainer, TrainerBuilder};
pub use warning::Warning;
