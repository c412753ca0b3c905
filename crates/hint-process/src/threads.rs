//! Number of CPU threads, and the time that idle ones spin.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::ProcessError;

/// Iterations for which an idle OpenMP thread spins before it sleeps: about 100 µs on Xeon, between
/// libgomp's default (300,000) and none. A step of SmolLM2 on two cores took 11.1 s with the default
/// and 14.2 s without spinning on a quiet machine. Beside two busy processes it took 74.9 s and 26.9
/// s.
const SPIN_COUNT: &str = "2000";

/// Variables with which a user decides this.
const CHOSEN: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// The cores that this process may use: its affinity mask, at most its cgroup's quota.
pub fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bounds the time for which idle OpenMP threads spin, unless the user's environment does.
///
/// libgomp reads its settings when libtorch is loaded, before `main`. So this replaces the process by
/// the same program with the same arguments and `GOMP_SPINCOUNT` set. It returns when the variable is
/// there. Call it first in `main`, and only when several threads will compute.
///
/// # Errors
///
/// [`ProcessError::System`] if the program cannot be started again. The program may continue.
#[expect(clippy::disallowed_methods, reason = "this crate reads the environment for programs")]
pub fn bound_spinning() -> Result<(), ProcessError> {
    if CHOSEN.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let mut args = std::env::args_os();
    let failed = |source| ProcessError::System { action: "start the program again", source };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    Err(failed(command.args(args).env("GOMP_SPINCOUNT", SPIN_COUNT).exec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_affinity_mask_counts() {
        let cpus = usable_cpus();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"));
        let allowed = mask.map_or(cpus, |mask| {
            mask.chars()
                .filter_map(|digit| digit.to_digit(16))
                .map(|digit| digit.count_ones() as usize)
                .sum()
        });
        assert!(cpus >= 1 && cpus <= allowed, "{cpus} of {allowed}");
    }
}
