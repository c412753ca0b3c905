//! Comparison of words.

/// Whether two texts say the same, up to case, white space and punctuation around words.
pub(crate) fn same_text(a: &str, b: &str) -> bool {
    let (a, b) = (words(a), words(b));
    !a.is_empty() && a == b
}

fn words(text: &str) -> Vec<String> {
    let lowered = text.to_lowercase();
    let words = lowered.split(|c: char| c.is_whitespace() || matches!(c, '-' | '_' | ','));
    let trimmed = words.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned());
    trimmed.filter(|word| !word.is_empty() && word != "the").collect()
}

/// A text as it is compared when it cannot be read: without white space, math delimiters and sizing commands. White
/// space between two digits stays: `1 2` is not `12`.
pub(crate) fn bare(text: &str) -> String {
    const DROPPED: [&str; 12] = [
        "\\left",
        "\\right",
        "\\displaystyle",
        "\\!",
        "\\,",
        "\\;",
        "\\:",
        "\\ ",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
    ];
    let mut result = String::with_capacity(text.len());
    let mut rest = text.trim();
    if !rest.ends_with("..") {
        rest = rest.trim_end_matches('.');
    }
    let mut gap = false;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            if let Some(dropped) = DROPPED.into_iter().find(|dropped| is_command(rest, dropped)) {
                gap = true;
                rest = &rest[dropped.len()..];
                continue;
            }
            if ["\\dfrac", "\\tfrac"].into_iter().any(|command| rest.starts_with(command)) {
                result.push_str("\\frac");
                rest = &rest[6..];
                continue;
            }
        }
        if c.is_whitespace() || c == '$' {
            gap = true;
        } else {
            if gap && c.is_ascii_digit() && result.ends_with(|last: char| last.is_ascii_digit()) {
                result.push(' ');
            }
            gap = false;
            result.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    result
}

/// Whether the text starts with this command and not with a longer one.
fn is_command(text: &str, command: &str) -> bool {
    let Some(rest) = text.strip_prefix(command) else { return false };
    let is_word = command.len() > 2;
    !is_word || !rest.starts_with(|c: char| c.is_ascii_alphabetic())
}
