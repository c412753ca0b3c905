//! Drawing completions from a policy.

mod device;
mod draw;
mod generate;
mod params;
mod random;
mod rows;

pub use generate::{Sample, SampleOptions, SampleRequest, StopReason, sample};
pub use params::SamplingParams;
