//! Any bytes as a GGUF file. It is refused with an error that has a text. Or every tensor of it is read or refused, and
//! the model is loaded or refused.
#![no_main]

use std::io::Write;

use hint_policy::gguf::Gguf;
use hint_policy::{CausalLm, LoadOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("the file can be written");
    match Gguf::open(file.path()) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(gguf) => {
            for name in gguf.tensor_names() {
                let _ = gguf.read(name);
            }
        }
    }
    if let Err(error) = CausalLm::load(file.path(), &LoadOptions::default()) {
        assert!(!error.to_string().is_empty());
    }
});
