//! Finding the answer in a completion.
//!
//! An [`Extraction`] is an ordered list of [`AnswerSource`]s. The first source that has an answer decides, and the
//! verdict records which one it was. [`Level`] names the two lists for training and for evaluation. [`BoxedAnswer`] lists the boxes of a text; [`extract_boxed`] returns the last.

mod announcement;
mod boxed;
mod closing;
pub(crate) mod extraction;
mod formula;
mod language;
mod last_value;
mod lead;
mod placement;
mod reference;
mod sentence;
mod separator;
mod stated;
mod trimmed;
mod words;

pub use boxed::{BoxedAnswer, extract_boxed};
pub use extraction::{AnswerSource, Extraction, Level};
pub(crate) use reference::bare_reference;
