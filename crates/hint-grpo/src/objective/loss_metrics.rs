//! Metrics of a loss, on the device of its tensors until they are read together.

use tch::Tensor;

use crate::metrics::Metrics;
use crate::tensor::read_all;

/// Numbers to log of a loss, as tensors. The learner reads those of a micro-batch together, so that it waits for a GPU
/// once, for any number of them.
///
/// ```
/// use hint_grpo::objective::LossMetrics;
/// use tch::{Kind, Tensor};
///
/// let lengths = Tensor::from_slice(&[30.0, 50.0, 0.0]);
/// let counted = Tensor::from_slice(&[1.0, 1.0, 0.0]);
/// let mut metrics = LossMetrics::new();
/// metrics.add("own/length", &lengths.sum(Kind::Double), &counted.sum(Kind::Double));
/// metrics.add_min("own/shortest", &lengths, &counted);
/// let metrics = metrics.read();
/// assert_eq!(metrics.get("own/length"), Some(40.0));
/// assert_eq!(metrics.get("own/shortest"), Some(30.0));
/// ```
#[derive(Debug, Default)]
pub struct LossMetrics {
    /// Those that are on the host already.
    host: Metrics,
    tensors: Vec<Tensor>,
    pending: Vec<Pending>,
}

/// A metric whose observations are in two of the tensors, one beside the other.
#[derive(Debug)]
struct Pending {
    name: String,
    summary: Summary,
    values: Kept,
    weights: Kept,
}

/// The summary of observations.
#[derive(Debug, Clone, Copy)]
pub(super) enum Summary {
    Mean,
    Least,
    Most,
}

/// A tensor that is read, by its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept(usize);

impl LossMetrics {
    /// No metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `weight` observations that sum to `sum`, both `[]`, of any kind. Gradients are left behind.
    pub fn add(&mut self, name: impl Into<String>, sum: &Tensor, weight: &Tensor) {
        self.observe(name, Summary::Mean, [sum, weight]);
    }

    /// Adds `values` to a metric that is the least of its observations. `weights` has the shape of `values`: those of
    /// weight 0 are left out.
    pub fn add_min(&mut self, name: impl Into<String>, values: &Tensor, weights: &Tensor) {
        self.observe(name, Summary::Least, [values, weights]);
    }

    /// Adds `values` to a metric that is the largest of its observations. `weights` has the shape of `values`: those
    /// of weight 0 are left out.
    pub fn add_max(&mut self, name: impl Into<String>, values: &Tensor, weights: &Tensor) {
        self.observe(name, Summary::Most, [values, weights]);
    }

    /// Reads all of them. The host waits for the device once.
    pub fn read(self) -> Metrics {
        self.read_with([]).1
    }

    /// Reads them together with other tensors, which come first and flattened.
    pub(crate) fn read_with<const N: usize>(
        self,
        others: [&Tensor; N],
    ) -> ([Vec<f64>; N], Metrics) {
        let Self { host: mut metrics, tensors, pending } = self;
        let mut all = read_all(&others.into_iter().chain(&tensors).collect::<Vec<_>>()).into_iter();
        let others = others.map(|_| all.next().unwrap_or_default());
        let own = all.collect::<Vec<_>>();
        for Pending { name, summary, values: Kept(values), weights: Kept(weights) } in pending {
            for (&value, &weight) in own[values].iter().zip(&own[weights]) {
                match summary {
                    Summary::Mean => metrics.add(name.as_str(), value, weight),
                    Summary::Least if weight > 0.0 => metrics.add_min(name.as_str(), value),
                    Summary::Most if weight > 0.0 => metrics.add_max(name.as_str(), value),
                    Summary::Least | Summary::Most => {}
                }
            }
        }
        (others, metrics)
    }

    /// Keeps a tensor, which nobody changes, for several metrics.
    pub(super) fn keep(&mut self, tensor: &Tensor) -> Kept {
        self.tensors.push(tensor.detach());
        Kept(self.tensors.len() - 1)
    }

    /// Adds a metric of kept tensors.
    pub(super) fn observe_kept(
        &mut self,
        name: impl Into<String>,
        summary: Summary,
        [values, weights]: [Kept; 2],
    ) {
        self.pending.push(Pending { name: name.into(), summary, values, weights });
    }

    fn observe(&mut self, name: impl Into<String>, summary: Summary, tensors: [&Tensor; 2]) {
        // Copies: the loss goes on to compute in the tensors of its objective.
        let kept = tensors.map(|tensor| self.keep(&tensor.detach_copy()));
        self.observe_kept(name, summary, kept);
    }
}

impl From<Metrics> for LossMetrics {
    /// Of numbers that are on the host already.
    fn from(host: Metrics) -> Self {
        Self { host, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn tensors_give_the_metrics_of_the_numbers_in_them() {
        let values = Tensor::from_slice(&[0.1_f32, f32::NAN, -0.7]).set_requires_grad(true);
        let weights = Tensor::from_slice(&[2_i64, 0, 3]);
        let mut host = Metrics::new();
        host.add("own", 1.0, 4.0);
        let mut metrics = LossMetrics::from(host.clone());
        let half = Tensor::from(0.5);
        let [mean, nothing, least, most, none] = ["mean", "nothing", "least", "most", "none"];
        metrics.add(mean, &half, &weights.sum(Kind::Int64));
        metrics.add(nothing, &half, &Tensor::from(0.0));
        metrics.add_min(least, &values, &weights);
        metrics.add_max(most, &values, &weights);
        metrics.add_max(none, &values, &weights.zeros_like());
        let ([first], found) = metrics.read_with([&half]);
        assert_eq!(first, [0.5]);
        host.add(mean, 0.5, 5.0);
        host.add(nothing, 0.5, 0.0);
        host.add_min(least, f64::from(-0.7_f32));
        host.add_max(most, f64::from(0.1_f32));
        assert_eq!(found, host);
    }
}
