//! Numbers that a text states, with their places.

use std::ops::Range;

use crate::number::value::ExactNumber;

/// A number that a text mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NumberMention {
    /// Place, in bytes.
    pub span: Range<usize>,
    /// Possible values, the plain reading first: `50%` is 50 and 1/2.
    pub readings: Vec<ExactNumber>,
    /// The numbers that it is made of: 3 and 4 for `3/4`, 2 and 100 for `two hundred`. Empty for a
    /// number of one piece.
    pub parts: Vec<ExactNumber>,
    /// Its role.
    pub role: NumberRole,
}

impl NumberMention {
    /// Whether one of its readings is `value`.
    pub fn is(&self, value: &ExactNumber) -> bool {
        self.readings.contains(value)
    }
}

/// Role of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NumberRole {
    /// It states a quantity: `132`, `twenty-one`, `3/4`.
    Quantity,
    /// A fraction in words: `half`, `two thirds`, `a quarter`.
    Fraction,
    /// A word that operates or stands for a thing and states no value: `twice`, `double`, `halve`.
    /// Also `one` where it stands alone, since it is mostly a pronoun, and small numbers of known
    /// things (`the two ends`, `no two of them`).
    Loose,
    /// A place in an order: `3rd`, `the fifth term`.
    Ordinal,
    /// A name: the number of a list item or a step (`2.`, `(3)`, `Step 2`, `case 1`), or a count of
    /// these (`two cases`).
    Label,
    /// A year: `in 2019`, `March 2015`.
    Year,
    /// A coefficient, an exponent or a modulus: `2x`, `x^3`, `modulo 4`, `divisible by 4`.
    Formula,
}
