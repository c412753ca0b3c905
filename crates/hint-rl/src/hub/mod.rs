//! Models and problems by their names on the Hugging Face Hub.
//!
//! ```text
//! hint-rl train --model Qwen/Qwen2.5-0.5B-Instruct --problems openai/gsm8k:main
//! hint-rl evaluate --model org/name@v1.0 --problems org/name@refs/convert/parquet:default/test
//! ```
//!
//! A [`HubName`] is `owner/name`, with `@revision` and `:part` if need be. [`fetch`] brings only the files
//! that are read. It uses the cache of `huggingface_hub` and `transformers`, and takes files that are there
//! already. A download that breaks continues where it broke. [`pin`] names the commit that a revision stands
//! for, so that a resumed run takes the same files.
//!
//! Behind the feature `hub`; without it every name is refused with that remedy.

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
mod error;
mod name;
#[cfg(feature = "hub")]
mod select;
#[cfg(feature = "hub")]
mod settings;
#[cfg(test)]
#[cfg(feature = "hub")]
mod tests;

use std::path::PathBuf;

#[cfg(feature = "hub")]
pub use client::Hub;
pub use error::HubError;
pub use name::HubName;
#[cfg(feature = "hub")]
pub use settings::HubSettings;

/// Kind of a repository's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// Problems.
    Problems,
}

/// Files of a repository in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The commit that they are of.
    pub commit: String,
    /// A model's folder or GGUF file; a file of problems, or a folder with all of them.
    pub path: PathBuf,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// Brings the files of `name` into the cache of the user. `notice` gets a line for long work.
///
/// # Errors
///
/// Each [`HubError`].
pub fn fetch(
    kind: Kind,
    name: &HubName,
    notice: &mut dyn FnMut(&str),
) -> Result<Fetched, HubError> {
    #[cfg(feature = "hub")]
    {
        Hub::new(HubSettings::of_user()?)?.fetch(kind, name, notice)
    }
    #[cfg(not(feature = "hub"))]
    {
        let _ = (kind, notice);
        Err(HubError::Feature { name: name.to_string() })
    }
}

/// `name` at the commit that its revision stands for now, and of problems with the part that is taken by default.
///
/// # Errors
///
/// As [`fetch`].
pub fn pin(kind: Kind, name: &HubName, notice: &mut dyn FnMut(&str)) -> Result<HubName, HubError> {
    #[cfg(feature = "hub")]
    {
        Hub::new(HubSettings::of_user()?)?.pin(kind, name, notice)
    }
    #[cfg(not(feature = "hub"))]
    {
        let _ = (kind, notice);
        Err(HubError::Feature { name: name.to_string() })
    }
}
