//! Allowed dependencies between packages, and the packages that must build without libtorch.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Finding, tree::Tree};

/// A crate, the crates of this workspace that it may use, and other packages that it must not.
type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

const RULES: [Rule; 9] = [
    ("hint-affinity", &[], &["anyhow", "clap", "rand", "tch", "tokio", "torch-sys"]),
    ("hint-reward", &[], &["anyhow", "clap", "tch", "torch-sys"]),
    ("hint-policy", &[], &["anyhow", "clap"]),
    ("hint-rollout", &["hint-reward", "hint-policy"], &["anyhow", "clap", "tch"]),
    ("hint-dist", &[], &["anyhow", "clap"]),
    (
        "hint-grpo",
        &["hint-affinity", "hint-dist", "hint-reward", "hint-policy", "hint-rollout"],
        &["anyhow", "clap"],
    ),
    ("hint-process", &[], &["tch", "torch-sys"]),
    ("hint-libtorch", &[], &["tch", "torch-sys"]),
    (
        "hint-rl",
        &[
            "hint-affinity",
            "hint-dist",
            "hint-reward",
            "hint-policy",
            "hint-rollout",
            "hint-grpo",
            "hint-process",
        ],
        &[],
    ),
];

/// Crates that must build without libtorch.
const TORCH_FREE: [&str; 4] = ["hint-affinity", "hint-reward", "hint-process", "hint-libtorch"];

/// Dependencies that must be behind a feature.
const OPTIONAL: [(&str, &str); 1] = [("hint-rollout", "hint-policy")];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let packages = tree.metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    for (krate, crates, never) in RULES {
        let Some(package) = packages.iter().find(|package| package["name"] == krate) else {
            continue;
        };
        let path = format!("crates/{krate}/Cargo.toml");
        let mut find = |name: &str, message: String| {
            let file = tree.file(&path);
            let line = file.and_then(|file| file.lines().find(|(_, line)| line.starts_with(name)));
            findings.push(Finding::new(&path, line.map_or(1, |(line, _)| line), message));
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = dependency["name"].as_str().unwrap_or_default();
            // What links a package against libtorch is no part of it.
            let links = name == "hint-libtorch" && dependency["kind"] == "build";
            let internal = (name.starts_with("hint-") && !links) || name == "xtask";
            let see = "see the invariants in `ARCHITECTURE.md`";
            if internal && !crates.contains(&name) {
                find(name, format!("`{krate}` must not depend on `{name}`; {see}"));
            }
            if never.contains(&name) {
                find(name, format!("`{krate}` must not use `{name}`; {see}"));
            }
            if OPTIONAL.contains(&(krate, name)) && dependency["optional"] != true {
                find(
                    name,
                    format!("`{name}` must be optional in `{krate}`; put it behind a feature"),
                );
            }
        }
        let used = reachable(&tree.metadata, &package["id"]);
        if TORCH_FREE.contains(&krate) && used.iter().any(|id| is_torch(id)) {
            let message = format!("`{krate}` needs libtorch through a dependency; remove that");
            find("[dependencies]", message);
        }
    }
    findings
}

fn is_torch(id: &str) -> bool {
    id.contains("torch-sys@") || id.contains("/torch-sys-") || id.contains("torch-sys ")
}

/// Ids of the packages that `start` is built from, development dependencies left out.
fn reachable<'a>(metadata: &'a Value, start: &'a Value) -> BTreeSet<&'a str> {
    let nodes = metadata["resolve"]["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = start.as_str().into_iter().collect();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id);
        for dependency in node.and_then(|node| node["deps"].as_array()).into_iter().flatten() {
            let kinds = dependency["dep_kinds"].as_array().map_or(&[][..], Vec::as_slice);
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                open.extend(dependency["pkg"].as_str());
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn found(package: &str, dependency: &Value, expected: &[&str]) {
        let mut tree = Tree::of(&[]);
        tree.metadata =
            json!({"packages": [{"name": package, "id": package, "dependencies": [dependency]}]});
        let findings = check(&tree);
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(finding.message.contains(part), "{finding}");
        }
    }

    #[test]
    fn direction_is_held() {
        found("hint-grpo", &json!({"name": "hint-rollout"}), &[]);
        found("hint-rollout", &json!({"name": "hint-grpo"}), &["must not depend on `hint-grpo`"]);
        found(
            "hint-policy",
            &json!({"name": "hint-tests", "kind": "dev"}),
            &["must not depend on `hint-tests`"],
        );
        found("hint-rollout", &json!({"name": "tch"}), &["must not use `tch`"]);
        found("hint-rollout", &json!({"name": "hint-policy", "optional": true}), &[]);
        found(
            "hint-rollout",
            &json!({"name": "hint-policy", "optional": false}),
            &["must be optional"],
        );
    }

    #[test]
    fn libtorch_is_found_behind_other_packages() {
        let metadata = |kind: Value| {
            json!({
                "packages": [{"name": "hint-affinity", "id": "a", "dependencies": []}],
                "resolve": {"nodes": [
                    {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": kind}]}]},
                    {"id": "b", "deps": [{"pkg": "registry#torch-sys@0.24.0", "dep_kinds": [{"kind": null}]}]},
                ]},
            })
        };
        let mut tree = Tree::of(&[]);
        tree.metadata = metadata(Value::Null);
        assert_eq!(check(&tree).len(), 1);
        tree.metadata = metadata("dev".into());
        assert_eq!(check(&tree), []);
    }
}
