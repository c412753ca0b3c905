//! The process of the program: stop signals and CPU threads.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result};
use hint_policy::runtime::{self, device_memory, silence_caught_out_of_memory};
use hint_process::{StopSignals, peak_memory, tune_libraries, usable_cpus};
use tch::Device;

/// Most threads that `--threads` takes.
const MAX_THREADS: i64 = 1024;

/// The value of `--threads`.
///
/// # Errors
///
/// A number out of range.
pub(crate) fn threads(text: &str) -> Result<i32, String> {
    let range = format!("must be between 1 and {MAX_THREADS}");
    let value = text.parse::<i64>().map_err(|_| range.clone())?;
    let value = i32::try_from(value).map_err(|_| range.clone())?;
    if (1..=MAX_THREADS).contains(&i64::from(value)) { Ok(value) } else { Err(range) }
}

/// The exit code of a program. An error is printed with its causes, in one line and without a backtrace: it names what the
/// user can change. Control characters of ids and servers are shown, not sent.
pub fn exit_code(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        note!("Error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Names of what a process has open. Behind them may be a file that the process writes to.
const STREAMS: [&str; 4] = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];

/// Whether it is a pipe, a device or an output of the process: what is written there cannot be replaced.
pub(crate) fn is_stream(path: &Path) -> bool {
    STREAMS.iter().any(|stream| path.starts_with(stream))
        || path.metadata().is_ok_and(|metadata| !metadata.is_file())
}

/// Writes a file as a whole or not at all. A kill or a full disk leaves the former one as it was, and a new one has its
/// permissions. A link stays one, and its file is replaced. A [stream](is_stream) gets the text at its end. A file that is
/// mounted, or whose folder takes no other one, is written in its place.
///
/// # Errors
///
/// A file that cannot be written, by name.
pub(crate) fn replace_file(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    if is_stream(path) {
        let append = || File::options().append(true).open(path)?.write_all(text.as_bytes());
        return append().with_context(failed);
    }
    let file = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let partial = file.with_file_name(format!(".{name}.tmp"));
    let write = || {
        let mut open = File::create(&partial)?;
        if let Ok(former) = file.metadata() {
            open.set_permissions(former.permissions())?;
        }
        open.write_all(text.as_bytes())?;
        open.sync_all()?;
        std::fs::rename(&partial, &file)
    };
    write()
        .or_else(|error| {
            // It is of no use to anyone, and takes the room that is missing.
            let _ = std::fs::remove_file(&partial);
            if stands_alone(&error) && file.is_file() {
                std::fs::write(&file, text)
            } else {
                Err(error)
            }
        })
        .with_context(failed)
}

/// Whether no other file can be beside one, or take its place.
fn stands_alone(error: &std::io::Error) -> bool {
    use ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};

    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// Catches stop signals; `doing` names the work that is finished first.
///
/// # Errors
///
/// The operating system refuses.
pub(crate) fn catch_signals(doing: &'static str) -> Result<StopSignals> {
    Ok(StopSignals::catch(move |signal| {
        // One after the warning of a scheduler is the first.
        let times =
            if matches!(signal, "SIGINT" | "SIGTERM" | "SIGHUP") { "again" } else { "twice" };
        note!("\n{signal}: {doing}; press Ctrl-C {times} to stop at once");
    })?)
}

/// A gauge of the largest memory used so far, of the GPU with all its processes, or of this process.
pub(crate) fn peak_memory_on(device: Device) -> impl Fn() -> Option<u64> + Send + 'static {
    let most = AtomicU64::new(0);
    move || match device_memory(device) {
        Some(memory) => Some(most.fetch_max(memory.used(), Relaxed).max(memory.used())),
        None => peak_memory(),
    }
}

/// Keeps the memory that is freed, where tensors are in this process's memory and not on a GPU: see
/// [`runtime::keep_freed_memory`].
pub fn keep_freed_memory(device: Device) {
    if device == Device::Cpu {
        runtime::keep_freed_memory();
    }
}

/// Sets the number of threads that libtorch computes with. Without a request it is libtorch's own
/// choice, within the limit of the process.
pub(crate) fn set_threads(asked: Option<i32>) {
    set_threads_beside(asked, 1);
}

/// As [`set_threads`], where so many processes share the machine.
pub(crate) fn set_threads_beside(asked: Option<i32>, processes: usize) {
    let usable = (usable_cpus() / processes.max(1)).max(1);
    let usable = i32::try_from(usable).unwrap_or(i32::MAX);
    tch::set_num_threads(asked.unwrap_or_else(|| tch::get_num_threads().min(usable)));
}

/// Whether the model of this name is one of the repository's, whose operations are too small to share between threads.
pub(crate) fn is_small(model: &str) -> bool {
    matches!(model, "tiny" | "tiny-tasks")
}

/// Starts the program again with [`tune_libraries`], unless one of the tiny models computes on one thread. A program calls this
/// first; it returns at once if nothing needs to be done.
pub fn tune_process() {
    silence_caught_out_of_memory();
    if !computes_little(std::env::args_os()) {
        // Otherwise the program is slower; it still works.
        let _ = tune_libraries();
    }
}

/// Whether the command line chooses a tiny model, and not several threads.
fn computes_little(args: impl Iterator<Item = OsString>) -> bool {
    let args = args.map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let value = |option: &str| {
        args.iter().enumerate().rev().find_map(|(at, arg)| match arg.strip_prefix(option)? {
            "" => args.get(at + 1).map(String::as_str),
            value => value.strip_prefix('='),
        })
    };
    // The other scales of `reproduce` have larger models.
    let is_larger = value("--scale").is_some_and(|scale| scale != "tiny");
    value("--resume").is_none()
        && value("--threads").is_none_or(|threads| threads == "1")
        && value("--model").map_or(!is_larger, is_small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_a_range() {
        assert_eq!(threads("4"), Ok(4));
        for text in ["0", "-1", "5000", "99999999999", "x"] {
            assert_eq!(threads(text).unwrap_err(), "must be between 1 and 1024", "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("options.json");
        replace_file(&path, "first").unwrap();
        replace_file(&path, "second").unwrap();
        // Where the new text would go, a folder stands in the way.
        std::fs::create_dir(folder.path().join(".options.json.tmp")).unwrap();
        let error = replace_file(&path, "third").unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("options.json"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one_and_a_device_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "first").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace_file(&link, "second").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "second");
        let device = folder.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        replace_file(&device, "gone").unwrap();
        assert_eq!(std::fs::read_to_string(&device).unwrap(), "");
        let error = replace_file(folder.path(), "text").unwrap_err().to_string();
        assert!(error.contains("cannot write"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_output_of_a_process_is_written_behind_what_it_has() {
        use std::os::fd::AsRawFd as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let mut output = File::create(&path).unwrap();
        output.write_all(b"a table\n").unwrap();
        let stream = format!("/proc/self/fd/{}", output.as_raw_fd());
        replace_file(Path::new(&stream), "lines\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a table\nlines\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("options.json");
        replace_file(&path, "first").unwrap();
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        for kept in [0o600, 0o640] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(kept)).unwrap();
            replace_file(&path, "second").unwrap();
            assert_eq!(mode(), kept);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_in_a_folder_that_takes_no_other_one_is_written_in_its_place() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("options.json");
        replace_file(&path, "first").unwrap();
        let permit = |mode| {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        permit(0o500);
        // The superuser may write there all the same.
        let result = replace_file(&path, "second");
        permit(0o700);
        result.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_larger_models_and_several_threads_are_tuned_for() {
        let little = |args: &str| computes_little(args.split(' ').map(OsString::from));
        for args in [
            "hint_grpo",
            "hint-rl train --model=tiny",
            "x --threads 1",
            "x --model tiny --threads=1",
        ] {
            assert!(little(args), "{args}");
        }
        assert!(little("x reproduce --scale tiny") && little("x --scale small --model tiny"));
        for args in [
            "x --model smollm2",
            "x --model smollm2 --threads 1",
            "x --threads=2",
            "x --resume runs/1",
            "x --resume runs/1 --threads 1",
            "x reproduce --scale=small",
        ] {
            assert!(!little(args), "{args}");
        }
    }
}
