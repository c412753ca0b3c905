//! Log-probabilities of tokens from logits.

use tch::{Kind, Tensor};

use crate::ffi::{Job, Memory};
use crate::kernels::number::{LANES, Number, exp, max, of_lanes, single};
use crate::kernels::{by_kind, rows_of_a_job, run_all, width};
use crate::tensor::len;

/// What [`score`] finds for each row of logits, `[rows]`, `Float`.
#[derive(Debug)]
pub(crate) struct Scores {
    pub(crate) logprobs: Tensor,
    pub(crate) entropies: Tensor,
    /// Logarithm of the sum of the exponentials of the logits at the temperature.
    pub(crate) normalizers: Tensor,
}

/// The scores of `targets` `[rows]` under logits `[rows, vocab]` divided by `temperature`.
pub(crate) fn score(logits: &Tensor, targets: &Tensor, temperature: f64) -> Scores {
    by_kind!(logits, score_of(logits, targets, temperature))
}

fn score_of<T: Number>(logits: &Tensor, targets: &Tensor, temperature: f64) -> Scores {
    let (width, logits, targets) = (width(logits), logits.contiguous(), targets.contiguous());
    let empty = || Tensor::empty_like(&targets).to_kind(Kind::Float);
    let mut scores = Scores { logprobs: empty(), entropies: empty(), normalizers: empty() };
    let count = rows_of_a_job(width);
    let mut memory = Memory::default();
    let rows = memory.read::<T>(&logits).chunks(count * width);
    let targets = memory.read::<i64>(&targets).chunks(count);
    let logprobs = memory.write::<f32>(&mut scores.logprobs).chunks_mut(count);
    let entropies = memory.write::<f32>(&mut scores.entropies).chunks_mut(count);
    let normalizers = memory.write::<f32>(&mut scores.normalizers).chunks_mut(count);
    let jobs = rows.zip(targets).zip(logprobs.zip(entropies).zip(normalizers));
    run_all(jobs.map(|((logits, targets), ((logprobs, entropies), normalizers))| Score {
        logits,
        targets,
        width,
        factor: single(1.0 / temperature),
        logprobs,
        entropies,
        normalizers,
    }));
    scores
}

struct Score<'a, T> {
    logits: &'a [T],
    targets: &'a [i64],
    width: usize,
    /// On the logits.
    factor: f32,
    logprobs: &'a mut [f32],
    entropies: &'a mut [f32],
    normalizers: &'a mut [f32],
}

impl<T: Number> Job for Score<'_, T> {
    #[inline(always)]
    fn run(self) {
        let rows = self.logits.chunks_exact(self.width).zip(self.targets);
        for (row, (logits, &target)) in rows.enumerate() {
            let largest = max(logits);
            let shifted = |logit: T| (logit.wide() - largest) * self.factor;
            // Sums of exponentials, and of exponentials times exponents.
            let (mut sums, mut products) = ([0.0; LANES], [0.0; LANES]);
            let mut add = |lane: usize, logit: T| {
                let exponent = shifted(logit);
                let power = exp(exponent);
                sums[lane] += power;
                // A logit of -inf has the exponential 0, and so has the product in the limit.
                products[lane] += if power == 0.0 { 0.0 } else { power * exponent };
            };
            let (chunks, rest) = logits.as_chunks::<LANES>();
            for chunk in chunks {
                for (lane, &logit) in chunk.iter().enumerate() {
                    add(lane, logit);
                }
            }
            for (lane, &logit) in rest.iter().enumerate() {
                add(lane, logit);
            }
            let sum = of_lanes(&sums);
            let log = sum.ln();
            self.logprobs[row] = shifted(logits[len(target)]) - log;
            self.entropies[row] = log - of_lanes(&products) / sum;
            self.normalizers[row] = largest * self.factor + log;
        }
    }
}

/// Replaces logits by their gradient, given that of the log-probabilities of `targets` `[rows]`.
pub(crate) fn backward(
    logits: &mut Tensor,
    targets: &Tensor,
    normalizers: &Tensor,
    dy: &Tensor,
    temperature: f64,
) {
    by_kind!(logits, backward_of(logits, targets, normalizers, dy, temperature));
}

fn backward_of<T: Number>(
    logits: &mut Tensor,
    targets: &Tensor,
    normalizers: &Tensor,
    dy: &Tensor,
    temperature: f64,
) {
    let (width, count) = (width(logits), rows_of_a_job(width(logits)));
    let (targets, normalizers) = (targets.contiguous(), normalizers.contiguous());
    let dy = dy.to_kind(Kind::Float).contiguous();
    let mut memory = Memory::default();
    let rows = memory.write::<T>(logits).chunks_mut(count * width);
    let targets = memory.read::<i64>(&targets).chunks(count);
    let normalizers = memory.read::<f32>(&normalizers).chunks(count);
    let dy = memory.read::<f32>(&dy).chunks(count);
    let jobs = rows.zip(targets).zip(normalizers.zip(dy));
    run_all(jobs.map(|((logits, targets), (normalizers, dy))| Backward {
        logits,
        targets,
        width,
        factor: single(1.0 / temperature),
        normalizers,
        dy,
    }));
}

struct Backward<'a, T> {
    logits: &'a mut [T],
    targets: &'a [i64],
    width: usize,
    /// On the logits.
    factor: f32,
    normalizers: &'a [f32],
    dy: &'a [f32],
}

impl<T: Number> Job for Backward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let rows = self.logits.chunks_exact_mut(self.width).zip(self.targets);
        for ((logits, &target), (normalizer, dy)) in rows.zip(self.normalizers.iter().zip(self.dy))
        {
            // d log p(y) / d logits = (onehot(y) - p) / temperature.
            let dy = dy * self.factor;
            let probability = |logit: T| exp(logit.wide() * self.factor - normalizer);
            let of_target = dy * (1.0 - probability(logits[len(target)]));
            for logit in &mut *logits {
                *logit = T::narrow(-dy * probability(*logit));
            }
            logits[len(target)] = T::narrow(of_target);
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn scores_equal_those_of_libtorch() {
        tch::set_num_threads(2);
        for (kind, temperature) in [(Kind::Float, 1.0), (Kind::Float, 0.7), (Kind::BFloat16, 1.3)] {
            let values = Tensor::arange(33 * 1000, (Kind::Float, Device::Cpu)).g_mul_scalar(1.7);
            let mut logits = (values.sin() * 9.0).view([33, 1000]).to_kind(kind);
            // A token that cannot come.
            let _ = logits.narrow(1, 7, 1).fill_(f64::NEG_INFINITY);
            let targets = Tensor::arange(33, (Kind::Int64, Device::Cpu)) * 30 + 8;
            let dy = Tensor::arange(33, (Kind::Float, Device::Cpu)).cos();
            let leaf = logits.to_kind(Kind::Double).set_requires_grad(true);
            let all = (&leaf / temperature).log_softmax(-1, None::<Kind>);
            let exact = all.gather(-1, &targets.unsqueeze(-1), false).squeeze_dim(-1);
            (&exact * &dy).sum(Kind::Double).backward();
            let probable = all.exp() * all;
            let entropies = probable.nansum([-1_i64].as_slice(), false, None::<Kind>).neg();
            let close = |ours: &Tensor, exact: &Tensor, tolerance: f64| {
                let error = (ours.to_kind(Kind::Double) - exact).abs().max().double_value(&[]);
                assert!(error < tolerance, "{kind:?} {temperature}: {error}");
            };
            let scores = score(&logits, &targets, temperature);
            close(&scores.logprobs, &exact.detach(), 2e-6);
            close(&scores.entropies, &entropies.detach(), 2e-6);
            backward(&mut logits, &targets, &scores.normalizers, &dy, temperature);
            close(&logits, &leaf.grad(), if kind == Kind::Float { 2e-6 } else { 3e-3 });
        }
    }
}
