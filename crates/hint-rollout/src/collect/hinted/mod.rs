//! The axes of the hinted stage.
//!
//! | axis | trait | named in a configuration |
//! |---|---|---|
//! | when a group gets hints | [`Trigger`] | [`HintTrigger`] |
//! | at which levels they are tried | [`Levels`] | [`LevelSearch`] |
//! | how hinted completions join the group, or teach it | [`Combine`] | [`CombineRule`] |
//! | which hinted groups count | | [`KeepIf`] |
//!
//! A configuration names a built-in. An implementation of your own, or a closure through [`from_fn`],
//! goes to the [`Collector`](crate::collect::Collector), which reports the names of such parts.

mod combine;
mod from_fn;
mod level;
mod trigger;

pub use combine::{Combine, CombineRule, Contrast, KeepIf, Taught, Teaching};
pub use from_fn::{FromFn, from_fn};
pub use level::{LevelInput, LevelSearch, Levels};
pub use trigger::{HintTrigger, Trigger, TriggerInput};
