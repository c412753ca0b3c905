//! Drawing completions from a policy.

mod draw;
mod generate;
mod params;
mod random;
mod rows;

pub use generate::{Sample, SampleOptions, SampleRequest, StopReason, sample};
pub use params::SamplingParams;
