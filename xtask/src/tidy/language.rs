//! English of pages, doc comments and messages: the number of long sentences, and of words to avoid.
//!
//! Lists of words judge no text, but they keep a mended fault from coming back: the counts in `xtask/language.toml` may only
//! fall. `cargo xtask bless` writes those that fell.

use std::collections::BTreeMap;

use super::markdown::Markdown;
use super::messages::joined;
use super::{Finding, tree::SourceFile, tree::Tree};

const CEILINGS: &str = "xtask/language.toml";

/// The longest sentence, in words.
const LONGEST: usize = 22;

/// Words and phrases that have a plainer one, or an American spelling, beside them.
const AVOIDED: [(&str, &str); 31] = [
    ("anew", "again"),
    ("are told", "get, learn"),
    ("artefact", "artifact"),
    ("behaviour", "behavior"),
    ("but for", "except"),
    ("cancelled", "canceled"),
    ("centre", "center"),
    ("colour", "color"),
    ("comes to", "is, reaches"),
    ("favour", "favor"),
    ("goes on", "continues"),
    ("go on", "continue"),
    ("grey", "gray"),
    ("in vain", "without success"),
    ("initialise", "initialize"),
    ("is told", "gets, learns"),
    ("internalisation", "internalization"),
    ("judgement", "judgment"),
    ("knows nothing", "is independent of"),
    ("know nothing", "are independent of"),
    ("labelled", "labeled"),
    ("modelling", "modeling"),
    ("normalised", "normalized"),
    ("nothing but", "only"),
    ("optimiser", "optimizer"),
    ("recognise", "recognize"),
    ("there are those", "some"),
    ("towards", "toward"),
    ("what becomes of", "what happens to"),
    ("whatever", "any, name it"),
    ("whilst", "while"),
];

/// Counts of a place: sentences that are too long, and words to avoid.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    long: i64,
    avoided: i64,
}

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(CEILINGS) else { return Vec::new() };
    let ceilings = ceilings(&file.text);
    let (counts, samples) = counts(tree);
    let mut findings = Vec::new();
    for (place, count) in &counts {
        let ceiling = ceilings.get(place).copied().unwrap_or_default();
        if count.long > ceiling.long || count.avoided > ceiling.avoided {
            let sample = samples.get(place).map_or("", |sample| sample.as_str());
            let message = format!(
                "{} sentences of more than {LONGEST} words and {} words to avoid, {} and {} are allowed; \
                 shorten some, such as {sample}",
                count.long, count.avoided, ceiling.long, ceiling.avoided
            );
            findings.push(Finding::new(place, 1, message));
        } else if *count != ceiling {
            let message =
                format!("`{place}` reads better than it says; run `cargo xtask bless` to keep it");
            findings.push(Finding::new(CEILINGS, 1, message));
        }
    }
    findings
}

/// The file with the counts that fell. Counts that rose stay unchanged.
pub(super) fn blessed(tree: &Tree) -> Option<(String, String)> {
    let file = tree.file(CEILINGS)?;
    let ceilings = ceilings(&file.text);
    let head = file.text.split_inclusive('\n').take_while(|line| line.starts_with('#'));
    let mut lines: Vec<String> = head.map(str::to_owned).collect();
    for (place, count) in counts(tree).0 {
        let ceiling = ceilings.get(&place).copied().unwrap_or(count);
        let [long, avoided] = [count.long.min(ceiling.long), count.avoided.min(ceiling.avoided)];
        lines.push(format!("\"{place}\" = {{ long = {long}, avoided = {avoided} }}\n"));
    }
    Some((CEILINGS.to_owned(), lines.concat()))
}

fn ceilings(text: &str) -> BTreeMap<String, Count> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let number = |value: &toml::Value, key: &str| value.get(key).and_then(toml::Value::as_integer);
    let count = |value: &toml::Value| Count {
        long: number(value, "long").unwrap_or(0),
        avoided: number(value, "avoided").unwrap_or(0),
    };
    table.iter().map(|(place, value)| (place.clone(), count(value))).collect()
}

/// The counts of each place, and the last finding there.
fn counts(tree: &Tree) -> (BTreeMap<String, Count>, BTreeMap<String, String>) {
    let (mut counts, mut samples) = (BTreeMap::<String, Count>::new(), BTreeMap::new());
    for file in &tree.files {
        let (Some(place), Some(text)) = (place(&file.path), prose(file)) else { continue };
        let count = counts.entry(place.clone()).or_default();
        for (line, block) in Markdown::parse(&text).prose.into_iter().chain(messages(file)) {
            for sentence in sentences(&block) {
                let words = sentence.split_whitespace();
                let is_long = words.filter(|word| word.contains(char::is_alphanumeric)).count();
                let avoided = avoided(sentence);
                if is_long > LONGEST || avoided > 0 {
                    let start: String = sentence.trim().chars().take(60).collect();
                    samples.insert(place.clone(), format!("{}:{line}: {start}…", file.path));
                }
                count.long += i64::from(is_long > LONGEST);
                count.avoided += avoided;
            }
        }
    }
    (counts, samples)
}

/// Pages, the files of the root, each crate, and the rest.
fn place(path: &str) -> Option<String> {
    let mut parts = path.split('/');
    let first = parts.next()?;
    match (first, parts.next()) {
        // What is made of doc comments is counted where they stand.
        ("docs", Some("keys.md")) => None,
        (_, None) => Some("*.md".to_owned()),
        ("crates", Some(krate)) => Some(format!("crates/{krate}")),
        _ => Some(first.to_owned()),
    }
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

/// Number of words to avoid in a sentence. One that begins with `What` counts as well, unless it asks.
fn avoided(sentence: &str) -> i64 {
    let is_word = |c: char| c.is_alphanumeric() || c == '\'' || c == '-';
    let words: Vec<&str> =
        sentence.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let padded = format!(" {} ", words.join(" ").to_lowercase());
    let found = AVOIDED.iter().map(|(word, _)| padded.matches(&format!(" {word} ")).count());
    let indirect = words.first() == Some(&"What") && !sentence.trim_end().ends_with('?');
    let count = found.sum::<usize>() + usize::from(indirect);
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_and_words_are_counted() {
        let text = "Short one. What it does is odd. What is it? It goes on, but for the colour.";
        assert_eq!(sentences(text).count(), 4);
        assert_eq!(sentences(text).map(avoided).collect::<Vec<_>>(), [0, 1, 0, 3]);
    }

    #[test]
    fn messages_are_read_by_clause() {
        let code = "// \"A comment with four words.\"\n#[error(\"the fault of `{name}` is \\\n    \\\"odd\\\"; mend it \
                    now\")]\nlet a = \"three short words\";\n#[cfg(test)]\nlet b = \"one two three four\";\n";
        let tree = Tree::of(&[("crates/x/src/lib.rs", code)]);
        let expected = [(2, "the fault of `{name}` is ''odd''"), (2, "mend it now")];
        assert_eq!(messages(&tree.files[0]), expected.map(|(at, text)| (at, text.to_owned())));
    }

    #[test]
    fn counts_only_fall() {
        let long = format!("{}.\n", "word ".repeat(LONGEST + 1));
        let code = format!("//! {long}\nfn f() {{}} // {long}\n");
        let tree = |ceiling: &str| {
            let files =
                [("docs/a.md", long.as_str()), ("crates/x/src/lib.rs", &code), (CEILINGS, ceiling)];
            Tree::of(&files)
        };
        let two = |docs: i64| {
            format!(
                "# Head.\n\"crates/x\" = {{ long = 1, avoided = 0 }}\n\"docs\" = {{ long = {docs}, avoided = 0 }}\n"
            )
        };
        assert_eq!(check(&tree(&two(1))), []);
        let findings = check(&tree(&two(0)));
        assert!(findings[0].message.contains("1 sentences"), "{findings:?}");
        assert!(check(&tree(&two(2)))[0].message.contains("bless"));
        assert_eq!(blessed(&tree(&two(2))).unwrap().1, two(1));
        assert_eq!(blessed(&tree(&two(0))).unwrap().1, two(0));
    }
}
