//! Reading and comparing mathematical answers.
//!
//! Text becomes tokens (`lex`), tokens become a tree (`parse`, `tree`), and the tree is brought into the form that is
//! compared. Two trees are compared (`compare`) down to expressions. These are equal when they are the same number or
//! the same function (`value`). Every step spends from one work budget, so a comparison ends without a clock.
//!
//! [`MathVerifier`](crate::MathVerifier) is the entry point. [`Strictness`] lists the differences
//! that a comparison forgives.

pub(crate) mod answer;
pub(crate) mod compare;
pub(crate) mod fuel;
pub(crate) mod lex;
pub(crate) mod parse;
pub(crate) mod reader;
mod respelled;
pub(crate) mod strictness;
mod tree;
mod value;

pub use strictness::{Rule, Strictness};
