//! The versions that belong together are pinned: the toolchain, `tch` and libtorch.

use super::{Finding, tree::Tree};
use hint_libtorch::VERSION;

/// The toolchain that CI has.
const TOOLCHAIN: &str = "1.95.0";

/// The release of tch that accepts the libtorch of the setup.
const TCH: &str = "=0.24.0";

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut expect = |path: &str, keys: &[&str], expected: &str| {
        let found = tree.file(path).and_then(|file| lookup(&file.text, keys));
        if found.as_deref() != Some(expected) {
            let keys = keys.join(".");
            let found = found.unwrap_or_else(|| "nothing".into());
            findings.push(Finding::new(
                path,
                1,
                format!("`{keys}` is {found}, expected {expected}; set it"),
            ));
        }
    };
    let release = TOOLCHAIN.rsplit_once('.').map_or(TOOLCHAIN, |(release, _)| release);
    expect("rust-toolchain.toml", &["toolchain", "channel"], TOOLCHAIN);
    expect("Cargo.toml", &["workspace", "package", "rust-version"], release);
    expect("Cargo.toml", &["workspace", "dependencies", "tch", "version"], TCH);
    if let Some(readme) = tree.file("README.md") {
        for version in [VERSION, TCH.trim_start_matches('=')] {
            if !readme.text.contains(version) {
                let message = format!(
                    "the README does not name version {version}; state the pair of tch and libtorch"
                );
                findings.push(Finding::new(&readme.path, 1, message));
            }
        }
    }
    findings
}

fn lookup(text: &str, keys: &[&str]) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    let (first, rest) = keys.split_first()?;
    let value = rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))?;
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_compared() {
        let manifest = "[workspace.package]\nrust-version = \"1.95\"\n[workspace.dependencies]\n\
                        tch = { version = \"=0.24.0\" }\n";
        let toolchain = "[toolchain]\nchannel = \"1.95.0\"\n";
        let readme = "tch 0.24.0 with libtorch 2.11.0\n";
        let found = |manifest: &str, readme: &str| {
            check(&Tree::of(&[
                ("Cargo.toml", manifest),
                ("rust-toolchain.toml", toolchain),
                ("README.md", readme),
            ]))
        };
        assert_eq!(found(manifest, readme), []);
        assert_eq!(found(manifest, "Any.\n").len(), 2);
        let findings = found(&manifest.replacen("=0.24.0", "0.26", 1), readme);
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].message.contains("`workspace.dependencies.tch.version` is 0.26"),
            "{}",
            findings[0]
        );
    }
}
