//! `report.html`: runs as one file that needs no network and no program except a browser.
//!
//! ```text
//! hint-rl report runs/0001 --html
//! hint-rl report runs/0001 runs/0002 --html=seeds.html --open
//! ```
//!
//! The page is a template (`page.html`), a style (`style.css`) and a script (`*.js`). All content of the runs is
//! in it as compressed JSON in Base64, which the browser unpacks and shows as text. So no completion can add to
//! the page. Its security policy allows this very script and style, and no address.

mod block;
mod charts;
mod groups;
mod intervals;
mod run;
mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use data_encoding::BASE64;
use hint_grpo::metrics;
use hint_process::wall_clock;
use minijinja::{Environment, context};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::block::block;
use self::charts::{Chart, charts};
use self::groups::pack;
use self::run::{Run, TIMING, series};
use crate::run_dirs::read_config;
use crate::run_log::RunLog;
use crate::run_state::RunState;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// In one scope, so that nothing of it is visible outside.
const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("base.js"),
    include_str!("scale.js"),
    include_str!("chart.js"),
    include_str!("overview.js"),
    include_str!("audit.js"),
    include_str!("tokens.js"),
    include_str!("browser.js"),
    include_str!("app.js"),
    "})();\n"
);

/// Content of the page before a group is opened.
#[derive(Debug, Serialize)]
struct Overview<'r> {
    /// When the page was written, in seconds since 1970.
    written: u64,
    runs: &'r mut [Run],
    /// Names of the curves.
    series: Vec<String>,
    charts: Vec<Chart>,
    /// Meaning of each metric and timing, by the name of its column.
    meanings: BTreeMap<String, &'static str>,
}

/// Result of writing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: usize,
    /// Bytes that were asked for.
    limit: usize,
    pub(super) groups: usize,
    pub(super) total: usize,
    /// Whether no run may take a further step.
    pub(super) ended: bool,
}

impl Written {
    pub(super) fn in_words(&self) -> String {
        let Self { bytes, groups, total, limit, .. } = self;
        // What verdicts show is always there.
        let excess =
            if bytes > limit { ", above the limit for the groups of the verdicts" } else { "" };
        let mib = *bytes as f64 / f64::from(1 << 20);
        match (groups, total) {
            (_, 0) => format!("{mib:.1} MiB, without completions: there is no rollout table"),
            (groups, total) if groups == total => {
                format!("{mib:.1} MiB with all {total} groups{excess}")
            }
            _ => format!(
                "{mib:.1} MiB with {groups} of {total} groups{excess}; --max-mib allows more"
            ),
        }
    }
}

/// Whether none of the runs in `dirs` may take a further step.
///
/// # Errors
///
/// Files that cannot be read.
pub(super) fn have_ended(dirs: &[PathBuf]) -> Result<bool> {
    for dir in dirs {
        let (log, (_, config)) = (RunLog::read(dir)?, read_config(dir)?);
        if RunState::read(dir, &log, config.run.steps).may_continue() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the page of the runs in `dirs`, complete or not at all. Groups are left out for it to stay below `limit`
/// bytes.
///
/// # Errors
///
/// Files that cannot be read or written.
pub(super) fn write(
    dirs: &[PathBuf],
    audit: Option<&Value>,
    file: &Path,
    limit: usize,
) -> Result<Written> {
    let mut runs = dirs.iter().map(|dir| Run::read(dir)).collect::<Result<Vec<_>>>()?;
    let (page, written) = page(&mut runs, audit, limit)?;
    let partial = file.with_extension("html.tmp");
    let failed = || format!("cannot write `{}`", file.display());
    std::fs::write(&partial, page).with_context(failed)?;
    std::fs::rename(&partial, file).with_context(failed)?;
    Ok(written)
}

fn page(runs: &mut [Run], audit: Option<&Value>, limit: usize) -> Result<(String, Written)> {
    let audit = audit.map(|audit| anyhow::Ok((name_of(audit), block(audit)?))).transpose()?;
    let (audited, audit) = audit.unzip();
    let labels = series(runs);
    let known = metrics::ALL.iter().map(|(name, meaning)| ((*name).to_owned(), *meaning));
    let timed = metrics::timings::ALL.iter();
    let timed = timed.map(|(name, meaning)| (format!("{TIMING}{name}"), *meaning));
    let meanings = known.chain(timed).collect::<BTreeMap<_, _>>();
    let written = wall_clock()().as_secs();
    let mut overview = Overview { written, runs, series: labels, charts: Vec::new(), meanings };
    let fixed = block(&overview)?.len() + PAGE.len() + STYLE.len() + SCRIPT.len();
    let fixed = fixed + audit.as_ref().map_or(0, String::len);
    // A twentieth is reserved for what is estimated: intervals, the index, the last shard.
    let budget = limit as f64 * 0.95 - fixed as f64;
    let (index, shards) = pack(overview.runs, budget.max(0.0))?;
    overview.charts = charts(overview.runs);
    let runs = &*overview.runs;
    let (groups, total) = (index.rows.len(), index.total);
    let ended = !runs.iter().any(|run| run.state.may_continue());
    let mut environment = Environment::new();
    // `.html` escapes everything that is not marked as safe.
    environment.add_template("page.html", PAGE)?;
    let html = environment.get_template("page.html")?.render(context! {
        title => title(runs, audited),
        style => STYLE,
        style_hash => hash(STYLE),
        script => SCRIPT,
        script_hash => hash(SCRIPT),
        overview => block(&overview)?,
        index => block(&index)?,
        audit,
        shards,
    })?;
    let written = Written { bytes: html.len(), limit, groups, total, ended };
    Ok((html, written))
}

/// The file that was audited.
fn name_of(audit: &Value) -> String {
    audit["file"].as_str().unwrap_or("problems").to_owned()
}

/// The title of the page: the runs' names, if they are few; without a run the file that was audited.
fn title(runs: &[Run], audited: Option<String>) -> String {
    match runs {
        [one] => one.name.clone(),
        [one, other] => format!("{} and {}", one.name, other.name),
        [one, rest @ ..] => format!("{} and {} more runs", one.name, rest.len()),
        [] => audited.unwrap_or_default(),
    }
}

/// The name of a script or style in a content security policy.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(&Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests;
