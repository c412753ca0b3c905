//! Finds a Python: one that has torch, or one that can install it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::Host;
use super::{VERSION, version};

/// A Python's report about itself.
#[derive(Debug)]
pub(super) struct Python {
    /// The program.
    pub(super) program: PathBuf,
    /// Its release, such as `(3, 11)`.
    pub(super) release: (u32, u32),
    /// Whether it has pip.
    pub(super) has_pip: bool,
    /// Folder of its torch.
    pub(super) torch: Option<PathBuf>,
}

/// Looks torch up without importing it, which would take seconds.
const PROBE: &str = "\
import sys, importlib.util as util
print('release %d.%d' % sys.version_info[:2])
print('pip %s' % bool(util.find_spec('pip')))
spec = util.find_spec('torch')
print('torch %s' % (spec and spec.origin or ''))
";

/// Names a suitable Python goes by, the likeliest first.
const NAMES: [&str; 7] =
    ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python"];

/// Releases there are wheels of torch for.
const OLDEST: (u32, u32) = (3, 10);
const NEWEST: (u32, u32) = (3, 14);

/// Asks a Python about itself; `None` if it does not work or is too old to answer.
pub(super) fn probe(program: &Path) -> Option<Python> {
    let output = Command::new(program).args(["-c", PROBE]).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::trim)
    };
    let (major, minor) = field("release")?.split_once('.')?;
    Some(Python {
        program: program.to_path_buf(),
        release: (major.parse().ok()?, minor.parse().ok()?),
        has_pip: field("pip") == Some("True"),
        torch: field("torch")
            .and_then(|file| Path::new(file).parent())
            .map(Path::to_path_buf)
            .filter(|f| f.is_dir()),
    })
}

/// The torch of `python3`, if it is the one this workspace needs.
pub(super) fn torch_on_path(host: &Host) -> Option<PathBuf> {
    let folder = probe(&host.find_program("python3")?)?.torch?;
    version::check(&folder).is_ok().then_some(folder)
}

/// A Python of a release up to `newest` that has pip.
pub fn with_pip(host: &Host, newest: (u32, u32)) -> Option<PathBuf> {
    let pythons = NAMES.iter().filter_map(|name| probe(&host.find_program(name)?));
    let mut fit =
        pythons.filter(|python| python.has_pip && (OLDEST..=newest).contains(&python.release));
    fit.next().map(|python| python.program)
}

/// A Python that can install torch.
pub(super) fn for_install(host: &Host) -> Result<Python> {
    let mut without_pip = None;
    let mut unfit = None;
    for name in NAMES {
        let Some(python) = host.find_program(name).and_then(|file| probe(&file)) else { continue };
        if !(OLDEST..=NEWEST).contains(&python.release) {
            unfit.get_or_insert((name, python.release));
        } else if python.has_pip {
            return Ok(python);
        } else {
            without_pip.get_or_insert((name, python.release));
        }
    }
    let other_way = format!("or set LIBTORCH to a libtorch {VERSION} of your own");
    let range = format!("{}.{} to {}.{}", OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1);
    if let Some((name, (major, minor))) = without_pip {
        bail!(
            "`{name}` ({major}.{minor}) has no pip, which installs torch {VERSION}; install it (Debian, Ubuntu: \
             `apt install python3-pip`; elsewhere: `{name} -m ensurepip`), {other_way}"
        );
    }
    if let Some((name, (major, minor))) = unfit {
        bail!(
            "`{name}` is Python {major}.{minor}, but torch {VERSION} needs Python {range}; install one of these \
             with pip, {other_way}"
        );
    }
    bail!(
        "no Python on PATH, which installs torch {VERSION}; install Python {range} with pip (Debian, Ubuntu: \
         `apt install python3 python3-pip`), {other_way}"
    );
}
