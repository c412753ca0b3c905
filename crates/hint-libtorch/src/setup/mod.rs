//! Sets libtorch up. It uses the user's libtorch, or else installs the matching wheel into the cache. It writes the
//! place into `.cargo/libtorch.toml`, which `.cargo/config.toml` includes, so that plain cargo commands find it.
//!
//! Looked at in this order; the first that fits is taken:
//!
//! 1. the Python of `LIBTORCH_USE_PYTORCH` (torch-sys prefers it to `LIBTORCH`, so this does too);
//! 2. the user's `LIBTORCH`;
//! 3. the libtorch that `.cargo/libtorch.toml` names already;
//! 4. the installation in the cache;
//! 5. a `python3` on `PATH` that has the matching torch;
//! 6. a new installation in the cache.
//!
//! The first two were asked for, so a mismatch there is an error. From the third on, libtorches that do not fit are
//! skipped.

mod config;
mod host;
mod install;
mod project;
mod python;
mod version;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use self::version::Mismatch;
use crate::VERSION;

pub use self::config::is_from_config;
pub use self::host::Host;
pub use self::install::check_space;
pub use self::project::init;
pub use self::python::with_pip as python_with_pip;

/// Makes libtorch available to every cargo command in the project, and returns its folder.
///
/// # Errors
///
/// As [`find`]; a configuration that cannot be written.
pub fn setup(host: &Host) -> Result<PathBuf> {
    let folder = find(host)?;
    config::record(&host.repo, &folder)?;
    Ok(folder)
}

/// Finds libtorch, or installs it, and returns its folder.
///
/// # Errors
///
/// One line with the remedy: no compiler, a chosen libtorch of another version, a failed installation.
pub fn find(host: &Host) -> Result<PathBuf> {
    check_compiler(host)?;
    if host.use_pytorch {
        return of_chosen_python(host);
    }
    if let Some(folder) = &host.libtorch {
        return version::check(folder).map(|()| folder.clone()).map_err(|mismatch| {
            explicit_error(&format!("`LIBTORCH` ({})", folder.display()), &mismatch, "LIBTORCH")
        });
    }
    if let Some(folder) = recorded(host) {
        return Ok(folder);
    }
    if let Some(folder) = install::installed(host)? {
        return Ok(folder);
    }
    if let Some(folder) = python::torch_on_path(host) {
        eprintln!("using the torch {VERSION} of python3: {}", folder.display());
        return Ok(folder);
    }
    install::install(host)
}

/// The folder an earlier setup chose, if it still serves.
fn recorded(host: &Host) -> Option<PathBuf> {
    let folder = config::recorded(&host.repo)?;
    let complete = !install::is_in_cache(host, &folder) || install::is_marked(host);
    (complete && version::check(&folder).is_ok()).then_some(folder)
}

/// The torch of the Python that torch-sys will ask.
fn of_chosen_python(host: &Host) -> Result<PathBuf> {
    let name = if host.in_virtual_env { "python" } else { "python3" };
    let fix = "or unset LIBTORCH_USE_PYTORCH to have this set-up install it";
    let Some(found) = host.find_program(name).and_then(|file| python::probe(&file)) else {
        bail!(
            "LIBTORCH_USE_PYTORCH is set, but there is no working `{name}` on PATH; install one, {fix}"
        );
    };
    let Some(folder) = found.torch else {
        bail!(
            "LIBTORCH_USE_PYTORCH is set, but `{name}` has no torch; install torch {VERSION} there, {fix}"
        );
    };
    version::check(&folder).map_err(|mismatch| {
        explicit_error(
            &format!("the torch of `{name}` ({})", folder.display()),
            &mismatch,
            "LIBTORCH_USE_PYTORCH",
        )
    })?;
    Ok(folder)
}

fn explicit_error(what: &str, mismatch: &Mismatch, variable: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{what} {mismatch}; choose one that holds {VERSION}, or unset {variable} to have this set-up install it"
    )
}

/// torch-sys compiles C++, which a machine with Rust alone cannot.
fn check_compiler(host: &Host) -> Result<()> {
    if host.cxx.is_none() && host.find_program("c++").is_none() {
        bail!(
            "no C++ compiler (`c++`) on PATH; install one (Debian, Ubuntu: `apt install g++`), or set CXX to yours"
        );
    }
    Ok(())
}

/// Prints a line that explains a wait or a choice.
fn note(text: &str) {
    eprintln!("set-up: {text}");
}

/// Removes a folder that may be gone already.
///
/// # Errors
///
/// A folder that cannot be removed.
pub fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
