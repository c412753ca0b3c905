//! `device`: the programs of this repository on an emulated CUDA device, which needs no GPU (`device/README.md`).

mod bounds;
mod emulator;
mod log;
mod memory;
mod programs;
mod reach;
mod work;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{build, cargo, check, read, scratch};
use hint_libtorch::Host;

/// Runs all checks, the short form that is part of the gate, or some [`PARTS`]. `build` only prints where the emulator is.
pub(crate) fn run(host: &Host, args: &[OsString]) -> Result<()> {
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let libtorch = hint_libtorch::setup(host)?;
    let library = emulator::build(host, &libtorch)?;
    match words.as_slice() {
        ["build"] => {
            println!("{}", library.display());
            Ok(())
        }
        [] => checks(host, libtorch, library, |device| device.checks(Form::Full)),
        ["short"] => checks(host, libtorch, library, |device| device.checks(Form::Short)),
        parts if parts.iter().all(|part| PARTS.contains(part)) => {
            checks(host, libtorch, library, |device| {
                parts.iter().try_for_each(|part| device.part(part))
            })
        }
        _ => bail!(
            "`device` takes `short`, `build` or some of `{}`, got `{}`",
            PARTS.join(" "),
            words.join(" ")
        ),
    }
}

/// Parts of the long form, to repeat one that failed.
const PARTS: [&str; 6] = ["counts", "programs", "memory", "gpu", "suites", "nccl"];

/// Extent of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The part that the gate runs.
    Short,
    /// Everything.
    Full,
}

fn checks(
    host: &Host,
    libtorch: PathBuf,
    library: PathBuf,
    work: impl FnOnce(&Device<'_>) -> Result<()>,
) -> Result<()> {
    let device = Device {
        host,
        libtorch,
        library,
        programs: build(host, &["--example", EXAMPLE, "--bin", PROGRAM, "--bin", PROBE])?,
        scratch: scratch()?,
    };
    let started = Instant::now();
    let result = work(&device);
    eprintln!("device: {} s", started.elapsed().as_secs());
    result
}

/// The emulated device, the programs, and a folder for their files.
#[derive(Debug)]
struct Device<'a> {
    host: &'a Host,
    libtorch: PathBuf,
    library: PathBuf,
    programs: BTreeMap<String, PathBuf>,
    scratch: TempDir,
}

/// The main example, the program with all commands, and the program of `device/`.
const EXAMPLE: &str = "hint_grpo";
const PROGRAM: &str = "hint-rl";
const PROBE: &str = "hint-device";

/// The packages whose tests put their models and tensors on `HINT_TEST_DEVICE`.
const SUITES: [&str; 3] = ["hint-policy", "hint-grpo", "hint-tests"];

/// The programs of the check of NCCL.
const WITH_NCCL: [&str; 5] =
    ["--bin", PROGRAM, "--bin", PROBE, "--features=hint-rl/nccl,hint-device/nccl"];

impl Device<'_> {
    fn checks(&self, form: Form) -> Result<()> {
        // The programs compute on one core most of the time.
        let (counted, run) = std::thread::scope(|scope| {
            let counted = scope.spawn(|| self.counted(form));
            let run = programs::check(self, form).and_then(|()| memory::check(self, form));
            let counted = counted.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (counted, run)
        });
        if let (Err(_), Err(second)) = (&counted, &run) {
            eprintln!("error: {second:#}");
        }
        counted.and(run)?;
        match form {
            Form::Short => Ok(()),
            Form::Full => ["gpu", "suites", "nccl"].iter().try_for_each(|part| self.part(part)),
        }
    }

    /// One of [`PARTS`].
    fn part(&self, name: &str) -> Result<()> {
        match name {
            "counts" => self.counted(Form::Full),
            "programs" => programs::check(self, Form::Full),
            "memory" => memory::check(self, Form::Full),
            "gpu" => self.script("device/check_gpu.sh"),
            "suites" => self.suites(),
            _ => {
                // The same programs with NCCL, whose place the emulated device takes.
                build(self.host, &WITH_NCCL)?;
                self.script("device/check_nccl.sh")
            }
        }
    }

    /// The libraries that are loaded, the models, and the work of a step.
    fn counted(&self, form: Form) -> Result<()> {
        reach::check(self)?;
        self.models(form)?;
        work::check(self)
    }

    /// A prepared check of real GPUs, on the emulated one. Its Python takes torch from beside libtorch.
    fn script(&self, path: &str) -> Result<()> {
        let program = self.programs.get(PROGRAM).context("the program was built")?;
        let mut script = Command::new("bash");
        script.current_dir(&self.host.repo).arg(path);
        script.env("EMULATOR", &self.library).env("OUT", self.scratch(path));
        script.env("PROGRAMS", program.parent().unwrap_or(program));
        check(script.env("PYTHONPATH", self.libtorch.parent().unwrap_or(&self.libtorch)))
    }

    /// The operators that replace several others, and every golden model in three number formats. The long form also
    /// computes the models without those operators.
    fn models(&self, form: Form) -> Result<()> {
        check(self.on_device(PROBE).arg("fast-paths"))?;
        let models = self.host.repo.join("tests/golden/models");
        check(self.on_device(PROBE).arg("models").arg(&models))?;
        match form {
            Form::Short => Ok(()),
            Form::Full => check(self.on_device(PROBE).arg("--plain").arg("models").arg(&models)),
        }
    }

    /// The [`SUITES`], on the emulated device.
    fn suites(&self) -> Result<()> {
        let mut tests = cargo(self.host);
        tests.args(["test", "--locked", "--test", "it"]);
        tests.args(SUITES.map(|package| format!("--package={package}")));
        // Cargo loads the emulator into the tests, but not into itself.
        let preload = format!("LD_PRELOAD={}", self.library.display());
        let runner = toml::Value::from(vec!["env".to_owned(), preload]);
        tests.arg("--config").arg(format!("target.'cfg(all())'.runner = {runner}"));
        check(tests.env("HINT_TEST_DEVICE", "cuda:0"))
    }

    /// A program, in the repository.
    fn on_host(&self, program: &str) -> Command {
        let mut command =
            Command::new(self.programs.get(program).map_or(Path::new(program), |path| path));
        command.current_dir(&self.host.repo);
        command
    }

    /// A program with the emulated device.
    fn on_device(&self, program: &str) -> Command {
        let mut command = self.on_host(program);
        command.env("LD_PRELOAD", &self.library);
        command
    }

    /// A path for a program to write to.
    fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A new folder for the counts of a program.
    fn log_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scratch(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        Ok(folder)
    }
}

fn read_json_lines(file: &Path) -> Result<Vec<Value>> {
    read(file)?
        .lines()
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("`{}` is not JSON", file.display()))
        })
        .collect()
}
