//! Whether a box holds the whole of what its formula states, or a part: `x = \boxed{18}`, not `2\cdot\boxed{18}`.

use std::ops::Range;

use crate::extract::formula::math_segments;
use crate::math::lex::units::{is_unit, is_unit_letter};
use crate::math::parse::counted::computes;
use crate::math::parse::stance::has;
use crate::number::numbers_in;

/// Commands that set what follows them in another way, and change nothing.
const STYLES: [&str; 22] = [
    "mathbf",
    "boldsymbol",
    "bm",
    "mathrm",
    "text",
    "textbf",
    "textit",
    "mathit",
    "underline",
    "emph",
    "displaystyle",
    "textstyle",
    "large",
    "Large",
    "LARGE",
    "huge",
    "Huge",
    "bf",
    "color",
    "textcolor",
    "colorbox",
    "mbox",
];

/// Commands that separate what stands in front of them from what stands behind.
const SEPARATORS: [&str; 34] = [
    "quad",
    "qquad",
    "Rightarrow",
    "rightarrow",
    "implies",
    "Longrightarrow",
    "longrightarrow",
    "iff",
    "Leftrightarrow",
    "therefore",
    "because",
    "to",
    "approx",
    "equiv",
    "hfill",
    "newline",
    "item",
    "par",
    "noindent",
    "dots",
    "ldots",
    "cdots",
    "blacksquare",
    "square",
    "Box",
    "qed",
    "checkmark",
    "hline",
    "pmod",
    "end",
    "tag",
    "label",
    "hspace",
    "vspace",
];

/// Commands that take what stands in front of them or behind them into a larger formula.
const OPERATORS: [&str; 18] = [
    "cdot", "times", "div", "pm", "mp", "ast", "star", "le", "leq", "ge", "geq", "lt", "gt", "ne",
    "neq", "ll", "gg", "sqrt",
];

/// Signs that do the same.
const SIGNS: &str = "+-*/^<×÷±√·−≠≤≥∛∜";

/// Units in words that a number in front of them takes, beside those of the table.
const SCALES: [&str; 10] = [
    "percent",
    "dozen",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "lakh",
    "crore",
    "percentage",
];

/// The `\%` or unit behind the last box, which belongs to its value. `None` if the boxes are a part of a larger formula.
pub(crate) fn attached(text: &str, span: &Range<usize>) -> Option<String> {
    let paragraph = paragraph(text, span);
    let (start, end) = (span.start - paragraph.start, span.end - paragraph.start);
    let text = &text[paragraph];
    let segments = math_segments(text);
    let in_formula =
        |at: usize| segments.iter().any(|(_, formula)| formula.start < at && at < formula.end);
    let groups = opened(&text[..start], in_formula(start))?;
    closed(&text[end..], groups, in_formula(end))
}

/// The lines around a place, up to empty ones.
fn paragraph(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text[..span.start].rfind("\n\n").map_or(0, |at| at + 2);
    let end = text[span.end..].find("\n\n").map_or(text.len(), |at| span.end + at);
    start..end
}

/// The text without the sign that closes an emphasis at its end, as in `**Answer:**`. Signs that multiply stand between
/// values or spaces.
fn before_emphasis(text: &str) -> Option<&str> {
    let line = text.rfind('\n').map_or(0, |at| at + 1);
    ["**", "__", "*", "_"].into_iter().find_map(|mark| {
        let head = text.strip_suffix(mark)?;
        let open = line + head.get(line..)?.rfind(mark)?;
        let (before, inside) = (&head[..open], &head[open + mark.len()..]);
        let opens = !before.ends_with(|c: char| c.is_alphanumeric() || ")]}*_".contains(c));
        let is_tight =
            !inside.starts_with(char::is_whitespace) && !inside.ends_with(char::is_whitespace);
        (opens && is_tight && inside.contains(char::is_alphabetic)).then_some(head)
    })
}

/// The groups that are open in front of a box, if nothing else there makes it a part of something.
fn opened(before: &str, in_formula: bool) -> Option<usize> {
    let mut rest = before;
    let mut groups = 0;
    let mut in_formula = in_formula;
    loop {
        let mut trimmed = rest.trim_end_matches([' ', '\t', '\n', '~']);
        let gap = &rest[trimmed.len()..];
        if let (false, Some(head)) = (in_formula, before_emphasis(trimmed)) {
            trimmed = head;
        }
        let spaced = !gap.is_empty();
        let joins = |c: char| "+-/^=<>".contains(c) || !c.is_ascii() && !c.is_alphanumeric();
        if gap.contains('\n')
            && !in_formula
            && !trimmed.ends_with(joins)
            && !trimmed.strip_suffix('*').is_some_and(multiplies)
            && command_at_end(trimmed).is_none()
        {
            return (!awaits(trimmed)).then_some(groups);
        }
        let new_line = trimmed.is_empty();
        rest = trimmed;
        let Some(last) = rest.chars().next_back() else { return Some(groups) };
        let head = &rest[..rest.len() - last.len_utf8()];
        if let Some((head, command)) = command_at_end(rest) {
            match command {
                _ if STYLES.contains(&command) || matches!(command, "left" | "big" | "Big") => {
                    rest = head;
                    continue;
                }
                _ if SEPARATORS.contains(&command) || command == "in" => return Some(groups),
                _ => return None,
            }
        }
        if let Some(head) = [",", ";", ":", "!", " "]
            .into_iter()
            .find_map(|space| rest.strip_suffix(space)?.strip_suffix('\\'))
        {
            rest = head;
            continue;
        }
        if spaced && rest.ends_with('\\') && !rest.ends_with("\\\\") {
            rest = head;
            continue;
        }
        if rest.ends_with("\\\\") || rest.ends_with('&') {
            return Some(groups);
        }
        let opens = ["$$", "$", "\\(", "\\["].into_iter().find_map(|open| rest.strip_suffix(open));
        if let Some(head) = opens
            && in_formula
        {
            // What touches the sign that opens the formula touches the formula: `2$\boxed{9}$`.
            let touches = |c: char| c.is_ascii_alphanumeric() || "+-/^%".contains(c);
            in_formula = false;
            if head.ends_with(touches) {
                return None;
            }
            rest = head;
            if head.is_empty() || head.ends_with(char::is_whitespace) {
                return (!awaits(head.trim_end())).then_some(groups);
            }
            continue;
        }
        let digit_before = || head.ends_with(|c: char| c.is_ascii_digit());
        match last {
            '=' if head.ends_with(['!', '<', '>', '≠']) => return None,
            '=' | '≈' | '≡' | '&' | '⇒' | '→' | '∴' => return Some(groups),
            '{' => {
                groups += 1;
                if head.ends_with(['^', '_']) {
                    return None;
                }
                rest = group_head(head)?;
            }
            '}' => {
                let open = matching(rest)?;
                let command = command_at_end(&rest[..open]).map(|(_, command)| command);
                return match command {
                    Some(
                        "text" | "textbf" | "textit" | "mbox" | "mathrm" | "begin" | "end"
                        | "hspace" | "vspace" | "tag" | "boxed" | "fbox" | "color",
                    ) => Some(groups),
                    _ => None,
                };
            }
            '(' | '[' => {
                let head = head.strip_suffix("\\left").unwrap_or(head);
                if head.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '}') {
                    return None;
                }
                rest = head;
                if !in_formula {
                    return Some(groups);
                }
            }
            ')' | ']' | '-' if in_formula => return None,
            '*' | '_' if !in_formula && !spaced => rest = head.trim_end_matches(['*', '_']),
            '*' if !in_formula && starts_line(head) => return Some(groups),
            '.' | ',' | ':' if !spaced && digit_before() => return None,
            '.' | ',' | ':' | ';' | '?' | '"' | '\'' | ')' | ']' | '|' | '#' | '$' => {
                return (!awaits(rest)).then_some(groups);
            }
            '!' | '–' | '—' if !in_formula => return Some(groups),
            '>' if !in_formula
                && (starts_line(head) || head.ends_with(['=', '-', '/']) || is_tag(head)) =>
            {
                return Some(groups);
            }
            '-' if starts_line(head) && spaced => return Some(groups),
            '-' if spaced && head.ends_with(' ') => {
                let word = head.split_whitespace().next_back().unwrap_or_default();
                return (!has(&["is", "are", "be", "equals"], word)).then_some(groups);
            }
            '-' if head.ends_with('-') => return Some(groups),
            _ if last.is_ascii_digit() && !new_line => return None,
            _ if last.is_ascii_alphabetic() && (in_formula || !spaced) => return None,
            _ if last.is_alphanumeric() => return Some(groups),
            _ if last.is_ascii() || "×÷±√·−≠≤≥∛∜".contains(last) => return None,
            _ => return Some(groups),
        }
    }
}

/// The text in front of a group and of the command that takes it, such as `\color{red}` and `\mathbf`.
fn group_head(head: &str) -> Option<&str> {
    if head.ends_with('}') {
        let (before, _) = head.rsplit_once('{')?;
        let (_, command) = command_at_end(before)?;
        return (STYLES.contains(&command) || command == "fcolorbox").then_some(before);
    }
    match command_at_end(head) {
        Some((_, command)) if !STYLES.contains(&command) => None,
        _ => Some(head),
    }
}

/// The unit that a value takes from the text behind its box, if nothing there makes it a part of something.
fn closed(behind: &str, groups: usize, in_formula: bool) -> Option<String> {
    let mut rest = behind;
    for _ in 0..groups {
        rest = rest.trim_start().strip_prefix('}')?;
    }
    let mut in_formula = in_formula;
    let mut suffix = String::new();
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '~']);
        let spaced = trimmed.len() < rest.len();
        if rest[..rest.len() - trimmed.len()].contains('\n') && !in_formula {
            return (!goes_on(trimmed)).then_some(suffix);
        }
        rest = trimmed;
        let mut chars = rest.chars();
        let Some(first) = chars.next() else { return Some(suffix) };
        let next = chars.as_str();
        let is_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        if first == '\\' {
            if let Some(behind) =
                [",", ";", ":", "!", " "].into_iter().find_map(|space| next.strip_prefix(space))
            {
                rest = behind;
                continue;
            }
            if let Some(behind) = next.strip_prefix('%') {
                suffix.push_str("\\%");
                rest = behind;
                continue;
            }
            if next.starts_with([')', ']']) {
                (in_formula, rest) = (false, &next[1..]);
                if touches(rest) {
                    return None;
                }
                continue;
            }
            if next.starts_with('\\') {
                return Some(suffix);
            }
            let name = next.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
            let argument = &next[name.len()..];
            return match name {
                "text" | "mathrm" | "textrm" | "mbox" | "textbf" => {
                    let words = argument.trim_start().strip_prefix('{')?.split('}').next()?;
                    with_words(suffix, words)
                }
                "right" => {
                    rest = argument.trim_start_matches([')', ']', '.']);
                    continue;
                }
                "degree" | "circ" => {
                    suffix.push_str("^\\circ");
                    Some(suffix)
                }
                _ if SEPARATORS.contains(&name) => Some(suffix),
                _ => None,
            };
        }
        match first {
            '$' => {
                (in_formula, rest) = (false, next.trim_start_matches('$'));
                if is_ordinal(rest) {
                    return Some(suffix);
                }
                if touches(rest) {
                    return None;
                }
            }
            '%' => {
                suffix.push_str("\\%");
                rest = next;
            }
            '°' => {
                suffix.push_str("^\\circ");
                rest = next;
            }
            '^' => {
                let ring = ["\\circ", "{\\circ}", "°", "{°}"];
                rest = ring.into_iter().find_map(|ring| next.strip_prefix(ring))?;
                suffix.push_str("^\\circ");
            }
            '.' | ',' | ':' => return (!is_digit(next)).then_some(suffix),
            '=' | '≈' | '&' | ';' | '⇒' | '→' | '|' | '}' | '`' | '#' => {
                return Some(suffix);
            }
            ')' | ']' => rest = next,
            '!' | '"' | '\'' => return (!in_formula).then_some(suffix),
            '?' => return None,
            '*' | '_' if !in_formula && !spaced => rest = next.trim_start_matches(['*', '_']),
            '-' if !in_formula && next.starts_with(['-', ' ']) => {
                return (!is_digit(next.trim_start_matches(['-', ' ']))).then_some(suffix);
            }
            '<' if !in_formula
                && next.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '|') =>
            {
                return Some(suffix);
            }
            '(' => {
                let inside =
                    next.trim_start().trim_start_matches("\\text{").trim_start_matches('\\');
                let is_words = inside.chars().take_while(|c| c.is_alphabetic()).nth(1).is_some();
                let apart = spaced && !in_formula;
                return (apart || is_words).then_some(suffix);
            }
            _ if first.is_ascii_alphanumeric() => {
                return if in_formula || !spaced { None } else { with_words(suffix, rest) };
            }
            _ if first.is_ascii() || "×÷±√·−≠≤≥".contains(first) => return None,
            _ => return Some(suffix),
        }
    }
}

/// Whether a text in front of a formula ends with an operator that takes it: `2 +`, `$2\cdot$`.
fn awaits(text: &str) -> bool {
    let closed = ["$$", "$", "\\)", "\\]"].into_iter().find_map(|close| text.strip_suffix(close));
    let inside = closed.unwrap_or(text).trim_end_matches([' ', '\t', '\n', '~', '&']);
    if let Some((_, command)) = command_at_end(inside) {
        return OPERATORS.contains(&command);
    }
    let Some(sign) = inside.chars().next_back().filter(|sign| SIGNS.contains(*sign)) else {
        return false;
    };
    let head = &inside[..inside.len() - sign.len_utf8()];
    match sign {
        _ if closed.is_some() => true,
        '*' => multiplies(head),
        // A dash, or an item of a list.
        '-' => {
            let word = head.split_whitespace().next_back().unwrap_or_default();
            head.ends_with(' ') && has(&["is", "are", "be", "equals"], word)
        }
        _ => true,
    }
}

/// Whether the `*` behind a text multiplies: it neither starts an item of a list nor ends an emphasis.
fn multiplies(head: &str) -> bool {
    let line = head.rsplit('\n').next().unwrap_or(head);
    let opened = line.trim_start_matches(['*', ' ']).matches('*').count();
    let emphasis = line.starts_with('*') && !line.starts_with("* ");
    !starts_line(head)
        && !head.ends_with('*')
        && (head.ends_with(char::is_whitespace) || (opened.is_multiple_of(2) && !emphasis))
}

/// Whether a line computes with what stands in front of it: `+ 1`, `\cdot 2`. An item of a list does not.
fn goes_on(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    let inside = ["$$", "$", "\\(", "\\["].into_iter().find_map(|open| line.strip_prefix(open));
    let body = inside.unwrap_or(line).trim_start();
    if let Some(command) = body.strip_prefix('\\') {
        let name = command.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        return name != "sqrt" && OPERATORS.contains(&name);
    }
    let mut chars = body.chars();
    let Some(sign) = chars.next().filter(|sign| SIGNS.contains(*sign)) else { return false };
    let behind = chars.as_str();
    // `---`, `**Check**`, `</p>`
    let is_mark = behind.starts_with(sign)
        || "√∛∜".contains(sign)
        || (sign == '<' && behind.starts_with(|c: char| c.is_alphabetic() || "/|!".contains(c)));
    let is_item = (inside.is_some() || !behind.trim_start().starts_with(|c: char| c.is_numeric()))
        && behind
            .split(|c: char| !c.is_alphabetic() && c != '\\')
            .any(|word| !word.contains('\\') && word.chars().nth(1).is_some());
    !is_mark && !is_item
}

/// Whether a text goes on with what it follows: `\boxed{1}` and a digit directly behind its dollar sign.
fn touches(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || "^/+".contains(c))
}

/// Whether a text starts with the ending of an ordinal: the `th` of `$n$th`.
fn is_ordinal(text: &str) -> bool {
    ["th", "st", "nd", "rd"].iter().any(|end| {
        text.strip_prefix(end)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    })
}

/// The suffix with the unit that words start with; `None` if they compute with the value.
fn with_words(mut suffix: String, words: &str) -> Option<String> {
    let words = words.trim_start();
    let end =
        words.find(|c: char| !(c.is_alphabetic() || "/^·".contains(c))).unwrap_or(words.len());
    let word = &words[..end];
    if computes(words) {
        return None;
    }
    let behind = words[end..].trim_start();
    // `\boxed{64} and a half`
    if word == "and" && numbers_in(behind).first().is_some_and(|number| number.span.start < 3) {
        return None;
    }
    if word == "or" {
        let same = ["equivalently", "approximately", "about", "roughly", "simply"];
        return same.iter().any(|same| behind.starts_with(same)).then_some(suffix);
    }
    let name = word.split('/').next().unwrap_or(word);
    let squares = matches!(word, "square" | "cubic");
    let is_letter =
        is_unit_letter(word) && word != "A" && !behind.starts_with(char::is_alphanumeric);
    if is_letter || (is_unit(name) && word != "in") || SCALES.contains(&word) || squares {
        suffix.push_str("\\text{ ");
        suffix.push_str(word);
        if squares || behind.starts_with("per ") {
            let count = if squares { 1 } else { 2 };
            for next in behind.split(|c: char| !c.is_alphabetic()).take(count) {
                suffix.push(' ');
                suffix.push_str(next);
            }
        }
        suffix.push('}');
    }
    Some(suffix)
}

/// The name of the command that a text ends with, and what stands in front of it.
fn command_at_end(text: &str) -> Option<(&str, &str)> {
    let head = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let name = &text[head.len()..];
    let head = head.strip_suffix('\\')?;
    (!name.is_empty() && !head.ends_with('\\')).then_some((head, name))
}

/// Where the group opens that a text ends with.
fn matching(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate().rev() {
        match byte {
            b'}' => depth += 1,
            b'{' if depth <= 1 => return Some(at),
            b'{' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether nothing but marks stands in the line in front.
fn starts_line(head: &str) -> bool {
    let line = head.rsplit('\n').next().unwrap_or(head);
    line.chars().all(|c| c.is_whitespace() || "*_>#-".contains(c))
}

/// Whether a text ends with an HTML tag that its last `>` closes.
fn is_tag(head: &str) -> bool {
    head.rsplit_once('<')
        .is_some_and(|(_, name)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::boxed::BoxedAnswer;

    fn suffix(text: &str) -> Option<String> {
        let boxes = BoxedAnswer::all(text);
        attached(text, &boxes.last()?.span)
    }

    #[test]
    fn a_box_is_taken_where_it_is_the_whole_of_its_formula() {
        for text in [
            r"\boxed{9}",
            r"Hence \boxed{9}.",
            r"$x = \boxed{9}$, as wanted",
            r"\[ 3\cdot 3 = \boxed{9}. \]",
            "$$\n\\begin{aligned} x &= 3\\cdot3 \\\\ &= \\boxed{9} \\end{aligned}\n$$",
            r"$\therefore\ \boxed{9}$",
            r"**\boxed{9}**",
            r"- \boxed{9}",
            r"$\color{red}{\boxed{9}}$",
            r"$\mathbf{\boxed{9}}$",
            r"$2^5\equiv\boxed{9}\pmod{23}$",
            r"$\left(\boxed{9}\right)$",
            r"The answer is \boxed{9}!",
            r"答案是\boxed{9}。",
            r"$\text{Answer: }\boxed{9}$",
            r"\boxed{9} marbles are left",
            r"$\boxed{9} = 3^2$",
            r"In 2 steps we get $\boxed{9}$.",
            r"the $\boxed{9}$th term",
            r"| total | \boxed{9} |",
            r"\boxed{9} (да)",
            r"\boxed{9}(是的)",
            r"\boxed{9} (μ = 3)",
            "**The answer**\n\\boxed{9}",
            "*The answer is*\n\\boxed{9}",
            "So *the answer is*\n\\boxed{9}",
            "* $\\boxed{9}$",
            "- $\\boxed{9}$",
            "For $x = 2$ $\\boxed{9}$",
            "We are done:\n$x = 2\\pi$\n$\\boxed{9}$",
            "\\boxed{9}\n- Check: it holds",
            "\\boxed{9}\n* $x = 3$ is a root",
            "\\boxed{9}\n---\nDone",
            "\\boxed{9}\n**Check** it",
            "$\\boxed{9}$\n$-3$ is no solution",
            "\\boxed{9}\n</answer>",
        ] {
            assert_eq!(suffix(text).as_deref(), Some(""), "{text}");
        }
        for text in [
            r"$-\boxed{9}$",
            r"-\boxed{9}",
            r"$2\cdot\boxed{9}$",
            r"$2\boxed{9}$",
            r"2\boxed{9}",
            r"$\frac{1}{\boxed{9}}$",
            r"$\sqrt{\boxed{9}}$",
            r"$x^{\boxed{9}}$",
            r"$\boxed{9}^2$",
            r"$\boxed{9}+1$",
            r"\boxed{9}0",
            r"\boxed{9}.5",
            r"$\boxed{9}$0",
            r"$\boxed{9}!$",
            r"$x\ne\boxed{9}$",
            r"$x<\boxed{9}$",
            r"$f(\boxed{9})=2$",
            r"\boxed{9} squared",
            r"\boxed{9} or 10",
            r"\boxed{9} and a half",
            r"$\boxed{9}x$",
            r"$1,\boxed{9}$",
            r"\boxed{9}(是)",
            "2 *\n\\boxed{9}",
            "2*\n\\boxed{9}",
            "2 * 3 *\n\\boxed{9}",
            r"$-$ $\boxed{9}$",
            r"$-$ \boxed{9}",
            r"$2\cdot$ $\boxed{9}$",
            r"\(2\cdot\) \(\boxed{9}\)",
            "$2 +$\n$\\boxed{9}$",
            r"2 + $\boxed{9}$",
            r"2 * $\boxed{9}$",
            r"It is - $\boxed{9}$",
            "\\boxed{9}\n+ 1",
            "\\boxed{9}\n- 1",
            "\\boxed{9}\n\\cdot 2",
            "\\boxed{9}\n× 2",
            "$\\boxed{9}$\n$+ 1$",
        ] {
            assert_eq!(suffix(text), None, "{text}");
        }
    }

    #[test]
    fn a_unit_behind_a_box_belongs_to_its_value() {
        for (text, expected) in [
            (r"$\boxed{9}\%$", r"\%"),
            (r"\boxed{9}%", r"\%"),
            (r"$\boxed{9}^\circ$", r"^\circ"),
            (r"$\boxed{9}\text{ km}$", r"\text{ km}"),
            (r"\boxed{9} km", r"\text{ km}"),
            (r"$\boxed{9}$ square meters", r"\text{ square meters}"),
            (r"\boxed{9} dozen", r"\text{ dozen}"),
        ] {
            assert_eq!(suffix(text).as_deref(), Some(expected), "{text}");
        }
    }
}
