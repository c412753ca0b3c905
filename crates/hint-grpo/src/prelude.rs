//! What most programs need, from all crates: `use hint_grpo::prelude::*;`.

pub use hint_policy::{
    LoadOptions, LoadedModel, Parameter, Policy, PolicyError, SharedPolicy, TokenBatch, TokenRow,
    tch,
};
pub use hint_reward::{
    ExactMatch, Judgment, MathVerifier, Reward, RewardError, RewardInput, Rubric, Verdict, Verifier,
};
pub use hint_rollout::{
    ChatFormat, Collector, Completion, DatasetHints, GenerationRequest, Hint, HintProvider,
    HintRequest, HintTemplate, LocalEngine, PolicyVersion, Problem, PromptFormat, RolloutEngine,
    RolloutError, Sampling, Seed, StopReason, TextFormat, WeightSource, read_problems,
};

pub use crate::{
    AdvantageEstimator, GrpoConfig, GrpoError, LossInput, Metrics, Observer, Optimizer, PolicyLoss,
    RunDir, StepReport, TokenLoss, Trainer, metrics, observer_from_fn,
};
