//! A gated delta-net between the projections of a block, forward and backward.

use tch::{Kind, Tensor};

use crate::config::family::Activation;
use crate::config::plan::DeltaNetPlan;
use crate::forward::delta_rule::{self, DeltaInputs};
use crate::forward::grad;
use crate::forward::norm::Norm;
use crate::forward::ragged::{Group, RaggedLayout};
use crate::tensor::{size, statistics_kind};
use crate::weights::DeltaNetWeights;

/// Queries and keys are divided by the root of their squares' sum and this.
pub(crate) const UNIT_EPS: f64 = 1e-6;

/// A gated delta-net with its inputs for rows.
#[derive(Debug)]
pub(crate) struct DeltaNet<'a> {
    pub(crate) plan: DeltaNetPlan,
    pub(crate) weights: &'a DeltaNetWeights,
    pub(crate) rows: &'a RaggedLayout,
}

/// Of the rows of a group, before the delta rule, in the kind of the statistics.
struct Convolved {
    /// The input of the convolution, `[rows, seq, channels]`.
    input: Tensor,
    /// The result, before its activation.
    result: Tensor,
    /// Query and key heads before they are divided by their lengths, `[rows, seq, key heads, key_dim]`.
    query: Tensor,
    key: Tensor,
}

impl DeltaNet<'_> {
    /// The input of the output projection, `[tokens, values]`, from the results of the input projections, `[tokens, ..]`
    /// each. The second result is the last states of the rows, `[rows, value heads, key_dim, value_dim]`, as in the layout.
    pub(crate) fn apply(&self, projected: &[Tensor]) -> (Tensor, Tensor) {
        let kind = projected[0].kind();
        let (decay, rate) = self.gates(projected);
        let (mut read, mut states) = (Vec::new(), Vec::new());
        for group in &self.rows.groups {
            let (_, inputs) = self.prepare(group, &projected[0], &decay, &rate);
            let (heads, state) = delta_rule::apply(&inputs);
            read.push(group.unpad(&self.by_token(group, &heads)).to_kind(kind));
            let (heads, key_dim, value_dim) = state.size3().expect("there are three dimensions");
            let rows = size(group.rows);
            states.push(state.view([rows, heads / rows, key_dim, value_dim]));
        }
        let read = Tensor::cat(&read, 0);
        let gate = projected[1].contiguous();
        (Activation::Silu.gate(&gate, &self.normed(&read)), Tensor::cat(&states, 0))
    }

    /// The gradients of the results of the input projections, given the gradient of [`Self::apply`]'s result.
    /// Adds to those of the parameters.
    pub(super) fn backward(&self, projected: &[Tensor], dy: Tensor) -> Vec<Tensor> {
        let kind = projected[0].kind();
        let (decay, rate) = self.gates(projected);
        let prepared = |group| self.prepare(group, &projected[0], &decay, &rate);
        // What was read is not kept.
        let read = self.rows.groups.iter().map(|group| {
            let (heads, _) = delta_rule::apply(&prepared(group).1);
            group.unpad(&self.by_token(group, &heads)).to_kind(kind)
        });
        let read = Tensor::cat(&read.collect::<Vec<_>>(), 0);
        let normed = self.normed(&read);
        let (of_gate, of_normed) = Activation::Silu.gate_backward(&projected[1], &normed, dy);
        let norm = self.norm();
        let (heads, of_heads) = (self.by_head(&read), self.by_head(&of_normed));
        let of_read = norm.backward(&heads, &norm.scale(&heads), &of_heads);
        let of_read = of_read.view(read.size().as_slice());

        let (mut of_input, mut of_decay, mut of_rate) = (Vec::new(), Vec::new(), Vec::new());
        let mut of_conv = Vec::new();
        for group in &self.rows.groups {
            let (convolved, inputs) = prepared(group);
            let of_read = wide(&group.pad_zero(&of_read));
            let of_inputs = delta_rule::backward(&inputs, &self.heads(group, &of_read));
            let of_result = self.prepare_backward(group, &convolved, &of_inputs);
            of_input.push(group.unpad(&self.convolve_backward(&of_result)));
            if self.weights.conv.requires_grad() {
                of_conv.push(self.taps_backward(&convolved.input, &of_result));
            }
            let by_token =
                |values: &Tensor| group.unpad(&self.by_token(group, &values.unsqueeze(-1)));
            of_decay.push(by_token(&of_inputs.decay));
            of_rate.push(by_token(&of_inputs.rate));
        }
        // Added up before they are rounded to the kind of the parameter.
        grad::add_with(&self.weights.conv, || of_conv.into_iter().sum());
        let joined = |parts: Vec<Tensor>| Tensor::cat(&parts, 0);
        let (of_rate, of_a) =
            self.gates_backward(projected, &decay, &rate, &joined(of_decay), &joined(of_rate));
        [joined(of_input), of_gate, of_rate, of_a].map(|gradient| gradient.to_kind(kind)).into()
    }

    /// Log-decays and rates of all tokens, `[tokens, value heads]`.
    fn gates(&self, projected: &[Tensor]) -> (Tensor, Tensor) {
        let shifted = self.shifted(projected);
        let decay = shifted.softplus() * self.slope(shifted.kind());
        (decay, wide(&projected[2]).sigmoid())
    }

    /// The projection to decays and its bias.
    fn shifted(&self, projected: &[Tensor]) -> Tensor {
        let a = wide(&projected[3]);
        let bias = self.weights.decay_bias.detach().to_kind(a.kind());
        a + bias
    }

    /// Factors on the decays.
    fn slope(&self, kind: Kind) -> Tensor {
        self.weights.decay.detach().to_kind(kind).exp().neg()
    }

    /// The gradients of the projections to rates and decays; adds to those of the parameters.
    fn gates_backward(
        &self,
        projected: &[Tensor],
        decay: &Tensor,
        rate: &Tensor,
        of_decay: &Tensor,
        of_rate: &Tensor,
    ) -> (Tensor, Tensor) {
        let sum = |values: &Tensor| values.sum_dim_intlist([0_i64].as_slice(), false, None::<Kind>);
        grad::add_with(&self.weights.decay, || sum(&(of_decay * decay)));
        // The derivative of softplus is sigmoid.
        let of_a = of_decay * self.slope(of_decay.kind()) * self.shifted(projected).sigmoid();
        grad::add_with(&self.weights.decay_bias, || sum(&of_a));
        (Tensor::sigmoid_backward(of_rate, rate), of_a)
    }

    fn norm(&self) -> Norm<'_> {
        Norm { plan: self.plan.norm, weight: &self.weights.norm }
    }

    /// `[tokens, values]` as `[tokens · value heads, value_dim]`.
    fn by_head(&self, values: &Tensor) -> Tensor {
        values.view([-1, size(self.plan.value_dim)])
    }

    /// The norm of each head of `read`.
    fn normed(&self, read: &Tensor) -> Tensor {
        let (norm, heads) = (self.norm(), self.by_head(read));
        norm.normalized(&heads).0.view(read.size().as_slice())
    }

    /// The kernels of the convolution by position, `[kernel, channels]`.
    fn taps(&self, kind: Kind) -> Tensor {
        self.weights.conv.detach().to_kind(kind).squeeze_dim(1).transpose(0, 1).contiguous()
    }

    /// The inputs of the delta rule of the rows of a group. Places without a token change no state.
    fn prepare(
        &self,
        group: &Group,
        input: &Tensor,
        decay: &Tensor,
        rate: &Tensor,
    ) -> (Convolved, DeltaInputs) {
        let input = wide(&group.pad(input));
        let result = self.convolve(&input);
        let (keys, values) = (size(self.plan.keys()), size(self.plan.values()));
        let [query, key, value] =
            <[Tensor; 3]>::try_from(result.silu().split_with_sizes([keys, keys, values], -1))
                .expect("there are three parts");
        let by_key_head = |values: Tensor| {
            let (rows, seq) = (size(group.rows), size(group.seq));
            values.reshape([rows, seq, size(self.plan.key_heads), -1])
        };
        let (query, key) = (by_key_head(query), by_key_head(key));
        let inputs = DeltaInputs {
            query: self.spread(&(unit(&query) * self.scale())),
            key: self.spread(&unit(&key)),
            value: self.heads(group, &value),
            decay: self.heads(group, &group.pad_zero(decay)).squeeze_dim(-1),
            rate: self.heads(group, &group.pad_zero(rate)).squeeze_dim(-1),
        };
        (Convolved { input, result, query, key }, inputs)
    }

    /// The gradient of the result of the convolution, `[rows, seq, channels]`, given the gradients of the results of
    /// [`Self::prepare`].
    fn prepare_backward(
        &self,
        group: &Group,
        convolved: &Convolved,
        of_inputs: &DeltaInputs,
    ) -> Tensor {
        let flat = |values: &Tensor| values.flatten(2, 3);
        let of_query = self.gathered(group, &of_inputs.query) * self.scale();
        let of_active = Tensor::cat(
            &[
                flat(&unit_backward(&convolved.query, &of_query)),
                flat(&unit_backward(&convolved.key, &self.gathered(group, &of_inputs.key))),
                self.by_token(group, &of_inputs.value),
            ],
            -1,
        );
        convolved.result.silu_backward(&of_active)
    }

    fn scale(&self) -> f64 {
        1.0 / (self.plan.key_dim as f64).sqrt()
    }

    /// Each token's numbers and the numbers of the tokens before it in its row, `[rows, seq, channels]`, by the
    /// kernels.
    fn convolve(&self, input: &Tensor) -> Tensor {
        let (seq, before) = (input.size()[1], size(self.plan.kernel) - 1);
        let (padded, taps) = (input.constant_pad_nd([0, 0, before, 0]), self.taps(input.kind()));
        let mut sum = input * taps.get(before);
        for tap in 0..before {
            sum = sum.addcmul_(&padded.narrow(1, tap, seq), &taps.get(tap));
        }
        sum
    }

    /// The gradient of the kernels, given the gradient of the result of [`Self::convolve`],
    /// `[channels, 1, kernel]`.
    fn taps_backward(&self, input: &Tensor, dy: &Tensor) -> Tensor {
        let (seq, before) = (input.size()[1], size(self.plan.kernel) - 1);
        let padded = input.constant_pad_nd([0, 0, before, 0]);
        let of_tap = (0..=before).map(|tap| {
            let product = padded.narrow(1, tap, seq) * dy;
            product.sum_dim_intlist([0_i64, 1].as_slice(), false, None::<Kind>)
        });
        Tensor::stack(&of_tap.collect::<Vec<_>>(), -1).unsqueeze(1)
    }

    /// The gradient of the input of [`Self::convolve`], given the gradient of its result.
    fn convolve_backward(&self, dy: &Tensor) -> Tensor {
        let (seq, before) = (dy.size()[1], size(self.plan.kernel) - 1);
        let (padded, taps) = (dy.constant_pad_nd([0, 0, 0, before]), self.taps(dy.kind()));
        let mut sum = dy * taps.get(before);
        for tap in 0..before {
            sum = sum.addcmul_(&padded.narrow(1, before - tap, seq), &taps.get(tap));
        }
        sum
    }

    /// `[rows, seq, value heads · width]` as `[rows · value heads, seq, width]`.
    fn heads(&self, group: &Group, values: &Tensor) -> Tensor {
        let (rows, seq, heads) = (size(group.rows), size(group.seq), size(self.plan.value_heads));
        let by_head = values.reshape([rows, seq, heads, -1]).transpose(1, 2);
        by_head.reshape([rows * heads, seq, -1])
    }

    /// The inverse of [`Self::heads`].
    fn by_token(&self, group: &Group, heads: &Tensor) -> Tensor {
        let (rows, seq) = (size(group.rows), size(group.seq));
        let by_row = heads.reshape([rows, size(self.plan.value_heads), seq, -1]);
        by_row.transpose(1, 2).reshape([rows, seq, -1])
    }

    /// Key heads `[rows, seq, key heads, width]` for the value heads that share them, as [`Self::heads`].
    fn spread(&self, keys: &Tensor) -> Tensor {
        let (rows, seq, heads, width) = keys.size4().expect("there are four dimensions");
        let share = size(self.plan.value_heads) / heads;
        let shared = keys.unsqueeze(3).expand([rows, seq, heads, share, width], false);
        shared.permute([0, 2, 3, 1, 4]).reshape([rows * heads * share, seq, width])
    }

    /// The gradient of the input of [`Self::spread`].
    fn gathered(&self, group: &Group, heads: &Tensor) -> Tensor {
        let (rows, seq, key_heads) = (size(group.rows), size(group.seq), size(self.plan.key_heads));
        let shared = heads.reshape([rows, key_heads, -1, seq, size(self.plan.key_dim)]);
        shared.sum_dim_intlist([2_i64].as_slice(), false, None::<Kind>).transpose(1, 2)
    }
}

/// `x` divided by its length, over the last dimension.
pub(crate) fn unit(x: &Tensor) -> Tensor {
    x * inverse_length(x)
}

fn inverse_length(x: &Tensor) -> Tensor {
    (x.square().sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>) + UNIT_EPS).rsqrt()
}

/// The gradient of `x`, given the gradient of [`unit`].
fn unit_backward(x: &Tensor, dy: &Tensor) -> Tensor {
    let scale = inverse_length(x);
    let unit = x * &scale;
    let along = (&unit * dy).sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>);
    (dy - unit * along) * scale
}

fn wide(x: &Tensor) -> Tensor {
    x.to_kind(statistics_kind(x.kind()))
}
