//! `counts`: the instructions of the hot paths on a CPU, as callgrind counts them, against a table of bounds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use toml::Value;

use crate::process::{build, quiet, read, scratch};
use hint_libtorch::Host;

const TABLE: &str = "device/instructions.toml";

/// The program with the cases, and the function in which they are counted.
const PROGRAM: &str = "hint-device";
const SECTION: &str = "*counted_section*";

/// Counts below this share of their bound can lower it.
const SLACK: f64 = 0.95;
/// What a count may differ from host to host.
const NOISE: f64 = 1.02;

/// Counts every case, and fails where one is above its bound. Without valgrind, it says so. With `bless` the counts become
/// the bounds.
pub(crate) fn run(host: &Host, args: &[OsString]) -> Result<()> {
    let blesses = match args {
        [] => false,
        [word] if word == "bless" => true,
        _ => bail!("`counts` takes `bless` or nothing"),
    };
    hint_libtorch::setup(host)?;
    if let Some(reason) = reason_to_skip() {
        ensure!(!blesses, "instructions cannot be counted here: {reason}");
        eprintln!("instructions are not counted here: {reason}");
        return Ok(());
    }
    let programs = build(host, &["--bin", PROGRAM])?;
    let program = programs.get(PROGRAM).context("cargo built the program")?;
    let started = Instant::now();
    let counts = count(program)?;
    let table = host.repo.join(TABLE);
    let text = read(&table)?;
    if blesses {
        std::fs::write(&table, blessed(&text, &counts))
            .with_context(|| format!("cannot write `{TABLE}`"))?;
        eprintln!("wrote the counts of {} cases into `{TABLE}`", counts.len());
        return Ok(());
    }
    let bounds = toml::from_str(&text).with_context(|| format!("`{TABLE}` is not a table"))?;
    let report = compare(&counts, &bounds);
    for line in &report.lines {
        eprintln!("{line}");
    }
    eprintln!("counts: {} s", started.elapsed().as_secs());
    ensure!(
        report.broken == 0,
        "{} cases are above their bound in `{TABLE}`, or have none; make them cheaper, or make these counts the bounds \
         with `cargo xtask counts -- bless` and give the reason in the commit",
        report.broken
    );
    Ok(())
}

/// The table with the counts as bounds, below the comment at its top.
fn blessed(text: &str, counts: &[(String, u64)]) -> String {
    let comment = text.lines().take_while(|line| line.starts_with('#')).map(str::to_owned);
    let bounds = counts.iter().map(|(name, count)| format!("{} = {count}", Value::from(&**name)));
    comment.chain(bounds).map(|line| line + "\n").collect()
}

/// Valgrind shows a program AVX2, where the processor has it. The bounds are those of its kernels.
fn reason_to_skip() -> Option<&'static str> {
    let mut valgrind = Command::new("valgrind");
    let found = valgrind.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        return Some("valgrind is not installed");
    }
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    (!processor.contains(" avx2 ")).then_some("the processor has no AVX2")
}

/// The cases in the order in which they ran, with their instructions.
fn count(program: &Path) -> Result<Vec<(String, u64)>> {
    let scratch = scratch()?;
    let file = scratch.path().join("counts");
    let mut run = Command::new("valgrind");
    run.args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={SECTION}"))
        .arg(format!("--dump-after={SECTION}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--device", "cpu", "instructions"]);
    let printed = quiet(&mut run)?;
    let names = printed.lines().map(str::to_owned);
    names
        .zip(1..)
        .map(|(name, dump)| {
            let path = scratch.path().join(format!("counts.{dump}"));
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("callgrind wrote nothing for `{name}`"))?;
            let count = total(&text).with_context(|| format!("no count of `{name}`"))?;
            Ok((name, count))
        })
        .collect()
}

/// The number of a file of callgrind.
fn total(text: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let line = line.or_else(|| text.lines().find_map(|line| line.strip_prefix("summary:")));
    match line.and_then(|line| line.split_whitespace().next()).map(str::parse) {
        Some(Ok(count)) if count > 0 => Ok(count),
        _ => bail!("callgrind counted nothing"),
    }
}

struct Report {
    lines: Vec<String>,
    /// Cases above their bound, without one, or that did not run.
    broken: usize,
}

fn compare(counts: &[(String, u64)], bounds: &BTreeMap<String, u64>) -> Report {
    let mut report = Report { lines: Vec::new(), broken: 0 };
    for (name, count) in counts {
        let bound = bounds.get(name).copied();
        let (verdict, is_broken) = match bound {
            None => ("has no bound", true),
            Some(bound) if *count as f64 > bound as f64 * NOISE => ("is above its bound", true),
            Some(bound) if (*count as f64) < bound as f64 * SLACK => {
                ("is below; lower the bound", false)
            }
            Some(_) => ("", false),
        };
        report.broken += usize::from(is_broken);
        let bound = bound.map_or_else(String::new, |bound| bound.to_string());
        report.lines.push(format!("{name:56} {count:>12} {bound:>12} {verdict}"));
    }
    let ran = |name: &String| counts.iter().any(|(counted, _)| counted == name);
    for name in bounds.keys().filter(|name| !ran(name)) {
        report.broken += 1;
        report.lines.push(format!("{name:56} did not run"));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_above_their_bound_are_broken_and_those_below_are_told() {
        let counts = [("a", 103), ("b", 100), ("c", 94), ("d", 1)];
        let counts = counts.map(|(name, count)| (name.to_owned(), count));
        let bounds = [("a", 100), ("b", 100), ("c", 100), ("e", 5)];
        let bounds = bounds.map(|(name, bound)| (name.to_owned(), bound)).into();
        let report = compare(&counts, &bounds);
        let verdicts = ["is above its bound", "100", "is below; lower the bound", "has no bound"];
        for (line, verdict) in report.lines.iter().zip(verdicts) {
            assert!(line.trim_end().ends_with(verdict), "{line}");
        }
        assert!(report.lines[4].starts_with("e ") && report.lines[4].ends_with("did not run"));
        assert_eq!(report.broken, 3);
    }

    #[test]
    fn blessed_counts_are_the_bounds() {
        let counts = [("step, \"f32\"".to_owned(), 7), ("a".to_owned(), 1)];
        let text = blessed("# About\n# it.\n\nold = 3\n", &counts);
        assert!(text.starts_with("# About\n# it.\n"), "{text}");
        let bounds = toml::from_str(&text).unwrap();
        assert_eq!(compare(&counts, &bounds).broken, 0);
    }

    #[test]
    fn a_file_without_instructions_is_an_error() {
        assert_eq!(total("events: Ir\ntotals: 42\n").unwrap(), 42);
        assert_eq!(total("events: Ir\nsummary: 7\n").unwrap(), 7);
        for text in ["", "totals: 0\n", "totals: x\n"] {
            assert!(total(text).is_err(), "{text}");
        }
    }
}
