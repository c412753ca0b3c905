//! Checks every reference answer of a data set before training on it.
//!
//! `cargo run --example audit_rewards -- FILE.jsonl [FIELD] [--usable OUT.jsonl]`
//!
//! Each line is an object with the reference answer in `answer`, `gold`, `reference` or FIELD. Prints the unusable rows
//! by reason, with their number and examples, then a summary, and writes the usable rows to OUT. Exits with 1 if a row
//! is unusable, with 2 if a file cannot be read or written. Ten thousand references take about a second.

use std::io::Write;
use std::process::ExitCode;

use hint_reward::MathVerifier;
use serde_json::Value;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            // Without a terminal to write to there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "audit_rewards: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether every row is usable.
fn run() -> Result<bool, String> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut usable = None;
    if let Some(at) = arguments.iter().position(|argument| argument == "--usable") {
        usable = arguments.get(at + 1).cloned();
        arguments.drain(at..arguments.len().min(at + 2));
    }
    let mut arguments = arguments.into_iter();
    let path =
        arguments.next().ok_or("usage: audit_rewards FILE.jsonl [FIELD] [--usable OUT.jsonl]")?;
    let fields: Vec<String> = match arguments.next() {
        Some(field) => vec![field],
        None => ["answer", "gold", "reference"].map(ToOwned::to_owned).to_vec(),
    };
    let bytes = std::fs::read(&path).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    let rows: Vec<&[u8]> =
        bytes.split(|byte| *byte == b'\n').filter(|row| !row.trim_ascii().is_empty()).collect();
    // A row without an answer has an empty one.
    let references = rows.iter().map(|row| reference(row, &fields).unwrap_or_default());
    let report = MathVerifier::new().audit(references);
    let mut out = std::io::stdout().lock();
    let table = if report.is_clean() { String::new() } else { report.table() };
    writeln!(out, "{table}{}", report.summary()).map_err(|error| error.to_string())?;
    if let Some(path) = usable {
        let kept = rows.iter().enumerate().filter(|(index, _)| report.is_usable(*index));
        let kept: Vec<&[u8]> = kept.flat_map(|(_, row)| [row, &b"\n"[..]]).collect();
        std::fs::write(&path, kept.concat())
            .map_err(|error| format!("cannot write `{path}`: {error}"))?;
    }
    Ok(report.is_clean())
}

/// The reference answer of one row, if it has one.
fn reference(row: &[u8], fields: &[String]) -> Option<String> {
    let row: Value = serde_json::from_slice(row).ok()?;
    fields.iter().find_map(|field| match &row[field.as_str()] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}
