//! Functions from a completion to a verdict.
//!
//! [`Verifier`] is the trait, [`verifier_from_fn`] turns a closure into one. A [`Judgment`] is a [`Verdict`] with what
//! was extracted and compared. A verifier that fails returns a verdict of its own, never "wrong".
//!
//! | item | correct when |
//! |---|---|
//! | [`MathVerifier`], [`equivalent`] | the answers are mathematically equal |
//! | [`ExactMatch`] | the numbers or the normalized texts are equal |
//! | [`ChoiceMatch`] | the same letter is named |
//! | [`NumericTolerance`] | the number is within a tolerance |
//! | [`RegexMatch`] | a pattern matches (a reward) |

mod contract;
mod exact_match;
mod matching;
mod math;
mod verdict;

pub use contract::{FnVerifier, Verifier, verifier_from_fn};
pub use exact_match::ExactMatch;
pub use matching::{ChoiceMatch, NumericTolerance, RegexMatch};
pub use math::{MathVerifier, equivalent};
pub use verdict::{Judgment, Verdict};
