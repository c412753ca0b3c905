//! What a program brings to a run of policy gradient.

use hint_policy::SharedPolicy;
use hint_reward::Rubric;
use hint_rollout::net::ApiKey;
use hint_rollout::{Collector, HintProvider};
use hint_rollout::{PromptFormat, RolloutEngine};

use crate::config::GrpoConfig;
use crate::error::GrpoError;

/// What a program brings to a run of policy gradient, beside its configuration:
/// [`Trainer::from_config`](super::Trainer) makes the collector of both.
#[derive(Debug)]
pub struct Parts<E, F> {
    /// The policy that is trained.
    pub policy: SharedPolicy,
    /// What samples completions.
    pub engine: E,
    /// From problems to prompts, and back to text.
    pub format: F,
    /// What judges completions.
    pub rubric: Rubric,
    /// Where hints come from.
    pub hints: Hints,
}

impl<E: RolloutEngine + 'static, F: PromptFormat + 'static> Parts<E, F> {
    /// The policy, and the collector that `config.rollout` describes.
    pub(super) fn collector(
        self,
        config: &GrpoConfig,
    ) -> Result<(SharedPolicy, Collector), GrpoError> {
        let Self { policy, engine, format, rubric, hints } = self;
        let collector = Collector::new(engine, format, rubric, config.rollout.clone())?;
        let collector = match hints.0 {
            Source::Nothing => collector,
            Source::Configured(key) => collector.with_hints(config.rollout.source.build(key)?),
            Source::Own(provider) => collector.with_hints(provider),
        };
        Ok((policy, collector))
    }
}

/// Where the hints of a run come from.
pub struct Hints(Source);

/// Looks up what an environment variable holds.
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
    /// From nowhere, whatever the trigger: plain GRPO.
    pub const fn none() -> Self {
        Self(Source::Nothing)
    }

    /// From `rollout.source` of the configuration, if that needs no key.
    pub fn configured() -> Self {
        Self::configured_with(|_| None)
    }

    /// From `rollout.source` of the configuration. `key` returns what an environment variable holds, for a
    /// teacher that needs a key: libraries read no environment.
    pub fn configured_with(key: impl Fn(&str) -> Option<ApiKey> + 'static) -> Self {
        Self(Source::Configured(Box::new(key)))
    }

    /// From a provider of your own, in place of `rollout.source`. The run records its name.
    pub fn own(provider: impl HintProvider + 'static) -> Self {
        Self(Source::Own(Box::new(provider)))
    }
}
