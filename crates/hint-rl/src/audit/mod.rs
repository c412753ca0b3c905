//! `hint-rl audit`: checks the reference answers and the hints of a problem file.
//!
//! ```text
//! hint-rl audit problems.jsonl
//! hint-rl audit problems.jsonl --only references --write-usable usable.jsonl
//! hint-rl audit problems.jsonl --only hints --hint-column planning_1 --json --deny answer
//! hint-rl audit problems.jsonl --model Qwen2.5-0.5B-Instruct --hint-column abstract_hint --hint-column direct_hint
//! ```
//!
//! Prints the reference answers that no completion could match, by reason and with examples. Prints each hint that
//! gives the answer or the value of a step away, with the place, or states another answer. With `--model`, a sample of
//! the problems is answered with and without hints. With `--json`, the same as one JSON object. Ends with exit code 1
//! if a reference is unusable, or a hint leaks a kind that `--deny` names. Takes about a second for ten thousand
//! problems.

mod hints;
mod references;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;

use self::hints::{Deny, Leaks};
use self::references::References;
use self::trial::TrialOptions;
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
    /// Leaks that make the exit code 1.
    #[arg(long, value_enum, default_value = "none")]
    deny: Deny,
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
    let problems = read_all(&problems_path(name)?, &columns)?;
    let wants = |subject| options.only.is_none_or(|only| only == subject);
    let references = wants(Subject::References).then(|| References::of(&problems));
    let leaks =
        wants(Subject::Hints).then(|| Leaks::of(&problems, &options.hint_column)).transpose()?;
    let trial = options.trial.run(name, &columns, &options.hint_column)?;
    if options.json {
        let found = json!({ "references": references.as_ref().map(References::json), "hints": leaks, "trial": trial });
        say!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        if let Some(references) = &references {
            references.print();
        }
        if let Some(leaks) = &leaks {
            leaks.print();
        }
        if let Some(rows) = &trial {
            say!("{}", trial::table(rows));
        }
    }
    if let (Some(path), Some(references)) = (&options.write_usable, &references) {
        let count = references.write_usable(path)?;
        note!("{count} of {} problems written to {}", problems.len(), path.display());
    }
    let is_clean = references.as_ref().is_none_or(References::is_clean)
        && !leaks.as_ref().is_some_and(|leaks| leaks.has(options.deny));
    Ok(ExitCode::from(u8::from(!is_clean)))
}

#[cfg(test)]
mod tests {
    use hint_rollout::{Problem, read_problems};

    use super::*;

    fn trial(args: &[&str]) -> TrialOptions {
        #[derive(clap::Parser)]
        struct Options {
            #[command(flatten)]
            trial: TrialOptions,
        }
        let args = std::iter::once("audit").chain(args.iter().copied());
        <Options as clap::Parser>::parse_from(args).trial
    }

    #[test]
    fn a_hint_that_states_another_answer_is_found() {
        let hint = |hint: &str| Problem::new("a", "?", "34").with_hint(hint);
        let problems = [hint(r"It is \boxed{14}."), hint(r"\boxed{34}"), hint("add 7 and 7")];
        let found = json!(Leaks::of(&problems, &[]).unwrap());
        assert_eq!(found["wrong"].as_array().map(Vec::len), Some(1));
        assert_eq!(found["wrong"][0]["states"], "14");
        assert_eq!(found["levels"]["none"], json!({ "problems": 3, "hints": 3 }));
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
        let options = Options {
            file,
            only: None,
            write_usable: Some(usable.clone()),
            column: Vec::new(),
            hint_column: Vec::new(),
            json: false,
            deny: Deny::None,
            trial: trial(&[]),
        };
        assert_eq!(run(&options).unwrap(), ExitCode::from(1));
        let kept = read_problems(&usable).unwrap();
        let ids: Vec<_> = kept.iter().map(|problem| problem.id.as_str()).collect();
        assert_eq!(ids, ["a", "c", "d"]);
        assert_eq!(kept[0], read_problems(&options.file).unwrap()[0]);
        let problems = read_problems(&options.file).unwrap();
        let found = References::of(&problems).json();
        assert_eq!((&found["checked"], &found["repaired"][0]["problem"]), (&json!(6), &json!("d")));
        assert_eq!(found["unusable"][0]["problem"], "b");
        assert_eq!(
            run(&Options { file: usable, write_usable: None, ..options }).unwrap(),
            ExitCode::from(1)
        );
    }
}
