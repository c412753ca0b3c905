//! A hash of a run's inputs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::process::replace_file;

/// Hashes, kept so that a resumed run reads a large model once.
const CACHE: &str = "model-hashes.json";

/// A file as it was when it was hashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Hashed {
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u128,
    sha256: String,
}

/// SHA-256 over the names and hashes of the files of a model. These are the files themselves, and of a
/// folder those that decide the model. `out` is the folder of the run.
pub(crate) fn of_model(places: &[PathBuf], out: Option<&Path>) -> Result<String> {
    let mut hashes = Hashes::read(out);
    hashes.add(places)?;
    hashes.finish(out)
}

/// The hash of a model's files, while a thread reads them. That thread writes nothing.
#[derive(Debug)]
pub(crate) struct Hashing {
    /// How many places the thread reads.
    started: usize,
    thread: JoinHandle<Result<Hashes>>,
}

impl Hashing {
    /// Begins with the first `places` of a model.
    pub(crate) fn start(places: Vec<PathBuf>, out: Option<&Path>) -> Self {
        let (started, out) = (places.len(), out.map(Path::to_path_buf));
        let thread = std::thread::spawn(move || {
            let mut hashes = Hashes::read(out.as_deref());
            hashes.add(&places)?;
            Ok(hashes)
        });
        Self { started, thread }
    }

    /// As [`of_model`] of all `places`, which begin with those that it was started with.
    pub(crate) fn finish(self, places: &[PathBuf], out: Option<&Path>) -> Result<String> {
        let hashes = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut hashes = hashes?;
        hashes.add(places.get(self.started..).unwrap_or_default())?;
        hashes.finish(out)
    }
}

/// Files as far as they were hashed.
struct Hashes {
    /// The cache as it was read.
    known: BTreeMap<PathBuf, Hashed>,
    hashed: BTreeMap<PathBuf, Hashed>,
    whole: Sha256,
}

impl Hashes {
    /// None yet, with the cache in the run's folder.
    fn read(out: Option<&Path>) -> Self {
        // A cache that cannot be read is no cache.
        let known = out.and_then(|out| std::fs::read(out.join(CACHE)).ok());
        let known = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let known: BTreeMap<PathBuf, Hashed> = known.unwrap_or_default();
        Self { hashed: known.clone(), known, whole: Sha256::new() }
    }

    fn add(&mut self, places: &[PathBuf]) -> Result<()> {
        for place in places {
            for file in files(place)? {
                let entry = hash(&file, self.known.get(&file))
                    .with_context(|| format!("cannot read `{}`", file.display()))?;
                self.whole.update(file.file_name().unwrap_or_default().as_encoded_bytes());
                self.whole.update(entry.sha256.as_bytes());
                self.hashed.insert(file, entry);
            }
        }
        Ok(())
    }

    /// Writes the cache if it has changed.
    fn finish(self, out: Option<&Path>) -> Result<String> {
        if let Some(out) = out.filter(|_| self.hashed != self.known) {
            let text = serde_json::to_string_pretty(&self.hashed)? + "\n";
            replace_file(&out.join(CACHE), &text)?;
        }
        Ok(HEXLOWER.encode(&self.whole.finalize()))
    }
}

/// A file, or the files of a folder that decide the model.
fn files(place: &Path) -> Result<Vec<PathBuf>> {
    if !place.is_dir() {
        return Ok(vec![place.to_path_buf()]);
    }
    let decides = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = name.rsplit('.').next().unwrap_or_default();
        let is_of_run = matches!(&*name, "optimizer.safetensors" | "trainer.json");
        path.is_file() && !is_of_run && matches!(ending, "safetensors" | "json" | "jinja" | "model")
    };
    let failed = || format!("cannot read `{}`", place.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place).with_context(failed)? {
        files.push(entry.with_context(failed)?.path());
    }
    files.retain(decides);
    files.sort();
    Ok(files)
}

fn hash(path: &Path, known: Option<&Hashed>) -> std::io::Result<Hashed> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (bytes, modified) = (metadata.len(), since.as_nanos());
    if let Some(known) = known.filter(|one| (one.bytes, one.modified) == (bytes, modified)) {
        return Ok(known.clone());
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            return Ok(Hashed { bytes, modified, sha256: HEXLOWER.encode(&hasher.finalize()) });
        }
        hasher.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_follows_the_weights_and_not_the_state_of_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let (model, out) = (folder.path().join("model"), folder.path().join("out"));
        std::fs::create_dir(&model).unwrap();
        std::fs::create_dir(&out).unwrap();
        let write = |name: &str, text: &str| std::fs::write(model.join(name), text).unwrap();
        write("model.safetensors", "weights");
        write("config.json", "{}");
        let first = of_model(std::slice::from_ref(&model), Some(&out)).unwrap();
        // By Python's hashlib, over `config.json` with its hash and `model.safetensors` with its.
        assert_eq!(first, "85790fdf8492544acb53a2ae0db49742d819c0aed515551fe85e798ff14226ba");
        write("optimizer.safetensors", "moments");
        assert_eq!(
            of_model(std::slice::from_ref(&model), Some(&out)).unwrap(),
            first,
            "moments are no weights"
        );
        let cached = std::fs::read_to_string(out.join(CACHE)).unwrap();
        assert_eq!(cached.matches("sha256").count(), 2);
        write("model.safetensors", "weightz");
        assert_ne!(of_model(&[model], Some(&out)).unwrap(), first);
    }

    #[test]
    fn a_hash_from_a_thread_is_the_same_and_only_its_end_writes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let places = [write("adapter.safetensors"), write("base.safetensors")];
        let (out, cache) = (folder.path(), folder.path().join(CACHE));
        let expected = of_model(&places, None).unwrap();
        for started in 0..=2 {
            let hashing = Hashing::start(places[..started].to_vec(), Some(out));
            while !hashing.thread.is_finished() {
                std::thread::yield_now();
            }
            assert!(!cache.exists());
            assert_eq!(hashing.finish(&places, Some(out)).unwrap(), expected, "{started}");
            assert_eq!(std::fs::read_to_string(&cache).unwrap().matches("sha256").count(), 2);
            std::fs::remove_file(&cache).unwrap();
        }
        let missing = folder.path().join("missing.gguf");
        let hashing = Hashing::start(vec![missing.clone()], Some(out));
        let error = hashing.finish(&[missing], Some(out)).unwrap_err();
        assert!(format!("{error:#}").contains("missing.gguf"), "{error:#}");
        assert!(!cache.exists());
    }

    #[test]
    fn the_cache_is_used_while_size_and_time_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        std::fs::write(&file, "weights").unwrap();
        let first = of_model(std::slice::from_ref(&file), Some(folder.path())).unwrap();
        let cache = folder.path().join(CACHE);
        let faked = std::fs::read_to_string(&cache).unwrap();
        let sha = faked.split("\"sha256\": \"").nth(1).unwrap()[..64].to_owned();
        std::fs::write(&cache, faked.replace(&sha, &"0".repeat(64))).unwrap();
        assert_ne!(of_model(&[file], Some(folder.path())).unwrap(), first, "it was not read again");
    }
}
