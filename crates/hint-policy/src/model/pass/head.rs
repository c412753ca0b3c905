//! Log-probabilities from hidden states, forward and backward, some rows at a time.

use tch::{Kind, Tensor};

use super::grad;
use crate::ScoreOptions;
use crate::batch::size;
use crate::logprobs::at_least_float;

/// Logits that exist at a time, in elements: 64 MiB of `Float`. The more there are, the faster the
/// products with the head are.
const KEPT_ELEMENTS: usize = 1 << 24;

/// Logits whose softmax is worked on at a time, in elements: 8 MiB of `Float`, which caches hold.
const CHUNK_ELEMENTS: usize = 1 << 21;

/// The LM head with the tokens that it is to predict.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// `[vocab, hidden]`.
    pub(super) weight: &'a Tensor,
    /// `[rows]`, `Int64`.
    pub(super) targets: &'a Tensor,
    pub(super) temperature: f64,
}

impl Head<'_> {
    /// Log-probabilities `[rows]` of the targets for hidden rows `[rows, hidden]`, and the entropies
    /// if wanted.
    pub(super) fn apply(
        &self,
        hidden: &Tensor,
        options: &ScoreOptions,
    ) -> (Tensor, Option<Tensor>) {
        let weight = self.cast(hidden.kind());
        let (mut logprobs, mut entropies) = (Vec::new(), Vec::new());
        for (rows, targets) in self.chunks(hidden, self.targets, KEPT_ELEMENTS) {
            let logits = rows.linear(&weight, None::<&Tensor>);
            for (logits, targets) in self.chunks(&logits, &targets, CHUNK_ELEMENTS) {
                let all = self.tempered(&logits).log_softmax(-1, None::<Kind>);
                logprobs.push(all.gather(-1, &targets.unsqueeze(-1), false).squeeze_dim(-1));
                if options.entropy {
                    entropies.push(entropy(&all));
                }
            }
        }
        let kind = at_least_float(&hidden.narrow(0, 0, 0)).kind();
        let join = |parts: &[Tensor]| match parts {
            [] => Tensor::zeros([0], (kind, hidden.device())),
            parts => Tensor::cat(parts, 0),
        };
        (join(&logprobs), options.entropy.then(|| join(&entropies)))
    }

    /// The gradient of the hidden rows from that of the log-probabilities `[rows]`; adds to that of
    /// the head. Computes the logits once more.
    pub(super) fn pull(&self, hidden: &Tensor, dy: &Tensor) -> Tensor {
        let weight = self.cast(hidden.kind());
        let dy = (dy / self.temperature).unsqueeze(-1);
        let mut gradients = Vec::new();
        let kept = self.chunks(hidden, self.targets, KEPT_ELEMENTS);
        for ((rows, targets), (dy, _)) in
            kept.into_iter().zip(self.chunks(&dy, self.targets, KEPT_ELEMENTS))
        {
            // Logits make place for their gradients.
            let logits = rows.linear(&weight, None::<&Tensor>);
            let parts = self.chunks(&logits, &targets, CHUNK_ELEMENTS).into_iter();
            for ((mut logits, targets), (dy, _)) in
                parts.zip(self.chunks(&dy, &targets, CHUNK_ELEMENTS))
            {
                // d log p(y) / d logits = onehot(y) - p.
                let mut part = self.tempered(&logits).softmax(-1, None::<Kind>);
                let mut part = part.g_mul_(&dy.neg());
                logits.copy_(&part.scatter_add_(-1, &targets.unsqueeze(-1), &dy));
            }
            grad::add_product(self.weight, &logits, &rows);
            gradients.push(logits.matmul(&weight));
        }
        match gradients.as_slice() {
            [] => hidden.zeros_like(),
            parts => Tensor::cat(parts, 0),
        }
    }

    fn cast(&self, kind: Kind) -> Tensor {
        self.weight.detach().to_kind(kind)
    }

    /// Rows with their targets, so many at a time that their logits are `elements` or a few rows.
    fn chunks(&self, rows: &Tensor, targets: &Tensor, elements: usize) -> Vec<(Tensor, Tensor)> {
        if rows.size()[0] == 0 {
            return Vec::new();
        }
        let vocab = usize::try_from(self.weight.size()[0]).unwrap_or(1);
        let count = size((elements / vocab.max(1)).max(16));
        rows.split(count, 0).into_iter().zip(targets.split(count, 0)).collect()
    }

    /// Logits `[rows, vocab]` at the temperature, `Float` or `Double`.
    fn tempered(&self, logits: &Tensor) -> Tensor {
        let wide = at_least_float(logits);
        #[expect(clippy::float_cmp, reason = "exactly 1 skips an operation that changes nothing")]
        if self.temperature == 1.0 { wide } else { wide / self.temperature }
    }
}

/// Entropies `[rows]` of distributions given as log-probabilities `[rows, vocab]`.
fn entropy(all: &Tensor) -> Tensor {
    // A token of probability 0 has log-probability -inf; 0 · -inf is NaN, its limit is 0.
    let mut weighted = all.exp();
    weighted.g_mul_(all).nansum([-1_i64].as_slice(), false, None::<Kind>).neg_()
}
