//! The client against a server on this machine that speaks the routes of the Hub.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::HEXLOWER;
use hint_policy::{LoadOptions, LoadedModel};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Hub, HubError, HubName, HubSettings, Kind};
use crate::tiny::tiny_model;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_test";

/// Faults of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Answers every request with a status.
    Status(u16),
    /// Lists the repository, and answers requests for files with a status.
    Gated(u16),
    /// Closes so many transfers of large files halfway.
    Breaks(usize),
    /// As well, and sends the whole file where the rest is asked for.
    IgnoresRanges(usize),
    /// Sends other bytes than it announces.
    Damages,
    /// Is busy at first.
    Busy(usize),
}

#[derive(Debug)]
struct State {
    trouble: Trouble,
    /// `METHOD PATH`, the range and the authorization of each request.
    requests: Vec<(String, String, String)>,
}

/// A server with one repository, `org/name`, whose files of more than 1,000 bytes are large ones.
struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn new(files: Vec<(String, Vec<u8>)>, trouble: Trouble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { trouble, requests: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that goes away is its own business.
                let _ = answer(stream, port, &files, &shared);
            }
        });
        Self { address: format!("http://127.0.0.1:{port}"), state }
    }

    fn hub(&self, cache: &Path) -> HubSettings {
        HubSettings {
            endpoint: self.address.clone(),
            cache: cache.to_owned(),
            token: None,
            offline: false,
            backoff: Duration::ZERO,
        }
    }

    fn set(&self, trouble: Trouble) {
        self.state.lock().unwrap().trouble = trouble;
    }

    /// The requests since the last call.
    fn requests(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

impl State {
    /// Whether there is trouble left, of which one is used up.
    fn uses_up(&mut self) -> bool {
        let (Trouble::Breaks(count) | Trouble::IgnoresRanges(count) | Trouble::Busy(count)) =
            &mut self.trouble
        else {
            return false;
        };
        let is_left = *count > 0;
        *count = count.saturating_sub(1);
        is_left
    }
}

fn answer(
    mut stream: TcpStream,
    port: u16,
    files: &[(String, Vec<u8>)],
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let (mut range, mut authorization) = (String::new(), String::new());
    for line in lines {
        let line = line?;
        match line.to_lowercase().split_once(": ") {
            Some(("range", value)) => value.clone_into(&mut range),
            Some(("authorization", _)) => line[15..].clone_into(&mut authorization),
            Some(_) => {}
            None => break,
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut state = state.lock().unwrap();
    state.requests.push((path.clone(), range.clone(), authorization));
    let mut send = |status: u16, headers: &str, body: &[u8], sent: usize| {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body[..sent.min(length)])
    };
    let is_file = !path.starts_with("/api/");
    let refusal = match state.trouble {
        Trouble::Status(status) => Some(status),
        Trouble::Gated(status) if is_file => Some(status),
        Trouble::Busy(_) => state.uses_up().then_some(503),
        _ => None,
    };
    if let Some(status) = refusal {
        return send(status, "", b"{\"error\": \"no\"}", usize::MAX);
    }
    if !is_file {
        let (route, revision) = path.split_once("/revision/").unwrap_or_default();
        let revision = revision.trim_end_matches("?blobs=true");
        if !route.ends_with("s/org/name") || !["main", "v1", COMMIT].contains(&revision) {
            return send(404, "", b"{}", usize::MAX);
        }
        let siblings = files.iter().map(|(name, bytes)| {
            let hash = sha256(bytes);
            let lfs = (bytes.len() > 1000).then(|| json!({"sha256": hash, "size": bytes.len()}));
            json!({"rfilename": name, "size": bytes.len(), "blobId": hash[..40], "lfs": lfs})
        });
        let listing = json!({"sha": COMMIT, "siblings": siblings.collect::<Vec<_>>()});
        return send(200, "", listing.to_string().as_bytes(), usize::MAX);
    }
    let is_content = path.starts_with("/cdn/");
    let name =
        path.split_once(if is_content { "/cdn/" } else { COMMIT }).map_or("", |(_, name)| name);
    let found = files.iter().find(|(file, _)| *file == name.trim_start_matches('/'));
    let Some((_, bytes)) = found else { return send(404, "", b"", usize::MAX) };
    let hash = sha256(bytes);
    let is_large = bytes.len() > 1000;
    let commit = format!("X-Repo-Commit: {COMMIT}\r\n");
    if is_large && !is_content {
        // Another host by name.
        let headers = format!(
            "{commit}X-Linked-Etag: \"{hash}\"\r\nLocation: http://localhost:{port}/cdn/{}\r\n",
            name.trim_start_matches('/')
        );
        return send(302, &headers, b"", 0);
    }
    let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap_or(("0", ""));
    let start = start.parse::<usize>().unwrap_or(0);
    let end = end.parse::<usize>().map_or(bytes.len(), |end| end + 1);
    let is_whole = end == bytes.len();
    let (mut body, mut sent) = (bytes.clone(), usize::MAX);
    let mut status = 206;
    match state.trouble {
        Trouble::Breaks(_) if is_content && is_whole => {
            sent = if state.uses_up() { bytes.len() / 2 } else { usize::MAX };
        }
        Trouble::IgnoresRanges(_) if is_content && is_whole => {
            status = 200;
            sent = if state.uses_up() { bytes.len() / 2 } else { usize::MAX };
        }
        Trouble::Damages => body[0] ^= 1,
        _ => {}
    }
    if status == 206 && start >= bytes.len() {
        return send(416, "", b"", 0);
    }
    let part = if status == 206 { &body[start..end] } else { &body[..] };
    let sent = sent.saturating_sub(if status == 206 { start } else { 0 });
    let headers = format!(
        "{commit}ETag: \"{}\"\r\nContent-Range: bytes {start}-{}/{}\r\n",
        &hash[..if is_large { 64 } else { 40 }],
        end - 1,
        bytes.len()
    );
    send(status, &headers, part, sent)
}

fn name(text: &str) -> HubName {
    HubName::parse(text).unwrap()
}

/// Fetches, and returns the notes as well.
fn fetch(
    settings: HubSettings,
    kind: Kind,
    text: &str,
) -> (Result<super::Fetched, HubError>, Vec<String>) {
    let mut said = Vec::new();
    let hub = Hub::new(settings).unwrap();
    let fetched = hub.fetch(kind, &name(text), &mut |line| said.push(line.to_owned()));
    (fetched, said)
}

/// The files of the embedded model, and some that nobody reads.
fn tiny_files() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("README.md".to_owned(), b"a model".to_vec()),
        ("pytorch_model.bin".to_owned(), vec![7; 2000]),
    ];
    for entry in std::fs::read_dir(tiny_model()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        files.push((name, std::fs::read(path).unwrap()));
    }
    files
}

fn weights() -> Vec<u8> {
    (0..20_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// A model of which only the weights matter.
fn some_files() -> Vec<(String, Vec<u8>)> {
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    vec![
        file("config.json", b"{}"),
        file("tokenizer.json", b"{}"),
        file("model.safetensors", &weights()),
    ]
}

#[test]
fn a_model_is_fetched_once_and_loads() {
    let server = Server::new(tiny_files(), Trouble::None);
    let cache = tempfile::tempdir().unwrap();
    let settings = HubSettings { token: Some(TOKEN.to_owned()), ..server.hub(cache.path()) };
    let (fetched, said) = fetch(settings.clone(), Kind::Model, "org/name");
    let fetched = fetched.unwrap();
    assert_eq!(fetched.commit, COMMIT);
    LoadedModel::load(&fetched.path, &LoadOptions::default()).unwrap();
    assert_eq!(said.last().unwrap(), "fetching model.safetensors of org/name, 1.32 MiB");
    let requests = server.requests();
    assert!(!requests.iter().any(|(path, ..)| path.contains("README") || path.contains("pytorch")));
    for (path, range, authorization) in &requests {
        // Another host gets the token with the question for the size alone, which is hf-hub's doing.
        let has_none = path.starts_with("/cdn/") && range != "bytes=0-0";
        assert_eq!(authorization, if has_none { "" } else { "Bearer hf_test" }, "{path}");
    }

    // A branch is looked up, a commit is not; and without the Hub, both are what was last seen.
    let again = fetch(settings.clone(), Kind::Model, "org/name").0.unwrap();
    assert_eq!((again, server.requests().len()), (fetched.clone(), 1));
    let pinned = Hub::new(settings.clone()).unwrap();
    let pinned = pinned.pin(Kind::Model, &name("org/name@v1"), &mut |_| {}).unwrap();
    assert_eq!((pinned.to_string(), server.requests().len()), (format!("org/name@{COMMIT}"), 1));
    let again = fetch(settings.clone(), Kind::Model, &pinned.to_string()).0.unwrap();
    assert_eq!((again, server.requests().len()), (fetched.clone(), 0));
    let offline = HubSettings { offline: true, ..settings.clone() };
    let away = HubSettings { endpoint: "http://127.0.0.1:1".to_owned(), ..settings };
    let (again, said) = fetch(away, Kind::Model, "org/name");
    assert_eq!(again.unwrap(), fetched);
    assert!(
        said[0].contains("taking commit 0123456789") && said[0].contains("cannot take"),
        "{said:?}"
    );
    assert_eq!(fetch(offline.clone(), Kind::Model, "org/name").0.unwrap(), fetched);
    assert_eq!(server.requests().len(), 0);
    // What other programs see: a reference by the name of the branch.
    let refs = cache.path().join("models--org--name/refs");
    assert_eq!(std::fs::read_to_string(refs.join("main")).unwrap(), COMMIT);
    assert_eq!(std::fs::read_dir(refs).unwrap().count(), 1);
    let error = fetch(offline, Kind::Model, "org/other").0.unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("lacks the repository"), "{error}");
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let server = Server::new(some_files(), Trouble::Breaks(1));
    let cache = tempfile::tempdir().unwrap();
    let fetched = fetch(server.hub(cache.path()), Kind::Model, "org/name").0.unwrap();
    let ranges = |requests: Vec<(String, String, String)>| {
        let of_weights = requests.into_iter().filter(|(path, ..)| path.starts_with("/cdn/"));
        of_weights
            .map(|(_, range, _)| range)
            .filter(|range| range != "bytes=0-0")
            .collect::<Vec<_>>()
    };
    assert_eq!(ranges(server.requests()), ["bytes=0-", "bytes=40000-"]);
    assert_eq!(std::fs::read(fetched.path.join("model.safetensors")).unwrap(), weights());

    // In another process.
    let cache = tempfile::tempdir().unwrap();
    server.set(Trouble::Breaks(usize::MAX));
    let error = fetch(server.hub(cache.path()), Kind::Model, "org/name").0.unwrap_err().to_string();
    assert!(error.contains("`model.safetensors`") && error.contains("HTTPS_PROXY"), "{error}");
    server.requests();
    server.set(Trouble::None);
    fetch(server.hub(cache.path()), Kind::Model, "org/name").0.unwrap();
    assert_eq!(ranges(server.requests()), ["bytes=40000-"]);
}

#[test]
fn a_file_is_what_was_announced_or_not_there() {
    // The rest of the file is asked for, and the whole comes.
    let server = Server::new(some_files(), Trouble::IgnoresRanges(1));
    let cache = tempfile::tempdir().unwrap();
    let fetched = fetch(server.hub(cache.path()), Kind::Model, "org/name").0.unwrap();
    assert_eq!(std::fs::read(fetched.path.join("model.safetensors")).unwrap(), weights());

    let cache = tempfile::tempdir().unwrap();
    server.set(Trouble::Damages);
    let files = |folder: &str| {
        let folder = cache.path().join("models--org--name").join(folder);
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    };
    let error = fetch(server.hub(cache.path()), Kind::Model, "org/name").0.unwrap_err();
    assert!(
        matches!(&error, HubError::Damaged { reason, .. } if reason.contains("SHA-256")),
        "{error}"
    );
    assert_eq!(files(&format!("snapshots/{COMMIT}")), 2, "the small files have no hash");
    server.set(Trouble::None);
    fetch(server.hub(cache.path()), Kind::Model, "org/name").0.unwrap();
}

#[test]
fn a_part_that_is_the_whole_is_fetched_again() {
    let server = Server::new(some_files(), Trouble::None);
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join("models--org--name/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    for length in [80_000, 80_001] {
        let part = blobs.join(sha256(&weights())).with_extension("part");
        std::fs::write(part, vec![0; length]).unwrap();
        let fetched = fetch(server.hub(cache.path()), Kind::Model, "org/name").0.unwrap();
        let file = fetched.path.join("model.safetensors");
        assert_eq!(std::fs::read(&file).unwrap(), weights());
        super::cache::remove(&file);
    }
}

#[test]
fn refusals_say_what_to_do() {
    let server = Server::new(some_files(), Trouble::None);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.hub(cache.path());
    let error = |settings: &HubSettings, kind, text: &str| {
        fetch(settings.clone(), kind, text).0.unwrap_err().to_string()
    };
    let with_token = HubSettings { token: Some(TOKEN.to_owned()), ..settings.clone() };
    let missing = error(&settings, Kind::Model, "org/absent");
    assert!(missing.contains("shows no model `org/absent`"), "{missing}");
    assert!(
        missing.contains(&format!("{}/org/absent", server.address)) && missing.contains("HF_TOKEN")
    );
    assert_eq!(
        error(&settings, Kind::Model, "org/name@v2"),
        "`org/name` has no branch, tag or commit `v2`"
    );
    let part = error(&settings, Kind::Model, "org/name:sub");
    assert!(
        part.contains("no `sub/config.json`") && part.contains("`model.safetensors`"),
        "{part}"
    );
    let data = error(&settings, Kind::Problems, "org/name");
    assert!(data.contains("no data set"), "{data}");

    // The Hub hides what does not exist and what is private behind the same status.
    server.set(Trouble::Status(401));
    assert!(error(&settings, Kind::Problems, "org/name").contains("shows no data set `org/name`"));
    let denied = error(&with_token, Kind::Problems, "org/name");
    assert!(denied.contains("(status 401)") && denied.contains("/datasets/org/name"), "{denied}");
    assert!(!denied.contains(TOKEN));
    server.set(Trouble::Gated(403));
    let gated = error(&with_token, Kind::Model, "org/name");
    assert!(gated.contains("accept its conditions") && gated.contains("(status 403)"), "{gated}");
    server.set(Trouble::Gated(404));
    assert!(error(&settings, Kind::Model, "org/name").contains("`config.json`"));
    server.set(Trouble::Status(500));
    assert!(error(&settings, Kind::Model, "org/name").contains("500"));
    server.requests();
    server.set(Trouble::Busy(3));
    fetch(settings.clone(), Kind::Model, "org/name").0.unwrap();
    let away = HubSettings { endpoint: "http://127.0.0.1:1".to_owned(), ..settings };
    let unreachable = error(&away, Kind::Model, "org/other");
    assert!(unreachable.contains("cannot take `org/other`"), "{unreachable}");
}

#[test]
fn problems_are_one_file_or_a_folder_of_shards() {
    let rows = |from: usize| {
        let row = |id: usize| {
            format!("{{\"id\":\"{id}\",\"question\":\"{id} + 1?\",\"answer\":\"{}\"}}\n", id + 1)
        };
        (from..from + 40).map(row).collect::<String>().into_bytes()
    };
    let files = vec![
        ("README.md".to_owned(), b"problems".to_vec()),
        ("data/train-00000-of-00002.jsonl".to_owned(), rows(0)),
        ("data/train-00001-of-00002.jsonl".to_owned(), rows(40)),
        ("data/test.jsonl".to_owned(), rows(80)),
    ];
    let server = Server::new(files, Trouble::None);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.hub(cache.path());
    let ids = |path: &PathBuf| {
        let problems = hint_rollout::read_problems(path).unwrap();
        problems.into_iter().map(|problem| problem.id.parse::<usize>().unwrap()).collect::<Vec<_>>()
    };
    let test = fetch(settings.clone(), Kind::Problems, "org/name:test").0.unwrap();
    assert_eq!(ids(&test.path), (80..120).collect::<Vec<_>>());
    assert!(!server.requests().iter().any(|(path, ..)| path.contains("train")));
    let offline = HubSettings { offline: true, ..settings.clone() };
    let error = fetch(offline.clone(), Kind::Problems, "org/name").0.unwrap_err().to_string();
    assert!(error.contains("lacks `data/train-00000-of-00002.jsonl`"), "{error}");
    let pinned = Hub::new(settings.clone()).unwrap();
    let pinned = pinned.pin(Kind::Problems, &name("org/name"), &mut |_| {}).unwrap();
    assert_eq!(pinned.to_string(), format!("org/name@{COMMIT}:train"));
    let train = fetch(settings, Kind::Problems, "org/name").0.unwrap();
    assert_eq!(ids(&train.path), (0..80).collect::<Vec<_>>());
    let again = fetch(offline.clone(), Kind::Problems, "org/name@main:train").0.unwrap();
    assert_eq!(ids(&again.path), (0..80).collect::<Vec<_>>());
    // No file may be missing, also where another program filled the cache and names have numbers.
    super::cache::remove(&train.files[1]);
    let error = fetch(offline.clone(), Kind::Problems, "org/name").0.unwrap_err().to_string();
    assert!(error.contains("lacks `data/train-00001-of-00002.jsonl`"), "{error}");
    let listing = format!("datasets--org--name/hint-rl/{COMMIT}.json");
    std::fs::remove_file(cache.path().join(listing)).unwrap();
    let error = fetch(offline, Kind::Problems, "org/name").0.unwrap_err().to_string();
    assert!(error.contains("only 1 of its 2 files"), "{error}");
}

#[test]
fn a_broken_download_of_shards_without_numbers_is_not_taken_for_the_whole() {
    let row = b"{\"id\":\"0\",\"question\":\"?\",\"answer\":\"1\"}\n".to_vec();
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let files = vec![file("a.jsonl", &row), file("b.jsonl", &weights())];
    let server = Server::new(files, Trouble::Breaks(usize::MAX));
    let cache = tempfile::tempdir().unwrap();
    let settings = server.hub(cache.path());
    assert!(fetch(settings.clone(), Kind::Problems, "org/name").0.is_err(), "`b.jsonl` breaks");
    let offline = HubSettings { offline: true, ..settings };
    let pinned = format!("org/name@{COMMIT}");
    let error = fetch(offline, Kind::Problems, &pinned).0.unwrap_err().to_string();
    assert!(error.contains("lacks `b.jsonl`"), "{error}");
}
