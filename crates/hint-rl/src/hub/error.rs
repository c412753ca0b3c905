//! Errors of repositories on the Hub, each with its remedy.

use std::path::PathBuf;

/// Why a repository's files are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The program was built without the feature.
    #[error(
        "there is no file or folder `{name}`; to take `{name}` from the Hugging Face Hub, build with \
         `--features hub`"
    )]
    Feature {
        /// As given.
        name: String,
    },

    /// There is no such repository, or it is not shown.
    #[error(
        "there is no file or folder `{name}`, and {endpoint} shows no {kind} `{repo}`; check the \
         name; if it is private or gated, ask for access at {page} and set HF_TOKEN, or run `hf auth login`"
    )]
    NotFound {
        /// As given.
        name: String,
        /// `model` or `data set`.
        kind: &'static str,
        /// Owner and name.
        repo: String,
        /// Address of the Hub.
        endpoint: String,
        /// Address of the repository.
        page: String,
    },

    /// The token does not give access.
    #[error(
        "{endpoint} refuses access to the {kind} `{repo}` (status {status}); accept its conditions at {page}, and \
         check that the token (HF_TOKEN, or the one of `hf auth login`) may read it"
    )]
    Denied {
        /// `model` or `data set`.
        kind: &'static str,
        /// Owner and name.
        repo: String,
        /// Address of the Hub.
        endpoint: String,
        /// Address of the repository.
        page: String,
        /// 401 or 403.
        status: u16,
    },

    /// The repository has no such revision.
    #[error("`{repo}` has no branch, tag or commit `{revision}`")]
    Revision {
        /// Owner and name.
        repo: String,
        /// The revision.
        revision: String,
    },

    /// The Hub must not be asked, and the cache lacks something.
    #[error(
        "`{name}` is not in the cache `{}`: {missing}; offline mode (HF_HUB_OFFLINE) is on, so nothing is \
         downloaded", cache.display()
    )]
    Offline {
        /// As given.
        name: String,
        /// The missing part.
        missing: String,
        /// The folder of the cache.
        cache: PathBuf,
    },

    /// The Hub cannot be reached or fails.
    #[error(
        "cannot take `{name}` from {endpoint}: {reason}; check the network, a proxy (HTTPS_PROXY) or mirror \
         (HF_ENDPOINT), or download it elsewhere and give its path"
    )]
    Unreachable {
        /// As given.
        name: String,
        /// Address of the Hub.
        endpoint: String,
        /// Why.
        reason: String,
    },

    /// The repository lacks the requested content.
    #[error("`{name}` is no {kind} that can be read: {reason}")]
    Content {
        /// As given.
        name: String,
        /// `model` or `data set`.
        kind: &'static str,
        /// Why.
        reason: String,
    },

    /// A downloaded file is not the one that the Hub announced.
    #[error("`{file}` of `{repo}` came damaged ({reason}) and was removed; try again")]
    Damaged {
        /// Owner and name.
        repo: String,
        /// The file.
        file: String,
        /// The difference.
        reason: String,
    },

    /// The cache cannot be read or written.
    #[error("cannot use `{}` in the cache of the Hub: {source}", path.display())]
    Cache {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// There is no folder for the cache.
    #[error("there is no folder for the cache of the Hub; set HOME, HF_HOME or HF_HUB_CACHE")]
    NoCacheFolder,
}
