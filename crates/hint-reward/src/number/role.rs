//! Role of a number, by the text around it.

use std::ops::Range;

use crate::number::mention::{NumberMention, NumberRole};
use crate::number::value::ExactNumber;

/// Context of a number.
pub(super) struct Neighbors<'t> {
    pub(super) text: &'t str,
    pub(super) span: Range<usize>,
    /// The words or numerals before and behind it.
    pub(super) previous: Option<&'t str>,
    pub(super) next: Option<&'t str>,
}

/// Words that a number behind them names.
const NAMED: [&str; 27] = [
    "step", "steps", "part", "parts", "case", "cases", "hint", "question", "problem", "exercise",
    "theorem", "lemma", "figure", "equation", "eq", "line", "method", "option", "stage", "phase",
    "section", "chapter", "example", "rule", "level", "item", "idea",
];

/// Words for the structure of a text, which it also counts.
const COUNTED: [&str; 17] = [
    "steps",
    "parts",
    "cases",
    "stages",
    "ways",
    "equations",
    "unknowns",
    "variables",
    "quantities",
    "amounts",
    "facts",
    "things",
    "conditions",
    "ideas",
    "types",
    "kinds",
    "sides",
];

/// Words before a small number of known things: `the two ends`, `no two of them`.
const DETERMINERS: [&str; 17] = [
    "the",
    "these",
    "those",
    "no",
    "any",
    "every",
    "all",
    "first",
    "last",
    "other",
    "remaining",
    "its",
    "their",
    "his",
    "her",
    "between",
    "following",
];

/// Words before a modulus.
const BEFORE_MODULUS: [&str; 3] = ["mod", "modulo", "pmod"];

/// Words before a year.
const BEFORE_YEAR: [&str; 20] = [
    "in",
    "since",
    "until",
    "year",
    "during",
    "before",
    "after",
    "by",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Words that follow a year, but no quantity.
const BEHIND_YEAR: [&str; 10] =
    ["the", "and", "to", "was", "were", "when", "he", "she", "they", "there"];

impl Neighbors<'_> {
    fn previous_is(&self, words: &[&str]) -> bool {
        self.previous.is_some_and(|previous| {
            let between = &self.text[..self.span.start];
            let adjacent = between.trim_end_matches([' ', '(', '#', '-']).ends_with(previous);
            adjacent && words.contains(&previous.to_lowercase().as_str())
        })
    }

    fn next_is(&self, words: &[&str]) -> bool {
        self.next.is_some_and(|next| {
            let behind = self.text[self.span.end..].trim_start();
            behind.starts_with(next) && words.contains(&next.to_lowercase().as_str())
        })
    }

    /// The role of a number in digits; `None` for a quantity.
    pub(super) fn role_of_digits(&self) -> Option<NumberRole> {
        if self.is_modulus() {
            return Some(NumberRole::Formula);
        }
        let few = self.span.len() <= 2 && self.next_is(&COUNTED);
        if self.is_list_number() || self.previous_is(&NAMED) || few {
            return Some(NumberRole::Label);
        }
        self.is_year().then_some(NumberRole::Year)
    }

    /// `modulo 4`, `divisible by 4`, `a multiple of 4`.
    fn is_modulus(&self) -> bool {
        let before = self.text[..self.span.start].trim_end().to_ascii_lowercase();
        self.previous_is(&BEFORE_MODULUS)
            || ["divisible by", "multiple of", "multiples of"]
                .iter()
                .any(|end| before.ends_with(end))
    }

    /// The role of a cardinal in words.
    pub(super) fn role_of_cardinal(&self) -> NumberRole {
        let small = ["two", "three", "four"];
        let written = self.text[self.span.clone()].to_ascii_lowercase();
        if small.contains(&written.as_str()) && self.previous_is(&DETERMINERS) {
            return NumberRole::Loose;
        }
        if self.previous_is(&NAMED) || self.next_is(&COUNTED) {
            NumberRole::Label
        } else {
            NumberRole::Quantity
        }
    }

    /// `a third of it` is a part, `the third one` a place.
    pub(super) fn role_of_ordinal(&self) -> NumberRole {
        let plural = self.text[self.span.clone()].ends_with(['s', 'S']);
        let counted = self.previous_is(&["a", "an", "by"]) || self.next_is(&["of", "as"]);
        let placed = self.previous_is(&["the", "every", "each", "its", "his", "her", "their"]);
        if plural || (counted && !placed) { NumberRole::Fraction } else { NumberRole::Ordinal }
    }

    /// `2.`, `2)`, `(2)` or `2:` at the start of a line, behind marks of a list or of emphasis.
    fn is_list_number(&self) -> bool {
        let line = self.text[..self.span.start].rsplit('\n').next().unwrap_or_default();
        let starts = line.chars().all(|c| c.is_whitespace() || "#*->(_".contains(c));
        let mut behind = self.text[self.span.end..].chars();
        let ends = behind.next().is_some_and(|c| matches!(c, '.' | ')' | ':'));
        let digits = self.text[self.span.clone()].bytes().all(|byte| byte.is_ascii_digit());
        starts && ends && digits && behind.next().is_none_or(|c| c.is_whitespace() || c == '*')
    }

    fn is_year(&self) -> bool {
        let written = &self.text[self.span.clone()];
        let digits = written.len() == 4 && written.bytes().all(|byte| byte.is_ascii_digit());
        let recent = written.parse::<u32>().is_ok_and(|year| (1500..2100).contains(&year));
        let behind = self.text[self.span.end..].chars().find(|c| !c.is_whitespace());
        let ends = behind.is_none_or(|c| ",.;:)?!".contains(c)) || self.next_is(&BEHIND_YEAR);
        digits && recent && ends && self.previous_is(&BEFORE_YEAR)
    }
}

/// Takes `(1)`, and `(k)` after `(k - 1)`, for the numbers of a list within a sentence.
pub(super) fn inline_labels(text: &str, mentions: &mut [NumberMention]) {
    let mut expected = 1;
    for mention in mentions {
        let enclosed =
            text[..mention.span.start].ends_with('(') && text[mention.span.end..].starts_with(") ");
        let outer = text[..mention.span.start].chars().nth_back(1);
        let free = outer.is_none_or(char::is_whitespace);
        if enclosed && free && mention.readings[0] == ExactNumber::whole(expected) {
            mention.role = NumberRole::Label;
            expected += 1;
        }
    }
}
