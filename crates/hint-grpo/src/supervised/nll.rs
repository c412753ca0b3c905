//! The next-token loss on given tokens, as a term of any objective.

use hint_policy::{Policy, ScoreOptions, TokenBatch, TokenRow, TokenScores};
use tch::{Kind, Tensor};

use crate::batch::dim;
use crate::loss::add_masked;
use crate::packing::Packing;
use crate::{Aggregation, GrpoError, Metrics, StepTotals, metrics};

/// Tokens conditioned on, and tokens whose likelihood is raised.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct NllRow<'a> {
    /// The prompt. Token ids, at least one.
    pub prompt: &'a [u32],
    /// What follows it. Token ids; may be empty, which adds nothing.
    pub completion: &'a [u32],
    /// Whether the prompt is learned as well, all but its first token.
    pub learned_prompt: bool,
    /// Factor `w_i` of its loss. Not negative.
    pub weight: f64,
}

impl<'a> NllRow<'a> {
    /// A row of weight 1 whose completion is learned.
    pub const fn new(prompt: &'a [u32], completion: &'a [u32]) -> Self {
        Self { prompt, completion, learned_prompt: false, weight: 1.0 }
    }

    /// Learns the prompt as well.
    #[must_use]
    pub const fn with_learned_prompt(mut self) -> Self {
        self.learned_prompt = true;
        self
    }

    /// Sets the factor of its loss.
    #[must_use]
    pub const fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Number of tokens, learned or not.
    pub(crate) fn len(&self) -> usize {
        self.prompt.len() + self.completion.len()
    }

    /// Number of learned tokens.
    pub fn learned(&self) -> usize {
        let prompt = if self.learned_prompt { self.prompt.len().saturating_sub(1) } else { 0 };
        prompt + self.completion.len()
    }

    /// All its tokens, cut where learning begins.
    fn cut(&self, tokens: &'a [u32]) -> TokenRow<'a> {
        let (prompt, completion) = tokens.split_at(tokens.len() - self.learned());
        TokenRow { prompt, completion }
    }
}

/// The negative log-likelihood of given tokens, with a coefficient.
///
/// ```text
/// L = c · aggregate( − w_i log π_θ(y_it | x_i, y_i<t) )                                 (SFT-1)
/// ```
///
/// The denominators count all rows and all learned tokens of the step, so the gradient does not
/// depend on how the rows are split into micro-batches. Used alone by
/// [`SupervisedTrainer`](crate::SupervisedTrainer), and next to a policy objective for mixed ones.
///
/// ```
/// # use std::path::Path;
/// # use hint_policy::{Parameter, Policy, PolicyError, TokenBatch};
/// # use tch::{Device, Kind, Tensor};
/// # struct Bigram(Tensor);
/// # impl Policy for Bigram {
/// #     fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
/// #         Ok(Tensor::embedding(&self.0, tokens.tokens(), -1, false, false))
/// #     }
/// #     fn parameters(&self) -> Vec<Parameter> { Vec::new() }
/// #     fn device(&self) -> Device { Device::Cpu }
/// #     fn vocab_size(&self) -> usize { 4 }
/// #     fn max_positions(&self) -> usize { 64 }
/// #     fn save(&self, _dir: &Path) -> Result<(), PolicyError> { Ok(()) }
/// # }
/// use hint_grpo::{Metrics, NllRow, NllTerm};
///
/// // A policy that finds all four tokens equally likely.
/// let policy = Bigram(Tensor::zeros([4, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true));
/// let rows = [NllRow::new(&[0], &[1, 2]), NllRow::new(&[0, 1], &[3])];
/// let loss = NllTerm::new(0.5).accumulate(&policy, &rows, &mut Metrics::new())?;
/// assert!((loss - 0.5 * 4.0_f64.ln()).abs() < 1e-6);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct NllTerm {
    /// The coefficient `c`.
    pub coef: f64,
    /// How token losses are reduced.
    pub aggregation: Aggregation,
    /// The logits are divided by this. Positive; 1 is the model's own distribution.
    pub temperature: f64,
    /// Largest number of tokens, padding included, in one forward pass.
    pub max_tokens_per_micro_batch: usize,
}

impl NllTerm {
    /// The mean over all learned tokens, at temperature 1, in micro-batches of up to 16384 tokens.
    pub const fn new(coef: f64) -> Self {
        Self {
            coef,
            aggregation: Aggregation::TokenMean {},
            temperature: 1.0,
            max_tokens_per_micro_batch: 16_384,
        }
    }

    /// Sets how token losses are reduced.
    #[must_use]
    pub const fn with_aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = aggregation;
        self
    }

    /// Sets what the logits are divided by.
    #[must_use]
    pub const fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// Sets the largest number of tokens, padding included, in one forward pass.
    #[must_use]
    pub const fn with_max_tokens(mut self, max_tokens_per_micro_batch: usize) -> Self {
        self.max_tokens_per_micro_batch = max_tokens_per_micro_batch;
        self
    }

    /// Adds the gradient of the term to that of the policy's parameters, and `nll` (unweighted, per
    /// learned token, in nats) to `metrics`. Returns the term's value. Without any token to learn
    /// it is 0 and nothing is added.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Policy`] for rows that the policy cannot score, [`GrpoError::Torch`] when the
    /// backward pass fails.
    pub fn accumulate(
        &self,
        policy: &dyn Policy,
        rows: &[NllRow<'_>],
        metrics: &mut Metrics,
    ) -> Result<f64, GrpoError> {
        Ok(self.accumulate_packed(policy, rows, metrics)?.0)
    }

    /// As [`NllTerm::accumulate`], with the micro-batches that it took.
    pub(crate) fn accumulate_packed(
        &self,
        policy: &dyn Policy,
        rows: &[NllRow<'_>],
        metrics: &mut Metrics,
    ) -> Result<(f64, Packing), GrpoError> {
        let learned = rows.iter().filter(|row| row.learned() > 0).collect::<Vec<_>>();
        let lens = learned.iter().map(|row| row.len()).collect::<Vec<_>>();
        let packing = Packing::new(&lens, self.max_tokens_per_micro_batch);
        let tokens = rows.iter().map(NllRow::learned).sum();
        let totals = StepTotals::new(rows.len(), tokens).in_micro_batches(packing.batches.len());
        let mut value = 0.0;
        for indices in &packing.batches {
            let some = indices.iter().map(|&index| learned[index]).collect::<Vec<_>>();
            value += self.accumulate_some(policy, &some, totals, metrics)?;
        }
        Ok((value, packing))
    }

    fn accumulate_some(
        &self,
        policy: &dyn Policy,
        rows: &[&NllRow<'_>],
        totals: StepTotals,
        metrics: &mut Metrics,
    ) -> Result<f64, GrpoError> {
        let tokens =
            rows.iter().map(|row| [row.prompt, row.completion].concat()).collect::<Vec<_>>();
        let cut = rows.iter().zip(&tokens).map(|(row, tokens)| row.cut(tokens));
        let batch = TokenBatch::new(&cut.collect::<Vec<_>>(), policy.device())?;
        let options = ScoreOptions {
            temperature: self.temperature,
            entropy: true,
            ..ScoreOptions::default()
        };
        let pass = policy.forward(&batch, &options)?;
        let TokenScores { logprobs, entropy } = pass.scores();
        let mask = batch.completion_mask();
        add_masked(metrics, metrics::NLL, &logprobs.neg(), &mask);
        if let Some(entropy) = entropy {
            add_masked(metrics, metrics::ENTROPY, entropy, &mask);
        }
        let weights = rows.iter().map(|row| self.coef * row.weight).collect::<Vec<_>>();
        let weights = Tensor::from_slice(&weights)
            .view([dim(rows.len()), 1])
            .to_kind(logprobs.kind())
            .to_device(logprobs.device());
        let loss = self.aggregation.reduce(&(logprobs.neg() * weights), &mask, totals);
        let value = loss.to_kind(Kind::Double).double_value(&[]);
        pass.backward(&loss)?;
        Ok(value)
    }
}
