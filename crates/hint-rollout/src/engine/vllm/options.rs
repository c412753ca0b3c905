//! Options of an engine of vLLM servers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Violations;

/// Way of whole weights to the servers. Adapters always go through the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightPath {
    /// From GPU to GPU where the program and the server can, else through the folder.
    #[default]
    Auto,
    /// From GPU to GPU. An error when connecting, unless the program and every server can.
    Nccl,
    /// Through the folder.
    Folder,
}

/// Addresses and settings of vLLM servers.
///
/// ```
/// use hint_rollout::engine::vllm::VllmOptions;
///
/// let servers = ["http://127.0.0.1:8000", "http://127.0.0.1:8001"];
/// let options = VllmOptions::new(servers, "policy", "/mnt/shared/weights");
/// assert_eq!(options.parallel, 32);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VllmOptions {
    /// Addresses, such as `http://127.0.0.1:8000`. At least one, each once. Each is one server, since each gets the weights:
    /// a balancer in front of several is not supported.
    pub servers: Vec<String>,
    /// Name under which the servers serve the model (`--served-model-name`).
    pub model: String,
    /// Folder for weights, which the servers see under the same path. It holds one checkpoint, or one adapter, at a
    /// time.
    pub weights_dir: PathBuf,
    /// Positions that every server must hold: the longest prompt and its completion. 0 accepts any
    /// length.
    #[serde(default)]
    pub min_model_len: usize,
    /// Kind in which the servers must compute. `float32` agrees with the trainer to about 5e-5;
    /// `bfloat16` differs by up to 0.15 nats and varies with the batch. `None` accepts any.
    #[serde(default)]
    pub dtype: Option<String>,
    /// Rank of the low-rank adapters that the servers get in place of whole weights. They need `--enable-lora`, a
    /// `--max-lora-rank` of at least this, and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`. At least 1. With `None` they get
    /// the whole weights, with adapters merged.
    #[serde(default)]
    pub adapter_rank: Option<usize>,
    /// Way of whole weights to the servers. [`WeightPath::Nccl`] excludes [`Self::adapter_rank`].
    #[serde(default)]
    pub weight_path: WeightPath,
    /// Requests in flight per server. At least 1.
    #[serde(default = "default_parallel")]
    pub parallel: usize,
    /// Times that a request is made at most before its server counts as down. At least 1.
    #[serde(default = "default_attempts")]
    pub attempts: usize,
    /// Pause before the second attempt, in seconds; it doubles each time.
    #[serde(default = "default_backoff")]
    pub backoff_s: f64,
    /// Longest wait for the completions of one prompt, in seconds.
    #[serde(default = "default_request_timeout")]
    pub request_timeout_s: f64,
    /// Longest wait for each step of a change of weights, in seconds.
    #[serde(default = "default_sync_timeout")]
    pub sync_timeout_s: f64,
}

fn default_parallel() -> usize {
    32
}
fn default_attempts() -> usize {
    3
}
fn default_backoff() -> f64 {
    0.5
}
fn default_request_timeout() -> f64 {
    600.0
}
fn default_sync_timeout() -> f64 {
    300.0
}

impl VllmOptions {
    /// Options with defaults: 32 requests in flight per server, 3 attempts, 10 minutes per request.
    /// A step of a change of weights has 5 minutes.
    pub fn new<S: Into<String>>(
        servers: impl IntoIterator<Item = S>,
        model: impl Into<String>,
        weights_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            model: model.into(),
            weights_dir: weights_dir.into(),
            min_model_len: 0,
            dtype: None,
            adapter_rank: None,
            weight_path: WeightPath::Auto,
            parallel: default_parallel(),
            attempts: default_attempts(),
            backoff_s: default_backoff(),
            request_timeout_s: default_request_timeout(),
            sync_timeout_s: default_sync_timeout(),
        }
    }

    /// Reports every value that is out of range.
    pub fn check(&self, at: &mut Violations) {
        at.require(!self.servers.is_empty(), "servers", "must name at least one", "none");
        let mut addresses = BTreeSet::new();
        for (index, server) in self.servers.iter().enumerate() {
            let is_new = addresses.insert(server.trim_end_matches('/'));
            let expected = "must differ from those before it";
            at.require(is_new, format_args!("servers[{index}]"), expected, server);
        }
        at.require(self.adapter_rank != Some(0), "adapter_rank", "must be at least 1", 0);
        let is_adapter = self.weight_path == WeightPath::Nccl && self.adapter_rank.is_some();
        at.require(!is_adapter, "weight_path", "must not be nccl with `adapter_rank`", "nccl");
        at.at_least("parallel", self.parallel, 1);
        at.at_least("attempts", self.attempts, 1);
        at.seconds("backoff_s", self.backoff_s);
        at.seconds("request_timeout_s", self.request_timeout_s);
        at.seconds("sync_timeout_s", self.sync_timeout_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_named_twice_is_refused() {
        let check = |servers: &[&str]| {
            let options = VllmOptions::new(servers.iter().copied(), "policy", "weights");
            Violations::check(|at| options.check(at)).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["http://a:1", "http://b:1", "http://a:10"]), Ok(()));
        let expected = "servers[2]: must differ from those before it, found http://a:1/";
        assert_eq!(check(&["http://a:1", "http://b:1", "http://a:1/"]), Err(expected.to_owned()));
    }
}
