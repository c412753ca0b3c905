//! Allowed dependencies between packages, and the packages that must build without libtorch.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Finding, tree::Tree};

/// Allowed dependencies of a crate.
struct Rule {
    name: &'static str,
    /// Crates of this workspace it may use.
    crates: &'static [&'static str],
    /// Other packages it must not use.
    never: &'static [&'static str],
    /// Whether it must build without libtorch.
    torch_free: bool,
}

const RULES: [Rule; 9] = [
    Rule {
        name: "hint-affinity",
        crates: &[],
        never: &["anyhow", "clap", "rand", "tch", "tokio", "torch-sys"],
        torch_free: true,
    },
    Rule {
        name: "hint-reward",
        crates: &[],
        never: &["anyhow", "clap", "tch", "torch-sys"],
        torch_free: true,
    },
    Rule { name: "hint-policy", crates: &[], never: &["anyhow", "clap"], torch_free: false },
    Rule {
        name: "hint-rollout",
        crates: &["hint-reward", "hint-policy"],
        never: &["anyhow", "clap", "tch"],
        torch_free: false,
    },
    Rule { name: "hint-dist", crates: &[], never: &["anyhow", "clap"], torch_free: false },
    Rule {
        name: "hint-grpo",
        crates: &["hint-affinity", "hint-dist", "hint-reward", "hint-policy", "hint-rollout"],
        never: &["anyhow", "clap"],
        torch_free: false,
    },
    Rule { name: "hint-process", crates: &[], never: &["tch", "torch-sys"], torch_free: true },
    Rule { name: "hint-libtorch", crates: &[], never: &["tch", "torch-sys"], torch_free: true },
    Rule {
        name: "hint-rl",
        crates: &[
            "hint-affinity",
            "hint-dist",
            "hint-reward",
            "hint-policy",
            "hint-rollout",
            "hint-grpo",
            "hint-process",
        ],
        never: &[],
        torch_free: false,
    },
];

/// Dependencies that must be behind a feature.
const OPTIONAL: [(&str, &str); 1] = [("hint-rollout", "hint-policy")];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let packages = tree.metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    for rule in &RULES {
        let Some(package) = packages.iter().find(|package| package["name"] == rule.name) else {
            continue;
        };
        let path = format!("crates/{}/Cargo.toml", rule.name);
        let mut find = |name: &str, message: String| {
            let lines =
                tree.file(&path).map(|file| file.lines().find(|(_, line)| line.starts_with(name)));
            findings.push(Finding::new(
                &path,
                lines.flatten().map_or(1, |(line, _)| line),
                message,
            ));
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = dependency["name"].as_str().unwrap_or_default();
            // What links a package against libtorch is no part of it.
            let links = name == "hint-libtorch" && dependency["kind"] == "build";
            let internal = (name.starts_with("hint-") && !links) || name == "xtask";
            if internal && !rule.crates.contains(&name) {
                find(
                    name,
                    format!(
                        "`{}` must not depend on `{name}`; see the diagram in `ARCHITECTURE.md`",
                        rule.name
                    ),
                );
            }
            if rule.never.contains(&name) {
                find(
                    name,
                    format!(
                        "`{}` must not use `{name}`; see the invariants in `ARCHITECTURE.md`",
                        rule.name
                    ),
                );
            }
            if OPTIONAL.contains(&(rule.name, name)) && dependency["optional"] != true {
                find(
                    name,
                    format!(
                        "`{name}` must be optional in `{}`; put it behind a feature",
                        rule.name
                    ),
                );
            }
        }
        if rule.torch_free
            && reachable(&tree.metadata, &package["id"]).iter().any(|id| is_torch(id))
        {
            find(
                "[dependencies]",
                format!(
                    "`{}` needs libtorch through one of its dependencies; remove that",
                    rule.name
                ),
            );
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
