//! Collecting: the two-stage rollout that decides which problems get a hint.
//!
//! A [`Collector`] samples a group on the plain prompt and judges it. If the trigger fires, it
//! samples again with hints and combines both. Every method of the family is a choice on each of the
//! axes that [`CollectorConfig`] lists; no method has a name here.
//!
//! | module | decides |
//! |---|---|
//! | [`hinted`] | when a group gets hints, at which levels, and how hinted completions join it |
//! | [`curriculum`] | selection of problems, dynamic sampling, replay |
//!
//! [`Collected`] is the result: groups in problem order, and [`CollectStats`].

mod batch;
mod check;
mod collector;
mod config;
pub mod curriculum;
mod early;
pub mod hinted;
mod job;
mod parts;
mod pass;
mod search;
mod settle;
mod stages;
mod stats;
mod teach;

pub use check::{ProblemReport, TooLongText};
pub use collector::Collector;
pub use config::{CollectorConfig, EarlyStop, SoftOverlongConfig};
pub use stats::{
    BatchStats, CollectStats, Collected, HintedStats, JudgedStats, LengthCount, PlainStats,
    SampledStats,
};
