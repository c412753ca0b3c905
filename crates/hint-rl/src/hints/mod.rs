//! Hints ahead of training: `hint-rl generate-hints`.

mod file;
mod generate;

pub use self::generate::{Options, run};
