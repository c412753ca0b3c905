//! Low-rank adapters on a server: each version under a name of its own.
//!
//! The server's own weights stay, so nothing is paused and no checkpoint is read. Requests name the version that they
//! sample from. A server that does not have it refuses them. Keys and values of prompts go by that name, so it holds
//! a hash of the values as well.

use serde_json::{Value, json};

use crate::engine::vllm::server::{Server, run_of};
use crate::engine::vllm::weights::Weights;
use crate::error::{HttpError, VllmError};
use crate::net::Failure;

const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";

/// The ranks that `--max-lora-rank` takes.
const MAX_RANKS: [usize; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];

impl Server {
    /// Checks that the server was started for adapters of `rank`, on weights of its own.
    pub(super) fn check_adapters(&self, config: &Value, rank: usize) -> Result<(), VllmError> {
        let max_rank = MAX_RANKS.into_iter().find(|max_rank| *max_rank >= rank).unwrap_or(rank);
        if config.is_null() {
            return Err(self.setting(
                "enable_lora",
                "true".to_owned(),
                "false".to_owned(),
                format!("--enable-lora --max-lora-rank {max_rank}"),
            ));
        }
        let Some(found) = config["max_lora_rank"].as_u64() else {
            let reason = "a `lora_config` without a number `max_lora_rank`";
            return Err(self.control.unexpected("/server_info", reason).into());
        };
        if found < rank as u64 {
            return Err(self.setting(
                "max_lora_rank",
                format!("at least {rank}"),
                found.to_string(),
                format!("--max-lora-rank {max_rank}"),
            ));
        }
        // Where there is such an interface, it takes no GET.
        match self.control.get(LOAD).map_err(|failure| failure.error) {
            Err(HttpError::Status { status: 404, .. }) => {
                return Err(VllmError::RuntimeLora { server: self.name.clone() });
            }
            Ok(_) | Err(HttpError::Status { status: 405, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.expect_base()
    }

    /// Fails if the server has weights of a run in place of those that it was started with.
    pub(super) fn expect_base(&self) -> Result<(), VllmError> {
        let found = self.weights_label()?;
        if run_of(&found).is_none() {
            return Ok(());
        }
        Err(VllmError::BaseWeights { server: self.name.clone(), found })
    }

    /// The name of an adapter of this run.
    pub(super) fn adapter(&self, weights: &Weights) -> String {
        format!("{}-{}", self.label(weights.version), weights.digest)
    }

    /// Fails unless the server has this adapter.
    pub(super) fn expect_adapter(&self, weights: &Weights) -> Result<(), VllmError> {
        let adapter = self.adapter(weights);
        if self.own_adapters()?.contains(&adapter) {
            return Ok(());
        }
        Err(VllmError::Adapter { server: self.name.clone(), adapter })
    }

    /// Names of this run's adapters that the server has.
    fn own_adapters(&self) -> Result<Vec<String>, VllmError> {
        let models = self.models()?;
        let list = models["data"].as_array().map_or(&[][..], Vec::as_slice);
        let names = list.iter().filter_map(|model| model["id"].as_str());
        let is_own = |name: &&str| {
            let label = name.rsplit_once('-').map(|(label, _digest)| label);
            label.and_then(run_of) == Some(self.run.as_str())
        };
        Ok(names.filter(is_own).map(str::to_owned).collect())
    }

    /// Loads an adapter under its name, in place of former ones, which no request needs now. One that the server has
    /// under that name has the same values.
    pub(super) fn load_adapter(&self, weights: &Weights) -> Result<(), VllmError> {
        self.expect_base()?;
        let (name, known) = (self.adapter(weights), self.own_adapters()?);
        for former in known.iter().filter(|known| **known != name) {
            self.unload(former)?;
        }
        if known.contains(&name) {
            return Ok(());
        }
        let body = json!({ "lora_name": name, "lora_path": weights.dir });
        self.control.post_for_text(LOAD, &body).map_err(|failure| VllmError::LoadAdapter {
            server: self.name.clone(),
            version: weights.version.0,
            source: failure.error,
        })?;
        self.expect_adapter(weights)
    }

    fn unload(&self, name: &str) -> Result<(), VllmError> {
        match self.control.post_for_text(UNLOAD, &json!({ "lora_name": name })) {
            Ok(_) => Ok(()),
            // It is gone, or was pushed out of the server's memory. Then its name stays, which no request has.
            Err(Failure { error: error @ HttpError::Status { .. }, .. }) => {
                tracing::warn!(adapter = name, %error, "an adapter stays on a server");
                Ok(())
            }
            Err(Failure { error, .. }) => Err(error.into()),
        }
    }
}
