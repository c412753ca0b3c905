//! `counts`: the instructions of the hot paths on a CPU, as callgrind counts them, against tables of bounds.
//!
//! Each table names the processor and the valgrind that counted. There, a count above its bound fails. Elsewhere libraries may
//! choose other kernels, so counts are compared with the nearest table. One above its bound is reported, and one far above fails.

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
const SECTION: &str = "hint_device::instructions::counted_section";

/// Counts below this share of their bound can lower it.
const SLACK: f64 = 0.95;
/// What a count may differ from run to run where the bounds were counted.
const NOISE: f64 = 1.02;
/// What it may differ on another processor, or under another valgrind, before that is reported.
const REPORTED_ELSEWHERE: f64 = 1.10;
/// What it may differ there before it fails. This is chosen, not measured. Kernels of a library for several processors cost
/// about the same, so half as much again is a path that became slow.
const FAILS_ELSEWHERE: f64 = 1.50;
/// The key of a file that was never blessed. `bless` leaves it out.
const NOT_COUNTED_YET: &str = "not_counted_yet";

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
    let (nearest, is_home) = bounds.nearest(&here);
    let programs = build(host, &["--bin", PROGRAM])?;
    let program = programs.get(PROGRAM).context("cargo built the program")?;
    let started = Instant::now();
    let counts = match count(program) {
        Ok(counts) => counts,
        // Valgrind may lack an instruction of this processor.
        Err(error) if !(blesses || is_home || nearest.is_none()) => {
            eprintln!("instructions are not counted here: {error:#}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if blesses {
        std::fs::write(&path, blessed(&text, &bounds, &here, &counts))
            .with_context(|| format!("cannot write `{TABLE}`"))?;
        eprintln!("wrote the counts of {} cases into `{TABLE}`", counts.len());
        return Ok(());
    }
    let report = compare(&counts, nearest.map_or(&BTreeMap::new(), |table| &table.bounds), is_home);
    for line in &report.lines {
        eprintln!("{line}");
    }
    if let (Some(Counted { place, .. }), false) = (nearest, is_home) {
        eprintln!(
            "counts: the bounds are of {place}, and this is {here}; above {REPORTED_ELSEWHERE} times its bound, a count is reported; \
             above {FAILS_ELSEWHERE} times, it fails"
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

/// As a part of the gate: says so where nothing was counted yet. A file that has lost its tables is an error.
pub(crate) fn check(host: &Host) -> Result<()> {
    if Bounds::parse(&read(&host.repo.join(TABLE))?)?.is_awaited()? {
        eprintln!("instructions are not bounded: `{TABLE}` holds no counts yet");
        return Ok(());
    }
    run(host, &[])
}

/// The file.
#[derive(Debug, Default)]
struct Bounds {
    /// Whether it was never blessed.
    not_counted_yet: bool,
    tables: Vec<Counted>,
}

/// The bounds of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    /// Where they were counted.
    place: Place,
    /// By case.
    bounds: BTreeMap<String, u64>,
}

impl Bounds {
    fn parse(text: &str) -> Result<Self> {
        let file = text.parse::<Table>().with_context(|| format!("`{TABLE}` is no TOML"))?;
        let mut bounds = Self::default();
        for (key, value) in &file {
            match (key.as_str(), value) {
                (NOT_COUNTED_YET, Value::Boolean(value)) => bounds.not_counted_yet = *value,
                ("counted", Value::Array(tables)) => {
                    bounds.tables = tables.iter().map(Counted::read).collect::<Result<_>>()?;
                }
                _ => bail!("`{TABLE}`: `{key}` is unknown here, expected tables `[[counted]]`"),
            }
        }
        Ok(bounds)
    }

    /// Whether the first counts are still to come. Fails where some were there, and are gone.
    fn is_awaited(&self) -> Result<bool> {
        let is_empty = self.tables.iter().all(|table| table.bounds.is_empty());
        ensure!(
            self.not_counted_yet || !is_empty,
            "`{TABLE}` holds no counts, so nothing is compared; write them with `cargo xtask counts -- bless`"
        );
        Ok(is_empty)
    }

    /// The table of a place, or else the nearest one, with whether it is of this place. The nearest one shares the most first
    /// words of the processor's name. Of several, it is the one of the same valgrind.
    fn nearest(&self, here: &Place) -> (Option<&Counted>, bool) {
        let words = |place: &Place| {
            let (one, other) = (place.processor.split(' '), here.processor.split(' '));
            one.zip(other).take_while(|(one, other)| one == other).count()
        };
        let near = |table: &&Counted| {
            let Counted { place, .. } = table;
            (place == here, words(place), place.valgrind == here.valgrind)
        };
        // The last of equals is taken: the first of the file.
        let nearest = self.tables.iter().rev().max_by_key(near);
        (nearest, nearest.is_some_and(|table| table.place == *here))
    }
}

impl Counted {
    fn read(table: &Value) -> Result<Self> {
        let field = |name: &str| {
            let text = table.get(name).and_then(Value::as_str);
            let text = text.with_context(|| format!("`{TABLE}` lacks `counted.{name}`"))?;
            Ok::<_, anyhow::Error>(text.to_owned())
        };
        let place = Place { processor: field("processor")?, valgrind: field("valgrind")? };
        let mut bounds = BTreeMap::new();
        for (name, bound) in table.get("bounds").and_then(Value::as_table).into_iter().flatten() {
            let bound = bound.as_integer().and_then(|bound| u64::try_from(bound).ok());
            let bound = bound.with_context(|| format!("`{TABLE}`: `{name}` is no count"))?;
            bounds.insert(name.clone(), bound);
        }
        Ok(Self { place, bounds })
    }

    /// Its lines in the file.
    fn lines(&self) -> impl Iterator<Item = String> {
        let value = |text: &str| Value::from(text).to_string();
        let place = [
            String::new(),
            "[[counted]]".to_owned(),
            format!("processor = {}", value(&self.place.processor)),
            format!("valgrind = {}", value(&self.place.valgrind)),
            String::new(),
            "[counted.bounds]".to_owned(),
        ];
        let bounds =
            self.bounds.iter().map(move |(name, count)| format!("{} = {count}", value(name)));
        place.into_iter().chain(bounds)
    }
}

/// The file with the counts as the bounds of this place, below the comment at its top. Tables of other places stay.
fn blessed(text: &str, bounds: &Bounds, here: &Place, counts: &[(String, u64)]) -> String {
    let own = Counted { place: here.clone(), bounds: counts.iter().cloned().collect() };
    let mut tables = bounds.tables.clone();
    match tables.iter_mut().find(|table| table.place == *here) {
        Some(table) => *table = own,
        None => tables.push(own),
    }
    let comment = text.lines().take_while(|line| line.starts_with('#')).map(str::to_owned);
    let tables = tables.iter().flat_map(Counted::lines);
    comment.chain(tables).map(|line| line + "\n").collect()
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
    /// Cases above their bound where it was counted, far above it elsewhere, without one, or that did not run.
    broken: usize,
}

/// Compares with the bounds. `is_home`: where they were counted.
fn compare(counts: &[(String, u64)], bounds: &BTreeMap<String, u64>, is_home: bool) -> Report {
    let (tolerance, limit, beyond) = if is_home {
        (NOISE, NOISE, "is above its bound")
    } else {
        (REPORTED_ELSEWHERE, FAILS_ELSEWHERE, "is far above its bound")
    };
    let mut report = Report { lines: Vec::new(), broken: 0 };
    for (name, count) in counts {
        let bound = bounds.get(name).copied();
        let (verdict, is_broken) = match bound.map(|bound| *count as f64 / bound as f64) {
            None => ("has no bound", true),
            Some(share) if share > limit => (beyond, true),
            Some(share) if share > tolerance => ("is above its bound", false),
            Some(share) if is_home && share < SLACK => ("is below; lower the bound", false),
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
    fn on_another_processor_counts_above_their_bound_are_reported_and_those_far_above_fail() {
        let counts = counted([("near", 109), ("above", 149), ("far", 151), ("below", 50)]);
        let bounds = ["near", "above", "far", "below"].map(|name| (name.to_owned(), 100)).into();
        let report = compare(&counts, &bounds, false);
        let verdicts = ["100", "is above its bound", "is far above its bound", "100"];
        for (line, verdict) in report.lines.iter().zip(verdicts) {
            assert!(line.trim_end().ends_with(verdict), "{line}");
        }
        assert_eq!(report.broken, 1);
        // A case that nobody counted yet fails on every machine.
        assert_eq!(compare(&counted([("new", 1)]), &BTreeMap::new(), false).broken, 1);
    }

    #[test]
    fn blessed_counts_are_the_bounds_of_this_place_and_those_of_others_stay() {
        let counts = counted([("step, \"f32\"", 7), ("a", 1)]);
        let (here, there) = (place("AMD \"Zen\""), place("Intel"));
        let first = Bounds::parse("# About\n# it.\n\nnot_counted_yet = true\n").unwrap();
        let text = blessed("# About\n# it.\n\nnot_counted_yet = true\n", &first, &here, &counts);
        assert!(text.starts_with("# About\n# it.\n\n[[counted]]\n"), "{text}");
        let bounds = Bounds::parse(&text).unwrap();
        assert!(!bounds.not_counted_yet && !bounds.is_awaited().unwrap());
        let (own, is_home) = bounds.nearest(&here);
        assert!(is_home);
        assert_eq!(compare(&counts, &own.unwrap().bounds, true).broken, 0);
        assert_eq!(blessed(&text, &bounds, &here, &counts), text, "a second time");
        // A second place, and then fewer counts at the first one.
        let both = blessed(&text, &bounds, &there, &counted([("a", 3)]));
        let fewer = counted([("a", 2)]);
        let last = blessed(&both, &Bounds::parse(&both).unwrap(), &here, &fewer);
        let bounds = Bounds::parse(&last).unwrap();
        let found = bounds.tables.iter().map(|table| (&table.place, table.bounds["a"]));
        assert_eq!(found.collect::<Vec<_>>(), [(&here, 2), (&there, 3)]);
        assert_eq!(bounds.tables[0].bounds.len(), 1);
    }

    #[test]
    fn the_nearest_table_has_the_most_words_of_the_processors_name() {
        let table = |processor: &str, valgrind: &str| Counted {
            place: Place { processor: processor.to_owned(), valgrind: valgrind.to_owned() },
            bounds: BTreeMap::from([("a".to_owned(), 1)]),
        };
        let names = ["AMD EPYC 9R14", "Intel Xeon 8481C", "Intel Xeon 8481C", "Intel Core i7"];
        let tables = names.into_iter().zip(["3.19", "3.18", "3.19", "3.19"]);
        let tables = tables.map(|(processor, valgrind)| table(processor, valgrind)).collect();
        let bounds = Bounds { not_counted_yet: false, tables };
        for (processor, valgrind, expected) in [
            ("Intel Xeon 8481C", "3.18", 1),
            ("Intel Xeon 8481C", "3.19", 2),
            ("Intel Xeon 8481C", "3.24", 1),
            ("Intel Xeon 6975P", "3.19", 2),
            ("Intel Core i9", "3.18", 3),
            ("AMD EPYC 9654", "3.18", 0),
            ("Other", "3.18", 1),
            ("Other", "3.24", 0),
        ] {
            let here = Place { processor: processor.to_owned(), valgrind: valgrind.to_owned() };
            let (nearest, is_home) = bounds.nearest(&here);
            assert_eq!(nearest, Some(&bounds.tables[expected]), "{here}");
            assert_eq!(is_home, nearest.is_some_and(|table| table.place == here));
        }
        assert_eq!(Bounds::default().nearest(&place("AMD")), (None, false));
    }

    #[test]
    fn counts_that_are_gone_and_wrong_entries_are_errors() {
        assert!(Bounds::parse("not_counted_yet = true\n").unwrap().is_awaited().unwrap());
        let place = "[[counted]]\nprocessor = \"x\"\nvalgrind = \"y\"\n";
        for empty in ["# About it.\n", "not_counted_yet = false\n", place] {
            let error = Bounds::parse(empty).unwrap().is_awaited().unwrap_err().to_string();
            assert!(error.contains("holds no counts"), "{error}");
        }
        let with = |bound: &str| format!("{place}[counted.bounds]\na = {bound}\n");
        for (text, name) in [
            (with("\"x\""), "`a` is no count"),
            (with("-1"), "`a` is no count"),
            ("[[counted]]\nprocessor = \"x\"\n".to_owned(), "lacks `counted.valgrind`"),
            ("[bounds]\na = 1\n".to_owned(), "`bounds` is unknown"),
            ("bounds".to_owned(), "no TOML"),
        ] {
            let error = format!("{:#}", Bounds::parse(&text).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_file_of_this_repository_has_counts_or_was_never_blessed() {
        Bounds::parse(include_str!("../../device/instructions.toml"))
            .unwrap()
            .is_awaited()
            .unwrap();
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
