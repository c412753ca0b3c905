//! `cargo xtask browser`: the report of real runs, opened and used in a real browser.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{build, check, output, scratch};
use hint_libtorch::Host;

/// Training of each run: with evaluations in between, and more than 10,000 completions in all.
const TRAIN: &str = "train --steps 60 --set evaluation.every=10 --set run.num_iterations=2";

/// Runs without pairs of completions: supervised, with a hint that teaches, and with other groups drawn.
const WITHOUT_PAIRS: [&str; 3] = [
    "train --steps 4 --method sft",
    "train --steps 4 --method sdft",
    "train --steps 4 --method dapo",
];

/// How the problems are audited, whose hints hint-rl wrote.
const AUDIT: &str = "audit --json --model tiny --sample 8 --set verifier.equality.type=exact \
                     --hint-column abstract_hint --hint-column solution";

/// Trains the embedded model with two seeds, writes their report, and hands it to `tests/browser/report.mjs`. Needs
/// Node and Chromium, which CI does not have. `args` may name a folder for screenshots.
pub(crate) fn run(host: &Host, args: &[OsString]) -> Result<()> {
    hint_libtorch::setup(host)?;
    let folder = scratch()?;
    let out = folder.path();
    let programs = build(host, &["--bin", "hint-rl"])?;
    let program = || Command::new(&programs["hint-rl"]);
    let seeds = ["0", "1"].map(|seed| (seed, out.join(seed)));
    for (seed, dir) in &seeds {
        check(program().args(TRAIN.split(' ')).args(["--seed", seed, "--out"]).arg(dir))?;
    }
    let audit = out.join("audit.json");
    let problems = host.repo.join("examples/tiny/problems.jsonl");
    let found = output(program().args(AUDIT.split(' ')).arg(problems))?;
    std::fs::write(&audit, found).context("cannot write the audit")?;
    let file = out.join("report.html");
    let dirs = seeds.iter().map(|(_, dir)| dir);
    let report = format!("--html={}", file.display());
    check(program().arg("report").args(dirs).arg("--audit").arg(&audit).arg(report))?;
    let script = host.repo.join("tests/browser/report.mjs");
    let opened = |file: &Path, args: &[OsString]| {
        check(Command::new("node").arg(&script).arg(file).args(args)).context(
            "the report does not work in the browser; it needs Node 20 and Chromium, which CHROMIUM names",
        )
    };
    opened(&file, args)?;
    for train in WITHOUT_PAIRS {
        let dir = out.join(train.rsplit(' ').next().unwrap_or(train));
        check(program().args(train.split(' ')).arg("--out").arg(&dir))?;
        check(program().arg("report").arg(&dir).arg("--html"))?;
        opened(&dir.join("report.html"), &[])?;
    }
    Ok(())
}

/// Takes the pictures of README and book, of a real run. Needs tmux, Node and Chromium.
pub(crate) fn take_pictures(host: &Host) -> Result<()> {
    hint_libtorch::setup(host)?;
    let programs = build(host, &["--bin", "hint-rl"])?;
    let script = host.repo.join("tests/browser/pictures.mjs");
    let images = host.repo.join("docs/images");
    check(Command::new("node").arg(script).arg(&programs["hint-rl"]).arg(images))
        .context("no pictures; they need tmux, Node 20 and Chromium, which CHROMIUM names")
}
