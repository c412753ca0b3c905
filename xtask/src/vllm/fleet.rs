//! Training through two servers, one of which is killed in the middle of its work and started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::server::{Launch, Server};
use crate::process::read;

/// Largest difference of a log-probability, in nats, as in `hint-rl check-vllm`.
const TOLERANCE: f64 = 1e-3;

/// Longest wait for a change.
const LIMIT: Duration = Duration::from_mins(20);

/// Trains through `first` and a second server as `launch` describes it. Kills the second one, and starts it again. Fails
/// if a step is lost, a log-probability differs, or the second server gets no requests afterwards.
pub(super) fn check(
    program: &Path,
    first: &Server,
    launch: &Launch<'_>,
    weights: &Path,
) -> Result<()> {
    let second = Server::start(launch)?;
    let (port, address) = (second.port(), second.address());
    let (down, back) = (format!("{address} is down"), format!("{address} is back"));
    let mut command = Command::new(program);
    command.args(["check-vllm", "--steps", "100000", "--served-name", launch.name]);
    command.args(["--server", &first.address(), "--server", &address]);
    command.arg("--model").arg(launch.model).arg("--weights").arg(weights);
    let mut trainer = Trainer::start(&mut command, launch.log.with_file_name("fleet.log"))?;

    trainer.wait_for("its second step", |text| steps(text).len() >= 2)?;
    // Damaged weights, which come first, take both servers down for a moment.
    let before = trainer.output()?.matches(&down).count();
    second.kill()?;
    eprintln!("killed {address}");
    trainer.wait_for("the loss of a server", |text| text.matches(&down).count() > before)?;
    let done = steps(&trainer.output()?).len();
    trainer.wait_for("steps on one server", |text| steps(text).len() >= done + 2)?;

    let log = launch.log.with_extension("again.log");
    let before = trainer.output()?.matches(&back).count();
    let second = Server::start(&Launch { port: Some(port), log: &log, ..*launch })?;
    trainer.wait_for("the server's return", |text| text.matches(&back).count() > before)?;
    let done = steps(&trainer.output()?).len();
    trainer.wait_for("steps on both servers", |text| steps(text).len() >= done + 2)?;
    let text = trainer.output()?;
    drop(trainer);
    for ((step, difference), expected) in steps(&text).into_iter().zip(1..) {
        ensure!(step == expected, "step {expected} is missing");
        ensure!(
            difference <= TOLERANCE,
            "step {step}: a log-probability differs by {difference:.2e} nats"
        );
    }
    let asked = read(&log)?.matches("POST /v1/completions").count();
    ensure!(asked > 0, "the server that was started again got no requests");
    eprintln!(
        "{} steps are whole; the server that came back got {asked} requests",
        steps(&text).len()
    );
    second.stop()
}

/// The steps in the output of `hint-rl check-vllm`, with the largest difference of a log-probability in each.
fn steps(text: &str) -> Vec<(u64, f64)> {
    let step = |line: &str| {
        let columns = line.split_whitespace().collect::<Vec<_>>();
        let [step, _tokens, _pass, _hinted, _mean, max, _missed, _norm] = columns.as_slice() else {
            return None;
        };
        Some((step.parse().ok()?, max.parse().ok()?))
    };
    text.lines().filter_map(step).collect()
}

/// A training program, which ends with this value.
struct Trainer {
    child: Child,
    log: PathBuf,
}

impl Trainer {
    fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let output =
            File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
        let errors = output.try_clone().context("cannot open the log twice")?;
        let child = command.stdout(output).stderr(errors).spawn();
        let child = child.context("cannot start the training")?;
        eprintln!("training through two servers (its output: {})", log.display());
        Ok(Self { child, log })
    }

    fn output(&self) -> Result<String> {
        read(&self.log)
    }

    /// Waits until its output `holds` something.
    fn wait_for(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
        let begin = Instant::now();
        loop {
            // Before the look at the output: what it wrote last counts.
            let ended = self.child.try_wait().context("cannot ask for the training")?;
            let text = self.output()?;
            if holds(&text) {
                eprintln!("{what}: after {:.0} s", begin.elapsed().as_secs_f64());
                return Ok(());
            }
            let last = text.lines().rev().take(10).collect::<Vec<_>>();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            if let Some(status) = ended {
                bail!("the training ended ({status}) before {what}:\n{last}");
            }
            if begin.elapsed() > LIMIT {
                bail!("{what} did not come within {} minutes:\n{last}", LIMIT.as_secs() / 60);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_the_output() {
        let text = "\
step   tokens     pass   hinted  mean diff   max diff    if missed  grad norm
http://127.0.0.1:9 is down, 2 requests go to the others: cannot reach it
   1      340    0.500    0.250    1.51e-6    2.31e-5      4.10e-2      1.337
   2      338    0.125    0.500    1.62e-6        NaN      3.90e-2      0.995
";
        let found = steps(text);
        assert_eq!(found[0], (1, 2.31e-5));
        assert!(found.len() == 2 && found[1].1.is_nan());
    }
}
