//! Each message of the book's page about messages is one of the code.

use super::markdown::Markdown;
use super::{Finding, tree::Tree};

const PAGE: &str = "docs/troubleshooting.md";

/// Placeholder for names and numbers.
const BLANK: char = '…';

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE) else { return Vec::new() };
    let sources: Vec<String> = tree.rust(&["crates/"]).map(|file| joined(&file.text)).collect();
    let mut findings = Vec::new();
    for (line, language, message) in Markdown::parse(&page.text).code {
        let parts: Vec<&str> = message.trim().split(BLANK).map(str::trim_end).collect();
        if language == "text" && !sources.iter().any(|source| holds(source, &parts)) {
            let message = format!(
                "no code says `{}`; word it as the code does, with `{BLANK}` for what varies",
                message.trim()
            );
            findings.push(Finding::new(PAGE, line, message));
        }
    }
    findings
}

/// Whether the parts follow each other, near enough to be of one message.
fn holds(source: &str, parts: &[&str]) -> bool {
    let Some(first) = parts.iter().position(|part| !part.is_empty()) else { return false };
    source.match_indices(parts[first]).any(|(at, found)| {
        let mut rest = &source[at + found.len()..];
        parts[first + 1..].iter().all(|part| {
            let near = &rest[..rest.floor_char_boundary(part.len() + 80)];
            let gap = near.find(part).filter(|&gap| !near[..gap].contains('"'));
            if let Some(gap) = gap {
                rest = &rest[gap + part.len()..];
            }
            gap.is_some()
        })
    })
}

/// The text with literals of several lines on one, and with escaped quotes in plain form.
pub(super) fn joined(text: &str) -> String {
    let mut lines = text.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start()).replace("\\\"", "''")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "#[error(\"the {what} of `{name}` is \\\n    too long; shorten it\")]";

    #[track_caller]
    fn found(message: &str, expected: usize) {
        let page = format!("# M\n\n```text\n{message}\n```\n");
        let files = [("crates/a/src/error.rs", CODE), (PAGE, page.as_str())];
        assert_eq!(check(&Tree::of(&files)).len(), expected, "{message}");
    }

    #[test]
    fn messages_are_found_with_their_blanks() {
        found("the … of `…` is too long; shorten it", 0);
        found("is too long", 0);
        found("the … of `…` is too short", 1);
        found("shorten it … the", 1);
    }
}
