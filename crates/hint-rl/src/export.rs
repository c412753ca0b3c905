//! `hint-rl export`: writes a model as a Hugging Face folder that vLLM, transformers and this library load.
//!
//! ```text
//! hint-rl export --model smollm2 --untied-head --out smollm2
//! ```
//!
//! `--model` takes the same names as in `hint-rl train`. `--untied-head` writes the LM head out, which
//! vLLM needs in order to take up new weights. Prints the folder; takes a few seconds for a small
//! model.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use hint_policy::{LoadOptions, LoadedModel, SaveOptions};

use crate::workload::{base_path, model_path};

/// Writes a model as a Hugging Face folder.
#[derive(Debug, Args)]
pub struct Options {
    /// `tiny`, `smollm2` (fetched once), a folder in Hugging Face format, a GGUF file, or `owner/name` on the
    /// Hugging Face Hub.
    #[arg(long)]
    model: String,

    /// Write the LM head out where the model shares it with the embedding.
    #[arg(long)]
    untied_head: bool,

    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
///
/// A model that cannot be read, a folder that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let path = model_path(&options.model)?;
    let load = LoadOptions { base: base_path(&path, None)?, ..LoadOptions::default() };
    let model = LoadedModel::load(&path, &load)
        .with_context(|| format!("cannot load the model `{}`", path.display()))?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot create `{}`", options.out.display()))?;
    let save = SaveOptions { untied_head: options.untied_head, ..SaveOptions::default() };
    model.save_with(&options.out, &save)?;
    say!("{}", options.out.display());
    Ok(())
}
