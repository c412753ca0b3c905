//! Signals to a process of its own: this binary starts itself, and sends what a person would.
#![expect(clippy::print_stdout, reason = "the lines of the program under test")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use hint_process::StopSignals;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The argument with which this binary is the program under test.
const CHILD: &str = "--as-child";

/// Reports a destructor that runs.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        println!("a destructor ran");
    }
}

/// Catches signals; after the first one, works on until it is killed or for a moment.
fn child(patient: bool) -> ExitCode {
    let stop = StopSignals::catch(|signal| println!("caught {signal}")).expect("caught");
    // Threads that compute while signals arrive; they never see one.
    let workers = (0..3).map(|_| {
        std::thread::spawn(|| {
            let mask = nix::sys::signal::SigSet::thread_get_mask().expect("a mask");
            assert!(mask.contains(Signal::SIGTERM));
        })
    });
    workers.collect::<Vec<_>>().into_iter().for_each(|worker| worker.join().expect("masked"));
    println!("ready");
    let _bomb = Bomb;
    while !stop.requested() {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(if patient { 60_000 } else { 300 }));
    stop.exit_code()
}

fn start(patient: bool, ignored: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let program = std::env::current_exe().expect("a path");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{ignored} exec \"$@\""), "sh"]).arg(program);
    command.args([CHILD, if patient { "patient" } else { "brief" }]);
    let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    (child, lines)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("sent");
}

fn end(mut child: Child, mut lines: BufReader<std::process::ChildStdout>) -> (ExitStatus, String) {
    let mut text = String::new();
    lines.read_to_string(&mut text).expect("text");
    (child.wait().expect("ended"), text)
}

fn one_signal_finishes_the_work_and_names_itself_in_the_exit_code() {
    for (signal, code) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGUSR1, 138),
        (Signal::SIGUSR2, 140),
        (Signal::SIGXCPU, 152),
    ] {
        let (child, lines) = start(false, "");
        send(&child, signal);
        let (status, text) = end(child, lines);
        assert_eq!(status.code(), Some(code));
        assert_eq!(text, format!("caught {}\na destructor ran\n", signal.as_str()));
    }
}

fn a_second_signal_ends_at_once_and_runs_no_destructor() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (child, lines) = start(true, "");
        send(&child, Signal::SIGINT);
        sleep(Duration::from_millis(150));
        send(&child, signal);
        let (status, text) = end(child, lines);
        assert_eq!(status.signal(), Some(signal as i32));
        assert_eq!(text, "caught SIGINT\n");
    }
}

fn a_closed_terminal_and_doubled_signals_count_once() {
    for [first, second] in [[Signal::SIGHUP; 2], [Signal::SIGTERM; 2]] {
        let (child, lines) = start(false, "");
        send(&child, first);
        // Of two that wait, the kernel delivers the lower number first.
        sleep(Duration::from_millis(20));
        send(&child, second);
        sleep(Duration::from_millis(if first == Signal::SIGHUP { 150 } else { 20 }));
        send(&child, Signal::SIGHUP);
        assert_eq!(end(child, lines).0.code(), Some(128 + first as i32));
    }
}

fn a_warning_of_a_scheduler_is_not_the_first_of_two_signals() {
    for warning in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGXCPU] {
        // The kernel repeats SIGXCPU every second.
        let (child, lines) = start(true, "");
        for signal in [warning, warning, Signal::SIGTERM] {
            send(&child, signal);
            sleep(Duration::from_millis(150));
        }
        let mut child = child;
        assert_eq!(child.try_wait().expect("a child"), None, "{warning} and SIGTERM end nothing");
        send(&child, Signal::SIGTERM);
        let (status, text) = end(child, lines);
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
        assert_eq!(text, format!("caught {}\n", warning.as_str()));
    }
}

/// Writes more than the limit of file sizes allows.
fn write_beyond_the_limit(path: &str) -> ExitCode {
    let _stop = StopSignals::catch(|signal| println!("caught {signal}")).expect("caught");
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| std::fs::write(path, [0; 1 << 14]));
        writer.join().expect("the writer lives")
    });
    println!("{:?}", written.map_err(|error| error.kind()));
    ExitCode::SUCCESS
}

fn a_limit_of_file_sizes_is_an_error_of_the_write() {
    let program = std::env::current_exe().expect("a path");
    let file = program.with_file_name(format!("file-limit-{}", std::process::id()));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 1; exec \"$@\"", "sh"]).arg(program);
    let output = command.args([CHILD, "writes"]).arg(&file).output().expect("a child");
    let removed = std::fs::remove_file(&file);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!((&*text, output.status.code()), ("Err(FileTooLarge)\n", Some(0)));
    removed.expect("the file was begun");
}

fn what_was_ignored_at_the_start_stays_ignored() {
    let (child, lines) = start(false, "trap '' HUP;");
    send(&child, Signal::SIGHUP);
    sleep(Duration::from_millis(100));
    send(&child, Signal::SIGTERM);
    let (status, text) = end(child, lines);
    assert_eq!((status.code(), text.starts_with("caught SIGTERM")), (Some(143), true), "{text}");
}

/// The tests, by name: without the usual harness, whose threads would receive the signals.
const TESTS: [(&str, fn()); 6] = [
    ("one_signal", one_signal_finishes_the_work_and_names_itself_in_the_exit_code),
    ("a_second_signal", a_second_signal_ends_at_once_and_runs_no_destructor),
    ("doubled_signals", a_closed_terminal_and_doubled_signals_count_once),
    ("warnings", a_warning_of_a_scheduler_is_not_the_first_of_two_signals),
    ("file_limit", a_limit_of_file_sizes_is_an_error_of_the_write),
    ("ignored_signals", what_was_ignored_at_the_start_stays_ignored),
];

fn main() -> ExitCode {
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    let has = |option: &str| args.iter().any(|arg| arg == option);
    if args.first().is_some_and(|arg| arg == CHILD) {
        return match args[1].as_str() {
            "writes" => write_beyond_the_limit(&args[2]),
            how => child(how == "patient"),
        };
    }
    let filter = args.iter().find(|arg| !arg.starts_with('-') && *arg != "terse");
    for (name, test) in TESTS {
        let is_asked = filter.is_none_or(|filter| name.contains(filter.as_str()));
        match (has("--list"), has("--ignored")) {
            (true, false) => println!("{name}: test"),
            (false, false) if is_asked => test(),
            _ => {}
        }
    }
    ExitCode::SUCCESS
}
