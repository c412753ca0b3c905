//! Random initial weights from a seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::layout::{Init, layout};
use crate::tensor::len;

/// Creates the tensors of [`layout`] in order. Parameter `i` draws from stream `i` of the seed's
/// generator on the host. So its values do not depend on the other parameters or the device.
pub(crate) fn tensors(config: &ModelConfig, seed: u64, device: Device) -> Vec<Tensor> {
    layout(config)
        .iter()
        .zip(0_u64..)
        .map(|(spec, stream)| {
            let kind = (Kind::Float, device);
            match spec.init {
                Init::Ones => Tensor::ones(&spec.shape, kind),
                Init::Zeros => Tensor::zeros(&spec.shape, kind),
                Init::Decay => {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    rng.set_stream(stream);
                    let count = spec.shape.iter().map(|&n| len(n)).product::<usize>();
                    let decay = |_| f64::ln(rng.random_range(0.01..16.0));
                    let values: Vec<f64> = (0..count).map(decay).collect();
                    Tensor::from_slice(&values).to_kind(Kind::Float).to_device(device)
                }
                Init::Normal => {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    rng.set_stream(stream);
                    let count = spec.shape.iter().map(|&n| len(n)).product::<usize>();
                    let values: Vec<f64> = (0..count)
                        .map(|_| {
                            let normal: f64 = StandardNormal.sample(&mut rng);
                            normal * config.initializer_range
                        })
                        .collect();
                    Tensor::from_slice(&values)
                        .to_kind(Kind::Float)
                        .view(spec.shape.as_slice())
                        .to_device(device)
                }
            }
        })
        .collect()
}
