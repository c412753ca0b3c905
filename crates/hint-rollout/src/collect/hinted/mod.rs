//! The axes of the hinted stage.
//!
//! [`HintTrigger`] decides when a group gets hints, [`LevelSearch`] at which levels they are tried,
//! [`KeepIf`] which hinted groups count, and [`CombineRule`] how their completions join the group.

mod combine;
mod level;
mod trigger;

pub use combine::{CombineRule, KeepIf};
pub use level::LevelSearch;
pub(crate) use level::Search;
pub use trigger::{HintTrigger, TriggerInput};
