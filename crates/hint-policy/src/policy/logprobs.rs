//! Log-probabilities and entropies of completion tokens from hidden states or logits.

use tch::{Kind, Tensor};

use crate::error::PolicyError;
use crate::policy::batch::TokenBatch;
use crate::policy::scores::{Alternatives, ScoreOptions, TokenScores};
use crate::tensor::{at_least_float, size, upload};

/// Logits computed at a time by [`score_hidden`], in elements: 64 MiB of `Float`.
const CHUNK_ELEMENTS: usize = 1 << 24;

/// Scores from full logits `[batch, seq, vocab]`.
pub(crate) fn score_logits(
    logits: &Tensor,
    tokens: &TokenBatch,
    options: &ScoreOptions,
) -> Result<TokenScores, PolicyError> {
    let size = logits.size();
    let expected = [tokens.tokens().size(), vec![*size.last().unwrap_or(&0)]].concat();
    if size != expected {
        return Err(PolicyError::Shape { name: "logits", found: size, expected });
    }
    let vocab = expected[2];
    let flat = logits.reshape([-1, vocab]);
    let parts = Positions::new(tokens);
    let logits = flat.index_select(0, &parts.predicting);
    let scored = score_chunk(&logits, &parts.targets, tokens.alternatives(), options);
    Ok(parts.spread(&[scored]))
}

/// Scores from the hidden states `[batch, seq, hidden]`. Applies `head` (hidden rows to logits)
/// only where a completion token is predicted, to a bounded number of rows at a time.
///
/// Autograd keeps each chunk's log-softmax until the backward pass.
pub(crate) fn score_hidden(
    hidden: &Tensor,
    tokens: &TokenBatch,
    options: &ScoreOptions,
    vocab_size: usize,
    head: impl Fn(&Tensor) -> Tensor,
) -> TokenScores {
    let width = *hidden.size().last().expect("hidden states have three dimensions");
    let parts = Positions::new(tokens);
    let selected = hidden.reshape([-1, width]).index_select(0, &parts.predicting);
    let rows = size((CHUNK_ELEMENTS / vocab_size.max(1)).max(16));
    let mut scored = Vec::new();
    let mut start = 0;
    for (chunk, targets) in selected.split(rows, 0).iter().zip(parts.targets.split(rows, 0)) {
        let count = targets.size()[0];
        let given = tokens.alternatives().map(|all| all.narrow(0, start, count));
        scored.push(score_chunk(&head(chunk), &targets, given.as_ref(), options));
        start += count;
    }
    parts.spread(&scored)
}

/// Scores of some completion tokens.
struct Scored {
    /// `[rows]`.
    logprobs: Tensor,
    /// `[rows]`.
    entropies: Option<Tensor>,
    alternatives: Option<Alternatives>,
}

/// The scores of `targets` `[rows]` under `logits` `[rows, vocab]`, and of the alternatives: the `given` ones, or
/// the likeliest tokens.
fn score_chunk(
    logits: &Tensor,
    targets: &Tensor,
    given: Option<&Tensor>,
    options: &ScoreOptions,
) -> Scored {
    let logits = at_least_float(logits);
    #[expect(clippy::float_cmp, reason = "exactly 1 skips an operation that would change nothing")]
    let tempered = if options.temperature == 1.0 { logits } else { logits / options.temperature };
    let all = tempered.log_softmax(-1, None::<Kind>);
    let logprobs = all.gather(-1, &targets.unsqueeze(-1), false).squeeze_dim(-1);
    let alternatives = alternatives(&all, given, options.top_k).map(|tokens| {
        let logprobs = all.gather(-1, &tokens, false);
        Alternatives { tokens, logprobs }
    });
    let entropies = options.entropy.then(|| {
        tch::no_grad(|| {
            // A token of probability 0 has log-probability -inf; 0 · -inf is NaN, its limit is 0.
            let all = all.detach();
            let weighted = all.exp() * &all.clamp_min(f64::from(f32::MIN));
            -weighted.sum_dim_intlist(-1, false, None::<Kind>)
        })
    });
    Scored { logprobs, entropies, alternatives }
}

/// The alternatives of rows `[rows, vocab]`: those `given`, or the `top_k` largest entries, largest first; `None` where
/// none are asked for.
pub(crate) fn alternatives(rows: &Tensor, given: Option<&Tensor>, top_k: usize) -> Option<Tensor> {
    if let Some(given) = given {
        return Some(given.shallow_clone());
    }
    let vocab = *rows.size().last().unwrap_or(&0);
    (top_k > 0).then(|| rows.detach().topk(size(top_k).min(vocab), -1, true, true).1)
}

/// Places of completion tokens in the flattened batch, and of their predictors.
struct Positions {
    shape: [i64; 2],
    completion: Tensor,
    predicting: Tensor,
    targets: Tensor,
}

impl Positions {
    fn new(tokens: &TokenBatch) -> Self {
        let completion = upload(&tokens.completion_positions(), tokens.tokens().device());
        // A completion token is never at position 0 of its row: prompts are not empty.
        let predicting = &completion - 1;
        let targets = tokens.tokens().reshape([-1]).index_select(0, &completion);
        let shape = [size(tokens.batch()), size(tokens.seq())];
        Self { shape, completion, predicting, targets }
    }

    /// Puts per-token values back to their positions, 0 elsewhere.
    fn spread(&self, scored: &[Scored]) -> TokenScores {
        let join = |parts: Vec<&Tensor>| Tensor::cat(&parts, 0);
        let place = |values: &Tensor| {
            Tensor::zeros([self.shape[0] * self.shape[1]], (values.kind(), values.device()))
                .index_copy(0, &self.completion, values)
                .view(self.shape)
        };
        let all = |part: fn(&Scored) -> Option<&Tensor>| {
            scored.iter().map(part).collect::<Option<Vec<_>>>().map(join)
        };
        let alternatives = || {
            Some(Alternatives {
                tokens: all(|part| part.alternatives.as_ref().map(|scored| &scored.tokens))?,
                logprobs: all(|part| part.alternatives.as_ref().map(|scored| &scored.logprobs))?,
            })
        };
        let logprobs = join(scored.iter().map(|part| &part.logprobs).collect());
        TokenScores {
            logprobs: place(&logprobs),
            entropy: all(|part| part.entropies.as_ref()).map(|entropies| place(&entropies)),
            alternatives: alternatives(),
        }
    }
}
