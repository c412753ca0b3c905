//! Probabilities of rows of logits, on their device or on the host.

use tch::{Device, Kind, Tensor};

use crate::sampling::params::SamplingParams;
use crate::tensor::upload;

/// Tempered probabilities of `logits` `[rows, vocab]`, one positive temperature per row.
pub(super) fn softmax(logits: &Tensor, temperatures: impl Iterator<Item = f64>) -> Tensor {
    let temperatures: Vec<f64> = temperatures.collect();
    let first = temperatures[0];
    #[expect(clippy::float_cmp, reason = "rows share a softmax if their settings are the same")]
    if temperatures.iter().all(|&temperature| temperature == first) {
        return tempered(logits, first);
    }
    let column = upload(&temperatures, logits.device()).to_kind(logits.kind());
    (logits / column.unsqueeze(1)).softmax(-1, None::<Kind>)
}

/// Copies `logits` `[rows, vocab]` to the host at once: as tempered probabilities if the
/// temperature is positive, as logits if it is 0. The softmax runs in libtorch, which has
/// vectorized exponentials.
pub(super) fn host_rows(logits: &Tensor, params: &[&SamplingParams]) -> Vec<f32> {
    tch::no_grad(|| {
        let first = params.first().map_or(1.0, |params| params.temperature);
        #[expect(clippy::float_cmp, reason = "rows share a softmax if their settings are the same")]
        let same = params.iter().all(|params| params.temperature == first);
        let scores = if same {
            tempered(logits, first)
        } else {
            let rows: Vec<Tensor> = params
                .iter()
                .zip(0..)
                .map(|(params, row)| tempered(&logits.narrow(0, row, 1), params.temperature))
                .collect();
            Tensor::cat(&rows, 0)
        };
        host(&scores, Kind::Float)
    })
}

pub(super) fn host<T: tch::kind::Element + Clone + Default>(tensor: &Tensor, kind: Kind) -> Vec<T> {
    let tensor = tensor.to_device(Device::Cpu).to_kind(kind).contiguous();
    let mut values = vec![T::default(); tensor.numel()];
    let count = values.len();
    tensor.copy_data(&mut values, count);
    values
}

fn tempered(logits: &Tensor, temperature: f64) -> Tensor {
    #[expect(clippy::float_cmp, reason = "exactly 1 skips an operation that would change nothing")]
    if temperature == 0.0 {
        logits.shallow_clone()
    } else if temperature == 1.0 {
        logits.softmax(-1, None::<Kind>)
    } else {
        (logits / temperature).softmax(-1, None::<Kind>)
    }
}
