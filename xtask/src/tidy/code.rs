//! Just enough of a Rust lexer to tell code from comments and literals.

/// Replaces every character of comments and literals by a space; lines stay where they are.
pub(crate) fn without_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' | 'b' | 'c' if !follows_word(&chars, at) => raw_or_prefixed_string_end(&chars, at),
            '\'' => char_end(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The words of a line: runs of letters, digits and underscores.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| chars[before].is_alphanumeric() || chars[before] == '_')
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |offset| at + offset)
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// End of `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`; `at` itself if none starts there.
fn raw_or_prefixed_string_end(chars: &[char], at: usize) -> usize {
    let mut next = at;
    while next < at + 2 && matches!(chars.get(next), Some('r' | 'b' | 'c')) {
        next += 1;
    }
    let raw = chars[at..next].contains(&'r');
    let hashes = chars[next..].iter().take_while(|&&c| c == '#').count();
    if chars.get(next + hashes) != Some(&'"') || (hashes > 0 && !raw) {
        return at;
    }
    if !raw {
        return string_end(chars, next);
    }
    let mut close = next + hashes + 1;
    while close < chars.len() {
        if chars[close] == '"'
            && chars[close + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
        {
            return close + 1 + hashes;
        }
        close += 1;
    }
    chars.len()
}

/// End of a character literal; `at` itself for a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        // The escaped character is skipped: it may be a quote.
        (Some('\\'), _) => {
            let close = chars.iter().skip(at + 3).position(|&c| c == '\'');
            close.map_or(at, |offset| at + 3 + offset + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `parts` alternate between code, which stays, and what becomes as many spaces.
    #[track_caller]
    fn check(parts: &[&str]) {
        let blank =
            |part: &&str| part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        let expected: String = parts
            .iter()
            .enumerate()
            .map(|(i, part)| if i % 2 == 0 { (*part).to_owned() } else { blank(part) })
            .collect();
        assert_eq!(without_comments_and_literals(&parts.concat()), expected);
    }

    #[test]
    fn comments_become_spaces() {
        check(&["a ", "// b", "\nc"]);
        check(&["a ", "/* b /* c\n*/ */", " d"]);
    }

    #[test]
    fn literals_become_spaces() {
        check(&["f(", r#""a \" b""#, ", c)"]);
        check(&["f(", "r#\"a \" b\"#", ", c)"]);
        check(&["f(", "b\"a\"", ", bar, r#type)"]);
        check(&["", "'a'", ", ", r"'\''", ", ", r"'\u{1f}'", " x"]);
    }

    #[test]
    fn lifetimes_stay() {
        check(&["fn f<'a>(x: &'a str, y: &'static str)"]);
    }

    #[test]
    fn open_literal_ends_with_the_file() {
        check(&["a ", "\"b"]);
        check(&["a ", "/* b"]);
    }
}
