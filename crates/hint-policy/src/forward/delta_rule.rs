//! The gated delta rule of rows of one length, forward and backward, in chunks (arXiv 2412.06464).
//!
//! A chunk of tokens is a few products of matrices. The state `S` is the one that the chunk finds, and `γ` are the
//! sums of its log-decays from its start. With `E = exp(γ)`, `D[i, j] = exp(γ[i] − γ[j])` for `j ≤ i`, and `L = exp(γ[last] − γ)`,
//!
//! ```text
//! A = β K Kᵀ D below the diagonal          P = Q Kᵀ D
//! F = (1 + A)⁻¹ β (V − E K S)              what the tokens add to the state
//! O = E Q S + P F                          what they read
//! S ← exp(γ[last]) S + (L K)ᵀ F
//! ```
//!
//! Everything except the state is computed for all chunks at once; the backward pass goes through them from the last
//! one. Memory is linear in the length of the rows.

use tch::{Device, Kind, Tensor};

use crate::tensor::len;

/// Tokens of a chunk.
pub(crate) const CHUNK: i64 = 64;

/// Tokens, counted once for each head, that are computed at a time: a few hundred numbers exist for each. On a GPU
/// more, where a part costs its launches.
pub(crate) const TOKENS: i64 = 1 << 14;
pub(crate) const TOKENS_GPU: i64 = 1 << 17;

/// The inputs of each head, `[heads, tokens, ..]`, or their gradients.
#[derive(Debug)]
pub(super) struct DeltaInputs {
    /// `[heads, tokens, key_dim]`, as `key`.
    pub(super) query: Tensor,
    pub(super) key: Tensor,
    /// `[heads, tokens, value_dim]`.
    pub(super) value: Tensor,
    /// Logarithm of the share of the state that a token keeps, at most 0: `[heads, tokens]`.
    pub(super) decay: Tensor,
    /// Rate at which a token changes the state's value of its key: `[heads, tokens]`.
    pub(super) rate: Tensor,
}

/// The results of the heads `[heads, tokens, value_dim]`, and their states in the end `[heads, key_dim, value_dim]`.
pub(super) fn apply(inputs: &DeltaInputs) -> (Tensor, Tensor) {
    let (read, states): (Vec<_>, Vec<_>) =
        inputs.parts().into_iter().map(|part| apply_part(&part)).unzip();
    (Tensor::cat(&read, 0), Tensor::cat(&states, 0))
}

fn apply_part(inputs: &DeltaInputs) -> (Tensor, Tensor) {
    let chunks = Chunks::new(inputs);
    let mut read = Vec::new();
    let state = chunks.scan(|chunk, state, fresh| {
        let of_state = chunks.read_query.select(1, chunk).bmm(state);
        read.push(of_state.baddbmm(&chunks.weights.select(1, chunk), fresh, 1.0, 1.0));
    });
    (chunks.rows(&Tensor::stack(&read, 1)), state)
}

/// The gradients of the rule's inputs, given the gradient of the values that the heads read.
pub(super) fn backward(inputs: &DeltaInputs, dy: &Tensor) -> DeltaInputs {
    let mut start = 0;
    let parts = inputs.parts().into_iter().map(|part| {
        let heads = part.key.size()[0];
        start += heads;
        backward_part(&part, &dy.narrow(0, start - heads, heads))
    });
    DeltaInputs::joined(&parts.collect::<Vec<_>>())
}

fn backward_part(inputs: &DeltaInputs, dy: &Tensor) -> DeltaInputs {
    let chunks = Chunks::new(inputs);
    let dy = chunks.cut(dy);
    let (mut states, mut fresh) = (Vec::new(), Vec::new());
    let _ = chunks.scan(|_, state, added| {
        states.push(state.shallow_clone());
        fresh.push(added.shallow_clone());
    });
    let (states, fresh) = (Tensor::stack(&states, 1), Tensor::stack(&fresh, 1));
    // Through the states, from the last one.
    let of_fresh = transposed(&chunks.weights).matmul(&dy);
    let of_read = transposed(&chunks.read_query).matmul(&dy);
    let mut of_state = states.select(1, 0).zeros_like();
    let (mut of_states, mut of_added) = (Vec::new(), Vec::new());
    for chunk in (0..chunks.count).rev() {
        let at = |tensor: &Tensor| tensor.select(1, chunk);
        let added = at(&of_fresh).baddbmm(&at(&chunks.write_key), &of_state, 1.0, 1.0);
        of_states.push(of_state.shallow_clone());
        of_state = (of_state * at(&chunks.last)).g_add_(&at(&of_read)).baddbmm(
            &transposed(&at(&chunks.seen_key)),
            &added,
            1.0,
            -1.0,
        );
        of_added.push(added);
    }
    let in_order = |mut parts: Vec<Tensor>| {
        parts.reverse();
        Tensor::stack(&parts, 1)
    };
    let (of_states, of_added) = (in_order(of_states), in_order(of_added));
    chunks.gradients(&dy, &states, &fresh, &of_states, &of_added)
}

impl DeltaInputs {
    /// A few heads each.
    fn parts(&self) -> Vec<Self> {
        let (heads, tokens) = (self.key.size()[0], self.key.size()[1]);
        let most = if self.key.device() == Device::Cpu { TOKENS } else { TOKENS_GPU };
        let some = (most / tokens).clamp(1, heads);
        let part = |start| self.map(|values| values.narrow(0, start, some.min(heads - start)));
        (0..heads).step_by(len(some)).map(part).collect()
    }

    fn joined(parts: &[Self]) -> Self {
        let join =
            |of: fn(&Self) -> &Tensor| Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 0);
        Self {
            query: join(|part| &part.query),
            key: join(|part| &part.key),
            value: join(|part| &part.value),
            decay: join(|part| &part.decay),
            rate: join(|part| &part.rate),
        }
    }

    fn map(&self, make: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            query: make(&self.query),
            key: make(&self.key),
            value: make(&self.value),
            decay: make(&self.decay),
            rate: make(&self.rate),
        }
    }
}

/// The inputs, cut into chunks `[heads, chunks, tokens of a chunk, ..]`, and the values that follow from each
/// chunk alone.
struct Chunks {
    count: i64,
    /// Tokens without the padding of the last chunk.
    tokens: i64,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    /// `β`, `[.., 1]`.
    rate: Tensor,
    /// `E` and `L`, `[.., 1]`.
    since_start: Tensor,
    to_end: Tensor,
    /// The share of the state that a chunk leaves, `[.., 1, 1]`.
    last: Tensor,
    /// `D`, 0 above the diagonal.
    pairs: Tensor,
    /// `K Kᵀ`.
    gram: Tensor,
    /// `A`.
    below: Tensor,
    /// `P`.
    weights: Tensor,
    /// `E Q`, `E K` and `L K`.
    read_query: Tensor,
    read_key: Tensor,
    write_key: Tensor,
    /// `(1 + A)⁻¹ β V` and `(1 + A)⁻¹ β E K`: `F` is the first less the second times the state.
    seen_value: Tensor,
    seen_key: Tensor,
}

impl Chunks {
    fn new(inputs: &DeltaInputs) -> Self {
        let tokens = inputs.key.size()[1];
        let chunk = tokens.min(CHUNK);
        let cut = |values: &Tensor| cut(values, chunk);
        let (query, key, value) = (cut(&inputs.query), cut(&inputs.key), cut(&inputs.value));
        let rate = cut(&inputs.rate.unsqueeze(-1));
        let sums = cut(&inputs.decay.unsqueeze(-1)).cumsum(2, None::<Kind>);
        let end = sums.narrow(2, chunk - 1, 1);
        let hidden = Tensor::ones([chunk, chunk], (Kind::Bool, key.device())).triu(1);
        // exp would overflow above the diagonal, where sums grow.
        let pairs = (&sums - transposed(&sums)).masked_fill(&hidden, f64::NEG_INFINITY).exp();
        let gram = key.matmul(&transposed(&key));
        let below = (&gram * &pairs).g_mul_(&rate).tril(-1);
        let since_start = sums.exp();
        let read_key = &key * &since_start;
        let to_end = (&end - &sums).exp();
        Self {
            count: key.size()[1],
            tokens,
            weights: query.matmul(&transposed(&key)) * &pairs,
            seen_value: below.linalg_solve_triangular(&(&value * &rate), false, true, true),
            seen_key: below.linalg_solve_triangular(&(&read_key * &rate), false, true, true),
            read_query: &query * &since_start,
            write_key: &key * &to_end,
            last: end.exp(),
            query,
            key,
            value,
            rate,
            since_start,
            to_end,
            pairs,
            gram,
            below,
            read_key,
        }
    }

    /// Goes through the chunks; `visit` gets each, the state before it, and the additions of its tokens. Returns the
    /// last state.
    fn scan(&self, mut visit: impl FnMut(i64, &Tensor, &Tensor)) -> Tensor {
        let (keys, values) = (self.key.size(), self.value.size());
        let options = (self.key.kind(), self.key.device());
        let mut state = Tensor::zeros([keys[0], keys[3], values[3]], options);
        for chunk in 0..self.count {
            let at = |tensor: &Tensor| tensor.select(1, chunk);
            let fresh = at(&self.seen_value).baddbmm(&at(&self.seen_key), &state, 1.0, -1.0);
            visit(chunk, &state, &fresh);
            let kept = state * at(&self.last);
            state = kept.baddbmm(&transposed(&at(&self.write_key)), &fresh, 1.0, 1.0);
        }
        state
    }

    /// The gradients of the inputs. `dy` is the gradient of the results; the others are gradients of states and of
    /// additions to them.
    fn gradients(
        &self,
        dy: &Tensor,
        states: &Tensor,
        fresh: &Tensor,
        of_states: &Tensor,
        of_fresh: &Tensor,
    ) -> DeltaInputs {
        let inner = |a: &Tensor, b: &Tensor| {
            (a * b).sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>)
        };
        // What is solved for: β (V − E K S).
        let of_right = transposed(&self.below).linalg_solve_triangular(of_fresh, true, true, true);
        let of_value = &of_right * &self.rate;
        // A, and K Kᵀ with it.
        let of_below = of_right.matmul(&transposed(fresh)).tril(-1).neg_().g_mul_(&self.pairs);
        let of_gram = &of_below * &self.rate;
        let missing = &self.value - self.read_key.matmul(states);
        let of_rate = inner(&of_right, &missing) + inner(&of_below, &self.gram);
        // P, and Q Kᵀ with it.
        let of_weights = dy.matmul(&transposed(fresh)) * &self.pairs;
        let of_read_query = dy.matmul(&transposed(states));
        let of_read_key = of_value.matmul(&transposed(states)).neg_();
        let of_write_key = fresh.matmul(&transposed(of_states));
        let of_query = of_weights.matmul(&self.key) + &of_read_query * &self.since_start;
        let of_key = transposed(&of_weights).matmul(&self.query)
            + (&of_gram + transposed(&of_gram)).matmul(&self.key)
            + &of_read_key * &self.since_start
            + &of_write_key * &self.to_end;
        // The decays: each pair of positions has those between them.
        let of_pairs =
            of_weights * self.query.matmul(&transposed(&self.key)) + of_gram * &self.gram;
        let total = |tensor: &Tensor, dim: i64| {
            tensor.sum_dim_intlist([dim].as_slice(), true, None::<Kind>)
        };
        let to_end = inner(&of_write_key, &self.write_key);
        let of_last = total(&total(&(of_states * states), -1), -2) * &self.last;
        let of_sums = total(&of_pairs, -1) - transposed(&total(&of_pairs, -2))
            + inner(&of_read_query, &self.read_query)
            + inner(&of_read_key, &self.read_key)
            - &to_end;
        // Every position of a chunk decays what is there at its end, and what comes after itself.
        let of_end = total(&to_end, -2) + of_last;
        let of_decay = of_sums.flip([2]).cumsum(2, None::<Kind>).flip([2]) + of_end;
        DeltaInputs {
            query: self.rows(&of_query),
            key: self.rows(&of_key),
            value: self.rows(&of_value),
            decay: self.rows(&of_decay).squeeze_dim(-1),
            rate: self.rows(&of_rate).squeeze_dim(-1),
        }
    }

    fn cut(&self, values: &Tensor) -> Tensor {
        cut(values, self.key.size()[2])
    }

    /// The inverse of [`cut`].
    fn rows(&self, chunks: &Tensor) -> Tensor {
        chunks.flatten(1, 2).narrow(1, 0, self.tokens)
    }
}

/// From `[heads, tokens, width]` to `[heads, chunks, chunk, width]`, with zeros where there is no token. These change
/// nothing, and nothing decays there.
fn cut(values: &Tensor, chunk: i64) -> Tensor {
    let (heads, tokens, width) = values.size3().expect("there are three dimensions");
    let count = (tokens + chunk - 1) / chunk;
    let filled = values.constant_pad_nd([0, 0, 0, count * chunk - tokens]);
    filled.view([heads, count, chunk, width])
}

fn transposed(matrices: &Tensor) -> Tensor {
    matrices.transpose(-1, -2)
}
