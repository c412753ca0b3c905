//! Log-probabilities from hidden states, forward and backward, some rows at a time.

use std::collections::VecDeque;

use tch::{Device, Kind, Tensor};

use crate::config::plan::LogitPlan;
use crate::forward::grad;
use crate::kernels;
use crate::kernels::onednn::product;
use crate::policy::logprobs::alternatives;
use crate::policy::scores::{Alternatives, ScoreOptions};
use crate::tensor::{at_least_float, size};
use crate::weights::Cast;

/// Logits that exist at a time, in elements: 64 MiB of `Float`. The more there are, the faster the
/// products with the head are.
const KEPT_ELEMENTS: usize = 1 << 24;

/// Logits whose softmax is worked on at a time, in elements: 8 MiB of `Float`, which caches hold.
const CHUNK_ELEMENTS: usize = 1 << 21;

/// Bytes of logits that are kept for the backward pass, so that they need not be computed once more.
const KEPT_BYTES: usize = 1 << 27;

/// Numbers of logits that exist, are worked on and are kept at a time.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    kept_elements: usize,
    chunk_elements: usize,
    kept_bytes: usize,
}

impl Sizes {
    /// On a GPU, where a chunk costs its launches, most micro-batches are one chunk. It is 1 GiB of `Float`, of
    /// which 4 GiB are kept.
    fn on(device: Device) -> Self {
        if device == Device::Cpu {
            Self {
                kept_elements: KEPT_ELEMENTS,
                chunk_elements: CHUNK_ELEMENTS,
                kept_bytes: KEPT_BYTES,
            }
        } else {
            Self { kept_elements: 1 << 28, chunk_elements: 1 << 28, kept_bytes: 1 << 32 }
        }
    }
}

/// Tensors that [`Head::apply`] keeps for [`Head::backward`].
#[derive(Debug, Default)]
pub(super) struct KeptLogits {
    /// The first chunks of logits.
    chunks: VecDeque<Tensor>,
    /// Logarithms of the sums of exponentials, `[rows]`, where there are kernels.
    normalizers: Option<Tensor>,
}

/// The results of [`Head::apply`].
#[derive(Debug)]
pub(super) struct HeadScores {
    /// Of the targets, `[rows]`.
    pub(super) logprobs: Tensor,
    /// `[rows]`, if wanted.
    pub(super) entropies: Option<Tensor>,
    /// `[rows, k]`, if there are any.
    pub(super) alternatives: Option<Alternatives>,
    pub(super) kept: KeptLogits,
}

/// The LM head with the tokens that it is to predict.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// `[vocab, hidden]`.
    pub(super) weight: &'a Tensor,
    pub(super) cast: &'a Cast,
    /// `[rows]`, `Int64`.
    pub(super) targets: &'a Tensor,
    /// Tokens to score as well, `[rows, k]`, `Int64`, in place of the likeliest ones.
    pub(super) alternatives: Option<&'a Tensor>,
    pub(super) plan: LogitPlan,
    pub(super) temperature: f64,
}

impl Head<'_> {
    /// Scores of the targets for hidden rows `[rows, hidden]`; logits that fit are kept if `keep`.
    pub(super) fn apply(&self, hidden: &Tensor, options: &ScoreOptions, keep: bool) -> HeadScores {
        let weight = self.cast.of(self.weight, hidden.kind());
        let (mut logprobs, mut entropies, mut normalizers) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tokens, mut of_tokens) = (Vec::new(), Vec::new());
        // The alternatives of the next `count` rows, whose logits are `logits`.
        let mut start = 0;
        let mut next = |logits: &Tensor| {
            let count = logits.size()[0];
            let given = self.alternatives.map(|all| all.narrow(0, start, count));
            start += count;
            alternatives(logits, given.as_ref(), options.top_k)
        };
        let mut kept = KeptLogits::default();
        let sizes = Sizes::on(hidden.device());
        let mut room = if keep { sizes.kept_bytes } else { 0 };
        for (rows, targets) in self.chunks(hidden, self.targets, sizes.kept_elements) {
            let logits = self.capped(product(&rows, &weight, None));
            if kernels::work_for(&logits) {
                let scores = kernels::head::score(&logits, &targets, self.temperature());
                if let Some(ids) = next(&logits) {
                    let scaled =
                        logits.gather(-1, &ids, false).to_kind(Kind::Float) / self.temperature();
                    of_tokens.push(scaled - scores.normalizers.unsqueeze(-1));
                    tokens.push(ids);
                }
                logprobs.push(scores.logprobs);
                entropies.push(scores.entropies);
                normalizers.push(scores.normalizers);
            } else {
                for (logits, targets) in self.chunks(&logits, &targets, sizes.chunk_elements) {
                    let all = self.tempered(&logits).log_softmax(-1, None::<Kind>);
                    logprobs.push(all.gather(-1, &targets.unsqueeze(-1), false).squeeze_dim(-1));
                    if let Some(ids) = next(&logits) {
                        of_tokens.push(all.gather(-1, &ids, false));
                        tokens.push(ids);
                    }
                    if options.entropy {
                        entropies.push(entropy(&all));
                    }
                }
            }
            let bytes = logits.numel() * logits.kind().elt_size_in_bytes();
            if let Some(rest) = room.checked_sub(bytes) {
                room = rest;
                kept.chunks.push_back(logits);
            } else {
                // Chunks are kept in order.
                room = 0;
            }
        }
        let kind = at_least_float(&hidden.narrow(0, 0, 0)).kind();
        let join = |parts: &[Tensor]| match parts {
            [] => Tensor::zeros([0], (kind, hidden.device())),
            parts => Tensor::cat(parts, 0),
        };
        kept.normalizers = (!normalizers.is_empty()).then(|| join(&normalizers));
        if tokens.is_empty() && (self.alternatives.is_some() || options.top_k > 0) {
            let none = Tensor::zeros([0, self.weight.size()[0]], (kind, hidden.device()));
            tokens.extend(next(&none));
            of_tokens.extend(tokens.iter().map(|tokens| tokens.to_kind(kind)));
        }
        let alternatives = (!tokens.is_empty()).then(|| Alternatives {
            tokens: Tensor::cat(&tokens, 0),
            logprobs: Tensor::cat(&of_tokens, 0),
        });
        HeadScores {
            logprobs: join(&logprobs),
            entropies: options.entropy.then(|| join(&entropies)),
            alternatives,
            kept,
        }
    }

    /// The gradient of the hidden rows, given the gradient of the log-probabilities `[rows]`. `alternatives` are their
    /// tokens and gradients, both `[rows, k]`. Adds to the gradient of the head. Computes logits that were not kept
    /// once more.
    pub(super) fn backward(
        &self,
        hidden: &Tensor,
        mut kept: KeptLogits,
        dy: &Tensor,
        alternatives: Option<(&Tensor, &Tensor)>,
    ) -> Tensor {
        let weight = self.cast.of(self.weight, hidden.kind());
        let sizes = Sizes::on(hidden.device());
        let mut gradients = Vec::new();
        let mut start = 0;
        for (rows, targets) in self.chunks(hidden, self.targets, sizes.kept_elements) {
            let count = targets.size()[0];
            let part = |whole: &Tensor| whole.narrow(0, start, count);
            // Logits make place for their gradients.
            let mut logits = kept
                .chunks
                .pop_front()
                .unwrap_or_else(|| self.capped(product(&rows, &weight, None)));
            let alternatives = alternatives.map(|(tokens, dy)| (part(tokens), part(dy)));
            let alternatives = alternatives.as_ref().map(|(tokens, dy)| (tokens, dy));
            let slope = self.plan.softcap.map(|cap| (&logits / cap).square_().neg_() + 1.0);
            match &kept.normalizers {
                Some(all) => {
                    let (normalizers, dy) = (part(all), part(dy));
                    kernels::head::backward(
                        &mut logits,
                        &targets,
                        &normalizers,
                        &dy,
                        alternatives,
                        self.temperature(),
                    );
                }
                None => self.softmax_backward(&logits, &targets, &part(dy), alternatives),
            }
            if let Some(slope) = slope {
                // tanh' = 1 - tanh².
                let _ = logits.g_mul_(&slope).g_div_scalar_(self.plan.divisor.unwrap_or(1.0));
            }
            grad::add_product(self.weight, &logits, &rows);
            gradients.push(product(&logits, &weight.transpose(0, 1), None));
            start += count;
        }
        match gradients.as_slice() {
            [] => hidden.zeros_like(),
            parts => Tensor::cat(parts, 0),
        }
    }

    /// Replaces logits by their gradients.
    fn softmax_backward(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        dy: &Tensor,
        alternatives: Option<(&Tensor, &Tensor)>,
    ) {
        let dy = (dy / self.temperature()).unsqueeze(-1);
        let others = alternatives.map(|(tokens, dy)| (tokens, dy / self.temperature()));
        let sum = match &others {
            None => dy.shallow_clone(),
            Some((_, others)) => {
                &dy + others.sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>)
            }
        };
        let elements = Sizes::on(logits.device()).chunk_elements;
        let others = others.map(|(tokens, dy)| self.chunks(tokens, &dy, elements));
        let parts = self.chunks(logits, targets, elements).into_iter();
        let parts = parts.zip(self.chunks(&dy, &sum, elements)).enumerate();
        for (at, ((mut logits, targets), (dy, sum))) in parts {
            // d log p(y) / d logits = onehot(y) - p.
            let mut part = self.tempered(&logits).softmax(-1, None::<Kind>);
            let mut part = part.g_mul_(&sum.neg()).scatter_add_(-1, &targets.unsqueeze(-1), &dy);
            // By itself: a GPU adds in no fixed order, and a target is often an alternative as well.
            if let Some((tokens, dy)) = others.as_ref().map(|others| &others[at]) {
                part = part.scatter_add_(-1, tokens, dy);
            }
            logits.copy_(&part);
        }
    }

    /// Products with the head within the bound, in their place. Their divisor is part of the temperature where
    /// there is no bound.
    fn capped(&self, mut logits: Tensor) -> Tensor {
        let Some(cap) = self.plan.softcap else { return logits };
        logits.g_div_scalar_(cap * self.plan.divisor.unwrap_or(1.0)).tanh_().g_mul_scalar_(cap)
    }

    /// Divisor of kept logits.
    fn temperature(&self) -> f64 {
        match (self.plan.softcap, self.plan.divisor) {
            (None, Some(divisor)) => self.temperature * divisor,
            _ => self.temperature,
        }
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
        if self.temperature() == 1.0 { wide } else { wide / self.temperature() }
    }
}

/// Entropies `[rows]` of distributions given as log-probabilities `[rows, vocab]`.
fn entropy(all: &Tensor) -> Tensor {
    // A token of probability 0 has log-probability -inf; 0 · -inf is NaN, its limit is 0.
    let mut weighted = all.exp();
    weighted.g_mul_(all).nansum([-1_i64].as_slice(), false, None::<Kind>).neg_()
}
