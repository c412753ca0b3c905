//! Checks every reference answer of a data set before training on it.
//!
//! `cargo run --example audit_rewards -- FILE.jsonl [FIELD]`
//!
//! Each line is an object with the reference answer in `answer`, `gold`, `reference` or FIELD. Prints one line for each
//! unusable row, with the line number and the reason, then a summary. Exits with 1 if there is any, with 2 if the file
//! cannot be read. Ten thousand references take about a second.

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
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: audit_rewards FILE.jsonl [FIELD]")?;
    let fields: Vec<String> = match arguments.next() {
        Some(field) => vec![field],
        None => ["answer", "gold", "reference"].map(ToOwned::to_owned).to_vec(),
    };
    let bytes = std::fs::read(&path).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    let verifier = MathVerifier::new();
    let mut out = std::io::stdout().lock();
    let (mut checked, mut unusable) = (0_usize, 0_usize);
    for (line, row) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if row.trim_ascii().is_empty() {
            continue;
        }
        checked += 1;
        let problem = match reference(row, &fields) {
            Ok(reference) => verifier
                .audit_reference(&reference)
                .map(|finding| format!("`{reference}` {finding}")),
            Err(reason) => Some(reason),
        };
        if let Some(problem) = problem {
            unusable += 1;
            writeln!(out, "{path}:{}: {problem}", line + 1).map_err(|error| error.to_string())?;
        }
    }
    let summary = match unusable {
        0 => format!("audit: {checked} references, all usable"),
        _ => format!("audit: {unusable} of {checked} references are unusable"),
    };
    writeln!(out, "{summary}").map_err(|error| error.to_string())?;
    Ok(unusable == 0)
}

/// The reference answer of one row, or why it has none.
fn reference(row: &[u8], fields: &[String]) -> Result<String, String> {
    let row: Value =
        serde_json::from_slice(row).map_err(|error| format!("the row is no JSON: {error}"))?;
    let found = fields.iter().find_map(|field| match &row[field.as_str()] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    found.ok_or_else(|| format!("none of the fields {fields:?} is a string or a number"))
}
