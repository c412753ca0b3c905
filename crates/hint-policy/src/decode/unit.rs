//! RMS norms without their factor, which the next matrix or number holds.

use tch::{Device, Kind, Tensor};

use crate::kernels::fast_path::FastPath;
use crate::kernels::{self, block, fused};

/// A norm over so many numbers, without its factor.
#[derive(Debug)]
pub(crate) enum Unit {
    /// `x / sqrt(|x|² + eps²)`: the factor is multiplied by the root of the width. `eps` is `[1]`, of the kind of the
    /// statistics; `square` is its square.
    Length { eps: Tensor, square: f64 },
    /// `x / sqrt(mean(x²) + eps)`, by one operation.
    Fused { eps: f64 },
}

impl Unit {
    /// The form that a device takes; `eps` is added to the mean of `width` squares, which are of `kind`.
    pub(crate) fn new(width: usize, eps: f64, kind: Kind, device: Device) -> Self {
        if FastPath::RmsNorm.is_taken(device) {
            return Self::Fused { eps };
        }
        let square = eps * width as f64;
        Self::Length { eps: Tensor::full([1], square.sqrt(), (kind, device)), square }
    }

    /// The number that the factor of a norm over `width` numbers is multiplied by.
    pub(crate) fn root(width: usize, device: Device) -> f64 {
        if FastPath::RmsNorm.is_taken(device) { 1.0 } else { (width as f64).sqrt() }
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        match self {
            Self::Length { eps, square } => {
                Self::Length { eps: eps.shallow_clone(), square: *square }
            }
            Self::Fused { eps } => Self::Fused { eps: *eps },
        }
    }

    /// The norm of the last dimension, in the kind of `x`.
    pub(crate) fn of(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Length { square, .. } if kernels::work_for(x) => block::unit(x, *square),
            Self::Length { eps, .. } => {
                let length = x.linalg_norm(2, [-1_i64].as_slice(), true, eps.kind());
                (x / length.hypot(eps)).to_kind(x.kind())
            }
            Self::Fused { eps } => fused::norm(x, None, *eps).expect("it was tried").0,
        }
    }
}
