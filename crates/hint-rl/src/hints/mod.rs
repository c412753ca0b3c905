//! Hints ahead of training: `hint-rl generate-hints` and `hint-rl audit`.

pub mod audit;
pub mod file;
pub mod generate;
