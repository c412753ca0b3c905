//! Matrix products by kernels of oneDNN that libtorch has but does not choose by itself.

use std::sync::LazyLock;

use tch::{CModule, Device, IValue, Kind, Tensor};

use crate::kernels::fast_path::FastPath;
use crate::kernels::{fused, script};
use crate::tensor::len;

/// libtorch rearranges a matrix for its kernels at every product, which for a few rows takes as
/// long as the product. It also has kernels for matrices that were rearranged beforehand, but only
/// `TorchScript` can name them. In each, `x` is `[rows, in]`, `weight` comes from `pack`, and `bias` is
/// `[out]` or undefined. Sums, `silu` and products are applied before rounding to the kind of `x`.
const SOURCE: &str = r#"class Products(Module):
  __parameters__ = []
  __buffers__ = []
  def pack(self: __torch__.Products, weight: Tensor, rows: int) -> Tensor:
    return ops.mkldnn._reorder_linear_weight(weight, rows)
  def plain(self: __torch__.Products, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    scalars = annotate(List[Optional[number]], [])
    return ops.mkldnn._linear_pointwise(x, weight, bias, "none", scalars, "")
  def silu(self: __torch__.Products, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    scalars = annotate(List[Optional[number]], [])
    return ops.mkldnn._linear_pointwise(x, weight, bias, "swish", scalars, "")
  def add(self: __torch__.Products, x: Tensor, weight: Tensor, bias: Tensor, other: Tensor) -> Tensor:
    return ops.mkldnn._linear_pointwise(x, other, weight, bias, "add")
  def mul(self: __torch__.Products, x: Tensor, weight: Tensor, bias: Tensor, other: Tensor) -> Tensor:
    return ops.mkldnn._linear_pointwise(x, other, weight, bias, "mul")
"#;

/// Rows that the layout is chosen for; any number works.
const ROWS: i64 = 32;

/// The compiled [`SOURCE`], where libtorch has these kernels.
static PRODUCTS: LazyLock<Option<CModule>> =
    LazyLock::new(|| script::compile("Products", SOURCE).ok());

/// Whether the kernels work for `Float` and for `BFloat16` on this processor.
static WORKS: LazyLock<[bool; 2]> = LazyLock::new(|| [Kind::Float, Kind::BFloat16].map(works));

/// Multiplications from which on calling another kernel takes less time than it saves.
const MIN_PRODUCT: usize = 1 << 22;

/// As [`MIN_PRODUCT`], where the result is added to something, which libtorch's own products do at once.
const MIN_ADDED_PRODUCT: usize = 1 << 25;

/// Elements of a product that is computed at a time to be added: 128 MiB.
const SUM_ELEMENTS: i64 = 1 << 25;

/// Whether to have oneDNN multiply `[rows, in]` by `[out, in]`, of which `least` multiplications are worth it.
fn pays(x: &Tensor, weight: &Tensor, least: usize) -> bool {
    x.kind() == Kind::Float
        && x.device() == Device::Cpu
        && x.numel() * len(weight.size()[0]) >= least
        && WORKS[0]
}

/// `x · weightᵀ + bias` without gradient, for `x` `[rows, in]` and a `weight` `[out, in]` that is used once or
/// twice. In `Float` on a CPU libtorch's own products do not use every instruction of every processor. So
/// oneDNN's take half the time on some. In other kinds both are the same.
pub(crate) fn product(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    if !pays(x, weight, MIN_PRODUCT) {
        return x.linear(weight, bias);
    }
    // For other layouts oneDNN has loops that nobody made fast.
    let weight = if weight.is_contiguous() || weight.transpose(0, 1).is_contiguous() {
        weight.shallow_clone()
    } else {
        weight.contiguous()
    };
    let undefined = Tensor::new();
    tch::no_grad(|| run("plain", &[x, &weight, bias.unwrap_or(&undefined)]))
}

/// Adds `xᵀ · y` to `sum` `[a, b]`, without gradient; `x` is `[rows, a]` and `y` `[rows, b]`.
pub(crate) fn add_product(sum: &mut Tensor, x: &Tensor, y: &Tensor) {
    let (x, columns) = (x.transpose(0, 1), y.transpose(0, 1));
    if !pays(&x, &columns, MIN_ADDED_PRODUCT) {
        let is_wider = x.kind() == Kind::BFloat16 && sum.kind() == Kind::Float;
        if is_wider && FastPath::WideSum.is_taken(x.device()) {
            fused::add_product(sum, &x, y).expect("it was tried");
            return;
        }
        let _ = if sum.kind() == x.kind() && sum.kind() == Kind::Float {
            sum.addmm_(&x, y)
        } else {
            sum.g_add_(&x.matmul(y))
        };
        return;
    }
    let rows = (SUM_ELEMENTS / columns.size()[0]).max(1);
    for (mut sum, x) in sum.split(rows, 0).into_iter().zip(x.split(rows, 0)) {
        let _ = sum.g_add_(&product(&x, &columns, None));
    }
}

/// A matrix in the layout of [`run`]'s `weight`, if there are kernels for its kind and device.
pub(crate) fn pack(weight: &Tensor) -> Option<Tensor> {
    let works = weight.device() == Device::Cpu
        && match weight.kind() {
            Kind::Float => WORKS[0],
            Kind::BFloat16 => WORKS[1],
            _ => false,
        };
    works.then(|| reorder(weight)).flatten()
}

fn reorder(weight: &Tensor) -> Option<Tensor> {
    let input = [IValue::Tensor(weight.contiguous()), IValue::Int(ROWS)];
    match PRODUCTS.as_ref()?.method_is("pack", &input).ok()? {
        IValue::Tensor(packed) => Some(packed),
        _ => None,
    }
}

/// The product `method` of [`SOURCE`].
pub(crate) fn run(method: &str, input: &[&Tensor]) -> Tensor {
    let products = PRODUCTS.as_ref().expect("only the module itself packs matrices");
    products.method_ts(method, input).expect("`works` has tried every method")
}

/// Tries every method on a small matrix.
fn works(kind: Kind) -> bool {
    let Some(products) = PRODUCTS.as_ref() else { return false };
    tch::no_grad(|| {
        let ones = |size: &[i64]| Tensor::ones(size, (kind, Device::Cpu));
        let (x, other) = (ones(&[2, 3]), ones(&[2, 4]));
        let Some(weight) = reorder(&ones(&[4, 3])) else { return false };
        let bias = Tensor::new();
        let gives = |method, input: &[&Tensor], expected: f64| {
            let result = products.method_ts(method, input);
            result.is_ok_and(|result| {
                (result.to_kind(Kind::Float) - expected).abs().max().double_value(&[]) < 0.05
            })
        };
        gives("plain", &[&x, &weight, &bias], 3.0)
            && gives("plain", &[&x, &weight, &ones(&[4])], 4.0)
            && gives("silu", &[&x, &weight, &bias], 2.8577)
            && gives("add", &[&x, &weight, &bias, &other], 4.0)
            && gives("mul", &[&x, &weight, &bias, &other], 3.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: &[i64]) -> Tensor {
        let count: i64 = shape.iter().product();
        Tensor::arange(count, (Kind::Float, Device::Cpu)).g_mul_scalar(1.7).sin().view(shape)
    }

    #[test]
    fn products_equal_those_of_libtorch_for_every_layout() {
        tch::set_num_threads(1);
        // Too little work for oneDNN, enough to multiply, and enough to add.
        for (rows, outputs, inputs) in [(0, 7, 5), (40, 7, 5), (301, 201, 97), (901, 199, 240)] {
            let layouts = |rows: i64, columns: i64| {
                [
                    random(&[rows, columns]),
                    random(&[columns, rows]).transpose(0, 1),
                    random(&[rows, columns + 3]).narrow(1, 2, columns),
                ]
            };
            let wide = |tensor: &Tensor| tensor.to_kind(Kind::Double);
            let check = |actual: &Tensor, expected: &Tensor| {
                assert!(wide(actual).allclose(expected, 1e-5, 1e-4, false), "{rows} {outputs}");
            };
            let bias = random(&[outputs]);
            for x in layouts(rows, inputs) {
                for weight in layouts(outputs, inputs) {
                    let expected = wide(&x).matmul(&wide(&weight).transpose(0, 1));
                    check(&product(&x, &weight, None), &expected);
                    check(&product(&x, &weight, Some(&bias)), &(expected + wide(&bias)));
                }
                for dy in layouts(rows, outputs) {
                    let mut sum = random(&[outputs, inputs]);
                    let expected = wide(&sum) + wide(&dy).transpose(0, 1).matmul(&wide(&x));
                    add_product(&mut sum, &dy, &x);
                    check(&sum, &expected);
                }
            }
        }
    }
}
