//! `counts`: the instructions of the hot paths on a CPU, as callgrind counts them, against a table of bounds.
//!
//! The table names the processor and the valgrind that counted. There, a count above its bound fails. Elsewhere libraries may
//! choose other kernels, so a count that is far above is reported, and does not fail.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use toml::{Table, Value};

use crate::process::{build, quiet, read, scratch};
use hint_libtorch::Host;

const TABLE: &str = "device/instructions.toml";

/// The program with the cases, and the function in which they are counted.
const PROGRAM: &str = "hint-device";
const SECTION: &str = "*counted_section*";

/// Counts below this share of their bound can lower it.
const SLACK: f64 = 0.95;
/// What a count may differ from run to run where the bounds were counted.
const NOISE: f64 = 1.02;
/// What it may differ on another processor, or under another valgrind, before that is reported.
const ELSEWHERE: f64 = 1.10;

/// Counts every case, and fails where one is above its bound. Where nothing can be counted, it says so. With `bless` the
/// counts become the bounds.
pub(crate) fn run(host: &Host, args: &[OsString]) -> Result<()> {
    let blesses = match args {
        [] => false,
        [word] if word == "bless" => true,
        _ => bail!("`counts` takes `bless` or nothing"),
    };
    hint_libtorch::setup(host)?;
    let path = host.repo.join(TABLE);
    let text = read(&path)?;
    let bounds = Bounds::parse(&text)?;
    let here = match Place::here() {
        Ok(here) => here,
        Err(reason) => {
            ensure!(!blesses, "instructions cannot be counted here: {reason}");
            eprintln!("instructions are not counted here: {reason}");
            return Ok(());
        }
    };
    let is_home = bounds.counted.as_ref() == Some(&here);
    let programs = build(host, &["--bin", PROGRAM])?;
    let program = programs.get(PROGRAM).context("cargo built the program")?;
    let started = Instant::now();
    let counts = match count(program) {
        Ok(counts) => counts,
        // Valgrind may lack an instruction of this processor.
        Err(error) if !(blesses || is_home || bounds.counted.is_none()) => {
            eprintln!("instructions are not counted here: {error:#}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if blesses {
        std::fs::write(&path, blessed(&text, &here, &counts))
            .with_context(|| format!("cannot write `{TABLE}`"))?;
        eprintln!("wrote the counts of {} cases into `{TABLE}`", counts.len());
        return Ok(());
    }
    let report = compare(&counts, &bounds.of, is_home);
    for line in &report.lines {
        eprintln!("{line}");
    }
    if let (Some(counted), false) = (&bounds.counted, is_home) {
        eprintln!(
            "counts: the bounds are of {counted}, this is {here}; none above its bound fails"
        );
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

/// As a part of the gate: says so where there are no bounds yet.
pub(crate) fn check(host: &Host) -> Result<()> {
    if Bounds::parse(&read(&host.repo.join(TABLE))?)?.of.is_empty() {
        eprintln!("instructions are not bounded: `{TABLE}` holds no counts");
        return Ok(());
    }
    run(host, &[])
}

/// The table.
#[derive(Debug, Default)]
struct Bounds {
    /// Where they were counted; nothing in a table without bounds.
    counted: Option<Place>,
    /// By case.
    of: BTreeMap<String, u64>,
}

impl Bounds {
    fn parse(text: &str) -> Result<Self> {
        let table = text.parse::<Table>().with_context(|| format!("`{TABLE}` is no TOML"))?;
        let mut bounds = Self::default();
        if let Some(counted) = table.get("counted") {
            let field = |name: &str| {
                let text = counted.get(name).and_then(Value::as_str);
                let text = text.with_context(|| format!("`{TABLE}` lacks `counted.{name}`"))?;
                Ok::<_, anyhow::Error>(text.to_owned())
            };
            let (processor, valgrind) = (field("processor")?, field("valgrind")?);
            bounds.counted = Some(Place { processor, valgrind });
        }
        for (name, bound) in table.get("bounds").and_then(Value::as_table).into_iter().flatten() {
            let bound = bound.as_integer().and_then(|bound| u64::try_from(bound).ok());
            let bound = bound.with_context(|| format!("`{TABLE}`: `{name}` is no count"))?;
            bounds.of.insert(name.clone(), bound);
        }
        Ok(bounds)
    }
}

/// The table with the counts as bounds, below the comment at its top.
fn blessed(text: &str, here: &Place, counts: &[(String, u64)]) -> String {
    let value = |text: &str| Value::from(text).to_string();
    let comment = text.lines().take_while(|line| line.starts_with('#')).map(str::to_owned);
    let place = [
        String::new(),
        "[counted]".to_owned(),
        format!("processor = {}", value(&here.processor)),
        format!("valgrind = {}", value(&here.valgrind)),
        String::new(),
        "[bounds]".to_owned(),
    ];
    let bounds = counts.iter().map(|(name, count)| format!("{} = {count}", value(name)));
    comment.chain(place).chain(bounds).map(|line| line + "\n").collect()
}

/// Where instructions are counted: the name of the processor, and the version of valgrind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    processor: String,
    valgrind: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {}", self.processor, self.valgrind)
    }
}

impl Place {
    /// This machine, or why nothing can be counted here. Valgrind shows a program AVX2, where the processor has it. The
    /// bounds are those of its kernels.
    fn here() -> Result<Self, &'static str> {
        let mut valgrind = Command::new("valgrind");
        let found = valgrind.arg("--version").stderr(Stdio::null()).output();
        let found = found.ok().filter(|found| found.status.success());
        let version = found.ok_or("valgrind is not installed")?.stdout;
        let valgrind = String::from_utf8_lossy(&version).trim().to_owned();
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_once(':').map(|(_, value)| value.trim())
        };
        if !field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "avx2")) {
            return Err("the processor has no AVX2");
        }
        Ok(Self { processor: field("model name").unwrap_or_default().to_owned(), valgrind })
    }
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
    /// Cases above their bound where it was counted, without one, or that did not run.
    broken: usize,
}

/// Compares with the bounds. `is_home`: where they were counted.
fn compare(counts: &[(String, u64)], bounds: &BTreeMap<String, u64>, is_home: bool) -> Report {
    let tolerance = if is_home { NOISE } else { ELSEWHERE };
    let mut report = Report { lines: Vec::new(), broken: 0 };
    for (name, count) in counts {
        let bound = bounds.get(name).copied();
        let (verdict, is_broken) = match bound {
            None => ("has no bound", true),
            Some(bound) if *count as f64 > bound as f64 * tolerance => {
                ("is above its bound", is_home)
            }
            Some(bound) if is_home && (*count as f64) < bound as f64 * SLACK => {
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

    fn counted<const N: usize>(counts: [(&str, u64); N]) -> Vec<(String, u64)> {
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }

    fn place(processor: &str) -> Place {
        Place { processor: processor.to_owned(), valgrind: "valgrind-3.19.0".to_owned() }
    }

    #[test]
    fn counts_above_their_bound_are_broken_and_those_below_are_reported() {
        let counts = counted([("a", 103), ("b", 100), ("c", 94), ("d", 1)]);
        let bounds = counted([("a", 100), ("b", 100), ("c", 100), ("e", 5)]).into_iter().collect();
        let report = compare(&counts, &bounds, true);
        let verdicts = ["is above its bound", "100", "is below; lower the bound", "has no bound"];
        for (line, verdict) in report.lines.iter().zip(verdicts) {
            assert!(line.trim_end().ends_with(verdict), "{line}");
        }
        assert!(report.lines[4].starts_with("e ") && report.lines[4].ends_with("did not run"));
        assert_eq!(report.broken, 3);
    }

    #[test]
    fn on_another_processor_counts_far_above_their_bound_are_reported_and_do_not_fail() {
        let counts = counted([("near", 109), ("far", 150), ("below", 50)]);
        let bounds = ["near", "far", "below"].map(|name| (name.to_owned(), 100)).into();
        let report = compare(&counts, &bounds, false);
        let is_reported = |line: &String| line.ends_with("is above its bound");
        assert_eq!(report.lines.iter().map(is_reported).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(report.broken, 0);
        // A case that nobody counted yet fails on every machine.
        assert_eq!(compare(&counted([("new", 1)]), &BTreeMap::new(), false).broken, 1);
    }

    #[test]
    fn blessed_counts_are_the_bounds_of_this_place() {
        let counts = counted([("step, \"f32\"", 7), ("a", 1)]);
        let here = place("AMD \"Zen\"");
        let text = blessed("# About\n# it.\n\n[bounds]\nold = 3\n", &here, &counts);
        assert!(text.starts_with("# About\n# it.\n"), "{text}");
        let bounds = Bounds::parse(&text).unwrap();
        assert_eq!(bounds.counted, Some(here));
        assert_eq!(compare(&counts, &bounds.of, true).broken, 0);
        assert_eq!(blessed(&text, &place("AMD \"Zen\""), &counts), text, "a second time");
    }

    #[test]
    fn a_table_without_bounds_is_empty_and_wrong_entries_are_named() {
        let empty = Bounds::parse("# About it.\n").unwrap();
        assert!(empty.of.is_empty() && empty.counted.is_none());
        for (text, name) in [
            ("[bounds]\na = \"x\"\n", "`a` is no count"),
            ("[bounds]\na = -1\n", "`a` is no count"),
            ("[counted]\nprocessor = \"x\"\n", "lacks `counted.valgrind`"),
            ("bounds", "no TOML"),
        ] {
            let error = format!("{:#}", Bounds::parse(text).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
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
