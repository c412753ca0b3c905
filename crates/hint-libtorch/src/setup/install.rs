//! Installs the torch wheel into the cache folder that all clones share.
//!
//! One setup runs at a time, by an exclusive lock that the kernel releases whenever its holder ends. pip works in a
//! folder of its own; the marker is written there last, and the finished folder is renamed into place. So a folder with
//! the final name and the marker is complete. The next setup removes the rest of a killed one.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::Host;
use super::{VERSION, note, python, remove_folder, version};

/// Marks a complete installation.
const MARKER: &str = ".hint-rl-complete";

/// The folders of the installation, below the cache folder of this project.
struct Cache {
    root: PathBuf,
}

impl Cache {
    fn of(host: &Host) -> Option<Self> {
        host.cache.clone().map(|root| Self { root })
    }

    fn name() -> String {
        format!("torch-{VERSION}")
    }

    /// The installation.
    fn site(&self) -> PathBuf {
        self.root.join(Self::name())
    }

    /// The libtorch in it.
    fn torch(&self) -> PathBuf {
        self.site().join("torch")
    }

    fn lock(&self) -> PathBuf {
        self.root.join(format!("{}.lock", Self::name()))
    }

    fn partial(&self) -> PathBuf {
        self.root.join(format!("{}.partial-{}", Self::name(), std::process::id()))
    }

    fn is_marked(&self) -> bool {
        std::fs::read_to_string(self.site().join(MARKER)).is_ok_and(|text| text.trim() == VERSION)
    }

    fn is_ready(&self) -> bool {
        self.is_marked() && version::check(&self.torch()).is_ok()
    }
}

/// Whether `folder` is the libtorch in the cache.
pub(super) fn is_in_cache(host: &Host, folder: &Path) -> bool {
    Cache::of(host).is_some_and(|cache| folder == cache.torch())
}

/// Whether the installation in the cache is complete.
pub(super) fn is_marked(host: &Host) -> bool {
    Cache::of(host).is_some_and(|cache| cache.is_marked())
}

/// The libtorch in the cache, if it is there and complete.
pub(super) fn installed(host: &Host) -> Result<Option<PathBuf>> {
    let Some(cache) = Cache::of(host) else { return Ok(None) };
    if cache.is_ready() {
        return Ok(Some(cache.torch()));
    }
    if !cache.site().exists() {
        return Ok(None);
    }
    // Somebody else put it there, with pip for example.
    let _lock = acquire(&cache)?;
    if !cache.is_ready() && is_complete(&cache.site()) {
        note(&format!("{} is complete, using it", cache.site().display()));
        mark(&cache.site())?;
    }
    Ok(cache.is_ready().then(|| cache.torch()))
}

/// Installs torch into the cache and returns the libtorch in it.
pub(super) fn install(host: &Host) -> Result<PathBuf> {
    check_platform(host)?;
    let cache = Cache::of(host)
        .context("neither XDG_CACHE_HOME nor HOME is set; set one, torch is installed below it")?;
    // Before anything is written: no Python is the commonest failure.
    let python = python::for_install(host)?;
    let lock = acquire(&cache)?;
    if cache.is_ready() {
        return Ok(cache.torch());
    }
    remove_leftovers(&cache)?;
    check_space(&cache.root, host.needed_bytes, &format!("torch {VERSION}"))?;

    let partial = cache.partial();
    let packages = partial.join("packages");
    let scratch = partial.join("tmp");
    for folder in [&packages, &scratch] {
        create_folder(folder)?;
    }
    note(&format!(
        "installing torch {VERSION} into {} (2.5 GB to download, 5 GB on disk, once for all clones)",
        cache.site().display()
    ));
    let result = pip(&python.program, &packages, &scratch, &lock)
        .and_then(|()| {
            version::check(&packages.join("torch")).map_err(|mismatch| {
                anyhow!("what pip installed as torch {VERSION} {mismatch}; check the package index that pip uses")
            })
        })
        .and_then(|()| mark(&packages))
        .and_then(|()| put_in_place(&packages, &cache));
    remove_folder(&partial)
        .with_context(|| format!("cannot remove `{}`", partial.display()))
        .and(result)?;
    Ok(cache.torch())
}

fn check_platform(host: &Host) -> Result<()> {
    match host.platform {
        ("linux", "x86_64" | "aarch64") => Ok(()),
        (os, arch) => bail!(
            "torch {VERSION} can be installed on Linux x86-64 and aarch64 only, this is {os} {arch}; set LIBTORCH to a \
             libtorch {VERSION} of your own"
        ),
    }
}

/// Waits until no other setup runs. The lock lasts as long as the file is open anywhere: here, or in the pip started
/// below.
fn acquire(cache: &Cache) -> Result<File> {
    create_folder(&cache.root)?;
    let path = cache.lock();
    let failed = || {
        format!("cannot lock `{}`; set XDG_CACHE_HOME to a folder on a local disk", path.display())
    };
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            note(&format!("waiting for another set-up to finish (it holds {})", path.display()));
            file.lock().with_context(failed)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
    }
    Ok(file)
}

fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| {
        format!(
            "cannot create `{}`; make it writable, or set XDG_CACHE_HOME to another folder",
            folder.display()
        )
    })
}

/// Removes the remains of killed setups. Only the holder of the lock may.
fn remove_leftovers(cache: &Cache) -> Result<()> {
    let prefix = format!("{}.partial-", Cache::name());
    let entries = std::fs::read_dir(&cache.root)
        .with_context(|| format!("cannot read `{}`", cache.root.display()))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            note(&format!("removing what an interrupted set-up left: {}", entry.path().display()));
            if let Err(error) = remove_folder(&entry.path()) {
                note(&format!("that failed ({error}); remove it by hand"));
            }
        }
    }
    Ok(())
}

/// Fails if the disk of `folder` has no room for `what`.
///
/// # Errors
///
/// The free and the needed space, and the advice.
pub fn check_space(folder: &Path, needed: u64, what: &str) -> Result<()> {
    // Without `df`, or with one that answers in another form, pip finds out.
    let Some(free) = free_bytes(folder) else { return Ok(()) };
    if free < needed {
        bail!(
            "{} has {:.1} GB free, installing {what} needs {:.1} GB; free some, or set XDG_CACHE_HOME to a folder \
             on another disk",
            folder.display(),
            free as f64 / 1e9,
            needed as f64 / 1e9,
        );
    }
    Ok(())
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    parse_df(&String::from_utf8_lossy(&output.stdout))
}

/// Free bytes from the POSIX output of `df -Pk`: a heading, then one line whose fourth word is kibibytes.
fn parse_df(text: &str) -> Option<u64> {
    let kibibytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Runs pip; its progress goes to the user, its complaints to the user and into the error.
fn pip(python: &Path, target: &Path, scratch: &Path, lock: &File) -> Result<()> {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--target"]).arg(target);
    // The cache of pip would keep the 2.5 GB a second time.
    command.args(["--only-binary=:all:", "--no-cache-dir", "--no-compile", "--no-input"]);
    command.args(["--disable-pip-version-check", &format!("torch=={VERSION}")]);
    // The user's defaults for other installations, which exclude `--target`.
    command.envs([("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0")]);
    // On the same disk as the target, so that the space was checked and files are moved, not copied.
    command.env("TMPDIR", scratch).stderr(Stdio::piped());
    // The lock file is empty, so there is nothing to read. If this process is killed, pip still holds the lock, and the
    // next setup waits until pip has ended too.
    command.stdin(lock.try_clone().context("cannot pass the lock on to pip")?);
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", python.display()))?;
    let mut complaints = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            complaints.push_str(&line);
            complaints.push('\n');
        }
    }
    let status = child.wait().context("cannot wait for pip")?;
    if status.success() { Ok(()) } else { Err(explain(&complaints, &status.to_string())) }
}

/// One line for pip's complaint.
fn explain(complaints: &str, status: &str) -> anyhow::Error {
    let has = |parts: &[&str]| parts.iter().any(|part| complaints.contains(part));
    let again = "then run the set-up again";
    if has(&["No space left on device", "Errno 28", "Disk quota exceeded"]) {
        return anyhow!(
            "the disk filled up while pip installed torch {VERSION}; free some space, or set XDG_CACHE_HOME to a folder \
             on another disk, {again}"
        );
    }
    if has(&["CERTIFICATE_VERIFY_FAILED", "SSLError"]) {
        return anyhow!(
            "pip does not trust the certificate of the package index; set PIP_CERT to your certificate bundle, {again}"
        );
    }
    let unreachable = [
        "NewConnectionError",
        "Failed to establish a new connection",
        "NameResolutionError",
        "ConnectTimeout",
        "ReadTimeout",
        "ProxyError",
        "Connection refused",
        "Connection reset",
        "Connection broken",
        "Network is unreachable",
        "Temporary failure in name resolution",
        "IncompleteRead",
        "ConnectionError",
    ];
    if has(&unreachable) {
        return anyhow!(
            "pip cannot reach the package index to fetch torch {VERSION}; connect to the network (or set PIP_INDEX_URL to \
             an index you can reach), {again}; offline, set LIBTORCH to a libtorch {VERSION}"
        );
    }
    if has(&["No matching distribution found"]) {
        return anyhow!(
            "pip found no torch {VERSION}: the package index has none for this Python and machine, or cannot be \
             reached; set PIP_INDEX_URL to one that has it, {again}, or set LIBTORCH to a libtorch {VERSION}"
        );
    }
    let last =
        complaints.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    anyhow!("pip failed to install torch {VERSION} ({status}): {}; {again}", last.trim())
}

/// Writes the marker, in one step.
fn mark(site: &Path) -> Result<()> {
    let marker = site.join(MARKER);
    let fresh = site.join(format!("{MARKER}.tmp"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&fresh)?;
        writeln!(file, "{VERSION}")?;
        file.sync_all()?;
        std::fs::rename(&fresh, &marker)
    };
    write().with_context(|| format!("cannot write `{}`", marker.display()))
}

/// Renames the finished folder to its final name. A folder with that name is incomplete, or it would have been
/// used.
fn put_in_place(packages: &Path, cache: &Cache) -> Result<()> {
    let site = cache.site();
    let failed = || format!("cannot move the installation to `{}`", site.display());
    if site.symlink_metadata().is_ok() {
        // Below the partial folder, which is removed afterwards.
        std::fs::rename(&site, cache.partial().join("replaced")).with_context(failed)?;
    }
    std::fs::rename(packages, &site).with_context(failed)
}

/// Whether a folder without marker is complete. It has the right torch, the packages it depends on, and every library
/// that pip recorded, in its recorded size.
fn is_complete(site: &Path) -> bool {
    if version::check(&site.join("torch")).is_err() {
        return false;
    }
    let Ok(entries) = std::fs::read_dir(site) else { return false };
    let infos: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "dist-info"))
        .collect();
    let names: Vec<String> = infos.iter().filter_map(|info| package_name(info)).collect();
    let Some(torch) = infos.iter().find(|info| package_name(info).as_deref() == Some("torch"))
    else {
        return false;
    };
    let Ok(metadata) = std::fs::read_to_string(torch.join("METADATA")) else { return false };
    required_packages(&metadata).iter().all(|name| names.contains(name))
        && infos.iter().all(|info| {
            std::fs::read_to_string(info.join("RECORD"))
                .is_ok_and(|record| libraries_are_there(site, &record))
        })
}

/// The normalized name of the package that a `NAME-VERSION.dist-info` folder describes.
fn package_name(info: &Path) -> Option<String> {
    Some(normalized(info.file_name()?.to_str()?.split('-').next()?))
}

fn normalized(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

/// The NVIDIA packages that torch asks for: the libraries it was linked with. The Python-only ones are not needed here.
fn required_packages(metadata: &str) -> Vec<String> {
    metadata
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("Requires-Dist: "))
        .filter(|requirement| !requirement.contains("extra =="))
        .map(|requirement| {
            let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
            normalized(&requirement[..end.unwrap_or(requirement.len())])
        })
        .filter(|name| name.starts_with("nvidia"))
        .collect()
}

/// Checks the lines `path,hash,size` of a RECORD that name shared libraries.
fn libraries_are_there(site: &Path, record: &str) -> bool {
    record.lines().all(|line| {
        let mut fields = line.rsplitn(3, ',');
        let (Some(size), Some(_hash), Some(file)) = (fields.next(), fields.next(), fields.next())
        else {
            return true;
        };
        if !file.contains(".so") {
            return true;
        }
        let found = site.join(file).metadata();
        found.is_ok_and(|m| size.parse() == Ok(m.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_output_gives_free_bytes() {
        let text = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n\
                    /dev/vda         264212084 19874968  75410920      21% /\n";
        assert_eq!(parse_df(text), Some(75_410_920 * 1024));
        assert_eq!(parse_df("df: no such file"), None);
        assert_eq!(parse_df(""), None);
    }

    #[test]
    fn pip_complaints_become_one_line_with_the_fix() {
        let check = |complaint: &str, expected: &str| {
            let line = explain(complaint, "exit status: 1").to_string();
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        };
        check(
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
            "disk filled up",
        );
        check(
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n\
             ERROR: No matching distribution found for torch==2.11.0\n",
            "cannot reach the package index",
        );
        check(
            "ERROR: No matching distribution found for torch==2.11.0\n",
            "pip found no torch 2.11.0",
        );
        check(
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))\n",
            "PIP_CERT",
        );
        check("Traceback\n  ...\nKeyError: 'x'\n\n", "(exit status: 1): KeyError: 'x'");
        check("", "it said nothing");
    }

    #[test]
    fn required_packages_are_the_linked_ones() {
        let metadata = "Name: torch\nRequires-Dist: filelock\nRequires-Dist: nvidia-cudnn-cu13==9.19.0.56; platform_system == \"Linux\"\n\
                        Requires-Dist: nvidia-x==1; extra == \"x\"\n\nRequires-Dist: nvidia-in-the-readme\n";
        assert_eq!(required_packages(metadata), ["nvidia_cudnn_cu13"]);
    }

    #[test]
    fn recorded_library_must_have_its_size() {
        let site = tempfile::tempdir().unwrap();
        std::fs::write(site.path().join("a.so.1"), "1234").unwrap();
        assert!(libraries_are_there(
            site.path(),
            "a.so.1,sha256=x,4\nREADME,,\ngone.py,sha256=x,9\n"
        ));
        assert!(!libraries_are_there(site.path(), "a.so.1,sha256=x,5\n"));
        assert!(!libraries_are_there(site.path(), "\"b.so\",sha256=x,4\n"));
    }
}
