//! Every package inherits version and lints from the workspace; every crate has a README, a description and keywords; the
//! crates depend on each other by path and version.

use toml::{Table, Value};

use super::{Finding, tree::SourceFile, tree::Tree};

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.name() == "Cargo.toml") {
        // A cargo-fuzz package is a workspace of its own: it needs another compiler.
        if file.path.ends_with("/fuzz/Cargo.toml") {
            continue;
        }
        let Ok(manifest) = file.text.parse::<Table>() else {
            findings.push(Finding::new(&file.path, 1, "this is not TOML; correct it"));
            continue;
        };
        if file.path == "Cargo.toml" {
            check_workspace(file, &manifest, &mut findings);
        } else {
            check_package(tree, file, &manifest, &mut findings);
        }
    }
    findings
}

fn check_workspace(file: &SourceFile, manifest: &Table, findings: &mut Vec<Finding>) {
    let dependencies =
        manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    for (name, value) in dependencies.and_then(Value::as_table).into_iter().flatten() {
        let internal = value.get("path").is_some() || name.starts_with("hint-");
        if internal && (value.get("path").is_none() || value.get("version").is_none()) {
            let message = format!(
                "`{name}` lacks `path` or `version`; give both, so that it can be published"
            );
            findings.push(Finding::new(&file.path, line_of(file, name), message));
        }
    }
}

fn check_package(tree: &Tree, file: &SourceFile, manifest: &Table, findings: &mut Vec<Finding>) {
    let package = manifest.get("package").and_then(Value::as_table).cloned().unwrap_or_default();
    let mut find = |key: &str, message: &str| {
        findings.push(Finding::new(&file.path, line_of(file, key), message));
    };
    let inherited = |value: Option<&Value>| {
        value.and_then(|value| value.get("workspace")) == Some(&Value::Boolean(true))
    };
    if !inherited(package.get("version")) {
        find("version", "the package has a version of its own; write `version.workspace = true`");
    }
    if !inherited(manifest.get("lints").map(|_| &manifest["lints"])) {
        find("[lints]", "the package has lints of its own; write `[lints]` and `workspace = true`");
    }
    if package.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
        find("name", "the package has no description; write one line");
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (name, value) in manifest.get(section).and_then(Value::as_table).into_iter().flatten() {
            if name.starts_with("hint-") && !inherited(Some(value)) {
                find(name, &format!("`{name}` is not inherited; write `{name}.workspace = true`"));
            }
        }
    }
    if let Some(folder) =
        file.path.strip_suffix("Cargo.toml").filter(|folder| folder.starts_with("crates/"))
    {
        if tree.file(&format!("{folder}README.md")).is_none() {
            find("name", "the crate has no `README.md`; write one");
        }
        if package.get("keywords").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            find("name", "the crate has no keywords; add up to five");
        }
    } else if package.get("publish") != Some(&Value::Boolean(false)) {
        find("name", "only the packages in `crates/` are published; write `publish = false`");
    }
}

/// The first line that starts with `key`; 1 if there is none.
fn line_of(file: &SourceFile, key: &str) -> usize {
    file.lines().find(|(_, line)| line.starts_with(key)).map_or(1, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"hint-a\"\ndescription = \"A\"\nversion.workspace = true\nkeywords = [\"a\"]\n\
                        [dependencies]\nhint-b.workspace = true\n[lints]\nworkspace = true\n";

    #[track_caller]
    fn found(path: &str, manifest: &str, expected: &[&str]) {
        let findings = check(&Tree::of(&[(path, manifest), ("crates/a/README.md", "A.\n")]));
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(finding.message.contains(part), "{finding}");
        }
    }

    #[test]
    fn crates_are_complete() {
        found("crates/a/Cargo.toml", GOOD, &[]);
        found("crates/b/Cargo.toml", GOOD, &["no `README.md`"]);
        found("crates/a/Cargo.toml", &GOOD.replace("keywords = [\"a\"]\n", ""), &["no keywords"]);
        found(
            "crates/a/Cargo.toml",
            &GOOD.replace("version.workspace = true", "version = \"1.0.0\""),
            &["version of its own"],
        );
        found(
            "crates/a/Cargo.toml",
            &GOOD.replace("[lints]\nworkspace = true\n", ""),
            &["lints of its own"],
        );
        found(
            "crates/a/Cargo.toml",
            &GOOD.replace("hint-b.workspace = true", "hint-b = { path = \"../b\" }"),
            &["`hint-b` is not inherited"],
        );
    }

    #[test]
    fn fuzz_packages_are_workspaces_of_their_own() {
        found("crates/a/fuzz/Cargo.toml", "[package]\nname = \"a-fuzz\"\n", &[]);
    }

    #[test]
    fn other_packages_are_not_published() {
        found("tests/Cargo.toml", GOOD, &["`publish = false`"]);
    }

    #[test]
    fn crates_of_the_workspace_have_path_and_version() {
        found(
            "Cargo.toml",
            "[workspace.dependencies]\nhint-a = { path = \"crates/a\", version = \"0.1\" }\n",
            &[],
        );
        found(
            "Cargo.toml",
            "[workspace.dependencies]\nhint-a = { path = \"crates/a\" }\n",
            &["lacks `path` or `version`"],
        );
    }
}
