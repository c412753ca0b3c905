//! Learning from demonstrations, for warm starts and baselines.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use hint_reward::verifier::VerifierConfig;
use hint_rollout::data::Problems;
use hint_rollout::error::Violations;
use hint_rollout::run::RunProgress;
use hint_rollout::{Collector, Problem, RolloutError, Seed};

use crate::config::{GrpoConfig, LearnedTokens, RunConfig, SftConfig};
use crate::error::{ConfigError, GrpoError};
use crate::learner::{LearnerParts, Sample, SampleBatch, SftLoss};
use crate::metrics::{self, Metrics};
use crate::stage::{Batch, Stage, check_collector, fingerprint};

/// A prompt with the completion that is to be learned.
///
/// ```
/// use hint_grpo::Demonstration;
///
/// // Three tokens, the second of which a tool wrote.
/// let demonstration = Demonstration::new("p1", vec![1, 2], vec![3, 4, 5])
///     .with_loss_mask(vec![true, false, true])
///     .with_weight(0.5);
/// assert_eq!(demonstration.completion.len(), demonstration.loss_mask.len());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Demonstration {
    /// Name of the demonstration, for the fingerprint of a run's data.
    pub id: String,
    /// The prompt. Token ids, at least one.
    pub prompt: Vec<u32>,
    /// The completion, with the token that ends it. Token ids.
    pub completion: Vec<u32>,
    /// Tokens of the completion that are learned: the answers of a tool, say, are conditioned on alone. One per token;
    /// all by default.
    pub loss_mask: Vec<bool>,
    /// Factor of its loss. Not negative; 1 by default.
    pub weight: f64,
}

impl Demonstration {
    /// A demonstration of weight 1.
    pub fn new(id: impl Into<String>, prompt: Vec<u32>, completion: Vec<u32>) -> Self {
        let loss_mask = vec![true; completion.len()];
        Self { id: id.into(), prompt, completion, loss_mask, weight: 1.0 }
    }

    /// Sets which tokens of the completion are learned.
    #[must_use]
    pub fn with_loss_mask(mut self, loss_mask: Vec<bool>) -> Self {
        self.loss_mask = loss_mask;
        self
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
        // Tokens of the prompt are learned, too, where the response begins before them.
        let learned = vec![true; self.prompt.len() - context];
        let loss_mask = [learned.as_slice(), &self.loss_mask].concat();
        Sample::demonstration(group, prompt, response.to_vec(), self.weight)
            .with_loss_mask(loss_mask)
    }
}

/// Trains on demonstrations, `run.prompts_per_step` of them in a step, epoch after epoch. (SFT-1)
///
/// ```
/// use hint_grpo::stage::Supervised;
/// use hint_grpo::{Demonstration, GrpoConfig, Run};
/// # use hint_policy::SharedPolicy;
///
/// # fn example(policy: SharedPolicy) -> Result<(), Box<dyn std::error::Error>> {
/// let config = GrpoConfig::from_toml("run = { steps = 100 }")?;
/// let demonstrations = vec![Demonstration::new("p1", vec![1, 2], vec![3])];
/// // As `SupervisedTrainer::builder(policy, config)` does.
/// let run = Run::of_stage(Supervised::new(&config), policy, config);
/// run.build()?.run(&demonstrations)?;
/// # Ok(())
/// # }
/// ```
pub struct Supervised {
    run: RunConfig,
    sft: SftConfig,
    verifier: VerifierConfig,
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
    pub fn new(config: &GrpoConfig) -> Self {
        let verifier = config.verifier.clone();
        Self { run: config.run, sft: config.sft, verifier, evaluator: None }
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

    /// Ids, tokens, masks and weights, in order.
    fn fingerprints(
        demonstrations: &[Demonstration],
    ) -> Result<BTreeMap<String, String>, GrpoError> {
        let bytes = |demonstration: &Demonstration| {
            let tokens =
                demonstration.prompt.iter().chain([&u32::MAX]).chain(&demonstration.completion);
            let mut bytes = demonstration.id.clone().into_bytes();
            bytes.extend(tokens.flat_map(|token| token.to_le_bytes()));
            bytes.extend(demonstration.weight.to_le_bytes());
            if demonstration.loss_mask.contains(&false) {
                bytes.extend(demonstration.loss_mask.iter().map(|learned| u8::from(*learned)));
            }
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

    /// What decides the numbers of an evaluator. These are an engine and a format of one's own, and a rubric whose
    /// verdicts are not the configured verifier's.
    fn custom_parts(&self) -> BTreeMap<String, String> {
        let of_evaluator = self.evaluator.iter().flat_map(Collector::custom_parts);
        let mut parts = of_evaluator
            .filter(|(axis, _)| ["engine", "format"].contains(axis))
            .map(|(axis, name)| (axis.to_owned(), name))
            .collect::<BTreeMap<_, _>>();
        let configured = self.verifier.build().map(|verifier| verifier.name());
        let own =
            self.evaluator.as_ref().map(Collector::rubric).filter(|own| {
                configured.is_ok_and(|configured| own.verdict_source() != configured)
            });
        parts.extend(own.map(|own| ("rubric".to_owned(), format!("own {}", own.description()))));
        parts
    }

    fn check_parts(&self, config: &GrpoConfig, parts: &LearnerParts) -> Result<(), GrpoError> {
        if let Some(evaluator) = &self.evaluator {
            check_collector(config, evaluator)?;
        }
        let LearnerParts { objective, credit, hinted_weights, reference, teacher, .. } = parts;
        let unused = [
            ("objective", objective.is_some()),
            ("credit", credit.is_some()),
            ("hinted_weight", !hinted_weights.is_empty()),
            ("reference", reference.is_some()),
            ("teacher", teacher.is_some()),
        ];
        Ok(Violations::check(|at| {
            for (part, is_given) in unused {
                let expected = "must not be given: supervised training does not use it";
                at.require(!is_given, part, expected, "a part of the builder");
            }
        })
        .map_err(ConfigError::from)?)
    }

    fn collector(&mut self) -> Option<&mut Collector> {
        self.evaluator.as_mut()
    }
}
