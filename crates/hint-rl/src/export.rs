//! `hint-rl export`: writes a model as a Hugging Face folder that vLLM, transformers and this library load.
//!
//! ```text
//! hint-rl export --model smollm2 --untied-head --out smollm2
//! ```
//!
//! `--model` takes the same names as in `hint-rl train`. `--merged` merges an adapter into its base, so that another one
//! can be trained on the result. `--untied-head` writes the LM head out, which
//! vLLM needs in order to take up new weights. A new folder appears whole. Prints the folder; takes a few seconds for a
//! small model.

use std::path::{Path, PathBuf};

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
    let Options { untied_head, merged, dtype, .. } = *options;
    let save = SaveOptions { untied_head, merged, kind: dtype.kind() };
    write(&options.out, &model, save)?;
    say!("{}", options.out.display());
    Ok(())
}

/// Writes the model into a folder that is there, file by file, or into a new one, which appears whole. An error leaves
/// nothing of a new one.
fn write(out: &Path, model: &LoadedModel, save: SaveOptions) -> Result<()> {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let partial = out.with_file_name(format!(".{name}.partial"));
    let is_new = !out.exists();
    let place: &Path = if is_new { &partial } else { out };
    if is_new && place.exists() {
        // A kill left it.
        std::fs::remove_dir_all(place)
            .with_context(|| format!("cannot remove `{}`", place.display()))?;
    }
    std::fs::create_dir_all(place)
        .with_context(|| format!("cannot create `{}`", place.display()))?;
    let write = || -> Result<()> {
        model.save_with(place, &save)?;
        if is_new {
            let failed = || format!("cannot write `{}`", out.display());
            std::fs::rename(place, out).with_context(failed)?;
        }
        Ok(())
    };
    write().inspect_err(|_| {
        if is_new {
            // A full disk would stay full.
            let _ = std::fs::remove_dir_all(place);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::tiny_model;

    fn options(out: &Path, merged: bool) -> Options {
        Options {
            model: tiny_model().to_string_lossy().into_owned(),
            base: None,
            merged,
            dtype: ElementType::F32,
            untied_head: false,
            out: out.to_path_buf(),
        }
    }

    #[test]
    fn a_new_folder_holds_one_model_although_a_kill_left_half_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let (out, partial) = (folder.path().join("model"), folder.path().join(".model.partial"));
        std::fs::create_dir(&partial).unwrap();
        std::fs::write(partial.join("model-00001-of-00002.safetensors"), "half").unwrap();
        run(&options(&out, false)).unwrap();
        assert!(!partial.exists());
        let names = || {
            let names = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names = names.collect::<Vec<_>>();
            names.sort();
            names
        };
        let first = names();
        assert!(first.iter().all(|name| name != "model-00001-of-00002.safetensors"), "{first:?}");
        LoadedModel::load(&out, &LoadOptions::default()).unwrap();
        // Again, into the folder that is there now.
        run(&options(&out, true)).unwrap();
        assert_eq!(names(), first);
        assert!(!partial.exists());
    }

    #[cfg(unix)]
    #[test]
    fn an_error_leaves_nothing_of_a_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model");
        // A folder cannot take the place of a link, which this one seems not to be.
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &out).unwrap();
        let error = run(&options(&out, false)).unwrap_err().to_string();
        assert!(error.contains("cannot write"), "{error}");
        let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        assert_eq!(entries.collect::<Vec<_>>(), [out]);
    }
}
