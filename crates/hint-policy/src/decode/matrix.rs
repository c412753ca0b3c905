//! Projections for inference.

use tch::{Device, Tensor};

use crate::config::family::Activation;
use crate::kernels::onednn;
use crate::weights::Linear;

/// A projection for inference: `x · weightᵀ + bias`.
#[derive(Debug)]
pub(crate) enum Matrix {
    /// For every kind and device.
    Plain(Linear),
    /// `weight` in a layout that no other operation reads.
    Packed { weight: Tensor, bias: Tensor },
}

impl Matrix {
    /// Takes over a projection whose tensors have the compute kind.
    pub(crate) fn new(linear: Linear) -> Self {
        match onednn::pack(&linear.weight) {
            Some(weight) => Self::Packed { weight, bias: linear.bias.unwrap_or_default() },
            None => Self::Plain(linear),
        }
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        match self {
            Self::Plain(linear) => Self::Plain(linear.shallow_clone()),
            Self::Packed { weight, bias } => {
                Self::Packed { weight: weight.shallow_clone(), bias: bias.shallow_clone() }
            }
        }
    }

    /// The projection of `x` `[rows, in]`: `[rows, out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Plain(linear) => x.linear(&linear.weight, linear.bias.as_ref()),
            Self::Packed { weight, bias } => onednn::run("plain", &[x, weight, bias]),
        }
    }

    /// `silu` of the projection of `x`.
    pub(crate) fn silu(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Plain(_) => self.forward(x).silu_(),
            Self::Packed { weight, bias } => onednn::run("silu", &[x, weight, bias]),
        }
    }

    /// The activated projection of `x`. With `invariant` the bits of a row do not depend on where it lies
    /// in `x`.
    pub(crate) fn activated(&self, x: &Tensor, activation: Activation, invariant: bool) -> Tensor {
        match activation {
            Activation::Silu => self.silu(x),
            Activation::GeluTanh if invariant => gelu(&self.forward(x)),
            Activation::GeluTanh => activation.apply(&self.forward(x)),
        }
    }

    /// The projection of `x` plus `other` `[rows, out]`.
    pub(crate) fn add(&self, x: &Tensor, other: &Tensor) -> Tensor {
        match self {
            // On a GPU the product is added before it is rounded, in one operation.
            Self::Plain(Linear { weight, bias: None, .. }) if weight.device() != Device::Cpu => {
                other.addmm(x, &weight.transpose(0, 1))
            }
            Self::Plain(_) => self.forward(x).g_add_(other),
            Self::Packed { weight, bias } => onednn::run("add", &[x, weight, bias, other]),
        }
    }

    /// The projection of `x` times `other` `[rows, out]`, element by element.
    pub(crate) fn mul(&self, x: &Tensor, other: &Tensor) -> Tensor {
        match self {
            Self::Plain(_) => self.forward(x).g_mul_(other),
            Self::Packed { weight, bias } => onednn::run("mul", &[x, weight, bias, other]),
        }
    }
}

/// `gelu` with `tanh`, in operations that round each element alike. libtorch's own kernel computes
/// the last elements of a `Float` tensor, which fill no vector, by another formula.
fn gelu(x: &Tensor) -> Tensor {
    let cubic = (x * x * x) * 0.044_715 + x;
    let slope = (2.0 / std::f64::consts::PI).sqrt();
    (((cubic * slope).tanh() + 1.0) * x) * 0.5
}

/// The projections to a gate and to the numbers that it is multiplied by.
#[derive(Debug)]
pub(crate) enum Gates {
    /// In two products.
    Apart { gate: Matrix, up: Matrix },
    /// In one, where an operation costs more than the numbers that it moves.
    Joint(Matrix),
}

impl Gates {
    /// Takes over the two, whose tensors have the compute kind.
    pub(crate) fn new(gate: Linear, up: Linear) -> Self {
        if gate.weight.device() == Device::Cpu {
            return Self::Apart { gate: Matrix::new(gate), up: Matrix::new(up) };
        }
        let bias = gate.bias.zip(up.bias).map(|(gate, up)| Tensor::cat(&[gate, up], 0));
        let weight = Tensor::cat(&[gate.weight, up.weight], 0);
        Self::Joint(Matrix::new(Linear::plain(weight, bias)))
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        match self {
            Self::Apart { gate, up } => {
                Self::Apart { gate: gate.shallow_clone(), up: up.shallow_clone() }
            }
            Self::Joint(both) => Self::Joint(both.shallow_clone()),
        }
    }

    /// The activated gate of `x` times the other projection. With `invariant` as in [`Matrix::activated`].
    pub(crate) fn forward(&self, x: &Tensor, activation: Activation, invariant: bool) -> Tensor {
        match self {
            Self::Apart { gate, up } => up.mul(x, &gate.activated(x, activation, invariant)),
            Self::Joint(both) => {
                let parts = both.forward(x).chunk(2, -1);
                activation.apply(&parts[0]).g_mul_(&parts[1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn random(shape: &[i64]) -> Tensor {
        let count: i64 = shape.iter().product();
        Tensor::arange(count, (Kind::Float, Device::Cpu)).g_mul_scalar(1.7).sin().view(shape)
    }

    fn linear(kind: Kind, (outputs, inputs): (i64, i64), bias: bool) -> Linear {
        let bias = bias.then(|| random(&[outputs]).to_kind(kind));
        Linear::plain(random(&[outputs, inputs]).to_kind(kind), bias)
    }

    #[test]
    fn packed_products_equal_plain_ones() {
        tch::set_num_threads(1);
        // Odd sizes, and sizes that fill whole blocks.
        for shape in [(7, 5), (1, 1), (33, 24), (96, 64)] {
            for (kind, tolerance) in [(Kind::Float, 1e-4), (Kind::BFloat16, 0.3)] {
                for bias in [false, true] {
                    let packed = Matrix::new(linear(kind, shape, bias));
                    let plain = Matrix::Plain(linear(Kind::Double, shape, bias));
                    for rows in [1, 2, 40] {
                        let x = random(&[rows, shape.1]).to_kind(kind);
                        let other = random(&[rows, shape.0]).to_kind(kind);
                        let (wide, wide_other) =
                            (x.to_kind(Kind::Double), other.to_kind(Kind::Double));
                        let pairs = [
                            (packed.forward(&x), plain.forward(&wide)),
                            (packed.silu(&x), plain.silu(&wide)),
                            (packed.add(&x, &other), plain.add(&wide, &wide_other)),
                            (packed.mul(&x, &other), plain.mul(&wide, &wide_other)),
                        ];
                        for (index, (a, b)) in pairs.iter().enumerate() {
                            let error = (a - b).abs().max().double_value(&[]);
                            assert!(
                                error < tolerance,
                                "{shape:?} {kind:?} {rows} {index}: {error}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn double_stays_plain() {
        assert!(matches!(Matrix::new(linear(Kind::Double, (4, 3), false)), Matrix::Plain(_)));
    }
}
