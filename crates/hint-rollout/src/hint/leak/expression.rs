//! The formulas of a text, with and without dollar signs.

use std::ops::Range;

/// Names that occur in formulas.
const NAMES: [&str; 9] = ["sqrt", "frac", "sin", "cos", "tan", "log", "ln", "pi", "cdot"];

/// Letters that products are written with, as in `2xy`, and their lookalikes that are units.
const VARIABLES: &str = "abcdkmnpqrstuvwxyz";
const UNITS: [&str; 12] =
    ["cm", "km", "mm", "dm", "kg", "mg", "am", "pm", "ms", "sqm", "rad", "pts"];

/// A formula and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression<'t> {
    pub(super) text: &'t str,
    pub(super) span: Range<usize>,
}

impl Expression<'_> {
    /// Whether a part of the text lies within it.
    pub(super) const fn holds(&self, part: &Range<usize>) -> bool {
        self.span.start <= part.start && part.end <= self.span.end
    }

    /// Whether it is made of numbers alone.
    pub(super) fn is_numeric(&self) -> bool {
        words(self.text).all(|word| NAMES.contains(&word))
    }
}

/// Every formula of at least two operands, or of one and a function. Each side of a relation is a
/// formula of its own.
pub(super) fn expressions_in(text: &str) -> Vec<Expression<'_>> {
    let mut found = Vec::new();
    let mut run: Option<Range<usize>> = None;
    let mut flush = |run: &mut Option<Range<usize>>| {
        if let Some(span) = run.take() {
            sides(text, span, &mut found);
        }
    };
    for token in tokens(text) {
        if is_math(&text[token.clone()]) {
            run = Some(run.map_or(token.clone(), |run| run.start..token.end));
            // The end of a sentence ends a formula.
            if text[token].ends_with(['.', ';', ':', '?']) {
                flush(&mut run);
            }
        } else {
            flush(&mut run);
        }
    }
    flush(&mut run);
    found
}

/// A text without white space, dollar signs and TeX's spacing commands, in lower case.
pub(super) fn compact(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '$').flat_map(char::to_lowercase).collect()
}

/// Whether a text without white space is a piece of a formula.
pub(super) fn is_math(token: &str) -> bool {
    let token = token.trim_end_matches(['.', ',', ';', ':', '?', '!']);
    let single = |word: &str| word.chars().count() == 1 || NAMES.contains(&word);
    let product = |word: &str| {
        word.len() <= 3 && !UNITS.contains(&word) && word.chars().all(|c| VARIABLES.contains(c))
    };
    // `by` is a word, `2xy` a product.
    let has_symbols = token.contains(|c: char| !c.is_alphabetic());
    let known = words(token).all(|word| single(word) || (has_symbols && product(word)));
    let symbols = token
        .chars()
        .all(|c| c.is_alphanumeric() || "+-−±∓*/=≠≡×÷·^_()[]{}.,!|<>≤≥%$\\√'".contains(c));
    !token.is_empty() && known && symbols
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    text.split_inclusive(char::is_whitespace).filter_map(move |piece| {
        let start = at;
        at += piece.len();
        let token = piece.trim_end();
        (!token.is_empty()).then(|| start..start + token.len())
    })
}

/// The sides of the relations of a run. An inequality is also one as a whole: its sides are no
/// values on their own.
fn sides<'t>(text: &'t str, span: Range<usize>, found: &mut Vec<Expression<'t>>) {
    let run = &text[span.clone()];
    if run.contains(['<', '>', '≤', '≥', '≠', '≡']) && run.contains(char::is_alphabetic) {
        found.push(Expression { text: run, span: span.clone() });
    }
    let mut start = span.start;
    for side in run.split(['=', '≈', '<', '>', '≤', '≥', '≠', '≡']) {
        let end = start + side.len();
        let next = end + text[end..].chars().next().map_or(0, char::len_utf8);
        found.extend(trimmed(text, start..end));
        start = next;
    }
}

/// A side without punctuation, articles and brackets that have no partner; `None` if it joins nothing.
fn trimmed(text: &str, span: Range<usize>) -> Option<Expression<'_>> {
    let (mut start, mut end) = (span.start, span.end);
    loop {
        let side = &text[start..end];
        let inner = side.trim_matches(|c: char| c.is_whitespace() || ".,;:?!$".contains(c));
        let inner =
            ["a ", "A ", "I "].iter().find_map(|word| inner.strip_prefix(word)).unwrap_or(inner);
        let inner = inner.strip_suffix(" a").unwrap_or(inner);
        let open = inner.matches('(').count();
        let close = inner.matches(')').count();
        let inner = if open > close { inner.strip_prefix('(').unwrap_or(inner) } else { inner };
        let inner = if close > open { inner.strip_suffix(')').unwrap_or(inner) } else { inner };
        if inner.len() == side.len() {
            break;
        }
        start += inner.as_ptr() as usize - side.as_ptr() as usize;
        end = start + inner.len();
    }
    let side = &text[start..end];
    let operands =
        side.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).count();
    let joins =
        side.contains(['+', '-', '−', '*', '/', '×', '÷', '·', '^', '(', '\\', '√', ',', '!']);
    let implicit =
        side.chars().any(|c| c.is_ascii_digit()) && side.chars().any(char::is_alphabetic);
    let one = side.contains(['√', '!', '\\']);
    ((operands > 1 && joins) || implicit || (operands > 0 && one))
        .then_some(Expression { text: side, span: start..end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = expressions_in(text);
        for expression in &found {
            assert_eq!(&text[expression.span.clone()], expression.text);
        }
        let found = found.iter().map(|expression| expression.text).collect::<Vec<_>>();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn formulas_are_found_within_sentences() {
        check("Note that n(n + 1) occurs.", &["n(n + 1)"]);
        check("Take 6 * 22 first; then stop.", &["6 * 22"]);
        check("So 6*22 = 132 and $2\\sqrt{3}$.", &["6*22", "2\\sqrt{3}"]);
        check("The point (3, 4) lies on it", &["(3, 4)"]);
        check("It is (about 3/4).", &["3/4"]);
        check("We have (x+y)^2≥4xy here", &["(x+y)^2≥4xy", "(x+y)^2", "4xy"]);
    }

    #[test]
    fn words_and_single_numbers_are_no_formulas() {
        check("Let x be a number; add 5 and a well-known one (see step 2).", &[]);
        check("1. Add. 2. Multiply the two.", &[]);
    }
}
