//! From text to tokens: LaTeX, plain text and Unicode, mixed.

mod command;
pub(crate) mod facing;
pub(crate) mod lexer;
pub(crate) mod literal;
pub(crate) mod token;
pub(crate) mod typography;
pub(crate) mod units;
pub(crate) mod vocabulary;
