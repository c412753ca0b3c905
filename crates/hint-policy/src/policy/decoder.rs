//! Incremental decoding: prompts in, one token per row and step, next-token logits out.

use tch::Tensor;

use crate::error::PolicyError;

/// Capacity that a decoder should be prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderOptions {
    /// Rows decoded at the same time, at most. At least 1.
    pub max_rows: usize,
    /// Tokens of the longest row, prompt and completion together.
    pub max_positions: usize,
    /// Whether the logits of a row must not depend on the other rows, not even by float noise. See
    /// [`SampleOptions::batch_invariant`](crate::SampleOptions::batch_invariant).
    pub batch_invariant: bool,
}

/// Result of [`Decoder::prefill`].
#[derive(Debug)]
pub struct Prefill {
    /// One handle per prompt, in order.
    pub prefixes: Vec<PrefixId>,
    /// Logits that predict the first completion token. Shape `[prompts, vocab]`, kind `Float` or
    /// `Double`, no grad.
    pub logits: Tensor,
}

/// Handle on a prompt that a decoder has processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrefixId(pub usize);

/// Decodes many rows in step, each row a prompt and the tokens after it.
///
/// # Contract
///
/// A prompt is processed once by [`Decoder::prefill`] and can then start any number of rows with
/// [`Decoder::fork`]. Rows are numbered from 0 in the order they were forked, until
/// [`Decoder::retain`] renumbers them. The logits of a row depend on its own tokens only, up to
/// float noise.
///
/// ```
/// use hint_policy::config::Architecture;
/// use hint_policy::policy::DecoderOptions;
/// use hint_policy::{CausalLm, Decoder, ModelConfig, Policy};
/// use tch::Device;
///
/// let policy = CausalLm::init(&ModelConfig::small(Architecture::Llama, 60), 1, Device::Cpu)?;
/// let options = DecoderOptions { max_rows: 2, max_positions: 8, batch_invariant: false };
/// let mut decoder: Box<dyn Decoder> = policy.decoder(&options)?;
/// let prompt = decoder.prefill(&[&[1, 2, 3]])?;
/// decoder.fork(prompt.prefixes[0], 2)?;
/// assert_eq!(decoder.step(&[4, 5])?.size(), [2, 60]);
/// decoder.retain(&[1])?;
/// assert_eq!(decoder.rows(), 1);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
pub trait Decoder {
    /// Processes `prompts` and remembers each as a prefix. No row is started.
    ///
    /// # Errors
    ///
    /// An empty or too long prompt, or a token id outside the vocabulary.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Prefill, PolicyError>;

    /// Appends `count` rows that continue `prefix`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoSuchIndex`] for an unknown or released prefix.
    fn fork(&mut self, prefix: PrefixId, count: usize) -> Result<(), PolicyError>;

    /// Forgets `prefix`; rows forked from it continue.
    fn release(&mut self, prefix: PrefixId);

    /// Feeds one token to each row and returns the logits of the next ones.
    /// Shape `[rows, vocab]`, kind `Float` or `Double`, no grad.
    ///
    /// # Errors
    ///
    /// [`PolicyError::RowCount`] unless there is one token per row, and the errors of
    /// [`Decoder::prefill`].
    fn step(&mut self, tokens: &[u32]) -> Result<Tensor, PolicyError>;

    /// Keeps the listed rows, in the listed order, and drops the others.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoSuchIndex`] for a row that does not exist.
    fn retain(&mut self, rows: &[usize]) -> Result<(), PolicyError>;

    /// Number of rows.
    fn rows(&self) -> usize;
}

/// Checks prompts before they reach libtorch, which would panic or read out of bounds.
pub(crate) fn check_prompts(
    prompts: &[&[u32]],
    vocab_size: usize,
    max_positions: usize,
) -> Result<(), PolicyError> {
    if prompts.is_empty() {
        return Err(PolicyError::NoRows);
    }
    for (row, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(PolicyError::EmptyPrompt { row });
        }
        if prompt.len() > max_positions {
            return Err(PolicyError::RowTooLong { row, len: prompt.len(), max_positions });
        }
        check_tokens(row, prompt, vocab_size)?;
    }
    Ok(())
}

/// Checks that the ids of one row exist.
pub(crate) fn check_tokens(
    row: usize,
    tokens: &[u32],
    vocab_size: usize,
) -> Result<(), PolicyError> {
    match tokens.iter().position(|&id| id as usize >= vocab_size) {
        None => Ok(()),
        Some(position) => {
            let token = i64::from(tokens[position]);
            Err(PolicyError::TokenOutOfRange { row, position, token, vocab_size })
        }
    }
}
