//! Prompts: from a problem to tokens, and from tokens back to text.
//!
//! One [`PromptFormat`] makes the plain prompt and the hinted prompt, so that the two differ by the
//! hint and nothing else. A [`HintTemplate`] is how guidance joins the question. `ChatFormat` uses the
//! chat template of a local tokenizer and `TextFormat` plain text (both: feature `local-engine`).

mod contract;
#[cfg(feature = "local-engine")]
mod format;

pub use contract::{HintTemplate, PromptFormat};
#[cfg(feature = "local-engine")]
pub use format::{ChatFormat, TextFormat};
