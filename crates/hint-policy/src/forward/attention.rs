//! Causal attention of rows of one length, forward and backward.

use tch::{Device, Kind, Tensor};

use crate::config::plan::AttentionPlan;
use crate::kernels;
use crate::kernels::attention::CausalMask;
use crate::tensor::{len, size, statistics_kind};

/// Queries that are processed together. They are few enough to leave out most of the keys that they do not
/// see, and many enough for fast products.
const BLOCK: usize = 128;

/// As [`BLOCK`], on a GPU, where a block costs its launches.
const DEVICE_BLOCK: usize = 512;

/// Shape of the attention of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention {
    /// Query heads per key head.
    share: i64,
    key_heads: i64,
    head_dim: i64,
    /// Factor on the scores.
    scale: f64,
    /// Scores `s` become `cap · tanh(s / cap)`.
    softcap: Option<f64>,
    /// Number of latest positions that a query sees.
    window: Option<usize>,
}

/// Rotated queries `[rows, seq, query heads · head_dim]`, rotated keys and values
/// `[rows, seq, key heads · head_dim]`; or their gradients.
#[derive(Debug)]
pub(crate) struct Heads {
    pub(crate) query: Tensor,
    pub(crate) key: Tensor,
    pub(crate) value: Tensor,
}

impl Attention {
    pub(crate) fn new(plan: &AttentionPlan) -> Self {
        Self {
            share: size(plan.heads / plan.kv_heads),
            key_heads: size(plan.kv_heads),
            head_dim: size(plan.head_dim),
            scale: plan.scale,
            softcap: plan.softcap,
            window: plan.window,
        }
    }

    /// `[rows, seq, query heads · head_dim]`, no gradient.
    pub(crate) fn apply(&self, heads: &Heads) -> Tensor {
        if self.is_fused(heads) {
            return tch::no_grad(|| self.fused(heads));
        }
        let arranged = self.arrange(heads);
        let mut attended = Vec::new();
        for part in self.parts(heads) {
            let (query, key, value) = part.cut(&arranged);
            let scores = self.capped(query.bmm(&key.transpose(1, 2)));
            let rows = self.weights(&part, scores).bmm(&value);
            attended.push(rows.view([rows.size()[0], part.queries(), -1, self.head_dim]));
        }
        self.restore(&Tensor::cat(&attended, 1), heads.query.size()[0])
    }

    /// The gradients of the heads, given the gradient of the result.
    pub(super) fn backward(&self, heads: &Heads, dy: &Tensor) -> Heads {
        if self.is_fused(heads) {
            return self.fused_backward(heads, dy);
        }
        let kind = dy.kind();
        let rows = dy.size()[0];
        let arranged = self.arrange(heads);
        let dy = self.by_key_head(dy);
        let wide = |tensor: &Tensor| tensor.zeros_like().to_kind(statistics_kind(kind));
        let mut queries = Vec::new();
        let (keys, values) = (wide(&arranged.key), wide(&arranged.value));
        for part in self.parts(heads) {
            let (query, key, value) = part.cut(&arranged);
            let dy = part.rows_of(&dy);
            let scores = self.capped(query.bmm(&key.transpose(1, 2)));
            let slope = self.softcap.map(|cap| (&scores / cap).square_().neg_() + 1.0);
            let of_weights = dy.bmm(&value.transpose(1, 2));
            let (weights, mut of_scores) = self.weights_backward(&part, scores, of_weights);
            if let Some(slope) = slope {
                // tanh' = 1 - tanh².
                let _ = of_scores.g_mul_(&slope);
            }
            let _ = part.keys_of(&values).g_add_(&weights.transpose(1, 2).bmm(&dy));
            let _ = part.keys_of(&keys).g_add_(&of_scores.transpose(1, 2).bmm(&query));
            let of_query = of_scores.bmm(&key).g_mul_scalar_(self.scale);
            queries.push(of_query.view([of_query.size()[0], part.queries(), -1, self.head_dim]));
        }
        let restore = |values: &Tensor| self.restore(&values.unsqueeze(2).to_kind(kind), rows);
        Heads {
            query: self.restore(&Tensor::cat(&queries, 1), rows),
            key: restore(&keys),
            value: restore(&values),
        }
    }

    /// Scores within the bound, in their place.
    fn capped(&self, mut scores: Tensor) -> Tensor {
        match self.softcap {
            Some(cap) => scores.g_div_scalar_(cap).tanh_().g_mul_scalar_(cap),
            None => scores,
        }
    }

    /// Weights of each query of a part on its keys, from scores `[.., queries · share, keys]`.
    fn weights(&self, part: &Part, mut scores: Tensor) -> Tensor {
        if kernels::work_for(&scores) {
            kernels::attention::softmax(&mut scores, &self.causal_mask(part));
            return scores;
        }
        let shape = scores.size();
        let mut by_query = scores.view([shape[0], part.queries(), self.share, shape[2]]);
        let hidden = part.hidden(self.window, by_query.device());
        let _ = by_query.masked_fill_(&hidden, f64::NEG_INFINITY);
        scores.softmax(-1, None::<Kind>)
    }

    /// The weights, and the gradient of the scores, given the gradient of the weights.
    fn weights_backward(
        &self,
        part: &Part,
        mut scores: Tensor,
        mut of_weights: Tensor,
    ) -> (Tensor, Tensor) {
        if kernels::work_for(&scores) {
            kernels::attention::softmax_backward(
                &mut scores,
                &mut of_weights,
                &self.causal_mask(part),
            );
            return (scores, of_weights);
        }
        let weights = self.weights(part, scores);
        let kind = weights.kind();
        let of_scores = Tensor::internal_softmax_backward_data(&of_weights, &weights, -1, kind);
        (weights, of_scores)
    }

    fn causal_mask(&self, part: &Part) -> CausalMask {
        CausalMask {
            queries: len(part.queries()),
            share: len(self.share),
            first: len(part.start - part.first_key),
            window: self.window,
        }
    }

    fn parts(&self, heads: &Heads) -> Vec<Part> {
        let seq = usize::try_from(heads.query.size()[1]).unwrap_or(0);
        let block = if heads.query.device() == Device::Cpu { BLOCK } else { DEVICE_BLOCK };
        (0..seq)
            .step_by(block)
            .map(|start| {
                let first = self.window.map_or(0, |window| (start + 1).saturating_sub(window));
                let end = (start + block).min(seq);
                Part { start: size(start), end: size(end), first_key: size(first) }
            })
            .collect()
    }

    /// Ordered by key head; queries are scaled.
    fn arrange(&self, heads: &Heads) -> Heads {
        let of_keys = |tensor: &Tensor| self.by_key_head(tensor).squeeze_dim(2);
        Heads {
            query: self.by_key_head(&heads.query) * self.scale,
            key: of_keys(&heads.key),
            value: of_keys(&heads.value),
        }
    }

    /// From `[rows, seq, heads · head_dim]` to `[rows · key heads, seq, heads per key head, head_dim]`.
    fn by_key_head(&self, tensor: &Tensor) -> Tensor {
        let (rows, seq) = (tensor.size()[0], tensor.size()[1]);
        let split = tensor.view([rows, seq, self.key_heads, -1, self.head_dim]);
        let heads = split.size()[3];
        split.transpose(1, 2).reshape([rows * self.key_heads, seq, heads, self.head_dim])
    }

    /// The inverse of [`Self::by_key_head`].
    fn restore(&self, tensor: &Tensor, rows: i64) -> Tensor {
        let seq = tensor.size()[1];
        let split = tensor.view([rows, self.key_heads, seq, -1, self.head_dim]);
        split.transpose(1, 2).reshape([rows, seq, -1])
    }

    /// Whether libtorch's fused kernels compute it, in memory that is linear in the length of the rows. They have
    /// no bound, and a window would be a mask of all pairs of positions.
    fn is_fused(&self, heads: &Heads) -> bool {
        let seq = heads.query.size()[1];
        let all = self.window.is_none_or(|window| size(window) >= seq);
        heads.query.device() != Device::Cpu && all && self.softcap.is_none()
    }

    /// By libtorch's fused kernels.
    fn fused(&self, heads: &Heads) -> Tensor {
        let (rows, seq) = (heads.query.size()[0], heads.query.size()[1]);
        let split = |tensor: &Tensor| tensor.view([rows, seq, -1, self.head_dim]).transpose(1, 2);
        // Kernels that share key heads exist for narrow kinds only; others would hold all weights.
        let repeats = self.share != 1 && statistics_kind(heads.query.kind()) == heads.query.kind();
        let of_keys = |tensor: &Tensor| {
            if !repeats {
                return split(tensor);
            }
            let by_head = tensor.view([rows, seq, self.key_heads, 1, self.head_dim]);
            split(&by_head.expand([-1, -1, -1, self.share, -1], false).reshape([rows, seq, -1]))
        };
        let attended = Tensor::scaled_dot_product_attention(
            &split(&heads.query),
            &of_keys(&heads.key),
            &of_keys(&heads.value),
            None::<&Tensor>,
            0.0,
            true,
            self.scale,
            self.share != 1 && !repeats,
        );
        attended.transpose(1, 2).reshape([rows, seq, -1])
    }

    fn fused_backward(&self, heads: &Heads, dy: &Tensor) -> Heads {
        gradients(heads, dy, |heads| self.fused(heads))
    }
}

/// The gradients of heads, given the gradient of the result that autograd computes from them.
fn gradients(heads: &Heads, dy: &Tensor, attend: impl FnOnce(&Heads) -> Tensor) -> Heads {
    let leaf = |tensor: &Tensor| tensor.detach().set_requires_grad(true);
    let leaves =
        Heads { query: leaf(&heads.query), key: leaf(&heads.key), value: leaf(&heads.value) };
    tch::with_grad(|| (attend(&leaves) * dy).sum(dy.kind()).backward());
    Heads { query: leaves.query.grad(), key: leaves.key.grad(), value: leaves.value.grad() }
}

/// A block of queries, and the keys that any of them sees.
#[derive(Debug)]
struct Part {
    start: i64,
    end: i64,
    first_key: i64,
}

impl Part {
    /// Keys that a query does not see: `[queries, 1, keys]`, `Bool`.
    fn hidden(&self, window: Option<usize>, device: Device) -> Tensor {
        let range = |from| Tensor::arange_start(from, self.end, (Kind::Int64, device));
        let distance = range(self.start).unsqueeze(1) - range(self.first_key).unsqueeze(0);
        let hidden = match window {
            Some(window) => distance.lt(0).logical_or(&distance.ge(size(window))),
            None => distance.lt(0),
        };
        hidden.unsqueeze(1)
    }

    fn queries(&self) -> i64 {
        self.end - self.start
    }

    /// Queries `[.., queries · share, head_dim]`, keys and values `[.., keys, head_dim]`.
    fn cut(&self, arranged: &Heads) -> (Tensor, Tensor, Tensor) {
        (self.rows_of(&arranged.query), self.keys_of(&arranged.key), self.keys_of(&arranged.value))
    }

    fn rows_of(&self, arranged: &Tensor) -> Tensor {
        let rows = arranged.narrow(1, self.start, self.queries());
        rows.reshape([rows.size()[0], -1, rows.size()[3]])
    }

    fn keys_of(&self, arranged: &Tensor) -> Tensor {
        arranged.narrow(1, self.first_key, self.end - self.first_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: &[i64], offset: f64) -> Tensor {
        let count: i64 = shape.iter().product();
        (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 1.7 + offset).sin().view(shape)
    }

    /// On other devices libtorch's kernels replace blocks.
    #[test]
    fn blocks_equal_the_fused_kernels() {
        tch::set_num_threads(1);
        for (key_heads, share) in [(1, 1), (2, 3)] {
            check(key_heads, share, None, None, Attention::fused);
        }
    }

    #[test]
    fn blocks_equal_the_definition() {
        tch::set_num_threads(1);
        for (window, softcap) in [(Some(40), None), (None, Some(2.0)), (Some(140), Some(3.0))] {
            check(3, 2, window, softcap, Attention::defined);
        }
    }

    /// Blocks, and their gradients, against `exact`.
    fn check(
        key_heads: i64,
        share: i64,
        window: Option<usize>,
        softcap: Option<f64>,
        exact: fn(&Attention, &Heads) -> Tensor,
    ) {
        let attention = Attention { share, key_heads, head_dim: 4, scale: 0.4, softcap, window };
        let (rows, seq) = (2, 150);
        let heads = Heads {
            query: random(&[rows, seq, key_heads * share * 4], 0.1),
            key: random(&[rows, seq, key_heads * 4], 0.2),
            value: random(&[rows, seq, key_heads * 4], 0.3),
        };
        let dy = random(&[rows, seq, key_heads * share * 4], 0.4);
        let expected = gradients(&heads, &dy, |heads| exact(&attention, heads));
        for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5), (Kind::BFloat16, 0.1)]
        {
            let close = |blocks: &Tensor, exact: &Tensor| {
                let error = (blocks - exact).abs().max().double_value(&[]);
                assert!(error < tolerance, "{attention:?} {kind:?}: {error}");
            };
            let cast = |tensor: &Tensor| tensor.to_kind(kind);
            let narrow = Heads {
                query: cast(&heads.query),
                key: cast(&heads.key),
                value: cast(&heads.value),
            };
            close(&attention.apply(&narrow), &exact(&attention, &heads));
            let blocks = attention.backward(&narrow, &cast(&dy));
            close(&blocks.query, &expected.query);
            close(&blocks.key, &expected.key);
            close(&blocks.value, &expected.value);
        }
    }

    impl Attention {
        /// All weights at once.
        fn defined(&self, heads: &Heads) -> Tensor {
            let (rows, seq) = (heads.query.size()[0], heads.query.size()[1]);
            let split = |tensor: &Tensor| {
                tensor.view([rows, seq, self.key_heads, -1, self.head_dim]).permute([0, 2, 3, 1, 4])
            };
            let scores = split(&heads.query).matmul(&split(&heads.key).transpose(-1, -2));
            let mut scores = scores * self.scale;
            if let Some(cap) = self.softcap {
                scores = (scores / cap).tanh() * cap;
            }
            let at = Tensor::arange(seq, (Kind::Int64, Device::Cpu));
            let distance = at.unsqueeze(1) - at.unsqueeze(0);
            let window = self.window.map_or(seq, size);
            let hidden = distance.lt(0).logical_or(&distance.ge(window));
            let weights = scores.masked_fill(&hidden, f64::NEG_INFINITY).softmax(-1, None::<Kind>);
            let attended = weights.matmul(&split(&heads.value));
            attended.permute([0, 3, 1, 2, 4]).reshape([rows, seq, -1])
        }
    }
}
