//! Tokenizers whose settings change ids silently, as transformers applies them.

use std::collections::BTreeMap;

use hint_policy::Tokenizer;
use hint_policy::gguf::Gguf;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::gguf_writer::{Meta, write};
use crate::golden::golden_dir;

/// `tokenizers.json`, which `gen/tokenizer_files.py` writes.
#[derive(Deserialize)]
struct Corpus {
    /// A `tokenizer.json`.
    base: Map<String, Value>,
    texts: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// Changes to `base`.
    changes: Map<String, Value>,
    /// Other files.
    files: BTreeMap<String, Value>,
    /// Ids of each text, without and with what is added to plain texts.
    encoded: Vec<[Vec<u32>; 2]>,
    /// The text of the former without special tokens.
    plain: Vec<String>,
}

#[test]
fn golden_tokenizers_encode_as_in_transformers() {
    let text = std::fs::read_to_string(golden_dir().0.join("tokenizers.json")).unwrap();
    let corpus: Corpus = serde_json::from_str(&text).unwrap();
    assert!(corpus.cases.len() > 10);
    let mut wrong = Vec::new();
    for case in &corpus.cases {
        let dir = tempfile::tempdir().unwrap();
        let mut json = corpus.base.clone();
        json.extend(case.changes.clone());
        std::fs::write(dir.path().join("tokenizer.json"), Value::Object(json).to_string()).unwrap();
        for (name, content) in &case.files {
            std::fs::write(dir.path().join(name), content.to_string()).unwrap();
        }
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
        // What we write encodes alike.
        let saved = tempfile::tempdir().unwrap();
        tokenizer.save(saved.path()).unwrap();
        for tokenizer in [tokenizer, Tokenizer::from_dir(saved.path()).unwrap()] {
            for ((text, expected), plain) in corpus.texts.iter().zip(&case.encoded).zip(&case.plain)
            {
                let encoded = [
                    tokenizer.encode(text).unwrap(),
                    tokenizer.encode_with_special_tokens(text).unwrap(),
                ];
                let found = tokenizer.decode_skip_special(&encoded[0]).unwrap();
                if encoded != *expected || found != *plain {
                    wrong.push(format!(
                        "{}: {text:?} is {encoded:?} {found:?}, expected {expected:?} {plain:?}",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Vectors of llama.cpp, with as much of a vocabulary as they need; `gen/pre_tokenizers.py` writes them.
#[derive(Deserialize)]
struct Vectors {
    pre: String,
    tokens: Vec<String>,
    kinds: Vec<i32>,
    merges: Vec<String>,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

#[test]
fn golden_vectors_of_llama_cpp_hold_for_gguf_files() {
    let text = std::fs::read_to_string(golden_dir().0.join("pre_tokenizers.json")).unwrap();
    let all: Vec<Vectors> = serde_json::from_str(&text).unwrap();
    assert!(all.iter().map(|vectors| vectors.texts.len()).sum::<usize>() > 80);
    for Vectors { pre, tokens, kinds, merges, texts, ids } in all {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let metadata = [
            (key("model"), Meta::Text("gpt2")),
            (key("pre"), Meta::Text(Box::leak(pre.clone().into_boxed_str()))),
            (key("tokens"), Meta::Texts(tokens)),
            (key("token_type"), Meta::Kinds(kinds)),
            (key("merges"), Meta::Texts(merges)),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vocabulary.gguf");
        std::fs::write(&path, write(&metadata, &[])).unwrap();
        let tokenizer = Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap();
        for (text, expected) in texts.iter().zip(&ids) {
            assert_eq!(tokenizer.encode(text).unwrap(), *expected, "{pre}: {text:?}");
        }
    }
}
