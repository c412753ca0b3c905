//! Affinity of an update of another trainer, from a dump of its log-probabilities.
//!
//! ```text
//! cargo run --release -p hint-affinity --example affinity_report -- DUMP [CLIP_LOW CLIP_HIGH]
//! ```
//!
//! The dump is JSON Lines or Parquet. Each line or row is a completion: `logprobs` and `old_logprobs` (lists, nats),
//! `advantages` (a number, or one per token), and optionally `mask` (false or 0 where a token does not train), `group`
//! and `source`. Prints EUR, UC and Affinity of all tokens, of each source and of each group.
//! `docs/affinity.md` shows how to write one from TRL. Needs no libtorch.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of a program")]

mod dump;
mod error;
mod records;

use std::path::Path;
use std::process::ExitCode;

use hint_affinity::ClipRange;

use crate::dump::{Report, Table};

const USAGE: &str = "usage: affinity_report DUMP [CLIP_LOW CLIP_HIGH]   (JSON Lines or Parquet; both clips 0.2 by default)";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let (file, clip) = match arguments {
        [file] => (file, ClipRange::symmetric(0.2)?),
        [file, low, high] => {
            let number = |text: &String| {
                text.parse::<f64>().map_err(|_| format!("`{text}` is not a number; {USAGE}"))
            };
            (file, ClipRange::new(number(low)?, number(high)?)?)
        }
        _ => return Err(USAGE.into()),
    };
    let report = Report::read(Path::new(file), clip)?;
    println!("{:<24} {:>8} {:>9} {:>9} {:>9} {:>9}", "", "rows", "tokens", "EUR", "UC", "Affinity");
    print("all", &report.all);
    for (title, tables) in [("source", &report.sources), ("group", &report.groups)] {
        for (name, table) in tables {
            print(&format!("{title} {name}"), table);
        }
    }
    Ok(())
}

fn print(name: &str, table: &Table) {
    let affinity = table.tokens.affinity();
    println!(
        "{name:<24} {:>8} {:>9} {:>9.4} {:>9.4} {:>9.4}",
        table.rows,
        table.tokens.tokens(),
        affinity.eur(),
        affinity.uc(),
        affinity.value()
    );
}
