//! A run: seeds, progress, schedules, and the state of parts in checkpoints.
//!
//! Randomness has no state here. A [`Seed`] is a node of a tree, and every random decision (run,
//! step, problem, stage) has its place in it. So a resumed run needs no generator state.
//! [`RunProgress`] is the progress of a run, and a [`ValueSchedule`] is a value as a function of it.
//! A [`StepContext`] is both at once: the input of a collection. [`Activity`] is for displays alone.

mod activity;
mod parallel;
mod progress;
mod schedule;
mod seed;
pub(crate) mod state;

pub use activity::{Activity, Work};
pub(crate) use parallel::in_parallel;
pub use progress::{RunProgress, StepContext};
pub use schedule::{RunPoint, ValueSchedule};
pub use seed::Seed;
pub(crate) use seed::{EpochOrder, fnv1a};
pub use state::no_fields;
