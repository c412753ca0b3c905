//! `hint-libtorch init [PROJECT]`: prepares a project for hint-rl.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: hint-libtorch init [PROJECT]

Finds libtorch, or installs it, and prepares the cargo project in PROJECT (default: this folder).";

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).collect::<Vec<_>>();
    let project = match args.as_slice() {
        [command] if command == "init" => PathBuf::from("."),
        [command, project] if command == "init" => PathBuf::from(project),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let prepared = hint_libtorch::Host::from_env(project.clone())
        .and_then(|host| hint_libtorch::init(&project, &hint_libtorch::find(&host)?));
    match prepared {
        Ok(()) => {
            println!("`{}` is ready: cargo run --release", project.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
