//! Adding to the gradients of parameters.

use tch::Tensor;

use crate::kernels::onednn;

/// The gradient that `parameter` accumulates, zero at first. `None` if it needs none.
fn accumulator(parameter: &Tensor) -> Option<Tensor> {
    if !parameter.requires_grad() {
        return None;
    }
    let grad = parameter.grad();
    if grad.defined() {
        // libtorch adds one element to none without a word.
        assert_eq!(
            grad.numel(),
            parameter.numel(),
            "a gradient lacks room: was its stage announced?"
        );
        return Some(grad);
    }
    // The one way to give a leaf a gradient: differentiate something.
    tch::with_grad(|| (parameter.sum(parameter.kind()) * 0.0).backward());
    let mut grad = parameter.grad();
    let _ = grad.zero_();
    Some(grad)
}

/// Adds `gradient()` to the gradient of `parameter`, if it needs one.
pub(super) fn add_with(parameter: &Tensor, gradient: impl FnOnce() -> Tensor) {
    if let Some(mut grad) = accumulator(parameter) {
        let _ = grad.g_add_(&gradient());
    }
}

/// Adds `dyᵀ · x` to the gradient of the matrix `parameter` `[out, in]`, if it needs one; `dy` is
/// `[tokens, out]` and `x` `[tokens, in]`.
pub(super) fn add_product(parameter: &Tensor, dy: &Tensor, x: &Tensor) {
    if let Some(mut grad) = accumulator(parameter) {
        onednn::add_product(&mut grad, dy, x);
    }
}

/// Adds the rows of `dy` `[tokens, width]` to rows `ids` `[tokens]` of the gradient of `parameter`.
pub(super) fn add_rows(parameter: &Tensor, ids: &Tensor, dy: &Tensor) {
    if let Some(mut grad) = accumulator(parameter) {
        let kind = grad.kind();
        let _ = grad.index_add_(0, ids, &dy.to_kind(kind));
    }
}
