//! Rust on the pages imports public items only, as `docs/api` lists them.

use super::markdown::Markdown;
use super::modules::flatten;
use super::{Finding, tree::Tree};

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.extension() == Some("md")) {
        for (line, language, code) in Markdown::parse(&file.text).code {
            if !language.starts_with("rust") {
                continue;
            }
            for path in imports(&code).into_iter().filter(|path| !is_public(tree, path)) {
                let path = path.join("::");
                let message = format!("`{path}` is no public item; name it as `docs/api` does");
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings
}

/// The paths that code imports from crates of this repository.
fn imports(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let starts = code
        .match_indices("use hint_")
        .filter(|(at, _)| *at == 0 || code[..*at].ends_with('\n') || code[..*at].ends_with("    "));
    for (at, _) in starts {
        let Some(end) = code[at..].find(';') else { continue };
        if let Ok(item) = syn::parse_str::<syn::ItemUse>(&code[at..=at + end]) {
            flatten(&item.tree, &mut Vec::new(), &mut paths);
        }
    }
    paths
}

fn is_public(tree: &Tree, path: &[String]) -> bool {
    let Some((krate, rest)) = path.split_first() else { return true };
    let Some(api) = tree.file(&format!("docs/api/{}.txt", krate.replace('_', "-"))) else {
        return false;
    };
    let name = match rest {
        [.., last] if last == "*" => return true,
        [module @ .., last] if last == "self" => module,
        _ => rest,
    };
    let name = name.join("::");
    let names = |line: &str| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(": "));
    api.text.lines().any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_is_not_public_is_found() {
        let page = "```rust,no_run\nuse hint_x::{Here, place::{self, There}, Gone};\nuse hint_y::*;\n```\n";
        let api = "Here: use a::Here\nplace: mod\nplace::There: struct\nGoneFar: struct\n";
        let tree = Tree::of(&[
            ("docs/page.md", page),
            ("docs/api/hint-x.txt", api),
            ("docs/api/hint-y.txt", ""),
        ]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.starts_with("`hint_x::Gone` is"), "{findings:?}");
    }
}
