//! Matrix products by kernels of oneDNN that libtorch has but does not choose by itself.

use std::io::{Cursor, Write};
use std::sync::LazyLock;

use tch::{CModule, Device, IValue, Kind, Tensor};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::weights::Linear;
use crate::batch::len;

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
    LazyLock::new(|| CModule::load_data(&mut Cursor::new(archive()?)).ok());

/// Whether the kernels work for `Float` and for `BFloat16` on this processor.
static WORKS: LazyLock<[bool; 2]> = LazyLock::new(|| [Kind::Float, Kind::BFloat16].map(works));

/// A projection for inference: `x · weightᵀ + bias`.
#[derive(Debug)]
pub(crate) enum Matrix {
    /// For every kind and device.
    Plain(Linear),
    /// `weight` in a layout that no other operation reads.
    Packed { weight: Tensor, bias: Tensor },
}

impl Matrix {
    /// Takes over a projection whose tensors have the compute kind.
    pub(crate) fn new(linear: Linear) -> Self {
        let kind = linear.weight.kind();
        let packs = linear.weight.device() == Device::Cpu
            && match kind {
                Kind::Float => WORKS[0],
                Kind::BFloat16 => WORKS[1],
                _ => false,
            };
        match packs.then(|| pack(&linear.weight)).flatten() {
            Some(weight) => Self::Packed { weight, bias: linear.bias.unwrap_or_default() },
            None => Self::Plain(linear),
        }
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        match self {
            Self::Plain(linear) => Self::Plain(linear.shallow_clone()),
            Self::Packed { weight, bias } => {
                Self::Packed { weight: weight.shallow_clone(), bias: bias.shallow_clone() }
            }
        }
    }

    /// The projection of `x` `[rows, in]`: `[rows, out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Plain(linear) => x.linear(&linear.weight, linear.bias.as_ref()),
            Self::Packed { weight, bias } => run("plain", &[x, weight, bias]),
        }
    }

    /// `silu` of the projection of `x`.
    pub(crate) fn silu(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Plain(_) => self.forward(x).silu_(),
            Self::Packed { weight, bias } => run("silu", &[x, weight, bias]),
        }
    }

    /// The projection of `x` plus `other` `[rows, out]`.
    pub(crate) fn add(&self, x: &Tensor, other: &Tensor) -> Tensor {
        match self {
            Self::Plain(_) => self.forward(x).g_add_(other),
            Self::Packed { weight, bias } => run("add", &[x, weight, bias, other]),
        }
    }

    /// The projection of `x` times `other` `[rows, out]`, element by element.
    pub(crate) fn mul(&self, x: &Tensor, other: &Tensor) -> Tensor {
        match self {
            Self::Plain(_) => self.forward(x).g_mul_(other),
            Self::Packed { weight, bias } => run("mul", &[x, weight, bias, other]),
        }
    }
}

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
/// twice. In `Float` on a CPU libtorch's own products do not use every instruction of every processor, so
/// that oneDNN's take half the time on some; in other kinds both are the same.
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

fn pack(weight: &Tensor) -> Option<Tensor> {
    let input = [IValue::Tensor(weight.contiguous()), IValue::Int(ROWS)];
    match PRODUCTS.as_ref()?.method_is("pack", &input).ok()? {
        IValue::Tensor(packed) => Some(packed),
        _ => None,
    }
}

fn run(method: &str, input: &[&Tensor]) -> Tensor {
    let products = PRODUCTS.as_ref().expect("only the module itself packs matrices");
    products.method_ts(method, input).expect("`works` has tried every method")
}

/// Tries every method on a small matrix.
fn works(kind: Kind) -> bool {
    let Some(products) = PRODUCTS.as_ref() else { return false };
    tch::no_grad(|| {
        let ones = |size: &[i64]| Tensor::ones(size, (kind, Device::Cpu));
        let (x, other) = (ones(&[2, 3]), ones(&[2, 4]));
        let Some(weight) = pack(&ones(&[4, 3])) else { return false };
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

/// [`SOURCE`] in the form in which libtorch saves modules: a ZIP file with the code, the module (an
/// object without attributes) and no constants, the latter two in Python's pickle format.
fn archive() -> Option<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let files: [(&str, &[u8]); 4] = [
        ("products/data.pkl", b"\x80\x02c__torch__\nProducts\n)\x81}b."),
        ("products/code/__torch__.py", SOURCE.as_bytes()),
        ("products/constants.pkl", b"\x80\x02)."),
        ("products/version", b"3\n"),
    ];
    for (name, content) in files {
        zip.start_file(name, stored).ok()?;
        zip.write_all(content).ok()?;
    }
    Some(zip.finish().ok()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: &[i64]) -> Tensor {
        let count: i64 = shape.iter().product();
        Tensor::arange(count, (Kind::Float, Device::Cpu)).g_mul_scalar(1.7).sin().view(shape)
    }

    fn linear(kind: Kind, (outputs, inputs): (i64, i64), bias: bool) -> Linear {
        let bias = bias.then(|| random(&[outputs]).to_kind(kind));
        Linear::plain(random(&[outputs, inputs]).to_kind(kind), bias)
    }

    #[test]
    fn packed_products_equal_plain_ones() {
        tch::set_num_threads(1);
        // Odd sizes, and sizes that fill whole blocks.
        for shape in [(7, 5), (1, 1), (33, 24), (96, 64)] {
            for (kind, tolerance) in [(Kind::Float, 1e-4), (Kind::BFloat16, 0.3)] {
                for bias in [false, true] {
                    let packed = Matrix::new(linear(kind, shape, bias));
                    let plain = Matrix::Plain(linear(Kind::Double, shape, bias));
                    for rows in [1, 2, 40] {
                        let x = random(&[rows, shape.1]).to_kind(kind);
                        let other = random(&[rows, shape.0]).to_kind(kind);
                        let (wide, wide_other) =
                            (x.to_kind(Kind::Double), other.to_kind(Kind::Double));
                        let pairs = [
                            (packed.forward(&x), plain.forward(&wide)),
                            (packed.silu(&x), plain.silu(&wide)),
                            (packed.add(&x, &other), plain.add(&wide, &wide_other)),
                            (packed.mul(&x, &other), plain.mul(&wide, &wide_other)),
                        ];
                        for (index, (a, b)) in pairs.iter().enumerate() {
                            let error = (a - b).abs().max().double_value(&[]);
                            assert!(
                                error < tolerance,
                                "{shape:?} {kind:?} {rows} {index}: {error}"
                            );
                        }
                    }
                }
            }
        }
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

    #[test]
    fn double_stays_plain() {
        assert!(matches!(Matrix::new(linear(Kind::Double, (4, 3), false)), Matrix::Plain(_)));
    }
}
