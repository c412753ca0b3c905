//! Leaks: what a hint gives away, and what happens to such a hint.
//!
//! A [`LeakDetector`] finds the answer, and values of solution steps, in the text of a hint: as
//! numbers, in words, and as formulas that are equal to them. A [`LeakGuard`] asks a provider for
//! hints, looks at each one before it is used, and keeps, drops, masks or asks again.

mod detector;
mod expression;
mod finding;
mod guard;
mod known;

pub use detector::LeakDetector;
pub(crate) use finding::PLACEHOLDER;
pub use finding::{Leak, LeakKind};
pub use guard::{GuardedHint, LeakAction, LeakCounts, LeakGuard};
pub use known::without_calculations;
