//! Suffixes of a value: bases in words, degrees, compositions, minutes and seconds of arc, the parts of sets of numbers.

use crate::math::fuel::Stop;
use crate::math::lex::token::Kind;
use crate::math::parse::parser::{Parser, into_expr};
use crate::math::tree::node::{Expr, Function, Node, Rational, Relation};

impl Parser<'_, '_, '_> {
    /// `f \circ g \circ h`, a function of its own for each order of its parts.
    pub(super) fn composed(&mut self, first: Expr) -> Result<Node, Stop> {
        let mut parts = vec![first];
        while self.peek() == Some(&Kind::Degree)
            && let Some(Kind::Name(name)) = self.peek_at(1)
        {
            self.at += 2;
            parts.push(into_expr(self.named(name)?)?);
        }
        Ok(Node::Expr(Expr::Call(Function::Named("∘".into()), parts)))
    }

    /// `^\circ` and `^{\circ}` behind the caret.
    pub(super) fn degree_exponent(&mut self) -> bool {
        if self.take(&Kind::Degree) {
            return true;
        }
        let is_ring = |kind: Option<&Kind<'_>>| {
            matches!(kind, Some(Kind::Degree | Kind::Text("o" | "\\circ")))
        };
        let grouped = self.peek() == Some(&Kind::Open('{'))
            && is_ring(self.peek_at(1))
            && self.peek_at(2) == Some(&Kind::Close('{'));
        if grouped {
            self.at += 3;
        }
        grouped
    }

    /// The `{th}` of `5^{th}` behind the caret.
    pub(super) fn ordinal_exponent(&mut self) -> bool {
        let is_suffix = |word: &str| matches!(word, "th" | "st" | "nd" | "rd");
        let length = match (self.peek(), self.peek_at(1), self.peek_at(2), self.peek_at(3)) {
            (Some(Kind::Text(word)), ..) if is_suffix(word) => 1,
            (Some(Kind::Open('{')), Some(Kind::Text(word)), Some(Kind::Close('{')), _)
                if is_suffix(word) =>
            {
                3
            }
            (
                Some(Kind::Open('{')),
                Some(Kind::Name(first)),
                Some(Kind::Name(second)),
                Some(Kind::Close('{')),
            ) if is_suffix(&format!("{first}{second}")) => 4,
            _ => return false,
        };
        self.at += length;
        true
    }

    /// The base of `12 (base 5)` and `12 base 5`, from behind the digits.
    pub(super) fn base_in_words(&mut self) -> Option<u32> {
        let bracket = usize::from(self.peek() == Some(&Kind::Open('(')));
        let (base, length) = match (self.peek_at(bracket)?, self.peek_at(bracket + 1)) {
            (Kind::Word("base") | Kind::Text("base"), Some(Kind::Number(base))) => (base.raw, 2),
            (Kind::Text(text) | Kind::Word(text), _) => {
                let text = text.trim_matches(['(', ')']);
                match text {
                    "binary" => ("2", 1),
                    "octal" => ("8", 1),
                    "hexadecimal" => ("16", 1),
                    other => (other.strip_prefix("base ")?.trim(), 1),
                }
            }
            _ => return None,
        };
        let closed = bracket == 0 || self.peek_at(bracket + length) == Some(&Kind::Close('('));
        let base = base.parse().ok().filter(|base| (2..=36).contains(base) && closed)?;
        self.at += 2 * bracket + length;
        Some(base)
    }

    /// The part of a set of numbers that a sign behind it names: positive (`+`) or not 0 (`*`).
    pub(super) fn set_part(&mut self, letter: char) -> char {
        if !matches!(self.peek(), Some(Kind::Operator('^' | '_'))) {
            return letter;
        }
        let grouped = usize::from(self.peek_at(1) == Some(&Kind::Open('{')));
        let zero =
            |kind: Option<&Kind<'_>>| matches!(kind, Some(Kind::Number(zero)) if zero.raw == "0");
        let (positive, length) = match self.peek_at(1 + grouped) {
            Some(Kind::Operator('+')) => (true, 1),
            Some(Kind::Operator('-')) if letter == 'R' => {
                self.at += 2 + 2 * grouped;
                return 'ν';
            }
            Some(Kind::Operator('*')) => (letter == 'N', 1),
            Some(Kind::Relation(Relation::Greater)) if zero(self.peek_at(2 + grouped)) => (true, 2),
            Some(Kind::Relation(Relation::GreaterEqual)) if zero(self.peek_at(2 + grouped)) => {
                return self.nonnegative(letter, 3 + 2 * grouped);
            }
            digit if letter == 'N' && zero(digit) => {
                return self.nonnegative(letter, 2 + 2 * grouped);
            }
            _ => return letter,
        };
        self.at += 1 + grouped + length;
        if grouped == 1 && self.peek() == Some(&Kind::Close('{')) {
            self.at += 1;
        }
        match (letter, positive) {
            ('R', true) => 'ρ',
            ('Q', true) => 'κ',
            ('Z' | 'N', true) => 'ζ',
            (other, _) => other.to_ascii_lowercase(),
        }
    }

    /// The part without negative numbers, which so many tokens name.
    fn nonnegative(&mut self, letter: char, length: usize) -> char {
        self.at += length;
        if letter == 'R' { 'ϱ' } else { 'ω' }
    }

    /// Degrees with the minutes and seconds behind them.
    pub(super) fn degrees(&mut self, degrees: Expr) -> Node {
        let mut total = degrees;
        while let Some(Kind::Number(literal)) = self.peek() {
            let start = self.at;
            self.at += 1;
            let primes = if self.take(&Kind::Operator('^')) {
                self.prime_exponent()
            } else {
                Some(self.primes())
            };
            let Some(primes @ 1..) = primes else {
                self.at = start;
                break;
            };
            total = match total {
                Expr::Number(value) => {
                    let part = if primes == 1 { 60 } else { 3600 };
                    Expr::Number(value + &literal.value / Rational::from_integer(part.into()))
                }
                other => other.plus(part_of_degree(Expr::Number(literal.value.clone()), primes)),
            };
        }
        Node::Expr(Expr::Call(Function::Degrees, vec![total]))
    }

    /// Number of primes here.
    pub(super) fn primes(&mut self) -> usize {
        let mut primes = 0;
        while primes < 2 && self.take(&Kind::Operator('\'')) {
            primes += 1;
        }
        primes
    }

    /// `{\prime\prime}` behind the caret.
    pub(super) fn prime_exponent(&mut self) -> Option<usize> {
        let start = self.at;
        let grouped = self.take(&Kind::Open('{'));
        let primes = self.primes();
        if primes == 0 || (grouped && !self.take(&Kind::Close('{'))) {
            self.at = start;
            return None;
        }
        Some(primes)
    }

    /// Whether the subscript here is a word such as max.
    pub(super) fn word_subscript(&self) -> bool {
        let is_word = |kind: Option<&Kind<'_>>| match kind {
            Some(Kind::Function(Function::Max | Function::Min)) => true,
            Some(Kind::Text(word) | Kind::Word(word)) => {
                word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_alphabetic())
            }
            _ => false,
        };
        is_word(self.peek_at(1))
            || (self.peek_at(1) == Some(&Kind::Open('{')) && is_word(self.peek_at(2)))
    }
}

/// Minutes (one prime) or seconds (two) as degrees.
pub(super) fn part_of_degree(value: Expr, primes: usize) -> Expr {
    let part = Rational::from_integer(if primes == 1 { 60.into() } else { 3600.into() });
    match value {
        Expr::Number(value) => Expr::Number(value / part),
        other => other.times(Expr::Number(part.recip())),
    }
}

/// A hundredth, keeping a decimal a decimal.
pub(super) fn percent(expr: Expr) -> Expr {
    let hundred = Rational::from_integer(100.into());
    match expr {
        Expr::Number(value) => Expr::Number(value / hundred),
        Expr::Decimal { value, places } => {
            Expr::Decimal { value: value / hundred, places: places.saturating_add(2) }
        }
        other => other.times(Expr::Number(hundred.recip())),
    }
}
