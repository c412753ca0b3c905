//! Parts that a program brings to a run of policy gradient.

use hint_policy::SharedPolicy;
use hint_reward::{Rubric, Verifier};
use hint_rollout::hint::leak::LeakDetector;
use hint_rollout::net::ApiKey;
use hint_rollout::{Collector, HintProvider};
use hint_rollout::{PromptFormat, RolloutEngine};

use crate::config::GrpoConfig;
use crate::error::GrpoError;

/// Parts that a program brings to a run of policy gradient, beside its configuration.
/// [`Trainer::from_config`](super::Trainer) makes the collector of both.
///
/// ```no_run
/// use hint_grpo::prelude::*;
///
/// let model = LoadedModel::load("Qwen2.5-0.5B-Instruct", &LoadOptions::default())?;
/// let policy = SharedPolicy::new(model.policy);
/// let parts = Parts {
///     engine: LocalEngine::new(policy.clone(), model.stop_tokens.clone()),
///     format: ChatFormat::new(model.tokenizer.into(), model.stop_tokens),
///     policy,
///     rewards: Rewards::configured(),
///     hints: Hints::configured(),
/// };
/// let builder = Trainer::from_config(GrpoConfig::default(), parts)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Parts<E, F> {
    /// The policy that is trained.
    pub policy: SharedPolicy,
    /// Samples completions.
    pub engine: E,
    /// From problems to prompts, and back to text.
    pub format: F,
    /// Judges and rewards completions.
    pub rewards: Rewards,
    /// Source of hints.
    pub hints: Hints,
}

impl<E: RolloutEngine + 'static, F: PromptFormat + 'static> Parts<E, F> {
    /// The policy, the collector that `config.rollout` describes, and the description of a rubric that is
    /// not the configuration's.
    pub(super) fn collector(
        self,
        config: &GrpoConfig,
    ) -> Result<(SharedPolicy, Collector, Option<String>), GrpoError> {
        let Self { policy, engine, format, rewards, hints } = self;
        let (rubric, own) = match rewards.0 {
            Judge::Configured => (Rubric::new(verifier(config)?), None),
            Judge::Extended(extend) => {
                let rubric = extend(Rubric::new(verifier(config)?));
                let description = rubric.description();
                (rubric, Some(description))
            }
            Judge::Own(rubric) => {
                let description = format!("own {}", rubric.description());
                (rubric, Some(description))
            }
        };
        let leaks = LeakDetector::of(&config.verifier)
            .map_err(|error| GrpoError::other("verifier", error))?;
        let collector = Collector::new(engine, format, rubric, config.rollout.clone())?
            .with_leak_detector(leaks);
        let collector = match hints.0 {
            Source::Nothing => collector,
            Source::Configured(key) => collector.with_hints(config.rollout.source.build(key)?),
            Source::Own(provider) => collector.with_hints(provider),
        };
        Ok((policy, collector, own))
    }
}

fn verifier(config: &GrpoConfig) -> Result<Box<dyn Verifier>, GrpoError> {
    config.verifier.build().map_err(|error| GrpoError::other("verifier", error))
}

/// The judge and the rewards of a run's completions.
///
/// ```
/// use hint_grpo::Rewards;
/// use hint_reward::{MathVerifier, Rubric};
///
/// let verdict_alone = Rewards::configured();
/// let shaped = Rewards::configured_with(|rubric| {
///     rubric.with(0.1, hint_reward::from_fn("short", |input| f64::from(input.completion.len() < 400)))
/// });
/// let own = Rewards::own(Rubric::new(MathVerifier::new()));
/// # let _ = (verdict_alone, shaped, own);
/// ```
pub struct Rewards(Judge);

/// Adds to the rubric of the configured verifier.
type Extension = Box<dyn FnOnce(Rubric) -> Rubric>;

enum Judge {
    Configured,
    Extended(Extension),
    Own(Rubric),
}

impl std::fmt::Debug for Rewards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Judge::Configured => "Rewards::configured",
            Judge::Extended(_) => "Rewards::configured_with",
            Judge::Own(_) => "Rewards::own",
        })
    }
}

impl Rewards {
    /// The verifier of the configuration's `verifier`: 1 for a correct completion, else 0.
    pub const fn configured() -> Self {
        Self(Judge::Configured)
    }

    /// The verifier of the configuration with the additions of `extend`:
    /// `|rubric| rubric.with(0.1, BoxedOnce)`. The run records the parts with their weights.
    pub fn configured_with(extend: impl FnOnce(Rubric) -> Rubric + 'static) -> Self {
        Self(Judge::Extended(Box::new(extend)))
    }

    /// A rubric of your own, in place of the configuration's `verifier`. The run records its parts with
    /// their weights.
    pub const fn own(rubric: Rubric) -> Self {
        Self(Judge::Own(rubric))
    }
}

/// Source of a run's hints.
///
/// ```
/// use hint_grpo::Hints;
/// use hint_rollout::DatasetHints;
///
/// let of_the_configuration = Hints::configured();
/// let of_a_column = Hints::own(DatasetHints::column("direct_hint"));
/// # let _ = (of_the_configuration, of_a_column);
/// ```
pub struct Hints(Source);

/// Looks up the value of an environment variable.
type KeyLookup = Box<dyn Fn(&str) -> Option<ApiKey>>;

enum Source {
    Nothing,
    Configured(KeyLookup),
    Own(Box<dyn HintProvider>),
}

impl std::fmt::Debug for Hints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Source::Nothing => "Hints::none",
            Source::Configured(_) => "Hints::configured",
            Source::Own(_) => "Hints::own",
        })
    }
}

impl Hints {
    /// No hints, for any trigger: plain GRPO.
    pub const fn none() -> Self {
        Self(Source::Nothing)
    }

    /// From `rollout.source` of the configuration, if that needs no key.
    pub fn configured() -> Self {
        Self::configured_with(|_| None)
    }

    /// From `rollout.source` of the configuration. `key` returns the value of an environment variable, for
    /// a teacher that needs a key: libraries read no environment.
    pub fn configured_with(key: impl Fn(&str) -> Option<ApiKey> + 'static) -> Self {
        Self(Source::Configured(Box::new(key)))
    }

    /// From a provider of your own, in place of `rollout.source`. The run records its name.
    pub fn own(provider: impl HintProvider + 'static) -> Self {
        Self(Source::Own(Box::new(provider)))
    }
}
