//! Training of adapters, which a server gets by version.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::server::{Launch, Server};
use super::teacher;
use crate::process::{check, display};

/// Their rank.
pub(super) const RANK: usize = 8;

/// `hint-rl check-vllm` of adapters on a server.
fn compare(program: &Path, server: &Server, launch: &Launch<'_>, weights: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["check-vllm", "--served-name", launch.name, "--server", &server.address()]);
    command.arg("--lora").arg(format!("rank={RANK}"));
    command.arg("--model").arg(launch.model).arg("--weights").arg(weights);
    command
}

/// Fails unless a server without the options for adapters is refused, with the options that it lacks.
pub(super) fn check_refused(
    program: &Path,
    server: &Server,
    launch: &Launch<'_>,
    weights: &Path,
) -> Result<()> {
    let mut command = compare(program, server, launch, weights);
    let line = display(&command);
    eprintln!("+ {line}");
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let expected = format!("--enable-lora --max-lora-rank {RANK}");
    ensure!(
        !output.status.success() && errors.contains(&expected),
        "a server without adapters was not refused by `{expected}` ({}):\n{errors}",
        output.status
    );
    Ok(())
}

/// Trains adapters through a server as `launch` describes it, and compares log-probabilities. Then two steps of the main
/// example, which may hand over no checkpoint.
pub(super) fn train(
    program: &Path,
    launch: &Launch<'_>,
    problems: &Path,
    weights: &Path,
) -> Result<()> {
    let server = Server::start(launch)?;
    let failed = || format!("the server wrote `{}`", server.log().display());
    check(&mut compare(program, &server, launch, weights)).with_context(failed)?;
    let out = launch.log.with_file_name("adapter-run");
    let lora = format!("--lora=rank={RANK}");
    teacher::train(program, &server.address(), (launch.model, problems), &[&lora], &out)
        .with_context(failed)?;
    let handed_over = out.join("hint/vllm-weights/step-2");
    ensure!(
        handed_over.join("adapter_model.safetensors").is_file()
            && !handed_over.join("model.safetensors").exists(),
        "`{}` does not hold the adapter alone",
        handed_over.display()
    );
    server.stop()
}
