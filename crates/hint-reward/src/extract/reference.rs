//! Content of a reference answer, without the markup around it.
//!
//! A reference is read whole. Only these are left out: a box, a tag, its announcing word, and the brackets of a list
//! with one string. A text that cannot be read whole stays unchanged, for a comparison of words.

use std::borrow::Cow;

use crate::extract::boxed::BoxedAnswer;
use crate::extract::stated::only_number;
use crate::math::lex::typography::plain;

/// The reference without its markup.
pub(crate) fn bare_reference(reference: &str) -> String {
    let text = plain(reference.trim_matches([' ', '\n', '\u{a0}']));
    let text = one_of_a_list(&text).map_or(text.clone(), Cow::Owned);
    let mut text = text.trim();
    if let [only] = BoxedAnswer::all(text).as_slice()
        && !only.content.trim().is_empty()
    {
        return only.content.trim().to_owned();
    }
    if text.contains('#')
        && let Some((_, behind)) = text.rsplit_once("####")
    {
        return behind.trim().to_owned();
    }
    if text.contains('<')
        && let Some((_, behind)) = text.rsplit_once("<answer>")
    {
        return behind.split("</answer>").next().unwrap_or(behind).trim().to_owned();
    }
    if let Some(rest) = announced(text) {
        text = rest;
    } else if let Some(only) = only_solution(text) {
        return only.to_owned();
    } else if text.contains('\n') || text.starts_with("Solution") {
        // A whole solution, which announces its answer at the end.
        let lowered = text.to_ascii_lowercase();
        let announced = ["answer is", "answer:"]
            .into_iter()
            .filter_map(|phrase| lowered.rfind(phrase).map(|at| at + phrase.len()))
            .max();
        if let Some(start) = announced {
            let line = text[start..].trim_start_matches([':', ' ', '*']).lines().next();
            let line = line.unwrap_or_default().trim();
            return only_number(line).unwrap_or_else(|| line.to_owned());
        }
    }
    text.to_owned()
}

/// The formula of `$x=2$ is the only solution.`, or those of `$x=2$ and $x=3$ are the only solutions.`
fn only_solution(text: &str) -> Option<&str> {
    if let Some((formulas, noun)) = text.trim_end_matches('.').split_once(" are the only ") {
        let is_noun =
            matches!(noun, "solutions" | "answers" | "values" | "real solutions" | "roots");
        let words = formulas.split('$').step_by(2).flat_map(|part| part.split([' ', ',']));
        let joins = words.filter(|word| !word.is_empty()).all(|word| word == "and");
        return (is_noun && joins && formulas.starts_with('$')).then_some(formulas);
    }
    let (formula, rest) = text.strip_prefix('$')?.split_once('$')?;
    let rest = rest.trim().trim_end_matches('.').strip_prefix("is the only ")?;
    let is_noun = matches!(
        rest,
        "solution"
            | "answer"
            | "value"
            | "such number"
            | "real solution"
            | "root"
            | "pair"
            | "such pair"
            | "triple"
            | "possibility"
    );
    (is_noun && !formula.is_empty()).then_some(formula)
}

/// Text behind `Answer:`, `\text{Answer: }` and `The final answer is` at the start.
fn announced(text: &str) -> Option<&str> {
    let open = text.trim_start_matches(['*', '$', ' ']);
    let grouped = open.strip_prefix("\\text{").or_else(|| open.strip_prefix("\\textbf{"));
    let lowered = grouped.unwrap_or(open).to_ascii_lowercase();
    let subject =
        ["the final answer", "final answer", "the correct answer", "the answer", "answer", "ans"]
            .into_iter()
            .find(|subject| lowered.starts_with(subject))?;
    let verb = [" is:", " is", ":", " ="]
        .into_iter()
        .find(|verb| lowered[subject.len()..].starts_with(verb))?;
    let start = text.len() - grouped.unwrap_or(open).len() + subject.len() + verb.len();
    let mut rest = text[start..].trim_start_matches(['*', ' ']);
    if grouped.is_some() {
        rest = rest.strip_prefix('}')?;
    }
    let rest = rest.trim();
    (!rest.is_empty()).then_some(rest)
}

/// The items of `['$2n-2$']` or `["A", "C"]`, joined.
fn one_of_a_list(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut items: Vec<String> = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut item = String::new();
        let mut end = None;
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' {
                // An escaped backslash or quote; anything else is the backslash of a command.
                match chars.peek().copied() {
                    Some((_, next @ ('\\' | '\'' | '"'))) => {
                        chars.next();
                        item.push(next);
                    }
                    _ => item.push('\\'),
                }
            } else if c == quote {
                end = Some(at + 1);
                break;
            } else {
                item.push(c);
            }
        }
        items.push(item);
        rest = rest[end?..].trim_start();
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    (!items.is_empty()).then(|| items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_taken_off_and_nothing_else() {
        for (reference, expected) in [
            (r"\boxed{12}", "12"),
            ("4 + 8 = 12\n#### 12", "12"),
            ("<answer> 7 </answer>", "7"),
            (r"\text{Answer: } (2, 3)", "(2, 3)"),
            ("**Answer:** 5", "5"),
            ("The final answer is $x$", "$x$"),
            (r"['$\\frac{n}{2}$']", r"$\frac{n}{2}$"),
            (r#"["$3n$"]"#, "$3n$"),
            ("['A', 'C']", "A, C"),
            ("[1, 2]", "[1, 2]"),
            ("The maximum is $8$ when $x=2$.", "The maximum is $8$ when $x=2$."),
            ("We count.\nThe answer is: It takes 36 minutes.", "36 minutes"),
            ("We solve.\nThe answer is x + 5", "x + 5"),
            ("We solve.\nThe answer is n > 12 for all", "n > 12 for all"),
            ("We solve.\nThe answer is 2 pi r", "2 pi r"),
            ("We solve.\nThe answer is at least 5 apples", "at least 5 apples"),
        ] {
            assert_eq!(bare_reference(reference), expected);
        }
    }
}
