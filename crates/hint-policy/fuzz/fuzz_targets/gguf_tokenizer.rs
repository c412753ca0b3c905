//! Any bytes as a GGUF file with a tokenizer: it is built or refused. A built one encodes, decodes and renders a
//! conversation, or returns an error.
#![no_main]

use std::io::Write;

use hint_policy::gguf::Gguf;
use hint_policy::tokenizer::ChatMessage;
use hint_policy::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("the file can be written");
    let Ok(gguf) = Gguf::open(file.path()) else { return };
    match Tokenizer::from_gguf(&gguf) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(tokenizer) => {
            if let Ok(ids) = tokenizer.encode("abc 12 \u{e9}\u{1f600}!<|end|></s>") {
                let _ = tokenizer.decode(&ids);
                let _ = tokenizer.decode_skip_special(&ids);
            }
            let _ = tokenizer.apply_chat_template(&[ChatMessage::user("abc")], true);
        }
    }
});
