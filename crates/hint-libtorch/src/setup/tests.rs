//! The setup as a whole, on folders made by hand and Pythons that are shell scripts. Nothing is downloaded.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;

/// Writes the files by which a folder passes for libtorch.
pub(super) fn write_torch(folder: &Path, version: &str) {
    for file in
        ["include/torch/csrc/api/include/torch/torch.h", "lib/libtorch.so", "lib/libtorch_cpu.so"]
    {
        let file = folder.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    std::fs::write(folder.join("version.py"), format!("__version__ = '{version}+cu130'\n"))
        .unwrap();
}

/// A machine of its own: repository, cache and `PATH` are empty folders.
struct Machine {
    host: Host,
    root: tempfile::TempDir,
    /// Scripts are written and run by one test at a time. A process forked meanwhile would hold the script open for
    /// writing, and starting it would fail.
    _one_at_a_time: MutexGuard<'static, ()>,
}

static SCRIPTS: Mutex<()> = Mutex::new(());

impl Machine {
    fn new() -> Self {
        let guard = SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner);
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = root.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            folder
        };
        let host = Host {
            repo: folder("repo"),
            cache: Some(root.path().join("cache/hint-rl")),
            path: folder("bin").into_os_string(),
            libtorch: None,
            use_pytorch: false,
            in_virtual_env: false,
            platform: ("linux", "x86_64"),
            cxx: Some("c++".into()),
            needed_bytes: 0,
        };
        Self { host, root, _one_at_a_time: guard }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn site(&self) -> PathBuf {
        self.path("cache/hint-rl/torch-2.11.0")
    }

    /// Puts a Python on `PATH` that answers the probe. It runs `pip` (a shell command) for `-m pip`, where `$target` is
    /// the folder to install into. Each start is logged.
    fn python(&self, name: &str, release: &str, has_pip: bool, torch: &str, pip: &str) {
        let has_pip = if has_pip { "True" } else { "False" };
        let log = self.path("starts");
        let script = format!(
            "#!/bin/sh\necho \"$1 $2\" | head -n 1 >> {log}\n\
             if [ \"$1\" = -c ]; then\n  echo release {release}\n  echo pip {has_pip}\n  echo torch {torch}\n  exit 0\nfi\n\
             target=$5\n{pip}\n",
            log = log.display(),
        );
        let file = self.path("bin").join(name);
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A pip that installs the content of a template folder.
    fn pip_that_works(&self) -> String {
        let template = self.path("wheel");
        write_torch(&template.join("torch"), VERSION);
        format!("cp -r {}/. \"$target\"", template.display())
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.path("starts")).map_or(0, |text| text.lines().count())
    }

    #[track_caller]
    fn finds(&self, folder: &Path) {
        assert_eq!(setup(&self.host).unwrap(), folder);
        assert_eq!(config::recorded(&self.host.repo).as_deref(), Some(folder));
    }

    /// The setup must fail with one line that contains `parts`.
    #[track_caller]
    fn fails(&self, parts: &[&str]) {
        let line = format!("{:#}", setup(&self.host).unwrap_err());
        assert!(!line.contains('\n'), "more than one line: {line}");
        for part in parts {
            assert!(line.contains(part), "`{part}` is not in: {line}");
        }
    }
}

#[test]
fn fresh_machine_installs_and_the_second_run_starts_no_python() {
    let machine = Machine::new();
    machine.python("python3", "3.11", true, "", &machine.pip_that_works());
    let torch = machine.site().join("torch");
    machine.finds(&torch);
    let starts = machine.starts();
    machine.finds(&torch);
    assert_eq!(machine.starts(), starts);
    let names: Vec<_> = std::fs::read_dir(machine.path("cache/hint-rl"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("partial"))
        .collect();
    assert!(names.is_empty(), "left behind: {names:?}");
}

#[test]
fn another_clone_uses_the_same_installation_without_python() {
    let mut machine = Machine::new();
    machine.python("python3", "3.11", true, "", &machine.pip_that_works());
    setup(&machine.host).unwrap();
    let starts = machine.starts();
    machine.host.repo = machine.path("clone");
    std::fs::create_dir(&machine.host.repo).unwrap();
    machine.finds(&machine.site().join("torch"));
    assert_eq!(machine.starts(), starts);
}

#[test]
fn interrupted_setup_is_cleaned_up_by_the_next() {
    let machine = Machine::new();
    let leftover = machine.path("cache/hint-rl/torch-2.11.0.partial-999999999/packages/torch");
    write_torch(&leftover, VERSION);
    // A setup that was killed leaves its lock file, unlocked.
    std::fs::write(machine.path("cache/hint-rl/torch-2.11.0.lock"), "").unwrap();
    machine.python("python3", "3.11", true, "", &machine.pip_that_works());
    machine.finds(&machine.site().join("torch"));
    assert!(!leftover.exists());
}

#[test]
fn failed_pip_leaves_nothing_and_the_next_run_recovers() {
    let machine = Machine::new();
    machine.python(
        "python3",
        "3.11",
        true,
        "",
        "mkdir \"$target/torch\"; echo 'ERROR: killed' >&2; exit 1",
    );
    machine.fails(&["pip failed to install torch 2.11.0", "ERROR: killed", "run the set-up again"]);
    assert!(!machine.site().exists());
    assert_eq!(config::recorded(&machine.host.repo), None);
    machine.python("python3", "3.11", true, "", &machine.pip_that_works());
    machine.finds(&machine.site().join("torch"));
}

#[test]
fn incomplete_folder_without_marker_is_replaced() {
    let machine = Machine::new();
    // Looks right, but there is no record that everything it needs is there.
    write_torch(&machine.site().join("torch"), VERSION);
    std::fs::write(machine.site().join("old"), "").unwrap();
    machine.python("python3", "3.11", true, "", &machine.pip_that_works());
    machine.finds(&machine.site().join("torch"));
    assert!(!machine.site().join("old").exists());
}

#[test]
fn complete_folder_without_marker_is_adopted() {
    let machine = Machine::new();
    let site = machine.site();
    write_torch(&site.join("torch"), VERSION);
    let info = |name: &str, metadata: &str, record: &str| {
        let folder = site.join(format!("{name}.dist-info"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("METADATA"), metadata).unwrap();
        std::fs::write(folder.join("RECORD"), record).unwrap();
    };
    info(
        "torch-2.11.0",
        "Requires-Dist: nvidia-nccl-cu13==2\n",
        "torch/lib/libtorch.so,sha256=x,0\n",
    );
    machine.fails(&["no Python"]);
    info("nvidia_nccl_cu13-2", "", "");
    machine.finds(&site.join("torch"));
}

#[test]
fn two_setups_at_once_install_once() {
    let machine = Machine::new();
    machine.python(
        "python3",
        "3.11",
        true,
        "",
        &format!("sleep 0.3; {}", machine.pip_that_works()),
    );
    std::thread::scope(|scope| {
        for clone in ["one", "two"] {
            let mut host = machine.host.clone();
            host.repo = machine.path(clone);
            std::fs::create_dir(&host.repo).unwrap();
            scope.spawn(move || setup(&host).unwrap());
        }
    });
    let log = std::fs::read_to_string(machine.path("starts")).unwrap();
    assert_eq!(log.lines().filter(|line| line.starts_with("-m pip")).count(), 1, "{log}");
}

#[test]
fn pip_that_outlives_its_setup_keeps_the_lock() {
    let machine = Machine::new();
    // As if the setup had been killed: a child of this pip continues, with its standard input.
    let late = machine.path("late");
    let pip = format!("( sleep 0.5; touch {} ) > /dev/null 2>&1 0<&3 & exit 1", late.display());
    machine.python("python3", "3.11", true, "", &format!("exec 3<&0\n{pip}"));
    machine.fails(&["pip failed"]);
    machine.python("python3", "3.11", true, "", &machine.pip_that_works());
    machine.finds(&machine.site().join("torch"));
    assert!(late.exists(), "the second set-up did not wait");
}

#[test]
fn libtorch_of_the_user_wins() {
    let mut machine = Machine::new();
    let folder = machine.path("mine");
    write_torch(&folder, VERSION);
    machine.host.libtorch = Some(folder.clone());
    machine.finds(&folder);
    // From now on without the variable.
    machine.host.libtorch = None;
    machine.finds(&folder);
}

#[test]
fn libtorch_of_the_user_in_a_wrong_version_is_an_error() {
    let mut machine = Machine::new();
    let folder = machine.path("mine");
    write_torch(&folder, "2.10.0");
    machine.host.libtorch = Some(folder);
    machine.fails(&["`LIBTORCH` (", "holds libtorch 2.10.0, expected 2.11.0", "unset LIBTORCH"]);
    machine.host.libtorch = Some(machine.path("nowhere"));
    machine.fails(&["has no `include`", "unset LIBTORCH"]);
}

#[test]
fn chosen_python_must_have_the_right_torch() {
    let mut machine = Machine::new();
    machine.host.use_pytorch = true;
    machine.fails(&["no working `python3` on PATH", "unset LIBTORCH_USE_PYTORCH"]);
    machine.python("python3", "3.11", true, "", "exit 1");
    machine.fails(&["`python3` has no torch", "install torch 2.11.0 there"]);
    let folder = machine.path("site/torch");
    write_torch(&folder, "2.12.1");
    let origin = folder.join("__init__.py").display().to_string();
    machine.python("python3", "3.11", true, &origin, "exit 1");
    machine.fails(&["the torch of `python3` (", "holds libtorch 2.12.1, expected 2.11.0"]);
    write_torch(&folder, VERSION);
    machine.finds(&folder);
    machine.host.in_virtual_env = true;
    machine.fails(&["no working `python` on PATH"]);
}

#[test]
fn matching_torch_of_python3_is_used_and_another_is_passed_over() {
    let machine = Machine::new();
    let folder = machine.path("site/torch");
    write_torch(&folder, "2.10.0");
    let origin = folder.join("__init__.py").display().to_string();
    machine.python("python3", "3.11", true, &origin, &machine.pip_that_works());
    machine.finds(&machine.site().join("torch"));

    let other = Machine { host: machine.host.clone(), ..machine };
    remove_folder(&other.site()).unwrap();
    write_torch(&folder, VERSION);
    other.finds(&folder);
}

#[test]
fn record_of_a_folder_that_is_gone_is_replaced() {
    let machine = Machine::new();
    config::record(&machine.host.repo, Path::new("/nonexistent/torch")).unwrap();
    machine.python("python3", "3.11", true, "", &machine.pip_that_works());
    machine.finds(&machine.site().join("torch"));
}

#[test]
fn another_python_is_tried_when_the_first_does_not_fit() {
    let machine = Machine::new();
    machine.python("python3", "3.9", true, "", "exit 1");
    machine.python("python3.12", "3.12", false, "", "exit 1");
    machine.python("python3.10", "3.10", true, "", &machine.pip_that_works());
    machine.finds(&machine.site().join("torch"));
}

#[test]
fn missing_python_pip_and_release_each_have_a_line() {
    let machine = Machine::new();
    machine.fails(&["no Python on PATH", "apt install python3 python3-pip", "LIBTORCH"]);
    machine.python("python3", "3.9", true, "", "exit 1");
    machine.fails(&["`python3` is Python 3.9", "needs Python 3.10 to 3.14"]);
    machine.python("python3", "3.12", false, "", "exit 1");
    machine.fails(&["`python3` (3.12) has no pip", "apt install python3-pip"]);
}

#[test]
fn missing_network_has_a_line() {
    let machine = Machine::new();
    let complaint =
        "echo \"WARNING: Retrying after connection broken by 'NewConnectionError'\" >&2; exit 1";
    machine.python("python3", "3.11", true, "", complaint);
    machine.fails(&["cannot reach the package index", "PIP_INDEX_URL", "offline, set LIBTORCH"]);
}

#[test]
fn missing_disk_space_is_seen_before_pip_starts() {
    let mut machine = Machine::new();
    machine.host.needed_bytes = u64::MAX;
    machine.python("python3", "3.11", true, "", &machine.pip_that_works());
    machine.fails(&["GB free", "needs", "XDG_CACHE_HOME"]);
    let log = std::fs::read_to_string(machine.path("starts")).unwrap();
    assert!(!log.contains("-m pip"), "{log}");
}

#[test]
fn pip_that_installs_something_else_has_a_line() {
    let machine = Machine::new();
    machine.python("python3", "3.11", true, "", "mkdir -p \"$target/torch\"");
    machine.fails(&["what pip installed as torch 2.11.0", "has no `include`"]);
    assert!(!machine.site().exists());
}

#[test]
fn cache_that_cannot_be_written_has_a_line() {
    let machine = Machine::new();
    std::fs::write(machine.path("cache"), "a file").unwrap();
    machine.python("python3", "3.11", true, "", "exit 1");
    machine.fails(&["cannot create `", "XDG_CACHE_HOME"]);
}

#[test]
fn missing_home_has_a_line() {
    let mut machine = Machine::new();
    machine.host.cache = None;
    machine.fails(&["neither XDG_CACHE_HOME nor HOME is set"]);
}

#[test]
fn other_platform_has_a_line() {
    let mut machine = Machine::new();
    machine.host.platform = ("macos", "aarch64");
    machine.fails(&["Linux x86-64 and aarch64 only, this is macos aarch64", "LIBTORCH"]);
}

#[test]
fn missing_compiler_has_a_line() {
    let mut machine = Machine::new();
    machine.host.cxx = None;
    machine.fails(&["no C++ compiler", "apt install g++"]);
}
