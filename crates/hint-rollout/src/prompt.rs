//! From a problem to prompt tokens, and from completion tokens back to text.

use serde::{Deserialize, Serialize};

use crate::{Hint, Problem, RolloutError};

/// Turns a problem into the tokens that the policy sees, and completions back into text.
///
/// The same format makes the plain prompt `x` and the hinted prompt `x⊕h`, so that they differ by
/// the hint and nothing else.
pub trait PromptFormat: Send + Sync {
    /// Prompt tokens of `problem`, with `hint` if one is given. Not empty.
    ///
    /// # Errors
    ///
    /// Whatever keeps the prompt from being rendered or tokenized.
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError>;

    /// Text of a completion, without special tokens.
    ///
    /// # Errors
    ///
    /// Whatever keeps the tokens from being decoded.
    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError>;

    /// Tokens that end a completion.
    fn stop_tokens(&self) -> &[u32];
}

impl<F: PromptFormat + ?Sized> PromptFormat for Box<F> {
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        (**self).encode(problem, hint)
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        (**self).decode(completion)
    }

    fn stop_tokens(&self) -> &[u32] {
        (**self).stop_tokens()
    }
}

impl<F: PromptFormat + ?Sized> PromptFormat for std::sync::Arc<F> {
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        (**self).encode(problem, hint)
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        (**self).decode(completion)
    }

    fn stop_tokens(&self) -> &[u32] {
        (**self).stop_tokens()
    }
}

/// How a hint joins a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HintTemplate {
    /// What stands between the question and the hint.
    pub introduction: String,
}

impl Default for HintTemplate {
    /// The wording of the HINT reference code.
    fn default() -> Self {
        Self {
            introduction: "\nHere are some key pieces of information to assist your reasoning \
                           without revealing the solution directly:\n"
                .to_owned(),
        }
    }
}

impl HintTemplate {
    /// The question, followed by the hint if there is one.
    pub fn render(&self, question: &str, hint: Option<&Hint>) -> String {
        match hint {
            None => question.to_owned(),
            Some(hint) => format!("{question}{}{}", self.introduction, hint.text),
        }
    }
}
