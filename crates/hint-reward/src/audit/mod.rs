//! Checking the reference answers of a data set before training on them.
//!
//! [`MathVerifier::audit`](crate::MathVerifier::audit) reads every reference and returns an [`AuditReport`]: which
//! references are unusable and why. A reference that no completion can match turns its problem into noise.

mod reference;

pub use reference::{AuditFinding, AuditReport};
