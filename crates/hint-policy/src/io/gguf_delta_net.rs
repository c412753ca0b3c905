//! Gated delta-nets in GGUF files, where value heads have another order.

use tch::Tensor;

use crate::config::architecture::Architecture;
use crate::config::family::DeltaNets;
use crate::config::layout::{CONV, DECAY, DECAY_BIAS, ParameterSpec};
use crate::config::{DeltaNet, MAX_LAYERS, hf_layers};
use crate::error::PolicyError;
use crate::io::gguf_keys::Keys;
use crate::tensor::size;

/// Sizes and layers, if the family has such layers.
pub(super) fn sizes(
    keys: &Keys<'_>,
    architecture: Architecture,
    layers: usize,
) -> Result<Option<DeltaNet>, PolicyError> {
    let DeltaNets::Pattern { period } = architecture.family().delta_nets else {
        return Ok(None);
    };
    let period = keys.size("full_attention_interval")?.unwrap_or(period);
    let value_heads = keys.required("ssm.time_step_rank")?;
    let values = keys.required("ssm.inner_size")?;
    if value_heads == 0 || !values.is_multiple_of(value_heads) {
        let expected = format!("a multiple of ssm.time_step_rank {value_heads}");
        return Err(PolicyError::config("ssm.inner_size", &values, expected));
    }
    Ok(Some(DeltaNet {
        layers: hf_layers::all_but_every_nth(period, layers.min(MAX_LAYERS)),
        key_heads: keys.required("ssm.group_count")?,
        value_heads,
        key_head_dim: keys.required("ssm.state_size")?,
        value_head_dim: values / value_heads,
        conv_kernel: keys.required("ssm.conv_kernel")?,
    }))
}

/// Names of the parameters and of the tensors.
pub(super) const NAMES: [(&str, &str); 9] = [
    ("linear_attn.in_proj_qkv", "attn_qkv"),
    ("linear_attn.in_proj_z", "attn_gate"),
    ("linear_attn.in_proj_b", "ssm_beta"),
    ("linear_attn.in_proj_a", "ssm_alpha"),
    ("linear_attn.conv1d", "ssm_conv1d"),
    ("linear_attn.norm", "ssm_norm"),
    ("linear_attn.out_proj", "ssm_out"),
    (DECAY, "ssm_a"),
    (DECAY_BIAS, "ssm_dt.bias"),
];

/// The shape of a parameter in a file: kernels of the convolution lack the dimension of size 1.
pub(super) fn stored_shape(parameter: &ParameterSpec) -> Vec<i64> {
    match parameter.shape.as_slice() {
        &[channels, 1, kernel] if parameter.name.ends_with(CONV) => vec![channels, kernel],
        shape => shape.to_vec(),
    }
}

/// The values of the `parameter` from those of a file. There the first value heads of all key heads
/// come first, then the second ones. The decay is `-exp` of the parameter.
pub(super) fn restored(tensor: &Tensor, parameter: &ParameterSpec, sizes: &DeltaNet) -> Tensor {
    let (keys, values) = (size(sizes.key_heads), size(sizes.value_heads));
    let grouped = |rows: &Tensor, width: i64| {
        let heads = rows.reshape([values / keys, keys, width, -1]);
        heads.transpose(0, 1).reshape(rows.size())
    };
    let width = size(sizes.value_head_dim);
    let part = parameter.name.split_once(".linear_attn.").map_or("", |(_, part)| part);
    let tensor = match part.split('.').next().unwrap_or_default() {
        "in_proj_qkv" | "conv1d" => {
            let queries_and_keys = 2 * keys * size(sizes.key_head_dim);
            let rest = tensor.size()[0] - queries_and_keys;
            let first = tensor.narrow(0, 0, queries_and_keys);
            Tensor::cat(&[first, grouped(&tensor.narrow(0, queries_and_keys, rest), width)], 0)
        }
        "in_proj_z" => grouped(tensor, width),
        "in_proj_a" | "in_proj_b" | "dt_bias" => grouped(tensor, 1),
        "A_log" => grouped(&(-tensor).log(), 1),
        "out_proj" => grouped(&tensor.transpose(0, 1), width).transpose(0, 1).contiguous(),
        _ => tensor.shallow_clone(),
    };
    tensor.view(parameter.shape.as_slice())
}
