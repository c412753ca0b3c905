//! One vLLM server: checking it, sampling from it, giving it weights.

use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::contract::{Completion, GenerationRequest, PolicyVersion, StopReason};
use crate::engine::vllm::options::VllmOptions;
use crate::engine::vllm::weights::Weights;
use crate::engine::vllm::wire;
use crate::error::{HttpError, VllmError};
use crate::net::{ApiKey, Backoff, Failure, JsonServer};
use crate::run::Seed;

/// A server, with a connection for each kind of wait.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    model: String,
    /// Whether it gets adapters in place of whole weights.
    pub(super) has_adapters: bool,
    /// The run that labels the weights here.
    pub(super) run: String,
    sampling: RwLock<JsonServer>,
    pub(super) control: JsonServer,
    probe: JsonServer,
    transfer: JsonServer,
    backoff: Backoff,
}

/// Wait for a server that may be gone.
const PROBE: Duration = Duration::from_secs(5);

/// Limit of a request that is closed earlier where it takes too long, in seconds: a day.
const LASTING_S: f64 = 86_400.0;

impl Server {
    pub(super) fn new(address: &str, options: &VllmOptions, key: Option<&ApiKey>) -> Self {
        let connect =
            |seconds| JsonServer::new(address, Duration::from_secs_f64(seconds), key.cloned());
        let sampling = connect(options.request_timeout_s);
        Self {
            name: sampling.name(),
            model: options.model.clone(),
            has_adapters: options.adapter_rank.is_some(),
            run: run_id(&options.weights_dir),
            sampling: RwLock::new(sampling),
            control: connect(options.sync_timeout_s),
            probe: JsonServer::new(address, PROBE, key.cloned()),
            transfer: connect(LASTING_S),
            backoff: Backoff {
                attempts: options.attempts,
                first: Duration::from_secs_f64(options.backoff_s),
            },
        }
    }

    /// Whether the server answers at all.
    pub(super) fn is_alive(&self) -> Result<(), VllmError> {
        self.probe.get("/health").map(drop).map_err(|failure| failure.error.into())
    }

    /// A connection of its own for a request without a limit. Who waits for its answer closes it.
    pub(super) fn lasting(&self) -> JsonServer {
        self.transfer.renewed()
    }

    /// Checks that the server was started with options that training can rely on. Returns the
    /// positions that it holds, and how it was started: `/server_info`.
    pub(super) fn check(&self, options: &VllmOptions) -> Result<(usize, Value), VllmError> {
        let models = self.models()?;
        let list = models["data"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(model) = list.iter().find(|model| model["id"] == self.model) else {
            let names = list.iter().filter_map(|model| model["id"].as_str()).collect::<Vec<_>>();
            return Err(VllmError::Model {
                server: self.name.clone(),
                model: self.model.clone(),
                available: names.join(", "),
            });
        };
        let model_len = model["max_model_len"].as_u64().and_then(|len| usize::try_from(len).ok());
        let Some(model_len) = model_len else {
            let reason = "a model without a number `max_model_len`";
            return Err(self.control.unexpected("/v1/models", reason).into());
        };
        if model_len < options.min_model_len {
            return Err(self.setting(
                "max_model_len",
                format!("at least {}", options.min_model_len),
                model_len.to_string(),
                format!("--max-model-len {}", options.min_model_len),
            ));
        }
        let info = self.dev("/server_info", "/server_info?config_format=json")?;
        let config = &info["vllm_config"];
        self.check_config(config, options)?;
        match options.adapter_rank {
            Some(rank) => self.check_adapters(&config["lora_config"], rank)?,
            None => drop(self.weights_label()?),
        }
        Ok((model_len, info))
    }

    /// The models and adapters that it serves.
    pub(super) fn models(&self) -> Result<Value, VllmError> {
        self.control.get("/v1/models").map_err(|failure| match failure.error {
            source @ HttpError::Status { status: 401, .. } => {
                VllmError::Key { server: self.name.clone(), source }
            }
            error => error.into(),
        })
    }

    fn check_config(&self, config: &Value, options: &VllmOptions) -> Result<(), VllmError> {
        let model = &config["model_config"];
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        let mode = text(&model["logprobs_mode"]);
        if mode != "processed_logprobs" {
            // Raw log-probabilities leave temperature and truncation out: they are not those of the
            // distribution that drew the tokens.
            return Err(self.setting(
                "logprobs_mode",
                "processed_logprobs".to_owned(),
                mode,
                "--logprobs-mode processed_logprobs".to_owned(),
            ));
        }
        let dtype = text(&model["dtype"]);
        let dtype = dtype.trim_start_matches("torch.");
        if let Some(expected) = options.dtype.as_deref().filter(|expected| *expected != dtype) {
            return Err(self.setting(
                "dtype",
                expected.to_owned(),
                dtype.to_owned(),
                format!("--dtype {expected}"),
            ));
        }
        if self.has_adapters {
            // The model's own weights stay.
            return Ok(());
        }
        // The server does not say whether its head is tied, but its model's folder does.
        let folder = Path::new(model["model"].as_str().unwrap_or_default());
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
        let config = serde_json::from_str::<Value>(&config).unwrap_or_default();
        if config["tie_word_embeddings"] == json!(true) {
            // A reload by name would keep the old head, without a word.
            return Err(self.setting(
                "tie_word_embeddings",
                "false".to_owned(),
                "true".to_owned(),
                "a folder whose head is written out (`SaveOptions::untied_head`)".to_owned(),
            ));
        }
        Ok(())
    }

    pub(super) fn setting(
        &self,
        setting: &'static str,
        expected: String,
        found: String,
        fix: String,
    ) -> VllmError {
        VllmError::Setting { server: self.name.clone(), setting, expected, found, fix }
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, VllmError> {
        self.control.post(path, body).map_err(|failure| failure.error.into())
    }

    /// An interface that exists in development mode only.
    pub(super) fn dev(&self, path: &'static str, query: &str) -> Result<Value, VllmError> {
        self.control.get(query).map_err(|failure| match failure.error {
            HttpError::Status { status: 404, .. } => {
                VllmError::DevMode { server: self.name.clone(), path }
            }
            // vLLM lists the installed packages there, and fails where there is no pip to ask.
            error @ HttpError::Status { status: 500, .. } if path == "/server_info" => {
                VllmError::ServerInfo { server: self.name.clone(), source: error }
            }
            error => error.into(),
        })
    }

    /// The label of the weights that the server has.
    pub(super) fn weights_label(&self) -> Result<String, VllmError> {
        let info = self.dev("/weight_info", "/weight_info")?;
        match &info["weight_version"] {
            Value::String(label) => Ok(label.clone()),
            Value::Null => Ok(String::new()),
            other => {
                let reason = format!("expected a text `weight_version`, found {other}");
                Err(self.control.unexpected("/weight_info", reason).into())
            }
        }
    }

    /// Fails unless the server would sample from these weights of this run.
    pub(super) fn expect_weights(&self, weights: &Weights) -> Result<(), VllmError> {
        if self.has_adapters {
            self.expect_base()?;
            return self.expect_adapter(weights);
        }
        self.expect_version(weights.version)
    }

    /// Fails unless requests that have ended were answered from these weights of this run. One that names an adapter which
    /// is not there fails by itself.
    pub(super) fn confirm_weights(&self, weights: &Weights) -> Result<(), VllmError> {
        if self.has_adapters { self.expect_base() } else { self.expect_version(weights.version) }
    }

    /// Gives the server weights.
    pub(super) fn give(&self, weights: &Weights) -> Result<(), VllmError> {
        if self.has_adapters {
            self.load_adapter(weights)
        } else {
            let version = weights.version;
            let lost = || VllmError::NoFolder { server: self.name.clone(), version: version.0 };
            self.load(weights.dir.as_deref().ok_or_else(lost)?, version)
        }
    }

    /// Whether the server, which was down, has kept these weights and is ready to sample from them.
    pub(super) fn still_has(&self, weights: &Weights) -> Result<bool, VllmError> {
        match self.expect_weights(weights) {
            Ok(()) => Ok(!self.is_paused()?),
            Err(VllmError::Version { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the server keeps requests waiting.
    pub(super) fn is_paused(&self) -> Result<bool, VllmError> {
        match &self.dev("/is_paused", "/is_paused")?["is_paused"] {
            Value::Bool(is_paused) => Ok(*is_paused),
            other => {
                let reason = format!("expected true or false as `is_paused`, found {other}");
                Err(self.control.unexpected("/is_paused", reason).into())
            }
        }
    }

    /// Fails unless the server has this run's weights of `version`.
    fn expect_version(&self, version: PolicyVersion) -> Result<(), VllmError> {
        let (expected, found) = (self.label(version), self.weights_label()?);
        if found == expected {
            return Ok(());
        }
        let server = self.name.clone();
        if run_of(&found).is_some_and(|run| run != self.run) {
            return Err(VllmError::OtherRun { server, found });
        }
        Err(VllmError::Version { server, expected, found })
    }

    /// Label of this run's weights of `version`.
    pub(super) fn label(&self, version: PolicyVersion) -> String {
        format!("{}-{}", self.run, folder(version))
    }

    /// Loads the weights in `dir`: pause, reload, empty the cache, label, resume. After a failed
    /// reload the server stays paused, because the next generation would end it.
    fn load(&self, dir: &Path, version: PolicyVersion) -> Result<(), VllmError> {
        self.post("/pause?mode=wait", &Value::Null)?;
        let reload = json!({ "method": "reload_weights", "kwargs": { "weights_path": dir } });
        self.control.post("/collective_rpc", &reload).map_err(|Failure { error, .. }| {
            VllmError::Reload { server: self.name.clone(), version: version.0, source: error }
        })?;
        self.adopt(version)
    }

    /// Puts loaded weights to use: empty the cache, label, resume.
    pub(super) fn adopt(&self, version: PolicyVersion) -> Result<(), VllmError> {
        // New weights leave keys and values of the old ones behind. The server keeps them while any are in use.
        let reset = self.post("/reset_prefix_cache", &Value::Null)?;
        if reset["success"] == json!(false) {
            let reason = "it keeps keys and values of the former weights, which are in use";
            return Err(self.control.unexpected("/reset_prefix_cache", reason).into());
        }
        let label = json!({ "new_version": self.label(version) });
        self.post("/update_weight_version", &label)?;
        self.expect_version(version)?;
        self.post("/resume", &Value::Null)?;
        // One that is still paused would keep the next batch waiting until it times out.
        if self.is_paused()? {
            return Err(VllmError::Paused { server: self.name.clone() });
        }
        Ok(())
    }

    /// The connection for completions, as long as nobody interrupts them.
    fn sampling(&self) -> JsonServer {
        self.sampling.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the requests for completions that are in flight, with an error. vLLM stops working on a request whose
    /// connection is closed.
    pub(super) fn interrupt(&self) {
        let mut sampling = self.sampling.write().unwrap_or_else(PoisonError::into_inner);
        let renewed = sampling.renewed();
        std::mem::replace(&mut *sampling, renewed).close();
    }

    /// The completions of one prompt, from these `weights` if the server was given any. Failures that may pass are tried
    /// again, until `is_over`.
    pub(super) fn complete(
        &self,
        request: &GenerationRequest,
        stop_tokens: &[u32],
        weights: Option<&Weights>,
        is_over: impl Fn() -> bool,
    ) -> Result<Vec<Completion>, VllmError> {
        const PATH: &str = "/v1/completions";
        let version = weights.map_or_else(PolicyVersion::default, |weights| weights.version);
        let adapter = weights.filter(|_| self.has_adapters).map(|weights| self.adapter(weights));
        let model = adapter.as_deref().unwrap_or(&self.model);
        let body = wire::body(model, request, stop_tokens);
        let ask = |_: usize| -> Result<Vec<Completion>, Failure> {
            // In this order: an interruption closes this connection, or is seen here.
            let server = self.sampling();
            if is_over() {
                return Err(server.unexpected(PATH, "none, since sampling is over").into());
            }
            let answer = server.post(PATH, &body)?;
            wire::completions(answer, request, version)
                .map_err(|reason| server.unexpected(PATH, reason).into())
        };
        let completions = self.backoff.retry_until(&is_over, ask);
        let completions = completions.map_err(|(_, error)| match (error, adapter) {
            _ if is_over() => VllmError::Aborted,
            (HttpError::Status { status: 404, .. }, Some(adapter)) => {
                VllmError::Adapter { server: self.name.clone(), adapter }
            }
            (error, _) => error.into(),
        })?;
        let limit = request.sampling.max_completion_len;
        let is_cut = |completion: &&Completion| {
            completion.stop == StopReason::Length && completion.tokens.len() < limit
        };
        match completions.iter().find(is_cut) {
            // The server takes a limit of the model's `generation_config.json`, if that is lower.
            Some(cut) => Err(self.setting(
                "max_new_tokens",
                format!("at least {limit}"),
                cut.tokens.len().to_string(),
                "--generation-config vllm".to_owned(),
            )),
            None => Ok(completions),
        }
    }
}

/// Folder of the weights of `version`.
pub(super) fn folder(version: PolicyVersion) -> String {
    format!("step-{}", version.0)
}

/// Digits of a run's id in its labels.
const RUN_DIGITS: usize = 8;

/// Id of the run that writes its weights to `weights_dir` of this host.
fn run_id(weights_dir: &Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let dir = std::path::absolute(weights_dir).unwrap_or_else(|_| weights_dir.to_path_buf());
    let hash = Seed::new(0).named(host.trim()).named(&dir.to_string_lossy()).value();
    let mut digits = format!("{hash:016x}");
    digits.truncate(RUN_DIGITS);
    digits
}

/// The run in a label, if an engine of this kind wrote it.
pub(super) fn run_of(label: &str) -> Option<&str> {
    let (run, version) = label.split_once("-step-")?;
    let is_id = run.len() == RUN_DIGITS && run.chars().all(|digit| digit.is_ascii_hexdigit());
    (is_id && version.parse::<u64>().is_ok()).then_some(run)
}
