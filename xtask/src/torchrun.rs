//! A run under `torchrun`, one of whose workers is killed: does it restart, and end as the run of one process?

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hint_libtorch::Host;

use crate::process::{check, display};

/// A run of several steps that two processes may share, up to the name of its folder.
const TRAIN: &str = "train --method hint --steps 4 --held-out 20 --threads 1 --set run.virtual_workers=2 \
                     --set run.checkpoint_every=1 --out";

/// The options of `torchrun`, up to the program.
const LAUNCH: &str =
    "-m torch.distributed.run --standalone --max-restarts 3 --nproc-per-node 2 --no-python";

/// The newest Python that torch has wheels for.
const NEWEST_PYTHON: (u32, u32) = (3, 14);

/// Trains in one process, and in two under `torchrun`, of which one is killed after the first checkpoint. Both runs must have
/// the same files. Without Linux, and where no Python loads the torch of libtorch, nothing runs, and a line says so.
pub(crate) fn run(host: &Host, program: &Path, out: &Path) -> Result<()> {
    let Some(mut launch) = launcher(host)? else {
        eprintln!("smoke run: without `torchrun`, which needs Linux and a Python that loads torch");
        return Ok(());
    };
    let (alone, restarted) = (out.join("unbroken"), out.join("restarted"));
    check(Command::new(program).args(TRAIN.split(' ')).arg(&alone))?;
    launch.args(LAUNCH.split(' ')).arg(program).args(TRAIN.split(' ')).arg(&restarted);
    let line = display(&launch);
    eprintln!("+ {line}");
    let mut agent = launch.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let first = restarted.join("hint/checkpoints/step-00000001");
    if let Err(error) = kill_worker(&mut agent, program, &first) {
        // Nothing is left to do where it has ended.
        let _ = agent.kill();
        let _ = agent.wait();
        return Err(error);
    }
    let status = agent.wait()?;
    ensure!(status.success(), "`{line}` failed ({status}) after a worker was killed");
    same_run(&alone.join("hint"), &restarted.join("hint"), 4)
}

/// `torchrun` of the Python package that libtorch is a part of, if there is one and a Python loads it.
fn launcher(host: &Host) -> Result<Option<Command>> {
    // Workers are found in `/proc`.
    if host.platform.0 != "linux" {
        return Ok(None);
    }
    let libtorch = hint_libtorch::find(host)?;
    let (Some(packages), Some(python)) =
        (libtorch.parent(), hint_libtorch::python_with_pip(host, NEWEST_PYTHON))
    else {
        return Ok(None);
    };
    let with_torch = || {
        let mut command = Command::new(&python);
        command.env("PYTHONPATH", packages);
        command
    };
    let mut load = with_torch();
    load.args(["-c", "import torch.distributed.run"]).stdout(Stdio::null()).stderr(Stdio::null());
    let loads = load.status().with_context(|| format!("cannot start `{}`", display(&load)))?;
    Ok(loads.success().then(with_torch))
}

/// Kills the last worker of `agent` as soon as there is a checkpoint.
fn kill_worker(agent: &mut Child, program: &Path, checkpoint: &Path) -> Result<()> {
    while !checkpoint.exists() {
        if let Some(status) = agent.try_wait()? {
            bail!("`torchrun` ended ({status}) before `{}` was there", checkpoint.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let workers = workers(agent.id(), program)?;
    ensure!(workers.len() == 2, "`torchrun` has {} workers instead of 2", workers.len());
    check(Command::new("kill").arg("-9").arg(&workers[1]))
}

/// The processes that `agent` started and that run `program`, in their order.
fn workers(agent: u32, program: &Path) -> Result<Vec<String>> {
    let program = program.canonicalize().context("the program is a file")?;
    let threads = format!("/proc/{agent}/task");
    let threads =
        std::fs::read_dir(&threads).with_context(|| format!("cannot read `{threads}`"))?;
    let mut started = Vec::new();
    for thread in threads {
        let children = std::fs::read_to_string(thread?.path().join("children"));
        started.extend(children.unwrap_or_default().split_whitespace().map(str::to_owned));
    }
    let runs = |process: &String| {
        let executable = std::fs::read_link(format!("/proc/{process}/exe"));
        executable.is_ok_and(|executable| executable == program)
    };
    started.retain(runs);
    Ok(started)
}

/// Fails unless two folders of a run hold the same metrics, and the same weights after a step.
pub(crate) fn same_run(one: &Path, other: &Path, step: u64) -> Result<()> {
    for file in
        ["metrics.jsonl".to_owned(), format!("checkpoints/step-{step:08}/model.safetensors")]
    {
        let bytes = |folder: &Path| {
            let path = folder.join(&file);
            std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
        };
        let (one, other) = (bytes(one)?, bytes(other)?);
        ensure!(one == other, "`{file}` of several processes differs from that of one");
    }
    Ok(())
}
