//! Checks every reference answer of a data set before training on it.
//!
//! `cargo run --example audit_rewards -- FILE.jsonl [FIELD]`
//!
//! Each line is an object with the reference answer in `answer`, `gold`, `reference` or FIELD. Prints one line for each
//! unusable reference, with the line number and the reason, then a summary. Exits with 1 if there is any, with 2 if the
//! file cannot be read. Ten thousand references take about a second.

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

/// Whether every reference is usable.
fn run() -> Result<bool, String> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: audit_rewards FILE.jsonl [FIELD]")?;
    let fields: Vec<String> = match arguments.next() {
        Some(field) => vec![field],
        None => ["answer", "gold", "reference"].map(ToOwned::to_owned).to_vec(),
    };
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    let mut lines = Vec::new();
    let mut references = Vec::new();
    for (line, row) in text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
        let row: Value =
            serde_json::from_str(row).map_err(|error| format!("{path}:{}: {error}", line + 1))?;
        let reference = fields.iter().find_map(|field| match &row[field.as_str()] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let wanted = || {
            format!("{path}:{}: none of the fields {fields:?} is a string or a number", line + 1)
        };
        references.push(reference.ok_or_else(wanted)?);
        lines.push(line + 1);
    }
    let report = MathVerifier::new().audit(&references);
    let mut out = std::io::stdout().lock();
    for (index, reference, finding) in &report.findings {
        writeln!(out, "{path}:{}: `{reference}` {finding}", lines[*index])
            .map_err(|error| error.to_string())?;
    }
    writeln!(out, "{}", report.summary()).map_err(|error| error.to_string())?;
    Ok(report.is_clean())
}
