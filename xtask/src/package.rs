//! `package`: the packages of `cargo package`, compiled away from the repository.
//!
//! The crates are not on a registry yet, so each package gets the others from beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use hint_libtorch::Host;
use serde_json::Value;

use crate::process::{cargo, check, dev_profile, quiet, scratch};

/// Content of each package beside its code.
const FILES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

/// How packages are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// All at once, as the gate does.
    Together,
    /// Also each alone, which builds packages of the registry once more for other features.
    Alone,
}

/// Makes the packages, unpacks them side by side, and checks that all their targets compile there, tests, examples and
/// benches included.
pub(crate) fn run(host: &Host, libtorch: &Path, checks: Checks) -> Result<()> {
    run_in(host, libtorch, scratch()?.path(), checks)
}

fn run_in(host: &Host, libtorch: &Path, folder: &Path, checks: Checks) -> Result<()> {
    let mut command = cargo(host);
    command.args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"]);
    let metadata: Value = serde_json::from_str(&quiet(&mut command)?)?;
    let target = metadata["target_directory"].as_str().context("cargo has a target folder")?;
    let packages = metadata["packages"].as_array().context("cargo lists packages")?;

    let mut pack = cargo(host);
    pack.args(["package", "--quiet", "--locked", "--offline", "--no-verify", "--allow-dirty"]);
    let mut manifest = "[workspace]\nresolver = \"3\"\nmembers = [\"hint-*\"]\n".to_owned();
    manifest += "\n[patch.crates-io]\n";
    let mut names = Vec::new();
    for package in packages.iter().filter(|package| package["publish"].is_null()) {
        let field = |name: &str| package[name].as_str().context("cargo names packages");
        let (name, version) = (field("name")?, field("version")?);
        ensure!(package["repository"].is_null(), "`{name}` names a repository; is it there?");
        let needs_torch = package["features"]["doc-only"].is_array();
        let documented = &package["metadata"]["docs"]["rs"]["features"];
        let is_doc_only = documented.as_array().is_some_and(|f| f.contains(&"doc-only".into()));
        ensure!(needs_torch == is_doc_only, "docs.rs must build `{name}` without libtorch");
        pack.args(["--package", name]);
        writeln!(manifest, "{name} = {{ path = \"{name}-{version}\" }}")?;
        names.push((name, format!("{name}-{version}")));
    }
    check(&mut pack)?;

    for (_, name) in &names {
        let archive = Path::new(target).join(format!("package/{name}.crate"));
        // With the present time: the archive has one of long ago, and cargo would take what it built of an
        // earlier package for up to date.
        check(Command::new("tar").arg("-xzmf").arg(archive).arg("-C").arg(folder))?;
        for file in FILES {
            let is_there = folder.join(name).join(file).is_file();
            ensure!(is_there, "the package `{name}` lacks `{file}`");
        }
    }
    fs::write(folder.join("Cargo.toml"), manifest + &dev_profile(host)?)?;
    fs::copy(host.repo.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let mut compile = cargo(host);
    compile.current_dir(folder).env("CARGO_TARGET_DIR", target).env("LIBTORCH", libtorch);
    check(compile.args(["check", "--quiet", "--offline", "--workspace", "--all-targets"]))?;
    if checks == Checks::Together {
        return Ok(());
    }
    // A workspace has the features that any of its packages asks for. Alone, a package has its own.
    for (name, _) in &names {
        let mut alone = cargo(host);
        alone.current_dir(folder).env("CARGO_TARGET_DIR", target).env("LIBTORCH", libtorch);
        check(alone.args(["check", "--quiet", "--offline", "--lib", "--package", name]))?;
    }
    Ok(())
}
