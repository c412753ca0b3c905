//! Keys of the metadata of a GGUF file, as its architecture names them.

use crate::error::PolicyError;
use crate::gguf::{Gguf, GgufValue};

/// Metadata below the prefix of the architecture.
pub(super) struct Keys<'a> {
    pub(super) gguf: &'a Gguf,
    pub(super) prefix: &'a str,
}

impl<'a> Keys<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a GgufValue> {
        self.gguf.get(&format!("{}.{key}", self.prefix))
    }

    /// By how much rotary frequencies are divided. Older files have another key for it, and 0 changes nothing.
    pub(super) fn scaling_factor(&self) -> f64 {
        let factor = self.float("rope.scaling.factor").or(self.float("rope.scale_linear"));
        factor.filter(|factor| *factor != 0.0).unwrap_or(1.0)
    }

    /// Refuses keys about the scaling of rotary frequencies that nothing here follows, unless they change nothing.
    pub(super) fn refuse_unknown_scaling(
        &self,
        kind: &str,
        is_long: bool,
    ) -> Result<(), PolicyError> {
        let prefix = format!("{}.rope.scaling.", self.prefix);
        for (key, value) in self.gguf.metadata() {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            let is_read = match name {
                "type" | "factor" | "original_context_length" | "finetuned" => true,
                "attn_factor" => is_long || value.as_f64() == Some(1.0),
                "yarn_ext_factor" => value.as_f64() == Some(1.0),
                "yarn_log_multiplier" => value.as_f64() == Some(0.0),
                "yarn_attn_factor" | "yarn_beta_fast" | "yarn_beta_slow" => kind == "yarn",
                _ => false,
            };
            if !is_read {
                let found = value.as_f64().map_or_else(|| "set".to_owned(), |n| n.to_string());
                let supported = format!("none with rope.scaling.type {kind}");
                return Err(PolicyError::unsupported(key, &found, supported));
            }
        }
        Ok(())
    }

    pub(super) fn float(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// A size; a list of equal sizes (one per layer) counts as one.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, PolicyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let one = match value {
            GgufValue::Array(values) if values.windows(2).all(|pair| pair[0] == pair[1]) => {
                values.first()
            }
            other => Some(other),
        };
        let size = one.and_then(GgufValue::as_u64).and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| {
            PolicyError::config(
                format!("{}.{key}", self.prefix),
                "not a size, or not the same size for all layers",
                "a size",
            )
        })
    }

    pub(super) fn required(&self, key: &str) -> Result<usize, PolicyError> {
        self.size(key)?.ok_or_else(|| {
            PolicyError::config(format!("{}.{key}", self.prefix), "missing", "a positive size")
        })
    }
}
