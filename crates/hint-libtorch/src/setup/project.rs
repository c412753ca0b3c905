//! A project of your own: its files beside the code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::config;

/// The crates that a training program uses, and the version of this one, which is theirs.
const CRATES: [&str; 5] =
    ["hint-policy", "hint-reward", "hint-rollout", "hint-grpo", "hint-process"];
const VERSION: &str = env!("CARGO_PKG_VERSION");

const BUILD: &str = "fn main() {\n    hint_libtorch::link();\n}\n";

/// Prepares the cargo project in `project` for hint-rl with the libtorch in `folder`: dependencies,
/// `build.rs`, and `.cargo/config.toml`. Existing entries stay unchanged.
///
/// # Errors
///
/// A folder that is no cargo project, a file that cannot be written, or a `build.rs` or configuration
/// that needs manual work.
pub fn init(project: &Path, folder: &Path) -> Result<()> {
    let manifest = project.join("Cargo.toml");
    ensure!(
        manifest.is_file(),
        "`{}` is no cargo project; make one with `cargo new`",
        project.display()
    );
    config::record(project, folder)?;
    include(&project.join(".cargo/config.toml"))?;
    ignore(&project.join(".gitignore"))?;
    for name in CRATES {
        add(&manifest, name, &[])?;
    }
    add(&manifest, "hint-libtorch", &["--build", "--no-default-features"])?;
    let build = project.join("build.rs");
    match fs::read_to_string(&build) {
        Ok(text) if text.contains("hint_libtorch::link") => Ok(()),
        Ok(_) => bail!("add the line `hint_libtorch::link();` to `{}`", build.display()),
        Err(_) => write(&build, BUILD),
    }
}

/// Adds a dependency that is not there: from beside this crate if it was built in a clone, else from
/// the registry.
fn add(manifest: &Path, name: &str, options: &[&str]) -> Result<()> {
    let text = fs::read_to_string(manifest)
        .with_context(|| format!("cannot read `{}`", manifest.display()))?;
    let table: toml::Table =
        text.parse().with_context(|| format!("cannot read `{}`", manifest.display()))?;
    let section = if options.contains(&"--build") { "build-dependencies" } else { "dependencies" };
    if table.get(section).is_some_and(|section| section.get(name).is_some()) {
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "a set-up reads its environment")]
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["add", "--quiet", "--offline", "--manifest-path"]).arg(manifest).args(options);
    let sibling = PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name(name);
    if sibling.join("Cargo.toml").is_file() {
        command.arg("--path").arg(sibling);
    } else {
        command.arg(format!("{name}@{VERSION}"));
    }
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "cannot add `{name}` to `{}`", manifest.display());
    Ok(())
}

/// Has cargo's configuration include this machine's libtorch.
fn include(config: &Path) -> Result<()> {
    let text = fs::read_to_string(config).unwrap_or_default();
    let table: toml::Table =
        text.parse().with_context(|| format!("cannot read `{}`", config.display()))?;
    match table.get("include") {
        Some(include) if include.to_string().contains("libtorch.toml") => Ok(()),
        Some(_) => bail!("add \"libtorch.toml\" to `include` in `{}`", config.display()),
        // A key of its own comes before the first table.
        None => write(config, &format!("include = [\"libtorch.toml\"]\n{text}")),
    }
}

/// Keeps the path, which is this machine's, out of git.
fn ignore(file: &Path) -> Result<()> {
    const LINE: &str = "/.cargo/libtorch.toml";
    let text = fs::read_to_string(file).unwrap_or_default();
    if text.lines().any(|line| line == LINE) {
        return Ok(());
    }
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    write(file, &format!("{text}{end}{LINE}\n"))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_project_is_prepared_once_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        let libtorch = project.join("torch");
        let error = init(project, &libtorch).unwrap_err().to_string();
        assert!(error.contains("is no cargo project"), "{error}");
        let manifest = "[package]\nname = \"mine\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        fs::write(project.join("Cargo.toml"), manifest).unwrap();
        fs::create_dir_all(project.join("src")).unwrap();
        fs::write(project.join("src/main.rs"), "fn main() {}\n").unwrap();
        fs::create_dir_all(project.join(".cargo")).unwrap();
        fs::write(project.join(".cargo/config.toml"), "[alias]\nb = \"build\"\n").unwrap();
        fs::write(project.join(".gitignore"), "/target").unwrap();

        let read = || {
            let files = ["Cargo.toml", ".cargo/config.toml", ".gitignore", "build.rs"];
            files.map(|file| fs::read_to_string(project.join(file)).unwrap())
        };
        init(project, &libtorch).unwrap();
        let [manifest, config, ignored, build] = read();
        for name in CRATES.into_iter().chain(["hint-libtorch", "[build-dependencies]"]) {
            assert!(manifest.contains(name), "{manifest}");
        }
        assert_eq!(config, "include = [\"libtorch.toml\"]\n[alias]\nb = \"build\"\n");
        assert_eq!(ignored, "/target\n/.cargo/libtorch.toml\n");
        assert_eq!((build.as_str(), config::recorded(project)), (BUILD, Some(libtorch.clone())));
        let before = read();
        init(project, &libtorch).unwrap();
        assert_eq!(read(), before);

        fs::write(project.join("build.rs"), "fn main() {}\n").unwrap();
        let error = init(project, &libtorch).unwrap_err().to_string();
        assert!(error.contains("add the line `hint_libtorch::link();`"), "{error}");
    }
}
