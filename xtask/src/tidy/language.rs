//! English of pages, doc comments and messages: no sentence is long.

use super::markdown::Markdown;
use super::messages::joined;
use super::{Finding, tree::SourceFile, tree::Tree};

/// The longest sentence, in words.
const LONGEST: usize = 22;

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // What is made of doc comments is read where they stand.
    for file in tree.files.iter().filter(|file| file.path != "docs/keys.md") {
        let Some(text) = prose(file) else { continue };
        for (line, block) in Markdown::parse(&text).prose.into_iter().chain(messages(file)) {
            let long = sentences(&block).map(|sentence| (sentence, words(sentence)));
            findings.extend(long.filter(|(_, words)| *words > LONGEST).map(|(sentence, words)| {
                let start = sentence.trim().chars().take(60).collect::<String>();
                let message = format!("a sentence of {words} words; at most {LONGEST}: {start}…");
                Finding::new(&file.path, line, message)
            }));
        }
    }
    findings
}

fn words(sentence: &str) -> usize {
    sentence.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()
}

/// Markdown, or the doc comments of a Rust file, line for line.
fn prose(file: &SourceFile) -> Option<String> {
    if file.extension() == Some("md") {
        return Some(file.text.clone());
    }
    let comment = |line: &str| {
        let line = line.trim_start();
        let text = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
        text.map_or_else(String::new, |text| text.strip_prefix(' ').unwrap_or(text).to_owned())
    };
    is_code(file).then(|| file.text.lines().map(|line| comment(line) + "\n").collect())
}

/// The fewest words of a string that is taken for a message.
const MESSAGE: usize = 4;

/// The clauses of messages in a Rust file: its strings of several words, apart from unit tests. A remedy follows the fault
/// behind a semicolon, as a clause of its own.
fn messages(file: &SourceFile) -> Vec<(usize, String)> {
    let code = file
        .text
        .split("#[cfg(test)]")
        .next()
        .filter(|_| is_code(file) && !file.path.starts_with("tests/"));
    let mut messages = Vec::new();
    for line in joined(code.unwrap_or_default()).lines() {
        let is_comment = line.trim_start().starts_with("//");
        let strings = line.split('"').skip(1).step_by(2).filter(|_| !is_comment);
        for string in strings.filter(|string| string.split_whitespace().count() >= MESSAGE) {
            let start = line.trim_start().get(..20).unwrap_or(line);
            let at = file.lines().find(|(_, line)| line.contains(start)).map_or(1, |(at, _)| at);
            messages.extend(string.split("; ").map(|clause| (at, clause.to_owned())));
        }
    }
    messages
}

fn is_code(file: &SourceFile) -> bool {
    file.is_rust() && !file.path.contains("/tests/")
}

/// Splits where a full stop, a question or an exclamation mark ends a word.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end =
            [". ", "? ", "! ", ".) "].iter().filter_map(|end| Some(rest.find(end)? + end.len()));
        let (sentence, after) = rest.split_at(end.min().unwrap_or(rest.len()));
        rest = after;
        Some(sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_by_clause() {
        let code = "// \"A comment with four words.\"\n#[error(\"the fault of `{name}` is \\\n    \\\"odd\\\"; mend it \
                    now\")]\nlet a = \"three short words\";\n#[cfg(test)]\nlet b = \"one two three four\";\n";
        let tree = Tree::of(&[("crates/x/src/lib.rs", code)]);
        let expected = [(2, "the fault of `{name}` is ''odd''"), (2, "mend it now")];
        assert_eq!(messages(&tree.files[0]), expected.map(|(at, text)| (at, text.to_owned())));
    }

    #[test]
    fn long_sentences_of_pages_doc_comments_and_messages_are_found() {
        let long = "word ".repeat(LONGEST + 1);
        let page = format!("Short one. What is it? {long}.\n");
        let code = format!("//! {long}.\nfn f() {{ fail(\"{long}\") }} // {long}\n");
        let files = [("docs/a.md", page.as_str()), ("crates/x/src/lib.rs", &code)];
        let found = check(&Tree::of(&files));
        let places = found.iter().map(|found| (found.path.as_str(), found.line));
        let expected = [("docs/a.md", 1), ("crates/x/src/lib.rs", 1), ("crates/x/src/lib.rs", 2)];
        assert_eq!(places.collect::<Vec<_>>(), expected);
        assert!(found[0].message.starts_with("a sentence of 23 words"), "{found:?}");
    }
}
