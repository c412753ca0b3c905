//! Share of the weights that a step changes, from a sample of them.

use hint_policy::Parameter;
use tch::{Kind, Tensor};

/// Stretches of consecutive weights, spread evenly over all weights.
const STRETCHES: i64 = 64;
/// Weights of a stretch.
const LENGTH: i64 = 64;

/// A copy of a sample of weights.
#[derive(Debug)]
pub(super) struct WeightProbe(Tensor);

impl WeightProbe {
    /// Copies the sample; nothing if there are no weights.
    pub(super) fn of(parameters: &[Parameter]) -> Option<Self> {
        let is_flat = |parameter: &&Parameter| parameter.tensor.is_contiguous();
        let weights = parameters.iter().filter(is_flat).map(|parameter| parameter.tensor.detach());
        let weights = weights.map(|weights| weights.view([-1])).collect::<Vec<_>>();
        let lengths = weights.iter().map(Tensor::numel).filter_map(|len| i64::try_from(len).ok());
        let lengths = lengths.collect::<Vec<_>>();
        let total = lengths.iter().sum::<i64>();
        let count = STRETCHES.min((total + LENGTH - 1) / LENGTH);
        let mut stretches = Vec::new();
        // The tensor that holds the middle of the next stretch, and where it begins.
        let (mut tensor, mut begin) = (0, 0);
        for stretch in 0..count {
            let middle = (2 * stretch + 1) * total / (2 * count);
            while middle >= begin + lengths[tensor] {
                begin += lengths[tensor];
                tensor += 1;
            }
            let length = LENGTH.min(lengths[tensor]);
            let first = (middle - begin - LENGTH / 2).clamp(0, lengths[tensor] - length);
            stretches.push(weights[tensor].narrow(0, first, length));
        }
        (!stretches.is_empty()).then(|| Self(Tensor::cat(&stretches, 0)))
    }

    /// A checksum of the sample.
    pub(super) fn checksum(&self) -> String {
        let values = Vec::<f64>::try_from(self.0.to_kind(Kind::Double)).expect("dense numbers");
        let mut hasher = crc32fast::Hasher::new();
        for value in values {
            hasher.update(&value.to_le_bytes());
        }
        format!("{:08x}", hasher.finalize())
    }

    /// The share of the sample that differs from `after`, a later copy. Waits for the device once.
    pub(super) fn changed(&self, after: &Self) -> f64 {
        self.0.ne_tensor(&after.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[])
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn parameters(sizes: &[i64]) -> Vec<Parameter> {
        let tensor = |size: &i64| Tensor::zeros([*size, 3], (Kind::Float, Device::Cpu));
        let parameter = |size| Parameter { name: format!("of {size}"), tensor: tensor(size) };
        sizes.iter().map(parameter).collect()
    }

    #[test]
    fn the_share_is_that_of_the_weights_that_differ() {
        let all = parameters(&[1, 500, 0, 1500]);
        let before = WeightProbe::of(&all).unwrap();
        assert_eq!(before.changed(&WeightProbe::of(&all).unwrap()), 0.0);
        // A quarter of all weights.
        let _ = all[1].tensor.shallow_clone().fill_(1.0);
        let share = before.changed(&WeightProbe::of(&all).unwrap());
        assert!((share - 0.25).abs() < 0.02, "{share}");
    }

    #[test]
    fn a_small_policy_is_looked_at_whole() {
        let all = parameters(&[3]);
        let before = WeightProbe::of(&all).unwrap();
        let _ = all[0].tensor.get(1).fill_(1.0);
        let share = before.changed(&WeightProbe::of(&all).unwrap());
        assert!((share - 1.0 / 3.0).abs() < 1e-6, "{share}");
        assert!(WeightProbe::of(&[]).is_none());
    }
}
