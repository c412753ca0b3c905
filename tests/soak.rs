//! An opt-in soak. A run is stopped, killed and starved of disk again and again, beside a slow judge and
//! teacher that fail. It ends with the bytes of an undisturbed run.
//!
//! ```text
//! HINT_SOAK_MINUTES=30 cargo test -p hint-tests --test soak
//! ```
//!
//! `HINT_SOAK_MODEL` names a model other than the tiny one, such as SmolLM2 as a GGUF file.

#![expect(clippy::print_stdout, reason = "the count is the result")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hint_grpo::{
    GrpoConfig, Hints, Observer, Outcome, Parts, Rewards, RunDir, StepReport, Trainer,
};
use hint_policy::{LoadOptions, LoadedModel, SharedPolicy};
use hint_process::StopSignals;
use hint_reward::judge::HttpJudge;
use hint_rollout::hint::source::HintSourceConfig;
use hint_rollout::hint::source::teacher::TeacherOptions;
use hint_rollout::{ChatFormat, LocalEngine, PromptFormat, RolloutEngine, Seed};
use hint_tests::{Digits, STOP, bytes, config, lenient_rubric, problems, tiny_policy};
use serde_json::{Value, json};

const STEPS: u64 = 12;
/// Names the folder in which a child trains, and the address of both servers.
const CHILD: &str = "HINT_SOAK_CHILD";

#[expect(clippy::disallowed_methods, reason = "the soak is asked for by the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::disallowed_methods, reason = "the soak lasts as long as it is asked to")]
fn now() -> Instant {
    Instant::now()
}

/// Ends the run when a signal came.
struct Stop(StopSignals);

impl Observer for Stop {
    fn on_step(&mut self, _report: &StepReport) -> ControlFlow<()> {
        if self.0.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn run_config(server: &str) -> GrpoConfig {
    let mut config = config(STEPS);
    config.run.prompts_per_step = 2;
    config.run.num_minibatches = 2;
    config.run.checkpoint_every = 3;
    config.rollout.scoring.threads = 2;
    let mut teacher = TeacherOptions::new(format!("http://{server}/v1"), "teacher");
    (teacher.attempts, teacher.backoff_s) = (100, 0.002);
    config.rollout.source = HintSourceConfig::Teacher(Box::new(teacher));
    config
}

/// Trains in `dir`, from its newest checkpoint if there is one.
fn train(dir: &Path, server: &str) {
    let stop = StopSignals::catch(|_| ()).expect("signals can be caught");
    let judge = HttpJudge::new("judge", format!("http://{server}/judge"));
    let judge = judge.with_attempts(100).with_backoff(Duration::from_millis(2));
    let rewards = Rewards::own(lenient_rubric().with(0.1, judge));
    let config = run_config(server);
    let hints = Hints::configured();
    let parts: Parts<Box<dyn RolloutEngine>, Arc<dyn PromptFormat>> =
        match variable("HINT_SOAK_MODEL") {
            None => {
                let policy = SharedPolicy::new(tiny_policy(7));
                let engine = Box::new(LocalEngine::new(policy.clone(), vec![STOP]));
                Parts { policy, engine, format: Arc::new(Digits), rewards, hints }
            }
            Some(path) => {
                tch::set_num_threads(1);
                let LoadedModel { policy, tokenizer, stop_tokens } =
                    LoadedModel::load(path, &LoadOptions::default()).expect("a model");
                let policy = SharedPolicy::new(policy);
                let engine = Box::new(LocalEngine::new(policy.clone(), stop_tokens.clone()));
                let format = Arc::new(ChatFormat::new(tokenizer.into(), stop_tokens));
                Parts { policy, engine, format, rewards, hints }
            }
        };
    let run_dir = RunDir::resume_or_create(dir, &config).expect("every checkpoint is complete");
    let mut trainer = Trainer::from_config(config, parts)
        .expect("the configuration is valid")
        .run_dir(run_dir)
        .observer(Stop(stop))
        .build()
        .expect("the checkpoint can be restored");
    let mut out = std::io::stdout();
    out.write_all(b"\nready\n").and_then(|()| out.flush()).expect("the parent reads");
    let outcome =
        trainer.run(&problems()).expect("the disk has room, and servers answer in the end");
    let end = if outcome == Outcome::Completed { "completed" } else { "stopped" };
    out.write_all(end.as_bytes()).and_then(|()| out.flush()).expect("the parent reads");
}

/// A judge and a teacher at one address: a fifth of the answers is an error, a fifth comes late. Their
/// final answers depend on the question alone.
fn serve(listener: TcpListener) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            // A connection that breaks is the client's business.
            std::thread::spawn(move || drop(answer(stream, Seed::new(1).child(number).unit())));
        }
    });
    count
}

fn answer(stream: TcpStream, luck: f64) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if (0.2..0.4).contains(&luck) {
        std::thread::sleep(Duration::from_millis(150));
    }
    let sum = body.iter().map(|&byte| u64::from(byte)).sum::<u64>() % 10;
    let (status, body) = match first.contains("/judge") {
        _ if luck < 0.2 => (503, json!({"error": "busy"})),
        true => (200, json!({"score": sum as f64 / 10.0})),
        false => {
            let message = json!({"role": "assistant", "content": format!("think of {sum}")});
            (200, json!({"choices": [{"message": message, "finish_reason": "stop"}]}))
        }
    };
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close", body.len());
    let mut stream = stream;
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes())
}

/// Disturbance of a child.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    Nothing,
    Interrupt,
    Terminate,
    HangUp,
    Kill,
    FullDisk,
}

/// Starts a child that trains in `dir`. On a full disk no file of it grows beyond some KiB. So every
/// checkpoint fails while its metrics can be written.
fn start(dir: &Path, server: &str, trouble: Trouble) -> Child {
    let this = std::env::current_exe().expect("tests are files");
    let mut command = if trouble == Trouble::FullDisk {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]).arg(this);
        shell
    } else {
        Command::new(this)
    };
    command
        .env(CHILD, format!("{server} {}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test can start itself")
}

fn newest_step(dir: &Path) -> Option<u64> {
    let checkpoints = RunDir::checkpoints(dir).expect("the folder can be listed");
    checkpoints.last().map(|(step, _)| *step)
}

/// Runs a child to its end, disturbed `after` it is ready. Returns whether it completed the run.
fn run(dir: &Path, server: &str, trouble: Trouble, after: Duration) -> bool {
    let mut child = start(dir, server, trouble);
    if trouble != Trouble::Nothing && trouble != Trouble::FullDisk {
        let out = child.stdout.as_mut().expect("the output is piped");
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(b"ready\n") && out.read(&mut byte).is_ok_and(|read| read == 1) {
            seen.push(byte[0]);
        }
        std::thread::sleep(after);
        let signal = match trouble {
            Trouble::Interrupt => "-INT",
            Trouble::Terminate => "-TERM",
            Trouble::HangUp => "-HUP",
            _ => "-KILL",
        };
        // It may have ended already.
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
    }
    let output = child.wait_with_output().expect("a child can be awaited");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let (completed, stopped) = (said.contains("completed"), said.contains("stopped"));
    let is_expected = completed
        || match trouble {
            Trouble::Nothing => false,
            Trouble::Interrupt | Trouble::Terminate | Trouble::HangUp => stopped,
            Trouble::Kill => output.status.signal() == Some(9),
            Trouble::FullDisk => errors.contains("File too large"),
        };
    assert!(is_expected, "{trouble:?} after {after:?}: {said}\n{errors}");
    completed
}

fn outcome(dir: &Path) -> [Vec<u8>; 3] {
    let last = dir.join(format!("checkpoints/step-{STEPS:08}"));
    [last.join("model.safetensors"), last.join("optimizer.safetensors"), dir.join("metrics.jsonl")]
        .map(|path| bytes(&path))
}

fn main() {
    if let Some(child) = variable(CHILD) {
        let (server, dir) = child.split_once(' ').expect("an address and a folder");
        return train(Path::new(dir), server);
    }
    // Nothing unless it is asked for.
    let Some(minutes) = variable("HINT_SOAK_MINUTES") else { return };
    let minutes: f64 = minutes.parse().expect("HINT_SOAK_MINUTES is a number");
    let (begin, limit) = (now(), Duration::from_secs_f64(60.0 * minutes));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("an address").to_string();
    let asked = serve(listener);
    let whole = folder.path().join("whole");
    let start = now();
    assert!(run(&whole, &server, Trouble::Nothing, Duration::ZERO), "nothing disturbs it");
    let span = start.elapsed();
    let expected = outcome(&whole);
    // From the clock, so that every soak tries other moments; printed for a repetition.
    let seed = u64::from(start.elapsed().subsec_nanos());
    println!("seed {seed}");
    let (mut runs, mut troubles) = (0_u64, std::collections::BTreeMap::<String, u64>::new());
    while runs == 0 || begin.elapsed() < limit {
        let dir = folder.path().join(format!("run-{runs}"));
        for number in 0.. {
            let draw = Seed::new(seed).child(runs).child(number);
            // Up to 25 troubles, then none.
            let kinds = [
                Trouble::Interrupt,
                Trouble::Terminate,
                Trouble::HangUp,
                Trouble::Kill,
                Trouble::FullDisk,
            ];
            let place = usize::try_from(draw.value() % 5).expect("below five");
            let trouble = if number < 25 { kinds[place] } else { Trouble::Nothing };
            let after = span.mul_f64(0.3 * draw.named("moment").unit());
            *troubles.entry(format!("{trouble:?}")).or_default() += 1;
            let before = newest_step(&dir);
            let completed = run(&dir, &server, trouble, after);
            assert!(newest_step(&dir) >= before, "a finished step was lost");
            if completed {
                break;
            }
        }
        assert!(outcome(&dir) == expected, "run {runs} of seed {seed} differs after {troubles:?}");
        let last: Value = serde_json::from_slice(&bytes(
            &dir.join(format!("checkpoints/step-{STEPS:08}/trainer.json")),
        ))
        .expect("it is JSON");
        assert_eq!(last["progress"]["step"], STEPS);
        runs += 1;
        std::fs::remove_dir_all(&dir).expect("the folder is ours");
    }
    let (seconds, asked) = (begin.elapsed().as_secs(), asked.load(Ordering::Relaxed));
    println!("{runs} runs of {STEPS} steps in {seconds} s, {asked} requests: {troubles:?}");
}
