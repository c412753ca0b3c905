//! Settings that libraries read before `main`.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::ProcessError;

/// Iterations for which an idle OpenMP thread spins before it sleeps: about 100 µs on Xeon, between
/// libgomp's default (300,000) and none. A step of SmolLM2 on two cores took 11.1 s with the default
/// and 14.2 s without spinning on a quiet machine. Beside two busy processes it took 74.9 s and 26.9
/// s.
const SPIN_COUNT: &str = "2000";

/// Variables with which a user decides how threads wait.
const WAITING: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// Where glibc finds its settings, divided by colons.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// The setting with which memory is asked for in large pages, and its value.
const LARGE_PAGES: [&str; 2] = ["glibc.malloc.hugetlb", "1"];

/// The process that was started again: `exec` keeps its id.
const TUNED: &str = "HINT_TUNED_PROCESS";

/// Sets what libraries read before `main`, where the user's environment does not:
///
/// | variable | effect |
/// |---|---|
/// | `GOMP_SPINCOUNT` | idle threads of libgomp sleep soon, and leave their cores to other processes |
/// | `GLIBC_TUNABLES` | glibc 2.35 or newer asks for memory in pages of 2 MiB, where Linux gives them to programs that ask |
///
/// With large pages the processor looks up fewer addresses. Products of matrices that are read once, as in decoding,
/// then take less time. `OMP_WAIT_POLICY` decides in place of the first variable. Other settings of glibc stay.
///
/// It replaces the process by the same program with the same arguments, once. Call it first in `main`, and only when there
/// is much to compute. Programs that yours starts inherit both variables.
///
/// # Errors
///
/// [`ProcessError::System`] if the program cannot be started again. The program may continue.
#[expect(clippy::disallowed_methods, reason = "this crate reads the environment for programs")]
pub fn tune_libraries() -> Result<(), ProcessError> {
    let own = OsString::from(std::process::id().to_string());
    // glibc takes its variable from programs that run with the rights of others.
    if std::env::var_os(TUNED).as_ref() == Some(&own) {
        return Ok(());
    }
    let mut missing = missing(|name| std::env::var_os(name));
    if missing.is_empty() {
        return Ok(());
    }
    missing.push((TUNED, own));
    let mut args = std::env::args_os();
    let failed = |source| ProcessError::System { action: "start the program again", source };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    Err(failed(command.args(args).envs(missing).exec()))
}

/// The variables to be set in an environment.
fn missing(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let mut missing = Vec::new();
    if WAITING.iter().all(|name| variable(name).is_none()) {
        missing.push(("GOMP_SPINCOUNT", SPIN_COUNT.into()));
    }
    let mut tunables = variable(TUNABLES).unwrap_or_default();
    let has_them = cfg!(all(target_os = "linux", target_env = "gnu"));
    if has_them && !names(&tunables, LARGE_PAGES[0]) {
        if !tunables.is_empty() {
            tunables.push(":");
        }
        tunables.push(LARGE_PAGES.join("="));
        missing.push((TUNABLES, tunables));
    }
    missing
}

/// Whether one of the settings has this name.
fn names(tunables: &OsStr, name: &str) -> bool {
    let settings = tunables.to_string_lossy();
    settings.split(':').any(|setting| setting.split('=').next() == Some(name))
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// The variables to be set beside these.
    fn beside(variables: &[(&str, &str)]) -> Vec<(&'static str, OsString)> {
        missing(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn what_the_user_has_set_stays_and_nothing_is_set_twice() {
        let spin = ("GOMP_SPINCOUNT", OsString::from("2000"));
        let pages = |text: &str| ("GLIBC_TUNABLES", OsString::from(text));
        assert_eq!(beside(&[]), [spin.clone(), pages("glibc.malloc.hugetlb=1")]);
        for waiting in ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"] {
            assert_eq!(beside(&[(waiting, "1")]), [pages("glibc.malloc.hugetlb=1")]);
        }
        let other = "glibc.malloc.hugetlb_more=3:glibc.malloc.arena_max=2";
        let joined = pages(&format!("{other}:glibc.malloc.hugetlb=1"));
        assert_eq!(beside(&[("GLIBC_TUNABLES", other)]), [spin.clone(), joined]);
        for own in ["glibc.malloc.hugetlb=0", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=2"] {
            assert_eq!(beside(&[("GLIBC_TUNABLES", own)]), std::slice::from_ref(&spin));
        }
        let both = [("GOMP_SPINCOUNT", "2000"), ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")];
        assert_eq!(beside(&both), []);
    }
}
