//! Tokenizers whose settings change ids silently, as transformers applies them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hint_policy::config::Architecture;
use hint_policy::gguf::Gguf;
use hint_policy::tokenizer::ChatMessage;
use hint_policy::{LoadOptions, LoadedModel, ModelConfig, Policy as _, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::gguf_writer::{
    Meta, model_metadata, sentence_piece_metadata, tensors, tokenizer_metadata, write,
};
use crate::golden::golden_dir;
use crate::model::random_model;
use crate::reload;

/// `tokenizers.json`, which `gen/tokenizer_files.py` writes.
#[derive(Deserialize)]
struct Corpus {
    /// A `tokenizer.json`.
    base: Map<String, Value>,
    texts: Vec<String>,
    cases: Vec<Case>,
    /// On which versions of transformers disagree; 4.57 is followed.
    former: Vec<Case>,
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

impl Corpus {
    fn read() -> Self {
        let text = std::fs::read_to_string(golden_dir().0.join("tokenizers.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Writes the files of a case into a folder.
    fn write(&self, case: &Case, dir: &Path) {
        let mut json = self.base.clone();
        json.extend(case.changes.clone());
        std::fs::write(dir.join("tokenizer.json"), Value::Object(json).to_string()).unwrap();
        for (name, content) in &case.files {
            std::fs::write(dir.join(name), content.to_string()).unwrap();
        }
    }
}

#[test]
fn golden_tokenizers_encode_as_in_transformers() {
    let corpus = Corpus::read();
    assert!(corpus.cases.len() > 10);
    let mut wrong = Vec::new();
    for case in corpus.cases.iter().chain(&corpus.former) {
        let dir = tempfile::tempdir().unwrap();
        corpus.write(case, dir.path());
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

impl Vectors {
    /// Checks that a file with this vocabulary and `pre` as its pre-tokenizer gives the ids.
    fn check(&self, pre: &str) {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let metadata = [
            (key("model"), Meta::Text("gpt2")),
            (key("pre"), Meta::Text(Box::leak(pre.to_owned().into_boxed_str()))),
            (key("tokens"), Meta::Texts(self.tokens.clone())),
            (key("token_type"), Meta::Kinds(self.kinds.clone())),
            (key("merges"), Meta::Texts(self.merges.clone())),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vocabulary.gguf");
        std::fs::write(&path, write(&metadata, &[])).unwrap();
        let tokenizer = Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap();
        for (text, expected) in self.texts.iter().zip(&self.ids) {
            let found = tokenizer.encode(text).unwrap();
            assert_eq!(found, *expected, "vectors of {} as {pre}: {text:?}", self.pre);
        }
    }
}

/// The expressions of llama.cpp, by the names that share one; `gen/pre_tokenizers.py` writes them, too.
#[derive(Deserialize)]
struct Rules {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    names: Vec<String>,
}

/// Names without vectors of their own have those of the names with the same expressions.
#[test]
fn golden_vectors_of_llama_cpp_hold_for_gguf_files() {
    let read = |name: &str| std::fs::read_to_string(golden_dir().0.join(name)).unwrap();
    let all: Vec<Vectors> = serde_json::from_str(&read("pre_tokenizers.json")).unwrap();
    assert!(all.iter().map(|vectors| vectors.texts.len()).sum::<usize>() > 500);
    let Rules { rules } = serde_json::from_str(&read("pre_tokenizer_words.json")).unwrap();
    let mut names = BTreeSet::new();
    for vectors in &all {
        let rule = rules.iter().find(|rule| rule.names.contains(&vectors.pre));
        let others = rule.map_or(&[][..], |rule| rule.names.as_slice());
        for pre in others.iter().chain([&vectors.pre]) {
            vectors.check(pre);
            names.insert(pre.as_str());
        }
    }
    assert!(names.len() > 30 && names.contains("falcon3"), "{names:?}");
}

/// Model, tokenizer, template and stop tokens together, from folders and GGUF files of each kind, load in transformers.
#[test]
fn transformers_loads_whole_folders_that_are_saved() {
    let corpus = Corpus::read();
    let saved = tempfile::tempdir().unwrap();
    let mut digests = BTreeMap::new();
    let mut save = |name: &str, path: &Path| {
        let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}a:";
        let mut model = LoadedModel::load(path, &LoadOptions::default()).unwrap();
        model.tokenizer = model.tokenizer.with_chat_template(template);
        let to = saved.path().join(digests.len().to_string());
        model.save(&to).unwrap();
        // Sines of the random weights may differ by processor.
        let digest = reload::digest(&to, false);
        std::fs::write(to.join("digest.txt"), &digest).unwrap();
        digests.insert(name.to_owned(), digest);
        let tokenizer = &model.tokenizer;
        let encode = |text: &String| {
            [tokenizer.encode(text), tokenizer.encode_with_special_tokens(text)].map(Result::unwrap)
        };
        let prompt = tokenizer.apply_chat_template(&[ChatMessage::user("ab")], true).unwrap();
        let expected = json!({
            "name": name, "texts": corpus.texts, "prompt": prompt, "stop_tokens": model.stop_tokens,
            "encoded": corpus.texts.iter().map(encode).collect::<Vec<_>>(),
        });
        std::fs::write(to.join("expected_tokens.json"), expected.to_string()).unwrap();
    };
    let config = |vocab| ModelConfig {
        num_hidden_layers: 1,
        eos_token_ids: vec![2],
        ..ModelConfig::small(Architecture::Llama, vocab)
    };
    for case in &corpus.cases {
        let dir = tempfile::tempdir().unwrap();
        random_model(&config(40), 1).with_stop_tokens(&[2, 5]).save(dir.path()).unwrap();
        corpus.write(case, dir.path());
        save(&case.name, dir.path());
    }
    let kinds = [
        ("bytes", 258, tokenizer_metadata("llama-bpe")),
        ("pieces", 10, sentence_piece_metadata()),
    ];
    for (name, vocab, metadata) in kinds {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        let policy = random_model(&config(vocab), 1);
        let mut all = model_metadata(&policy);
        all.extend(metadata);
        std::fs::write(&path, write(&all, &tensors(&policy))).unwrap();
        save(name, &path);
    }
    reload::check("reload_tokenizers.py", "reloaded_tokenizers.json", saved.path(), &digests);
}
