//! Tokenizers of folders, and the tokens that end a completion.

use hint_policy::config::Architecture;
use hint_policy::gguf::Gguf;
use hint_policy::io::Inspection;
use hint_policy::{
    LoadOptions, LoadedModel, LoraConfig, ModelConfig, Policy, PolicyError, SampleOptions,
    SampleRequest, SamplingParams, Tokenizer, sample,
};
use serde_json::{Value, json};

use crate::folders::{check_refused, folder, load, read_json, tokenizer_json, write_json};
use crate::gguf_writer::{Meta, tokenizer_metadata, write};
use crate::model::random_model;

#[test]
fn truncation_and_padding_of_a_file_do_not_touch_prompts() {
    let truncation =
        json!({"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    let padding = json!({
        "strategy": {"Fixed": 6}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "?",
    });
    let json = tokenizer_json(|json| {
        json["truncation"] = truncation;
        json["padding"] = padding;
    });
    let tokenizer = Tokenizer::from_json_str(&json.to_string()).unwrap();
    assert_eq!(tokenizer.encode("a b c d e a").unwrap(), [3, 4, 5, 6, 7, 3]);
    assert_eq!(tokenizer.encode("a").unwrap(), [3]);
    // What we write does not do it to others.
    let dir = tempfile::tempdir().unwrap();
    tokenizer.save(dir.path()).unwrap();
    let saved = read_json(dir.path(), "tokenizer.json");
    assert!(saved["truncation"].is_null() && saved["padding"].is_null());
}

#[test]
fn stop_tokens_survive_checkpoints_and_adapters() {
    let base = folder();
    let settings = json!({"eos_token_id": [2, 1], "temperature": 0.6, "do_sample": true});
    write_json(base.path(), "generation_config.json", &settings);
    let model = load(base.path()).unwrap();
    assert_eq!(model.stop_tokens, [1, 2]);

    // What a trainer writes: the policy alone. The tokenizer is copied beside it.
    let checkpoint = tempfile::tempdir().unwrap();
    model.policy.save(checkpoint.path()).unwrap();
    write_json(checkpoint.path(), "tokenizer.json", &tokenizer_json(|_| {}));
    assert_eq!(load(checkpoint.path()).unwrap().stop_tokens, [1, 2]);
    assert_eq!(read_json(checkpoint.path(), "generation_config.json")["temperature"], 0.6);

    // Not an id.
    write_json(checkpoint.path(), "generation_config.json", &json!({"eos_token_id": "2"}));
    check_refused(checkpoint.path(), &["generation_config.json", "eos_token_id", "\"2\""]);

    // An adapter of the base, as other programs write it, without settings of its own.
    let adapted =
        model.policy.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    adapted.save_adapter(adapter.path()).unwrap();
    assert_eq!(load(adapter.path()).unwrap().stop_tokens, [1, 2]);
    std::fs::remove_file(adapter.path().join("generation_config.json")).unwrap();
    assert_eq!(load(adapter.path()).unwrap().stop_tokens, [1, 2]);

    // A token that a program adds is remembered, too.
    let more = load(base.path()).unwrap().policy.with_stop_tokens(&[5, 2, 1]);
    more.save(checkpoint.path()).unwrap();
    assert_eq!(load(checkpoint.path()).unwrap().stop_tokens, [1, 2, 5]);
}

#[test]
fn gguf_files_name_the_tokens_that_end_a_turn_by_their_text() {
    let mut metadata = tokenizer_metadata("qwen2");
    for (key, value) in &mut metadata {
        match value {
            Meta::Texts(tokens) if key.ends_with(".tokens") => {
                tokens.extend(["<|im_end|>", "<|endoftext|>", "<|im_start|>"].map(String::from));
            }
            // Whatever kind a file gives them.
            Meta::Kinds(kinds) => kinds.extend([1, 4, 3]),
            _ => {}
        }
    }
    let policy = random_model(&ModelConfig::small(Architecture::Qwen2, 261), 1);
    let mut metadata_of_model = crate::gguf_writer::model_metadata(&policy);
    metadata_of_model.extend(metadata);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, write(&metadata_of_model, &crate::gguf_writer::tensors(&policy)))
        .unwrap();
    let loaded = LoadedModel::load(&path, &LoadOptions::default()).unwrap();
    // The end of text that has a key, and two by their names.
    assert_eq!(loaded.stop_tokens, [257, 258, 259]);
    assert_eq!(loaded.tokenizer.encode("a<|im_end|>").unwrap().last(), Some(&258));
    // A part of a model.
    metadata_of_model.push(("split.count".to_owned(), Meta::U32(3)));
    std::fs::write(&path, write(&metadata_of_model, &[])).unwrap();
    let error = Inspection::new(&path, None).unwrap_err().to_string();
    assert!(error.contains("split.count") && error.contains("--merge"), "{error}");
}

#[test]
fn a_tokenizer_may_have_more_ids_than_the_model() {
    let dir = folder();
    let json = tokenizer_json(|json| json["model"]["vocab"]["more"] = json!(8));
    write_json(dir.path(), "tokenizer.json", &json);
    let model = load(dir.path()).unwrap();
    assert_eq!(model.tokenizer.vocab_size(), 9);
    let prompt = model.tokenizer.encode("a more").unwrap();
    let request =
        SampleRequest { prompt, num_completions: 1, seed: 1, params: SamplingParams::default() };
    let error = sample(&model.policy, &[request], &SampleOptions::default()).unwrap_err();
    assert!(
        matches!(error, PolicyError::TokenOutOfRange { position: 1, token: 8, vocab_size: 8, .. }),
        "{error}"
    );
}

#[test]
fn tokenizer_config_adds_ends_and_tokens() {
    let dir = folder();
    let token = |content: &str| {
        json!({"content": content, "special": true, "lstrip": false, "rstrip": false,
               "single_word": false, "normalized": false})
    };
    let mut config = json!({
        "tokenizer_class": "LlamaTokenizerFast", "bos_token": "end", "eos_token": "stop",
        "added_tokens_decoder": {"8": token("<new>")},
    });
    let ids = |config: &Value| {
        write_json(dir.path(), "tokenizer_config.json", config);
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
        assert_eq!(tokenizer.encode("a<new>").unwrap(), [3, 8]);
        tokenizer.encode_with_special_tokens("a b").unwrap()
    };
    // The class adds a bos token unless told otherwise.
    assert_eq!(ids(&config), [1, 3, 4]);
    // A token that the list alone adds, and the token of the class where the configuration names none.
    config["bos_token"] = json!("<new>");
    assert_eq!(ids(&config), [8, 3, 4]);
    config["added_tokens_decoder"]["9"] = token("<s>");
    config.as_object_mut().unwrap().remove("bos_token");
    assert_eq!(ids(&config), [9, 3, 4]);
    config["bos_token"] = json!(null);
    assert_eq!(ids(&config), [3, 4]);
    config["bos_token"] = json!("end");
    config["add_bos_token"] = json!(false);
    assert_eq!(ids(&config), [3, 4]);
    config["add_bos_token"] = json!(true);
    config["add_eos_token"] = json!(true);
    assert_eq!(ids(&config), [1, 3, 4, 2]);
    // Other classes do what `tokenizer.json` says.
    config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    assert_eq!(ids(&config), [3, 4]);

    config["added_tokens_decoder"] = json!({"11": token("<far>")});
    write_json(dir.path(), "tokenizer_config.json", &config);
    let error = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("<far>") && error.contains("id 11") && error.contains("id 8"),
        "{error}"
    );
}

#[test]
fn a_gguf_file_that_does_not_name_its_pre_tokenizer_warns() {
    let warnings = |metadata: &[(String, Meta)]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, write(metadata, &[])).unwrap();
        Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap().warnings().to_vec()
    };
    let mut metadata = tokenizer_metadata("gpt-2");
    assert!(warnings(&metadata).is_empty());
    metadata.retain(|(key, _)| key != "tokenizer.ggml.pre");
    let found = warnings(&metadata);
    assert!(found.len() == 1 && found[0].contains("tokenizer.ggml.pre"), "{found:?}");
}

#[test]
fn a_template_whose_answers_do_not_end_is_noticed() {
    let template =
        "{% for m in messages %}{{ m.role }} {{ m.content }}{{ '<|im_end|>\n' }}{% endfor %}";
    let json = tokenizer_json(|json| json["model"]["vocab"]["<|im_end|>"] = json!(8));
    let tokenizer = Tokenizer::from_json_str(&json.to_string()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tokenizer.with_special_token("eos_token", "<|im_end|>").save(dir.path()).unwrap();
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap().with_chat_template(template);
    assert_eq!(tokenizer.unstopped_turn(&[1]).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.unstopped_turn(&[1, 8]), None);
    let plain =
        tokenizer.with_chat_template("{% for m in messages %}{{ m.content }}\n{% endfor %}");
    assert_eq!(plain.unstopped_turn(&[1]), None);
}

#[test]
fn templates_that_are_not_for_plain_chats_are_named() {
    let dir = folder();
    let warnings = |expected: &[&str]| {
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
        let found = tokenizer.warnings().join("\n");
        assert_eq!(tokenizer.has_chat_template(), expected.is_empty());
        assert_eq!(found.is_empty(), expected.is_empty(), "{found}");
        assert!(expected.iter().all(|word| found.contains(word)), "{found}");
    };
    write_json(dir.path(), "chat_template.json", &json!({"chat_template": "x"}));
    warnings(&["chat_template.json", "chat_template.jinja"]);
    let named = json!([{"name": "rag", "template": "x"}, {"name": "tool_use", "template": "y"}]);
    write_json(dir.path(), "tokenizer_config.json", &json!({"chat_template": named}));
    warnings(&["`rag`, `tool_use`", "none named `default`"]);
    write_json(dir.path(), "tokenizer_config.json", &json!({}));
    let others = dir.path().join("additional_chat_templates");
    std::fs::create_dir(&others).unwrap();
    std::fs::write(others.join("tool_use.jinja"), "x").unwrap();
    warnings(&["`tool_use`", "none named `default`"]);
    std::fs::write(dir.path().join("chat_template.jinja"), "x").unwrap();
    warnings(&[]);
}
