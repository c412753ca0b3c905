//! The items that most programs need, from all crates: `use hint_grpo::prelude::*;`.

pub use hint_policy::{
    LoadOptions, LoadedModel, Parameter, Policy, PolicyError, SharedPolicy, TokenBatch, TokenRow,
    tch,
};
pub use hint_reward::{
    ExactMatch, Judgment, MathVerifier, Reward, RewardError, RewardInput, Rubric, Verdict,
    Verifier, verifier_from_fn,
};
pub use hint_rollout::prompt::HintTemplate;
pub use hint_rollout::{
    ChatFormat, Collector, Completion, DatasetHints, GenerationRequest, Hint, HintProvider,
    HintRequest, LocalEngine, PolicyVersion, Problem, PromptFormat, RolloutEngine, RolloutError,
    Sampling, Seed, StopReason, TextFormat, WeightSource, hints_from_fn, read_problems,
};

pub use crate::advantage::AdvantageEstimator;
pub use crate::config::GrpoConfig;
pub use crate::error::GrpoError;
pub use crate::metrics::{self, Metrics};
pub use crate::objective::{LossInput, LossMetrics, PolicyLoss, TokenLoss, loss_from_fn};
pub use crate::observer::{Observer, StepReport, observer_from_fn};
pub use crate::optim::Optimizer;
pub use crate::run::{Hints, Parts, Rewards, Trainer};
pub use crate::run_dir::RunDir;
