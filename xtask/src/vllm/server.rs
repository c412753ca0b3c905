//! A vLLM server that ends with this process in any case.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Starts a program and ends it, with everything that it started, once standard input is closed. The
/// kernel closes it when the process at the other end is gone, be it by Ctrl-C or by a kill. If the
/// program ends by itself, so does this one. With `kill` on standard input, the program has no time to end in order.
const LIFELINE: &str = "\
import os, signal, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
ending = False
def watch():
    status = child.wait()
    if not ending:
        os._exit(status if status >= 0 else 1)
threading.Thread(target=watch, daemon=True).start()
how = sys.stdin.read()
ending = True
for number, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
    if how == 'kill' and number == signal.SIGTERM:
        continue
    try:
        os.killpg(child.pid, number)
        child.wait(seconds)
    except ProcessLookupError:
        break
    except subprocess.TimeoutExpired:
        pass
try:
    os.killpg(child.pid, signal.SIGKILL)
except ProcessLookupError:
    pass
";

/// Time limit for loading the model.
const START: Duration = Duration::from_mins(10);

/// How a server is started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch<'a> {
    /// The Python that has vLLM.
    pub(super) python: &'a Path,
    pub(super) model: &'a Path,
    /// Name under which it serves the model.
    pub(super) name: &'a str,
    /// File for its output.
    pub(super) log: &'a Path,
    /// A free one if none is given.
    pub(super) port: Option<u16>,
    /// Largest rank of adapters, if it is to take some.
    pub(super) max_lora_rank: Option<usize>,
    /// The one core that it runs on. Without a number it has all of them.
    pub(super) core: Option<usize>,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    lifeline: Option<ChildStdin>,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub(super) fn start(launch: &Launch<'_>) -> Result<Self> {
        let Launch { python, model, name, log, .. } = *launch;
        let port = launch.port.map_or_else(free_port, Ok)?;
        let output =
            File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
        let errors = output.try_clone().context("cannot open the log twice")?;
        let vllm = python.with_file_name("vllm");
        let mut command = Command::new(python);
        command.arg("-c").arg(LIFELINE);
        let cores = if let Some(core) = launch.core {
            command.args(["taskset", "-c", &core.to_string()]);
            core.to_string()
        } else {
            let count = std::thread::available_parallelism().map_or(1, usize::from);
            format!("0-{}", count - 1)
        };
        command.arg(&vllm).arg("serve").arg(model);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--served-model-name", name, "--max-model-len", "1024"]);
        // What the engine of this library asks for.
        command.args(["--dtype", "float32", "--logprobs-mode", "processed_logprobs"]);
        command.env("VLLM_SERVER_DEV_MODE", "1");
        if let Some(rank) = launch.max_lora_rank {
            command.args(["--enable-lora", "--max-lora-rank", &rank.to_string()]);
            command.env("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True");
        }
        command.arg("--enforce-eager");
        command.env("VLLM_CPU_KVCACHE_SPACE", "2");
        command.env("VLLM_CPU_OMP_THREADS_BIND", cores);
        // The first request compiles code, and on a busy machine that takes longer than the five minutes of the default.
        command.env("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", "1200");
        command.envs([("HF_HUB_OFFLINE", "1"), ("VLLM_NO_USAGE_STATS", "1")]);
        command.stdin(Stdio::piped()).stdout(output).stderr(errors);
        // Ctrl-C goes to this process and its examples; the lifeline ends the server in order.
        command.process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("cannot start `{}`", vllm.display()))?;
        let lifeline = child.stdin.take();
        let mut server = Self { child, lifeline, port, log: log.to_path_buf() };
        eprintln!("starting vLLM on port {port} (its output: {})", log.display());
        server.wait_until_up()?;
        Ok(server)
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// File for its output.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Ends it, and fails if it has ended by itself before.
    pub(super) fn stop(mut self) -> Result<()> {
        match self.child.try_wait().context("cannot ask for the server")? {
            Some(status) => bail!("the server ended early ({status}):\n{}", self.last_lines()),
            None => Ok(()),
        }
    }

    /// Ends it at once, in the middle of its work.
    pub(super) fn kill(mut self) -> Result<()> {
        let lifeline = self.lifeline.as_mut().context("the server has no lifeline")?;
        lifeline.write_all(b"kill").context("cannot reach the server's lifeline")
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let begin = Instant::now();
        while !is_healthy(self.port) {
            if let Some(status) = self.child.try_wait().context("cannot ask for the server")? {
                bail!("the server ended while it started ({status}):\n{}", self.last_lines());
            }
            if begin.elapsed() > START {
                let minutes = START.as_secs() / 60;
                bail!("the server was not up after {minutes} minutes:\n{}", self.last_lines());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        eprintln!("vLLM is up after {:.0} s", begin.elapsed().as_secs_f64());
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // It ends by itself now; waiting keeps the port and the memory from outliving the command.
        let _ = self.child.wait();
    }
}

/// A port that nobody listens at.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port of 127.0.0.1 is free")?;
    Ok(listener.local_addr().context("the port has no number")?.port())
}

/// Whether a server answers `/health` with 200.
fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(String::from_utf8_lossy(&start).into_owned())
    };
    ask().is_ok_and(|start| start.ends_with(" 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_a_status_of_200() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 Busy\r\n\r\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert!(is_healthy(port));
        assert!(!is_healthy(port));
        answers.join().unwrap();
        assert!(!is_healthy(port), "nobody listens any more");
    }

    #[test]
    fn the_lifeline_ends_what_it_started() {
        ends("sleep 300 & echo $!; wait", "");
        // No signal that a program can refuse.
        ends("trap '' TERM; sleep 300 & echo $!; while true; do wait; done", "kill");
    }

    /// Whether a shell that runs `script`, and the process whose number it prints first, end after `word`.
    #[track_caller]
    fn ends(script: &str, word: &str) {
        // `sh` starts a second process, which must go, too.
        let mut child = Command::new("python3")
            .args(["-c", LIFELINE, "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut grandchild = String::new();
        let mut output = child.stdout.take().unwrap();
        let mut byte = [0];
        while output.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            grandchild.push(char::from(byte[0]));
        }
        let process = PathBuf::from(format!("/proc/{grandchild}"));
        assert!(process.exists());
        let begin = Instant::now();
        let mut lifeline = child.stdin.take().unwrap();
        lifeline.write_all(word.as_bytes()).unwrap();
        drop(lifeline);
        assert!(child.wait().unwrap().success());
        // It had been given twenty seconds to end in order.
        assert!(begin.elapsed() < Duration::from_secs(15), "{word}");
        // It was killed; on a busy machine it takes a moment to end.
        let start = Instant::now();
        loop {
            let state = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                break;
            }
            assert!(start.elapsed() < Duration::from_mins(1), "{state}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
