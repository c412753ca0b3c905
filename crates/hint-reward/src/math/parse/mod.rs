//! From tokens to a tree: expressions, relations, lists, sets, matrices; and phrases, dates and choices.

mod bracket;
mod branches;
pub(crate) mod calendar;
pub(crate) mod choice;
pub(crate) mod counted;
mod ellipsis;
mod expression;
pub(crate) mod frame;
mod matrix;
mod name;
pub(crate) mod parser;
pub(crate) mod permutation;
pub(crate) mod phrase;
mod quantity;
mod relation;
pub(crate) mod spelled;
pub(crate) mod stance;
mod suffix;
mod wording;
