//! The text in front of a box.

use super::commands::{OPERATORS, SEPARATORS, SIGNS, STYLES};
use crate::math::parse::stance::has;
use crate::number::glyph::vulgar_fraction;

/// The groups that are open in front of a box, if nothing else there makes it a part of something.
pub(super) fn opened(before: &str, in_formula: bool) -> Option<usize> {
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
        match command_before(rest, head, spaced) {
            Some(Command::Passes(head)) => {
                rest = head;
                continue;
            }
            Some(Command::Ends) => return Some(groups),
            Some(Command::Joins) => return None,
            None => {}
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
        // `½\boxed{12}`, `–\boxed{12}` and `(-)\boxed{12}` are not 12.
        if vulgar_fraction(last).is_some()
            || (matches!(last, '–' | '‒') && !spaced)
            || ["(-)", "(−)", "(–)"].iter().any(|sign| rest.ends_with(sign))
        {
            return None;
        }
        // `.\boxed{12}` is less than one.
        if last == '.' && !spaced && head.ends_with(char::is_whitespace) {
            return None;
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
                        | "hspace" | "vspace" | "tag" | "boxed" | "fbox" | "framebox" | "color",
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

/// The effect of a command in front of a box.
enum Command<'t> {
    /// None; this text is in front of it.
    Passes(&'t str),
    /// It separates the box from the text in front.
    Ends,
    /// It takes the box into a larger formula.
    Joins,
}

/// The command that a text ends with, if it ends with one. `head` is the text without its last character.
fn command_before<'t>(text: &'t str, head: &'t str, is_spaced: bool) -> Option<Command<'t>> {
    if let Some((head, command)) = command_at_end(text) {
        return Some(match command {
            _ if STYLES.contains(&command) || matches!(command, "left" | "big" | "Big") => {
                Command::Passes(head)
            }
            _ if SEPARATORS.contains(&command) || command == "in" => Command::Ends,
            _ => Command::Joins,
        });
    }
    let space = [",", ";", ":", "!", " "]
        .into_iter()
        .find_map(|space| text.strip_suffix(space)?.strip_suffix('\\'));
    if let Some(head) = space {
        return Some(Command::Passes(head));
    }
    if text.ends_with("\\\\") || text.ends_with('&') {
        return Some(Command::Ends);
    }
    (is_spaced && text.ends_with('\\')).then_some(Command::Passes(head))
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

/// The name of the command that a text ends with, and the text in front of it.
fn command_at_end(text: &str) -> Option<(&str, &str)> {
    let head = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let name = &text[head.len()..];
    let head = head.strip_suffix('\\')?;
    (!name.is_empty() && !head.ends_with('\\')).then_some((head, name))
}

/// Start of the group that a text ends with.
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

/// Whether the line in front holds only marks.
fn starts_line(head: &str) -> bool {
    let line = head.rsplit('\n').next().unwrap_or(head);
    line.chars().all(|c| c.is_whitespace() || "*_>#-".contains(c))
}

/// Whether a text ends with an HTML tag that its last `>` closes.
fn is_tag(head: &str) -> bool {
    head.rsplit_once('<')
        .is_some_and(|(_, name)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '/'))
}
