//! Kernels of a transformer block between its products: norms, rotations, gates.

use tch::{Kind, Tensor};

use crate::ffi::{Job, Memory};
use crate::kernels::number::{Number, dot, sigmoid, single, widen};
use crate::kernels::{WORTH_A_THREAD, by_kind, rows_of_a_job, run_all, width};
use crate::tensor::{len, size};

/// `1 / sqrt(mean(x²) + eps)` of the rows of `x` `[.., width]`: `[.., 1]`, `Float`.
pub(crate) fn norm_scale(x: &Tensor, eps: f64) -> Tensor {
    by_kind!(x, norm_scale_of(x, eps))
}

fn norm_scale_of<T: Number>(x: &Tensor, eps: f64) -> Tensor {
    let (width, x) = (width(x), x.contiguous());
    let mut shape = x.size();
    if let Some(last) = shape.last_mut() {
        *last = 1;
    }
    let mut scale = Tensor::empty(shape, (Kind::Float, x.device()));
    let count = rows_of_a_job(width);
    let mut memory = Memory::default();
    let rows = memory.read::<T>(&x).chunks(count * width);
    let scales = memory.write::<f32>(&mut scale).chunks_mut(count);
    run_all(rows.zip(scales).map(|(x, scales)| NormScale { x, width, eps: single(eps), scales }));
    scale
}

struct NormScale<'a, T> {
    x: &'a [T],
    width: usize,
    eps: f32,
    scales: &'a mut [f32],
}

impl<T: Number> Job for NormScale<'_, T> {
    #[inline(always)]
    fn run(self) {
        for (row, scale) in self.x.chunks_exact(self.width).zip(self.scales) {
            *scale = 1.0 / (dot(row, row) / self.width as f32 + self.eps).sqrt();
        }
    }
}

/// `x / sqrt(|x|² + eps)` of the rows of `x` `[.., width]`.
pub(crate) fn unit(x: &Tensor, eps: f64) -> Tensor {
    by_kind!(x, unit_of(x, eps))
}

fn unit_of<T: Number>(x: &Tensor, eps: f64) -> Tensor {
    let (width, x) = (width(x), x.contiguous());
    let mut result = x.empty_like();
    let count = rows_of_a_job(width);
    let mut memory = Memory::default();
    let rows = memory.read::<T>(&x).chunks(count * width);
    let y = memory.write::<T>(&mut result).chunks_mut(count * width);
    run_all(rows.zip(y).map(|(x, y)| UnitRows { x, width, eps: single(eps), y }));
    result
}

struct UnitRows<'a, T> {
    x: &'a [T],
    width: usize,
    eps: f32,
    y: &'a mut [T],
}

impl<T: Number> Job for UnitRows<'_, T> {
    #[inline(always)]
    fn run(self) {
        let rows = self.x.chunks_exact(self.width).zip(self.y.chunks_exact_mut(self.width));
        for (x, y) in rows {
            let scale = 1.0 / (dot(x, x) + self.eps).sqrt();
            for (y, x) in y.iter_mut().zip(x) {
                *y = T::narrow(x.wide() * scale);
            }
        }
    }
}

/// `x · scale · factor` for rows of `x` `[.., width]` with `scale` `[.., 1]` and `factor` `[width]`, `Float`;
/// `x · scale` is rounded if `rounds`.
pub(crate) fn norm(x: &Tensor, scale: &Tensor, factor: &Tensor, rounds: bool) -> Tensor {
    by_kind!(x, norm_of(x, scale, factor, rounds))
}

fn norm_of<T: Number>(x: &Tensor, scale: &Tensor, factor: &Tensor, rounds: bool) -> Tensor {
    let (width, x, factor) = (width(x), x.contiguous(), factor.contiguous());
    let mut result = x.empty_like();
    let count = rows_of_a_job(width);
    let mut memory = Memory::default();
    let x = memory.read::<T>(&x).chunks(count * width);
    let scales = memory.read::<f32>(scale).chunks(count);
    let factor = memory.read::<f32>(&factor);
    let y = memory.write::<T>(&mut result).chunks_mut(count * width);
    let jobs = x.zip(scales).zip(y);
    run_all(jobs.map(|((x, scales), y)| NormRows { x, scales, factor, rounds, y }));
    result
}

struct NormRows<'a, T> {
    x: &'a [T],
    scales: &'a [f32],
    factor: &'a [f32],
    rounds: bool,
    y: &'a mut [T],
}

impl<T: Number> Job for NormRows<'_, T> {
    #[inline(always)]
    fn run(self) {
        let width = self.factor.len();
        let rows = self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width));
        for ((x, y), scale) in rows.zip(self.scales) {
            for ((y, x), factor) in y.iter_mut().zip(x).zip(self.factor) {
                let unit = x.wide() * scale;
                let unit = if self.rounds { T::narrow(unit).wide() } else { unit };
                *y = T::narrow(unit * factor);
            }
        }
    }
}

/// The gradients of `x` and of `factor` (`[width]`, `Float`), given the gradient of the result of
/// [`norm`].
pub(crate) fn norm_backward(
    x: &Tensor,
    scale: &Tensor,
    factor: &Tensor,
    dy: &Tensor,
) -> (Tensor, Tensor) {
    by_kind!(x, norm_pull_of(x, scale, factor, dy))
}

fn norm_pull_of<T: Number>(
    x: &Tensor,
    scale: &Tensor,
    factor: &Tensor,
    dy: &Tensor,
) -> (Tensor, Tensor) {
    let (width, count) = (width(x), rows_of_a_job(width(x)));
    let (x, factor, dy) = (x.contiguous(), factor.contiguous(), dy.contiguous());
    let rows = x.numel() / width;
    let parts = [size(rows.div_ceil(count)), size(width)];
    let mut parts = Tensor::zeros(parts, (Kind::Float, x.device()));
    let mut dx = x.empty_like();
    let mut memory = Memory::default();
    let rows = memory.read::<T>(&x).chunks(count * width);
    let scales = memory.read::<f32>(scale).chunks(count);
    let factor = memory.read::<f32>(&factor);
    let dy = memory.read::<T>(&dy).chunks(count * width);
    let of_x = memory.write::<T>(&mut dx).chunks_mut(count * width);
    let of_factor = memory.write::<f32>(&mut parts).chunks_mut(width);
    let jobs = rows.zip(scales).zip(dy).zip(of_x.zip(of_factor));
    run_all(jobs.map(|(((x, scales), dy), (dx, of_factor))| NormBackward {
        x,
        scales,
        factor,
        dy,
        dx,
        of_factor,
    }));
    (dx, parts.sum_dim_intlist([0_i64].as_slice(), false, None::<Kind>))
}

struct NormBackward<'a, T> {
    x: &'a [T],
    scales: &'a [f32],
    factor: &'a [f32],
    dy: &'a [T],
    dx: &'a mut [T],
    /// The part of these rows.
    of_factor: &'a mut [f32],
}

impl<T: Number> Job for NormBackward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let width = self.factor.len();
        let (mut unit, mut of_unit) = (vec![0.0; width], vec![0.0; width]);
        let rows = self.x.chunks_exact(width).zip(self.dy.chunks_exact(width));
        let rows = rows.zip(self.dx.chunks_exact_mut(width));
        for (((x, dy), dx), &scale) in rows.zip(self.scales) {
            for (unit, x) in unit.iter_mut().zip(x) {
                *unit = x.wide() * scale;
            }
            widen(dy, &mut of_unit);
            for ((sum, dy), unit) in self.of_factor.iter_mut().zip(&of_unit).zip(&unit) {
                *sum += dy * unit;
            }
            for (of_unit, factor) in of_unit.iter_mut().zip(self.factor) {
                *of_unit *= factor;
            }
            let mean = dot(&of_unit, &unit) / width as f32;
            for ((dx, of_unit), unit) in dx.iter_mut().zip(&of_unit).zip(&unit) {
                *dx = T::narrow((of_unit - unit * mean) * scale);
            }
        }
    }
}

/// `silu(gate) · up`.
pub(crate) fn gated(gate: &Tensor, up: &Tensor) -> Tensor {
    by_kind!(gate, gated_of(gate, up))
}

fn gated_of<T: Number>(gate: &Tensor, up: &Tensor) -> Tensor {
    let (gate, up) = (gate.contiguous(), up.contiguous());
    let mut result = gate.empty_like();
    let mut memory = Memory::default();
    let gate = memory.read::<T>(&gate).chunks(WORTH_A_THREAD);
    let up = memory.read::<T>(&up).chunks(WORTH_A_THREAD);
    let y = memory.write::<T>(&mut result).chunks_mut(WORTH_A_THREAD);
    run_all(gate.zip(up).zip(y).map(|((gate, up), y)| Gated { gate, up, y }));
    result
}

struct Gated<'a, T> {
    gate: &'a [T],
    up: &'a [T],
    y: &'a mut [T],
}

impl<T: Number> Job for Gated<'_, T> {
    #[inline(always)]
    fn run(self) {
        for ((y, gate), up) in self.y.iter_mut().zip(self.gate).zip(self.up) {
            let gate = gate.wide();
            *y = T::narrow(gate * sigmoid(gate) * up.wide());
        }
    }
}

/// The gradients of `gate` and `up`, given `dy`, the gradient of the result of [`gated`].
pub(crate) fn gated_backward(gate: &Tensor, up: &Tensor, dy: Tensor) -> (Tensor, Tensor) {
    by_kind!(gate, gated_pull_of(gate, up, dy))
}

fn gated_pull_of<T: Number>(gate: &Tensor, up: &Tensor, mut dy: Tensor) -> (Tensor, Tensor) {
    let (gate, up) = (gate.contiguous(), up.contiguous());
    let mut of_gate = gate.empty_like();
    let mut memory = Memory::default();
    let gate = memory.read::<T>(&gate).chunks(WORTH_A_THREAD);
    let up = memory.read::<T>(&up).chunks(WORTH_A_THREAD);
    let of_up = memory.write::<T>(&mut dy).chunks_mut(WORTH_A_THREAD);
    let gates = memory.write::<T>(&mut of_gate).chunks_mut(WORTH_A_THREAD);
    let jobs = gate.zip(up).zip(gates.zip(of_up));
    run_all(jobs.map(|((gate, up), (of_gate, dy))| GatedBackward { gate, up, of_gate, dy }));
    (of_gate, dy)
}

struct GatedBackward<'a, T> {
    gate: &'a [T],
    up: &'a [T],
    of_gate: &'a mut [T],
    /// The gradient of the result; the gradient of `up` replaces it.
    dy: &'a mut [T],
}

impl<T: Number> Job for GatedBackward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let results = self.of_gate.iter_mut().zip(self.dy);
        for ((gate, up), (of_gate, dy)) in self.gate.iter().zip(self.up).zip(results) {
            let (gate, dy_wide) = (gate.wide(), dy.wide());
            let share = sigmoid(gate);
            *dy = T::narrow(dy_wide * gate * share);
            // silu'(x) = σ(x) (1 + x (1 - σ(x))).
            let slope = share * (1.0 + gate * (1.0 - share));
            *of_gate = T::narrow(dy_wide * up.wide() * slope);
        }
    }
}

/// Rotates the pairs `(i, i + rotary / 2)` of `x` `[tokens, heads, head_dim]` by the angles of the tokens,
/// `cos` and `sin` `[tokens, 1, rotary / 2]`, `Float`; later dimensions stay.
pub(crate) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    by_kind!(x, rotate_of(x, cos, sin))
}

fn rotate_of<T: Number>(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let (x, cos, sin) = (x.contiguous(), cos.contiguous(), sin.contiguous());
    let (half, head) = (width(&cos), width(&x));
    let of_token = head * len(x.size()[1]);
    let count = rows_of_a_job(of_token);
    let mut result = x.empty_like();
    let mut memory = Memory::default();
    let x = memory.read::<T>(&x).chunks(count * of_token);
    let cos = memory.read::<f32>(&cos).chunks(count * half);
    let sin = memory.read::<f32>(&sin).chunks(count * half);
    let y = memory.write::<T>(&mut result).chunks_mut(count * of_token);
    let jobs = x.zip(y).zip(cos.zip(sin));
    run_all(jobs.map(|((x, y), (cos, sin))| Rotate { x, cos, sin, half, head, of_token, y }));
    result
}

struct Rotate<'a, T> {
    x: &'a [T],
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
    head: usize,
    of_token: usize,
    y: &'a mut [T],
}

impl<T: Number> Job for Rotate<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { half, head, of_token, .. } = self;
        let tokens = self.x.chunks_exact(of_token).zip(self.y.chunks_exact_mut(of_token));
        let angles = self.cos.chunks_exact(half).zip(self.sin.chunks_exact(half));
        for ((x, y), (cos, sin)) in tokens.zip(angles) {
            for (x, y) in x.chunks_exact(head).zip(y.chunks_exact_mut(head)) {
                let ((x, rest), (y, same)) = (x.split_at(2 * half), y.split_at_mut(2 * half));
                same.copy_from_slice(rest);
                let ((x1, x2), (y1, y2)) = (x.split_at(half), y.split_at_mut(half));
                let pairs = x1.iter().zip(x2).zip(y1.iter_mut().zip(y2));
                for (((x1, x2), (y1, y2)), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
                    let (x1, x2) = (x1.wide(), x2.wide());
                    *y1 = T::narrow(x1 * cos - x2 * sin);
                    *y2 = T::narrow(x2 * cos + x1 * sin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn random(shape: &[i64], kind: Kind) -> Tensor {
        let count: i64 = shape.iter().product();
        let values = Tensor::arange(count, (Kind::Double, Device::Cpu));
        ((values * 1.7).sin() * 3.0).view(shape).to_kind(kind)
    }

    fn close(ours: &Tensor, exact: &Tensor) {
        let tolerance = if ours.kind() == Kind::BFloat16 { 8e-3 } else { 2e-6 };
        let size = exact.abs().max().double_value(&[]);
        let error = (ours.to_kind(Kind::Double) - exact).abs().max().double_value(&[]);
        assert!(error < tolerance * size, "{:?}: {error} of {size}", ours.kind());
    }

    /// A leaf in `Double` with the values of `tensor`.
    fn leaf(tensor: &Tensor) -> Tensor {
        tensor.to_kind(Kind::Double).set_requires_grad(true)
    }

    #[test]
    fn norms_and_their_gradients_equal_those_of_autograd() {
        tch::set_num_threads(2);
        for kind in [Kind::Float, Kind::BFloat16] {
            let (x, dy) = (random(&[300, 5, 72], kind), random(&[300, 5, 72], kind).flip([0]));
            let factor = random(&[72], Kind::Float);
            let (exact_x, exact_factor) = (leaf(&x), leaf(&factor));
            let mean = exact_x.square().mean_dim([-1_i64].as_slice(), true, None::<Kind>);
            let exact = &exact_x * (mean + 1e-5).rsqrt() * &exact_factor;
            (&exact * &dy).sum(Kind::Double).backward();
            let squares = exact_x.square().sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>);
            close(&unit(&x, 3.5), &(&exact_x / (squares + 3.5).sqrt()).detach());
            let scale = norm_scale(&x, 1e-5);
            close(&norm(&x, &scale, &factor, false), &exact.detach());
            close(&norm(&x, &scale, &factor, true), &exact.detach());
            let (of_x, of_factor) = norm_backward(&x, &scale, &factor, &dy);
            close(&of_x, &exact_x.grad());
            close(&of_factor, &exact_factor.grad());
        }
    }

    #[test]
    fn gates_and_their_gradients_equal_those_of_autograd() {
        tch::set_num_threads(2);
        for kind in [Kind::Float, Kind::BFloat16] {
            let (gate, up) = (random(&[400, 101], kind) * 4.0, random(&[400, 101], kind).flip([0]));
            let dy = random(&[400, 101], kind).flip([1]);
            let (exact_gate, exact_up) = (leaf(&gate), leaf(&up));
            let exact = exact_gate.silu() * &exact_up;
            (&exact * &dy).sum(Kind::Double).backward();
            close(&gated(&gate, &up), &exact.detach());
            let (of_gate, of_up) = gated_backward(&gate, &up, dy);
            close(&of_gate, &exact_gate.grad());
            close(&of_up, &exact_up.grad());
        }
    }

    #[test]
    fn rotations_equal_those_of_libtorch() {
        tch::set_num_threads(2);
        for (kind, half) in [(Kind::Float, 12), (Kind::BFloat16, 12), (Kind::Float, 5)] {
            let angles = random(&[900, 1, half], Kind::Float);
            let (cos, sin) = (angles.cos(), angles.sin());
            let x = random(&[900, 3, 24], kind);
            let wide = |tensor: &Tensor| tensor.to_kind(Kind::Double);
            let exact = crate::forward::rope::rotate(&wide(&x), &wide(&cos), &wide(&sin));
            close(&rotate(&x, &cos, &sin), &exact);
        }
    }
}
