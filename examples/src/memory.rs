//! Memory: what the process has used, and an estimate of what a run will.

use std::fmt;

use hint_grpo::{GrpoConfig, GrpoError};
use hint_policy::{ModelConfig, Parameter};
use tch::Kind;

/// Largest resident memory of this process so far, in bytes, as Linux counts it. GPU memory is not
/// part of it: libtorch's bindings do not tell.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// An estimate of the memory that a run takes, by part, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Name and size of each part.
    pub parts: Vec<(&'static str, u64)>,
}

impl MemoryEstimate {
    /// The estimate for `model` under `config`, with a longest prompt of `prompt` tokens and forward
    /// passes in `compute`.
    ///
    /// Weights, gradients and optimizer state are counted. The decoder keeps a copy of the weights in
    /// the compute kind, and keys and values of the completions that are sampled side by side.
    /// Activations are what [`Policy::record`](hint_policy::Policy::record) keeps of one micro-batch:
    /// of each token and layer the inputs of the two norms, queries and their attention, keys and
    /// values, and gate and up projection. Logits are there for some tokens at a time, twice in f32.
    /// Rollouts and updates take turns, so the larger of the two counts. Gradient checkpointing and
    /// adapters, which need less, are not counted in.
    ///
    /// # Errors
    ///
    /// An optimizer that cannot be built.
    pub fn new(
        model: &ModelConfig,
        parameters: Vec<Parameter>,
        config: &GrpoConfig,
        prompt: usize,
        compute: Kind,
    ) -> Result<Self, GrpoError> {
        let bytes =
            |tensor: &tch::Tensor| tensor.numel() as u64 * tensor.kind().elt_size_in_bytes() as u64;
        let weights = parameters.iter().map(|parameter| bytes(&parameter.tensor)).sum::<u64>();
        let elements = parameters.iter().map(|one| one.tensor.numel() as u64).sum::<u64>();
        let optimizer = config.optimizer.build(parameters)?;
        let state = optimizer.state().iter().map(|(_, tensor)| bytes(tensor)).sum::<u64>();
        let width = compute.elt_size_in_bytes() as u64;
        let layers = model.num_hidden_layers as u64;
        let key_values = 2 * (model.num_key_value_heads * model.head_dim) as u64;

        let rollout = &config.rollout;
        let completions = config.run.problems_per_step * rollout.group_size;
        let rows = completions.min(SIDE_BY_SIDE) as u64;
        let length =
            (prompt + rollout.sampling.max_completion_len).min(model.max_position_embeddings);
        let cache = rows * length as u64 * layers * key_values * width;
        let copy = elements * width;

        // A step may have fewer tokens than a micro-batch may hold, and a row may have more.
        let budget = config.run.max_tokens_per_micro_batch.min(completions * length);
        let tokens = budget.max(length) as u64;
        let queries = (model.num_attention_heads * model.head_dim) as u64;
        let per_layer =
            2 * (model.hidden_size as u64 + queries + model.intermediate_size as u64) + key_values;
        let activations = tokens * layers * per_layer * width;
        let all_logits = tokens * model.vocab_size as u64;
        let logits = all_logits.min(LOGITS) * 2 * 4 + (all_logits * width).min(KEPT_LOGITS);
        Ok(Self {
            parts: vec![
                ("weights", weights),
                ("gradients", weights),
                ("optimizer", state),
                ("decoder weights", copy),
                ("keys and values", cache),
                ("activations", activations),
                ("logits", logits),
            ],
        })
    }

    /// What is there at the same time, at most.
    pub fn total(&self) -> u64 {
        let of = |names: &[&str]| {
            let some = self.parts.iter().filter(|(name, _)| names.contains(name));
            some.map(|(_, bytes)| bytes).sum::<u64>()
        };
        let update = of(&["activations", "logits"]);
        let rollout = of(&["keys and values"]);
        of(&["weights", "gradients", "optimizer", "decoder weights"]) + update.max(rollout)
    }
}

/// Logits that exist at the same time.
const LOGITS: u64 = 1 << 24;

/// Bytes of logits that wait for the backward pass.
const KEPT_LOGITS: u64 = 1 << 27;

/// Completions that the engine decodes at the same time.
const SIDE_BY_SIDE: usize = 256;

impl fmt::Display for MemoryEstimate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, bytes) in &self.parts {
            writeln!(formatter, "  {name:<16} {:>10}", mebibytes(*bytes))?;
        }
        write!(formatter, "  {:<16} {:>10}", "at once, at most", mebibytes(self.total()))
    }
}

/// A size in MiB, or in GiB from ten of them on.
pub fn mebibytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 10_240.0 {
        format!("{mebibytes:.1} MiB")
    } else {
        format!("{:.1} GiB", mebibytes / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_a_real_process() {
        // Linux alone has the file.
        if cfg!(target_os = "linux") {
            assert!(peak_memory().unwrap() > 1 << 20);
        }
    }

    #[test]
    fn rollout_and_update_share_their_memory() {
        let parts = vec![("weights", 5), ("keys and values", 7), ("activations", 4), ("logits", 1)];
        assert_eq!(MemoryEstimate { parts }.total(), 5 + 7);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(mebibytes(3 << 19), "1.5 MiB");
        assert_eq!(mebibytes(20 << 30), "20.0 GiB");
    }
}
