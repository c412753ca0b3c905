//! Integration tests of `hint-reward`.

mod attack;
mod audit;
mod boxed;
mod config;
mod exact_match;
mod extraction;
mod golden;
#[cfg(feature = "http")]
mod judge;
mod kinds;
mod limits;
mod math;
mod near_misses;
mod overlooked;
mod properties;
mod rubric;
mod shaping;
mod verifiers;
mod wording;
