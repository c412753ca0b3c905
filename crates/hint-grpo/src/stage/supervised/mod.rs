//! Learning from demonstrations, for warm starts and baselines.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use hint_rollout::data::Problems;
use hint_rollout::run::RunProgress;
use hint_rollout::{Collector, Problem, RolloutError, Seed};

use crate::config::{GrpoConfig, LearnedTokens, RunConfig, SftConfig};
use crate::error::GrpoError;
use crate::learner::{Sample, SampleBatch, SftLoss};
use crate::metrics::{self, Metrics};
use crate::stage::{Batch, Stage, fingerprint};

/// A prompt with the completion that is to be learned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Demonstration {
    /// Name of the demonstration, for the fingerprint of a run's data.
    pub id: String,
    /// The prompt. Token ids, at least one.
    pub prompt: Vec<u32>,
    /// The completion, with the token that ends it. Token ids.
    pub completion: Vec<u32>,
    /// Factor of its loss. Not negative; 1 by default.
    pub weight: f64,
}

impl Demonstration {
    /// A demonstration of weight 1.
    pub fn new(id: impl Into<String>, prompt: Vec<u32>, completion: Vec<u32>) -> Self {
        Self { id: id.into(), prompt, completion, weight: 1.0 }
    }

    /// Sets the factor of its loss.
    #[must_use]
    pub const fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Number of tokens, learned or not.
    fn len(&self) -> usize {
        self.prompt.len() + self.completion.len()
    }

    /// The training sample.
    fn sample(&self, group: usize, learned: LearnedTokens) -> Sample {
        let tokens = [self.prompt.as_slice(), &self.completion].concat();
        let context = match learned {
            LearnedTokens::Completion => self.prompt.len(),
            // Nothing predicts the first token.
            LearnedTokens::All => 1.min(self.prompt.len()),
        };
        let (prompt, response) = tokens.split_at(context);
        Sample::demonstration(group, prompt, response.to_vec(), self.weight)
    }
}

/// Trains on demonstrations, `run.prompts_per_step` of them in a step, epoch after epoch. (SFT-1)
pub struct Supervised {
    run: RunConfig,
    sft: SftConfig,
    /// Evaluates held-out problems.
    evaluator: Option<Collector>,
}

impl std::fmt::Debug for Supervised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervised").field("sft", &self.sft).finish_non_exhaustive()
    }
}

impl Supervised {
    /// A stage that evaluates nothing.
    pub const fn new(config: &GrpoConfig) -> Self {
        Self { run: config.run, sft: config.sft, evaluator: None }
    }

    /// Evaluates with the engine, the format and the rubric of `collector`.
    #[must_use]
    pub fn with_evaluator(mut self, collector: Collector) -> Self {
        self.evaluator = Some(collector);
        self
    }
}

impl Stage for Supervised {
    const NAME: &'static str = "supervised";
    const SAMPLES: bool = false;
    type Items = [Demonstration];

    fn is_empty(demonstrations: &[Demonstration]) -> bool {
        demonstrations.is_empty()
    }

    /// By their prompts, which the evaluator's format makes.
    fn find_held_out(
        &self,
        demonstrations: &[Demonstration],
        held_out: &dyn Problems,
    ) -> Result<Option<String>, GrpoError> {
        let Some(evaluator) = &self.evaluator else { return Ok(None) };
        let encode = |problem: Result<Cow<'_, Problem>, RolloutError>| {
            evaluator.format().encode(&*problem?, None)
        };
        let prompts = held_out.iter().map(encode).collect::<Result<HashSet<_>, _>>()?;
        let found = demonstrations.iter().find(|one| prompts.contains(&one.prompt));
        Ok(found.map(|one| one.id.clone()))
    }

    /// Ids, tokens and weights, in order.
    fn fingerprints(
        demonstrations: &[Demonstration],
    ) -> Result<BTreeMap<String, String>, GrpoError> {
        let bytes = |demonstration: &Demonstration| {
            let tokens =
                demonstration.prompt.iter().chain([&u32::MAX]).chain(&demonstration.completion);
            let mut bytes = demonstration.id.clone().into_bytes();
            bytes.extend(tokens.flat_map(|token| token.to_le_bytes()));
            bytes.extend(demonstration.weight.to_le_bytes());
            bytes
        };
        let items = demonstrations.iter().map(bytes).collect::<Vec<_>>();
        let all = fingerprint(items.iter().map(|item| [item.as_slice()]));
        Ok(BTreeMap::from([("demonstrations".to_owned(), all)]))
    }

    fn sft_loss(config: &GrpoConfig) -> SftLoss {
        SftLoss { aggregation: config.sft.aggregation, temperature: 1.0 }
    }

    fn next_batch(
        &mut self,
        demonstrations: &[Demonstration],
        progress: RunProgress,
    ) -> Result<Batch, GrpoError> {
        let count = self.run.prompts_per_step as u64;
        let positions = progress.step * count..(progress.step + 1) * count;
        let drawn = Seed::new(self.run.seed).epochs(demonstrations.len(), positions);
        let samples = drawn
            .iter()
            .enumerate()
            .map(|(group, &index)| demonstrations[index].sample(group, self.sft.tokens))
            .collect::<Vec<_>>();
        let tokens = samples.iter().map(Sample::trained_tokens).sum::<usize>() as u64;
        let seen = drawn.iter().map(|&index| demonstrations[index].len()).sum::<usize>();
        let mut metrics = Metrics::new();
        let epoch = ((progress.step + 1) * count) as f64 / demonstrations.len() as f64;
        metrics.set(metrics::EPOCH, epoch);
        Ok(Batch {
            samples: SampleBatch::new(samples.len(), samples),
            metrics,
            warnings: Vec::new(),
            tokens,
            num_tokens: (seen * self.run.num_iterations) as u64,
        })
    }

    fn collector(&mut self) -> Option<&mut Collector> {
        self.evaluator.as_mut()
    }
}
