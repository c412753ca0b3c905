//! Root-mean-square normalization, forward and backward.

use tch::{Kind, Tensor};

use crate::config::plan::NormPlan;
use crate::forward::grad;
use crate::kernels::fast_path::FastPath;
use crate::kernels::{self, fused};
use crate::tensor::statistics_kind;

/// Normalization over the last dimension by one parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm<'a> {
    pub(super) plan: NormPlan,
    /// `[width]`.
    pub(super) weight: &'a Tensor,
}

impl Norm<'_> {
    /// The normalized `x` in its kind, and the scale for the backward pass.
    pub(super) fn normalized(&self, x: &Tensor) -> (Tensor, Tensor) {
        if FastPath::RmsNorm.is_taken(x.device()) {
            return self.fused(x);
        }
        let scale = self.scale(x);
        (self.apply(x, &scale), scale)
    }

    /// `1 / sqrt(mean(x²) + eps)`, `[.., 1]`, in the kind of the statistics.
    pub(super) fn scale(&self, x: &Tensor) -> Tensor {
        if FastPath::RmsNorm.is_taken(x.device()) {
            return self.fused(x).1;
        }
        if kernels::work_for(x) {
            return kernels::block::norm_scale(x, self.plan.eps);
        }
        let width = *x.size().last().expect("rows have a width");
        let kind = statistics_kind(x.kind());
        let norm = x.norm_scalaropt_dim_dtype(2.0, [-1_i64].as_slice(), true, kind);
        (norm.square() / width as f64 + self.plan.eps).rsqrt()
    }

    /// The normalized `x`, whose scale is given, in the kind of `x`.
    pub(super) fn apply(&self, x: &Tensor, scale: &Tensor) -> Tensor {
        let kind = x.kind();
        if FastPath::RmsNorm.is_taken(x.device()) {
            return self.fused(x).0;
        }
        if kernels::work_for(x) {
            let rounds = self.plan.rounds();
            let weight =
                if rounds { self.weight.to_kind(kind) } else { self.weight.shallow_clone() };
            let factor = self.offset(&weight.detach().to_kind(Kind::Float));
            return kernels::block::norm(x, scale, &factor, rounds);
        }
        let mut unit = wide(x) * scale;
        if self.plan.rounds() {
            return narrow(unit, kind).g_mul_(&self.weight.to_kind(kind));
        }
        narrow(unit.g_mul_(&self.factor(scale.kind())), kind)
    }

    /// [`Self::normalized`] by one operation. It rounds once, at the end, where the others round the quotient as well.
    fn fused(&self, x: &Tensor) -> (Tensor, Tensor) {
        let kind = x.kind();
        let of = |x: &Tensor| {
            fused::norm(x, Some(&self.factor(x.kind())), self.plan.eps).expect("it was tried")
        };
        if self.plan.rounds() {
            return of(x);
        }
        // The factor has more digits than `x`.
        let (y, scale) = of(&wide(x));
        (narrow(y, kind), scale)
    }

    /// The gradient of `x`, given the gradient of the result, in the kind of `x`. Adds to the
    /// gradient of the parameter.
    ///
    /// With `u = x · scale` and `g = dy · factor`: `dx = scale · (g − u · mean(g · u))`.
    pub(super) fn backward(&self, x: &Tensor, scale: &Tensor, dy: &Tensor) -> Tensor {
        let kind = x.kind();
        let width = *x.size().last().expect("rows have a width");
        let factor = self.factor(scale.kind());
        if kernels::work_for(x) {
            let (dx, of_weight) = kernels::block::norm_backward(x, scale, &factor, dy);
            grad::add_with(self.weight, || of_weight);
            return dx;
        }
        if FastPath::RmsNorm.is_taken(x.device()) {
            // In the kind of the statistics, as the gradient of the parameter is a sum over all rows.
            let trains = self.weight.requires_grad();
            let [dx, of_weight] = fused::norm_backward(&wide(x), scale, &factor, &wide(dy), trains)
                .expect("it was tried");
            grad::add_with(self.weight, || of_weight);
            return narrow(dx, kind);
        }
        let unit = wide(x) * scale;
        let dy = wide(dy);
        let product = &unit * &dy;
        grad::add_with(self.weight, || {
            product.reshape([-1, width]).sum_dim_intlist([0_i64].as_slice(), false, None::<Kind>)
        });
        let mean = (product.matmul(&factor) / width as f64).unsqueeze(-1);
        let dx = (dy * factor).addcmul_(&unit, &mean.neg()).g_mul_(scale);
        narrow(dx, kind)
    }

    /// Factor of `x · scale`, in `kind`.
    fn factor(&self, kind: Kind) -> Tensor {
        self.offset(&self.weight.detach().to_kind(kind))
    }

    fn offset(&self, weight: &Tensor) -> Tensor {
        let offset = self.plan.offset();
        if offset == 0.0 { weight.shallow_clone() } else { weight + offset }
    }
}

fn wide(x: &Tensor) -> Tensor {
    x.to_kind(statistics_kind(x.kind()))
}

fn narrow(x: Tensor, kind: Kind) -> Tensor {
    if x.kind() == kind { x } else { x.to_kind(kind) }
}
