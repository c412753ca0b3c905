//! From a problem to prompt tokens, and from completion tokens back to text.

use serde::{Deserialize, Serialize};

use crate::data::{Hint, Problem};
use crate::error::RolloutError;

/// Turns a problem into the tokens that the policy sees, and completions back into text.
///
/// The same format makes the plain prompt `x` and the hinted prompt `x⊕h`, so that they differ only
/// by the hint.
///
/// ```
/// use hint_rollout::{Hint, Problem, PromptFormat, RolloutError};
///
/// /// One token per byte; a zero ends a completion.
/// struct Bytes;
///
/// impl PromptFormat for Bytes {
///     fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
///         let hint = hint.map_or("", |hint| &hint.text);
///         let text = format!("{}\n{hint}\n", problem.question);
///         Ok(text.bytes().map(u32::from).collect())
///     }
///
///     fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
///         let bytes = completion.iter().filter_map(|&token| u8::try_from(token).ok());
///         Ok(String::from_utf8_lossy(&bytes.filter(|&byte| byte > 0).collect::<Vec<_>>()).into_owned())
///     }
///
///     fn stop_tokens(&self) -> &[u32] {
///         &[0]
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no prompt format",
    note = "`ChatFormat` uses the chat template of a tokenizer, `TextFormat` plain text"
)]
pub trait PromptFormat: Send + Sync {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of
    /// its type: a format with settings writes them too. `None` where the configuration of the run describes it.
    fn name(&self) -> Option<String> {
        Some(std::any::type_name::<Self>().to_owned())
    }

    /// Prompt tokens of `problem`, with `hint` if one is given. Not empty. The hint is
    /// [guidance](crate::data::HintKind::Guidance); prefixes and demonstrations stand after the plain
    /// prompt and go through [`PromptFormat::encode_completion`].
    ///
    /// # Errors
    ///
    /// Any error that keeps the prompt from being rendered or tokenized.
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError>;

    /// Prompt tokens of any other `message` to the policy, such as a request to write a hint. The
    /// default takes it for the question of a problem.
    ///
    /// # Errors
    ///
    /// As [`PromptFormat::encode`].
    fn encode_message(&self, message: &str) -> Result<Vec<u32>, RolloutError> {
        self.encode(&Problem::new("", message, ""), None)
    }

    /// Tokens of a text that stands where a completion does, without a token that ends it.
    ///
    /// # Errors
    ///
    /// Any error that keeps the text from being tokenized; the default refuses.
    fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        let _ = text;
        let message = "it cannot turn a solution into tokens; implement \
                       `PromptFormat::encode_completion` to use prefixes and demonstrations";
        Err(RolloutError::other("prompt format", message))
    }

    /// Tokens of a whole written completion: the text, and the first of the [stop
    /// tokens](PromptFormat::stop_tokens) to end it.
    ///
    /// # Errors
    ///
    /// As [`PromptFormat::encode_completion`].
    fn encode_demonstration(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        let mut tokens = self.encode_completion(text)?;
        tokens.extend(self.stop_tokens().first());
        Ok(tokens)
    }

    /// Text of a completion, without special tokens.
    ///
    /// # Errors
    ///
    /// Any error that keeps the tokens from being decoded.
    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError>;

    /// Tokens that end a completion. The first one ends demonstrations.
    fn stop_tokens(&self) -> &[u32];
}

/// A pointer to a format is one.
macro_rules! forward_to_format {
    ($($pointer:ty),*) => {$(
        impl<F: PromptFormat + ?Sized> PromptFormat for $pointer {
            fn name(&self) -> Option<String> {
                (**self).name()
            }

            fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
                (**self).encode(problem, hint)
            }

            fn encode_message(&self, message: &str) -> Result<Vec<u32>, RolloutError> {
                (**self).encode_message(message)
            }

            fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
                (**self).encode_completion(text)
            }

            fn encode_demonstration(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
                (**self).encode_demonstration(text)
            }

            fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
                (**self).decode(completion)
            }

            fn stop_tokens(&self) -> &[u32] {
                (**self).stop_tokens()
            }
        }
    )*};
}

forward_to_format!(Box<F>, std::sync::Arc<F>);

/// Way in which a hint joins a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HintTemplate {
    /// Text between the question and the hint.
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
