//! Judges the pairs of a JSON-lines file with the mathematical verifier.
//!
//! `cargo run --release -p hint-reward --example verify_pairs -- FILE.jsonl [strict|lenient]`
//!
//! Each line of the file has `gold` and `answer`, and optionally `equal` (the expected verdict) and `kind`. Prints one
//! line per pair, `{"index":0,"verdict":"correct","extracted":"9","micros":12.3}`, and a last line with totals. These
//! are the number of each verdict and the time. With `equal`, they include accuracy and errors of both kinds. A line
//! that is no such pair gets the verdict `error` and a `reason`, and counts in no total but `unreadable`. Takes a few
//! milliseconds for a few hundred pairs.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::time::Instant;

use hint_reward::{MathVerifier, RewardInput, Verifier};
use serde_json::{Value, json};

/// Totals of a file of pairs.
#[derive(Default)]
struct Totals {
    verdicts: BTreeMap<&'static str, usize>,
    micros: Vec<f64>,
    unreadable: usize,
    labeled: usize,
    false_positives: usize,
    false_negatives: usize,
}

impl Totals {
    fn record(mut self) -> Value {
        self.micros.sort_by(f64::total_cmp);
        let pairs = self.micros.len();
        let total: f64 = self.micros.iter().sum();
        let mut record = json!({
            "pairs": pairs,
            "unreadable": self.unreadable,
            "verdicts": self.verdicts,
            "micros_total": total,
            "micros_median": self.micros.get(pairs / 2),
            "micros_max": self.micros.last(),
            "pairs_per_second": pairs as f64 / (total / 1e6).max(1e-9),
        });
        if self.labeled > 0 {
            let errors = self.false_positives + self.false_negatives;
            record["accuracy"] = json!(1.0 - errors as f64 / self.labeled as f64);
            record["false_positives"] = json!(self.false_positives);
            record["false_negatives"] = json!(self.false_negatives);
        }
        record
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: verify_pairs FILE.jsonl [strict|lenient]")?;
    let verifier = match std::env::args().nth(2).as_deref() {
        None | Some("lenient") => MathVerifier::new(),
        Some("strict") => MathVerifier::strict(),
        Some(other) => return Err(format!("no level `{other}`: strict or lenient").into()),
    };
    let bytes = std::fs::read(&path).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut totals = Totals::default();
    let rows = bytes.split(|byte| *byte == b'\n').filter(|row| !row.trim_ascii().is_empty());
    for (index, row) in rows.enumerate() {
        let pair = match Pair::read(row) {
            Ok(pair) => pair,
            Err(reason) => {
                totals.unreadable += 1;
                let record = json!({
                    "index": index, "verdict": "error", "extracted": null, "micros": 0.0, "reason": reason,
                });
                writeln!(out, "{record}")?;
                continue;
            }
        };
        let (judgment, micros) =
            timed(|| verifier.verify(&RewardInput::new(&pair.answer, &pair.gold)));
        if let Some(equal) = pair.equal {
            let correct = judgment.verdict.is_correct();
            totals.labeled += 1;
            totals.false_positives += usize::from(correct && !equal);
            totals.false_negatives += usize::from(!correct && equal);
        }
        totals.micros.push(micros);
        *totals.verdicts.entry(judgment.verdict.name()).or_default() += 1;
        let micros = (micros * 10.0).round() / 10.0;
        let record = json!({
            "index": index, "verdict": judgment.verdict, "extracted": judgment.extracted, "micros": micros,
        });
        writeln!(out, "{record}")?;
    }
    writeln!(out, "{}", totals.record())?;
    Ok(())
}

/// One line of the file.
struct Pair {
    gold: String,
    answer: String,
    equal: Option<bool>,
}

impl Pair {
    fn read(row: &[u8]) -> Result<Self, String> {
        let row: Value =
            serde_json::from_slice(row).map_err(|error| format!("no JSON: {error}"))?;
        let field = |name: &str| match &row[name] {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(format!("`{name}` is no string")),
        };
        Ok(Self { gold: field("gold")?, answer: field("answer")?, equal: row["equal"].as_bool() })
    }
}

/// A result and the microseconds it took.
#[expect(clippy::disallowed_methods, reason = "the example measures; the library reads no clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64() * 1e6)
}
