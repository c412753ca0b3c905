//! Any text as `adapter_config.json` and any bytes as `adapter_model.safetensors`, with a zero byte between them, on a
//! fixed model. The adapter is loaded, or refused with an error that has a text.
#![no_main]

use std::sync::LazyLock;

use hint_policy::{CausalLm, LoadOptions};
use libfuzzer_sys::fuzz_target;

/// The model, and a folder for the adapter.
static FOLDERS: LazyLock<[tempfile::TempDir; 2]> = LazyLock::new(|| {
    let [base, adapter] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    hint_policy_fuzz::write_model(base.path());
    [base, adapter]
});

fuzz_target!(|data: &[u8]| {
    let [base, adapter] = &*FOLDERS;
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let (config, weights) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let write = |name: &str, content: &[u8]| {
        std::fs::write(adapter.path().join(name), content).expect("the file can be written");
    };
    write("adapter_config.json", config);
    write("adapter_model.safetensors", weights);
    let model = CausalLm::load(base.path(), &LoadOptions::default()).expect("the model is sound");
    if let Err(error) = model.with_adapter(adapter.path()) {
        assert!(!error.to_string().is_empty());
    }
});
