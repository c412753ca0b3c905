//! The problems and groups of a step.
//!
//! [`ProblemSelection`] takes problems, with or without [`SuccessRecord`]. [`DynamicSampling`]
//! draws more in place of groups without a signal. [`Replay`] lets groups of earlier steps train
//! again.

mod dynamic;
mod record;
mod replay;
mod selection;

pub use dynamic::{DynamicSampling, SignalCriterion};
pub use record::{ProblemSuccess, SuccessRecord};
pub use replay::Replay;
pub(crate) use replay::ReplayBuffer;
pub use selection::ProblemSelection;
pub(crate) use selection::{DrawContext, Draws};
