//! Folders that are saved here, and what transformers made of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::golden::golden_dir;

/// A folder as a version of transformers loaded it.
#[derive(Deserialize)]
struct Loaded {
    digest: String,
}

/// Stands for names and bytes of a folder's files, by FNV-1a. Weights count if they are the same on every machine.
pub(crate) fn digest(dir: &Path, weights: bool) -> String {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_weights = |path: &Path| path.extension().is_some_and(|end| end == "safetensors");
    let mut files: Vec<_> = files.filter(|path| weights || !is_weights(path)).collect();
    files.sort();
    let bytes = files.iter().flat_map(|path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        [name, std::fs::read(path).unwrap()].concat()
    });
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Loads the folders in `saved` by a `script` of `gen`, if `HINT_TRANSFORMERS_PYTHON` is a Python with transformers. With
/// `HINT_BLESS`, the script writes the `record`. Without a Python, too, every folder must be one that the record has, byte
/// by byte: so a change of what is saved cannot pass without transformers.
pub(crate) fn check(script: &str, record: &str, saved: &Path, digests: &BTreeMap<String, String>) {
    let (golden, own) = golden_dir();
    let record = golden.join(record);
    #[expect(clippy::disallowed_methods, reason = "the Python is given from outside")]
    let python = std::env::var_os("HINT_TRANSFORMERS_PYTHON");
    if let Some(python) = python {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gen");
        let mut command = Command::new(python);
        command.arg(folder.join(script)).arg(saved);
        if crate::blesses() {
            command.arg(&record);
        }
        assert!(command.status().unwrap().success());
    }
    // A golden folder of somebody else's has no record.
    if !own && !record.is_file() {
        return;
    }
    let text = std::fs::read_to_string(&record).unwrap();
    let known: BTreeMap<String, BTreeMap<String, Loaded>> = serde_json::from_str(&text).unwrap();
    for (name, digest) in digests {
        let mut loaded = known.values().filter_map(|version| version.get(name)).peekable();
        assert!(
            loaded.peek().is_some() && loaded.all(|one| one.digest == *digest),
            "{name}: transformers did not load what is saved now ({digest}); run this test with \
             HINT_TRANSFORMERS_PYTHON and HINT_BLESS=1, with each version of {}",
            record.display()
        );
    }
}
