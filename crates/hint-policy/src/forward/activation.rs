//! Activations of gates.

use tch::Tensor;

use crate::config::family::Activation;
use crate::kernels;

impl Activation {
    /// The activation of `gate`; differentiable.
    pub(crate) fn apply(self, gate: &Tensor) -> Tensor {
        match self {
            Self::Silu => gate.silu(),
            Self::GeluTanh => gate.gelu("tanh"),
        }
    }

    /// The activation of `gate` times `up`.
    pub(super) fn gate(self, gate: &Tensor, up: &Tensor) -> Tensor {
        if self == Self::Silu && kernels::work_for(gate) {
            return kernels::block::gated(gate, up);
        }
        self.apply(gate).g_mul_(up)
    }

    /// The gradients of `gate` and `up`, given the gradient of [`Self::gate`].
    pub(super) fn gate_backward(
        self,
        gate: &Tensor,
        up: &Tensor,
        mut dy: Tensor,
    ) -> (Tensor, Tensor) {
        if self == Self::Silu && kernels::work_for(gate) {
            return kernels::block::gated_backward(gate, up, dy);
        }
        let of_up = self.apply(gate).g_mul_(&dy);
        let of_active = dy.g_mul_(up);
        (self.backward(gate, &of_active), of_up)
    }

    /// The gradient of `gate`, given the gradient of its activation.
    fn backward(self, gate: &Tensor, dy: &Tensor) -> Tensor {
        match self {
            Self::Silu => gate.silu_backward(dy),
            Self::GeluTanh => gate.gelu_backward(dy, "tanh"),
        }
    }
}
