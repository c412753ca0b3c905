//! A program that trains, and that a signal stops at random moments again and again. Each time it finishes its step,
//! writes a checkpoint and ends with the code of the signal. The last one ends with the bytes of an undisturbed run.
//! Beside the thread that trains there is one of OpenMP, as in programs that compute on several.
//!
//! `HINT_SIGNALS` is the number of signals in place of 20.

#![expect(clippy::print_stdout, reason = "the answer to a test runner, and the count")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use hint_grpo::{GrpoConfig, Observer, RunDir, StepReport, Trainer};
use hint_policy::SharedPolicy;
use hint_process::StopSignals;
use hint_rollout::Seed;
use hint_tests::{bytes, config, lenient_rubric, parts, problems, tiny_policy};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

const TEST: &str = "a_program_that_computes_ends_with_the_code_of_its_signal";
/// Names the folder in which a child trains.
const CHILD: &str = "HINT_SIGNALS_CHILD";

#[expect(clippy::disallowed_methods, reason = "tells the child process from the test")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn run_config(signals: u64) -> GrpoConfig {
    // A signal costs a step or two.
    let mut config = config(4 * signals);
    config.run.prompts_per_step = 2;
    config.run.num_minibatches = 2;
    config
}

/// Prints its steps, and ends the run when a signal came.
struct Steps(StopSignals);

impl Observer for Steps {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        println!("step {}", report.step);
        let _ = std::io::stdout().flush();
        if self.0.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGTERM and SIGXCPU, as bits of a mask.
const STOP: u64 = 0x0080_4a03;

/// Lets libtorch start a thread of OpenMP, which stays. Checks that no thread could run a handler of a signal that stops.
fn start_openmp_thread() {
    // Ids and not their number: another thread may end in between.
    let threads = || {
        let listed = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        listed.map(|thread| thread.file_name()).collect::<BTreeSet<_>>()
    };
    let before = threads();
    tch::set_num_threads(2);
    let _ = Tensor::ones([1 << 22], (Kind::Float, Device::Cpu)).exp();
    tch::set_num_threads(1);
    // Linux alone lists them.
    let Ok(listed) = std::fs::read_dir("/proc/self/task") else { return };
    // With this limit of OpenMP, none may start.
    let has_limit = variable("OMP_THREAD_LIMIT").is_some();
    assert!(has_limit || !threads().is_subset(&before), "libtorch starts no thread");
    for thread in listed {
        let path = thread.expect("a thread is listed").path().join("status");
        // It may have ended.
        let Ok(status) = std::fs::read_to_string(path) else { continue };
        // It waits for these signals, which the system shows as not blocked; they run no handler.
        if status.starts_with("Name:\tstop-signals") {
            continue;
        }
        let mask = |name: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(mask.expect("each thread has one").trim(), 16).expect("a mask")
        };
        // A signal that the child was started with ignored stays so, and has no handler.
        let blocked = mask("SigBlk:") | mask("SigIgn:");
        assert_eq!(blocked & STOP, STOP, "{status}");
    }
}

/// Trains in `dir`, from its newest checkpoint if there is one.
fn train(dir: &Path, signals: u64) -> ExitCode {
    let stop = StopSignals::catch(|_| ()).expect("signals can be caught");
    let (config, policy) = (run_config(signals), SharedPolicy::new(tiny_policy(7)));
    start_openmp_thread();
    let run_dir = RunDir::resume_or_create(dir, &config).expect("every checkpoint is complete");
    let mut trainer = Trainer::from_config(config, parts(&policy, lenient_rubric(), true))
        .expect("the configuration is valid")
        .run_dir(run_dir)
        .observer(Steps(stop.clone()))
        .build()
        .expect("the checkpoint can be restored");
    trainer.run(&problems()).expect("the run works");
    stop.exit_code()
}

fn start(dir: &Path) -> Child {
    let this = std::env::current_exe().expect("tests are files");
    let mut command = Command::new(this);
    command.env(CHILD, dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the test can start itself")
}

/// The steps of the newest checkpoint and of the last line of metrics.
fn reached(dir: &Path) -> (u64, u64) {
    let checkpoints = RunDir::checkpoints(dir).expect("the folder can be listed");
    let metrics = String::from_utf8(bytes(&dir.join("metrics.jsonl"))).expect("metrics are text");
    let last = metrics.lines().last().map_or(Value::Null, |line| line.parse().expect("JSON"));
    (checkpoints.last().map_or(0, |(step, _)| *step), last["step"].as_u64().unwrap_or(0))
}

fn outcome(dir: &Path, steps: u64) -> [Vec<u8>; 3] {
    let last = dir.join(format!("checkpoints/step-{steps:08}"));
    [last.join("model.safetensors"), last.join("optimizer.safetensors"), dir.join("metrics.jsonl")]
        .map(|path| bytes(&path))
}

fn a_program_that_computes_ends_with_the_code_of_its_signal(signals: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let steps = run_config(signals).run.steps;
    #[expect(clippy::disallowed_methods, reason = "the moments of the signals are meant to vary")]
    let begin = Instant::now();
    let output = start(&whole).wait_with_output().expect("a child can be awaited");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let step = begin.elapsed() / u32::try_from(steps).expect("a small number");
    // From the clock, so that every run of the test tries other moments; printed for a repetition.
    let seed = u64::from(begin.elapsed().subsec_nanos());
    println!("seed of the moments: {seed}");
    let kinds = [
        ("-INT", 130),
        ("-TERM", 143),
        ("-HUP", 129),
        ("-USR1", 138),
        ("-USR2", 140),
        ("-XCPU", 152),
    ];
    let mut hits = 0;
    for ((name, code), number) in kinds.into_iter().cycle().zip(0..signals) {
        let mut child = start(&stopped);
        let mut out = BufReader::new(child.stdout.take().expect("the output is piped"));
        // The first step is done: the second one computes.
        out.read_line(&mut String::new()).expect("the child prints");
        let moment = Seed::new(seed).child(number).unit();
        std::thread::sleep(Duration::from_millis(1).max(step).mul_f64(moment));
        // It may have ended already.
        let _ = Command::new("kill").args([name, &child.id().to_string()]).status();
        std::io::copy(&mut out, &mut std::io::sink()).expect("the child prints");
        let output = child.wait_with_output().expect("a child can be awaited");
        let (checkpoint, line) = reached(&stopped);
        assert_eq!(checkpoint, line, "the last step has a checkpoint after {name}");
        if line == steps {
            break;
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "after {name}: {:?} {errors}", output.status);
        hits += 1;
    }
    let output = start(&stopped).wait_with_output().expect("a child can be awaited");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{hits} of {signals} signals came in a step, {steps} steps");
    // A machine that starts processes slowly is at the end of the run before.
    assert!(hits > 0, "no signal came in a step");
    assert!(outcome(&stopped, steps) == outcome(&whole, steps), "seed {seed} differs");
}

fn main() -> ExitCode {
    let signals = variable("HINT_SIGNALS").map_or(20, |count| count.parse().expect("a number"));
    if let Some(dir) = variable(CHILD) {
        return train(Path::new(&dir), signals);
    }
    let args = std::env::args().collect::<Vec<_>>();
    // As a test runner asks for the tests.
    if args.iter().any(|arg| arg == "--list") {
        if !args.iter().any(|arg| arg == "--ignored") {
            println!("{TEST}: test");
        }
        return ExitCode::SUCCESS;
    }
    a_program_that_computes_ends_with_the_code_of_its_signal(signals);
    ExitCode::SUCCESS
}
