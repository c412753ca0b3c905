//! Any bytes as a GGUF file: `cargo +nightly fuzz run --sanitizer none gguf` in `crates/hint-policy`.
//!
//! The file is either refused with an error that has a text, or every tensor of it is read or refused.
#![no_main]

use std::io::Write;

use hint_policy::{Gguf, LoadOptions, LoadedModel};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("the file can be written");
    match Gguf::open(file.path()) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(gguf) => {
            for name in ["token_embd.weight", "output.weight", "blk.0.attn_q.weight"] {
                let _ = gguf.read(name);
            }
        }
    }
    if let Err(error) = LoadedModel::load(file.path(), &LoadOptions::default()) {
        assert!(!error.to_string().is_empty());
    }
});
