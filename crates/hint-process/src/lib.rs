//! Process services of a training program: stop signals, CPU threads, peak memory and a clock.
//!
//! The libraries of this workspace read neither the environment nor the clock and install no signal
//! handlers. A program does these things, and this crate does them correctly next to libtorch:
//!
//! | item | purpose |
//! |---|---|
//! | [`StopSignals`] | turns Ctrl-C, SIGTERM, SIGHUP and the warnings of schedulers into a flag, without a signal handler |
//! | [`tune_libraries`] | large pages of memory, and idle OpenMP threads that leave their cores to others |
//! | [`usable_cpus`] | counts the cores that the affinity mask and the cgroup quota leave |
//! | [`peak_memory`], [`clock`], [`wall_clock`] | measurements for the trainer's reports |
//! | [`is_in_memory`] | finds out whether a folder for large files is on a disk |
//!
//! ```no_run
//! use hint_process::StopSignals;
//!
//! # fn train_step() {}
//! fn main() -> Result<std::process::ExitCode, hint_process::ProcessError> {
//!     // First of all: threads inherit the signal mask of the thread that starts them.
//!     let stop = StopSignals::catch(|signal| eprintln!("{signal}: finishing the step"))?;
//!     while !stop.requested() {
//!         train_step();
//!     }
//!     Ok(stop.exit_code())
//! }
//! ```
#![forbid(unsafe_code)]

mod error;
mod memory;
mod stop;
mod threads;
mod tuning;

pub use error::ProcessError;
pub use memory::{is_in_memory, peak_memory};
pub use stop::{StopSignals, end_at_once};
pub use threads::usable_cpus;
pub use tuning::tune_libraries;

/// The time since this call, for a trainer's reports.
pub fn clock() -> impl Fn() -> std::time::Duration + Send {
    #[expect(clippy::disallowed_methods, reason = "this crate reads the clock for programs")]
    let start = std::time::Instant::now();
    move || start.elapsed()
}

/// The time since 1970, for files that other programs read.
pub fn wall_clock() -> impl Fn() -> std::time::Duration + Send {
    #[expect(clippy::disallowed_methods, reason = "this crate reads the clock for programs")]
    let now = std::time::SystemTime::now;
    move || now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
