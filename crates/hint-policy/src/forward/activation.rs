//! Activations of the feed-forward gate.

use tch::Tensor;

use crate::config::architecture::Activation;

impl Activation {
    /// The activation of `gate`; differentiable.
    pub(crate) fn apply(self, gate: &Tensor) -> Tensor {
        match self {
            Self::Silu => gate.silu(),
            Self::GeluTanh => gate.gelu("tanh"),
        }
    }

    /// The gradient of `gate` from that of its activation.
    pub(super) fn backward(self, gate: &Tensor, dy: &Tensor) -> Tensor {
        match self {
            Self::Silu => gate.silu_backward(dy),
            Self::GeluTanh => gate.gelu_backward(dy, "tanh"),
        }
    }
}
