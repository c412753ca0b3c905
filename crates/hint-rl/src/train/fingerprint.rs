//! A hash of a run's inputs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
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
    let cache = out.map(|out| out.join(CACHE));
    // A cache that cannot be read is no cache.
    let known = cache.as_ref().and_then(|cache| std::fs::read(cache).ok());
    let known = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let known: BTreeMap<PathBuf, Hashed> = known.unwrap_or_default();
    let mut hashed = known.clone();
    let mut whole = Sha256::new();
    for place in places {
        for file in files(place)? {
            let entry = hash(&file, known.get(&file))
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            whole.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            whole.update(entry.sha256.as_bytes());
            hashed.insert(file, entry);
        }
    }
    if let Some(cache) = cache.filter(|_| hashed != known) {
        let text = serde_json::to_string_pretty(&hashed)? + "\n";
        replace_file(&cache, &text)?;
    }
    Ok(HEXLOWER.encode(&whole.finalize()))
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
