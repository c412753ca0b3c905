//! Judges the pairs of a JSON-lines file with the mathematical verifier.
//!
//! `cargo run --release -p hint-reward --example verify_pairs -- FILE.jsonl`
//!
//! Each line of the file has `gold` and `answer`, and optionally `equal` (what the verdict should be) and `kind`.
//! Prints one line per pair, `{"index":0,"verdict":"correct","extracted":"9","micros":12.3}`, and a last line with
//! totals: how many of each verdict, time, and, where `equal` is given, accuracy and errors of both kinds. Takes a few
//! milliseconds for a few hundred pairs.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::time::Instant;

use hint_reward::{MathVerifier, RewardInput, Verifier};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: verify_pairs FILE.jsonl")?;
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let verifier = MathVerifier::new();
    let mut verdicts = BTreeMap::<&str, usize>::new();
    let mut times = Vec::new();
    let (mut labeled, mut right, mut false_positives, mut false_negatives) =
        (0_usize, 0_usize, 0_usize, 0_usize);
    for (line, row) in text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
        let at = |what: &str| format!("{path}:{}: {what}", line + 1);
        let row: Value = serde_json::from_str(row).map_err(|error| at(&error.to_string()))?;
        let field =
            |name: &str| row[name].as_str().ok_or_else(|| at(&format!("`{name}` is not a string")));
        let (gold, answer) = (field("gold")?, field("answer")?);
        let (judgment, micros) = timed(|| verifier.verify(&RewardInput::new(answer, gold)));
        if let Some(equal) = row["equal"].as_bool() {
            let correct = judgment.verdict.is_correct();
            labeled += 1;
            right += usize::from(correct == equal);
            false_positives += usize::from(correct && !equal);
            false_negatives += usize::from(!correct && equal);
        }
        let index = times.len();
        times.push(micros);
        *verdicts.entry(judgment.verdict.name()).or_default() += 1;
        let micros = (micros * 10.0).round() / 10.0;
        let record = json!({
            "index": index, "verdict": judgment.verdict, "extracted": judgment.extracted, "micros": micros,
        });
        writeln!(out, "{record}")?;
    }
    times.sort_by(f64::total_cmp);
    let total: f64 = times.iter().sum();
    let mut totals = json!({
        "pairs": times.len(),
        "verdicts": verdicts,
        "micros_total": total,
        "micros_median": times.get(times.len() / 2),
        "micros_max": times.last(),
        "pairs_per_second": times.len() as f64 / (total / 1e6).max(1e-9),
    });
    if labeled > 0 {
        totals["accuracy"] = json!(right as f64 / labeled as f64);
        totals["false_positives"] = json!(false_positives);
        totals["false_negatives"] = json!(false_negatives);
    }
    writeln!(out, "{totals}")?;
    Ok(())
}

/// A result and the microseconds it took.
#[expect(clippy::disallowed_methods, reason = "the example measures; the library reads no clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64() * 1e6)
}
