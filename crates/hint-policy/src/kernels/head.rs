//! Log-probabilities of tokens from logits.

use tch::{Device, Kind, Tensor};

use crate::ffi::{Job, Memory};
use crate::kernels::number::{LANES, Number, exp, max, of_lanes, single};
use crate::kernels::{by_kind, rows_of_a_job, run_all, width};
use crate::tensor::len;

/// Results of [`score`] for each row of logits, `[rows]`, `Float`.
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

/// Replaces logits by their gradient, given the gradient of the log-probabilities of `targets` `[rows]`.
/// `alternatives` are their tokens and gradients, both `[rows, k]`.
pub(crate) fn backward(
    logits: &mut Tensor,
    targets: &Tensor,
    normalizers: &Tensor,
    dy: &Tensor,
    alternatives: Option<(&Tensor, &Tensor)>,
    temperature: f64,
) {
    by_kind!(logits, backward_of(logits, targets, normalizers, dy, alternatives, temperature));
}

fn backward_of<T: Number>(
    logits: &mut Tensor,
    targets: &Tensor,
    normalizers: &Tensor,
    dy: &Tensor,
    alternatives: Option<(&Tensor, &Tensor)>,
    temperature: f64,
) {
    let (others, of_others) = alternatives.map_or_else(
        || {
            (
                Tensor::zeros([0], (Kind::Int64, Device::Cpu)),
                Tensor::zeros([0], (Kind::Float, Device::Cpu)),
            )
        },
        |(tokens, dy)| (tokens.contiguous(), dy.to_kind(Kind::Float).contiguous()),
    );
    let each = alternatives.map_or(0, |(tokens, _)| self::width(tokens));
    let (width, count) = (width(logits), rows_of_a_job(width(logits)));
    let (targets, normalizers) = (targets.contiguous(), normalizers.contiguous());
    let dy = dy.to_kind(Kind::Float).contiguous();
    let mut memory = Memory::default();
    let rows = memory.write::<T>(logits).chunks_mut(count * width);
    let targets = memory.read::<i64>(&targets).chunks(count);
    let normalizers = memory.read::<f32>(&normalizers).chunks(count);
    let dy = memory.read::<f32>(&dy).chunks(count);
    let (others, of_others) = (memory.read::<i64>(&others), memory.read::<f32>(&of_others));
    let jobs = rows.zip(targets).zip(normalizers.zip(dy)).enumerate();
    run_all(jobs.map(|(job, ((logits, targets), (normalizers, dy)))| {
        let first = job * count * each;
        let range = first..first + targets.len() * each;
        Backward {
            logits,
            targets,
            width,
            factor: single(1.0 / temperature),
            normalizers,
            dy,
            each,
            others: &others[range.clone()],
            of_others: &of_others[range],
        }
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
    /// Alternatives of each row.
    each: usize,
    others: &'a [i64],
    of_others: &'a [f32],
}

impl<T: Number> Job for Backward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let rows = self.logits.chunks_exact_mut(self.width).zip(self.targets);
        let rows = rows.zip(self.normalizers.iter().zip(self.dy)).enumerate();
        let mut gradients = Vec::with_capacity(self.each);
        for (row, ((logits, &target), (normalizer, dy))) in rows {
            let range = row * self.each..(row + 1) * self.each;
            let (others, of_others) = (&self.others[range.clone()], &self.of_others[range]);
            // d log p(y) / d logits = (onehot(y) - p) / temperature.
            let dy = dy * self.factor;
            let rest = of_others.iter().sum::<f32>() * self.factor;
            let probability = |logit: T| exp(logit.wide() * self.factor - normalizer);
            let p = probability(logits[len(target)]);
            let of_target = dy * (1.0 - p) - rest * p;
            gradients.clear();
            gradients.extend(others.iter().zip(of_others).map(|(&token, own)| {
                let also = if token == target { dy } else { 0.0 };
                own * self.factor + also - (dy + rest) * probability(logits[len(token)])
            }));
            for logit in &mut *logits {
                *logit = T::narrow(-(dy + rest) * probability(*logit));
            }
            logits[len(target)] = T::narrow(of_target);
            for (&token, gradient) in others.iter().zip(&gradients) {
                logits[len(token)] = T::narrow(*gradient);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            // Alternatives, one of them the target itself.
            let step = Tensor::arange(3, (Kind::Int64, Device::Cpu)) * 11;
            let others = targets.unsqueeze(-1) + step;
            let of_others = all.gather(-1, &others.remainder(1000), false);
            let others = others.remainder(1000);
            let dz = (of_others.detach().to_kind(Kind::Float) * 3.0).sin();
            ((&exact * &dy).sum(Kind::Double) + (&of_others * &dz).sum(Kind::Double)).backward();
            let probable = all.exp() * all;
            let entropies = probable.nansum([-1_i64].as_slice(), false, None::<Kind>).neg();
            let close = |ours: &Tensor, exact: &Tensor, tolerance: f64| {
                let error = (ours.to_kind(Kind::Double) - exact).abs().max().double_value(&[]);
                assert!(error < tolerance, "{kind:?} {temperature}: {error}");
            };
            let scores = score(&logits, &targets, temperature);
            close(&scores.logprobs, &exact.detach(), 2e-6);
            close(&scores.entropies, &entropies.detach(), 2e-6);
            let alternatives = Some((&others, &dz));
            backward(&mut logits, &targets, &scores.normalizers, &dy, alternatives, temperature);
            close(&logits, &leaf.grad(), if kind == Kind::Float { 4e-6 } else { 8e-3 });
        }
    }
}
