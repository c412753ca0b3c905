//! Hints that a teacher writes, behind an OpenAI-compatible chat endpoint.

#[cfg(feature = "teacher")]
mod budget;
#[cfg(feature = "teacher")]
mod cache;
#[cfg(feature = "teacher")]
mod hints;
mod options;
mod prompt;

#[cfg(feature = "teacher")]
pub use hints::TeacherHints;
pub use options::{TeacherBudget, TeacherFallback, TeacherOptions};
pub use prompt::TeacherPrompt;
