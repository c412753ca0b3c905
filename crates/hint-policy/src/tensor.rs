//! Sizes, kinds and copies of tensors.

use tch::{Device, Kind, Tensor};

/// A length as libtorch wants it.
pub(crate) fn size(len: usize) -> i64 {
    i64::try_from(len).expect("no allocation is longer than i64::MAX")
}

/// A non-negative size of libtorch as a length.
pub(crate) fn len(size: i64) -> usize {
    usize::try_from(size).expect("libtorch sizes are not negative")
}

/// Puts numbers on `device`, without waiting for its queue. CUDA has read them when the call returns, since
/// they do not lie in pinned memory.
pub(crate) fn upload<T: tch::kind::Element>(values: &[T], device: Device) -> Tensor {
    Tensor::from_slice(values).to_device_(device, T::KIND, true, false)
}

/// `Double` stays, everything narrower becomes `Float`: softmax statistics need its range.
pub(crate) fn at_least_float(tensor: &Tensor) -> Tensor {
    match tensor.kind() {
        Kind::Double | Kind::Float => tensor.shallow_clone(),
        _ => tensor.to_kind(Kind::Float),
    }
}

/// Kind in which norms, rotations and softmax statistics are computed.
pub(crate) fn statistics_kind(compute: Kind) -> Kind {
    if compute == Kind::Double { Kind::Double } else { Kind::Float }
}

/// Whether autograd records operations on a tensor that requires grad.
pub(crate) fn grad_is_enabled() -> bool {
    let leaf = Tensor::zeros([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    leaf.neg().requires_grad()
}
