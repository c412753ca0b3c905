//! The client of the Hub: lists a repository, and brings the files that are wanted into the cache.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::cache::{self, FileInfo};
use super::select::{ModelFiles, ProblemFiles, indexed, model_files, problem_files};
use super::{Fetched, HubError, HubName, HubSettings, Kind};

/// Requests that are made at most, the first included, as long as nothing comes.
const ATTEMPTS: u32 = 5;
/// Most bytes of a list of files.
const LONGEST_LIST: u64 = 256 << 20;

/// The Hugging Face Hub, and its cache on this machine.
#[derive(Debug, Clone)]
pub struct Hub {
    api: NotShown<Api>,
    cache: Cache,
    settings: HubSettings,
}

/// Something that holds a token.
#[derive(Clone)]
struct NotShown<T>(T);

impl<T> std::fmt::Debug for NotShown<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// The files of a repository at a commit.
#[derive(Debug)]
struct Contents {
    commit: String,
    files: Vec<(String, FileInfo)>,
    /// Whether only the files in the cache are available.
    is_cached: bool,
    /// Whether they are all files of the commit; else another program left them in the cache.
    is_whole: bool,
}

/// The Hub's answer about a repository.
#[derive(Debug, Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

impl Kind {
    const fn repo_type(self) -> RepoType {
        match self {
            Self::Model => RepoType::Model,
            Self::Problems => RepoType::Dataset,
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Problems => "data set",
        }
    }
}

impl Hub {
    /// A client of the Hub with these `settings`.
    ///
    /// # Errors
    ///
    /// [`HubError::Unreachable`] if no client can be made.
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        let cache = Cache::new(settings.cache.clone());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(settings.endpoint.clone())
            .with_token(settings.token.clone())
            // Its own retries append to what is there from the wrong place.
            .with_retries(0)
            .with_progress(false)
            .with_user_agent(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| HubError::Unreachable {
                name: "the Hub".to_owned(),
                endpoint: settings.endpoint.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self { api: NotShown(api), cache, settings })
    }

    /// `name` at the commit that its revision stands for now, or in the cache when the Hub is not asked. Problems
    /// get the part that is taken by default.
    ///
    /// # Errors
    ///
    /// As [`Hub::fetch`].
    pub fn pin(
        &self,
        kind: Kind,
        name: &HubName,
        notice: &mut dyn FnMut(&str),
    ) -> Result<HubName, HubError> {
        if name.is_pinned() && (kind == Kind::Model || name.part().is_some()) {
            return Ok(name.clone());
        }
        let contents = self.contents(kind, name, notice)?;
        let pinned = name.at(&contents.commit);
        match (kind, name.part()) {
            (Kind::Problems, None) => {
                let part =
                    contents.problems(None).map_err(|reason| unfit(kind, name, reason))?.part;
                Ok(pinned.with_part(&part))
            }
            _ => Ok(pinned),
        }
    }

    /// Brings the files of `name` that are read into the cache. `notice` gets a line for each that is
    /// downloaded.
    ///
    /// # Errors
    ///
    /// A repository that is not there or not shown, or that holds nothing of this kind. A network or a disk
    /// that fails. Each is a [`HubError`] with its remedy.
    pub fn fetch(
        &self,
        kind: Kind,
        name: &HubName,
        notice: &mut dyn FnMut(&str),
    ) -> Result<Fetched, HubError> {
        // A commit stands for the same files for ever. Of a model it is known which belong to it.
        if kind == Kind::Model
            && name.is_pinned()
            && let Some(contents) = self.cached(kind, name)
            && let Ok(fetched) = self.fetch_of(kind, name, &contents, notice)
            && (fetched.path.is_file() || fetched.files.iter().any(|file| is_last(file)))
        {
            return Ok(fetched);
        }
        let contents = self.contents(kind, name, notice)?;
        if !contents.is_cached {
            let repo = repo(kind, name, &contents.commit);
            cache::keep_listing(&self.cache, &repo, &contents.commit, &contents.names());
        }
        let fetched = self.fetch_of(kind, name, &contents, notice)?;
        if !contents.is_cached {
            self.remember(kind, name, &contents.commit)?;
        }
        Ok(fetched)
    }

    fn fetch_of(
        &self,
        kind: Kind,
        name: &HubName,
        contents: &Contents,
        notice: &mut dyn FnMut(&str),
    ) -> Result<Fetched, HubError> {
        let repo = repo(kind, name, &contents.commit);
        let snapshot = self.cache.repo(repo.clone()).pointer_path(&contents.commit);
        let unfit = |reason| unfit(kind, name, reason);
        let mut bring = |files: &[String]| {
            let file = |file: &String| self.file(kind, name, &repo, contents, file, &mut *notice);
            files.iter().map(file).collect::<Result<Vec<_>, _>>()
        };
        let part = name.part();
        let (path, files) = match kind {
            Kind::Model => {
                match model_files(&contents.names(), part, contents.is_whole).map_err(unfit)? {
                    ModelFiles::Gguf(file) => {
                        let files = bring(&[file])?;
                        (files[0].clone(), files)
                    }
                    ModelFiles::Folder { folder, files } => {
                        (inside(&snapshot, &folder), bring(&files)?)
                    }
                    ModelFiles::Indexed { folder, mut files, index } => {
                        files.push(index);
                        let mut brought = bring(&files)?;
                        let path = brought[brought.len() - 1].clone();
                        let index = std::fs::read(&path)
                            .map_err(|source| HubError::Cache { path, source })?;
                        brought.extend(bring(&indexed(&index, &folder).map_err(unfit)?)?);
                        (inside(&snapshot, &folder), brought)
                    }
                }
            }
            Kind::Problems => {
                let files = bring(&contents.problems(part).map_err(unfit)?.files)?;
                if let [one] = files.as_slice() {
                    (one.clone(), files)
                } else {
                    let part = part.unwrap_or("default").replace('/', "--");
                    let root = cache::folder(&self.cache, &repo).join("hint-rl");
                    let root = root.join(&contents.commit).join(part);
                    cache::folder_of(&root, &snapshot, &files)?;
                    (root, files)
                }
            }
        };
        Ok(Fetched { commit: contents.commit.clone(), path, files })
    }

    /// The files of a repository: as the Hub lists them, or those in the cache if it is not asked or
    /// unreachable.
    fn contents(
        &self,
        kind: Kind,
        name: &HubName,
        notice: &mut dyn FnMut(&str),
    ) -> Result<Contents, HubError> {
        if self.settings.offline {
            return self.cached(kind, name).ok_or_else(|| self.offline(name, "the repository"));
        }
        match self.listing(kind, name) {
            Ok(listing) => Ok(listing.into()),
            Err(error @ HubError::Unreachable { .. }) => {
                let Some(contents) = self.cached(kind, name) else { return Err(error) };
                notice(&format!("{error}; taking commit {} from the cache", contents.commit));
                Ok(contents)
            }
            Err(error) => Err(error),
        }
    }

    fn cached(&self, kind: Kind, name: &HubName) -> Option<Contents> {
        let repo = repo(kind, name, name.revision());
        let (commit, found) = cache::snapshot(&self.cache, &repo, name)?;
        let listing = cache::listing(&self.cache, &repo, &commit);
        let is_whole = listing.is_some();
        let files =
            listing.unwrap_or(found).into_iter().map(|file| (file, FileInfo::default())).collect();
        Some(Contents { commit, files, is_cached: true, is_whole })
    }

    fn listing(&self, kind: Kind, name: &HubName) -> Result<Listing, HubError> {
        let repo = self.api.0.repo(repo(kind, name, name.revision()));
        let mut attempt = 1;
        loop {
            // With the size and hash of each file.
            let answer = repo.info_request().query("blobs", "true").call();
            let answer = answer.and_then(|mut response| {
                response.body_mut().with_config().limit(LONGEST_LIST).read_json::<Listing>()
            });
            match answer {
                Ok(listing) if cache::is_inside(&listing.sha) => return Ok(listing),
                Ok(_) => return Err(self.unreachable(name, "its commit has no name".to_owned())),
                Err(ureq::Error::StatusCode(status @ (401 | 403 | 404))) => {
                    return Err(self.refused(kind, name, status));
                }
                Err(ureq::Error::StatusCode(429 | 500..=599)) if attempt < ATTEMPTS => {
                    self.pause(attempt);
                    attempt += 1;
                }
                Err(error) => return Err(self.unreachable(name, error.to_string())),
            }
        }
    }

    /// A file of a repository in the cache, downloaded if need be.
    fn file(
        &self,
        kind: Kind,
        name: &HubName,
        repo: &Repo,
        contents: &Contents,
        file: &str,
        notice: &mut dyn FnMut(&str),
    ) -> Result<PathBuf, HubError> {
        let in_cache = self.cache.repo(repo.clone());
        let place = in_cache.pointer_path(&contents.commit).join(file);
        if place.exists() {
            return Ok(place);
        }
        if contents.is_cached {
            return Err(self.offline(name, &format!("`{file}`")));
        }
        let info = contents.files.iter().find(|(name, _)| name == file);
        let Some((_, info)) = info else {
            let reason = format!("it names `{file}`, which it does not hold");
            return Err(unfit(kind, name, reason));
        };
        let size = info.bytes.map_or_else(String::new, |bytes| format!(", {}", HumanBytes(bytes)));
        notice(&format!("fetching {file} of {}{size}", name.repo()));
        let part = info.etag.as_deref().map(|etag| in_cache.blob_path(etag).with_extension("part"));
        let download = Download {
            hub: self,
            kind,
            name,
            file,
            info,
            place,
            part,
            attempt: 1,
            has_waited: false,
            is_fresh: false,
        };
        download.run(&self.api.0.repo(repo.clone()), notice)
    }

    /// Keeps the commit of a branch or tag, as other programs do, for times without a network.
    fn remember(&self, kind: Kind, name: &HubName, commit: &str) -> Result<(), HubError> {
        let refs = cache::folder(&self.cache, &repo(kind, name, commit)).join("refs");
        if name.is_pinned() {
            return Ok(());
        }
        // The client keeps a reference by the name of the commit to itself.
        let _ = std::fs::remove_file(refs.join(commit));
        let kept = self.cache.repo(repo(kind, name, name.revision())).create_ref(commit);
        kept.map_err(|source| HubError::Cache { path: refs.join(name.revision()), source })
    }

    fn pause(&self, attempt: u32) {
        std::thread::sleep(self.settings.backoff * 2_u32.pow(attempt.saturating_sub(1).min(5)));
    }

    /// The error for a repository that is not shown.
    fn refused(&self, kind: Kind, name: &HubName, status: u16) -> HubError {
        if status == 403 || (status == 401 && self.settings.token.is_some()) {
            return self.denied(kind, name, status);
        }
        let main = repo(kind, name, "main");
        if name.revision() != "main" && self.api.0.repo(main).info().is_ok() {
            let (repo, revision) = (name.repo().to_owned(), name.revision().to_owned());
            return HubError::Revision { repo, revision };
        }
        HubError::NotFound {
            name: name.to_string(),
            kind: kind.noun(),
            repo: name.repo().to_owned(),
            endpoint: self.settings.endpoint.clone(),
            page: self.page(kind, name),
        }
    }

    fn denied(&self, kind: Kind, name: &HubName, status: u16) -> HubError {
        HubError::Denied {
            kind: kind.noun(),
            repo: name.repo().to_owned(),
            endpoint: self.settings.endpoint.clone(),
            page: self.page(kind, name),
            status,
        }
    }

    fn page(&self, kind: Kind, name: &HubName) -> String {
        format!("{}/{}", self.settings.endpoint, repo(kind, name, "main").url())
    }

    fn unreachable(&self, name: &HubName, reason: String) -> HubError {
        let endpoint = self.settings.endpoint.clone();
        HubError::Unreachable { name: name.to_string(), endpoint, reason }
    }

    fn offline(&self, name: &HubName, missing: &str) -> HubError {
        HubError::Offline {
            name: name.to_string(),
            missing: format!("it lacks {missing}"),
            cache: self.settings.cache.clone(),
        }
    }
}

impl Contents {
    fn names(&self) -> Vec<String> {
        self.files.iter().map(|(name, _)| name.clone()).collect()
    }

    fn problems(&self, part: Option<&str>) -> Result<ProblemFiles, String> {
        problem_files(&self.names(), part, self.is_whole)
    }
}

/// A file on its way into the cache.
struct Download<'a> {
    hub: &'a Hub,
    kind: Kind,
    name: &'a HubName,
    file: &'a str,
    info: &'a FileInfo,
    /// Where it will be, and where the part is that has arrived.
    place: PathBuf,
    part: Option<PathBuf>,
    /// Number of the attempt, among those in which nothing arrived.
    attempt: u32,
    /// Whether it has waited for another process.
    has_waited: bool,
    /// Whether it began again from nothing.
    is_fresh: bool,
}

impl Download<'_> {
    fn run(mut self, api: &ApiRepo, notice: &mut dyn FnMut(&str)) -> Result<PathBuf, HubError> {
        loop {
            let bar = Bar::new();
            let received = Arc::clone(&bar.received);
            match api.download_with_progress(self.file, bar) {
                Ok(path) => {
                    let Err(reason) = cache::check(&path, self.info) else { return Ok(path) };
                    cache::remove(&path);
                    if std::mem::replace(&mut self.is_fresh, true) {
                        let (repo, file) = (self.name.repo().to_owned(), self.file.to_owned());
                        return Err(HubError::Damaged { repo, file, reason });
                    }
                }
                // After some seconds each time.
                Err(ApiError::LockAcquisition(lock)) => {
                    if self.place.exists() {
                        return Ok(self.place);
                    }
                    self.wait_for(lock, notice)?;
                }
                Err(ApiError::IoError(source)) if is_refused(&source) => {
                    return Err(HubError::Cache { path: self.place, source });
                }
                Err(error) => self.recover(&error, received.load(Ordering::Relaxed) > 0)?,
            }
        }
    }

    /// Says once that another process has the lock.
    fn wait_for(&mut self, lock: PathBuf, notice: &mut dyn FnMut(&str)) -> Result<(), HubError> {
        if std::mem::replace(&mut self.has_waited, true) {
            return Ok(());
        }
        // A file system without locks refuses every one, whoever has it.
        let tried = File::open(&lock).map(|file| file.try_lock());
        if let Ok(Err(TryLockError::Error(source))) = tried {
            return Err(HubError::Cache { path: lock, source });
        }
        notice(&format!("waiting for another process that fetches {}", self.file));
        Ok(())
    }

    /// Prepares another attempt, unless none can help.
    fn recover(&mut self, error: &ApiError, has_arrived: bool) -> Result<(), HubError> {
        let status = status(error);
        if let Some(status @ (401 | 403)) = status {
            return Err(self.hub.denied(self.kind, self.name, status));
        }
        // The part that is there is the whole, or longer.
        let is_full = status == Some(416) || matches!(error, ApiError::InvalidResume);
        if is_full
            && !self.is_fresh
            && let Some(part) = &self.part
        {
            let _ = std::fs::remove_file(part);
            self.is_fresh = true;
            return Ok(());
        }
        let is_transient = matches!(status, None | Some(408 | 429 | 500..=599));
        // As long as data arrive, it continues.
        if has_arrived {
            self.attempt = 1;
        }
        if !is_transient || self.attempt >= ATTEMPTS {
            return Err(self.hub.unreachable(self.name, format!("`{}`: {error}", self.file)));
        }
        self.hub.pause(self.attempt);
        self.attempt += 1;
        Ok(())
    }
}

/// Whether the file system refuses, now and later.
fn is_refused(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
    )
}

/// A repository at a revision.
fn repo(kind: Kind, name: &HubName, revision: &str) -> Repo {
    Repo::with_revision(name.repo().to_owned(), kind.repo_type(), revision.to_owned())
}

/// The error for a repository that holds something else.
fn unfit(kind: Kind, name: &HubName, reason: String) -> HubError {
    HubError::Content { name: name.to_string(), kind: kind.noun(), reason }
}

impl From<Listing> for Contents {
    fn from(listing: Listing) -> Self {
        let files = listing.siblings.into_iter().map(|sibling| {
            let sha256 = sibling.lfs.and_then(|lfs| lfs.sha256);
            let etag = sha256.clone().or(sibling.blob_id);
            (sibling.rfilename, FileInfo { bytes: sibling.size, sha256, etag })
        });
        let files = files.filter(|(name, _)| cache::is_inside(name)).collect();
        Self { commit: listing.sha, files, is_cached: false, is_whole: true }
    }
}

/// Whether a cache that another program filled has a model's tokenizer as well, or needs none.
fn is_last(file: &Path) -> bool {
    file.ends_with("tokenizer.json") || file.ends_with("adapter_config.json")
}

/// A folder below another; that one itself if it has no name.
fn inside(snapshot: &Path, folder: &str) -> PathBuf {
    snapshot.join(folder).components().collect()
}

/// The status of an answer that was an error.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    }
}

/// Shows how far a download has come, on a terminal.
struct Bar {
    shown: ProgressBar,
    has_begun: bool,
    /// Bytes that came, without the bytes that were there.
    received: Arc<AtomicU64>,
}

impl Bar {
    fn new() -> Self {
        let is_shown = std::io::stderr().is_terminal();
        let bar = if is_shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = "{bar:28} {bytes:>9}/{total_bytes} {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { shown: bar, has_begun: false, received: Arc::default() }
    }
}

impl Progress for Bar {
    fn init(&mut self, size: usize, _filename: &str) {
        self.shown.set_length(size as u64);
        self.shown.set_position(0);
        self.has_begun = false;
    }

    fn update(&mut self, size: usize) {
        self.shown.inc(size as u64);
        // The first number is that of the bytes that were there.
        if std::mem::replace(&mut self.has_begun, true) {
            self.received.fetch_add(size as u64, Ordering::Relaxed);
        }
    }

    fn finish(&mut self) {
        self.shown.finish_and_clear();
    }
}
