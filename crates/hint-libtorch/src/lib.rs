//! Finds or installs the libtorch that hint-rl needs, and links programs against it.
//!
//! A project that uses hint-rl needs a libtorch of the right version and a line with its place for
//! cargo. Its programs also need a run path, so that they start without `LD_LIBRARY_PATH`.
//!
//! ```console
//! hint-libtorch init my-project
//! ```
//!
//! does all of it. It finds libtorch or installs the wheel into the user's cache folder. It writes
//! `.cargo/libtorch.toml` (this machine's, ignored by git), includes it in `.cargo/config.toml`, and
//! adds the dependencies. It writes a `build.rs` whose `main` is one line:
//!
//! ```no_run
//! hint_libtorch::link();
//! ```
//!
//! Build scripts depend on this crate with `default-features = false`, which needs nothing else.
#![forbid(unsafe_code)]

mod headers;
#[cfg(feature = "setup")]
#[expect(clippy::print_stderr, reason = "a set-up tells its user what it waits for")]
mod setup;

use std::path::{Path, PathBuf};

pub use headers::{MissingHeader, cuda_headers};
#[cfg(feature = "setup")]
pub use setup::{
    Host, check_space, find, init, is_from_config, python_with_pip, remove_folder, setup,
};

/// The libtorch that `tch` 0.24 accepts.
pub const VERSION: &str = "2.11.0";

/// Lets the programs, tests and examples of a package find libtorch at run time. Call it in `build.rs`.
///
/// Without a [folder](libraries) nothing is done: a package whose features leave libtorch out needs none.
#[expect(clippy::print_stdout, reason = "cargo reads the output of build scripts")]
pub fn link() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    if let Some(lib) = libraries() {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
}

/// The folder of libtorch's libraries, in a build script. It is the one that torch-sys linked, which cargo passes to
/// packages that depend on torch-sys, else the one in `LIBTORCH`.
#[expect(clippy::disallowed_methods, reason = "cargo passes what it knows in the environment")]
pub fn libraries() -> Option<PathBuf> {
    let linked = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(|lib| Path::new(&lib).to_path_buf());
    let named = || Some(Path::new(&std::env::var_os("LIBTORCH")?).join("lib"));
    linked.or_else(named)?.canonicalize().ok()
}
