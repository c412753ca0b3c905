//! Numbers to and from the device of a policy, without waiting more often than must be.

use tch::kind::Element;
use tch::{Device, Kind, Tensor};

/// Puts numbers on `device`, without waiting for its queue.
pub(crate) fn upload<T: Element>(values: &[T], device: Device) -> Tensor {
    Tensor::from_slice(values).to_device_(device, T::KIND, true, false)
}

/// As [`upload`], in the kind and on the device of `like`.
pub(crate) fn upload_like(values: &[f64], like: &Tensor) -> Tensor {
    Tensor::from_slice(values).to_device_(like.device(), like.kind(), true, false)
}

/// Reads tensors back, flattened and in `f64`; an undefined one has no values. The host waits for the device once,
/// for any number of tensors.
pub(crate) fn read_together<const N: usize>(tensors: [&Tensor; N]) -> [Vec<f64>; N] {
    let mut all = read_all(&tensors).into_iter();
    tensors.map(|_| all.next().unwrap_or_default())
}

/// As [`read_together`], for a number of tensors that is not known before. They are joined on the device of the first.
pub(crate) fn read_all(tensors: &[&Tensor]) -> Vec<Vec<f64>> {
    let defined = tensors.iter().filter(|tensor| tensor.defined());
    let Some(device) = defined.clone().map(|tensor| tensor.device()).next() else {
        return tensors.iter().map(|_| Vec::new()).collect();
    };
    let flat = |tensor: &&Tensor| tensor.detach().to_device(device).to_kind(Kind::Double);
    let parts = defined.map(|tensor| flat(tensor).reshape([-1])).collect::<Vec<_>>();
    let joined = Tensor::cat(&parts, 0).to_device(Device::Cpu);
    let joined = Vec::<f64>::try_from(joined).expect("the tensor is dense and f64");
    let mut rest = joined.as_slice();
    let next = |tensor: &&Tensor| {
        let (own, others) = rest.split_at(if tensor.defined() { tensor.numel() } else { 0 });
        rest = others;
        own.to_vec()
    };
    tensors.iter().map(next).collect()
}

/// Numbers in half the memory, for people to look at.
#[expect(clippy::cast_possible_truncation, reason = "seven digits are enough to look at")]
pub(crate) fn rounded(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_read_together_come_back_apart() {
        let scalar = Tensor::from(0.5_f32);
        let flags = Tensor::from_slice(&[true, false]).view([2, 1]);
        let expected = [vec![0.5], vec![], vec![1.0, 0.0]];
        assert_eq!(read_together([&scalar, &Tensor::new(), &flags]), expected);
        assert!(read_together([&Tensor::new()])[0].is_empty());
    }
}
