//! Group-relative policy optimization with hints.
//!
//! A [`Trainer`] samples groups, with a second, hinted stage where the first one failed. It turns rewards into
//! advantages and takes optimizer steps on a loss of small parts. Each part is a small trait or a choice in the
//! configuration, and none depends on the others. An objective does not reduce, and an aggregation does not clip. Only
//! [`RatioScheme`](objective::RatioScheme), which no loss can see, chooses the prompt of the importance ratio. So every
//! combination works, and a new idea is a few lines.
//!
//! The denominators of a step count the whole step. So the gradient does not depend on the split of
//! its rows into micro-batches. All randomness is derived from the seed and the step. So a run that
//! was killed and resumed ends with the same bytes as one that was not.
//!
//! ```
//! use hint_grpo::advantage::{Baseline, GroupNormalized, ScoredGroup};
//! use hint_grpo::AdvantageEstimator;
//!
//! let group = ScoredGroup::new("problem-1", &[1.0, 0.0, 0.0, 1.0]);
//! let advantages = GroupNormalized::new(Baseline::Group).estimate(&group)?;
//! assert!(advantages[0] > 0.8 && advantages[1] < -0.8);
//! # Ok::<(), hint_grpo::GrpoError>(())
//! ```
//!
//! The themes are modules, in the order in which they build on each other:
//!
//! | module | content |
//! |---|---|
//! | [`metrics`], [`observer`] | reports of a run, and its observers |
//! | [`advantage`] | from rewards to advantages |
//! | [`objective`] | the loss: objectives, aggregation, KL term, ratio, weights of hinted samples |
//! | [`optim`] | from gradients to weights |
//! | [`rollout_table`] | every completion of a step, as a record and as a Parquet file |
//! | [`config`] | the configuration of a run |
//! | [`learner`] | from a batch of samples to optimizer steps |
//! | [`stage`] | where the samples come from: policy gradient, or demonstrations |
//! | [`run_dir`] | the files of a run: metrics, timings, checkpoints |
//! | [`run`] | the loop of steps, evaluations and checkpoints |
//! | [`verdict`] | the verdict on a run in words: its health, the fault, and the advice |
//! | [`prelude`] | the items that most programs import |
//!
//! Running out of memory is [`PolicyError::OutOfMemory`](hint_policy::PolicyError::OutOfMemory), not a panic.

#![forbid(unsafe_code)]

pub mod advantage;
pub mod config;
pub mod learner;
pub mod metrics;
pub mod objective;
pub mod observer;
pub mod optim;
pub mod prelude;
pub mod rollout_table;
pub mod run;
pub mod run_dir;
pub mod stage;
pub mod verdict;

mod data_parallel;
mod error;
mod shared_file;
mod tensor;
mod warning;
mod weights;

pub use advantage::AdvantageEstimator;
pub use config::GrpoConfig;
pub use error::{ConfigError, GrpoError};
pub use learner::Learner;
pub use metrics::Metrics;
pub use objective::{Credit, HintedWeight, PolicyLoss, loss_from_fn};
pub use observer::{Observer, StepReport, observer_from_fn};
pub use optim::Optimizer;
pub use run::{Hints, Outcome, Parts, Rewards, Run, RunBuilder, SupervisedTrainer, Trainer};
pub use run_dir::RunDir;
pub use stage::{Demonstration, Stage};
pub use warning::Warning;
pub use weights::weight_tensors;
