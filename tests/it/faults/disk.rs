//! Disks that are full, and folders that cannot be written. The faults are real: limits and mounts that
//! only a process of its own can have. So each test starts itself under them.
#![expect(clippy::print_stdout, reason = "a test that the machine cannot run says so")]

use std::path::{Path, PathBuf};
use std::process::Command;

use hint_grpo::{GrpoError, Outcome, RunDir, Trainer};
use hint_policy::SharedPolicy;
use hint_tests::{StopAfter, lenient_rubric, parts, problems, tiny_policy};

use super::{finish, outcome, run_config};

/// Names the work of a process that a test started, and its folder.
const TASK: &str = "HINT_TESTS_DISK_TASK";
const FOLDER: &str = "HINT_TESTS_DISK_FOLDER";

/// Starts or resumes a run in `dir`, until `stop`.
fn run(dir: &Path, stop: u64) -> Result<Outcome, GrpoError> {
    let config = run_config();
    let run_dir = RunDir::resume_or_create(dir, &config)?;
    let policy = SharedPolicy::new(tiny_policy(7));
    let parts = parts(&policy, lenient_rubric(), true);
    Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .run_dir(run_dir)
        .observer(StopAfter(stop))
        .build()?
        .run(&problems())
}

/// Whether an error names the file that could not be written, and has the system's error as its
/// cause.
fn names_a_file(error: &GrpoError) -> bool {
    let mut source = std::error::Error::source(error);
    let mut causes = Vec::new();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let typed = matches!(error, GrpoError::Write { .. } | GrpoError::Policy(_));
    typed && error.to_string().contains("run") && !causes.is_empty()
}

/// Work of a started process. `true` if this process is one.
fn is_child() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tells the child process from the test")]
    let (Some(task), Some(folder)) = (std::env::var_os(TASK), std::env::var_os(FOLDER)) else {
        return false;
    };
    let dir = PathBuf::from(folder).join("run");
    match task.to_string_lossy().as_ref() {
        "start" => {
            let outcome = run(&dir, 3).expect("the disk has room");
            assert!(matches!(outcome, Outcome::Stopped { step: 3, .. }));
        }
        "fail" => {
            let before = RunDir::checkpoints(&dir).expect("the folder can be listed");
            let error = run(&dir, 0).expect_err("nothing can be written");
            assert!(names_a_file(&error), "{error:?}");
            let after = RunDir::checkpoints(&dir).expect("the folder can be listed");
            assert_eq!(after.last(), before.last(), "the last checkpoint is still there");
        }
        "create" => {
            let error = run(&dir.join("new"), 0).expect_err("nothing can be written");
            assert!(names_a_file(&error), "{error:?}");
        }
        "finish" => finish(&dir),
        other => panic!("no task {other}"),
    }
    true
}

/// A shell script in which `task NAME` starts the test named `test` with a task.
fn script(test: &str, text: &str) -> String {
    let this = std::env::current_exe().expect("tests are files");
    let this = this.to_str().expect("a path in UTF-8");
    format!(
        "task() {{ {TASK}=$1 '{this}' --exact 'faults::disk::{test}' --nocapture 1>&2; }}\n{text}"
    )
}

/// Runs a script of tasks in `folder`.
fn shell(test: &str, folder: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script(test, text)).env(FOLDER, folder);
    let output = command.output().expect("there is a shell");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
}

/// Bytes of the largest file of a checkpoint.
fn largest_file(dir: &Path) -> u64 {
    let (_, newest) = RunDir::checkpoints(dir).expect("a folder").pop().expect("a checkpoint");
    let entries = std::fs::read_dir(newest).expect("a folder");
    let sizes =
        entries.map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |m| m.len()));
    sizes.max().unwrap_or(0)
}

#[test]
fn a_file_that_may_not_grow_is_a_typed_error_and_the_run_resumes() {
    if is_child() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(&dir.path().join("whole"));
    let test = "a_file_that_may_not_grow_is_a_typed_error_and_the_run_resumes";
    let blocks = largest_file(&dir.path().join("whole")) / 512;
    // In blocks of 512 bytes: a limit that the optimizer's file exceeds, then one that every file does.
    for (name, limit) in [("optimizer", blocks * 3 / 4), ("everything", 1)] {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).expect("a new folder");
        shell(test, &folder, "task start");
        // A signal that is ignored here stays ignored, so that a write returns an error.
        shell(test, &folder, &format!("trap '' XFSZ; ulimit -f {limit}; task fail"));
        shell(test, &folder, "task finish");
        assert!(outcome(&folder.join("run")) == outcome(&dir.path().join("whole")), "{name}");
    }
}

/// Runs a script of tasks in a file system of its own, mounted at `folder/mount` with `options`. `false`
/// where the machine does not allow that.
fn shell_with_mount(test: &str, folder: &Path, options: &str, text: &str) -> bool {
    let mount = folder.join("mount");
    std::fs::create_dir(&mount).expect("a new folder");
    let mounted = format!("mount -t tmpfs -o {options} none '{}' || exit 77", mount.display());
    let mut command = Command::new("unshare");
    // The mount is the shell's own and goes with it.
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg(script(test, &format!("{mounted}\nset -e\n{text}"))).env(FOLDER, &mount);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: no `unshare` on this machine: {error}");
            return false;
        }
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || errors.starts_with("unshare:") {
        println!("skipped: this machine lets no process mount a folder of its own: {errors}");
        return false;
    }
    assert!(output.status.success(), "{}\n{errors}", output.status);
    true
}

#[test]
fn a_full_disk_is_a_typed_error_and_the_run_resumes() {
    if is_child() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(&dir.path().join("whole"));
    let test = "a_full_disk_is_a_typed_error_and_the_run_resumes";
    let mount = dir.path().join("mount");
    let script = format!(
        "task start; dd if=/dev/zero of='{0}/filler' 2>/dev/null || true; task fail
         rm '{0}/filler'; task finish; cp -r '{0}/run' '{1}/copy'",
        mount.display(),
        dir.path().display()
    );
    if shell_with_mount(test, dir.path(), "size=2m", &script) {
        assert!(outcome(&dir.path().join("copy")) == outcome(&dir.path().join("whole")));
    }
}

#[test]
fn a_read_only_folder_is_a_typed_error_and_the_run_resumes() {
    if is_child() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    finish(&dir.path().join("whole"));
    let test = "a_read_only_folder_is_a_typed_error_and_the_run_resumes";
    let mount = dir.path().join("mount");
    let script = format!(
        "task start; mount -o remount,ro '{0}'; task fail; task create
         mount -o remount,rw '{0}'; task finish; cp -r '{0}/run' '{1}/copy'",
        mount.display(),
        dir.path().display()
    );
    if shell_with_mount(test, dir.path(), "size=4m", &script) {
        assert!(outcome(&dir.path().join("copy")) == outcome(&dir.path().join("whole")));
    }
}
