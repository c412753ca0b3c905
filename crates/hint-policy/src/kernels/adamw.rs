//! A step of AdamW on a CPU in one pass over memory.

use tch::{Device, Kind, Tensor};

use crate::ffi::{Job, Memory};
use crate::kernels::fused::AdamWStep;
use crate::kernels::number::{Number, single};
use crate::kernels::{WORTH_A_THREAD, by_kind, run_all};

/// Whether [`adamw_on_cpu`] works for these weights and this gradient.
pub fn has_adamw_on_cpu(weights: &Tensor, gradient: &Tensor) -> bool {
    weights.device() == Device::Cpu
        && weights.kind() == Kind::Float
        && matches!(gradient.kind(), Kind::Float | Kind::BFloat16)
}

/// A step of AdamW on a CPU, in place, on libtorch's threads. `buffers` are weights and both moments, `Float`. The
/// gradient has their size and may be `BFloat16`. `steps` is the number of steps with this one.
///
/// Each operation is rounded as that of libtorch, in the order of `torch.optim.AdamW`, except that the root is the nearest
/// number. So neither the number of threads nor the place in a buffer changes a bit. Libtorch's fused step is left aside,
/// because it rounds the last numbers of a stretch otherwise. Autograd does not see the change of the weights.
///
/// # Panics
///
/// If [`has_adamw_on_cpu`] says no, or sizes differ.
pub fn adamw_on_cpu(buffers: [&mut Tensor; 3], gradient: &Tensor, steps: f64, step: &AdamWStep) {
    by_kind!(gradient, update(buffers, gradient, &Factors::new(steps, step)));
}

fn update<T: Number>(buffers: [&mut Tensor; 3], gradient: &Tensor, factors: &Factors) {
    let gradient = gradient.contiguous();
    let mut memory = Memory::default();
    let gradient = memory.read::<T>(&gradient);
    let [weights, first, second] = buffers.map(|buffer| {
        let numbers = memory.write::<f32>(buffer);
        assert_eq!(numbers.len(), gradient.len(), "a number for each of the gradient");
        numbers.chunks_mut(WORTH_A_THREAD)
    });
    let jobs = weights.zip(first.zip(second)).zip(gradient.chunks(WORTH_A_THREAD));
    run_all(jobs.map(|((weights, (first, second)), gradient)| Update {
        factors,
        weights,
        first,
        second,
        gradient,
    }));
}

/// Constants of one step.
struct Factors {
    /// On the weights.
    decay: f32,
    /// Part of the way from the first moment to the gradient, and whether it is counted from the gradient.
    mix: f32,
    from_gradient: bool,
    beta2: f32,
    /// Of the square in the second moment.
    fresh: f32,
    /// Divides the root of the second moment.
    correction: f32,
    epsilon: f32,
    /// On the first moment.
    change: f32,
}

impl Factors {
    fn new(steps: f64, step: &AdamWStep) -> Self {
        let AdamWStep { learning_rate, beta1, beta2, weight_decay, epsilon } = *step;
        let mix = single(1.0 - beta1);
        // As libtorch's `lerp`: from the end that is nearer.
        let from_gradient = mix >= 0.5;
        Self {
            decay: single(1.0 - learning_rate * weight_decay),
            mix: if from_gradient { mix - 1.0 } else { mix },
            from_gradient,
            beta2: single(beta2),
            fresh: single(1.0 - beta2),
            correction: single((1.0 - beta2.powf(steps)).sqrt()),
            epsilon: single(epsilon),
            change: single(-learning_rate / (1.0 - beta1.powf(steps))),
        }
    }
}

struct Update<'a, T> {
    factors: &'a Factors,
    weights: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [T],
}

impl<T: Number> Job for Update<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Factors { decay, mix, from_gradient, beta2, fresh, correction, epsilon, change } =
            *self.factors;
        let moments = self.first.iter_mut().zip(self.second);
        let numbers = self.weights.iter_mut().zip(moments).zip(self.gradient);
        for ((weight, (first, second)), gradient) in numbers {
            let gradient = gradient.wide();
            let start = if from_gradient { gradient } else { *first };
            *first = mix.mul_add(gradient - *first, start);
            *second = (gradient * fresh).mul_add(gradient, *second * beta2);
            let root = second.sqrt() / correction + epsilon;
            *weight = *weight * decay + *first * change / root;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::size;

    fn numbers(count: i64, offset: f64) -> Tensor {
        let places = Tensor::arange(count, (Kind::Double, Device::Cpu));
        (places * 1.7 + offset).sin()
    }

    #[test]
    fn neither_threads_nor_the_place_in_a_buffer_change_a_bit() {
        let count = 2 * size(WORTH_A_THREAD) + 5;
        let step = AdamWStep {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 0.3,
            epsilon: 1e-8,
        };
        let gradient = numbers(count, 0.2).to_kind(Kind::Float);
        let stepped = |threads: i32, cut: i64| {
            tch::set_num_threads(threads);
            let buffers = [0.1, 0.3, 0.4].map(|offset| {
                let numbers = numbers(count, offset);
                let numbers = if offset == 0.4 { numbers.square() } else { numbers };
                numbers.to_kind(Kind::Float)
            });
            for (start, len) in [(0, cut), (cut, count - cut)] {
                let part = |buffer: &Tensor| buffer.narrow(0, start, len);
                let [mut weights, mut first, mut second] = buffers.each_ref().map(part);
                let buffers = [&mut weights, &mut first, &mut second];
                adamw_on_cpu(buffers, &part(&gradient), 7.0, &step);
            }
            buffers
        };
        let whole = stepped(1, 0);
        for (threads, cut) in [(3, 0), (1, 7), (2, 20_001)] {
            for (found, expected) in stepped(threads, cut).iter().zip(&whole) {
                assert!(found.equal(expected), "{threads} {cut}");
            }
        }
    }

    #[test]
    fn steps_equal_those_of_double_numbers() {
        tch::set_num_threads(2);
        // Both ends of `lerp`, one step and many, several jobs and none.
        let count = 3 * size(WORTH_A_THREAD) + 5;
        for (count, beta1, steps, kind) in [
            (count, 0.9, 1.0, Kind::Float),
            (count, 0.3, 40.0, Kind::Float),
            (count, 0.9, 1000.0, Kind::BFloat16),
            (0, 0.9, 1.0, Kind::Float),
        ] {
            let step = AdamWStep {
                learning_rate: 0.1,
                beta1,
                beta2: 0.99,
                weight_decay: 0.3,
                epsilon: 1e-3,
            };
            let mut weights = numbers(count, 0.1).to_kind(Kind::Float);
            let mut first = numbers(count, 0.3).to_kind(Kind::Float);
            let mut second = numbers(count, 0.4).square().to_kind(Kind::Float);
            let gradient = numbers(count, 0.2).to_kind(kind);
            let wide = |tensor: &Tensor| tensor.to_kind(Kind::Double);
            let of_first = wide(&first) * beta1 + wide(&gradient) * (1.0 - beta1);
            let of_second = wide(&second) * 0.99 + wide(&gradient).square() * 0.01;
            let root = (&of_second / (1.0 - 0.99_f64.powf(steps))).sqrt() + 1e-3;
            let change = &of_first / root * (0.1 / (1.0 - beta1.powf(steps)));
            let of_weights = wide(&weights) * (1.0 - 0.1 * 0.3) - change;
            assert!(has_adamw_on_cpu(&weights, &gradient));
            let buffers = [&mut weights, &mut first, &mut second];
            adamw_on_cpu(buffers, &gradient, steps, &step);
            let found = [weights, first, second];
            for (found, expected) in found.iter().zip([of_weights, of_first, of_second]) {
                let close = found.allclose(&expected.to_kind(Kind::Float), 1e-5, 1e-6, false);
                assert!(close, "{beta1} {steps} {kind:?}");
            }
        }
    }
}
