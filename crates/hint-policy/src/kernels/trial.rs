//! Trials of operators for GPUs: a few numbers, compared with the operations that an operator replaces.

use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::fused::{self, AdamWStep, CachedRows, PackedRows};
use crate::tensor::upload;

/// Named results, with the largest difference of each.
pub(super) type Differences = Result<Vec<(&'static str, f64)>, TchError>;

/// libtorch compiles a method again in its first calls, so that a trial takes a few.
const CALLS: i32 = 4;

fn numbers(shape: &[i64], offset: f64, device: Device) -> Result<Tensor, TchError> {
    let count = shape.iter().product::<i64>();
    let places = Tensor::f_arange(count, (Kind::Float, device))?;
    places.f_mul_scalar(1.7)?.f_add_scalar(offset)?.f_sin()?.f_view(shape)
}

fn difference(found: &Tensor, expected: &Tensor) -> Result<f64, TchError> {
    found.f_to_kind(Kind::Double)?.f_sub(expected)?.f_abs()?.f_max()?.f_double_value(&[])
}

pub(super) fn adamw(device: Device) -> Differences {
    let step =
        AdamWStep { learning_rate: 0.1, beta1: 0.8, beta2: 0.9, weight_decay: 0.5, epsilon: 0.1 };
    let new = |offset| numbers(&[5], offset, device);
    let (weights, gradient) = (new(0.1)?, new(0.2)?);
    let (first, second) = (new(0.3)?, new(0.4)?.f_square()?);
    let wide = |tensor: &Tensor| tensor.f_to_kind(Kind::Double);
    let (wide_gradient, mut of_weights) = (wide(&gradient)?, wide(&weights)?);
    let (mut of_first, mut of_second) = (wide(&first)?, wide(&second)?);
    let mix = |moment: &Tensor, fresh: &Tensor, beta: f64| {
        moment.f_mul_scalar(beta)?.f_add(&fresh.f_mul_scalar(1.0 - beta)?)
    };
    for count in 1..=CALLS {
        let steps = Tensor::f_full([0_i64; 0], f64::from(count), (Kind::Float, device))?;
        fused::adamw([&weights, &gradient, &first, &second], &steps, &step)?;
        of_first = mix(&of_first, &wide_gradient, step.beta1)?;
        of_second = mix(&of_second, &wide_gradient.f_square()?, step.beta2)?;
        let correction = |beta: f64| 1.0 - beta.powi(count);
        let root = of_second.f_div_scalar(correction(step.beta2))?.f_sqrt()?;
        let change = of_first.f_div(&root.f_add_scalar(step.epsilon)?)?;
        let change = change.f_mul_scalar(step.learning_rate / correction(step.beta1))?;
        let decay = 1.0 - step.learning_rate * step.weight_decay;
        of_weights = of_weights.f_mul_scalar(decay)?.f_sub(&change)?;
    }
    Ok(vec![
        ("weights", difference(&weights, &of_weights)?),
        ("first moment", difference(&first, &of_first)?),
        ("second moment", difference(&second, &of_second)?),
    ])
}

pub(super) fn gradient_norm(device: Device) -> Differences {
    let (a, b) = (numbers(&[3, 2], 0.1, device)?, numbers(&[4], 0.2, device)?);
    let mut found = Vec::new();
    for _ in 0..CALLS {
        let norms = fused::norms(&[&a, &b])?;
        for (place, tensor) in [(0, &a), (1, &b)] {
            let exact =
                tensor.f_to_kind(Kind::Double)?.f_square()?.f_sum(Kind::Double)?.f_sqrt()?;
            found.push(("norm", difference(&norms.f_get(place)?, &exact)?));
        }
        let half = b.f_to_kind(Kind::Double)?.f_mul_scalar(0.5)?;
        fused::scale(&[&a, &b], 0.5)?;
        found.push(("clipped gradient", difference(&b, &half)?));
    }
    Ok(found)
}

pub(super) fn rms_norm(device: Device) -> Differences {
    let new = |offset| numbers(&[3, 8], offset, device);
    let (x, dy, factor) = (new(0.1)?, new(0.2)?, numbers(&[8], 0.3, device)?);
    let eps = 0.01;
    let last = [-1_i64];
    let mean = |tensor: &Tensor| tensor.f_mean_dim(last.as_slice(), true, Kind::Double);
    let wide = |tensor: &Tensor| tensor.f_to_kind(Kind::Double);
    let (wide_x, of_y, wide_factor) = (wide(&x)?, wide(&dy)?, wide(&factor)?);
    let exact_scale = mean(&wide_x.f_square()?)?.f_add_scalar(eps)?.f_rsqrt()?;
    let unit = wide_x.f_mul(&exact_scale)?;
    let of_unit = of_y.f_mul(&wide_factor)?;
    let along = unit.f_mul(&mean(&of_unit.f_mul(&unit)?)?)?;
    let of_x = of_unit.f_sub(&along)?.f_mul(&exact_scale)?;
    let of_factor =
        of_y.f_mul(&unit)?.f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Double)?;
    let mut found = Vec::new();
    for _ in 0..CALLS {
        let (y, scale) = fused::norm(&x, Some(&factor), eps)?;
        let (plain, _) = fused::norm(&x, None, eps)?;
        let [dx, d_factor] = fused::norm_backward(&x, &scale, &factor, &dy, true)?;
        let [alone, _] = fused::norm_backward(&x, &scale, &factor, &dy, false)?;
        found.extend([
            ("result", difference(&y, &unit.f_mul(&wide_factor)?)?),
            ("result without factor", difference(&plain, &unit)?),
            ("scale", difference(&scale, &exact_scale)?),
            ("gradient", difference(&dx, &of_x)?),
            ("gradient of x alone", difference(&alone, &of_x)?),
            ("gradient of the factor", difference(&d_factor, &of_factor)?),
        ]);
    }
    Ok(found)
}

/// The product is added to a sum that bf16 would round.
pub(super) fn wide_sum(device: Device) -> Differences {
    let bf16 = |shape: &[i64], offset| numbers(shape, offset, device)?.f_to_kind(Kind::BFloat16);
    let (x, y) = (bf16(&[5, 3], 0.1)?.f_transpose(0, 1)?, bf16(&[5, 4], 0.2)?);
    let wide = |tensor: &Tensor| tensor.f_to_kind(Kind::Double);
    let product = wide(&x)?.f_matmul(&wide(&y)?)?;
    let mut sum = numbers(&[3, 4], 0.3, device)?;
    let mut exact = wide(&sum)?;
    let mut found = Vec::new();
    for _ in 0..CALLS {
        fused::add_product(&mut sum, &x, &y)?;
        exact = exact.f_add(&product)?;
        found.push(("sum", difference(&sum, &exact)?));
    }
    Ok(found)
}

/// Heads of queries and of keys, and their width, in the trials of attention.
const HEADS: (i64, i64, i64) = (4, 2, 8);

pub(super) fn packed_attention(device: Device) -> Differences {
    let lens = [3, 1, 7];
    let (heads, key_heads, width) = HEADS;
    let tokens = lens.iter().sum::<i64>();
    let bf16 = |heads: i64, offset| {
        numbers(&[tokens, heads, width], offset, device)?.f_to_kind(Kind::BFloat16)
    };
    let inputs = [bf16(heads, 0.1)?, bf16(key_heads, 0.2)?, bf16(key_heads, 0.3)?];
    let dy = bf16(heads, 0.4)?;
    let ends = upload(&[0_i32, 3, 4, 11], device);
    let mut found = Vec::new();
    for window in [None, Some(2)] {
        let rows = PackedRows { ends: &ends, longest: 7, scale: 0.4, window };
        let leaf = |tensor: &Tensor| {
            Ok::<_, TchError>(tensor.f_to_kind(Kind::Double)?.set_requires_grad(true))
        };
        let leaves = [leaf(&inputs[0])?, leaf(&inputs[1])?, leaf(&inputs[2])?];
        let expected = tch::with_grad(|| {
            let mut start = 0;
            let mut parts = Vec::new();
            for len in lens {
                let row = |tensor: &Tensor| tensor.f_narrow(0, start, len);
                let parts_of = [row(&leaves[0])?, row(&leaves[1])?, row(&leaves[2])?];
                parts.push(plain_attention(&parts_of, 0.4, window)?);
                start += len;
            }
            let all = Tensor::f_cat(&parts, 0)?;
            all.f_mul(&dy)?.f_sum(Kind::Double)?.f_backward()?;
            Ok::<_, TchError>(all.detach())
        })?;
        for _ in 0..CALLS {
            let (output, kept) = fused::attend(&rows, &inputs)?;
            found.push(("result", difference(&output, &expected)?));
            let gradients = fused::attend_backward(&rows, &inputs, &output, &kept, &dy)?;
            for (gradient, leaf) in gradients.iter().zip(&leaves) {
                found.push(("gradient", difference(gradient, &leaf.f_grad()?)?));
            }
        }
    }
    Ok(found)
}

/// The cache holds `[places, key heads, positions, width]`, as that of the decoder.
pub(super) fn cached_attention(device: Device) -> Differences {
    let lens = [5_i32, 1, 8];
    let (heads, key_heads, width) = HEADS;
    let positions = 9;
    let bf16 = |shape: &[i64], offset| numbers(shape, offset, device)?.f_to_kind(Kind::BFloat16);
    let query = bf16(&[3, heads, width], 0.1)?;
    let cache = [0.2, 0.3].map(|offset| bf16(&[3, key_heads, positions, width], offset));
    let [keys, values] = cache;
    let (keys, values) = (keys?, values?);
    let by_index = |cache: &Tensor| {
        let shape = [2 * key_heads * positions + positions, key_heads, width];
        cache.f_as_strided(shape, [width, positions * width, 1], None)
    };
    let step = i32::try_from(key_heads * positions).expect("a constant");
    let rows = CachedRows {
        query_ends: upload(&[0, 1, 2, 3], device),
        key_ends: upload(&[0, step, 2 * step, 3 * step], device),
        used: upload(&lens, device),
        longest: 8,
    };
    let mut found = Vec::new();
    for window in [None, Some(2)] {
        let mut expected = Vec::new();
        for (place, len) in (0..).zip(lens) {
            let wide = |tensor: Tensor| tensor.f_to_kind(Kind::Double);
            let seen = |cache: &Tensor| {
                wide(cache.f_get(place)?.f_narrow(1, 0, len.into())?.f_transpose(0, 1)?)
            };
            let row = [wide(query.f_narrow(0, place, 1)?)?, seen(&keys)?, seen(&values)?];
            expected.push(plain_attention(&row, 0.4, window)?);
        }
        let expected = Tensor::f_cat(&expected, 0)?;
        for _ in 0..CALLS {
            let heads = [&query, &by_index(&keys)?, &by_index(&values)?];
            let output = fused::attend_cached(&rows, heads, 0.4, window)?;
            found.push(("result", difference(&output, &expected)?));
        }
    }
    Ok(found)
}

/// Causal attention of one row, with queries, keys and values `[tokens, heads, width]`. Queries are the last tokens.
fn plain_attention(
    [query, key, value]: &[Tensor; 3],
    scale: f64,
    window: Option<i64>,
) -> Result<Tensor, TchError> {
    let (queries, keys) = (query.size()[0], key.size()[0]);
    let share = query.size()[1] / key.size()[1];
    let by_head = |tensor: &Tensor, share| {
        tensor.f_repeat_interleave_self_int(share, 1, None)?.f_transpose(0, 1)
    };
    let (query, key, value) = (by_head(query, 1)?, by_head(key, share)?, by_head(value, share)?);
    let scores = query.f_matmul(&key.f_transpose(1, 2)?)?.f_mul_scalar(scale)?;
    let at = |index: i64| index + keys - queries;
    let hidden = (0..queries).flat_map(|query| {
        (0..keys).map(move |key| {
            key > at(query) || window.is_some_and(|window| key <= at(query) - window)
        })
    });
    let hidden = upload(&hidden.collect::<Vec<bool>>(), scores.device());
    let hidden = hidden.f_view([queries, keys])?;
    let weights = scores.f_masked_fill(&hidden, f64::NEG_INFINITY)?.f_softmax(-1, None::<Kind>)?;
    weights.f_matmul(&value)?.f_transpose(0, 1)
}
