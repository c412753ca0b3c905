//! Tokens of LaTeX, plain-text mathematics and common writing between them.

use crate::math::tree::node::{Function, Rational, Relation};

/// One token and whether white space stands before it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) spaced: bool,
}

/// Kind of a token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind<'a> {
    Number(Literal<'a>),
    /// A one-letter name, or a named one such as `alpha`.
    Name(&'a str),
    /// A run of letters in plain text that is no known word.
    Word(&'a str),
    /// The content of `\text{…}` and its kin.
    Text(&'a str),
    Function(Function),
    /// One of `+ - * / ^ _ ! ' | ∧ ∨`.
    Operator(char),
    Relation(Relation),
    /// `(`, `[`, `{` (a TeX group), `S` (a set brace), `f` (floor) or `c` (ceiling).
    Open(char),
    /// The closing counterparts, named by the same characters.
    Close(char),
    Comma,
    Semicolon,
    /// The word and.
    And,
    /// The word or.
    Or,
    Colon,
    /// `\mid`.
    Mid,
    Ampersand,
    /// `\\`.
    RowBreak,
    Begin(&'a str),
    End(&'a str),
    Fraction,
    Root,
    Binomial,
    /// `\boxed`: the group behind it stands for itself.
    Box,
    /// `\overline` and other accents: part of a name.
    Accent(&'a str),
    Sum,
    Integral,
    Limit,
    Product,
    Pi,
    E,
    I,
    Infinity,
    PlusMinus,
    MinusPlus,
    Percent,
    Degree,
    Union,
    Intersection,
    SetMinus,
    EmptySet,
    /// ℝ, ℤ and so on.
    NumberSet(char),
    /// A currency sign or abbreviation, as a unit.
    Currency(&'a str),
    Mod,
    /// `\pmod`.
    Modulo,
    /// `\choose`.
    Choose,
    /// `\over`.
    Over,
    /// `\angle`, `\triangle` and the like in front of a name.
    Prefix(&'a str),
}

/// A number as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Literal<'a> {
    pub(crate) value: Rational,
    /// Digits behind the point, less the exponent; `None` for an integer.
    pub(crate) places: Option<i32>,
    /// The digits as they stand in the text.
    pub(crate) raw: &'a str,
}
