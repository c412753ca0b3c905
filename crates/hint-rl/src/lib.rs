//! The application of hint-rl: GRPO and HINT from the command line.
//!
//! The program `hint-rl` has a command per module: [`train`], [`evaluate`], [`compare`], [`hints`]
//! (`generate-hints`), [`audit`], [`doctor`], [`plan`], [`export`], [`report`], [`reproduce`] and [`show`]. Each has an `Options`
//! type that clap parses and a `run` function, so that another program can offer the same command.
//!
//! [`workload`] finds models and problems by name; [`tiny`] is the embedded default, and [`tasks`] has families of
//! problems. [`log`] writes the log events of the libraries. Decisions of an application that a library must not make
//! are here. It reads the clock and the environment, prints, catches signals and fetches files ([`fetch`]).
#![forbid(unsafe_code)]

#[macro_use]
mod terminal;

pub mod audit;
pub mod check_vllm;
pub mod compare;
pub mod doctor;
pub mod evaluate;
pub mod export;
pub mod fetch;
pub mod hints;
pub mod hub;
pub mod launch;
pub mod log;
pub mod plan;
mod presets;
mod problem_row;
pub mod process;
mod progress;
pub mod report;
pub mod reproduce;
mod run_dirs;
mod run_log;
mod run_state;
pub mod show;
pub mod tasks;
pub mod tiny;
pub mod train;
pub mod workload;
