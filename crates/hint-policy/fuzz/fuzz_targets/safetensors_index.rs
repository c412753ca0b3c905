//! Any text as `model.safetensors.index.json` of two sound shards: the folder is loaded, or refused with an error that has
//! a text.
#![no_main]

use std::sync::LazyLock;

use hint_policy::{CausalLm, LoadOptions};
use libfuzzer_sys::fuzz_target;

/// The folder without its index.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary folder");
    hint_policy_fuzz::write_shards(dir.path());
    dir
});

fuzz_target!(|data: &[u8]| {
    let index = FOLDER.path().join("model.safetensors.index.json");
    std::fs::write(index, data).expect("the file can be written");
    if let Err(error) = CausalLm::load(FOLDER.path(), &LoadOptions::default()) {
        assert!(!error.to_string().is_empty());
    }
});
