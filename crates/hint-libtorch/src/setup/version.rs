//! Version of the libtorch in a folder, read from its files, without starting Python.

use std::fmt;
use std::path::Path;

use super::VERSION;

/// Why a folder cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// A file or folder that every libtorch has is missing.
    Missing(&'static str),
    /// None of the files with the version is there.
    Unknown,
    /// Another version.
    Wrong(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(file) => write!(f, "is not a libtorch {VERSION}: it has no `{file}`"),
            Self::Unknown => write!(f, "does not name its libtorch, expected {VERSION}"),
            Self::Wrong(found) => write!(f, "holds libtorch {found}, expected {VERSION}"),
        }
    }
}

/// Files without which nothing compiles or links.
const REQUIRED: [&str; 5] = [
    "include",
    "lib",
    "include/torch/csrc/api/include/torch/torch.h",
    "lib/libtorch.so",
    "lib/libtorch_cpu.so",
];

/// Checks that `folder` holds the headers and libraries of the version this workspace needs.
pub(super) fn check(folder: &Path) -> Result<(), Mismatch> {
    // The version first: a 2.10 that also lacks a file is better called a 2.10.
    let version = of(folder);
    if let Some(version) = version.as_ref().filter(|version| *version != VERSION) {
        return Err(Mismatch::Wrong(version.clone()));
    }
    if let Some(missing) = REQUIRED.into_iter().find(|file| !folder.join(file).exists()) {
        return Err(Mismatch::Missing(missing));
    }
    version.map_or(Err(Mismatch::Unknown), |_| Ok(()))
}

/// The version of `folder`, without the build suffix (`2.11.0`, not `2.11.0+cu130`).
fn of(folder: &Path) -> Option<String> {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    read("version.py")
        .and_then(|text| from_version_py(&text))
        .or_else(|| read("build-version").and_then(|text| release(&text)))
        .or_else(|| {
            ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"]
                .into_iter()
                .find_map(|file| read(file).and_then(|text| from_header(&text)))
        })
}

fn from_version_py(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    release(line.split_once('=')?.1.trim().trim_matches(['\'', '"']))
}

fn from_header(text: &str) -> Option<String> {
    let number = |part: &str| -> Option<u32> {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("#define") && words.next() == Some(part))
                .then(|| words.next()?.parse().ok())?
        })
    };
    let (major, minor, patch) = (
        number("TORCH_VERSION_MAJOR")?,
        number("TORCH_VERSION_MINOR")?,
        number("TORCH_VERSION_PATCH")?,
    );
    Some(format!("{major}.{minor}.{patch}"))
}

fn release(text: &str) -> Option<String> {
    let version = text.trim().split('+').next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_py_gives_the_release_without_the_build() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(from_version_py(text).as_deref(), expected);
        };
        check(
            "__all__ = ['__version__']\n__version__ = '2.11.0+cu130'\ndebug = False\n",
            Some("2.11.0"),
        );
        check("__version__ = \"2.10.0\"\n", Some("2.10.0"));
        check("__version__: str = '2.12.0a0+git1234'\n", Some("2.12.0a0"));
        check("debug = False\n", None);
        check("__version__ = None\n", None);
    }

    #[test]
    fn header_gives_the_three_numbers() {
        let text = "#pragma once\n/// Patch\n#define TORCH_VERSION_PATCH 1\n#define TORCH_VERSION_MINOR 9\n\
                    #define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION \"2.9.1\"\n";
        assert_eq!(from_header(text).as_deref(), Some("2.9.1"));
        assert_eq!(from_header("#include <torch/headeronly/version.h>\n"), None);
    }

    #[test]
    fn build_version_may_carry_a_suffix_and_a_newline() {
        assert_eq!(release("2.11.0+cpu\n").as_deref(), Some("2.11.0"));
        assert_eq!(release("\n"), None);
    }

    #[test]
    fn header_is_read_when_there_is_no_version_file() {
        let folder = tempfile::tempdir().unwrap();
        super::super::tests::write_torch(folder.path(), VERSION);
        std::fs::remove_file(folder.path().join("version.py")).unwrap();
        assert_eq!(check(folder.path()), Err(Mismatch::Unknown));
        let header = folder.path().join("include/torch/headeronly/version.h");
        std::fs::create_dir_all(header.parent().unwrap()).unwrap();
        let text = |minor: u32| {
            format!(
                "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR {minor}\n#define TORCH_VERSION_PATCH 0\n"
            )
        };
        std::fs::write(&header, text(11)).unwrap();
        assert_eq!(check(folder.path()), Ok(()));
        std::fs::write(&header, text(10)).unwrap();
        assert_eq!(check(folder.path()), Err(Mismatch::Wrong("2.10.0".into())));
    }

    #[test]
    fn missing_library_is_named() {
        let folder = tempfile::tempdir().unwrap();
        super::super::tests::write_torch(folder.path(), VERSION);
        std::fs::remove_file(folder.path().join("lib/libtorch_cpu.so")).unwrap();
        assert_eq!(check(folder.path()), Err(Mismatch::Missing("lib/libtorch_cpu.so")));
    }
}
