//! Token sequences as one right-padded tensor.

use std::collections::BTreeMap;

use tch::{Device, Tensor};

use crate::error::PolicyError;
use crate::tensor::{size, upload};

/// Tokens of a prompt from which on rows with the same one share its hidden states. Rows of shorter prompts keep
/// their order of sums.
pub(crate) const MIN_SHARED_PROMPT: usize = 64;

/// One row of a [`TokenBatch`]: the tokens conditioned on, and the tokens that are scored.
#[derive(Debug, Clone, Copy)]
pub struct TokenRow<'a> {
    /// Tokens conditioned on. At least one.
    pub prompt: &'a [u32],
    /// Tokens that are scored. May be empty.
    pub completion: &'a [u32],
}

/// Prompts with their completions, padded on the right to the longest row.
///
/// Padding needs no attention mask. Attention is causal, so later tokens cannot reach a token. The
/// completion mask comes from lengths, never from a comparison with a pad id (Deviation D5).
///
/// # Examples
///
/// ```
/// use hint_policy::{TokenBatch, TokenRow};
/// use tch::Device;
///
/// let rows = [
///     TokenRow { prompt: &[5, 6], completion: &[7] },
///     TokenRow { prompt: &[5], completion: &[8, 9, 2] },
/// ];
/// let batch = TokenBatch::new(&rows, Device::Cpu)?;
/// assert_eq!(batch.tokens().size(), [2, 4]);
/// assert_eq!(batch.completion_lens(), [1, 3]);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug)]
pub struct TokenBatch {
    tokens: Tensor,
    prompt_lens: Vec<usize>,
    completion_lens: Vec<usize>,
    seq: usize,
    max_token: (usize, usize, u32),
    shared_prompts: Vec<usize>,
    alternatives: Option<Tensor>,
}

impl TokenBatch {
    /// Packs `rows` into one tensor on `device`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoRows`] for no rows, [`PolicyError::EmptyPrompt`] for an empty prompt.
    pub fn new(rows: &[TokenRow<'_>], device: Device) -> Result<Self, PolicyError> {
        if rows.is_empty() {
            return Err(PolicyError::NoRows);
        }
        if let Some(row) = rows.iter().position(|row| row.prompt.is_empty()) {
            return Err(PolicyError::EmptyPrompt { row });
        }
        let len = |row: &TokenRow<'_>| row.prompt.len() + row.completion.len();
        let seq = rows.iter().map(len).max().unwrap_or(0);
        let mut data = vec![0_i64; rows.len() * seq];
        let mut max_token = (0, 0, 0);
        for (index, (row, out)) in rows.iter().zip(data.chunks_exact_mut(seq)).enumerate() {
            let ids = row.prompt.iter().chain(row.completion);
            for (position, (&id, out)) in ids.zip(out).enumerate() {
                *out = i64::from(id);
                if id > max_token.2 {
                    max_token = (index, position, id);
                }
            }
        }
        let tokens = upload(&data, device).view([size(rows.len()), size(seq)]);
        Ok(Self {
            tokens,
            prompt_lens: rows.iter().map(|row| row.prompt.len()).collect(),
            completion_lens: rows.iter().map(|row| row.completion.len()).collect(),
            seq,
            max_token,
            shared_prompts: shared_prompts(rows),
            alternatives: None,
        })
    }

    /// Names tokens to score at the place of each completion token, besides that token itself. Shape
    /// `[completion tokens, k]`, kind `Int64`, row after row. The ids must lie in the vocabulary.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Shape`] unless there is a row for each completion token.
    pub fn with_alternatives(mut self, tokens: &Tensor) -> Result<Self, PolicyError> {
        let (found, rows) = (tokens.size(), size(self.completion_tokens()));
        let expected = vec![rows, found.get(1).copied().unwrap_or(1)];
        if found != expected {
            return Err(PolicyError::Shape { name: "alternatives", found, expected });
        }
        self.alternatives = Some(tokens.to_device(self.tokens.device()));
        Ok(self)
    }

    /// The tokens of [`TokenBatch::with_alternatives`].
    pub fn alternatives(&self) -> Option<&Tensor> {
        self.alternatives.as_ref()
    }

    /// The token ids, right padded with 0. Shape `[batch, seq]`, kind `Int64`.
    pub fn tokens(&self) -> &Tensor {
        &self.tokens
    }

    /// Prompt tokens of each row. Length `batch`.
    pub fn prompt_lens(&self) -> &[usize] {
        &self.prompt_lens
    }

    /// Completion tokens of each row. Length `batch`.
    pub fn completion_lens(&self) -> &[usize] {
        &self.completion_lens
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.prompt_lens.len()
    }

    /// Positions of the longest row.
    pub fn seq(&self) -> usize {
        self.seq
    }

    /// Number of completion tokens of all rows.
    pub fn completion_tokens(&self) -> usize {
        self.completion_lens.iter().sum()
    }

    /// True at the positions that hold completion tokens. Shape `[batch, seq]`, kind `Bool`.
    pub fn completion_mask(&self) -> Tensor {
        let mut mask = vec![false; self.batch() * self.seq];
        for (row, out) in mask.chunks_exact_mut(self.seq).enumerate() {
            let start = self.prompt_lens[row];
            out[start..start + self.completion_lens[row]].fill(true);
        }
        upload(&mask, self.tokens.device()).view([size(self.batch()), size(self.seq)])
    }

    /// For each row, the first one with its prompt. A short prompt is each row's own.
    pub(crate) fn shared_prompts(&self) -> &[usize] {
        &self.shared_prompts
    }

    /// Positions of all completion tokens in the flattened `[batch * seq]` order.
    pub(crate) fn completion_positions(&self) -> Vec<i64> {
        let mut positions = Vec::with_capacity(self.completion_tokens());
        for (row, (&prompt, &completion)) in
            self.prompt_lens.iter().zip(&self.completion_lens).enumerate()
        {
            let start = row * self.seq + prompt;
            positions.extend((start..start + completion).map(size));
        }
        positions
    }

    /// Checks that every id is below `vocab_size` and every row within `max_positions`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::TokenOutOfRange`] or [`PolicyError::RowTooLong`].
    pub fn check(&self, vocab_size: usize, max_positions: usize) -> Result<(), PolicyError> {
        let (row, position, token) = self.max_token;
        if token as usize >= vocab_size {
            let token = i64::from(token);
            return Err(PolicyError::TokenOutOfRange { row, position, token, vocab_size });
        }
        for (row, (prompt, completion)) in
            self.prompt_lens.iter().zip(&self.completion_lens).enumerate()
        {
            let len = prompt + completion;
            if len > max_positions {
                return Err(PolicyError::RowTooLong { row, len, max_positions });
            }
        }
        Ok(())
    }
}

fn shared_prompts(rows: &[TokenRow<'_>]) -> Vec<usize> {
    let mut first = BTreeMap::new();
    let prompts = rows.iter().map(|row| row.prompt).enumerate();
    let shared = prompts.map(|(row, prompt)| {
        if prompt.len() < MIN_SHARED_PROMPT { row } else { *first.entry(prompt).or_insert(row) }
    });
    shared.collect()
}
