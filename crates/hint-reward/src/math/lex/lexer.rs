//! From text to tokens.

use crate::math::fuel::{Fuel, Stop};
use crate::math::lex::literal::{Commas, read_literal};
use crate::math::lex::token::{Kind, Token};
use crate::math::lex::units::is_unit;
use crate::math::lex::vocabulary::{character, function, plain_word};
use crate::math::tree::node::Relation;
use crate::number::glyph::vulgar_fraction;

/// Tokens beyond which a text is not read as an answer.
const MAX_TOKENS: usize = 4096;

/// Result of lexing.
#[derive(Debug)]
pub(crate) struct Lexed<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    /// Whether a comma between digits could be read in another way.
    pub(crate) ambiguous_comma: bool,
}

/// Splits a text into tokens.
pub(crate) fn lex<'a>(text: &'a str, commas: Commas, fuel: &mut Fuel) -> Result<Lexed<'a>, Stop> {
    fuel.spend(text.len() as u64)?;
    let mut lexer = Lexer {
        text,
        at: 0,
        commas,
        tokens: Vec::new(),
        spaced: false,
        mode: Mode::Text,
        has_math_character: has_math_character(text),
        depth: 0,
        single_digits: 0,
        groups: Vec::new(),
        environments: Vec::new(),
        ambiguous_comma: false,
        fuel,
    };
    lexer.run()?;
    Ok(Lexed { tokens: lexer.tokens, ambiguous_comma: lexer.ambiguous_comma })
}

/// Whether a run of letters is a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Text,
    /// Inside `$…$` or its kin.
    Math,
}

pub(super) struct Lexer<'a, 'f> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) commas: Commas,
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) spaced: bool,
    pub(super) mode: Mode,
    pub(super) has_math_character: bool,
    /// Depth of brackets that hold lists.
    pub(super) depth: usize,
    /// Number of arguments of a fraction command that are still to come: those take one digit each when
    /// unbraced.
    pub(super) single_digits: u8,
    /// `single_digits` as it will be behind each open group.
    pub(super) groups: Vec<u8>,
    /// Whether each open environment is a matrix.
    pub(super) environments: Vec<bool>,
    pub(super) ambiguous_comma: bool,
    pub(super) fuel: &'f mut Fuel,
}

impl<'a> Lexer<'a, '_> {
    fn run(&mut self) -> Result<(), Stop> {
        while let Some(c) = self.rest().chars().next() {
            if self.tokens.len() >= MAX_TOKENS {
                return Err(Stop::Unreadable("the answer is too long"));
            }
            match c {
                ' ' | '\t' | '\n' | '\r' | '~' | '\u{a0}' | '\u{2009}' | '\u{202f}'
                | '\u{200b}' | '\u{feff}' => {
                    self.at += c.len_utf8();
                    self.spaced = true;
                }
                '$' => {
                    self.at += 1;
                    self.mode = if self.mode == Mode::Math { Mode::Text } else { Mode::Math };
                    if self.rest().starts_with('$') {
                        self.at += 1;
                    }
                    self.spaced = true;
                }
                '0'..='9' => self.number()?,
                '.' if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                    self.number()?;
                }
                '.' => self.full_stop()?,
                '\\' => self.backslash()?,
                _ if c.is_ascii_alphabetic() => self.letters(),
                _ => self.symbol(c)?,
            }
        }
        Ok(())
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn push(&mut self, kind: Kind<'a>, length: usize) {
        self.at += length;
        self.tokens.push(Token { kind, spaced: self.spaced });
        self.spaced = false;
    }

    /// A token that fills one argument of a fraction command.
    pub(super) fn push_argument(&mut self, kind: Kind<'a>, length: usize) {
        self.single_digits = self.single_digits.saturating_sub(1);
        self.push(kind, length);
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.single_digits > 0 {
            let digit = &self.rest()[..1];
            let literal = read_literal(digit, Commas::Separate, false)?.literal;
            self.push_argument(Kind::Number(literal), 1);
            return Ok(());
        }
        if let Some(digits) = letter_digits(self.rest()) {
            self.push(Kind::Text(digits), digits.len());
            return Ok(());
        }
        let read = read_literal(self.rest(), self.commas, self.depth > 0)?;
        let value = &read.literal.value;
        let words = (value.numer().bits() + value.denom().bits()) / 64;
        self.fuel.spend(20 + 10 * words * words)?;
        self.ambiguous_comma |= read.ambiguous;
        self.push(Kind::Number(read.literal), read.length);
        Ok(())
    }

    fn full_stop(&mut self) -> Result<(), Stop> {
        let dots = self.rest().bytes().take_while(|byte| *byte == b'.').count();
        if dots >= 3 {
            self.push(Kind::Name("dots"), dots);
            return Ok(());
        }
        // A sentence ends here; anything readable behind it is another sentence.
        let next = self.rest()[dots..].trim_start();
        if next.starts_with("\\end") || next.starts_with("\\\\") {
            self.at += dots;
            return Ok(());
        }
        let behind = self.rest()[dots..]
            .trim_start_matches([' ', '\n', '$', '}', ')', ']', '\\', '*', '"', '.']);
        if behind.is_empty() || self.rest()[dots..].starts_with(['\\', '}', '$']) {
            self.at += dots;
            return Ok(());
        }
        Err(Stop::Unreadable("text follows a full stop"))
    }

    fn letters(&mut self) {
        let run = take_letters(self.rest());
        let after_quantity = match self.tokens.last().map(|token| &token.kind) {
            Some(Kind::Number(_)) => true,
            // `5 sq cm`
            Some(Kind::Word(word)) => is_unit(word),
            _ => false,
        };
        let is_call = self.rest()[run.len()..].trim_start().starts_with(['(', '{', '\\']);
        let is_series = self.rest()[run.len()..].starts_with('_');
        if is_series && matches!(run, "sum" | "prod") {
            self.push(if run == "sum" { Kind::Sum } else { Kind::Product }, run.len());
        } else if after_quantity && is_unit(run) && !is_call && function(run).is_some() {
            // `45 min`
            self.push(Kind::Word(run), run.len());
        } else if let Some(kind) = plain_word(run) {
            self.push_argument(kind, run.len());
        } else if matches!(run, "th" | "st" | "nd" | "rd")
            && !self.spaced
            && matches!(self.tokens.last(), Some(Token { kind: Kind::Number(_), .. }))
        {
            // `5th`
            self.at += run.len();
        } else if run == "x" && self.is_times() {
            self.push(Kind::Operator('*'), 1);
        } else if run.len() == 1 {
            self.letter(run);
        } else if after_quantity && is_unit(run) {
            self.push(Kind::Word(run), run.len());
        } else if run.len() > 1
            && self.rest()[run.len()..].starts_with(": ")
            && run.bytes().next().is_some_and(|first| first.is_ascii_uppercase())
            && run.bytes().skip(1).all(|byte| byte.is_ascii_lowercase())
        {
            // `Bob: 5`
            self.push(Kind::Word(run), run.len());
        } else if let Some((head, tail)) = function_prefix(run, self.mode) {
            if let Some(kind) = plain_word(head) {
                self.push(kind, head.len());
            }
            self.split(tail);
        } else if self.mode == Mode::Math
            || (run.len() <= 3 && (self.is_in_script() || self.is_argument(run)))
            || (run.len() <= 3 && self.has_math_character && !is_common_word(run))
            // The `at^2` of `\frac12at^2`.
            || (run.len() <= 3 && !self.spaced && self.rest()[run.len()..].starts_with('^'))
        {
            self.split(run);
        } else {
            self.push(Kind::Word(run), run.len());
        }
    }

    /// Whether letters are all that stands in the brackets of a function: the `at` of `\exp(at)`.
    fn is_argument(&self, run: &str) -> bool {
        let [.., function, open] = self.tokens.as_slice() else { return false };
        matches!(function.kind, Kind::Function(_))
            && open.kind == Kind::Open('(')
            && self.rest()[run.len()..].starts_with(')')
    }

    /// Whether the text here stands in a group behind `^` or `_`.
    fn is_in_script(&self) -> bool {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().rev().take(40) {
            match token.kind {
                Kind::Close('{') => depth += 1,
                Kind::Open('{') if depth > 0 => depth -= 1,
                Kind::Open('{') => {
                    let before = index.checked_sub(1).map(|index| &self.tokens[index].kind);
                    if matches!(before, Some(Kind::Operator('^' | '_'))) {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// The `x` of `1.5 x 10^3`.
    fn is_times(&self) -> bool {
        matches!(self.tokens.last(), Some(Token { kind: Kind::Number(_), .. }))
            && self.rest()[1..].trim_start().starts_with("10^")
    }

    fn split(&mut self, run: &'a str) {
        for at in 0..run.len() {
            self.letter(&run[at..=at]);
        }
    }

    fn letter(&mut self, letter: &'a str) {
        if self.is_unit_here(letter) {
            self.push(Kind::Word(letter), 1);
            return;
        }
        let kind = match letter {
            "e" => Kind::E,
            "i" => Kind::I,
            _ => Kind::Name(letter),
        };
        self.push_argument(kind, 1);
    }

    /// The `m` of `45 m.`: a letter that names a unit, set off from the number in front of it, at the end.
    fn is_unit_here(&self, letter: &str) -> bool {
        let behind = self.rest()[1..].trim_start_matches([' ', '}', '$', '*']);
        // The h of `r^2 h` is a factor.
        let is_script = matches!(
            self.tokens.iter().rev().nth(1),
            Some(Token { kind: Kind::Operator('^' | '_'), .. })
        );
        !is_script
            && matches!(
                letter,
                "m" | "g" | "s" | "h" | "L" | "N" | "J" | "V" | "W" | "K" | "A" | "C" | "F"
            )
            && self.mode == Mode::Text
            && self.spaced
            && matches!(self.tokens.last(), Some(Token { kind: Kind::Number(_), .. }))
            && (behind.is_empty() || behind == "." || behind.starts_with("\\)"))
    }

    fn symbol(&mut self, c: char) -> Result<(), Stop> {
        let length = c.len_utf8();
        let rest = self.rest();
        for (sign, relation) in [
            ("<=", Relation::LessEqual),
            (">=", Relation::GreaterEqual),
            ("!=", Relation::NotEqual),
            ("==", Relation::Equal),
            ("=>", Relation::Other('⇒')),
            ("->", Relation::Other('→')),
            ("~=", Relation::Approximately),
            ("//", Relation::Other('∥')),
        ] {
            if rest.starts_with(sign) {
                self.push(Kind::Relation(relation), 2);
                return Ok(());
            }
        }
        if let Some(behind) = rest.strip_prefix("**") {
            // Bold in Markdown when nothing or white space stands on one side, a power otherwise.
            let bold = self.tokens.is_empty() || self.spaced || behind.trim_start().is_empty();
            if bold {
                self.at += 2;
            } else {
                self.push(Kind::Operator('^'), 2);
            }
            return Ok(());
        }
        match c {
            '+' | '-' | '*' | '/' | '^' | '_' | '!' | '\'' | '|' => self.push(Kind::Operator(c), 1),
            '=' => self.push(Kind::Relation(Relation::Equal), 1),
            '<' => self.push(Kind::Relation(Relation::Less), 1),
            '>' => self.push(Kind::Relation(Relation::Greater), 1),
            '%' => self.push(Kind::Percent, 1),
            ',' => self.push(Kind::Comma, 1),
            ';' => self.push(Kind::Semicolon, 1),
            ':' => self.push(Kind::Colon, 1),
            '&' => {
                if self.environments.last().copied().unwrap_or(true) {
                    self.push(Kind::Ampersand, 1);
                } else {
                    self.at += 1;
                }
            }
            '{' if rest[1..].trim_start().starts_with('}') && self.single_digits == 0 => {
                self.at += rest.find('}').unwrap_or(0) + 1;
            }
            '{' => {
                self.groups.push(self.single_digits.saturating_sub(1));
                self.single_digits = 0;
                self.push(Kind::Open('{'), 1);
            }
            '}' => {
                self.single_digits = self.groups.pop().unwrap_or(0);
                // `{\rm cos}` is the function.
                if let [
                    ..,
                    Token { kind: Kind::Open('{'), .. },
                    Token { kind: Kind::Function(_), .. },
                ] = self.tokens.as_slice()
                {
                    let open = self.tokens.len() - 2;
                    self.tokens.remove(open);
                    self.at += 1;
                    return Ok(());
                }
                self.push(Kind::Close('{'), 1);
            }
            '(' | '[' => {
                self.depth += 1;
                self.push(Kind::Open(c), 1);
            }
            ')' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                self.push(Kind::Close(if c == ')' { '(' } else { '[' }), 1);
            }
            '"' | '“' | '”' | '`' | '。' => self.at += length,
            _ => return self.wide_symbol(c),
        }
        Ok(())
    }

    fn wide_symbol(&mut self, c: char) -> Result<(), Stop> {
        let length = c.len_utf8();
        if let Some((numerator, denominator)) = vulgar_fraction(c) {
            // As `\frac{n}{d}`, so that `3½` is a mixed number.
            self.push(Kind::Fraction, length);
            for part in [numerator, denominator] {
                let digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8"]
                    [usize::try_from(part).unwrap_or(0).min(8)];
                let literal = read_literal(digits, Commas::Separate, false)?.literal;
                self.push(Kind::Number(literal), 0);
            }
        } else if let Some(kind) = character(c) {
            match kind {
                Kind::Open(_) => self.depth += 1,
                Kind::Close(')') => {
                    self.depth = self.depth.saturating_sub(1);
                    self.push(Kind::Close('('), length);
                    return Ok(());
                }
                _ => {}
            }
            self.push(kind, length);
        } else if c.is_alphabetic() {
            let run =
                self.rest().find(|next: char| !next.is_alphabetic()).unwrap_or(self.rest().len());
            let word = &self.rest()[..run];
            self.push(Kind::Word(word), run);
        } else {
            return Err(Stop::Unreadable("an unknown character"));
        }
        Ok(())
    }
}

/// Digits beyond nine in front of a base that has them: the `2A` of `2A_{16}`, but not the `2C` of `2C_1`.
fn letter_digits(text: &str) -> Option<&str> {
    let end = text.bytes().position(|b| !(b.is_ascii_digit() || b.is_ascii_uppercase()))?;
    let digits = &text[..end];
    if !digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let base = text[end..].strip_prefix('_')?.trim_start_matches(['{', ' ']);
    let length = base.bytes().take_while(u8::is_ascii_digit).count();
    let base: u32 = base[..length].parse().ok().filter(|base| (11..=36).contains(base))?;
    digits.chars().all(|digit| digit.is_digit(base)).then_some(digits)
}

/// Whether a text has anything that running text has not, so that short words may be products.
fn has_math_character(text: &str) -> bool {
    if text.bytes().any(|b| b.is_ascii_digit() || b"=+*/^_\\<>$".contains(&b)) {
        return true;
    }
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
    text.contains(['-', '('])
        && text.is_ascii()
        && words.all(|word| word.len() <= 2 && !is_common_word(word))
}

/// The run of ASCII letters at the start.
pub(super) fn take_letters(text: &str) -> &str {
    let end = text.bytes().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
    &text[..end]
}

/// Splits `sinx` into `sin` and `x`. In plain text only one letter may follow, and no word may come of it.
fn function_prefix(run: &str, mode: Mode) -> Option<(&str, &str)> {
    const WORDS: [&str; 11] =
        ["cost", "cosy", "cots", "logo", "logs", "sing", "sink", "sins", "tang", "tank", "tans"];
    const PREFIXES: [&str; 10] =
        ["arcsin", "arccos", "arctan", "sqrt", "sin", "cos", "tan", "cot", "log", "ln"];
    let head = PREFIXES.into_iter().find(|prefix| run.starts_with(prefix))?;
    let (head, tail) = run.split_at(head.len());
    let math = mode == Mode::Math;
    let longest = if math { 2 } else { 1 };
    (!tail.is_empty() && tail.len() <= longest && (math || !WORDS.contains(&run)))
        .then_some((head, tail))
}

/// Short words of running text that are no product of variables.
fn is_common_word(run: &str) -> bool {
    // At the start of a sentence.
    let lowered = run.to_ascii_lowercase();
    let run = if run.get(1..).is_some_and(|rest| lowered.ends_with(rest)) && run.len() > 2 {
        &lowered
    } else {
        run
    };
    matches!(
        run,
        "is" | "the"
            | "are"
            | "was"
            | "of"
            | "to"
            | "in"
            | "at"
            | "by"
            | "we"
            | "so"
            | "as"
            | "it"
            | "if"
            | "on"
            | "an"
            | "for"
            | "all"
            | "The"
            | "So"
            | "be"
            | "not"
            | "has"
            | "any"
            | "yes"
            | "no"
            | "Yes"
            | "No"
            | "per"
            | "its"
            | "can"
            | "one"
            | "two"
            | "ten"
            | "six"
            | "Its"
            | "It"
            | "We"
            | "you"
            | "he"
            | "she"
            | "am"
            | "pm"
            | "but"
            | "sum"
            | "set"
            | "odd"
            | "way"
    )
}
