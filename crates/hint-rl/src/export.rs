//! `hint-rl export`: writes a model as a Hugging Face folder that vLLM, transformers and this library load.
//!
//! ```text
//! hint-rl export --model smollm2 --untied-head --out smollm2
//! ```
//!
//! `--model` takes the same names as in `hint-rl train`. `--merged` merges an adapter into its base, so that another one
//! can be trained on the result. `--untied-head` writes the LM head out, which
//! vLLM needs in order to take up new weights. Prints the folder; takes a few seconds for a small
//! model.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use hint_policy::{LoadOptions, LoadedModel, SaveOptions};
use tch::Kind;

use crate::workload::{base_path, model_path};

/// Writes a model as a Hugging Face folder.
#[derive(Debug, Args)]
pub struct Options {
    /// `tiny`, `smollm2` (fetched once), a folder in Hugging Face format, a GGUF file, an adapter, or `owner/name` on the
    /// Hugging Face Hub.
    #[arg(long)]
    model: String,

    /// The base model of an adapter, in place of the one that it names.
    #[arg(long, value_name = "PATH")]
    base: Option<PathBuf>,

    /// Merge an adapter into its base; else the adapter alone is written.
    #[arg(long)]
    merged: bool,

    /// Element type of the weights.
    #[arg(long, value_enum, default_value_t = ElementType::F32)]
    dtype: ElementType,

    /// Write the LM head out where the model shares it with the embedding.
    #[arg(long)]
    untied_head: bool,

    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Element type of stored weights.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ElementType {
    F32,
    Bf16,
    F16,
}

impl ElementType {
    fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::F16 => Kind::Half,
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// A model that cannot be read, a folder that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let path = model_path(&options.model)?;
    let base = base_path(&path, options.base.clone())?;
    let load = LoadOptions { base, ..LoadOptions::default() };
    let model = LoadedModel::load(&path, &load)
        .with_context(|| format!("cannot load the model `{}`", path.display()))?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot create `{}`", options.out.display()))?;
    let Options { untied_head, merged, dtype, .. } = *options;
    let save = SaveOptions { untied_head, merged, kind: dtype.kind() };
    model.save_with(&options.out, &save)?;
    say!("{}", options.out.display());
    Ok(())
}
