//! Any text as `config.json` beside sound weights: the folder is loaded, or refused with an error that has a text.
#![no_main]

use std::sync::LazyLock;

use hint_policy::{CausalLm, LoadOptions};
use libfuzzer_sys::fuzz_target;

/// The folder; its configuration is replaced.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary folder");
    hint_policy_fuzz::write_model(dir.path());
    dir
});

fuzz_target!(|data: &[u8]| {
    std::fs::write(FOLDER.path().join("config.json"), data).expect("the file can be written");
    if let Err(error) = CausalLm::load(FOLDER.path(), &LoadOptions::default()) {
        assert!(!error.to_string().is_empty());
    }
});
