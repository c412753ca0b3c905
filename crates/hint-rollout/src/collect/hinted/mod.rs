//! The axes of the hinted stage.
//!
//! [`HintTrigger`] decides when a group gets hints, [`LevelSearch`] at which levels they are tried,
//! [`Acceptance`] which hinted groups count, and [`Merge`] how their completions join the group.

mod combine;
mod level;
mod trigger;

pub use combine::{Acceptance, Merge};
pub use level::LevelSearch;
pub(crate) use level::Search;
pub use trigger::{HintTrigger, TriggerInput};
