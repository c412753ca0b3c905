//! Lines for a person.
//!
//! A run does not end because nobody reads it: a pipe or terminal that is gone is no error. Text of a
//! data set or a server cannot move the cursor: control characters are shown, not sent.

use std::fmt::{Arguments, Write as _};
use std::io::{Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use console::measure_text_width;

pub(crate) mod bar;
pub(crate) mod live;

/// Writes a line to the standard error.
macro_rules! note {
    ($($line:tt)*) => { $crate::terminal::note(format_args!($($line)*)) };
}

/// Writes a line to the standard error, except under `--quiet`: neither a warning nor an error.
macro_rules! inform {
    ($($line:tt)*) => {
        if !$crate::terminal::is_hushed() {
            note!($($line)*);
        }
    };
}

/// Writes a line to the standard output.
macro_rules! say {
    ($($line:tt)*) => { $crate::terminal::say(format_args!($($line)*)) };
}

static HUSHED: AtomicBool = AtomicBool::new(false);

/// Leaves out the lines of `inform!` from now on.
pub(crate) fn hush() {
    HUSHED.store(true, Ordering::Relaxed);
}

pub(crate) fn is_hushed() -> bool {
    HUSHED.load(Ordering::Relaxed)
}

pub(crate) fn note(line: Arguments<'_>) {
    let line = visible(&line.to_string());
    let line = live::columns().map_or_else(|| line.clone(), |columns| wrapped(&line, columns));
    live::above(|| drop(writeln!(stderr(), "{line}")));
}

pub(crate) fn say(line: Arguments<'_>) {
    let line = visible(&line.to_string());
    live::above(|| drop(writeln!(stdout(), "{line}")));
}

/// The text with control characters, and marks that change its direction, as escapes.
pub(crate) fn visible(text: &str) -> String {
    let hidden = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\r' => shown.push_str("\\r"),
            // As in JSON, which stays JSON.
            c if hidden(c) => drop(write!(shown, "\\u{:04x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

/// A text that a shell takes as one word: in quotes, where it needs them.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The text, with its lines broken between words where they are wider than `columns`.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = String::with_capacity(text.len());
    let (mut used, mut has_word) = (0, false);
    for word in text.split_inclusive([' ', '\n']) {
        if has_word && used + measure_text_width(word.trim_end()) > columns {
            lines.truncate(lines.trim_end_matches(' ').len());
            lines.push('\n');
            (used, has_word) = (0, false);
        }
        lines.push_str(word);
        (used, has_word) = if word.ends_with('\n') {
            (0, false)
        } else {
            (used + measure_text_width(word), has_word || !word.trim().is_empty())
        };
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_between_words() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("one two three", 13), "one two three");
        assert_eq!(
            wrapped("  /a/long/path and\nmore words", 8),
            "  /a/long/path\nand\nmore\nwords"
        );
    }

    #[test]
    fn escape_sequences_are_shown() {
        assert_eq!(visible("a\u{1b}[2J\u{7}b\r\n\tä"), "a\\u001b[2J\\u0007b\\r\n\tä");
        assert_eq!(visible("\u{202e}x"), "\\u202ex");
    }

    #[test]
    fn a_word_has_quotes_where_a_shell_needs_them() {
        let words = ["runs/0001/hint", "a b", "it's", "", "$x", "swaps-12"];
        let expected = ["runs/0001/hint", "'a b'", r"'it'\''s'", "''", "'$x'", "swaps-12"];
        assert_eq!(words.map(quoted), expected);
    }
}
