//! The book holds together: pages, links, anchors, included files, and the pages that code and messages name.

use std::collections::BTreeMap;

use super::markdown::Markdown;
use super::{Finding, tree::SourceFile, tree::Tree};

/// The folder of the pages, and the list of them.
const BOOK: &str = "docs/";
const SUMMARY: &str = "docs/SUMMARY.md";

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let is_markdown = |file: &&SourceFile| file.extension() == Some("md");
    let pages: BTreeMap<&str, Markdown> = (tree.files.iter().filter(is_markdown))
        .map(|file| (file.path.as_str(), Markdown::parse(&file.text)))
        .collect();
    let mut findings = Vec::new();
    for (path, page) in &pages {
        for (line, link) in &page.links {
            let broken = broken(tree, &pages, path, link);
            findings.extend(broken.map(|message| Finding::new(*path, *line, message)));
        }
    }
    for file in tree.files.iter().filter(|file| file.path.starts_with(BOOK) && is_markdown(file)) {
        findings.extend(includes(tree, file));
    }
    findings.extend(unlisted(&pages));
    findings.extend(named(tree));
    findings
}

/// The fault of a link.
fn broken(tree: &Tree, pages: &BTreeMap<&str, Markdown>, path: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { path.to_owned() } else { join(path, file) };
    let is_folder = || tree.files.iter().any(|file| file.path.starts_with(&format!("{target}/")));
    let is_data = || tree.data.contains(&target);
    if tree.file(&target).is_none() && !is_data() && !is_folder() {
        return Some(format!("`{link}` leads nowhere; there is no `{target}`"));
    }
    if path.starts_with(BOOK) && !target.starts_with(BOOK) {
        return Some(format!("`{link}` leaves the book; name the file instead of linking it"));
    }
    let page = pages.get(target.as_str());
    let has_anchor = |page: &Markdown| page.anchors.iter().any(|other| other == anchor);
    let anchors = page.filter(|page| !anchor.is_empty() && !has_anchor(page));
    anchors.map(|page| {
        format!("`{target}` has no heading `{anchor}`; it has {}", page.anchors.join(", "))
    })
}

/// Path from the root of a page's link.
fn join(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Files, and parts of files, that a page includes and that are not there.
fn includes(tree: &Tree, page: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in page.lines() {
        for include in line.split("{{#include ").skip(1) {
            let include = include.split("}}").next().unwrap_or_default().trim();
            let (path, anchor) = include.split_once(':').unwrap_or((include, ""));
            let path = join(&page.path, path);
            let file = tree.file(&path);
            let start = format!("ANCHOR: {anchor}");
            let found = |file: &SourceFile| {
                anchor.is_empty() || file.text.lines().any(|line| line.trim_end().ends_with(&start))
            };
            if !file.is_some_and(found) {
                let message = format!("`{include}` includes nothing; correct path or anchor");
                findings.push(Finding::new(&page.path, number, message));
            }
        }
    }
    findings
}

/// Pages that the summary does not list, or lists twice.
fn unlisted(pages: &BTreeMap<&str, Markdown>) -> Vec<Finding> {
    let Some(summary) = pages.get(SUMMARY) else { return Vec::new() };
    let listed: Vec<String> = summary.links.iter().map(|(_, link)| join(SUMMARY, link)).collect();
    let of_book = pages.keys().filter(|path| path.starts_with(BOOK) && **path != SUMMARY);
    let wrong = of_book.filter(|path| listed.iter().filter(|other| other == *path).count() != 1);
    wrong
        .map(|path| {
            Finding::new(*path, 1, format!("the page must be once in `{SUMMARY}`; list it there"))
        })
        .collect()
}

/// Pages that code names, and that are not there.
fn named(tree: &Tree) -> Vec<Finding> {
    let code = tree.files.iter().filter(|file| matches!(file.extension(), Some("rs" | "toml")));
    let mut findings = Vec::new();
    for file in code.filter(|file| !file.path.starts_with("xtask/")) {
        for (number, line) in file.lines() {
            for (at, _) in line.match_indices(BOOK) {
                let is_path = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
                let name = line[at..].split(|c| !is_path(c)).next().unwrap_or_default();
                let name = name.trim_end_matches('.');
                let page = name.rsplit_once('.').filter(|(_, extension)| *extension == "md");
                if page.is_some() && tree.file(name).is_none() {
                    let message = format!("there is no page `{name}`; correct the name");
                    findings.push(Finding::new(&file.path, number, message));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [(&str, &str); 4] = [
        (SUMMARY, "- [A](a.md)\n- [B](b/c.md)\n"),
        ("docs/a.md", "# One\n\n[two](b/c.md#two), [web](https://x.y), [here](#one)\n"),
        (
            "docs/b/c.md",
            "# Two\n\n[one](../a.md)\n```rust\n{{#include ../../examples/x.rs:part}}\n```\n",
        ),
        ("examples/x.rs", "//! See `docs/a.md`.\n// ANCHOR: part\n"),
    ];

    #[track_caller]
    fn found(path: &str, text: &str, expected: &[&str]) {
        let mut files = PAGES.to_vec();
        files.retain(|(other, _)| *other != path);
        files.push((path, text));
        let findings = check(&Tree::of(&files));
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(finding.message.contains(part), "{finding}");
        }
    }

    #[test]
    fn pages_hold_together() {
        found("README.md", "[a](docs/a.md#one) and [code](examples)\n", &[]);
    }

    #[test]
    fn dead_links_are_found() {
        found("README.md", "[a](docs/x.md)\n", &["no `docs/x.md`"]);
        found("docs/a.md", "[a](b/c.md#three)\n", &["no heading `three`; it has two"]);
        found("docs/a.md", "[a](../examples/x.rs)\n", &["leaves the book"]);
        found("docs/a.md", "{{#include x.rs}}\n", &["includes nothing"]);
        found("docs/a.md", "{{#include ../examples/x.rs:other}}\n", &["includes nothing"]);
        found("docs/d.md", "", &["once in"]);
        found("src/lib.rs", "// docs/e.md, docs/a.md\n", &["no page `docs/e.md`"]);
    }
}
