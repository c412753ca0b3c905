//! Learning from demonstrations: the next-token loss, and a stage that trains on nothing else.

use hint_policy::{PolicyError, Tokenizer};

mod config;
mod nll;
mod trainer;

pub use config::{LearnedTokens, SupervisedConfig};
pub use nll::{NllRow, NllTerm};
pub use trainer::{SupervisedTrainer, SupervisedTrainerBuilder};

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

    /// The demonstration of a written completion: its tokens, and `stop` to end it.
    ///
    /// # Errors
    ///
    /// What the tokenizer returns.
    pub fn from_text(
        id: impl Into<String>,
        prompt: Vec<u32>,
        completion: &str,
        tokenizer: &Tokenizer,
        stop: Option<u32>,
    ) -> Result<Self, PolicyError> {
        let mut tokens = tokenizer.encode(completion)?;
        tokens.extend(stop);
        Ok(Self::new(id, prompt, tokens))
    }

    /// Sets the factor of its loss.
    #[must_use]
    pub const fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// What of it is conditioned on, and what is learned.
    pub fn row(&self, learned: LearnedTokens) -> NllRow<'_> {
        let (prompt, completion) = (self.prompt.as_slice(), self.completion.as_slice());
        let row = NllRow::new(prompt, completion).with_weight(self.weight);
        match learned {
            LearnedTokens::Completion => row,
            LearnedTokens::All => row.with_learned_prompt(),
        }
    }
}
