//! Starting other programs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use hint_libtorch::Host;

/// A `cargo` command in the repository, free of the variables that the outer `cargo run` set for `xtask` itself. Build
/// scripts that watch them would run again. Its `LIBTORCH` may also be older than the setup's.
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

/// A command of this program that runs beside others. What it prints is shown when it has ended.
#[derive(Debug)]
pub(crate) struct Aside {
    child: Child,
    output: File,
    line: String,
}

impl Aside {
    /// Starts `cargo xtask COMMAND`.
    pub(crate) fn start(host: &Host, command: &str) -> Result<Self> {
        let output = tempfile::tempfile().context("cannot make a temporary file")?;
        let mut start = cargo(host);
        start.args(["xtask", command]).stdin(Stdio::null());
        start.stdout(output.try_clone()?).stderr(output.try_clone()?);
        let line = display(&start);
        eprintln!("+ {line}   # beside what follows, and printed after it");
        let child = start.spawn().with_context(|| format!("cannot start `{line}`"))?;
        Ok(Self { child, output, line })
    }

    /// Waits for its end, shows what it printed, and fails unless it succeeded.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.child.wait()?;
        self.output.rewind()?;
        std::io::copy(&mut self.output, &mut std::io::stderr())?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.line);
        }
        Ok(())
    }
}

/// Builds programs with the features of the whole workspace, in one go, and finds where cargo put them.
pub(crate) fn build(host: &Host, targets: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut build = cargo(host);
    build.args(["build", "--locked", "--message-format=json-render-diagnostics"]).args(targets);
    let line = display(&build);
    eprintln!("+ {line}");
    let built = build.stderr(Stdio::inherit()).output();
    let built = built.with_context(|| format!("cannot start `{line}`"))?;
    if !built.status.success() {
        bail!("`{line}` failed ({})", built.status);
    }
    let mut programs = BTreeMap::new();
    for message in String::from_utf8_lossy(&built.stdout).lines() {
        let message: Value = serde_json::from_str(message).context("cargo writes JSON")?;
        if let (Some(name), Some(path)) =
            (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            programs.insert(name.to_owned(), path.into());
        }
    }
    Ok(programs)
}

/// As [`check`], and returns the command's output, which is printed, too.
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

/// As [`output`], but shows the output and the error output of the command only if it fails.
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

/// A folder for files of a run, which is gone with the value.
pub(crate) fn scratch() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("hint-rl-").tempdir();
    folder.context("cannot make a temporary folder")
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// The profile of development of the workspace, as a part of a manifest. If another workspace uses the same one, and the
/// same target folder, nothing is built a second time. Releases are not built there, and their profile names more packages.
pub(crate) fn dev_profile(host: &Host) -> Result<String> {
    let text = read(&host.repo.join("Cargo.toml"))?;
    let mut table: toml::Table = text.parse().context("the manifest is TOML")?;
    table.retain(|name, _| name == "profile");
    let profiles = table.get_mut("profile").and_then(toml::Value::as_table_mut);
    profiles.context("the manifest has profiles")?.retain(|name, _| name == "dev");
    Ok(format!("\n{table}"))
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
