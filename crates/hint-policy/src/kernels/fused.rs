//! Operators of libtorch for GPUs that do the work of several. Ask the [`FastPath`](crate::kernels::fast_path::FastPath)
//! of each before it is used.

use std::sync::LazyLock;

use tch::{CModule, IValue, TchError, Tensor};

use crate::kernels::script;

/// Operators that tch leaves out, since they take or write lists of tensors or have no CPU kernel. Lists that are written
/// must be arguments: libtorch drops a call that only writes a list made here.
const SOURCE: &str = r"class Fused(Module):
  __parameters__ = []
  __buffers__ = []
  def adamw(self: __torch__.Fused, weights: List[Tensor], gradients: List[Tensor], first: List[Tensor], second: List[Tensor], steps: List[Tensor], rate: float, beta1: float, beta2: float, decay: float, eps: float) -> NoneType:
    none = annotate(List[Tensor], [])
    _0 = ops.aten._fused_adamw_(weights, gradients, first, second, none, steps, lr=rate, beta1=beta1, beta2=beta2, weight_decay=decay, eps=eps, amsgrad=False, maximize=False)
    return None
  def norms(self: __torch__.Fused, tensors: List[Tensor]) -> Tensor:
    return torch.stack(ops.aten._foreach_norm(tensors, 2))
  def scale(self: __torch__.Fused, tensors: List[Tensor], factor: float) -> NoneType:
    _0 = ops.aten._foreach_mul_(tensors, factor)
    return None
  def norm_backward(self: __torch__.Fused, dy: Tensor, x: Tensor, width: int, scale: Tensor, factor: Tensor, of_factor: bool) -> Tuple[Tensor, Tensor]:
    return ops.aten._fused_rms_norm_backward(dy, x, [width], scale, factor, [True, of_factor])
  def attend(self: __torch__.Fused, query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, scale: float, before: int) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    output, sums, random, unused, _0, = ops.aten._flash_attention_forward(query, key, value, ends, ends, longest, longest, 0., True, False, scale=scale, window_size_left=before)
    return (output, sums, random, unused)
  def attend_cached(self: __torch__.Fused, query: Tensor, key: Tensor, value: Tensor, query_ends: Tensor, key_ends: Tensor, used: Tensor, longest: int, scale: float, before: int) -> Tensor:
    output, _0, _1, _2, _3, = ops.aten._flash_attention_forward(query, key, value, query_ends, key_ends, 1, longest, 0., False, False, scale=scale, window_size_left=before, seqused_k=used)
    return output
";

static OPERATORS: LazyLock<Result<CModule, String>> =
    LazyLock::new(|| script::compile("Fused", SOURCE));

fn call(method: &str, input: &[IValue]) -> Result<IValue, TchError> {
    let operators = OPERATORS.as_ref().map_err(|reason| TchError::Torch(reason.clone()))?;
    operators.method_is(method, input)
}

fn handle(tensor: &Tensor) -> IValue {
    IValue::Tensor(tensor.shallow_clone())
}

fn handles(tensors: &[&Tensor]) -> IValue {
    IValue::TensorList(tensors.iter().map(|tensor| tensor.shallow_clone()).collect())
}

/// The tensor of a result.
fn tensor(result: IValue) -> Result<Tensor, TchError> {
    match result {
        IValue::Tensor(tensor) => Ok(tensor),
        other => Err(TchError::Convert(format!("{other:?} is no tensor"))),
    }
}

/// The tensors of a result.
fn tensors<const N: usize>(result: IValue) -> Result<[Tensor; N], TchError> {
    let IValue::Tuple(values) = result else {
        return Err(TchError::Convert(format!("{result:?} is no tuple")));
    };
    let found = values.into_iter().map(tensor).collect::<Result<Vec<_>, _>>()?;
    found.try_into().map_err(|found: Vec<_>| TchError::Convert(format!("{} tensors", found.len())))
}

/// Adds `x · y` to `sum`, without rounding the product to the narrower kind of `x` and `y`. No gradient.
pub(crate) fn add_product(sum: &mut Tensor, x: &Tensor, y: &Tensor) -> Result<(), TchError> {
    let out = sum.shallow_clone();
    sum.f_addmm_dtype_out(&out, x, y, sum.kind()).map(drop)
}

/// Constants of a step of AdamW.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay, per unit of learning rate.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// A step of AdamW in one operation, in place. `buffers` are weights, gradient and both moments, of one kind and size.
/// `steps` `[]` is the number of steps with this one, `Float`, on their device.
///
/// # Errors
///
/// Those of libtorch.
pub fn adamw(buffers: [&Tensor; 4], steps: &Tensor, step: &AdamWStep) -> Result<(), TchError> {
    let numbers = [step.learning_rate, step.beta1, step.beta2, step.weight_decay, step.epsilon];
    let lists = buffers.into_iter().chain([steps]).map(|tensor| handles(&[tensor]));
    let input: Vec<IValue> = lists.chain(numbers.map(IValue::Double)).collect();
    call("adamw", &input).map(drop)
}

/// The 2-norms of `tensors`, `[tensors]`, in their kind. They are on one device and there is at least one.
///
/// # Errors
///
/// Those of libtorch.
pub fn norms(tensors: &[&Tensor]) -> Result<Tensor, TchError> {
    tensor(call("norms", &[handles(tensors)])?)
}

/// Multiplies all `tensors` by `factor`, in place.
///
/// # Errors
///
/// Those of libtorch.
pub fn scale(tensors: &[&Tensor], factor: f64) -> Result<(), TchError> {
    call("scale", &[handles(tensors), IValue::Double(factor)]).map(drop)
}

/// `x · scale · factor` over the last dimension, in the kind of `x` and `factor`, and `scale = 1 / sqrt(mean(x²) + eps)`,
/// `[.., 1]`, in the kind of the statistics.
pub(crate) fn norm(
    x: &Tensor,
    factor: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor), TchError> {
    x.f_internal_fused_rms_norm([width(x)].as_slice(), factor, eps)
}

/// The gradients of `x` and, if `of_factor`, of `factor`, given that of [`norm`]'s result. All are of one kind.
pub(crate) fn norm_backward(
    x: &Tensor,
    scale: &Tensor,
    factor: &Tensor,
    dy: &Tensor,
    of_factor: bool,
) -> Result<[Tensor; 2], TchError> {
    let [dy, factor] = [handle(dy), handle(factor)];
    let width = IValue::Int(width(x));
    let input = [dy, handle(x), width, handle(scale), factor, IValue::Bool(of_factor)];
    tensors(call("norm_backward", &input)?)
}

fn width(x: &Tensor) -> i64 {
    x.size().last().copied().unwrap_or(1)
}

/// Rows whose tokens lie one after the other, and their causal attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedRows<'a> {
    /// Where rows begin and the last one ends. `[rows + 1]`, `Int`.
    pub(crate) ends: &'a Tensor,
    /// Tokens of the longest row.
    pub(crate) longest: i64,
    /// Factor on the scores.
    pub(crate) scale: f64,
    /// Number of latest positions that a query sees.
    pub(crate) window: Option<i64>,
}

/// Number of keys before its own that a query sees, -1 for all.
fn before(window: Option<i64>) -> i64 {
    window.map_or(-1, |window| window - 1)
}

/// Tensors that [`attend_backward`] needs of [`attend`].
#[derive(Debug)]
pub(crate) struct ForBackward {
    /// Logarithms of the sums of exponentials, `[heads, tokens]`.
    log_sum_exp: Tensor,
    /// State of a dropout that there is not.
    random: [Tensor; 2],
}

/// The attention of queries, keys and values `[tokens, heads, head_dim]`, and what its backward pass needs, no gradient.
pub(crate) fn attend(
    rows: &PackedRows<'_>,
    heads: &[Tensor; 3],
) -> Result<(Tensor, ForBackward), TchError> {
    let mut input: Vec<IValue> = heads.iter().map(handle).collect();
    input.extend([handle(rows.ends), IValue::Int(rows.longest)]);
    input.extend([IValue::Double(rows.scale), IValue::Int(before(rows.window))]);
    let [output, log_sum_exp, random, unused] = tensors(call("attend", &input)?)?;
    Ok((output, ForBackward { log_sum_exp, random: [random, unused] }))
}

/// The gradients of queries, keys and values, given [`attend`]'s results and the gradient of the first.
pub(crate) fn attend_backward(
    rows: &PackedRows<'_>,
    [query, key, value]: &[Tensor; 3],
    output: &Tensor,
    kept: &ForBackward,
    dy: &Tensor,
) -> Result<[Tensor; 3], TchError> {
    let (ends, longest) = (rows.ends, rows.longest);
    let [random, unused] = &kept.random;
    let (query, key, value) = Tensor::f_internal_flash_attention_backward(
        dy,
        query,
        key,
        value,
        output,
        &kept.log_sum_exp,
        ends,
        ends,
        longest,
        longest,
        0.0,
        true,
        random,
        unused,
        rows.scale,
        before(rows.window),
        None,
    )?;
    Ok([query, key, value])
}

/// One query per row, and the keys that it sees: the first ones of its place in a cache.
#[derive(Debug)]
pub(crate) struct CachedRows {
    /// `0..=rows`, `Int`.
    pub(crate) query_ends: Tensor,
    /// Index of the first key of each place, and of the end. `[rows + 1]`, `Int`.
    pub(crate) key_ends: Tensor,
    /// Number of keys of each row, the newest included. `[rows]`, `Int`.
    pub(crate) used: Tensor,
    /// The largest of them.
    pub(crate) longest: i64,
}

/// The attention of `query` `[rows, heads, head_dim]` to keys and values, `[.., kv_heads, head_dim]` by index. No gradient.
pub(crate) fn attend_cached(
    rows: &CachedRows,
    [query, key, value]: [&Tensor; 3],
    scale: f64,
    window: Option<i64>,
) -> Result<Tensor, TchError> {
    let places = [&rows.query_ends, &rows.key_ends, &rows.used];
    let mut input: Vec<IValue> =
        [query, key, value].into_iter().chain(places).map(handle).collect();
    let before = IValue::Int(before(window));
    input.extend([IValue::Int(rows.longest), IValue::Double(scale), before]);
    tensor(call("attend_cached", &input)?)
}
