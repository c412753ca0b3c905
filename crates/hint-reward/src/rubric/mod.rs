//! One verdict and a weighted sum of named rewards.
//!
//! A [`Rubric`] scores all completions of a problem at once and returns a [`Score`] for each. It holds the sum, its
//! parts by name, and the verdict that decides whether the problem counts as solved.

mod score;

pub use score::{Rubric, Score};
