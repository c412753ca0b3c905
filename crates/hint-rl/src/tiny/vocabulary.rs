//! Tokenizers of the small models: some words, and every printable ASCII character.

use hint_policy::{PolicyError, Tokenizer};
use serde_json::json;

/// Id of the token that ends a completion.
pub(crate) const EOS: u32 = 0;

/// A tokenizer of `<eos>`, `words` with the space or line break before them, and the printable ASCII characters.
///
/// # Errors
///
/// None in practice; building a tokenizer can fail.
pub(crate) fn tokenizer(words: Vec<String>) -> Result<Tokenizer, PolicyError> {
    let characters = std::iter::once('\n').chain(' '..='~').map(String::from);
    let mut vocabulary = serde_json::Map::new();
    let mut added = Vec::new();
    for (id, token) in std::iter::once("<eos>".to_owned()).chain(words).enumerate() {
        added.push(json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": id == EOS as usize,
        }));
        vocabulary.insert(token, id.into());
    }
    for character in characters {
        let id = vocabulary.len();
        vocabulary.insert(character, id.into());
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": [],
        },
    });
    Ok(Tokenizer::from_json_str(&tokenizer.to_string())?.with_special_token("eos_token", "<eos>"))
}
