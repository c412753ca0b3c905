//! Functions from a completion to a verdict.
//!
//! [`Verifier`] is the trait, [`verifier_from_fn`] turns a closure into one. A [`Judgment`] is a [`Verdict`] with the
//! extracted and compared answers. A verifier that fails returns a verdict of its own, never "wrong".
//!
//! | item | correct when |
//! |---|---|
//! | [`MathVerifier`], [`equivalent`] | the answers are mathematically equal |
//! | [`ExactMatch`] | the numbers or the normalized texts are equal |
//! | [`ChoiceMatch`] | the same letter is named, or the text of its choice given |
//! | [`NumericTolerance`] | the number is within a tolerance, units converted |
//! | [`SetMatch`] | the same items are named |
//! | [`PatternMatch`] | the answer matches the reference, a regular expression |
//! | [`TextDistance`] | the text is similar enough |
//! | `JsonMatch` (feature `json-schema`) | the JSON is valid under a schema and equal |
//!
//! [`VerifierConfig`] names one of them in a configuration. [`RegexMatch`] is a reward: 1 if the completion matches a pattern.

mod choice;
mod config;
mod contract;
mod distance;
mod exact_match;
mod extracted;
#[cfg(feature = "json-schema")]
mod json;
mod math;
mod numeric;
mod pattern;
mod set;
mod verdict;

pub use choice::ChoiceMatch;
pub use config::{Equality, VerifierConfig};
pub use contract::{FnVerifier, Verifier, verifier_from_fn};
pub use distance::TextDistance;
pub use exact_match::ExactMatch;
#[cfg(feature = "json-schema")]
pub use json::JsonMatch;
pub use math::{MathVerifier, equivalent};
pub use numeric::NumericTolerance;
pub use pattern::{PatternMatch, RegexMatch};
pub use set::SetMatch;
pub use verdict::{Judgment, Verdict};
