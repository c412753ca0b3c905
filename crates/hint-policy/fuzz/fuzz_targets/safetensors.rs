//! Any bytes as the `model.safetensors` of a fixed configuration: the folder is loaded, or refused with an error that has
//! a text.
#![no_main]

use hint_policy::{CausalLm, LoadOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("config.json"), hint_policy_fuzz::CONFIG).expect("the file can be written");
    std::fs::write(dir.path().join("model.safetensors"), data).expect("the file can be written");
    if let Err(error) = CausalLm::load(dir.path(), &LoadOptions::default()) {
        assert!(!error.to_string().is_empty());
    }
});
