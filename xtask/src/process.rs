//! Starting other programs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use hint_libtorch::Host;

/// A `cargo` command in the repository, free of the variables that the outer `cargo run` set for `xtask` itself: build
/// scripts that watch them would run again, and its `LIBTORCH` may be older than what the set-up wrote just now.
pub(crate) fn cargo(host: &Host) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(&host.repo);
    match &host.libtorch {
        Some(folder) => command.env("LIBTORCH", folder),
        None => command.env_remove("LIBTORCH"),
    };
    for (name, _) in std::env::vars_os() {
        if is_set_by_cargo_run(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn is_set_by_cargo_run(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Prints the command line, runs it, and fails unless it succeeds.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let line = display(command);
    eprintln!("+ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// As [`check`], and returns what the command writes to its output, which is printed, too.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = display(command);
    eprintln!("+ {line}");
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    eprint!("{text}");
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    Ok(text)
}

/// As [`output`], but shows what the command writes, to its output and its error output, only if it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<String> {
    let line = display(command);
    eprintln!("+ {line}");
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        eprint!("{text}{}", String::from_utf8_lossy(&output.stderr));
        bail!("`{line}` failed ({})", output.status);
    }
    Ok(text)
}

/// The command line, for people.
pub(crate) fn display(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
