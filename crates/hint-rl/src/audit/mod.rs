//! `hint-rl audit`: checks the reference answers and the hints of a problem file.
//!
//! ```text
//! hint-rl audit problems.jsonl
//! hint-rl audit problems.jsonl --only references --write-usable usable.jsonl
//! hint-rl audit problems.jsonl --only hints --hint-column planning_1 --json --deny answer,blank
//! hint-rl audit problems.jsonl --model Qwen2.5-0.5B-Instruct --hint-column abstract_hint --hint-column direct_hint
//! hint-rl audit problems.jsonl --json > audit.json; hint-rl report --audit audit.json --html
//! ```
//!
//! Prints the reference answers that no completion could match, by reason and with examples. Counts hints by column:
//! blank ones, leaks of the answer or of the value of a step, and those with another answer. Prints five of each kind,
//! with the place; `--json` has all. Answers are compared by `[verifier]` of the configuration. With `--model`, a sample of the problems
//! is answered with and without hints: those of the columns, or of `rollout.source`. With `--json`, the same is one JSON
//! object, which `hint-rl report` shows as a page. Ends with exit code 1 if a reference is unusable, or a hint is of a
//! kind that `--deny` names. Takes about a second for ten thousand problems.

mod hints;
mod outcome;
mod references;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use hint_grpo::GrpoConfig;
use serde_json::json;

use self::hints::{Deny, Hints};
pub(crate) use self::hints::{HintCounts, hint_counts};
pub(crate) use self::outcome::{Measures, measures};
use self::references::References;
use self::trial::TrialOptions;
pub(crate) use self::trial::try_hints;
use crate::workload::{columns, problems_path, read_all};

/// Checks the reference answers and the hints of a problem file.
#[derive(Debug, Args)]
pub struct Options {
    /// Problems with `question`, `answer` and `abstract_hint`, and `solution` for the values of steps: a file, or
    /// `owner/name[@revision][:split]` on the Hugging Face Hub.
    file: PathBuf,
    /// Check only this.
    #[arg(long, value_enum)]
    only: Option<Subject>,
    /// Write the problems with a usable reference answer to this file.
    #[arg(long, value_name = "FILE.jsonl")]
    write_usable: Option<PathBuf>,
    /// The column of the problems that holds a field, where its name is unusual; as `hint-rl train` takes it.
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,
    /// Columns to look at in place of the hint; may be given several times.
    #[arg(long, value_name = "COLUMN")]
    hint_column: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Findings that make the exit code 1, beside an unusable reference; may be given several times.
    #[arg(long, value_enum, value_delimiter = ',')]
    deny: Vec<Deny>,
    /// A configuration. `[verifier]` of it counts; with --model also `[rollout.source]`, `[rollout.sampling]`,
    /// `rollout.group_size`, `[model]` and `[prompt]`.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Sets one key of the configuration, such as `verifier.equality.type=exact`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    trial: TrialOptions,
}

/// Checks to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// The reference answers.
    References,
    /// The hints.
    Hints,
}

/// Runs the command.
///
/// # Errors
///
/// Problems that cannot be read, a file that cannot be written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let (name, columns) = (&*options.file.to_string_lossy(), columns(&options.column)?);
    let config = options.read_config()?;
    let (problems, left_out) =
        read_all(&problems_path(name)?, &columns, config.data.max_dropped_frac)?;
    let wants = |subject| options.only.is_none_or(|only| only == subject);
    let references =
        wants(Subject::References).then(|| References::of(&problems, &config.verifier));
    let references = references.transpose()?;
    let hints = wants(Subject::Hints)
        .then(|| Hints::of(&problems, &options.hint_column, &config.verifier))
        .transpose()?;
    if !options.json {
        // First: a trial may take long, and fail.
        if let Some(references) = &references {
            references.print();
        }
        if let Some(hints) = &hints {
            hints.print();
        }
    }
    if let (Some(path), Some(references)) = (&options.write_usable, &references) {
        let count = references.write_usable(path)?;
        note!("{count} of {} problems written to {}", problems.len(), path.display());
    }
    let trial = options.trial.run(name, &columns, &options.hint_column, &config);
    let rows = trial.as_ref().ok().and_then(Option::as_deref);
    if options.json {
        let found = json!({
            "file": name, "problems": problems.len(), "left_out": left_out, "verifier": config.verifier,
            "references": references.as_ref().map(References::json), "hints": hints, "trial": rows,
        });
        say!("{}", serde_json::to_string_pretty(&found)?);
    } else if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
        say!("{}", trial::table(rows));
        say!("{}", trial::measures_table(rows));
    }
    trial?;
    let is_clean = left_out == 0
        && references.as_ref().is_none_or(References::is_clean)
        && !hints.as_ref().is_some_and(|hints| hints.has(&options.deny));
    Ok(ExitCode::from(u8::from(!is_clean)))
}

impl Options {
    fn read_config(&self) -> Result<GrpoConfig> {
        let text = self.config.as_ref().map_or_else(
            || Ok(String::new()),
            |path| {
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read `{}`", path.display()))
            },
        )?;
        Ok(GrpoConfig::from_toml_with(&text, self.set.iter().map(String::as_str))?)
    }
}

#[cfg(test)]
mod tests {
    use hint_reward::Level;
    use hint_reward::verifier::VerifierConfig;
    use hint_rollout::{Problem, read_problems};

    use super::*;

    fn options(args: &[&str]) -> Options {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            options: Options,
        }
        let args = std::iter::once("audit").chain(args.iter().copied());
        <Program as clap::Parser>::parse_from(args).options
    }

    #[test]
    fn a_hint_that_states_another_answer_is_found() {
        let hint = |hint: &str| Problem::new("a", "?", "34").with_hint(hint);
        let problems =
            [hint(r"It is \boxed{14}."), hint(r"\boxed{34}"), hint(r"add $7$ to $7$, \boxed{___}")];
        let lenient = VerifierConfig { level: Level::Lenient, ..VerifierConfig::default() };
        let hints = Hints::of(&problems, &[], &lenient).unwrap();
        let found = &json!(hints)["columns"][0];
        assert_eq!(found["wrong"].as_array().map(Vec::len), Some(1));
        assert_eq!(found["wrong"][0]["states"], "14");
        let level = json!({
            "level": "none", "problems": 3, "hints": 3, "leaking": 1, "answer": 1, "step": 0, "wrong": 1,
        });
        assert_eq!(found["levels"], json!([level]));
    }

    #[test]
    fn answers_are_compared_as_the_configuration_says() {
        // Sums in another order are equal by value, not by their characters.
        let problems = [Problem::new("a", "Factor it.", "x+1").with_hint(r"\boxed{1+x}")];
        let counts = |set: &str| {
            let config = options(&["p.jsonl", "--set", set]).read_config().unwrap();
            let found = json!(Hints::of(&problems, &[], &config.verifier).unwrap());
            let column = &found["columns"][0];
            (column["answer"].as_u64(), column["wrong"].as_array().map(Vec::len))
        };
        assert_eq!(counts("verifier.equality.type=math"), (Some(1), Some(0)));
        assert_eq!(counts("verifier.equality.type=exact"), (Some(0), Some(1)));
        let unreadable = [Problem::new("a", "?", r"\frac{1}{")];
        let is_clean = |set: &str| {
            let config = options(&["p.jsonl", "--set", set]).read_config().unwrap();
            References::of(&unreadable, &config.verifier).unwrap().is_clean()
        };
        assert!(!is_clean("verifier.level=strict") && is_clean("verifier.equality.type=exact"));
    }

    #[test]
    fn blank_hints_are_counted_by_column_and_denied() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.jsonl");
        let rows = [
            r#"{"id":"a","question":"?","answer":"1","weak":"","strong":"It is 1."}"#,
            r#"{"id":"b","question":"?","answer":"2","weak":"…","strong":"Add."}"#,
            r#"{"id":"c","question":"?","answer":"3","weak":"Think.","strong":null}"#,
        ];
        std::fs::write(&file, rows.join("\n")).unwrap();
        let file = file.to_string_lossy().into_owned();
        let both = [&file, "--hint-column", "weak", "--hint-column", "strong"];
        let problems = read_problems(std::path::Path::new(&file)).unwrap();
        let found = Hints::of(&problems, &options(&both).hint_column, &VerifierConfig::default());
        let found = json!(found.unwrap());
        let [weak, strong] = [0, 1].map(|column| &found["columns"][column]);
        assert_eq!((&weak["blank"], &weak["hints"]), (&json!(["a", "b"]), &json!(1)));
        assert_eq!((&strong["blank"], &strong["problems"]), (&json!(["c"]), &json!(3)));
        let code = |deny: &str| run(&options(&[&both[..], &["--deny", deny]].concat())).unwrap();
        assert_eq!(code("answer"), ExitCode::SUCCESS, "1 is too common to give anything away");
        assert_eq!(code("wrong,blank"), ExitCode::from(1));
        assert_eq!(code("any"), ExitCode::from(1));
    }

    #[test]
    fn unusable_references_end_with_1_and_the_usable_problems_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, usable) = (folder.path().join("all.jsonl"), folder.path().join("usable.jsonl"));
        let rows = [
            r#"{"id":"a","question":"?","answer":["1/2","0.5"],"level":3,"topic":"x"}"#,
            r#"{"id":"b","question":"?","answer":"\\frac{1}{"}"#,
            r#"{"id":"c","question":"?","answer":["\\frac{1}{","7"]}"#,
            r#"{"id":"d","question":"?","answer":"\frac{3}{4}"}"#,
        ];
        std::fs::write(&file, rows.join("\n")).unwrap();
        let options = Options { file, write_usable: Some(usable.clone()), ..options(&["p.jsonl"]) };
        assert_eq!(run(&options).unwrap(), ExitCode::from(1));
        // So does a row that cannot be read; one is an error where none may be left out.
        let text = [rows[0], r#"{"id":"e","question":"?"}"#].join("\n");
        let file = folder.path().join("damaged.jsonl");
        std::fs::write(&file, text).unwrap();
        let damaged = |set: &[&str]| {
            let args = [&["p.jsonl", "--only", "hints"], set].concat();
            run(&Options { file: file.clone(), ..self::options(&args) })
        };
        assert_eq!(damaged(&[]).unwrap(), ExitCode::from(1));
        assert!(damaged(&["--set", "data.max_dropped_frac=0"]).is_err());
        let kept = read_problems(&usable).unwrap();
        let ids: Vec<_> = kept.iter().map(|problem| problem.id.as_str()).collect();
        assert_eq!(ids, ["a", "c", "d"]);
        assert_eq!(kept[0], read_problems(&options.file).unwrap()[0]);
        let problems = read_problems(&options.file).unwrap();
        let found = References::of(&problems, &VerifierConfig::default()).unwrap().json();
        assert_eq!((&found["checked"], &found["repaired"][0]["problem"]), (&json!(6), &json!("d")));
        assert_eq!(found["unusable"][0]["problem"], "b");
        let table = References::of(&problems, &VerifierConfig::default()).unwrap().table();
        assert!(table.contains("b: `\\frac{1}{`"), "a row has the id of its problem: {table}");
        let words = [Problem::new("w", "?", "proof"), Problem::new("x", "?", "9%")];
        let found = References::of(&words, &VerifierConfig::default()).unwrap();
        assert_eq!(found.json()["words_only"], json!([{"problem": "w", "reference": "proof"}]));
        assert!(
            found.is_clean()
                && found.table().contains("| usable, word for word only | 1 | 50.0 % | w: ")
        );
        assert_eq!(
            run(&Options { file: usable, write_usable: None, ..options }).unwrap(),
            ExitCode::from(1)
        );
    }
}
