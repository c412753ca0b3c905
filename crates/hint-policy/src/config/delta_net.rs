//! Sizes of gated delta-nets.

use crate::error::PolicyError;

/// Sizes of gated delta-nets (arXiv 2412.06464), which replace attention in some layers. A value head keeps a
/// state of fixed size in place of keys and values of every position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaNet {
    /// For each layer, whether it has one; entries that are missing are false.
    pub layers: Vec<bool>,
    /// Query and key heads. A divisor of `value_heads`.
    pub key_heads: usize,
    /// Value heads, each with a state `[key_head_dim, value_head_dim]`.
    pub value_heads: usize,
    /// Width of a query or key head.
    pub key_head_dim: usize,
    /// Width of a value head.
    pub value_head_dim: usize,
    /// Positions that the convolution ahead of queries, keys and values sees, a token's own included.
    pub conv_kernel: usize,
}

impl DeltaNet {
    /// Whether `layer` has a gated delta-net.
    pub fn mixes(&self, layer: usize) -> bool {
        self.layers.get(layer).copied().unwrap_or(false)
    }

    /// Checks that the sizes fit together.
    pub(super) fn validate(&self) -> Result<(), PolicyError> {
        let sizes = [
            ("linear_num_key_heads", self.key_heads),
            ("linear_num_value_heads", self.value_heads),
            ("linear_key_head_dim", self.key_head_dim),
            ("linear_value_head_dim", self.value_head_dim),
            ("linear_conv_kernel_dim", self.conv_kernel),
        ];
        // 2^20 bounds every product of three sizes below i64::MAX.
        if let Some((field, value)) = sizes.into_iter().find(|(_, n)| *n == 0 || *n > 1 << 20) {
            return Err(PolicyError::config(field, &value, "a positive size"));
        }
        if !self.value_heads.is_multiple_of(self.key_heads) {
            let expected = format!("a divisor of linear_num_value_heads {}", self.value_heads);
            return Err(PolicyError::config("linear_num_key_heads", &self.key_heads, expected));
        }
        Ok(())
    }
}
