//! Decoding for policies without a key-value cache.

use tch::Tensor;

use crate::error::PolicyError;
use crate::policy::Policy;
use crate::policy::batch::{TokenBatch, TokenRow};
use crate::policy::decoder::{Decoder, DecoderOptions, Prefill, PrefixId, check_prompts};
use crate::tensor::size;

/// Runs the whole rows through [`Policy::logits`] at each step.
///
/// Correct for every policy, with time quadratic in the length; the yardstick for cached decoders.
///
/// ```
/// use hint_policy::config::Architecture;
/// use hint_policy::policy::{DecoderOptions, RecomputeDecoder};
/// use hint_policy::{CausalLm, Decoder, ModelConfig};
/// use tch::Device;
///
/// let policy = CausalLm::init(&ModelConfig::small(Architecture::Llama, 60), 1, Device::Cpu)?;
/// let options = DecoderOptions { max_rows: 2, max_positions: 8, batch_invariant: false };
/// let mut decoder = RecomputeDecoder::new(&policy, &options);
/// let prompt = decoder.prefill(&[&[1, 2, 3]])?;
/// decoder.fork(prompt.prefixes[0], 2)?;
/// assert_eq!(decoder.step(&[4, 5])?.size(), [2, 60]);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug)]
pub struct RecomputeDecoder<'a, P: Policy + ?Sized> {
    policy: &'a P,
    max_positions: usize,
    prefixes: Vec<Option<Vec<u32>>>,
    rows: Vec<Vec<u32>>,
}

impl<'a, P: Policy + ?Sized> RecomputeDecoder<'a, P> {
    /// A decoder without rows.
    pub fn new(policy: &'a P, options: &DecoderOptions) -> Self {
        let max_positions = options.max_positions.min(policy.max_positions());
        Self { policy, max_positions, prefixes: Vec::new(), rows: Vec::new() }
    }

    /// Logits `[rows, vocab]` after the last token of each row.
    fn last_logits(&self, rows: &[&[u32]]) -> Result<Tensor, PolicyError> {
        check_prompts(rows, self.policy.vocab_size(), self.max_positions)?;
        let token_rows: Vec<_> =
            rows.iter().map(|prompt| TokenRow { prompt, completion: &[] }).collect();
        let batch = TokenBatch::new(&token_rows, self.policy.device())?;
        let logits = tch::no_grad(|| self.policy.logits(&batch))?;
        let vocab = size(self.policy.vocab_size());
        let expected = vec![size(batch.batch()), size(batch.seq()), vocab];
        if logits.size() != expected {
            return Err(PolicyError::Shape { name: "logits", found: logits.size(), expected });
        }
        let last: Vec<i64> = rows
            .iter()
            .enumerate()
            .map(|(row, tokens)| size(row * batch.seq() + tokens.len() - 1))
            .collect();
        let last = Tensor::from_slice(&last).to_device(logits.device());
        Ok(logits.reshape([-1, vocab]).index_select(0, &last))
    }
}

impl<P: Policy + ?Sized> Decoder for RecomputeDecoder<'_, P> {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Prefill, PolicyError> {
        let logits = self.last_logits(prompts)?;
        let start = self.prefixes.len();
        self.prefixes.extend(prompts.iter().map(|prompt| Some(prompt.to_vec())));
        let prefixes = (start..self.prefixes.len()).map(PrefixId).collect();
        Ok(Prefill { prefixes, logits })
    }

    fn fork(&mut self, prefix: PrefixId, count: usize) -> Result<(), PolicyError> {
        let len = self.prefixes.len();
        let tokens = self.prefixes.get(prefix.0).and_then(Option::as_ref);
        let tokens =
            tokens.ok_or(PolicyError::NoSuchIndex { name: "prefix", index: prefix.0, len })?;
        self.rows.extend(std::iter::repeat_n(tokens.clone(), count));
        Ok(())
    }

    fn release(&mut self, prefix: PrefixId) {
        if let Some(tokens) = self.prefixes.get_mut(prefix.0) {
            *tokens = None;
        }
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Tensor, PolicyError> {
        let expected = self.rows.len();
        if tokens.len() != expected {
            return Err(PolicyError::RowCount { name: "tokens", found: tokens.len(), expected });
        }
        for (row, &token) in self.rows.iter_mut().zip(tokens) {
            row.push(token);
        }
        let rows: Vec<&[u32]> = self.rows.iter().map(Vec::as_slice).collect();
        self.last_logits(&rows)
    }

    fn retain(&mut self, rows: &[usize]) -> Result<(), PolicyError> {
        let len = self.rows.len();
        let kept = rows.iter().map(|&index| {
            self.rows.get(index).cloned().ok_or(PolicyError::NoSuchIndex {
                name: "row",
                index,
                len,
            })
        });
        self.rows = kept.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }
}
