//! Hints ahead of training: `hint-rl generate-hints`.

pub mod file;
pub mod generate;
