//! `run`, `test` and `lint`, for users and CI.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::process::{Aside, cargo, check, display};
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
    suite(host, args)?;
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

/// Runs the tests. `args` are parts of their names, or options of the runner.
fn suite(host: &Host, args: &[OsString]) -> Result<()> {
    let mut tests = cargo(host);
    if has(host, "nextest") {
        tests.args(["nextest", "run", "--workspace", "--locked", "--lib", "--bins", "--tests"]);
        if !args.is_empty() {
            // The filter may select doctests only.
            tests.arg("--no-tests=warn");
        }
    } else {
        tests.args(["test", "--workspace", "--locked", "--lib", "--bins", "--tests"]);
    }
    check(tests.args(args))
}

/// Runs the doctests whose names contain one of `names`; all of them without names.
fn doctests(host: &Host, names: &[OsString]) -> Result<()> {
    check(cargo(host).args(["test", "--workspace", "--locked", "--doc"]).args(names))
}

/// The doctests, a build without libtorch, one with NCCL, and the packages.
fn compile(host: &Host, libtorch: &Path) -> Result<()> {
    doctests(host, &[])?;
    check(cargo(host).args(["check", "--quiet", "--locked", "--lib"]).args(WITHOUT_LIBTORCH))?;
    with_nccl(host, libtorch)?;
    package::run(host, libtorch, package::Checks::Together)
}

/// The tests of the feature `nccl` and the programs that have it, which no other part of the gate compiles. They use no GPU. Where
/// libtorch or its headers are without CUDA, nothing runs, and a line says so.
fn with_nccl(host: &Host, libtorch: &Path) -> Result<()> {
    // The build script looks beside this folder as well.
    let lib = libtorch.join("lib").canonicalize().context("libtorch has no folder `lib`")?;
    let toolkit = std::env::var_os("CUDA_HOME");
    if !lib.join("libtorch_cuda.so").is_file() {
        eprintln!("the feature `nccl` is not compiled here: libtorch has no library for CUDA");
        return Ok(());
    }
    if let Err(missing) = hint_libtorch::cuda_headers(&lib, toolkit.as_deref().map(Path::new)) {
        eprintln!("the feature `nccl` is not compiled here: it {missing}");
        return Ok(());
    }
    // By their names: the others have run without the feature, and some wait long for real processes.
    let tests = ["test", "--locked", "--package=hint-dist", "--features=nccl", "--"];
    check(cargo(host).args(tests).args(["nccl", "channel", "gpu"]))?;
    check(cargo(host).args(["check", "--quiet", "--locked"]).args(WITH_NCCL))
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

/// Without `--package`, as in [`run`].
const WITH_NCCL: [&str; 5] =
    ["--bin", "hint-rl", "--bin", "hint-device", "--features=hint-rl/nccl,hint-device/nccl"];

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
