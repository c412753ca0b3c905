//! Tables of rotary angles, and rotation by them.

use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::plan::{AttentionPlan, Rotation};
use crate::tensor::{size, upload};

/// One value for each table of rotary frequencies that a model has.
#[derive(Debug)]
pub(crate) struct Rotations<T> {
    global: T,
    /// For the layers that have frequencies of their own.
    local: Option<T>,
}

impl<T> Rotations<T> {
    /// Makes the values of the tables.
    pub(crate) fn new(config: &ModelConfig, make: impl Fn(&ModelConfig) -> T) -> Self {
        Self { global: make(config), local: config.local().as_ref().map(make) }
    }

    /// A value made of each.
    pub(crate) fn map<U>(&self, f: impl Fn(&T) -> U) -> Rotations<U> {
        Rotations { global: f(&self.global), local: self.local.as_ref().map(f) }
    }

    /// The rotation for the attention of a block; `None` if it rotates nothing.
    pub(crate) fn of(&self, plan: &AttentionPlan) -> Option<&T> {
        Some(match plan.rotation? {
            Rotation::Global => &self.global,
            Rotation::Local => self.local.as_ref().unwrap_or(&self.global),
        })
    }
}

/// Angles of the first `positions` positions, as cosines and sines `[positions, rotary / 2]`, where `rotary` is
/// how many dimensions of a head are rotated.
///
/// Computed in `f64`: in `f32` the angle of position 10⁵ has an error of 10⁻² radians.
pub(crate) fn tables(
    config: &ModelConfig,
    positions: usize,
    kind: Kind,
    device: Device,
) -> (Tensor, Tensor) {
    let (frequencies, factor) = config.rope_scaling.frequencies(config);
    let frequencies = upload(&frequencies, device);
    let positions = Tensor::arange(size(positions), (Kind::Double, device));
    let angles = positions.unsqueeze(1) * frequencies.unsqueeze(0);
    let place = |table: Tensor| (table * factor).to_kind(kind);
    (place(angles.cos()), place(angles.sin()))
}

/// Rotates the pairs `(i, i + rotary / 2)` of `heads` `[.., head_dim]` by the angles whose `cos` and `sin`
/// (`[.., rotary / 2]`) broadcast against it; later dimensions stay. Differentiable in `heads`.
pub(crate) fn rotate(heads: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let last = |tensor: &Tensor| tensor.size().last().copied().unwrap_or(0);
    let (kind, rotary, dim) = (heads.kind(), 2 * last(cos), last(heads));
    let halves = heads.narrow(-1, 0, rotary).to_kind(cos.kind()).chunk(2, -1);
    let (first, second) = (&halves[0], &halves[1]);
    let rotated = Tensor::cat(&[first * cos - second * sin, second * cos + first * sin], -1);
    let rotated = rotated.to_kind(kind);
    if rotary == dim {
        return rotated;
    }
    Tensor::cat(&[rotated, heads.narrow(-1, rotary, dim - rotary)], -1)
}
