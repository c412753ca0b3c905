//! Reads the numbers of a text from left to right.

use std::ops::Range;

use crate::number::glyph::vulgar_fraction;
use crate::number::mention::{NumberMention, NumberRole};
use crate::number::role::{self, Neighbors};
use crate::number::value::ExactNumber;
use crate::number::word::{Word, word};

/// A word or a numeral.
#[derive(Debug, Clone)]
struct Piece {
    span: Range<usize>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// A number in digits: readings, parts, and its role if that is clear from its own shape.
    Digits { readings: Vec<ExactNumber>, parts: Vec<ExactNumber>, role: Option<NumberRole> },
    /// A number word.
    Number(Word),
    /// Any other word.
    Other,
}

/// A scan of one text.
pub(super) struct Scan<'t> {
    text: &'t str,
    pieces: Vec<Piece>,
}

impl<'t> Scan<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(letter) = text[at..].chars().next() {
            let piece = if letter.is_ascii_digit() || vulgar_fraction(letter).is_some() {
                numeral(text, at)
            } else if letter == '\\' {
                tex_fraction(text, at)
            } else if letter.is_alphabetic() {
                Some(name(text, at))
            } else {
                None
            };
            match piece {
                Some(piece) => {
                    at = piece.span.end;
                    pieces.push(piece);
                }
                None if letter.is_ascii_digit() => at += digits(&text[at..]),
                None => at += letter.len_utf8(),
            }
        }
        Self { text, pieces }
    }

    pub(super) fn mentions(&self) -> Vec<NumberMention> {
        let mut mentions = Vec::new();
        let mut at = 0;
        while at < self.pieces.len() {
            let (mention, next) = self.mention(at);
            mentions.extend(mention);
            at = next;
        }
        role::inline_labels(self.text, &mut mentions);
        mentions
    }

    /// The number that starts at piece `at`, and the piece after it.
    fn mention(&self, at: usize) -> (Option<NumberMention>, usize) {
        let piece = &self.pieces[at];
        let word = match &piece.kind {
            Kind::Other => return (None, at + 1),
            Kind::Digits { readings, parts, role } => {
                if let Some(Word::Scale(scale)) = self.joined(at) {
                    let scale = ExactNumber::whole(scale);
                    let value = readings[0].times(&scale);
                    let parts = vec![readings[0].clone(), scale];
                    let mention = self.build(at..at + 2, vec![value], parts, NumberRole::Quantity);
                    return (Some(mention), at + 2);
                }
                let role = role.or_else(|| self.neighbors(at..at + 1).role_of_digits());
                let role = role.unwrap_or(NumberRole::Quantity);
                let mention = self.build(at..at + 1, readings.clone(), parts.clone(), role);
                return (Some(mention), at + 1);
            }
            Kind::Number(word) => *word,
        };
        let one =
            |value, role| (Some(self.build(at..at + 1, vec![value], Vec::new(), role)), at + 1);
        match word {
            Word::Multiple => one(multiple(&self.lower(at)), NumberRole::Loose),
            Word::Part(den) => one(ExactNumber::part(den), NumberRole::Fraction),
            Word::OrdinalPart(den) => {
                let role = self.neighbors(at..at + 1).role_of_ordinal();
                one(ExactNumber::part(den), role)
            }
            Word::Unit(_) | Word::Ten(_) | Word::Scale(_) => {
                let (mention, next) = self.cardinal(at);
                (Some(mention), next)
            }
        }
    }

    /// A cardinal in words, with a fraction that it counts.
    fn cardinal(&self, start: usize) -> (NumberMention, usize) {
        let zero = ExactNumber::whole(0);
        // Finished thousands, the group below, and the number that comes next in size.
        let (mut total, mut group, mut last) = (zero.clone(), None::<ExactNumber>, None::<Word>);
        let mut parts = Vec::new();
        let mut at = start;
        while let Some(word) = self.continues(at, start, last) {
            let value = match word {
                Word::Unit(value) | Word::Ten(value) | Word::Scale(value) => {
                    ExactNumber::whole(value)
                }
                Word::Part(den) | Word::OrdinalPart(den) => ExactNumber::part(den),
                Word::Multiple => break,
            };
            parts.push(value.clone());
            at += 1 + usize::from(at > start && self.is_and(at));
            match word {
                Word::Scale(scale) => {
                    let scaled = group.unwrap_or_else(|| ExactNumber::whole(1)).times(&value);
                    if scale >= 1000 {
                        total = total.plus(&scaled);
                        group = None;
                    } else {
                        group = Some(scaled);
                    }
                }
                Word::Part(_) | Word::OrdinalPart(_) => {
                    let counted = total.plus(group.as_ref().unwrap_or(&zero));
                    return self.fraction(start..at, counted.times(&value), parts);
                }
                _ => group = Some(group.map_or_else(|| value.clone(), |sum| sum.plus(&value))),
            }
            last = Some(word);
        }
        let value = total.plus(group.as_ref().unwrap_or(&zero));
        // `two and a half`
        if self.is_and(at)
            && (self.is_word(at + 1, "a") || self.is_word(at + 1, "one"))
            && let Some(Kind::Number(Word::Part(den) | Word::OrdinalPart(den))) =
                self.pieces.get(at + 2).map(|piece| &piece.kind)
            && self.only_spaces(at..at + 2)
        {
            let part = ExactNumber::part(*den);
            parts.push(part.clone());
            return self.fraction(start..at + 3, value.plus(&part), parts);
        }
        let alone = at == start + 1;
        let role = if alone && self.is_word(start, "one") {
            NumberRole::Loose
        } else {
            self.neighbors(start..at).role_of_cardinal()
        };
        if alone {
            parts.clear();
        }
        (self.build(start..at, vec![value], parts, role), at)
    }

    fn fraction(
        &self,
        pieces: Range<usize>,
        value: ExactNumber,
        parts: Vec<ExactNumber>,
    ) -> (NumberMention, usize) {
        let end = pieces.end;
        (self.build(pieces, vec![value], parts, NumberRole::Fraction), end)
    }

    /// The word that continues a cardinal at piece `at`, after `last`.
    fn continues(&self, at: usize, start: usize, last: Option<Word>) -> Option<Word> {
        let number = |at: usize| match self.pieces.get(at).map(|piece| &piece.kind) {
            Some(Kind::Number(word)) => Some(*word),
            _ => None,
        };
        if at == start {
            return number(at);
        }
        if !self.only_spaces(at - 1..at) {
            return None;
        }
        let Some(next) = number(at) else {
            // `two hundred and fifty`
            let next = number(at + 1).filter(|_| self.is_and(at) && self.only_spaces(at..at + 1));
            return match (last, next) {
                (Some(Word::Scale(_)), Some(Word::Unit(_) | Word::Ten(_))) => next,
                _ => None,
            };
        };
        let fits = match (last?, next) {
            (Word::Ten(_), Word::Unit(unit)) => (1..10).contains(&unit),
            (Word::Scale(_), Word::Unit(_) | Word::Ten(_))
            | (
                Word::Unit(_) | Word::Ten(_),
                Word::Scale(_) | Word::Part(_) | Word::OrdinalPart(_),
            ) => true,
            (Word::Scale(before), Word::Scale(scale)) => scale > before,
            _ => false,
        };
        fits.then_some(next)
    }

    /// The number word behind piece `at`.
    fn joined(&self, at: usize) -> Option<Word> {
        match self.pieces.get(at + 1).map(|piece| &piece.kind) {
            Some(Kind::Number(word)) if self.only_spaces(at..at + 1) => Some(*word),
            _ => None,
        }
    }

    /// Whether only white space or one hyphen stands between each of these pieces and its
    /// successor.
    fn only_spaces(&self, pieces: Range<usize>) -> bool {
        pieces.into_iter().all(|at| match self.pieces.get(at + 1) {
            Some(next) => {
                let between = &self.text[self.pieces[at].span.end..next.span.start];
                between == "-" || (!between.is_empty() && between.trim().is_empty())
            }
            None => false,
        })
    }

    fn lower(&self, at: usize) -> String {
        self.pieces.get(at).map_or_else(String::new, |p| self.text[p.span.clone()].to_lowercase())
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.pieces.get(at).is_some_and(|p| self.text[p.span.clone()].eq_ignore_ascii_case(word))
    }

    fn is_and(&self, at: usize) -> bool {
        self.is_word(at, "and")
    }

    /// Context of these pieces.
    fn neighbors(&self, pieces: Range<usize>) -> Neighbors<'t> {
        let text = |at: usize| self.pieces.get(at).map(|piece| &self.text[piece.span.clone()]);
        let span = self.pieces[pieces.start].span.start..self.pieces[pieces.end - 1].span.end;
        let previous = pieces.start.checked_sub(1).and_then(text);
        Neighbors { text: self.text, span, previous, next: text(pieces.end) }
    }

    fn build(
        &self,
        pieces: Range<usize>,
        readings: Vec<ExactNumber>,
        parts: Vec<ExactNumber>,
        role: NumberRole,
    ) -> NumberMention {
        let span = self.pieces[pieces.start].span.start..self.pieces[pieces.end - 1].span.end;
        NumberMention { span, readings, parts, role }
    }
}

/// The factor of a multiple.
fn multiple(word: &str) -> ExactNumber {
    let factor = |start: &str| word.starts_with(start);
    if factor("hal") {
        return ExactNumber::part(2);
    }
    let factors = [("on", 1), ("tw", 2), ("do", 2), ("th", 3), ("tr", 3), ("qua", 4), ("qui", 5)];
    ExactNumber::whole(factors.iter().find(|(start, _)| factor(start)).map_or(1, |found| found.1))
}

/// A word of letters.
fn name(text: &str, start: usize) -> Piece {
    let rest = &text[start..];
    let end = rest.find(|c: char| !c.is_alphabetic()).map_or(text.len(), |len| start + len);
    let kind = word(&text[start..end].to_lowercase()).map_or(Kind::Other, Kind::Number);
    Piece { span: start..end, kind }
}

/// Number of ASCII digits at the start of `text`.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// A number in digits that starts at `start`; `None` if those belong to a name, or to none.
fn numeral(text: &str, start: usize) -> Option<Piece> {
    let before = text[..start].chars().next_back();
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') || text[..start].ends_with("_{") {
        return None;
    }
    let mut length = digits(&text[start..]);
    let mut value = ExactNumber::whole(0);
    if length > 0 {
        length = decimal_length(&text[start..]);
        value = ExactNumber::parse(&text[start..start + length])?;
    }
    let mut from = start;
    let mut end = start + length;
    let mut parts = Vec::new();
    let behind = &text[end..];
    if length > 0 && before == Some('.') && !text[start..end].contains('.') {
        // `.5`, but not the end of `3.4.5`.
        let outer = text[..start - 1].chars().next_back();
        if outer.is_none_or(|c| c.is_whitespace() || "($=-+*/".contains(c)) {
            from = start - 1;
            value = ExactNumber::parse(&text[from..end])?;
        }
    }
    if let Some((num, den)) = behind.chars().next().and_then(vulgar_fraction) {
        end += behind.chars().next().map_or(0, char::len_utf8);
        parts = [num, den].map(ExactNumber::whole).to_vec();
        value = value.plus(&ExactNumber::whole(num).over(&ExactNumber::whole(den))?);
    } else if let Some(rest) = behind.strip_prefix('/')
        && let count @ 1.. = digits(rest)
        && let Some(den) = ExactNumber::parse(&rest[..count])
        && let Some(ratio) = value.over(&den)
    {
        end += 1 + count;
        parts = vec![value, den];
        value = ratio;
    }
    // A sign, unless it subtracts.
    let sign = text[..from].chars().next_back().filter(|c| matches!(c, '-' | '−'));
    if let Some(sign) = sign {
        let outer = text[..from - sign.len_utf8()].chars().next_back();
        if outer.is_none_or(|c| c.is_whitespace() || "($=:{[,".contains(c)) {
            from -= sign.len_utf8();
            parts.push(value.clone());
            value = value.negated();
        }
    }
    let mut readings = vec![value];
    let behind = &text[end..];
    let word = behind.trim_start();
    if behind.starts_with(['%']) || behind.starts_with("\\%") || word.starts_with("percent") {
        readings.extend(readings[0].over(&ExactNumber::whole(100)));
    }
    let mut letters = behind.chars();
    let (first, second) = (letters.next(), letters.next());
    let suffix = behind.get(..2).unwrap_or_default().to_ascii_lowercase();
    let role = if ["st", "nd", "rd", "th"].contains(&suffix.as_str())
        && !letters.next().is_some_and(char::is_alphanumeric)
    {
        end += 2;
        Some(NumberRole::Ordinal)
    } else if first.is_some_and(|c| "xyznkabt".contains(c))
        && !second.is_some_and(char::is_alphanumeric)
        || text[..from].ends_with('^')
        || text[..from].ends_with("^{")
    {
        Some(NumberRole::Formula)
    } else {
        None
    };
    Some(Piece { span: from..end, kind: Kind::Digits { readings, parts, role } })
}

/// Length of `1,250.75` at the start of `text`; commas only before three digits.
fn decimal_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let count = |from: usize| text.get(from..).map_or(0, digits);
    let mut length = count(0);
    let grouped = length <= 3;
    while grouped && bytes.get(length) == Some(&b',') && count(length + 1) == 3 {
        length += 4;
    }
    if bytes.get(length) == Some(&b'.') && count(length + 1) > 0 {
        length += 1 + count(length + 1);
    }
    length
}

/// `\frac{3}{4}` or `\dfrac12` at `start`.
fn tex_fraction(text: &str, start: usize) -> Option<Piece> {
    let mut rest = &text[start..];
    let command = ["\\frac", "\\dfrac", "\\tfrac"].into_iter().find(|c| rest.starts_with(c))?;
    rest = &rest[command.len()..];
    let mut operand = || {
        if let Some(inner) = rest.strip_prefix('{') {
            let (number, behind) = inner.split_once('}')?;
            rest = behind;
            return ExactNumber::parse(number);
        }
        let number = rest.get(..1)?;
        rest = &rest[1..];
        ExactNumber::parse(number)
    };
    let parts = vec![operand()?, operand()?];
    let readings = vec![parts[0].over(&parts[1])?];
    let end = text.len() - rest.len();
    Some(Piece { span: start..end, kind: Kind::Digits { readings, parts, role: None } })
}
