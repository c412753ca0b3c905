//! The bound of arithmetic: the products of a model with its weights, and nothing else, as fast as the processor does them.
//!
//! For each line of the input, every matrix of the model is multiplied by 32, 128 and 2,048 rows. There are three ways. One is
//! libtorch's own product, another a kernel of oneDNN. The third is that kernel over matrices that were packed before. Nothing
//! is done with the results.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Instant;

use hint_policy::{CausalLm, LoadOptions, Policy};
use serde_json::{Value, json};
use tch::{CModule, Device, IValue, Kind, Tensor};

use super::peer::{Peer, Result, Spread};

#[path = "../../src/kernels/script.rs"]
mod script;

/// Rows of the products, and the passes over all matrices that are timed together.
const SIZES: [(i64, u32); 3] = [(32, 8), (128, 4), (2048, 1)];

/// Names of the ways to multiply.
const WAYS: [&str; 3] = ["libtorch", "oneDNN", "oneDNN, packed"];

/// Most elements of a result that are computed at a time: 64 MiB in f32. More of them would measure memory.
const ELEMENTS: i64 = 1 << 24;

/// The kernels that only `TorchScript` can name. `x` is `[rows, in]`, and `weight` `[out, in]` or packed.
const SOURCE: &str = r#"class Bound(Module):
  __parameters__ = []
  __buffers__ = []
  def pack(self: __torch__.Bound, weight: Tensor, rows: int) -> Tensor:
    return ops.mkldnn._reorder_linear_weight(weight, rows)
  def multiply(self: __torch__.Bound, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    scalars = annotate(List[Optional[number]], [])
    return ops.mkldnn._linear_pointwise(x, weight, bias, "none", scalars, "")
"#;

/// Arguments: the model folder, the precision, and a file of settings.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [folder, precision, settings] = args else { return Err("three arguments".into()) };
    let settings: Value = serde_json::from_str(&std::fs::read_to_string(settings)?)?;
    let threads = settings["threads"].as_i64().ok_or("no number of threads")?;
    tch::set_num_threads(i32::try_from(threads)?);
    hint_policy::runtime::keep_freed_memory();
    let kind = if precision == "bfloat16" { Kind::BFloat16 } else { Kind::Float };
    let matrices = matrices(folder, kind)?;
    let work = Work::new(&matrices, kind);
    let module = script::compile("Bound", SOURCE).ok();
    let plain = matrices.iter().map(Tensor::shallow_clone).collect();
    let mut ways = vec![Way { name: WAYS[0], matrices: plain, kernel: None }];
    if let Some(module) = &module {
        let packed = pack(module, &matrices).unwrap_or_default();
        ways.push(Way { name: WAYS[1], matrices, kernel: Some(module) });
        ways.push(Way { name: WAYS[2], matrices: packed, kernel: Some(module) });
    }
    // Not every processor has the kernel, or has it for both kinds.
    ways.retain(|way| tch::no_grad(|| way.works(&work)));
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut answer = json!({ "flop_per_token": work.flop() });
        for size in SIZES {
            for way in &ways {
                let gflops = tch::no_grad(|| way.gflops(&work, size))?;
                answer["gflops"][size.0.to_string()][way.name] = gflops.into();
            }
        }
        println!("{answer}");
    }
    Ok(())
}

/// The matrices `[out, in]` that a token is multiplied by. The table of embeddings is one where it is the head as well.
fn matrices(folder: &str, kind: Kind) -> Result<Vec<Tensor>> {
    let options = LoadOptions { compute: kind, device: Device::Cpu, base: None };
    let policy = CausalLm::load(folder, &options)?;
    let is_tied = policy.config().tie_word_embeddings;
    let is_multiplied = |name: &str| is_tied || !name.contains("embed_tokens");
    let mut matrices = Vec::new();
    for parameter in policy.parameters() {
        if parameter.tensor.dim() == 2 && is_multiplied(&parameter.name) {
            matrices.push(parameter.tensor.detach().to_kind(kind));
        }
    }
    Ok(matrices)
}

/// The matrices in the layout of the kernel, if there is one for them.
fn pack(module: &CModule, matrices: &[Tensor]) -> Option<Vec<Tensor>> {
    let pack = |matrix: &Tensor| {
        let input = [IValue::Tensor(matrix.contiguous()), IValue::Int(SIZES[0].0)];
        match module.method_is("pack", &input).ok()? {
            IValue::Tensor(packed) => Some(packed),
            _ => None,
        }
    };
    matrices.iter().map(pack).collect()
}

/// What is multiplied.
struct Work {
    /// Outputs and inputs of each matrix.
    shapes: Vec<[i64; 2]>,
    /// The most rows, by their width.
    rows: BTreeMap<i64, Tensor>,
}

impl Work {
    fn new(matrices: &[Tensor], kind: Kind) -> Self {
        let shape = |matrix: &Tensor| {
            let size = matrix.size();
            [size[0], size[1]]
        };
        let shapes = matrices.iter().map(shape).collect::<Vec<_>>();
        let most = SIZES.iter().map(|(rows, _)| *rows).max().unwrap_or(1);
        let numbers = |width: i64| {
            let numbers = Tensor::arange(most * width, (Kind::Float, Device::Cpu));
            numbers.sin().view([most, width]).to_kind(kind)
        };
        let mut rows = BTreeMap::new();
        for [_, width] in &shapes {
            rows.entry(*width).or_insert_with(|| numbers(*width));
        }
        Self { shapes, rows }
    }

    /// Floating-point operations of the products for one token.
    fn flop(&self) -> f64 {
        self.shapes.iter().map(|[outputs, inputs]| 2.0 * (outputs * inputs) as f64).sum()
    }
}

/// A way to multiply, and the matrices as it takes them.
struct Way<'a> {
    name: &'static str,
    matrices: Vec<Tensor>,
    /// The module with the kernel; libtorch's own product without it.
    kernel: Option<&'a CModule>,
}

impl Way<'_> {
    /// `x` `[rows, in]` times a matrix, transposed: `[rows, out]`.
    fn multiply(&self, x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
        match self.kernel {
            None => Ok(x.linear(matrix, None::<&Tensor>)),
            Some(kernel) => Ok(kernel.method_ts("multiply", &[x, matrix, &Tensor::new()])?),
        }
    }

    /// Whether this processor and libtorch have the kernel.
    fn works(&self, work: &Work) -> bool {
        let first = self.matrices.first().zip(work.shapes.first());
        first.is_some_and(|(matrix, [_, width])| {
            self.multiply(&work.rows[width].narrow(0, 0, 2), matrix).is_ok()
        })
    }

    /// GFLOP/s of the products of so many rows with all matrices, so many times.
    fn gflops(&self, work: &Work, (rows, times): (i64, u32)) -> Result<f64> {
        let started = Instant::now();
        for _ in 0..times {
            for (matrix, [outputs, width]) in self.matrices.iter().zip(&work.shapes) {
                let x = work.rows[width].narrow(0, 0, rows);
                for part in x.chunk((rows * outputs - 1) / ELEMENTS + 1, 0) {
                    let _ = self.multiply(&part, matrix)?;
                }
            }
        }
        let flop = f64::from(times) * rows as f64 * work.flop();
        Ok(flop / started.elapsed().as_secs_f64() / 1e9)
    }
}

/// Speed of the products of so many rows, in the fastest of the ways.
struct Products {
    rows: i64,
    way: &'static str,
    gflops: Spread,
}

/// The head of the table of [`Bound::rows`].
pub(crate) const HEAD: &str = "| beside | precision | rows | fastest products | GFLOP/s | least to most | \
     tok/s of decoding at most | tok/s of training at most |\n|---|---|---|---|---|---|---|---|";

/// What the products of a model allow.
pub(crate) struct Bound {
    sizes: Vec<Products>,
    flop_per_token: f64,
}

impl Bound {
    /// The bound by the answers of [`serve`].
    pub(crate) fn of(peer: &Peer) -> Result<Self> {
        let mut sizes = Vec::new();
        for (rows, _) in SIZES {
            let mut fastest: Option<Products> = None;
            for way in WAYS {
                let rate = |answer: &Value| answer["gflops"][rows.to_string()][way].as_f64();
                // Not every processor has every way.
                let Ok(gflops) = peer.spread(rate) else { continue };
                if fastest.as_ref().is_none_or(|other| other.gflops.median < gflops.median) {
                    fastest = Some(Products { rows, way, gflops });
                }
            }
            sizes.push(fastest.ok_or("the products have no run beside the first")?);
        }
        Ok(Self { sizes, flop_per_token: peer.newest("flop_per_token")? })
    }

    /// The share of the bound that a task reaches by its tokens per second. The bound has the fastest products of any
    /// number of rows. Training multiplies each weight three times per token, and decoding once.
    pub(crate) fn share(&self, task: &str, tokens_per_second: f64) -> Option<f64> {
        let products = match task {
            "generate" => 1.0,
            "train" => 3.0,
            _ => return None,
        };
        let most = self.sizes.iter().map(|size| size.gflops.median).fold(0.0, f64::max);
        Some(tokens_per_second * products * self.flop_per_token / (most * 1e9))
    }

    /// Rows of a table, one for each number of rows.
    pub(crate) fn rows(&self, task: &str, precision: &str) -> impl Iterator<Item = String> {
        self.sizes.iter().map(move |Products { rows, way, gflops }| {
            let Spread { median, least, most } = gflops;
            let tokens = median * 1e9 / self.flop_per_token;
            let trained = tokens / 3.0;
            format!(
                "| {task} | {precision} | {rows} | {way} | {median:.0} | {least:.0} to {most:.0} | {tokens:.0} | {trained:.0} |"
            )
        })
    }
}
