//! Errors of vLLM servers.

use std::path::PathBuf;

use crate::error::http::HttpError;

/// Why a vLLM server, or all of them, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VllmError {
    /// A request failed.
    #[error(transparent)]
    Http(#[from] HttpError),

    /// The server has no interface for changing weights.
    #[error(
        "`{server}` has no `{path}`; start vLLM 0.32 or newer with `VLLM_SERVER_DEV_MODE=1` in its environment"
    )]
    DevMode {
        /// The server.
        server: String,
        /// The missing part.
        path: &'static str,
    },

    /// The server asks for a key that the engine does not have.
    #[error(
        "`{server}` refuses the API key, or asks for one; give the key that it was started with, in a program by \
         `VllmBuilder::api_key`"
    )]
    Key {
        /// The server.
        server: String,
        /// Text of the answer.
        #[source]
        source: HttpError,
    },

    /// The server takes no adapters while it runs.
    #[error(
        "`{server}` takes no adapters while it runs; start it with `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True` in its environment"
    )]
    RuntimeLora {
        /// The server.
        server: String,
    },

    /// Adapters were asked for, and the weights are none that a server reads.
    #[error(
        "the weights are no adapters of one rank and scale, which servers need; leave `adapter_rank` out to give them the \
         whole weights"
    )]
    NoAdapter,

    /// The adapter could not be loaded.
    #[error("`{server}` could not load the adapter of version {version}")]
    LoadAdapter {
        /// The server.
        server: String,
        /// Version of the weights.
        version: u64,
        /// Text of the answer.
        #[source]
        source: HttpError,
    },

    /// The server does not have the adapter that it was given, for example because it was restarted.
    #[error("`{server}` has no adapter `{adapter}`")]
    Adapter {
        /// The server.
        server: String,
        /// Name of the adapter.
        adapter: String,
    },

    /// The server has weights of a run below the adapters.
    #[error(
        "`{server}` has the weights `{found}` of a run in place of those that it was started with, on which adapters rest; \
         start it again"
    )]
    BaseWeights {
        /// The server.
        server: String,
        /// Label that it reports.
        found: String,
    },

    /// The program ended the sampling.
    #[error("sampling was aborted")]
    Aborted,

    /// The server cannot describe itself.
    #[error(
        "`{server}` cannot list its options; vLLM needs `pip` in its own Python environment for that: install it there and start the server again"
    )]
    ServerInfo {
        /// The server.
        server: String,
        /// Text of the answer.
        #[source]
        source: HttpError,
    },

    /// The server has another model.
    #[error(
        "`{server}` serves no model `{model}` but: {available}; start it with `--served-model-name {model}`, or change `model`"
    )]
    Model {
        /// The server.
        server: String,
        /// The model asked for.
        model: String,
        /// The models there are.
        available: String,
    },

    /// The server was started with an option that does not fit.
    #[error("`{server}`: `{setting}` is {found}, expected {expected}; start it with `{fix}`")]
    Setting {
        /// The server.
        server: String,
        /// The option.
        setting: &'static str,
        /// Expected value.
        expected: String,
        /// Actual value.
        found: String,
        /// The argument that sets it right.
        fix: String,
    },

    /// A prompt and its completion may become longer than the servers can hold.
    #[error(
        "a prompt of {prompt} tokens with up to {completion} new ones needs {} positions, the servers hold {limit}; start them with a larger `--max-model-len`, or lower `max_completion_len`",
        prompt + completion
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Longest completion.
        completion: usize,
        /// Label of the servers' weights.
        limit: usize,
    },

    /// New weights could not be loaded. The server stays paused, since it must not sample from
    /// half-loaded weights.
    #[error("`{server}` could not load the weights of version {version}; it stays paused")]
    Reload {
        /// The server.
        server: String,
        /// Version of the weights.
        version: u64,
        /// Text of the answer.
        #[source]
        source: HttpError,
    },

    /// The server needs weights again that were never in a folder.
    #[error(
        "`{server}` has lost the weights of version {version}, which came from GPU to GPU; it gets the next ones"
    )]
    NoFolder {
        /// The server.
        server: String,
        /// Version of the weights.
        version: u64,
    },

    /// The server did not resume after a change of weights.
    #[error("`{server}` is still paused after new weights were loaded; start it again")]
    Paused {
        /// The server.
        server: String,
    },

    /// The server has other weights than it was given, for example because it was restarted.
    #[error("`{server}` reports weights `{found}`, expected `{expected}`")]
    Version {
        /// The server.
        server: String,
        /// Label of the weights that it was given.
        expected: String,
        /// Label that it reports.
        found: String,
    },

    /// Another run has given the server its weights meanwhile.
    #[error(
        "`{server}` was given the weights `{found}` of another run meanwhile; give each run servers of its own, or let \
         one run end first"
    )]
    OtherRun {
        /// The server.
        server: String,
        /// Label that it reports.
        found: String,
    },

    /// No server is left.
    #[error("none of the {} vLLM servers can be used: {}", reasons.len(), reasons.join("; "))]
    AllDown {
        /// Why, one text a server.
        reasons: Vec<String>,
    },

    /// The folder for weights could not be written.
    #[error("cannot write weights for vLLM to `{}`", path.display())]
    Folder {
        /// Address.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl VllmError {
    /// Whether it concerns one server only and for now, so that the others can continue.
    pub(crate) const fn is_outage(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Reload { .. }
            | Self::NoFolder { .. }
            | Self::Paused { .. }
            | Self::Version { .. }
            | Self::LoadAdapter { .. }
            | Self::Adapter { .. } => true,
            _ => false,
        }
    }

    /// The error and its sources, in one line.
    pub(crate) fn chain(&self) -> String {
        super::chain(self)
    }
}
