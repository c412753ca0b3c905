//! `run`, `test` and `lint`, for users and CI.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process::{Aside, cargo, check, display, programs_of, quiet};
use crate::{book, commits, counts, outside, package, scripts, smoke, tidy};
use hint_libtorch::Host;

/// Sets libtorch up and becomes `cargo run` of the main example.
///
/// Replacing this process, instead of waiting for a child, passes signals and the exit status on unchanged. Ctrl-C
/// reaches the example, and the shell waits until the example has written its checkpoint.
pub(crate) fn run(host: &Host, args: &[OsString]) -> Result<()> {
    hint_libtorch::setup(host)?;
    let mut command = cargo(host);
    // Paths in ARGS are relative to where the user stands.
    command.current_dir(std::env::current_dir().context("the current folder is gone")?);
    // Without `--package`: the same features, hence the same build, as with `--workspace`.
    command.args(["run", "--release", "--locked", "--example", "hint_grpo", "--"]).args(args);
    eprintln!("+ {}", display(&command));
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", display(&command)))
}

/// Runs every test; with `args`, only the tests and doctests they select.
pub(crate) fn test(host: &Host, args: &[OsString]) -> Result<()> {
    let libtorch = hint_libtorch::setup(host)?;
    // Options are those of the test runner; names select doctests as well.
    let names = !args.iter().any(|arg| arg.to_string_lossy().starts_with('-'));
    suite(host, args, names)?;
    if !args.is_empty() {
        return if names { doctests(host, args) } else { Ok(()) };
    }
    // The programs of the short runs compute on one core most of the time, and what is compiled here takes the other one.
    let runs = Aside::start(host, "smoke")?;
    let rest = compile(host, &libtorch);
    let runs = runs.finish();
    rest.and(runs)?;
    counts::check(host)
}

/// What cargo builds tests of.
const TARGETS: [&str; 5] = ["--workspace", "--locked", "--lib", "--bins", "--tests"];

/// Packages whose tests share a process per program. Loading libtorch takes a process longer than most of these tests. Some set
/// the threads of libtorch, which are the process's: to one. So all begin with one. None sets something else of a process.
const TOGETHER: [&str; 2] = ["hint-rl", "hint-rollout"];

/// Runs the tests. If `args` are `names`, they are parts of names of tests, else options of the runner.
fn suite(host: &Host, args: &[OsString], names: bool) -> Result<()> {
    let mut tests = cargo(host);
    if !has(host, "nextest") {
        return check(tests.arg("test").args(TARGETS).args(args));
    }
    tests.args(["nextest", "run"]).args(TARGETS);
    if !args.is_empty() {
        // The filter may select doctests only.
        tests.arg("--no-tests=warn");
    }
    if !names {
        return check(tests.args(args));
    }
    let others = TOGETHER.map(|package| format!("not package({package})")).join(" and ");
    // A failure of these does not keep the others from being run.
    let others = check(tests.arg("-E").arg(others).args(args));
    others.and(together(host, args))
}

/// Longest time of a program with all its tests, in seconds. nextest gives half of that to each test.
const LIMIT_S: &str = "1800";

/// Runs the tests of the packages [`TOGETHER`] whose names contain one of `names`; all of them without names. A program that
/// fails or takes too long shows the names of the tests that have ended. The other programs are run as well.
fn together(host: &Host, names: &[OsString]) -> Result<()> {
    let mut build = cargo(host);
    build.args(["test", "--no-run", "--message-format=json-render-diagnostics"]).args(TARGETS);
    let mut result = Ok(());
    for message in programs_of(&mut build)? {
        let manifest = message["manifest_path"].as_str().context("cargo names the manifest")?;
        let folder = Path::new(manifest).parent().context("a manifest is in a folder")?;
        let name = folder.file_name().and_then(OsStr::to_str);
        let is_test = message["profile"]["test"].as_bool() == Some(true);
        let Some(program) = message["executable"].as_str() else { continue };
        if is_test && name.is_some_and(|name| TOGETHER.contains(&name)) {
            let mut tests = Command::new("timeout");
            // As many at a time as in `.config/nextest.toml`.
            tests.args(["--foreground", LIMIT_S, program, "--test-threads=2"]).args(names);
            tests.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1").current_dir(folder);
            result = result.and(quiet(&mut tests).map(drop));
        }
    }
    result
}

/// Runs the doctests whose names contain one of `names`; all of them without names.
fn doctests(host: &Host, names: &[OsString]) -> Result<()> {
    check(cargo(host).args(["test", "--workspace", "--locked", "--doc"]).args(names))
}

/// The doctests, a build without libtorch, and the packages.
fn compile(host: &Host, libtorch: &Path) -> Result<()> {
    doctests(host, &[])?;
    check(cargo(host).args(["check", "--quiet", "--locked", "--lib"]).args(WITHOUT_LIBTORCH))?;
    package::run(host, libtorch, package::Checks::Together)
}

/// Short runs of the programs, and a project outside the workspace.
pub(crate) fn programs(host: &Host) -> Result<()> {
    let libtorch = hint_libtorch::setup(host)?;
    smoke::run(host)?;
    outside::run(host, &libtorch)
}

/// The crates that do without libtorch. Their tests have run with those of the workspace, with every feature.
const WITHOUT_LIBTORCH: [&str; 5] = [
    "--package=hint-affinity",
    "--package=hint-reward",
    "--package=hint-rollout",
    "--no-default-features",
    "--features=hint-rollout/vllm,hint-rollout/teacher,hint-rollout/formats",
];

/// Format, tidy, clippy, rustdoc: cheapest first.
pub(crate) fn lint(host: &Host) -> Result<()> {
    check(cargo(host).args(["fmt", "--all", "--check"]))
        .context("the code is not formatted; run `cargo fmt --all`")?;
    tidy::run(&host.repo)?;
    commits::report(&host.repo);
    scripts::check(&host.repo)?;
    if has(host, "deny") {
        check(cargo(host).args(["deny", "--offline", "check", "licenses", "bans", "sources"]))?;
    } else {
        eprintln!("licenses are not checked here: cargo-deny is not installed");
    }
    // The build script of torch-sys compiles C++ against libtorch, for clippy and rustdoc too.
    hint_libtorch::setup(host)?;
    check(cargo(host).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    check(
        cargo(host)
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-Dwarnings"),
    )?;
    book::lint(host)
}

/// Whether cargo has this command.
fn has(host: &Host, command: &str) -> bool {
    cargo(host)
        .args([command, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
