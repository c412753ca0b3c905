//! `e2e-vllm`: training runs through a real vLLM server and hints of a teacher behind it, with everything
//! that they take.

mod install;
mod server;
mod teacher;

use std::path::Path;

use anyhow::{Context, Result};

use self::server::Server;
use crate::process::{cargo, check};
use hint_libtorch::Host;

/// Name under which the server serves the model.
const SERVED_NAME: &str = "policy";

/// Installs vLLM, starts it on SmolLM2, trains through it and compares log-probabilities. Then lets it write
/// hints as a teacher, and runs the main example on them. The server is stopped in any case.
pub(crate) fn e2e(host: &Host) -> Result<()> {
    hint_libtorch::setup(host)?;
    let python = install::install(host)?;
    let work = host.repo.join("target").join("e2e-vllm");
    let (model, weights) = (work.join("model"), work.join("weights"));
    std::fs::create_dir_all(&weights)
        .with_context(|| format!("cannot create `{}`", weights.display()))?;
    // In the profile of the tests, so that nothing is built a second time; and before the server
    // starts, which needs both the memory and the processors.
    check(cargo(host).args(["build", "--locked", "--bin", "hint-rl"]))?;
    check(
        cargo(host)
            .args(["run", "--locked", "--bin", "hint-rl", "--", "export"])
            .args(["--model", "smollm2", "--untied-head", "--out"])
            .arg(&model),
    )?;
    set_penalty(&model)?;
    let server = Server::start(&python, &model, SERVED_NAME, &work.join("server.log"))?;
    // A second address, at which nobody listens: the engine must continue with the first one.
    check(
        cargo(host)
            .args(["run", "--locked", "--bin", "hint-rl", "--", "check-vllm"])
            .args(["--served-name", SERVED_NAME])
            .args(["--server", &server.address(), "--server", "http://127.0.0.1:9"])
            .arg("--model")
            .arg(&model)
            .arg("--weights")
            .arg(&weights),
    )
    .with_context(|| format!("the server wrote `{}`", server.log().display()))?;
    let problems = teacher::hints(host, &server.address(), &work)?;
    teacher::train(host, &server.address(), &model, &problems, &work)
        .with_context(|| format!("the server wrote `{}`", server.log().display()))?;
    server.stop()
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
