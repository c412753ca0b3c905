//! Drawing completions from a policy.
//!
//! [`sample`] schedules: it chooses the prompts to process and the rows to decode, and replaces rows that
//! leave (`generate`). Each step it passes the logits of all rows to `rows`, which draws where that is
//! fastest. Whole distributions are drawn on the device of the logits (`device`), truncated ones on a CPU
//! in loops (`draw`). Both take the number that `random` gives a position, so they draw the same token.

mod device;
mod draw;
pub(crate) mod generate;
mod mode;
pub(crate) mod params;
mod probs;
mod random;
mod rows;

pub use generate::{
    FinishReason, Generation, SampleOptions, SampleRequest, SampleWatch, sample, sample_until,
};
pub use params::SamplingParams;
