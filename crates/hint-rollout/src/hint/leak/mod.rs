//! Leaks of a hint, and the treatment of such a hint.
//!
//! A [`LeakDetector`] finds the answer, and values of solution steps, in the text of a hint. It
//! finds them as numbers, in words, and as equal formulas. A [`LeakGuard`] asks a provider for
//! hints and checks each one before it is used. It keeps, drops or masks the hint, or asks again.

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
