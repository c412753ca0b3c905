//! The norm of the gradient, and its limit.

use hint_policy::Parameter;
use hint_policy::runtime::{FastPath, fused};
use tch::{Kind, Tensor};

/// Scales all gradients so that their global L2 norm is at most `max_norm`, and returns the norm
/// before. A gradient whose norm is not finite is left unchanged.
///
/// Called once per optimizer step, on the sum of all micro-batches (Deviation D3).
///
/// # Panics
///
/// Where libtorch fails, as its other operations do.
pub fn clip_grad_norm(parameters: &[Parameter], max_norm: f64) -> f64 {
    let gradients = parameters
        .iter()
        .map(|parameter| parameter.tensor.grad())
        .filter(Tensor::defined)
        .collect::<Vec<_>>();
    tch::no_grad(|| {
        let at_once = fused_squares(&gradients);
        let is_fused = at_once.is_some();
        let norm = norm_of(at_once.unwrap_or_else(|| squares(&gradients)));
        if let Some(scale) = clip_factor(norm, max_norm) {
            if is_fused {
                // No other way afterwards: a part may be scaled already.
                let all = gradients.iter().collect::<Vec<_>>();
                fused::scale(&all, scale).expect("it was tried");
            } else {
                for mut gradient in gradients {
                    gradient *= scale;
                }
            }
        }
        norm
    })
}

/// The norm from the squares of its parts, added up in order.
pub(crate) fn norm_of(squares: impl IntoIterator<Item = f64>) -> f64 {
    squares.into_iter().fold(0.0, |sum, square| sum + square).sqrt()
}

/// The factor that bounds a gradient of length `norm`; `None` where it stays as it is.
pub(crate) fn clip_factor(norm: f64, max_norm: f64) -> Option<f64> {
    // The 1e-6 is that of `torch.nn.utils.clip_grad_norm_`.
    let scale = max_norm / (norm + 1e-6);
    (norm.is_finite() && scale < 1.0).then_some(scale)
}

/// The sum of squares of each tensor in f64, in which the squares of a large f32 gradient do not overflow. Read back at
/// once: one wait for the device.
pub(super) fn squares(tensors: &[Tensor]) -> Vec<f64> {
    if tensors.is_empty() {
        return Vec::new();
    }
    let square = |tensor: &Tensor| tensor.to_kind(Kind::Double).square().sum(Kind::Double);
    host(&Tensor::stack(&tensors.iter().map(square).collect::<Vec<_>>(), 0))
}

/// The same from the norm of each tensor, which a GPU computes in one operation without copies. `None` where it has no such
/// operation, and where the squares in f32 overflow.
pub(super) fn fused_squares(tensors: &[Tensor]) -> Option<Vec<f64>> {
    let first = tensors.first()?;
    let alike = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.device() == first.device();
    if !tensors.iter().all(alike) || !FastPath::GradientNorm.is_taken(first.device()) {
        return None;
    }
    let norms = fused::norms(&tensors.iter().collect::<Vec<_>>()).ok()?;
    let squares = host(&norms.to_kind(Kind::Double).square());
    squares.iter().sum::<f64>().is_finite().then_some(squares)
}

fn host(values: &Tensor) -> Vec<f64> {
    Vec::try_from(values).expect("a vector of f64")
}
