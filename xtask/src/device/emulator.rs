//! Compiles the emulator, once for each state of its sources, libtorch and compiler.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{check, output, read};
use hint_libtorch::Host;

const LIBRARY: &str = "libtorch_cuda.so";
const SOURCES: &str = "device/emulator";
/// Types of Gloo that libtorch's headers name, and the wheel does not have.
const GLOO: &str = "crates/hint-dist/native/stub";

const FLAGS: [&str; 9] = [
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Wextra",
    "-fvisibility=hidden",
    "-DAT_PER_OPERATOR_HEADERS",
    // Under this name the loader takes it for the library that libtorch would load.
    "-Wl,-soname,libtorch_cuda.so",
];

/// The emulator's library, compiled unless a compiled one lies in the cache folder.
pub(super) fn build(host: &Host, libtorch: &Path) -> Result<PathBuf> {
    let compiler = host.cxx.clone().unwrap_or_else(|| "g++".into());
    let sources = host.repo.join(SOURCES);
    let operations = operations_without_device_check(libtorch)?;
    let mut hasher = DefaultHasher::new();
    (FLAGS, libtorch, &operations).hash(&mut hasher);
    output(Command::new(&compiler).arg("-dumpfullversion"))
        .context("the emulated device needs a C++ compiler; install g++, or name one in CXX")?
        .hash(&mut hasher);
    for file in sorted_files(&sources)? {
        read(&file)?.hash(&mut hasher);
    }
    let cache = host.cache.clone().unwrap_or_else(|| host.repo.join("target"));
    let folder = cache.join(format!("device-{:016x}", hasher.finish()));
    let library = folder.join(LIBRARY);
    if library.is_file() {
        return Ok(library);
    }

    // Complete or absent, whoever else compiles at the same time.
    let unfinished = cache.join(format!("device-unfinished-{}", std::process::id()));
    std::fs::create_dir_all(&unfinished)
        .with_context(|| format!("cannot create `{}`", unfinished.display()))?;
    let list = unfinished.join("no_device_check.inc");
    std::fs::write(&list, operations)
        .with_context(|| format!("cannot write `{}`", list.display()))?;
    let libraries = libtorch.join("lib");
    check(
        Command::new(&compiler)
            .args(FLAGS)
            .arg("-isystem")
            .arg(libtorch.join("include"))
            .arg("-isystem")
            .arg(libtorch.join("include/torch/csrc/api/include"))
            .arg("-I")
            .arg(host.repo.join(GLOO))
            .arg("-I")
            .arg(&unfinished)
            .arg(sources.join("emulator.cpp"))
            .arg("-o")
            .arg(unfinished.join(LIBRARY))
            .arg("-L")
            .arg(&libraries)
            .args(["-Wl,--no-as-needed", "-ltorch_cpu", "-lc10"])
            .arg(format!("-Wl,-rpath,{}", libraries.display())),
    )?;
    if std::fs::rename(&unfinished, &folder).is_err() {
        ensure!(library.is_file(), "cannot move the library to `{}`", folder.display());
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    Ok(library)
}

fn sorted_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

/// The operations that CUDA lets mix devices, as a list of C++ strings, from the wheel's own table of operations.
fn operations_without_device_check(libtorch: &Path) -> Result<String> {
    let table =
        libtorch.with_file_name("torchgen").join("packaged/ATen/native/native_functions.yaml");
    let text = std::fs::read_to_string(&table).with_context(|| {
        format!(
            "the emulated device needs libtorch from a Python wheel, which brings `{}`; unset LIBTORCH and run \
             `cargo xtask setup`",
            table.display()
        )
    })?;
    let lines: Vec<String> =
        without_device_check(&text).map(|name| format!("\"{name}\",\n")).collect();
    Ok(lines.concat())
}

fn without_device_check(table: &str) -> impl Iterator<Item = &str> {
    let mut function = "";
    table.lines().filter_map(move |line| {
        if let Some(declared) = line.strip_prefix("- func: ") {
            function = declared.split('(').next().unwrap_or(declared);
        }
        line.trim_start().starts_with("device_check: NoCheck").then_some(function)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_without_device_check_are_found() {
        let table = "- func: add.Tensor(Tensor self, Tensor other) -> Tensor\n  device_check: NoCheck   # why\n\
                     - func: mm(Tensor self, Tensor mat2) -> Tensor\n  variants: function\n\
                     - func: abs_(Tensor(a!) self) -> Tensor(a!)\n  device_check: NoCheck\n";
        assert_eq!(without_device_check(table).collect::<Vec<_>>(), ["add.Tensor", "abs_"]);
    }
}
