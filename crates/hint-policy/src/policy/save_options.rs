//! Options for writing weights.

use tch::Kind;

/// Layout and number format of written weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveOptions {
    /// Element type: `Float`, `Half` or `BFloat16`.
    pub kind: Kind,
    /// Whether a head that shares the embedding's weights is written out as `lm_head.weight`, with
    /// `tie_word_embeddings` off. Engines that reload weights by name need it: vLLM on CPU keeps
    /// the old head otherwise. No effect on a model whose head has weights of its own.
    pub untied_head: bool,
    /// Whether low-rank adapters are added to the weights, and a complete model is written. Without
    /// it only the adapters are, in PEFT's format, always in `Float`.
    pub merged: bool,
}

impl Default for SaveOptions {
    /// `Float`, so that loading gives back the same bits.
    fn default() -> Self {
        Self { kind: Kind::Float, untied_head: false, merged: false }
    }
}
