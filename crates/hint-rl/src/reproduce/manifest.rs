//! The record of a reproduction's settings, so that runs of others do not join it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::html::escape;
use super::schedule::Task;
use crate::process::replace_file;
use crate::terminal::quoted;
use crate::workload::Compute;

/// Everything that runs depend on, except the held-out problems, which are compared apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    model: String,
    /// CRC-32 of the training problems.
    problems: u32,
    /// Number format of the passes, as soon as a session trains. Earlier versions recorded none, and took that of the device.
    #[serde(default)]
    compute: Option<Compute>,
    /// CRC-32 of the configuration of each arm and seed.
    runs: BTreeMap<String, u32>,
    /// The commands that trained, without repetitions.
    #[serde(default)]
    sessions: Vec<Session>,
}

/// A command that trained, and the program that did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    command: String,
    version: String,
    /// The commit of the program's sources, `-dirty` if they were changed; nothing outside a clone.
    revision: Option<String>,
}

impl Session {
    /// The command of this process.
    pub(super) fn now() -> Self {
        let args = std::env::args_os().skip(1).map(|arg| quoted(&arg.to_string_lossy()));
        let command = std::iter::once("hint-rl".to_owned()).chain(args).collect::<Vec<_>>();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { command: command.join(" "), version, revision: revision() }
    }
}

/// The commit of the clone that this program was built in, as it is now.
fn revision() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut git = Command::new("git");
    git.arg("-C").arg(&root).args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]);
    let output = root.join(".git").exists().then(|| git.output().ok())??;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The commands that trained, as HTML.
pub(super) fn html(sessions: &[Session]) -> String {
    let line = |Session { command, version, revision }: &Session| {
        let revision = revision.as_deref().unwrap_or("unknown");
        let (command, version, revision) = (escape(command), escape(version), escape(revision));
        format!("<p><code>{command}</code><br>version {version}, revision {revision}</p>\n")
    };
    sessions.iter().map(line).collect()
}

/// What all runs of a folder have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'c> {
    /// The training problems.
    pub(super) train: &'c Path,
    /// The model that is given.
    pub(super) model: &'c str,
    pub(super) compute: Compute,
    /// The number format of runs whose record names none.
    pub(super) usual_compute: Compute,
}

fn read(path: &Path) -> Result<Option<Manifest>> {
    if !path.exists() {
        return Ok(None);
    }
    let shown = path.display();
    let text = std::fs::read(path).with_context(|| format!("cannot read `{shown}`"))?;
    serde_json::from_slice(&text).with_context(|| format!("`{shown}` is damaged"))
}

/// The number format of the runs in the record, if it names one.
///
/// # Errors
///
/// A damaged record.
pub(super) fn compute(path: &Path) -> Result<Option<Compute>> {
    Ok(read(path)?.and_then(|manifest| manifest.compute))
}

/// Writes the record, or adds new runs and this session to it. A session that trains records its number format, and a report
/// none. Returns all sessions.
///
/// # Errors
///
/// Another model, other problems, another number format or another configuration than in the record.
pub(super) fn keep<'t>(
    path: &Path,
    common: Common<'_>,
    tasks: impl Iterator<Item = &'t Task>,
    session: Option<Session>,
) -> Result<Vec<Session>> {
    let Common { train, model, compute, usual_compute } = common;
    let problems = std::fs::read(train).map(|bytes| crc32fast::hash(&bytes));
    let problems = problems.with_context(|| format!("cannot read `{}`", train.display()))?;
    let model = model.to_owned();
    // A report knows nothing of the device that trained.
    let recorded = session.as_ref().map(|_| compute);
    let mut now = Manifest { model, problems, compute: recorded, ..Manifest::default() };
    for Task { name, settings, .. } in tasks {
        let config = settings.config(&settings.methods[0]).to_toml()?;
        // Runs after a warm-up start elsewhere.
        let start = if settings.model == now.model { "" } else { "\n# after the warm-up" };
        now.runs.insert(name.clone(), crc32fast::hash((config + start).as_bytes()));
    }
    let shown = path.display();
    if let Some(before) = read(path)? {
        ensure!(
            before.model == now.model,
            "`{shown}` is of the model `{}`, not `{}`; choose another --out",
            before.model,
            now.model
        );
        let of_before = before.compute.unwrap_or(usual_compute);
        ensure!(
            of_before == compute,
            "`{shown}` is of runs with --compute {}; give the same, or choose another --out",
            of_before.name()
        );
        now.compute = now.compute.or(before.compute);
        ensure!(
            before.problems == now.problems,
            "`{shown}` is of other training problems; choose another --out"
        );
        for (name, config) in before.runs {
            let same = *now.runs.entry(name.clone()).or_insert(config) == config;
            ensure!(same, "`{shown}` has other settings of {name}; choose another --out");
        }
        now.sessions = before.sessions;
    }
    if let Some(session) = session.filter(|session| !now.sessions.contains(session)) {
        now.sessions.push(session);
    }
    replace_file(path, &(serde_json::to_string_pretty(&now)? + "\n"))?;
    Ok(now.sessions)
}
