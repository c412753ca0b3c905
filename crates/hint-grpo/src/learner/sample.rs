//! The training sample: a response with its contexts, its loss mask and its weights.

use std::sync::Arc;

use hint_policy::{TokenBatch, TokenRow};
use hint_rollout::PolicyVersion;
use hint_rollout::sample::RolloutSource;
use tch::Device;

use crate::error::GrpoError;

/// The prompts that one response is scored under. Prompts that are equal may share their tokens.
///
/// ```
/// use hint_grpo::learner::Contexts;
///
/// // Sampled with a hint, and trained on the plain prompt.
/// let contexts = Contexts::plain([1, 2]).with_sampled([1, 2, 7]);
/// assert_eq!(contexts.numerator, contexts.plain);
/// assert_eq!(*contexts.sampled, [1, 2, 7]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contexts {
    /// The prompt of the ratio's numerator, which `π_θ` conditions on.
    pub numerator: Arc<[u32]>,
    /// The prompt of the ratio's denominator; `None` where the denominator is 1.
    pub denominator: Option<Arc<[u32]>>,
    /// The plain prompt, without any hint.
    pub plain: Arc<[u32]>,
    /// The prompt that the response was sampled from.
    pub sampled: Arc<[u32]>,
    /// The hinted prompt that teaches the response; `None` where no hint does.
    pub teacher: Option<Arc<[u32]>>,
    /// The hinted prompt that the teacher's is compared with; `None` where that is the plain prompt.
    pub contrast: Option<Arc<[u32]>>,
}

impl Contexts {
    /// The same prompt everywhere.
    pub fn plain(prompt: impl Into<Arc<[u32]>>) -> Self {
        let plain = prompt.into();
        Self {
            numerator: Arc::clone(&plain),
            denominator: Some(Arc::clone(&plain)),
            sampled: Arc::clone(&plain),
            plain,
            teacher: None,
            contrast: None,
        }
    }

    /// Sets the prompt that the response was sampled from.
    #[must_use]
    pub fn with_sampled(mut self, prompt: impl Into<Arc<[u32]>>) -> Self {
        self.sampled = prompt.into();
        self
    }

    /// Sets the hinted prompt that teaches the response, and the one that it is compared with.
    #[must_use]
    pub fn with_teacher(mut self, teacher: Arc<[u32]>, contrast: Option<Arc<[u32]>>) -> Self {
        (self.teacher, self.contrast) = (Some(teacher), contrast);
        self
    }

    /// Sets the prompts of the ratio's numerator and denominator.
    #[must_use]
    pub fn with_ratio(mut self, numerator: Arc<[u32]>, denominator: Option<Arc<[u32]>>) -> Self {
        (self.numerator, self.denominator) = (numerator, denominator);
        self
    }
}

/// Choice among a sample's prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    Numerator,
    Denominator,
    Plain,
    Sampled,
    Teacher,
    Contrast,
}

/// One response, ready to train on. It may be part of the policy objective, of the supervised loss,
/// or of both.
///
/// ```
/// use hint_grpo::learner::Sample;
///
/// // Three tokens, the second of which a tool wrote.
/// let sample = Sample::new(0, [1, 2], vec![3, 4, 5], vec![-0.3, 0.0, -1.2])
///     .with_advantage(1.0)
///     .with_loss_mask(vec![true, false, true]);
/// assert_eq!(sample.trained_tokens(), 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Index of its group within the batch.
    pub group: usize,
    /// Source of the sample. The supervised loss takes one mean for each source.
    pub source: RolloutSource,
    /// The weights that sampled it.
    pub version: PolicyVersion,
    /// The prompts that it is scored under.
    pub contexts: Contexts,
    /// The response. Token ids; may be empty, which counts in denominators and trains nothing.
    pub response: Vec<u32>,
    /// Tokens of the response that the policy is responsible for. The others, such as the answers of
    /// a tool, are conditioned on but neither train nor count. One per token.
    pub loss_mask: Vec<bool>,
    /// Log-probabilities under the distribution that drew the tokens, in nats. One per token.
    pub behavior_logprobs: Vec<f64>,
    /// Advantage of the response.
    pub advantage: f64,
    /// Whether the rewards of its group are all equal.
    pub zero_variance: bool,
    /// Factor of its policy objective; `None` where it is no part of it. Not negative.
    pub policy_weight: Option<f64>,
    /// Factor of its supervised loss; `None` where it is no part of it. Not negative.
    pub sft_weight: Option<f64>,
}

impl Sample {
    /// A response to a plain prompt, sampled by the current policy with these log-probabilities.
    pub fn new(
        group: usize,
        prompt: impl Into<Arc<[u32]>>,
        response: Vec<u32>,
        behavior_logprobs: Vec<f64>,
    ) -> Self {
        Self {
            group,
            source: RolloutSource::Plain,
            version: PolicyVersion::default(),
            contexts: Contexts::plain(prompt),
            loss_mask: vec![true; response.len()],
            response,
            behavior_logprobs,
            advantage: 0.0,
            zero_variance: false,
            policy_weight: None,
            sft_weight: None,
        }
    }

    /// A response that is imitated, with a factor of its supervised loss.
    pub fn demonstration(
        group: usize,
        prompt: impl Into<Arc<[u32]>>,
        response: Vec<u32>,
        sft_weight: f64,
    ) -> Self {
        // The distribution that a demonstration comes from draws nothing else.
        let behavior_logprobs = vec![0.0; response.len()];
        let mut sample = Self::new(group, prompt, response, behavior_logprobs);
        (sample.source, sample.sft_weight) = (RolloutSource::Demonstration, Some(sft_weight));
        sample
    }

    /// Makes it part of the policy objective, with this advantage and a factor of 1.
    #[must_use]
    pub fn with_advantage(mut self, advantage: f64) -> Self {
        (self.advantage, self.policy_weight) = (advantage, Some(1.0));
        self
    }

    /// Sets its source.
    #[must_use]
    pub fn with_source(mut self, source: RolloutSource) -> Self {
        self.source = source;
        self
    }

    /// Sets the prompts that it is scored under.
    #[must_use]
    pub fn with_contexts(mut self, contexts: Contexts) -> Self {
        self.contexts = contexts;
        self
    }

    /// Sets which tokens of the response the policy is responsible for.
    #[must_use]
    pub fn with_loss_mask(mut self, loss_mask: Vec<bool>) -> Self {
        self.loss_mask = loss_mask;
        self
    }

    /// Number of tokens that train.
    pub fn trained_tokens(&self) -> usize {
        self.loss_mask.iter().filter(|trains| **trains).count()
    }

    /// Whether it came about with a hint.
    pub fn is_hinted(&self) -> bool {
        self.source != RolloutSource::Plain
    }

    /// Whether the engine's log-probabilities equal the ratio's denominator under the weights that
    /// sampled it.
    pub(crate) fn has_engine_denominator(&self) -> bool {
        let sampled = Some(&self.contexts.sampled);
        self.source != RolloutSource::Demonstration && self.contexts.denominator.as_ref() == sampled
    }

    /// Whether it is a demonstration, or taken for one: its ratio has no denominator.
    pub(crate) fn is_demonstration(&self) -> bool {
        self.source == RolloutSource::Demonstration || self.contexts.denominator.is_none()
    }

    /// Whether its tokens were drawn from another prompt than the ratio's denominator conditions on.
    pub(crate) fn is_drawn_elsewhere(&self) -> bool {
        !self.is_demonstration()
            && self.contexts.denominator.as_ref() != Some(&self.contexts.sampled)
    }

    /// Whether a hint teaches it.
    pub(crate) const fn is_taught(&self) -> bool {
        self.contexts.teacher.is_some()
    }

    /// Whether numerator and denominator of its ratio condition on the same prompt.
    pub(crate) fn has_same_context(&self) -> bool {
        self.contexts.denominator.as_ref() == Some(&self.contexts.numerator)
    }

    /// One of its prompts.
    pub(crate) fn context(&self, context: Context) -> &[u32] {
        let Contexts { numerator, denominator, plain, sampled, teacher, contrast } = &self.contexts;
        match context {
            Context::Numerator => numerator,
            Context::Denominator => denominator.as_ref().unwrap_or(numerator),
            Context::Plain => plain,
            Context::Sampled => sampled,
            Context::Teacher => teacher.as_ref().unwrap_or(plain),
            Context::Contrast => contrast.as_ref().unwrap_or(plain),
        }
    }

    /// Tokens of a row with the prompt `context`.
    pub(crate) fn row_len(&self, context: Context) -> usize {
        self.context(context).len() + self.response.len()
    }

    /// `(value, token)` of the tokens that train.
    pub(crate) fn trained<'v, T: Copy>(&'v self, values: &'v [T]) -> impl Iterator<Item = T> + 'v {
        self.loss_mask.iter().zip(values).filter(|(trains, _)| **trains).map(|(_, value)| *value)
    }
}

/// The samples of a step.
///
/// ```
/// use hint_grpo::learner::{Sample, SampleBatch};
///
/// // A group of a good and a bad completion.
/// let sample = |advantage| Sample::new(0, [1, 2], vec![3], vec![-0.3]).with_advantage(advantage);
/// let batch = SampleBatch::new(1, vec![sample(1.0), sample(-1.0)]);
/// assert_eq!(batch.samples.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SampleBatch {
    /// Number of groups; minibatches are made of whole groups.
    pub groups: usize,
    /// The samples, by group.
    pub samples: Vec<Sample>,
}

impl SampleBatch {
    /// The samples of `groups` groups.
    pub const fn new(groups: usize, samples: Vec<Sample>) -> Self {
        Self { groups, samples }
    }

    /// Whether any sample is part of the policy objective.
    pub(crate) fn has_policy_samples(&self) -> bool {
        self.samples.iter().any(|sample| sample.policy_weight.is_some())
    }

    /// A checksum of everything that trains.
    pub(crate) fn checksum(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        for sample in &self.samples {
            let Contexts { numerator, denominator, teacher, contrast, .. } = &sample.contexts;
            let prompts =
                [Some(numerator), denominator.as_ref(), teacher.as_ref(), contrast.as_ref()];
            let prompts = prompts.into_iter().map(|prompt| prompt.map_or(&[][..], |prompt| prompt));
            for tokens in prompts.chain([sample.response.as_slice()]) {
                hasher.update(&(tokens.len() as u64).to_le_bytes());
                for token in tokens {
                    hasher.update(&token.to_le_bytes());
                }
            }
            let mask = sample.loss_mask.iter().map(|trains| u8::from(*trains));
            hasher.update(&mask.collect::<Vec<_>>());
            let weights = [sample.policy_weight, sample.sft_weight].map(|one| one.unwrap_or(-1.0));
            let numbers =
                weights.iter().chain([&sample.advantage]).chain(&sample.behavior_logprobs);
            for number in numbers {
                hasher.update(&number.to_le_bytes());
            }
        }
        format!("{}-{:08x}", self.samples.len(), hasher.finalize())
    }

    /// Checks that every column has one value per token.
    pub(crate) fn check(&self) -> Result<(), GrpoError> {
        for (index, sample) in self.samples.iter().enumerate() {
            let expected = sample.response.len();
            let columns = [
                ("loss_mask", sample.loss_mask.len()),
                ("behavior_logprobs", sample.behavior_logprobs.len()),
            ];
            if let Some((column, found)) = columns.into_iter().find(|(_, len)| *len != expected) {
                return Err(GrpoError::SampleColumn { index, column, found, expected });
            }
            if sample.group >= self.groups {
                let (found, groups) = (sample.group, self.groups);
                return Err(GrpoError::SampleGroup { index, found, groups });
            }
        }
        Ok(())
    }
}

/// The token batch of `samples`.
pub(crate) fn token_batch(
    samples: &[&Sample],
    context: Context,
    device: Device,
) -> Result<TokenBatch, GrpoError> {
    let rows = samples
        .iter()
        .map(|sample| TokenRow { prompt: sample.context(context), completion: &sample.response });
    Ok(TokenBatch::new(&rows.collect::<Vec<_>>(), device)?)
}
