//! Projections, forward and backward.

use tch::{Kind, Tensor};

use crate::forward::grad;
use crate::kernels::onednn::product;
use crate::weights::Linear;

impl Linear {
    /// The projection of `x` `[tokens, in]` without gradient: `[tokens, out]`, in the kind of `x`.
    pub(super) fn apply(&self, x: &Tensor, dropout_seed: Option<u64>) -> Tensor {
        let kind = x.kind();
        let bias = self.bias.as_ref().map(|bias| bias.detach().to_kind(kind));
        let y = product(x, &self.weight.detach().to_kind(kind), bias.as_ref());
        match &self.adapter {
            Some(adapter) => y + adapter.forward(x, dropout_seed),
            None => y,
        }
    }

    /// The gradient of `x` from that of the projection; adds to those of the parameters.
    pub(super) fn backward(&self, x: &Tensor, dy: &Tensor, dropout_seed: Option<u64>) -> Tensor {
        let kind = x.kind();
        grad::add_product(&self.weight, dy, x);
        if let Some(bias) = &self.bias {
            grad::add_with(bias, || dy.sum_dim_intlist([0_i64].as_slice(), false, None::<Kind>));
        }
        let dx = product(dy, &self.weight.detach().to_kind(kind).transpose(0, 1), None);
        match &self.adapter {
            Some(adapter) => {
                // Adapters are narrow: recomputing one costs little.
                let input = x.detach().set_requires_grad(true);
                let of_adapter = tch::with_grad(|| {
                    (adapter.forward(&input, dropout_seed) * dy).sum(kind).backward();
                    input.grad()
                });
                dx + of_adapter
            }
            None => dx,
        }
    }
}
