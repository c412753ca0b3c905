//! Tokens that start with a backslash.

use crate::math::fuel::Stop;
use crate::math::lex::lexer::{Lexer, Mode, take_letters};
use crate::math::lex::token::{Kind, Token};
use crate::math::lex::units::{is_unit_expression, is_unit_letter};
use crate::math::lex::vocabulary::{
    command, function, is_decoration, is_font_command, is_text_command,
};
use crate::math::tree::node::{Function, Relation};

impl<'a> Lexer<'a, '_> {
    pub(super) fn backslash(&mut self) -> Result<(), Stop> {
        let rest = &self.rest()[1..];
        let Some(next) = rest.chars().next() else {
            self.at += 1;
            return Ok(());
        };
        match next {
            '\\' => {
                let in_matrix = self.environments.last().copied().unwrap_or(false);
                let doubled = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic());
                if !in_matrix && doubled && self.environments.is_empty() {
                    // A command whose backslash was escaped twice.
                    self.at += 1;
                } else {
                    self.push(Kind::RowBreak, 2 + spacing(&rest[1..]));
                }
            }
            '{' | '}' => {
                if next == '{'
                    && rest[1..].trim_start().starts_with("\\begin{")
                    && rest.contains("\\right.")
                {
                    // The brace of a system of equations, which has no partner.
                    self.at += 2;
                } else if next == '{' {
                    self.depth += 1;
                    self.push(Kind::Open('S'), 2);
                } else {
                    self.depth = self.depth.saturating_sub(1);
                    self.push(Kind::Close('S'), 2);
                }
            }
            '%' => self.push(Kind::Percent, 2),
            '$' => self.push(Kind::Currency("usd"), 2),
            '|' => self.push(Kind::Operator('|'), 2),
            '&' | '#' | '_' => return Err(Stop::Unreadable("an escaped text character")),
            '(' | '[' => {
                self.mode = Mode::Math;
                self.at += 2;
                self.spaced = true;
            }
            ')' | ']' => {
                self.mode = Mode::Text;
                self.at += 2;
                self.spaced = true;
            }
            _ if next.is_ascii_alphabetic() => return self.command(),
            _ => {
                // `\,` and the other spaces; `\!` takes space away.
                self.at += 1 + next.len_utf8();
                self.spaced |= next != '!';
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), Stop> {
        let name = take_letters(&self.rest()[1..]);
        let length = 1 + name.len();
        if matches!(name, "left" | "right") {
            self.at += length;
            if self.rest().trim_start().starts_with('.') {
                self.at += self.rest().find('.').unwrap_or(0) + 1;
            }
            return Ok(());
        }
        if matches!(name, "color" | "textcolor" | "colorbox") {
            // The color; what is colored follows.
            let behind = self.rest()[length..].trim_start();
            let color = group_content(behind).map_or(0, |color| color.len() + 2);
            self.at += self.rest().len() - behind.len() + color;
            return Ok(());
        }
        if matches!(name, "phantom" | "hphantom" | "vphantom") {
            // Nobody sees its group.
            let behind = self.rest()[length..].trim_start();
            let hidden = group_content(behind).map_or(0, |hidden| hidden.len() + 2);
            self.at += self.rest().len() - behind.len() + hidden;
            return Ok(());
        }
        if matches!(name, "begin" | "end") {
            return self.environment(name);
        }
        if is_text_command(name) {
            return self.text_command(length);
        }
        if is_font_command(name) {
            self.font_command(name, length);
            return Ok(());
        }
        if matches!(name, "rm" | "bf" | "it") && self.rest()[length..].trim_start().starts_with('{')
        {
            self.font_command("mathrm", length);
            return Ok(());
        }
        if is_decoration(name) {
            self.at += length;
            self.spaced = true;
            return Ok(());
        }
        if name == "not" {
            return self.negated_relation(length);
        }
        match command(name) {
            Some(kind) => {
                match kind {
                    Kind::Fraction | Kind::Binomial => {
                        self.push(kind, length);
                        self.single_digits = 2;
                    }
                    Kind::Open('(' | '[' | 'S') => {
                        self.depth += 1;
                        self.push(kind, length);
                    }
                    Kind::Close(close) => {
                        if matches!(close, ')' | ']' | 'S') {
                            self.depth = self.depth.saturating_sub(1);
                        }
                        let close = match close {
                            ')' => '(',
                            ']' => '[',
                            other => other,
                        };
                        self.push(Kind::Close(close), length);
                    }
                    _ => self.push_argument(kind, length),
                }
                Ok(())
            }
            None if matches!(name, "dots" | "ldots" | "cdots" | "dotsc" | "dotsb") => {
                self.push(Kind::Name("dots"), length);
                Ok(())
            }
            None => self.unknown_command(name),
        }
    }

    /// `\not=` and `\not\in`.
    fn negated_relation(&mut self, length: usize) -> Result<(), Stop> {
        let rest = self.rest()[length..].trim_start();
        let skipped = self.rest().len() - rest.len();
        for (sign, relation) in [
            ("=", Relation::NotEqual),
            ("\\in", Relation::Other('∉')),
            ("<", Relation::GreaterEqual),
            (">", Relation::LessEqual),
            ("\\equiv", Relation::Other('≢')),
        ] {
            if rest.starts_with(sign) {
                self.push(Kind::Relation(relation), skipped + sign.len());
                return Ok(());
            }
        }
        Err(Stop::Unreadable("an unknown negated relation"))
    }

    /// A command glued to the letters behind it, such as `\quadx` or `\cdotx`.
    fn unknown_command(&mut self, name: &'a str) -> Result<(), Stop> {
        for end in (2..name.len()).rev() {
            let head = &name[..end];
            if is_decoration(head) {
                self.at += 1 + end;
                self.spaced = true;
                return Ok(());
            }
        }
        Err(Stop::Unreadable("an unknown command"))
    }

    fn environment(&mut self, which: &'a str) -> Result<(), Stop> {
        let start = self.at + 1 + which.len();
        let behind = &self.text[start..];
        let open = behind.find('{').filter(|at| behind[..*at].trim().is_empty());
        let close = behind.find('}');
        let (Some(open), Some(close)) = (open, close) else {
            return Err(Stop::Unreadable("an environment without a name"));
        };
        let name =
            behind.get(open + 1..close).ok_or(Stop::Unreadable("an environment without a name"))?;
        let name = name.trim_end_matches('*');
        let is_matrix = matches!(
            name,
            "matrix"
                | "pmatrix"
                | "bmatrix"
                | "Bmatrix"
                | "vmatrix"
                | "Vmatrix"
                | "smallmatrix"
                | "array"
                | "cases"
        );
        self.at = start + close + 1;
        if which == "begin" {
            self.environments.push(is_matrix);
            if is_matrix {
                self.push(Kind::Begin(name), 0);
            }
            if name == "array" {
                // The column format.
                if let Some(end) = self.rest().strip_prefix('{').and_then(|rest| rest.find('}')) {
                    self.at += end + 2;
                }
            }
        } else {
            self.environments.pop();
            if is_matrix {
                self.push(Kind::End(name), 0);
            }
        }
        Ok(())
    }

    fn text_command(&mut self, length: usize) -> Result<(), Stop> {
        let behind = &self.rest()[length..];
        let space = behind.len() - behind.trim_start().len();
        let Some(content) = group_content(&behind[space..]) else {
            return Err(Stop::Unreadable("a text command without its argument"));
        };
        let total = length + space + content.len() + 2;
        let word =
            content.trim_matches(|c: char| c.is_whitespace() || c == '~').trim_end_matches('.');
        match word {
            "" => {
                self.at += total;
                self.spaced = true;
            }
            "and" | ", and" | "And" | "AND" => self.push(Kind::And, total),
            "or" | ", or" | "Or" | "OR" => self.push(Kind::Or, total),
            "mod" => self.push(Kind::Mod, total),
            "," => self.push(Kind::Comma, total),
            ";" => self.push(Kind::Semicolon, total),
            "%" | "\\%" | "percent" | "percentage" | "pct" | "per cent" => {
                self.push(Kind::Percent, total);
            }
            "°" | "\\circ" | "º" => self.push(Kind::Degree, total),
            "$" | "\\$" => self.push(Kind::Currency("usd"), total),
            "€" => self.push(Kind::Currency("eur"), total),
            "£" => self.push(Kind::Currency("gbp"), total),
            "¥" => self.push(Kind::Currency("jpy"), total),
            "₹" => self.push(Kind::Currency("inr"), total),
            _ => self.push_argument(Kind::Text(word), total),
        }
        Ok(())
    }

    fn font_command(&mut self, name: &'a str, length: usize) {
        let behind = &self.rest()[length..];
        let space = behind.len() - behind.trim_start().len();
        let behind = &behind[space..];
        let (content, total) = if let Some(content) = group_content(behind) {
            (content, length + space + content.len() + 2)
        } else {
            let Some(first) = behind.chars().next().filter(char::is_ascii_alphanumeric) else {
                self.at += length;
                return;
            };
            (&behind[..first.len_utf8()], length + space + first.len_utf8())
        };
        let word = content.trim_matches(|c: char| c.is_whitespace() || c == '~');
        let kind = match (name, word) {
            ("mathbb" | "Bbb" | "mathbf", "R" | "Z" | "N" | "Q" | "C") => {
                Kind::NumberSet(word.chars().next().unwrap_or('R'))
            }
            ("mathrm" | "operatorname", _)
                if is_unit_letter(word)
                    && matches!(self.tokens.last(), Some(Token { kind: Kind::Number(_), .. }))
                    && !self.rest()[total..].trim_start().starts_with(['(', '_']) =>
            {
                Kind::Text(word)
            }
            ("mathbf" | "boldsymbol" | "bm", "i") => Kind::Name("hat i"),
            ("mathbf" | "boldsymbol" | "bm", "j") => Kind::Name("hat j"),
            ("mathbf" | "boldsymbol" | "bm", "k") => Kind::Name("hat k"),
            (_, "e") => Kind::E,
            (_, "i") => Kind::I,
            (_, "mod") => Kind::Mod,
            (_, "and") => Kind::And,
            (_, "or") => Kind::Or,
            _ if word.len() == 1 && word.bytes().all(|b| b.is_ascii_alphabetic()) => {
                Kind::Name(word)
            }
            _ if word.len() > 1 && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ') => {
                match function(word) {
                    Some(function) => Kind::Function(function),
                    None if name == "operatorname" => Kind::Function(Function::Named(word.into())),
                    None => Kind::Text(word),
                }
            }
            // `5\mathrm{~m/s^2}`
            ("mathrm" | "operatorname", _) if is_unit_expression(word) => Kind::Text(word),
            _ => {
                self.at += length;
                return;
            }
        };
        self.push_argument(kind, total);
    }
}

/// The content of the brace group the text starts with.
fn group_content(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[1..at]);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The bytes of the length behind a row break, such as `[4pt]`.
fn spacing(text: &str) -> usize {
    let length = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let length = length.map_or("", |(length, _)| length);
    let is_length = ["pt", "ex", "em", "mm", "cm", "in"].iter().any(|unit| {
        length.strip_suffix(unit).is_some_and(|number| number.trim().parse::<f64>().is_ok())
    });
    if is_length { length.len() + 2 } else { 0 }
}
