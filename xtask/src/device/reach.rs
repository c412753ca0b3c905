//! Programs load libtorch's CUDA library by themselves: here the emulated one, found in place of the real one.
//!
//! All other checks load it beforehand. They would pass a program that loads it too late.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Device;
use crate::process::check as run;

/// Runs the programs with a stand-in for NVIDIA's driver, and reads their reports about the device.
pub(super) fn check(device: &Device<'_>) -> Result<()> {
    let driver = device.log_folder("driver")?;
    let compiler = device.host.cxx.clone().unwrap_or_else(|| "g++".into());
    run(Command::new(compiler)
        .args(["-x", "c", "-shared", "-fPIC", "-o"])
        .arg(driver.join("libcuda.so.1"))
        .arg(device.host.repo.join("device/driver.c")))?;
    let library = device.library.parent().context("the emulator lies in a folder")?;
    let path = std::env::join_paths([driver.as_path(), library])?;
    for (program, start) in [(super::EXAMPLE, &[][..]), (super::PROGRAM, &["train"][..])] {
        // The device, what the driver says, and what the program must say.
        for (name, choice, driver, expected) in [
            ("found", "auto", ("DRIVER_DEVICES", "1"), "computing on GPU 0 (the only GPU"),
            ("none", "auto", ("DRIVER_DEVICES", "0"), "computing on the CPU (the NVIDIA driver"),
            ("absent", "cuda", ("DRIVER_DEVICES", "0"), "shows no GPU; see `CUDA_VISIBLE_DEVICES`"),
            ("broken", "cuda", ("DRIVER_CODE", "3"), "does not start: error 3"),
        ] {
            let mut command = device.on_host(program);
            command.args(start).args(["--device", choice, "--method", "grpo", "--steps", "1"]);
            command.args(["--held-out", "1", "--out"]);
            command.arg(device.scratch(&format!("reach-{program}-{name}")));
            command.env("LD_LIBRARY_PATH", &path).env(driver.0, driver.1);
            let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            ensure!(
                said.contains(expected),
                "`{program}` ({name}) does not say `{expected}`:\n{said}"
            );
        }
    }
    Ok(())
}
