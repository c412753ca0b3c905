//! `hint-rl show`: prints completions of a run, with their verdicts and rewards.
//!
//! ```text
//! hint-rl show runs/0001 --step 7 --wrong
//! hint-rl show runs/0001/hint --problem swaps-12 --source hinted --json
//! hint-rl show runs/0001/hint --evaluation --wrong
//! ```
//!
//! Reads the rollout table (`rollouts/step-*.parquet`), or the completions of evaluations
//! (`evaluations/step-*.parquet`). Without `--step` it shows the newest step that is kept.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hint_grpo::RunDir;
use hint_grpo::rollout_table::{RolloutRecord, read_rollouts};
use hint_reward::Verdict;
use hint_rollout::sample::RolloutSource;

/// Completions that are printed by default.
const LIMIT: usize = 5;

/// Prints completions of a run, with their verdicts and rewards.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags are independent of each other")]
pub struct Options {
    /// The folder of a run, such as `runs/0001/hint`, or one that holds a single run, such as `runs/0001`. Or a file of
    /// completions from `hint-rl evaluate`.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Completions of evaluations, on held-out problems without hints.
    #[arg(long)]
    evaluation: bool,

    /// The step, from 1; the newest one by default.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    step: Option<u64>,

    /// All steps.
    #[arg(long)]
    all: bool,

    /// The problem with this id.
    #[arg(long, value_name = "ID")]
    problem: Option<String>,

    /// Completions that are not correct.
    #[arg(long, conflicts_with = "verdict")]
    wrong: bool,

    /// Completions with this verdict.
    #[arg(long, value_parser = Verdict::ALL.map(Verdict::name))]
    verdict: Option<String>,

    /// Completions that were sampled from this.
    #[arg(long, value_parser = RolloutSource::ALL.map(RolloutSource::name))]
    source: Option<String>,

    /// Completions whose text, question or hint contains this.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// Most completions to print.
    #[arg(long, value_name = "N", default_value_t = LIMIT)]
    limit: usize,

    /// Print whole records as lines of JSON, with tokens and log-probabilities.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A folder without a rollout table, a step that is not kept, a damaged file.
pub fn run(options: &Options) -> Result<()> {
    if options.run.is_file() {
        ensure!(options.step.is_none(), "--step is for the folder of a run, not for a file");
    }
    let files = match options.tables(&options.run)? {
        files if files.is_empty() => options.tables(&only_run(options)?)?,
        files => files,
    };
    let Some(&(newest, _)) = files.last() else { bail!("`{}` is gone", options.run.display()) };
    let step = if options.all { None } else { Some(options.step.unwrap_or(newest)) };
    let chosen = files.iter().filter(|(kept, _)| step.is_none_or(|step| step == *kept));
    let chosen = chosen.collect::<Vec<_>>();
    if chosen.is_empty() {
        let kept = files.iter().map(|(step, _)| step.to_string()).collect::<Vec<_>>().join(", ");
        bail!("step {} is not among those that are kept: {kept}", step.unwrap_or_default());
    }
    let (mut shown, mut matching, mut all) = (0, 0, 0);
    let mut last = None;
    for (_, path) in chosen {
        for record in read_rollouts(path)? {
            all += 1;
            if !options.admits(&record) {
                continue;
            }
            matching += 1;
            if shown == options.limit {
                continue;
            }
            shown += 1;
            if options.json {
                let line = serde_json::to_string(&record).context("cannot write JSON")?;
                // JSON has escapes of its own; a pipe that is closed is no error.
                let _ = writeln!(std::io::stdout(), "{line}");
                continue;
            }
            let group = (record.step, record.group);
            if last != Some(group) {
                print_group(&record);
            }
            last = Some(group);
            print_completion(&record);
        }
    }
    if !options.json {
        let more = if shown < matching { "; --limit shows more" } else { "" };
        say!("{shown} of {matching} matching completions, {all} in all{more}");
    }
    Ok(())
}

impl Options {
    /// The files of completions of a run, with their steps.
    fn tables(&self, run: &Path) -> Result<Vec<(u64, PathBuf)>> {
        Ok(match self.evaluation {
            _ if run.is_file() => vec![(0, run.to_owned())],
            true => RunDir::evaluated(run)?,
            false => RunDir::rollouts(run)?,
        })
    }

    /// The options beside the run, as they were given.
    fn flags(&self) -> String {
        let mut flags = String::new();
        let switches = [
            ("--evaluation", self.evaluation),
            ("--all", self.all),
            ("--wrong", self.wrong),
            ("--json", self.json),
        ];
        let values = [
            ("--step", self.step.map(|step| step.to_string())),
            ("--problem", self.problem.clone()),
            ("--verdict", self.verdict.clone()),
            ("--source", self.source.clone()),
            ("--search", self.search.clone()),
            ("--limit", (self.limit != LIMIT).then(|| self.limit.to_string())),
        ];
        for (name, _) in switches.into_iter().filter(|(_, is_set)| *is_set) {
            flags = format!("{flags} {name}");
        }
        for (name, value) in values {
            let Some(value) = value else { continue };
            // A value of letters and digits needs no quotes.
            let is_plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            let value = if is_plain { value } else { quoted(&value) };
            flags = format!("{flags} {name} {value}");
        }
        flags
    }

    fn admits(&self, record: &RolloutRecord) -> bool {
        let is_correct = record.verdict.is_correct();
        let contains = |text: &String| {
            let texts = [Some(&record.text), record.question.as_ref()];
            let texts =
                texts.into_iter().chain([record.hint.as_ref(), record.teacher_hint.as_ref()]);
            texts.flatten().any(|found| found.contains(text.as_str()))
        };
        (!self.wrong || !is_correct)
            && self.problem.as_ref().is_none_or(|id| *id == record.problem)
            && self.verdict.as_ref().is_none_or(|name| name == record.verdict.name())
            && self.source.as_ref().is_none_or(|name| name == record.source.name())
            && self.search.as_ref().is_none_or(contains)
    }
}

fn print_group(record: &RolloutRecord) {
    say!("── step {} · problem {} ──", record.step, record.problem);
    if let Some(question) = &record.question {
        say!("{question}");
    }
    if let Some(reference) = &record.reference {
        say!("reference: {reference}");
    }
    say!("");
}

fn print_completion(record: &RolloutRecord) {
    let mut facts = vec![
        record.source.name().to_owned(),
        record.role.name().to_owned(),
        record.verdict.name().to_owned(),
        format!("reward {}", record.reward),
    ];
    facts.extend(record.advantage.map(|advantage| format!("advantage {advantage:.3}")));
    facts.push(format!("{} tokens", record.tokens.len()));
    facts.extend((record.stop.name() == "length").then(|| "cut off".to_owned()));
    say!("completion {}: {}", record.completion, facts.join(" · "));
    if let Some(hint) = &record.hint {
        say!("hint: {hint}");
    }
    if let Some(hint) = &record.teacher_hint {
        say!("taught by the hint: {hint}");
    }
    say!("{}", indented(&record.text));
    if let Some(answer) = &record.extracted {
        let rule = record.extracted_by.map(|rule| format!(" (by {})", rule.name()));
        say!("extracted: {answer}{}", rule.unwrap_or_default());
    }
    if let Some(reason) = &record.reason {
        say!("reason: {reason}");
    }
    say!("");
}

/// A text that a shell takes as it is.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// The only run in a folder that holds no completions itself, such as `runs/0001`.
///
/// # Errors
///
/// No run, or several: then the error has the commands that show them.
fn only_run(options: &Options) -> Result<PathBuf> {
    let root = &options.run;
    let (what, remedy) = if options.evaluation {
        let remedy = "a run keeps some if it has held-out problems and `evaluation.kept_completions` is above 0";
        ("completions of evaluations", remedy)
    } else {
        ("rollout table", "a run writes one unless `rollout_table.every` is 0")
    };
    let has_some = |dir: &PathBuf| options.tables(dir).is_ok_and(|files| !files.is_empty());
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut runs =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>();
    runs.retain(has_some);
    runs.sort();
    match runs.as_slice() {
        [run] => Ok(run.clone()),
        [] => bail!("`{}` has no {what}; {remedy}", root.display()),
        runs => {
            let flags = options.flags();
            let command = |dir: &PathBuf| format!("\n  hint-rl show {}{flags}", dir.display());
            let commands = runs.iter().map(command).collect::<String>();
            bail!("`{}` holds several runs; choose one:{commands}", root.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_stands_for_its_only_run() {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            options: Options,
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_string_lossy().into_owned();
        let options = <Program as clap::Parser>::parse_from(["show", &root]).options;
        let table = |run: &str| {
            let dir = folder.path().join(run).join("rollouts");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("step-00000001.parquet"), "").unwrap();
        };
        let error = only_run(&options).unwrap_err().to_string();
        assert!(error.contains("has no rollout table"), "{error}");
        table("hint");
        assert_eq!(only_run(&options).unwrap(), folder.path().join("hint"));
        table("grpo");
        let error = only_run(&options).unwrap_err().to_string();
        let commands = ["grpo", "hint"].map(|run| format!("\n  hint-rl show {root}/{run}"));
        assert!(error.ends_with(&commands.concat()), "{error}");
        let given = ["show", &root, "--step", "7", "--wrong", "--search", "it's 3"];
        let options = <Program as clap::Parser>::parse_from(given).options;
        let error = only_run(&options).unwrap_err().to_string();
        let command =
            format!("\n  hint-rl show {root}/hint --wrong --step 7 --search 'it'\\''s 3'");
        assert!(error.ends_with(&command), "{error}");
    }
}
