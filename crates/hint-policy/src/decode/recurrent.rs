//! States of gated delta-nets, and their change by one token of each row.

use tch::{Device, Kind, Tensor};

use crate::config::plan::DeltaNetPlan;
use crate::decode::fused::FusedDeltaNet;
use crate::forward::delta_net;
use crate::forward::ragged::RaggedLayout;
use crate::tensor::{size, statistics_kind, upload};

/// States of every gated delta-net. Rows occupy the first places, as in the cache of keys and values.
#[derive(Debug)]
pub(super) struct StateCache {
    /// The latest inputs of the convolutions, `[layers, places, kernel - 1, channels]`.
    inputs: Tensor,
    /// `[layers, places, value_heads, key_dim, value_dim]`, in the kind of the statistics.
    states: Tensor,
    plan: DeltaNetPlan,
    layers: usize,
    places: usize,
}

/// The states of a row: `inputs` `[layers, kernel - 1, channels]`, `states` `[layers, value_heads, key_dim, value_dim]`.
#[derive(Debug)]
pub(super) struct RowStates {
    inputs: Tensor,
    states: Tensor,
}

#[cfg(test)]
impl StateCache {
    /// Numbers of each row.
    pub(super) fn numbers(&self) -> usize {
        (self.inputs.numel() + self.states.numel()) / self.places
    }
}

impl StateCache {
    /// An empty cache for `layers` gated delta-nets.
    pub(super) fn new(plan: DeltaNetPlan, layers: usize, kind: Kind, device: Device) -> Self {
        let empty = |kind| Tensor::zeros([0], (kind, device));
        let (inputs, states) = (empty(kind), empty(statistics_kind(kind)));
        Self { inputs, states, plan, layers, places: 0 }
    }

    /// Makes room for `rows` rows, at most `max_rows` in the long run, keeping the first `kept_rows`.
    pub(super) fn reserve(&mut self, rows: usize, max_rows: usize, kept_rows: usize) {
        if rows <= self.places {
            return;
        }
        let places = rows.max(self.places * 3 / 2).max(max_rows.min(rows * 2));
        let plan = &self.plan;
        let grown = |old: &Tensor, row: &[usize]| {
            let shape: Vec<i64> =
                [self.layers, places].iter().chain(row).map(|&n| size(n)).collect();
            let new = Tensor::zeros(shape, (old.kind(), old.device()));
            if kept_rows > 0 {
                let kept = |cache: &Tensor| cache.narrow(1, 0, size(kept_rows));
                kept(&new).copy_(&kept(old));
            }
            new
        };
        let inputs = grown(&self.inputs, &[plan.kernel - 1, plan.channels()]);
        let states = grown(&self.states, &[plan.value_heads, plan.key_dim, plan.value_dim]);
        (self.inputs, self.states, self.places) = (inputs, states, places);
    }

    /// Starts `count` rows at place `row` with the states of a prompt.
    pub(super) fn fill(&self, row: usize, count: usize, prompt: &RowStates) {
        for (cache, own) in [(&self.inputs, &prompt.inputs), (&self.states, &prompt.states)] {
            cache.narrow(1, size(row), size(count)).copy_(&own.unsqueeze(1));
        }
    }

    /// Puts the rows at places `from` to places `to`, `[moved]` each.
    pub(super) fn move_rows(&self, from: &Tensor, to: &Tensor) {
        for cache in [&self.inputs, &self.states] {
            for layer in 0..size(self.layers) {
                let mut places = cache.select(0, layer);
                let rows = places.index_select(0, from);
                let _ = places.index_copy_(0, to, &rows);
            }
        }
    }

    /// Feeds one token to each row at the first places. Takes the results of the input projections side by side, and returns
    /// the input of the output projection, `[rows, values]`. If `invariant`, the bits of a row do not depend on the others.
    pub(super) fn step(&self, net: &FusedDeltaNet, projected: &Tensor, invariant: bool) -> Tensor {
        let plan = &self.plan;
        let (kind, rows, slot) = (projected.kind(), projected.size()[0], size(net.slot));
        let narrow = |x: Tensor| x.to_kind(statistics_kind(kind));
        // libtorch's kernels compute the last elements of a `Float` tensor, those that fill no vector, by other formulas
        // of exp; what these differ by is lost in rounding from `Double`.
        let wide =
            |x: &Tensor| x.to_kind(if invariant { Kind::Double } else { statistics_kind(kind) });
        let (heads, key_heads) = (size(plan.value_heads), size(plan.key_heads));
        let (key_dim, value_dim) = (size(plan.key_dim), size(plan.value_dim));
        let (keys, values) = (size(plan.keys()), size(plan.values()));
        let [input, gate, b, a] = net.split(projected);

        let mut before = self.inputs.select(0, slot).narrow(0, 0, rows);
        let seen = Tensor::cat(&[before.shallow_clone(), input.unsqueeze(1)], 1);
        before.copy_(&seen.narrow(1, 1, size(plan.kernel) - 1));
        let convolved =
            (wide(&seen) * &net.taps).sum_dim_intlist([1_i64].as_slice(), false, None::<Kind>);
        let active = narrow(convolved.silu());
        let of_keys = |start: i64, factor: f64| {
            let unit = delta_net::unit(&active.narrow(1, start, keys).view([rows, key_heads, -1]));
            let shared = (unit * factor).unsqueeze(2);
            let shape = [rows, key_heads, heads / key_heads, key_dim];
            shared.expand(shape, false).reshape([rows * heads, key_dim])
        };
        let query = of_keys(0, 1.0 / (plan.key_dim as f64).sqrt());
        let key = of_keys(keys, 1.0);
        let value = active.narrow(1, 2 * keys, values).reshape([rows * heads, value_dim]);
        let left = ((wide(&a) + &net.weights.decay_bias).softplus() * &net.slope).exp();
        let left = narrow(left).view([-1, 1, 1]);
        let rate = narrow(wide(&b).sigmoid()).view([-1, 1]);

        // One look at the states serves the change and, as the change is known, what is read.
        let states = self.states.select(0, slot).narrow(0, 0, rows);
        let mut states = states.view([rows * heads, key_dim, value_dim]);
        let asked = Tensor::stack(&[&key, &query], 1);
        let found = if invariant {
            let row = |row: i64| {
                let own = |tensor: &Tensor| tensor.narrow(0, row * heads, heads);
                own(&asked).bmm(&own(&states))
            };
            Tensor::cat(&(0..rows).map(row).collect::<Vec<_>>(), 0)
        } else {
            asked.bmm(&states)
        };
        let found = found * &left;
        let change = (value - found.select(1, 0)) * rate;
        let along = (&key * &query).sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>);
        let read = found.select(1, 1) + &change * along;
        let _ = states.g_mul_(&left).addcmul_(&key.unsqueeze(2), &change.unsqueeze(1));

        let normed = net.unit.of(&read.to_kind(kind)) * &net.norm;
        (wide(&gate).silu() * normed.view([rows, values])).to_kind(kind)
    }
}

/// Ends of the prompts of a layout.
#[derive(Debug)]
pub(super) struct PromptEnds {
    /// The last tokens of each prompt, as many as a convolution remembers. `missing` marks the missing ones.
    tails: Tensor,
    missing: Tensor,
    /// Index of each prompt among the rows of the layout.
    ranks: Tensor,
    /// Of each gated delta-net.
    inputs: Vec<Tensor>,
    states: Vec<Tensor>,
}

impl PromptEnds {
    pub(super) fn new(
        plan: &DeltaNetPlan,
        rows: &RaggedLayout,
        prompts: &[&[u32]],
        device: Device,
    ) -> Self {
        let (mut tails, mut missing) = (Vec::new(), Vec::new());
        for (&start, prompt) in rows.starts.iter().zip(prompts) {
            let end = start + prompt.len();
            for back in (1..plan.kernel).rev() {
                tails.push(size(end.saturating_sub(back).max(start)));
                missing.push(back > prompt.len());
            }
        }
        let mut ranks = vec![0; prompts.len()];
        let mut by_start: Vec<usize> = (0..prompts.len()).collect();
        by_start.sort_by_key(|&prompt| rows.starts[prompt]);
        for (rank, prompt) in by_start.into_iter().enumerate() {
            ranks[prompt] = size(rank);
        }
        Self {
            tails: upload(&tails, device),
            missing: upload(&missing, device).unsqueeze(-1),
            ranks: upload(&ranks, device),
            inputs: Vec::new(),
            states: Vec::new(),
        }
    }

    /// Keeps the parts of a gated delta-net that are needed later: of its input `[tokens, channels]`, and the `states`
    /// of the layout's rows.
    pub(super) fn keep(&mut self, input: &Tensor, states: &Tensor) {
        let tails = input.index_select(0, &self.tails).masked_fill_(&self.missing, 0.0);
        self.inputs.push(tails.view([self.ranks.size()[0], -1, input.size()[1]]));
        self.states.push(states.index_select(0, &self.ranks));
    }

    /// The kept states, by prompt.
    pub(super) fn into_rows(self) -> Vec<RowStates> {
        let (inputs, states) = (Tensor::stack(&self.inputs, 1), Tensor::stack(&self.states, 1));
        let row =
            |row: i64| RowStates { inputs: inputs.get(row).copy(), states: states.get(row).copy() };
        (0..self.ranks.size()[0]).map(row).collect()
    }
}
