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

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hint_grpo::rollout_table::{RolloutRecord, read_rollouts};
use hint_grpo::{RunDir, metrics};
use hint_reward::Verdict;
use hint_rollout::sample::RolloutSource;

use crate::run_dirs::{read_config, runs_in};
use crate::run_log::RunLog;
use crate::terminal::quoted;

/// Completions that are printed by default.
const LIMIT: usize = 5;
/// Ids that are named where another one is asked for.
const IDS: usize = 3;

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

    /// The group with this number in its step, from 0.
    #[arg(long, value_name = "N")]
    group: Option<usize>,

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
/// A folder without a rollout table, a step, group or problem that is not kept, a damaged file.
pub fn run(options: &Options) -> Result<()> {
    let mut last = None;
    let found = options.search(|record| {
        if options.json {
            let line = serde_json::to_string(record).context("cannot write JSON")?;
            // JSON has escapes of its own; a pipe that is closed is no error.
            let _ = writeln!(std::io::stdout(), "{line}");
            return Ok(());
        }
        let group = (record.step, record.group);
        if last != Some(group) {
            print_group(record);
        }
        last = Some(group);
        print_completion(record);
        Ok(())
    })?;
    if !options.json {
        say!("{}", found.in_words());
    }
    Ok(())
}

/// Outcome of a search.
#[derive(Debug, Default)]
pub(crate) struct Found {
    shown: usize,
    matching: usize,
    all: usize,
    /// The steps that were searched, and the number of steps that are kept.
    steps: Vec<u64>,
    kept: usize,
    is_of_evaluation: bool,
    is_file: bool,
}

impl Found {
    /// The place that was searched.
    fn place(&self) -> String {
        match (&self.steps[..], self.is_of_evaluation) {
            _ if self.is_file => "the file".to_owned(),
            ([step], true) => format!("the evaluation of step {step}"),
            ([step], false) => format!("step {step}"),
            (steps, true) => format!("the evaluations of {} steps", steps.len()),
            (steps, false) => format!("{} steps", steps.len()),
        }
    }

    fn in_words(&self) -> String {
        let Self { shown, matching, all, kept, .. } = self;
        let more = match matching {
            0 if self.steps.len() < *kept => format!("; --all searches {kept} steps"),
            _ if shown < matching => "; --limit shows more".to_owned(),
            _ => String::new(),
        };
        format!("{shown} of {matching} matching completions, {all} in {}{more}", self.place())
    }
}

impl Options {
    /// Calls `show` with the completions that the options choose, up to the limit.
    ///
    /// # Errors
    ///
    /// As [`run`], and errors of `show`.
    pub(crate) fn search(
        &self,
        mut show: impl FnMut(&RolloutRecord) -> Result<()>,
    ) -> Result<Found> {
        if self.run.is_file() {
            ensure!(self.step.is_none(), "--step is for the folder of a run, not for a file");
        }
        let files = match self.tables(&self.run)? {
            files if files.is_empty() => self.tables(&only_run(self)?)?,
            files => files,
        };
        let Some(&(newest, _)) = files.last() else { bail!("`{}` is gone", self.run.display()) };
        let step = if self.all { None } else { Some(self.step.unwrap_or(newest)) };
        let chosen = files.iter().filter(|(kept, _)| step.is_none_or(|step| step == *kept));
        let chosen = chosen.collect::<Vec<_>>();
        if chosen.is_empty() {
            let kept = files.iter().map(|(step, _)| step.to_string()).collect::<Vec<_>>();
            let step = step.unwrap_or_default();
            bail!("step {step} is not among those that are kept: {}", kept.join(", "));
        }
        let steps = chosen.iter().map(|(step, _)| *step).collect();
        let mut found = Found { steps, kept: files.len(), ..Found::default() };
        (found.is_of_evaluation, found.is_file) = (self.evaluation, self.run.is_file());
        let (mut ids, mut last_group) = (BTreeSet::new(), None);
        let (mut has_group, mut has_problem) = (self.group.is_none(), self.problem.is_none());
        for (_, path) in chosen {
            for record in read_rollouts(path)? {
                found.all += 1;
                has_group |= self.group == Some(record.group);
                has_problem |= self.is_of_problem(&record);
                last_group = last_group.max(Some(record.group));
                if self.admits(&record) {
                    found.matching += 1;
                    if found.shown < self.limit {
                        found.shown += 1;
                        show(&record)?;
                    }
                } else if !has_problem && ids.len() < IDS {
                    ids.insert(record.problem);
                }
            }
        }
        let place = found.place();
        if let Some(group) = self.group.filter(|_| !has_group) {
            let last = last_group.unwrap_or_default();
            bail!("no group {group} in {place}; the last one there is {last}");
        }
        if let Some(id) = self.problem.as_ref().filter(|_| !has_problem) {
            let ids = ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
            let all = if self.all || found.kept == 1 { "" } else { "; --all searches every step" };
            bail!("no problem `{id}` in {place}, which has others such as {ids}{all}");
        }
        Ok(found)
    }

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
            ("--group", self.group.map(|group| group.to_string())),
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
            // A value that begins like an option is none where it follows `=`.
            let between = if value.starts_with('-') { "=" } else { " " };
            flags = format!("{flags} {name}{between}{}", quoted(&value));
        }
        flags
    }

    /// Whether a completion is of the problem. White space does not count: a terminal may have wrapped the id.
    fn is_of_problem(&self, record: &RolloutRecord) -> bool {
        let id = self.problem.as_deref().unwrap_or_default();
        id.split_whitespace().eq(record.problem.split_whitespace())
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
            && self.group.is_none_or(|group| group == record.group)
            && (self.problem.is_none() || self.is_of_problem(record))
            && self.verdict.as_ref().is_none_or(|name| name == record.verdict.name())
            && self.source.as_ref().is_none_or(|name| name == record.source.name())
            && self.search.as_ref().is_none_or(contains)
    }
}

fn print_group(record: &RolloutRecord) {
    say!("── step {} · group {} · problem {} ──", record.step, record.group, record.problem);
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

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// The only run in a folder that holds no completions itself, such as `runs/0001`.
///
/// # Errors
///
/// No run with completions, with the reason. Several: then the error has the commands that show them.
fn only_run(options: &Options) -> Result<PathBuf> {
    let root = &options.run;
    let all = runs_in(root)?;
    let has_some = |dir: &&PathBuf| options.tables(dir).is_ok_and(|files| !files.is_empty());
    match all.iter().filter(has_some).collect::<Vec<_>>().as_slice() {
        [run] => Ok((*run).clone()),
        [] => {
            let reasons = all.iter().map(|dir| why_none(dir, options.evaluation));
            bail!("{}", reasons.collect::<Result<Vec<_>>>()?.join("\n"))
        }
        runs => {
            let flags = options.flags();
            let dir = |dir: &PathBuf| quoted(&dir.display().to_string());
            let command = |run: &&PathBuf| format!("\n  hint-rl show {}{flags}", dir(run));
            let commands = runs.iter().map(command).collect::<String>();
            bail!("`{}` holds several runs; choose one:{commands}", root.display())
        }
    }
}

/// Why a run has no completions to show.
fn why_none(dir: &Path, evaluation: bool) -> Result<String> {
    let (name, log, (_, config)) = (dir.display(), RunLog::read(dir)?, read_config(dir)?);
    let is_supervised = log.values(metrics::NLL).next().is_some()
        && log.values(metrics::ROLLOUT_PASS_RATE).next().is_none();
    let has_evaluations = !RunDir::evaluated(dir)?.is_empty();
    Ok(if evaluation {
        if config.evaluation.kept_completions == 0 {
            format!(
                "`{name}` keeps no completions of evaluations: its `evaluation.kept_completions` is 0"
            )
        } else {
            format!(
                "`{name}` has no completions of evaluations: it has had none, or has no held-out problems"
            )
        }
    } else if is_supervised {
        let other =
            if has_evaluations { "; --evaluation shows those of its evaluations" } else { "" };
        format!("`{name}` is supervised, and samples no completions to train on{other}")
    } else if !config.rollout_table.is_on() {
        format!("`{name}` has no rollout table: its `rollout_table.every` is 0")
    } else if log.last_step() == 0 {
        format!("`{name}` has finished no step yet")
    } else {
        format!("`{name}` has no rollout table: its folder `rollouts` is empty or gone")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hint_grpo::GrpoConfig;
    use hint_grpo::rollout_table::write_rollouts;
    use serde_json::json;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    fn options(args: &[&str]) -> Options {
        let args = [&["show"][..], args].concat();
        <Program as clap::Parser>::parse_from(args).options
    }

    /// The folder of a run with these lines of metrics.
    fn add_run(dir: &Path, config: &str, metrics: &str) {
        fs::create_dir_all(dir).unwrap();
        let config = GrpoConfig::from_toml(config).unwrap().to_toml().unwrap();
        for (name, text) in
            [("config.toml", &*config), ("metrics.jsonl", metrics), ("timings.jsonl", "")]
        {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    /// A table of two groups of two wrong completions.
    fn add_table(dir: &Path, folder: &str, step: u64) {
        let record = |at: usize| {
            let record = json!({
                "step": step, "group": at / 2, "completion": at % 2, "problem": format!("p {}", at / 2),
                "role": "trained", "source": "plain", "text": "x", "prompt": [1], "tokens": [2],
                "stop": "stop", "version": 0, "verdict": "incorrect", "reward": 0.0,
                "reward_parts": {}, "behavior_logprobs": [-1.0],
            });
            serde_json::from_value::<RolloutRecord>(record).unwrap()
        };
        let dir = dir.join(folder);
        fs::create_dir_all(&dir).unwrap();
        let records = (0..4).map(record).collect::<Vec<_>>();
        write_rollouts(&dir.join(format!("step-{step:08}.parquet")), &records).unwrap();
    }

    /// The completions that are shown, by group and place, and the last line.
    fn found(args: &[&str]) -> (Vec<(usize, usize)>, String) {
        let mut shown = Vec::new();
        let found = options(args).search(|one| {
            shown.push((one.group, one.completion));
            Ok(())
        });
        let found = found.unwrap();
        (shown, found.in_words())
    }

    fn error(args: &[&str]) -> String {
        options(args).search(|_| Ok(())).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_stands_for_its_only_run() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_string_lossy().into_owned();
        let table = |run: &str| {
            let dir = folder.path().join(run);
            add_run(&dir, "", "");
            add_table(&dir, "rollouts", 1);
        };
        table("hint");
        assert_eq!(only_run(&options(&[&root])).unwrap(), folder.path().join("hint"));
        table("grpo");
        let error = only_run(&options(&[&root])).unwrap_err().to_string();
        let commands = ["grpo", "hint"].map(|run| format!("\n  hint-rl show {root}/{run}"));
        assert!(error.ends_with(&commands.concat()), "{error}");
        let given = [&*root, "--step", "7", "--wrong", "--search", "it's 3", "--problem=-x"];
        let error = only_run(&options(&given)).unwrap_err().to_string();
        let flags = "--wrong --step 7 --problem=-x --search 'it'\\''s 3'";
        assert!(error.ends_with(&format!("\n  hint-rl show {root}/hint {flags}")), "{error}");
        // The folder of all comparisons, one of which needs quotes.
        let all = tempfile::tempdir().unwrap();
        for name in ["a b/hint", "c/hint"] {
            add_run(&all.path().join(name), "", "");
            add_table(&all.path().join(name), "rollouts", 1);
        }
        let root = all.path().to_string_lossy().into_owned();
        let error = only_run(&options(&[&root])).unwrap_err().to_string();
        let commands = format!("\n  hint-rl show '{root}/a b/hint'\n  hint-rl show {root}/c/hint");
        assert!(error.ends_with(&commands), "{error}");
    }

    #[test]
    fn the_reason_for_no_completions_is_that_of_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let reason = |name: &str, flags: &[&str]| {
            error(&[&[&*at(name).to_string_lossy()][..], flags].concat())
        };
        assert!(reason("nope", &[]).contains("does not exist"), "{}", reason("nope", &[]));
        fs::create_dir(at("empty")).unwrap();
        assert!(reason("empty", &[]).contains("holds no run"), "{}", reason("empty", &[]));
        add_run(&at("sft"), "", "{\"step\":1,\"nll\":2.0}\n");
        let text = reason("sft", &[]);
        assert!(text.ends_with("is supervised, and samples no completions to train on"), "{text}");
        add_table(&at("sft"), "evaluations", 1);
        let text = reason("sft", &[]);
        assert!(text.ends_with("; --evaluation shows those of its evaluations"), "{text}");
        assert_eq!(found(&[&*at("sft").to_string_lossy(), "--evaluation"]).0.len(), 4);
        add_run(&at("killed"), "", "{\"step\":0,\"eval/avg\":0.5}\n");
        assert!(reason("killed", &[]).ends_with("has finished no step yet"));
        let metrics = "{\"step\":1,\"rollout/pass_rate\":0.5}\n";
        add_run(&at("off"), "rollout_table.every = 0\nevaluation.kept_completions = 0", metrics);
        assert!(reason("off", &[]).ends_with("its `rollout_table.every` is 0"));
        let text = reason("off", &["--evaluation"]);
        assert!(text.ends_with("its `evaluation.kept_completions` is 0"), "{text}");
        add_run(&at("gone"), "", metrics);
        let text = reason("gone", &[]);
        assert!(text.ends_with("its folder `rollouts` is empty or gone"), "{text}");
        let text = reason("gone", &["--evaluation"]);
        assert!(text.contains("has no held-out problems"), "{text}");
    }

    #[test]
    fn a_search_says_where_it_looked_and_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        add_run(folder.path(), "", "");
        add_table(folder.path(), "rollouts", 1);
        add_table(folder.path(), "rollouts", 2);
        let run = &*folder.path().to_string_lossy();
        let (shown, line) = found(&[run, "--group", "1"]);
        assert_eq!(shown, [(1, 0), (1, 1)]);
        assert_eq!(line, "2 of 2 matching completions, 4 in step 2");
        let line = found(&[run, "--all", "--limit", "3"]).1;
        assert_eq!(line, "3 of 8 matching completions, 8 in 2 steps; --limit shows more");
        let line = found(&[run, "--verdict", "error"]).1;
        assert_eq!(line, "0 of 0 matching completions, 4 in step 2; --all searches 2 steps");
        let line = found(&[run, "--verdict", "error", "--all"]).1;
        assert_eq!(line, "0 of 0 matching completions, 8 in 2 steps");
        // As a terminal wraps an id.
        assert_eq!(found(&[run, "--problem", "p\n    1"]).0, [(1, 0), (1, 1)]);
        let text = error(&[run, "--problem", "p 7", "--step", "1"]);
        let others = "which has others such as `p 0`, `p 1`; --all searches every step";
        assert_eq!(text, format!("no problem `p 7` in step 1, {others}"));
        let text = error(&[run, "--group", "7", "--all"]);
        assert_eq!(text, "no group 7 in 2 steps; the last one there is 1");
        let text = error(&[run, "--step", "9"]);
        assert_eq!(text, "step 9 is not among those that are kept: 1, 2");
        let file = folder.path().join("rollouts/step-00000001.parquet");
        let line = found(&[&*file.to_string_lossy(), "--wrong"]).1;
        assert_eq!(line, "4 of 4 matching completions, 4 in the file");
    }
}
