//! Syntax of the report's script, which is in several files, and of the script that tests it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process;

/// The files of the report's page.
const PAGE: &str = "crates/hint-rl/src/report/html";
/// Scripts of their own.
const TESTS: [&str; 2] = ["tests/browser/report.mjs", "tests/browser/chromium.mjs"];

/// Has Node read every script. Without Node, says that nothing was checked.
pub(crate) fn check(repo: &Path) -> Result<()> {
    let mut node = Command::new("node");
    let node = node.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !node.is_ok_and(|status| status.success()) {
        eprintln!("scripts are not checked here: Node is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let page = folder.path().join("report.js");
    std::fs::write(&page, script(&repo.join(PAGE))?).context("cannot write the script")?;
    let tests = TESTS.map(|test| repo.join(test));
    for file in std::iter::once(page).chain(tests) {
        process::check(Command::new("node").arg("--check").arg(&file)).with_context(|| {
            format!("`{}` is no script; the page's parts are in `{PAGE}`", file.display())
        })?;
    }
    Ok(())
}

/// The parts of the page's script in one scope, as the page has them. So a name that two of them declare is an error. Their
/// order does not matter here.
fn script(folder: &Path) -> Result<String> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list `{PAGE}`"))?;
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "js") {
            parts.push(path);
        }
    }
    parts.sort();
    let texts = parts.iter().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
    });
    let text = texts.collect::<Result<Vec<_>>>()?.concat();
    Ok(format!("(() => {{\n\"use strict\";\n{text}}})();\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_every_part_of_the_page() {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = script(&repo.join(PAGE)).unwrap();
        let page = std::fs::read_to_string(repo.join(PAGE).join("mod.rs")).unwrap();
        let parts = page.split("include_str!(\"").skip(1).filter_map(|rest| rest.split_once('"'));
        let is_script = |name: &&str| Path::new(name).extension().is_some_and(|of| of == "js");
        let parts = parts.map(|(name, _)| name).filter(is_script);
        let parts = parts.collect::<Vec<_>>();
        assert!(parts.len() > 5, "{parts:?}");
        for part in parts {
            let part = std::fs::read_to_string(repo.join(PAGE).join(part)).unwrap();
            assert!(text.contains(&part));
        }
    }
}
