//! Tables of rotary angles, and rotation by them.

use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::tensor::{size, upload};

/// Angles of the first `positions` positions, as cosines and sines `[positions, head_dim / 2]`.
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

/// Rotates the pairs `(i, i + head_dim / 2)` of `heads` `[.., head_dim]` by the angles whose
/// `cos` and `sin` (`[.., head_dim / 2]`) broadcast against it. Differentiable in `heads`.
pub(crate) fn rotate(heads: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let kind = heads.kind();
    let halves = heads.to_kind(cos.kind()).chunk(2, -1);
    let (first, second) = (&halves[0], &halves[1]);
    Tensor::cat(&[first * cos - second * sin, second * cos + first * sin], -1).to_kind(kind)
}
