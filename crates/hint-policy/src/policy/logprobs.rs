//! Log-probabilities and entropies of completion tokens from hidden states or logits.

use tch::{Kind, Tensor};

use crate::error::PolicyError;
use crate::policy::batch::TokenBatch;
use crate::policy::scores::{ScoreOptions, TokenScores};
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
    let (logprobs, entropy) =
        score_chunk(&flat.index_select(0, &parts.predicting), &parts.targets, options);
    Ok(parts.spread(&logprobs, entropy.as_ref()))
}

/// Scores from the hidden states `[batch, seq, hidden]`, applying `head` (hidden rows to logits)
/// only where a completion token is predicted, and to a bounded number of rows at a time.
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
    let mut logprobs = Vec::new();
    let mut entropies = Vec::new();
    for (chunk, targets) in selected.split(rows, 0).iter().zip(parts.targets.split(rows, 0)) {
        let (logprob, entropy) = score_chunk(&head(chunk), &targets, options);
        logprobs.push(logprob);
        entropies.extend(entropy);
    }
    let entropy = (!entropies.is_empty()).then(|| Tensor::cat(&entropies, 0));
    parts.spread(&Tensor::cat(&logprobs, 0), entropy.as_ref())
}

/// Log-probabilities `[rows]` of `targets` under `logits` `[rows, vocab]`, and the entropies.
fn score_chunk(
    logits: &Tensor,
    targets: &Tensor,
    options: &ScoreOptions,
) -> (Tensor, Option<Tensor>) {
    let logits = at_least_float(logits);
    #[expect(clippy::float_cmp, reason = "exactly 1 skips an operation that would change nothing")]
    let tempered = if options.temperature == 1.0 { logits } else { logits / options.temperature };
    let all = tempered.log_softmax(-1, None::<Kind>);
    let logprobs = all.gather(-1, &targets.unsqueeze(-1), false).squeeze_dim(-1);
    let entropy = options.entropy.then(|| {
        tch::no_grad(|| {
            // A token of probability 0 has log-probability -inf; 0 · -inf is NaN, its limit is 0.
            let all = all.detach();
            let weighted = all.exp() * &all.clamp_min(f64::from(f32::MIN));
            -weighted.sum_dim_intlist(-1, false, None::<Kind>)
        })
    });
    (logprobs, entropy)
}

/// Where completion tokens lie in the flattened batch, and what predicts them.
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
    fn spread(&self, logprobs: &Tensor, entropy: Option<&Tensor>) -> TokenScores {
        let place = |values: &Tensor| {
            Tensor::zeros([self.shape[0] * self.shape[1]], (values.kind(), values.device()))
                .index_copy(0, &self.completion, values)
                .view(self.shape)
        };
        TokenScores { logprobs: place(logprobs), entropy: entropy.map(place) }
    }
}
