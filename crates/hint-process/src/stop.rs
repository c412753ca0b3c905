//! Stop signals without a signal handler.

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};

use crate::ProcessError;

/// Turns SIGINT (Ctrl-C), SIGTERM, SIGHUP and the warnings of schedulers into a flag.
///
/// The first signal sets the flag. The program finishes its work and returns
/// [`StopSignals::exit_code`], 128 plus the number of the signal as shells expect. So `a && b` stops
/// there. A second Ctrl-C or SIGTERM ends the process at once, without running destructors. A second
/// SIGHUP does not: a closed terminal may send two.
///
/// SIGUSR1, SIGUSR2 and SIGXCPU are warnings. A scheduler sends one ahead of its limit if it is asked to. The last comes
/// at a limit of processor time. They never end the process. A Ctrl-C or SIGTERM after one counts as the first.
/// SIGXFSZ is held back: a write beyond the limit of file sizes fails with an error, as on a full disk.
///
/// # Why not a signal handler
///
/// The just-in-time compiled kernels of oneDNN, which libtorch runs on CPUs, let the stack pointer
/// point into the heap for a while. A handler that the kernel runs on that "stack" overwrites the
/// heap. `SA_ONSTACK` helps only on threads that have an alternate stack, and OpenMP threads have
/// none. So no handler may run on a thread that computes. This type blocks the signals in every
/// thread and starts one that waits for them with `sigwait`, which needs no handler.
///
/// # With a handler of your own
///
/// Your program may need another crate's handler. Then block the signals you handle in all threads
/// except one that never calls libtorch, before libtorch starts threads. To do so, block them first
/// in `main`, and unblock them in that one thread. This holds for every signal with a handler, such
/// as `SIGWINCH` or the `SIGPROF` of a profiler.
///
/// ```no_run
/// use hint_process::StopSignals;
///
/// # fn train_step() {}
/// // First of all: threads inherit the signal mask of the thread that starts them.
/// let stop = StopSignals::catch(|signal| eprintln!("{signal}: finishing the step"))?;
/// while !stop.requested() {
///     train_step();
/// }
/// # Ok::<(), hint_process::ProcessError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StopSignals(Arc<AtomicI32>);

/// Signals that stop a run.
const STOP: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGXCPU,
];

/// Those that end the process at once when they come again.
const END: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

/// Those by which a scheduler warns, ahead of the signal that ends.
const WARN: [Signal; 3] = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGXCPU];

/// Signals that follow each other faster are one: `timeout` sends to the process and to its group.
const SAME: Duration = Duration::from_millis(100);

impl StopSignals {
    /// Catches the signals from now on. `notice` is called once, with the name of the first one.
    ///
    /// Signals that the process was started with ignored, such as SIGHUP under `nohup`, stay so. The
    /// processes that this one starts with [`std::process::Command`] receive signals as usual.
    ///
    /// # Errors
    ///
    /// [`ProcessError::ThreadsRun`] if other threads run already; [`ProcessError::System`].
    pub fn catch(notice: impl FnOnce(&str) + Send + 'static) -> Result<Self, ProcessError> {
        // Linux lists them; elsewhere the caller must know.
        let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            return Err(ProcessError::ThreadsRun(threads));
        }
        Self::catch_beside_threads(notice)
    }

    /// As [`StopSignals::catch`], for threads that have the signals blocked already.
    fn catch_beside_threads(
        notice: impl FnOnce(&str) + Send + 'static,
    ) -> Result<Self, ProcessError> {
        let ignored = ignored();
        let signals: SigSet =
            STOP.into_iter().filter(|signal| ignored & (1 << (*signal as u32 - 1)) == 0).collect();
        let failed = |action| {
            move |source: nix::Error| ProcessError::System { action, source: source.into() }
        };
        signals.thread_block().map_err(failed("block signals"))?;
        // The kernel sends it to the thread that writes, which then reads the error of its write.
        SigSet::from(Signal::SIGXFSZ).thread_block().map_err(failed("block signals"))?;
        let first = Arc::new(AtomicI32::new(0));
        let flag = Arc::clone(&first);
        thread::Builder::new()
            .name("stop-signals".to_owned())
            .spawn(move || wait(&signals, &flag, notice))
            .map_err(|source| ProcessError::System { action: "start a thread", source })?;
        Ok(Self(first))
    }

    /// Whether a signal asked the program to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// 128 plus the number of the first signal, or success. It is 130 for Ctrl-C, 143 for SIGTERM and 138 for
    /// SIGUSR1.
    pub fn exit_code(&self) -> ExitCode {
        let signal = self.0.load(Ordering::Relaxed);
        if signal == 0 { ExitCode::SUCCESS } else { u8::try_from(128 + signal).unwrap_or(1).into() }
    }
}

/// Ends the process at once, as a second SIGTERM does: no destructor runs. Call it on a thread that does not compute, when
/// the work of the others is of no use any more.
pub fn end_at_once() -> ! {
    // This thread alone does not block the signal, whose default action ends the process.
    let _ = SigSet::from(Signal::SIGTERM).thread_unblock();
    let _ = raise(Signal::SIGTERM);
    // SIGTERM may be ignored.
    let _ = raise(Signal::SIGKILL);
    unreachable!("no process survives SIGKILL")
}

/// Waits for signals as long as the process lives.
fn wait(signals: &SigSet, first: &AtomicI32, notice: impl FnOnce(&str)) {
    let Ok(signal) = signals.wait() else { return };
    first.store(signal as i32, Ordering::Relaxed);
    notice(signal.as_str());
    #[expect(clippy::disallowed_methods, reason = "this crate reads the clock for programs")]
    let now = std::time::Instant::now;
    let (mut since, mut is_warned) = (now(), WARN.contains(&signal));
    loop {
        let Ok(signal) = signals.wait() else { return };
        if is_warned && END.contains(&signal) {
            (since, is_warned) = (now(), false);
        } else if END.contains(&signal) && since.elapsed() > SAME {
            // The default action of the signal, in the only thread that does not block it: the kernel
            // ends the process, and no destructor runs.
            let _ = signals.thread_unblock();
            let _ = raise(signal);
        }
    }
}

/// The set of signals that the process ignores, as Linux reports it; elsewhere none.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
