//! A policy with its tokenizer, as checkpoints hold them.

use std::path::Path;

use crate::error::PolicyError;
use crate::gguf::Gguf;
use crate::io::load::{self, LoadOptions, load_gguf};
use crate::io::progress::LoadProgress;
use crate::model::CausalLm;
use crate::policy::save_options::SaveOptions;
use crate::runtime::catch_out_of_memory;
use crate::tokenizer::Tokenizer;

/// A policy, its tokenizer, and the tokens that end its answers.
///
/// ```no_run
/// use hint_policy::{LoadOptions, LoadedModel};
///
/// let model = LoadedModel::load("Qwen2.5-0.5B-Instruct", &LoadOptions::default())?;
/// let tokens = model.tokenizer.encode("2 + 2 =")?;
/// model.save("copy")?; // A folder that transformers loads as well.
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug)]
pub struct LoadedModel {
    /// The model.
    pub policy: CausalLm,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end a completion, sorted: all that the model's files name as end of text.
    pub stop_tokens: Vec<u32>,
}

impl LoadedModel {
    /// Loads a Hugging Face folder or a `.gguf` file with its tokenizer.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::load`], [`Tokenizer::from_dir`] and [`Tokenizer::from_gguf`]. A tokenizer may have ids
    /// that the model lacks, as the published Gemma 3 has. A text with one of them is refused when it is
    /// scored or continued.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, PolicyError> {
        Self::load_with(path, options, |_| {})
    }

    /// As [`LoadedModel::load`], telling `observer` how far it has come, as
    /// [`CausalLm::load_with`] does.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::load`].
    pub fn load_with(
        path: impl AsRef<Path>,
        options: &LoadOptions,
        mut observer: impl FnMut(LoadProgress),
    ) -> Result<Self, PolicyError> {
        let path = &load::resolve(path.as_ref());
        let (policy, tokenizer) = if path.is_file() {
            let gguf = Gguf::open(path)?;
            let policy = catch_out_of_memory("load the model", || {
                CausalLm::from_files(load_gguf(&gguf, options, &mut observer)?, options)
            })?;
            (policy, Tokenizer::from_gguf(&gguf)?)
        } else {
            let policy = CausalLm::load_with(path, options, observer)?;
            let tokenizer = match policy.source() {
                // An adapter without a tokenizer of its own.
                Some(base) if !path.join("tokenizer.json").is_file() && base != path => {
                    if base.is_file() {
                        Tokenizer::from_gguf(&Gguf::open(base)?)?
                    } else {
                        Tokenizer::from_dir(base)?
                    }
                }
                _ => Tokenizer::from_dir(path)?,
            };
            (policy, tokenizer)
        };
        let own = tokenizer.eos_token_id();
        let stop_tokens = load::sorted([policy.stop_tokens(), own.as_slice()]);
        let policy = policy.with_stop_tokens(&stop_tokens);
        Ok(Self { policy, tokenizer, stop_tokens })
    }

    /// Writes a complete Hugging Face folder: configuration, weights (`Float`), tokenizer, chat
    /// template and generation settings. Each file is replaced atomically.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Write`] naming the file.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<(), PolicyError> {
        self.save_with(dir, &SaveOptions::default())
    }

    /// As [`LoadedModel::save`], with another element type.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::save`].
    pub fn save_with(
        &self,
        dir: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<(), PolicyError> {
        let dir = dir.as_ref();
        self.policy.save_with(dir, options)?;
        self.policy.write_generation(dir, &self.stop_tokens)?;
        self.tokenizer.save(dir)
    }
}
