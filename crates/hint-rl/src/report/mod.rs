//! `hint-rl report`: reports runs from the files in their folders, as text.
//!
//! ```text
//! hint-rl report runs/0001
//! hint-rl report runs/0001/hint runs/0002/hint --rows 20
//! hint-rl report runs/0001 --html
//! hint-rl report runs/0001 --audit audit.json --html=report.html
//! ```
//!
//! Prints for each run its verdict with evidence, advice and three groups that show it. Facts, curves as
//! numbers by step, and the time by phase follow. `--html` writes one file with charts and completions
//! instead. It needs no model and no libtorch device, and may read a run that is still training.

mod curves;
mod facts;
mod findings;
mod html;
mod phases;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde_json::Value;

use self::findings::Verdict;
use crate::run_dirs::{read_config, runs_in};
use crate::run_log::RunLog;
use crate::run_state::RunState;

/// Reports runs from their metrics.
#[derive(Debug, Args)]
pub struct Options {
    /// The folders of runs, or of comparisons that hold several.
    #[arg(required_unless_present = "audit", value_name = "DIR")]
    runs: Vec<PathBuf>,

    /// Add the page of an audit to the HTML file: the output of `hint-rl audit --json`. Needs no run.
    #[arg(long, value_name = "FILE.json")]
    audit: Option<PathBuf>,

    /// Most rows of the curves; each row averages as many steps as need be.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    rows: u16,

    /// Write the report as one HTML file, with charts and completions [default: `report.html` in the first folder].
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    html: Option<OsString>,

    /// Write the HTML file, and open it in the browser.
    #[arg(long)]
    open: bool,

    /// Write the HTML file again during the runs, every so many seconds, until none of them is running.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "30", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,

    /// Largest size of the HTML file, in MiB. Groups of completions are left out, evenly over the steps.
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    max_mib: u16,
}

/// Runs the command.
///
/// # Errors
///
/// A folder that holds no run, files that cannot be read.
pub fn run(options: &Options) -> Result<()> {
    let runs = options.runs.iter().map(|folder| runs_in(folder)).collect::<Result<Vec<_>>>()?;
    let runs = runs.concat();
    let to_html = options.html.is_some() || options.open || options.watch.is_some();
    if to_html || options.audit.is_some() {
        return write_html(options, &runs);
    }
    for dir in runs {
        say!("{}", report(&dir, usize::from(options.rows))?);
    }
    Ok(())
}

/// Writes the HTML file, and again during the runs if the options ask for it.
fn write_html(options: &Options, runs: &[PathBuf]) -> Result<()> {
    // Without a name, an empty one.
    let named = options.html.as_ref().filter(|name| !name.is_empty()).map(PathBuf::from);
    let beside = || options.runs.first().cloned().unwrap_or_else(|| PathBuf::from("."));
    let file = named.unwrap_or_else(beside);
    let file = if file.is_dir() { file.join("report.html") } else { file };
    let limit = usize::from(options.max_mib) << 20;
    let audit = options.audit.as_deref().map(read_audit).transpose()?;
    let mut written = html::write(runs, audit.as_ref(), &file, limit)?;
    say!("{}: {}", file.display(), written.in_words());
    if options.open {
        open(&file)?;
    }
    let mut seen = sizes(runs);
    while let Some(seconds) = options.watch.filter(|_| !written.ended) {
        std::thread::sleep(Duration::from_secs(seconds));
        let now = sizes(runs);
        // A run that ends without a step is only seen by its lock.
        if now != seen || html::have_ended(runs)? {
            written = html::write(runs, audit.as_ref(), &file, limit)?;
            note!("{}: {}", file.display(), written.in_words());
            seen = now;
        }
    }
    if options.watch.is_some() {
        note!("no run goes on: the watch ends");
    }
    Ok(())
}

/// The output of `hint-rl audit --json`.
fn read_audit(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    let audit = serde_json::from_str::<Value>(&text).ok();
    let keys = ["file", "problems", "references", "hints", "trial"];
    let audit = audit.filter(|audit| keys.iter().all(|key| audit.get(key).is_some()));
    audit.with_context(|| {
        let name = file.display();
        format!("`{name}` is no audit; write one by `hint-rl audit PROBLEMS --json > {name}`")
    })
}

/// The bytes of the runs' metrics, which grow with every step.
fn sizes(runs: &[PathBuf]) -> Vec<Option<u64>> {
    let size = |dir: &PathBuf| Some(std::fs::metadata(dir.join("metrics.jsonl")).ok()?.len());
    runs.iter().map(size).collect()
}

/// Opens a file with the program of the desktop.
fn open(file: &Path) -> Result<()> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let failed = || format!("cannot start `{program}`; open `{}` in a browser", file.display());
    let status = Command::new(program).arg(file).status().with_context(failed)?;
    ensure!(status.success(), "`{program}` failed; open `{}` in a browser", file.display());
    Ok(())
}

/// The report of one run.
fn report(dir: &Path, rows: usize) -> Result<String> {
    let log = RunLog::read(dir)?;
    let (_, config) = read_config(dir)?;
    let done = log.last_step();
    let steps = config.run.steps;
    let state = RunState::read(dir, &log, steps);
    let state = state.in_words().map_or_else(String::new, |words| format!("; {words}"));
    let (name, seed) = (dir.display(), config.run.seed);
    let title = format!("{name}: step {done} of {steps}, seed {seed}{state}");
    let verdict = Verdict::read(dir, &log, &config)?.items(dir);
    let facts = facts::facts(&log, &config).into_iter().map(Item::new);
    let items = verdict.into_iter().chain(facts).flat_map(Item::lines);
    let items = items.map(|line| format!("  {line}"));
    let tables = [curves::table(&log, rows), phases::table(&log)];
    let tables = tables.into_iter().flatten().map(|table| format!("\n{}", table.trim_fmt()));
    let lines = std::iter::once(title).chain(items).chain(tables);
    Ok(lines.map(|line| line + "\n").collect())
}

/// A finding or a fact.
#[derive(Debug)]
struct Item {
    text: String,
    /// A command that shows it.
    command: Option<String>,
}

impl Item {
    const fn new(text: String) -> Self {
        Self { text, command: None }
    }

    /// The text wrapped at 80 columns, with the rest set in. The command has a line of its own, however long: one that
    /// is wrapped cannot be copied.
    fn lines(self) -> Vec<String> {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(78).add_row(["·".to_owned(), self.text]);
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        let text = table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        let command = self.command.map(|command| format!("  {command}"));
        text.into_iter().chain(command).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use hint_grpo::GrpoConfig;
    use hint_grpo::rollout_table::{RolloutRecord, write_rollouts};
    use serde_json::json;

    use super::*;
    use crate::show;

    const METRICS: &str = r#"{"step":0,"eval/avg":0.1,"eval/avg_low":0.05,"eval/avg_high":0.2}
{"step":1,"reward":0.25,"rollout/pass_rate":0.1,"rollout/all_wrong_frac":0.8,"hint/hinted_frac":0.8,"hint/rescued_frac":0.5,"completions/clipped_ratio":0.5,"affinity/plain/value":0.9,"affinity/hinted/value":0.7,"entropy/trained":1.0,"loss":0.1}
{"step":2,"reward":0.75,"rollout/pass_rate":0.3,"rollout/all_wrong_frac":0.6,"hint/hinted_frac":0.6,"hint/rescued_frac":1.0,"completions/clipped_ratio":0.3,"verifier/extracted_by/boxed":0.5,"verifier/pass_rate_by/boxed":0.4,"affinity/plain/value":0.8,"entropy/trained":0.05,"loss":0.1,"skipped_updates":1}
{"step":3,"reward":1.0"#;
    const TIMINGS: &str = r#"{"step":1,"rollout_s":3.0,"update_s":1.0,"sync_s":0.0,"evaluation_s":0.0,"checkpoint_s":0.0,"step_time":4.0,"tokens":100}
{"step":2,"rollout_s":3.0,"update_s":1.0,"sync_s":0.0,"evaluation_s":0.0,"checkpoint_s":2.0,"step_time":4.0,"tokens":100}
"#;

    fn run(folder: &Path) -> PathBuf {
        let dir = folder.join("hint");
        std::fs::create_dir_all(&dir).unwrap();
        let config =
            GrpoConfig::from_toml("run = { steps = 5, seed = 3 }").unwrap().to_toml().unwrap();
        for (name, text) in
            [("metrics.jsonl", METRICS), ("timings.jsonl", TIMINGS), ("config.toml", &config)]
        {
            std::fs::write(dir.join(name), text).unwrap();
        }
        dir
    }

    /// The cells of the line that begins with `first`.
    fn row<'t>(text: &'t str, first: &str) -> Vec<&'t str> {
        let cells = |line: &'t str| line.split_whitespace().collect::<Vec<_>>();
        let mut rows = text.lines().map(cells).filter(|cells| cells.first() == Some(&first));
        rows.next().unwrap_or_default()
    }

    #[test]
    fn curves_are_means_of_the_steps_that_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let text = report(&run(folder.path()), 12).unwrap();
        assert!(text.contains("hint: step 2 of 5, seed 3"), "{text}");
        // Of the 80 % that are all wrong, half have a correct completion with a hint.
        let cells = ["1", "0.250", "0.100", "0.800", "0.400", "0.500", "1.000", "0.700", "0.900"];
        assert_eq!(row(&text, "1"), cells, "{text}");
        assert_eq!(row(&text, "2")[4], "0.000", "{text}");
        let both = report(&run(folder.path()), 1).unwrap();
        assert_eq!(row(&both, "0–2")[1], "0.500", "{both}");
    }

    #[test]
    fn the_verdict_and_facts_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let text = report(&run(folder.path()), 12).unwrap();
        let verdict = text.lines().nth(1).unwrap();
        assert!(verdict.starts_with("  · CUT OFF: 40 % of the completions end at"), "{text}");
        let parts = [
            "try: raise `rollout.sampling",
            "3 steps are left",
            "1 optimizer step",
            "0.100",
            "rule: boxed 50 % (40 % correct)",
        ];
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }

    #[test]
    fn time_is_split_by_phase() {
        let folder = tempfile::tempdir().unwrap();
        let text = report(&run(folder.path()), 12).unwrap();
        assert_eq!(row(&text, "rollout"), ["rollout", "6.0", "60", "%"], "{text}");
        assert_eq!(row(&text, "checkpoint"), ["checkpoint", "2.0", "20", "%"], "{text}");
    }

    /// The words of a command, as a shell splits them.
    fn words(command: &str) -> Vec<String> {
        let script = format!("printf '%s\\0' {command}");
        let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
        let text = String::from_utf8(output.stdout).expect("text");
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn the_command_of_a_finding_shows_its_group_when_it_is_copied() {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            options: show::Options,
        }
        let folder = tempfile::tempdir().unwrap();
        let long = "a comparison with a long name, and it's one with spaces";
        for name in ["0001", long] {
            let dir = run(&folder.path().join(name));
            std::fs::create_dir(dir.join("rollouts")).unwrap();
            let record = |group: usize, stop: &str| {
                let id = format!("Row BADC{group}. Swaps 1:DB 2:AC 3:BD 4:CE, and so on.");
                let record = json!({
                    "step": 2, "group": group, "completion": 0, "problem": id, "role": "trained",
                    "source": "plain", "text": "x", "prompt": [1], "tokens": [2], "stop": stop,
                    "version": 0, "verdict": "incorrect", "reward": 0.0, "reward_parts": {},
                    "behavior_logprobs": [-1.0],
                });
                serde_json::from_value::<RolloutRecord>(record).unwrap()
            };
            let records = [record(0, "stop"), record(1, "length")];
            write_rollouts(&dir.join("rollouts/step-00000002.parquet"), &records).unwrap();
            let text = report(&dir, 12).unwrap();
            let commands = text.lines().filter(|line| line.contains("hint-rl show"));
            let [command] = commands.collect::<Vec<_>>()[..] else { panic!("{text}") };
            let words = words(command);
            assert_eq!(words[..2], ["hint-rl", "show"], "{command}");
            let options = Program::parse_from(&words[1..]).options;
            let mut shown = Vec::new();
            let found = options.search(|record| {
                shown.push((record.step, record.group));
                Ok(())
            });
            found.unwrap();
            assert_eq!(shown, [(2, 1)], "{command}");
        }
    }
}
