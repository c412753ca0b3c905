//! Affinity of an update of another trainer, from a dump of its log-probabilities.
//!
//! ```text
//! cargo run --release -p hint-affinity --example affinity_report -- DUMP [CLIP_LOW CLIP_HIGH]
//! ```
//!
//! The dump is JSON Lines or Parquet. Each line or row is a completion. It has `logprobs` and `old_logprobs` (lists,
//! nats) and `advantages` (a number, or one per token). Optional are `mask` (false or 0 where a token does not train),
//! `group` and `source`. Prints EUR, UC and Affinity of all tokens, of each source and of each group. With further
//! columns it prints the rivals of Affinity too (`docs/compatibility.md`). `docs/affinity.md` shows how to write a dump
//! from TRL. Needs no libtorch.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of a program")]

mod dump;
mod error;
mod records;

use std::path::Path;
use std::process::ExitCode;

use hint_affinity::{AffinityAccumulator, ClipRange};

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
    let mut tables = vec![("all".to_owned(), &report.all)];
    for (title, parts) in [("source", &report.sources), ("group", &report.groups)] {
        tables.extend(parts.iter().map(|(name, table)| (format!("{title} {name}"), table)));
    }
    for (name, table) in &tables {
        print(name, table);
    }
    print_compatibility(&tables);
    Ok(())
}

/// The rivals of Affinity, where rows have the columns for them.
fn print_compatibility(tables: &[(String, &Table)]) {
    let all = tables[0].1;
    if all.behavior.tokens() + all.teacher.tokens() + all.fit.positions() == 0 {
        return;
    }
    println!(
        "\n{:<24} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "behavior", "teacher", "reliance", "gap", "off-ctx", "overlap", "teachab."
    );
    let affinity =
        |tokens: &AffinityAccumulator| (tokens.tokens() > 0).then(|| tokens.affinity().value());
    for (name, table) in tables {
        let measures = [
            affinity(&table.behavior),
            affinity(&table.teacher),
            table.transfer.hint_reliance(),
            table.transfer.gap(),
            table.transfer.off_context_weight(),
            table.fit.overlap(),
            table.fit.teachability(),
        ];
        let cells = measures.map(|measure| match measure {
            Some(value) => format!("{value:>9.4}"),
            None => format!("{:>9}", "-"),
        });
        println!("{name:<24} {}", cells.join(" "));
    }
    if all.unjudged > 0 {
        println!(
            "\n{} rows have no `correct`: reliance, gap and off-ctx leave them out.",
            all.unjudged
        );
    }
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
