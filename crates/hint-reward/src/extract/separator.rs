//! Separators between the items of a list that a text spreads over several places.

/// Whether only separators stand between two parts of a list: `, `, `$ and $`, `\quad \text{or} \quad y =`.
pub(crate) fn is_separator(between: &str) -> bool {
    const SEPARATORS: [&str; 22] = [
        "\\qquad",
        "\\quad",
        "\\text{ and }",
        "\\text{and}",
        "\\text{ or }",
        "\\text{or}",
        "\\text{, and }",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "\\,",
        "\\;",
        "\\ ",
        "\\\\",
        "and",
        "or",
        "$",
        ",",
        ";",
        "&",
        "~",
    ];
    if between.len() > 80 {
        return false;
    }
    let mut rest = between.trim_matches([' ', '$']);
    if rest.is_empty() || offers_another(rest) {
        // Nothing but a space on the same line, or a word that leaves the choice open.
        return true;
    }
    rest = rest.trim();
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        match SEPARATORS.into_iter().find_map(|separator| rest.strip_prefix(separator)) {
            Some(behind) => rest = behind.trim_start(),
            None => return is_label(rest),
        }
    }
    true
}

/// Whether a second value is offered beside the first: `or maybe`, `, or possibly it is`.
fn offers_another(between: &str) -> bool {
    const OPEN: [&str; 14] = [
        "or",
        "maybe",
        "perhaps",
        "possibly",
        "else",
        "even",
        "also",
        "alternatively",
        "potentially",
        "could",
        "might",
        "be",
        "it",
        "is",
    ];
    let mut words = between.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let plain = between.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | ',' | '$' | '?'));
    plain && words.next() == Some("or") && words.all(|word| OPEN.contains(&word))
}

/// `y_2 =` in front of a box.
fn is_label(text: &str) -> bool {
    let Some((name, behind)) = text.split_once('=') else { return false };
    let name = name.trim();
    let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '{' | '}');
    let behind_is_empty = behind.chars().all(|c| c.is_whitespace() || c == '$' || c == '&');
    name.len() <= 8
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(simple)
        && behind_is_empty
}

/// The `y_2` of `y_2 =` at the end of a text.
pub(crate) fn name_before(text: &str) -> Option<&str> {
    let text = text.trim_end_matches([' ', '$', '&']).strip_suffix('=')?.trim_end();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '{' | '}');
    let start = text
        .rfind(|c: char| !is_name(c))
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let name = &text[start..];
    (name.len() <= 8 && name.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(name)
}
