//! A project outside the workspace, made by the README's steps: does it build, and does it train?

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hint_libtorch::Host;

use crate::process::{cargo, check, dev_profile, read, scratch};

/// Packages that switch on their features of the workspace. So the packages of the registry are not built a second
/// time.
const AS_IN_THE_WORKSPACE: &str = "
[dependencies.clap]
version = \"*\"
features = [\"derive\"]

[dependencies.half]
version = \"*\"
features = [\"num-traits\"]

[dependencies.comfy-table]
version = \"*\"

[dependencies.csv]
version = \"*\"

[dependencies.jsonschema]
version = \"*\"
default-features = false
";

/// Makes the project, builds the README's program and one with every part of its own, and runs the latter.
pub(crate) fn run(host: &Host, libtorch: &Path) -> Result<()> {
    let folder = scratch()?;
    run_in(host, libtorch, &folder.path().join("mine"))
}

/// Makes the project as a reader of the README does: without this repository's lock file and target folder. Builds the
/// README's program with the newest packages of the registry, so it needs the network.
pub(crate) fn fresh(host: &Host, libtorch: &Path) -> Result<()> {
    let folder = scratch()?;
    let project = folder.path().join("mine");
    new_project(host, libtorch, &project)?;
    check(cargo(host).current_dir(&project).args(["build", "--bin", "readme"]))
}

/// A project with the README's program.
fn new_project(host: &Host, libtorch: &Path, project: &Path) -> Result<()> {
    check(cargo(host).args(["new", "--quiet", "--vcs", "none"]).arg(project))?;
    hint_libtorch::init(project, libtorch)?;
    let readme = read(&host.repo.join("README.md"))?;
    write(&project.join("src/bin/readme.rs"), program(&readme)?)
}

fn run_in(host: &Host, libtorch: &Path, project: &Path) -> Result<()> {
    new_project(host, libtorch, project)?;
    write(&project.join("src/main.rs"), &read(&host.repo.join("tests/outside/main.rs"))?)?;
    // The versions that are here already, so that nothing is downloaded.
    write(&project.join("Cargo.lock"), &read(&host.repo.join("Cargo.lock"))?)?;
    let manifest = project.join("Cargo.toml");
    write(&manifest, &(read(&manifest)? + AS_IN_THE_WORKSPACE + &dev_profile(host)?))?;

    let in_project = |args: &[&str]| {
        let mut command = cargo(host);
        command.current_dir(project).args(args);
        command.env("CARGO_TARGET_DIR", host.repo.join("target"));
        command
    };
    check(&mut in_project(&["build", "--quiet", "--offline"]))?;
    let model = host.repo.join("examples/tiny");
    check(in_project(&["run", "--quiet", "--offline", "--bin", "mine", "--"]).arg(model))?;

    copy_examples(&host.repo.join("examples"), &project.join("src/bin"))?;
    check(&mut in_project(&["check", "--quiet", "--offline", "--bins"]))?;

    let closures = read(&host.repo.join("tests/outside/closures.rs"))?;
    write(&project.join("src/bin/closures.rs"), &closures)?;
    let errors = in_project(&["build", "--quiet", "--offline", "--bin", "closures"]).output()?;
    let errors = String::from_utf8_lossy(&errors.stderr);
    for function in FROM_CLOSURES {
        ensure!(
            errors.contains(&format!("`{function}(")),
            "a closure in place of a part must name `{function}`:\n{errors}"
        );
    }
    Ok(())
}

/// Advice of the compiler for closures.
const FROM_CLOSURES: [&str; 7] = [
    "hint_rollout::hints_from_fn",
    "hint_reward::verifier_from_fn",
    "hint_reward::from_fn",
    "hint_rollout::collect::hinted::from_fn",
    "hint_grpo::loss_from_fn",
    "hint_grpo::advantage::from_fn",
    "hint_grpo::observer_from_fn",
];

/// Every self-contained example, as a user would copy it.
fn copy_examples(examples: &Path, bins: &Path) -> Result<()> {
    for entry in fs::read_dir(examples).context("cannot list the examples")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("custom_") {
            write(&bins.join(&name), &read(&path)?)?;
        }
    }
    Ok(())
}

/// The program in the README.
fn program(readme: &str) -> Result<&str> {
    let mut blocks = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let program = blocks.find(|block| block.contains("fn main()"));
    let program = program.context("the README has no Rust program")?;
    ensure!(program.contains(".run(&problems)"), "the README's program trains nothing");
    Ok(program)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write `{}`", path.display()))
}
