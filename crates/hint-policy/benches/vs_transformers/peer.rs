//! The frame of comparisons with other programs: options, the model's folder, environments, and a process on each side.
//! The benchmarks of `hint-rl` include this file.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use hint_policy::{LoadOptions, LoadedModel};
use serde_json::Value;
use tempfile::NamedTempFile;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The value behind an option of the command line.
pub(crate) fn option(args: &[String], name: &str, default: &str) -> String {
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)).map_or(default, String::as_str).to_owned()
}

/// The folder that keeps models and environments between runs.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    Ok(base.or_else(home).ok_or("no HOME")?.join("hint-rl"))
}

/// The folder of `--model`, in the form that every side reads. It is a folder as it is, or has the weights of a GGUF file.
/// SmolLM2 by default.
pub(crate) fn model_folder(args: &[String]) -> Result<PathBuf> {
    let cache = cache()?;
    let default = cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let model = PathBuf::from(option(args, "--model", &default.to_string_lossy()));
    if model.is_dir() {
        return Ok(model);
    }
    let folder = cache.join("vs-transformers/smollm2");
    if !folder.join("model.safetensors").is_file() {
        LoadedModel::load(&model, &LoadOptions::default())?.save(&folder)?;
    }
    Ok(folder)
}

/// The name of the processor.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|line| line.split_once(':')).map_or("", |(_, name)| name.trim());
    if name.is_empty() { "unknown processor".to_owned() } else { name.to_owned() }
}

/// The Python of the environment `name`, which is made in the cache folder on first use.
pub(crate) fn environment(name: &str) -> Result<PathBuf> {
    let mut python = Command::new("python3");
    python.arg("-c").arg(include_str!("environment.py")).arg(name).stderr(Stdio::inherit());
    let output = python.output()?;
    if output.status.success() {
        return Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()));
    }
    Err(format!("the environment `{name}` was not made: {}", output.status).into())
}

/// Has a side's C library ask for memory in pages of 2 MiB, as `hint_process::tune_libraries` does for programs.
pub(crate) fn with_large_pages(command: &mut Command) -> &mut Command {
    command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
}

/// Tokens per second of an answer.
pub(crate) fn rate(answer: &Value) -> Option<f64> {
    Some(answer["tokens"].as_f64()? / answer["seconds"].as_f64()?)
}

/// Numbers of several runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// One side: a process that takes the model, the precision and a file of settings. It runs a task for each line it is
/// sent, and answers with a line of JSON.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// One for each run so far.
    pub(crate) answers: Vec<Value>,
    /// The settings, until the process ends.
    _settings: NamedTempFile,
}

impl Peer {
    /// Starts `command` with the three arguments.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        folder: &Path,
        precision: &str,
        settings: &Value,
    ) -> Result<Self> {
        let file = NamedTempFile::new()?;
        std::fs::write(file.path(), settings.to_string())?;
        let mut child = command
            .arg(folder)
            .arg(precision)
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { name, child, input, output, answers: Vec::new(), _settings: file })
    }

    /// Sends a line, and waits for the answer.
    pub(crate) fn run(&mut self, task: &str) -> Result<()> {
        let ended = || format!("{} ended before it answered; see what it printed", self.name);
        writeln!(self.input, "{task}").and_then(|()| self.input.flush()).map_err(|_| ended())?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(ended().into());
        }
        self.answers.push(serde_json::from_str(&line)?);
        Ok(())
    }

    /// A number of the newest answer.
    pub(crate) fn newest(&self, field: &str) -> Result<f64> {
        let answer = self.answers.last().ok_or("no answer yet")?;
        Ok(answer[field].as_f64().ok_or_else(|| format!("{} answered no `{field}`", self.name))?)
    }

    /// Median, least and most of a number of the answers, the first one left out.
    pub(crate) fn spread(&self, number: impl Fn(&Value) -> Option<f64>) -> Result<Spread> {
        let counted = self.answers.iter().skip(1).map(number);
        let mut numbers = counted.collect::<Option<Vec<_>>>().ok_or("an answer lacks a number")?;
        numbers.sort_by(f64::total_cmp);
        let (Some(&least), Some(&most)) = (numbers.first(), numbers.last()) else {
            return Err(format!("{} has no run beside the first", self.name).into());
        };
        Ok(Spread { median: numbers[numbers.len() / 2], least, most })
    }

    /// Ends the process.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}
