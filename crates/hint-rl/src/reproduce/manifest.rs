//! The record of a reproduction's settings, so that runs of others do not join it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::schedule::Task;

/// Everything that runs depend on, except the held-out problems, which are compared apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    model: String,
    /// CRC-32 of the training problems.
    problems: u32,
    /// CRC-32 of the configuration of each arm and seed.
    runs: BTreeMap<String, u32>,
}

/// Writes the record, or adds new runs to it.
///
/// # Errors
///
/// Another model, other problems or another configuration than in the record.
pub(super) fn keep(path: &Path, train: &Path, model: &str, tasks: &[Task]) -> Result<()> {
    let problems = std::fs::read(train).map(|bytes| crc32fast::hash(&bytes));
    let problems = problems.with_context(|| format!("cannot read `{}`", train.display()))?;
    let mut now = Manifest { model: model.to_owned(), problems, runs: BTreeMap::new() };
    for Task { name, settings, .. } in tasks {
        let config = settings.config(&settings.methods[0]).to_toml()?;
        now.runs.insert(name.clone(), crc32fast::hash(config.as_bytes()));
    }
    let shown = path.display();
    if path.exists() {
        let text = std::fs::read(path).with_context(|| format!("cannot read `{shown}`"))?;
        let before: Manifest =
            serde_json::from_slice(&text).with_context(|| format!("`{shown}` is damaged"))?;
        ensure!(
            before.model == now.model,
            "`{shown}` is of the model `{}`, not `{model}`; choose another --out",
            before.model
        );
        ensure!(
            before.problems == now.problems,
            "`{shown}` is of other training problems; choose another --out"
        );
        for (name, config) in before.runs {
            let same = *now.runs.entry(name.clone()).or_insert(config) == config;
            ensure!(same, "`{shown}` has other settings of {name}; choose another --out");
        }
    }
    let text = serde_json::to_string_pretty(&now)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write `{shown}`"))
}
