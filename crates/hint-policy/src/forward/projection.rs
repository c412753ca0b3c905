//! Projections, forward and backward.

use tch::{Kind, Tensor};

use crate::forward::grad;
use crate::kernels::onednn::product;
use crate::weights::{Linear, Projections};

impl Linear {
    /// The projection of `x` `[tokens, in]` without gradient: `[tokens, out]`, in the kind of `x`.
    pub(super) fn apply(&self, x: &Tensor, dropout_seed: Option<u64>) -> Tensor {
        let kind = x.kind();
        let bias = self.bias.as_ref().map(|bias| bias.detach().to_kind(kind));
        let y = product(x, &self.cast.of(&self.weight, kind), bias.as_ref());
        match &self.adapter {
            Some(adapter) => y + adapter.forward(x, dropout_seed),
            None => y,
        }
    }

    /// The gradient of `x`, given the gradient of the projection. Adds to the gradients of the
    /// parameters.
    pub(super) fn backward(&self, x: &Tensor, dy: &Tensor, dropout_seed: Option<u64>) -> Tensor {
        let kind = x.kind();
        grad::add_product(&self.weight, dy, x);
        if let Some(bias) = &self.bias {
            grad::add_with(bias, || dy.sum_dim_intlist([0_i64].as_slice(), false, None::<Kind>));
        }
        let dx = product(dy, &self.cast.of(&self.weight, kind).transpose(0, 1), None);
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

impl Projections {
    /// The results for `x` `[tokens, in]` without gradient, each `[tokens, width]`, in the kind of `x`.
    pub(super) fn apply(&self, x: &Tensor, dropout_seed: Option<u64>) -> Vec<Tensor> {
        let results = self.matrices.iter().map(|matrix| matrix.apply(x, dropout_seed)).collect();
        // Parts of one result would hold on to the whole.
        self.split(results).iter().map(Tensor::contiguous).collect()
    }

    /// The gradient of `x`, given the gradients of the results. Adds to the gradients of the
    /// parameters.
    pub(super) fn backward(
        &self,
        x: &Tensor,
        dys: &[&Tensor],
        dropout_seed: Option<u64>,
    ) -> Tensor {
        let joint;
        let dys = if self.matrices.len() == dys.len() {
            dys
        } else {
            joint = Tensor::cat(dys, -1);
            &[&joint]
        };
        let of_x =
            self.matrices.iter().zip(dys).map(|(matrix, dy)| matrix.backward(x, dy, dropout_seed));
        of_x.reduce(|mut sum, part| sum.g_add_(&part)).expect("there is a matrix")
    }
}
