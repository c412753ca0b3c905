//! The scales of the reproduction: model, problems and settings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use hint_grpo::GrpoConfig;
use hint_rollout::data::HeldOut;
use hint_rollout::{Problem, read_problems};

use super::held_out::{HeldOutSet, marked, read_sets};
use super::rivals::Trial;
use crate::tasks::{FAMILIES, LEVELS, problems, write::write};

/// Scale of the reproduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scale {
    /// The model and the families of this repository, on a CPU.
    Tiny,
    /// SmolLM2-135M-Instruct on problems from files.
    Small,
    /// The published setting: Qwen2.5 on DAPO's data, sampled by vLLM.
    Paper,
}

impl Scale {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Paper => "paper",
        }
    }

    /// The model, unless the user names another.
    pub(super) const fn model(self) -> &'static str {
        match self {
            Self::Tiny => "tiny-tasks",
            Self::Small => "smollm2",
            Self::Paper => "Qwen/Qwen2.5-1.5B-Instruct",
        }
    }

    /// The trial of hints before training. A model of the scale `small` takes seconds for a completion on a CPU.
    pub(super) const fn trial(self) -> Trial {
        match self {
            Self::Tiny | Self::Paper => Trial { problems: 200, at_once: 40 },
            Self::Small => Trial { problems: 40, at_once: 10 },
        }
    }

    const fn config(self) -> &'static str {
        match self {
            Self::Tiny => include_str!("../../presets/reproduce_tiny.toml"),
            Self::Small => include_str!("../../presets/reproduce_small.toml"),
            Self::Paper => include_str!("../../presets/reproduce_paper.toml"),
        }
    }
}

/// Training problems of the scale `tiny`.
const TRAIN: usize = 4000;
/// Held-out problems of each level of the scale `tiny`, in and out of distribution.
const HELD_OUT: [usize; 2] = [30, 20];

/// The user's files.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given<'g> {
    /// Problems to train on.
    pub(super) train: Option<&'g Path>,
    /// Problems to evaluate on, in and out of distribution.
    pub(super) inside: &'g [HeldOutSet],
    pub(super) outside: &'g [HeldOutSet],
}

/// The problems of a reproduction, as files.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// Problems to train on.
    pub(super) train: PathBuf,
    /// Problems to evaluate on, each with its [`DISTRIBUTION`](super::held_out::DISTRIBUTION).
    pub(super) held_out: PathBuf,
}

impl Data {
    /// The files below `out`; the user's files for the larger scales.
    ///
    /// # Errors
    ///
    /// Files that cannot be read or written; held-out problems other than those that runs in `out` were evaluated on.
    pub(super) fn prepare(scale: Scale, out: &Path, given: Given<'_>) -> Result<Self> {
        let Given { train, inside, outside } = given;
        let held_out = out.join("held_out.jsonl");
        if scale == Scale::Tiny {
            let is_own = train.is_none() && inside.is_empty() && outside.is_empty();
            ensure!(is_own, "the scale `tiny` makes its own problems");
            let train = out.join("train.jsonl");
            keep(&train, &problems(FAMILIES[0], false, TRAIN)?)?;
            let parts = FAMILIES.iter().zip(HELD_OUT).zip(["in", "out"]);
            let mut all = Vec::new();
            for ((family, count), name) in parts {
                all.extend(marked(problems(*family, true, count * LEVELS.count())?, name));
            }
            keep(&held_out, &all)?;
            return Ok(Self { train, held_out });
        }
        let train = train.context("name the problems to train on with --problems FILE")?;
        ensure!(!inside.is_empty(), "name held-out problems with --held-out FILE");
        let mut all = read_sets(inside, "in")?;
        all.extend(read_sets(outside, "out")?);
        keep(&held_out, &all)?;
        Ok(Self { train: train.to_owned(), held_out })
    }

    /// The settings that every arm has, with this seed.
    ///
    /// # Errors
    ///
    /// An unknown key.
    pub(super) fn config(&self, scale: Scale, set: &[String], seed: u64) -> Result<GrpoConfig> {
        let set = set.iter().map(String::as_str);
        let mut config = GrpoConfig::from_toml_with(scale.config(), set)?;
        config.run.seed = seed;
        config.evaluation.held_out = HeldOut::File { path: self.held_out.clone(), columns: None };
        Ok(config)
    }
}

/// Refuses a `--set` that every arm's preset would replace.
///
/// # Errors
///
/// Such an entry.
pub(super) fn is_of_all_arms(entry: &str) -> Result<()> {
    let key = entry.split('=').next().unwrap_or_default().trim();
    let kept = ["sampling", "selection", "verdicts", "scoring", "too_long", "max_prompt_len"];
    let is_of_the_method = match key.strip_prefix("rollout.") {
        Some(rest) => {
            !kept.iter().any(|name| rest == *name || rest.starts_with(&format!("{name}.")))
        }
        None => {
            ["rollout", "advantage", "loss"].contains(&key.split('.').next().unwrap_or_default())
        }
    };
    ensure!(!is_of_the_method, "--set {entry}: each arm's preset decides `{key}`");
    Ok(())
}

/// Writes problems, or checks that the file has the same ones.
fn keep(path: &Path, problems: &[Problem]) -> Result<()> {
    if path.exists() {
        let same = read_problems(path)? == problems;
        let path = path.display();
        ensure!(
            same,
            "`{path}` has other problems, which runs beside it may have used; choose another --out"
        );
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)
        .with_context(|| format!("cannot create `{}`", parent.display()))?;
    write(path, problems)
}
