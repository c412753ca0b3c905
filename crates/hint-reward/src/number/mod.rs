//! Numbers that a text states, in digits and in words.
//!
//! [`numbers_in`] finds every number of a text with its place, its exact value and its role. Roles are a quantity, a
//! fraction, a place in an order, a label, a year. Leak checks use it to see whether a hint states the answer; the
//! verifier uses its number words and its vulgar fractions.
//!
//! | item | content |
//! |---|---|
//! | [`numbers_in`], [`is_number_word`] | reading a text |
//! | [`NumberMention`], [`NumberRole`] | one number of a text and why it is there |
//! | [`ExactNumber`] | a rational number, equal in every notation |

pub(crate) mod glyph;
mod mention;
mod read;
mod role;
mod scan;
mod value;
pub(crate) mod word;

pub use mention::{NumberMention, NumberRole};
pub use read::{is_number_word, numbers_in};
pub use value::ExactNumber;
