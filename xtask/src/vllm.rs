//! `e2e-vllm`: training runs through real vLLM servers and hints of a teacher behind one, with everything
//! that they take. `ahead` measures the time of steps instead.

mod adapters;
mod ahead;
mod fleet;
mod install;
mod server;
mod teacher;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::server::{Launch, Server};
use crate::process::{build, check};
use hint_libtorch::Host;

/// Name under which the server serves the model.
const SERVED_NAME: &str = "policy";

/// Checks everything, or measures sampling ahead.
pub(crate) fn run(host: &Host, args: &[OsString]) -> Result<()> {
    match args {
        [] => e2e(host),
        [word] if word == "ahead" => ahead::measure(host),
        _ => bail!("`e2e-vllm` takes `ahead` or nothing"),
    }
}

/// Installs vLLM, starts it on SmolLM2, trains through it and compares log-probabilities. Then lets it write
/// hints as a teacher, and runs the main example on them. Then trains through two servers, one of which is killed and
/// started again, and trains adapters. The servers are stopped in any case.
fn e2e(host: &Host) -> Result<()> {
    hint_libtorch::setup(host)?;
    let python = install::install(host)?;
    let work = host.repo.join("target").join("e2e-vllm");
    let (model, weights) = (work.join("model"), work.join("weights"));
    std::fs::create_dir_all(&weights)
        .with_context(|| format!("cannot create `{}`", weights.display()))?;
    // In the profile of the tests, so that nothing is built a second time; and before the server
    // starts, which needs both the memory and the processors.
    let programs = build(host, &["--bin", "hint-rl"])?;
    let program = programs.get("hint-rl").context("cargo built no `hint-rl`")?;
    export(program, &model)?;
    set_penalty(&model)?;
    let log = |name: &str| work.join(format!("{name}.log"));
    let (first_log, second_log, adapter_log) = (log("server"), log("second"), log("adapters"));
    let launch = Launch {
        python: &python,
        model: &model,
        name: SERVED_NAME,
        log: &first_log,
        port: None,
        max_lora_rank: None,
        core: None,
    };
    let server = Server::start(&launch)?;
    // A second address, at which nobody listens: the engine must continue with the first one.
    check(
        Command::new(program)
            .args(["check-vllm", "--served-name", SERVED_NAME])
            .args(["--server", &server.address(), "--server", "http://127.0.0.1:9"])
            .arg("--model")
            .arg(&model)
            .arg("--weights")
            .arg(&weights),
    )
    .with_context(|| format!("the server wrote `{}`", server.log().display()))?;
    adapters::check_refused(program, &server, &launch, &weights)?;
    let problems = teacher::hints(program, &server.address(), &work)?;
    teacher::train(
        program,
        &server.address(),
        (model.as_path(), problems.as_path()),
        &[],
        &work.join("run"),
    )
    .with_context(|| format!("the server wrote `{}`", server.log().display()))?;
    fleet::check(program, &server, &Launch { log: &second_log, ..launch }, &weights)?;
    server.stop()?;
    // Adapters rest on the weights that a server was started with; the first one has those of the runs.
    let launch = Launch { log: &adapter_log, max_lora_rank: Some(adapters::RANK), ..launch };
    adapters::train(program, &launch, &problems, &weights)
}

/// Writes SmolLM2 into the folder `model`, with a head of its own.
fn export(program: &Path, model: &Path) -> Result<()> {
    check(
        Command::new(program)
            .args(["export", "--model", "smollm2", "--untied-head", "--out"])
            .arg(model),
    )
}

/// Gives the model's folder a repetition penalty, as many chat models have one. The server takes it for each request that
/// names none, and its log-probabilities would then differ from the trainer's.
fn set_penalty(model: &Path) -> Result<()> {
    let path = model.join("generation_config.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut config = serde_json::from_str::<serde_json::Value>(&text)
        .with_context(|| format!("`{}` is no JSON", path.display()))?;
    config["repetition_penalty"] = 1.1.into();
    std::fs::write(&path, config.to_string())
        .with_context(|| format!("cannot write `{}`", path.display()))
}
