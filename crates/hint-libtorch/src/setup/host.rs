//! The machine and its environment, read once.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::config;

/// The machine, the user's environment and a cargo project. Tests build one by hand.
///
/// ```no_run
/// use hint_libtorch::Host;
///
/// let host = Host::from_env("my-project".into())?;
/// hint_libtorch::setup(&host)?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Host {
    /// Root of the cargo project.
    pub repo: PathBuf,
    /// Cache folder of this project, shared by all clones; `None` when neither `XDG_CACHE_HOME` nor `HOME` is set.
    pub cache: Option<PathBuf>,
    /// `PATH`, where programs are looked up.
    pub path: OsString,
    /// The user's own `LIBTORCH`, absolute; `None` also when only `.cargo/config.toml` set it.
    pub libtorch: Option<PathBuf>,
    /// Whether `LIBTORCH_USE_PYTORCH` is set.
    pub use_pytorch: bool,
    /// Whether a virtual environment is active; torch-sys then asks `python` instead of `python3`.
    pub in_virtual_env: bool,
    /// Operating system and processor, as `std::env::consts` names them.
    pub platform: (&'static str, &'static str),
    /// The C++ compiler the user chose with `CXX`.
    pub cxx: Option<OsString>,
    /// Disk space an installation needs, in bytes.
    pub needed_bytes: u64,
}

/// The wheels (2.5 GB) and their unpacked files (5 GB) exist side by side for a while.
const NEEDED_BYTES: u64 = 8_000_000_000;

impl Host {
    /// Reads the environment, for the cargo project in `repo`.
    ///
    /// # Errors
    ///
    /// A `LIBTORCH` that is no path.
    #[expect(clippy::disallowed_methods, reason = "a set-up reads its environment")]
    pub fn from_env(repo: PathBuf) -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .map(|folder| folder.join("hint-rl"));
        let libtorch = set("LIBTORCH").map(PathBuf::from);
        let libtorch = match libtorch.filter(|folder| !config::is_from_config(&repo, folder)) {
            Some(folder) => Some(
                std::path::absolute(&folder)
                    .with_context(|| format!("LIBTORCH (`{}`) is not a path", folder.display()))?,
            ),
            None => None,
        };
        Ok(Self {
            cache,
            path: std::env::var_os("PATH").unwrap_or_default(),
            libtorch,
            // torch-sys asks only whether the variable is there.
            use_pytorch: std::env::var_os("LIBTORCH_USE_PYTORCH").is_some(),
            in_virtual_env: std::env::var_os("VIRTUAL_ENV").is_some(),
            platform: (std::env::consts::OS, std::env::consts::ARCH),
            cxx: set("CXX"),
            needed_bytes: NEEDED_BYTES,
            repo,
        })
    }

    /// Looks a program up on `PATH`.
    pub fn find_program(&self, name: impl AsRef<OsStr>) -> Option<PathBuf> {
        let name = name.as_ref();
        std::env::split_paths(&self.path).map(|folder| folder.join(name)).find(|file| {
            file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
    }
}
