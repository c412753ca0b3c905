//! A `tokenizer.json` from the metadata of a GGUF file.

use serde_json::{Map, Value, json};

use super::Tokenizer;
use crate::{Gguf, GgufValue, PolicyError};

/// Kinds of tokens in `tokenizer.ggml.token_type`.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// Words, numbers, punctuation and spaces as GPT-4-style tokenizers separate them, with `{1,3}`
/// or one digit at a time.
fn modern_pattern(digits: &str) -> String {
    let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+";
    let rest = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    format!(r"{words}|\p{{N}}{digits}|{rest}")
}

pub(super) fn build(gguf: &Gguf) -> Result<Tokenizer, PolicyError> {
    let text = |key: &str| gguf.get(key).and_then(GgufValue::as_str);
    let model = text("tokenizer.ggml.model").unwrap_or("missing");
    if model != "gpt2" {
        return Err(unsupported("tokenizer.ggml.model", model, "gpt2 (byte-level BPE)"));
    }
    let pre = text("tokenizer.ggml.pre").unwrap_or("gpt-2");
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let split = |pattern: String| {
        let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
    };
    let pre_tokenizer = match pre {
        "gpt-2" => byte_level(true),
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]})
        }
        "llama-bpe" => split(modern_pattern("{1,3}")),
        "qwen2" => split(modern_pattern("")),
        other => {
            let supported = "gpt-2, smollm, llama-bpe, qwen2";
            return Err(unsupported("tokenizer.ggml.pre", other, supported));
        }
    };
    let tokens = strings(gguf, "tokenizer.ggml.tokens")?;
    let merges = strings(gguf, "tokenizer.ggml.merges")?;
    let vocab: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    if vocab.len() != tokens.len() {
        let reason = "a token of `tokenizer.ggml.tokens` occurs twice".to_owned();
        return Err(PolicyError::Corrupt { path: gguf.path().to_owned(), reason });
    }
    let added = added_tokens(gguf, &tokens);
    let post_processor = bos_processor(gguf, &tokens, pre);
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": if pre == "qwen2" { json!({"type": "NFC"}) } else { Value::Null },
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": pre == "llama-bpe",
            "vocab": vocab,
            "merges": merges,
        },
    });
    let action = format!("build the tokenizer of `{}`", gguf.path().display());
    let mut tokenizer = Tokenizer::parse(&json.to_string(), &action)?;
    let roles = [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        ("pad_token", "padding"),
    ];
    for (role, key) in roles {
        if let Some(token) = special(gguf, &tokens, key) {
            tokenizer = tokenizer.with_special_token(role, token);
        }
    }
    tokenizer.chat_template = text("tokenizer.chat_template").map(str::to_owned);
    Ok(tokenizer)
}

/// Control and user-defined tokens, which are matched in the text before anything else.
fn added_tokens(gguf: &Gguf, tokens: &[&str]) -> Vec<Value> {
    let kinds = gguf.get("tokenizer.ggml.token_type").and_then(GgufValue::as_array);
    let kinds = kinds.unwrap_or_default().iter().map(GgufValue::as_u64);
    kinds
        .zip(tokens)
        .enumerate()
        .filter(|(_, (kind, token))| {
            matches!(kind, Some(CONTROL | USER_DEFINED)) && !token.is_empty()
        })
        .map(|(id, (kind, token))| {
            json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": kind == Some(CONTROL),
            })
        })
        .collect()
}

/// Adds the bos token to plain texts if the metadata say so; Llama 3 files leave it out of the
/// metadata and mean yes.
fn bos_processor(gguf: &Gguf, tokens: &[&str], pre: &str) -> Value {
    let add = gguf.get("tokenizer.ggml.add_bos_token").and_then(GgufValue::as_bool);
    let Some(bos) = special(gguf, tokens, "bos").filter(|_| add.unwrap_or(pre == "llama-bpe"))
    else {
        return json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    };
    let id = tokens.iter().position(|token| *token == bos);
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let start = json!({"SpecialToken": {"id": bos, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [start, sequence("A")],
        "pair": [start, sequence("A"), start, sequence("B")],
        "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
    })
}

/// The token that `tokenizer.ggml.{key}_token_id` names.
fn special<'a>(gguf: &Gguf, tokens: &[&'a str], key: &str) -> Option<&'a str> {
    let id = gguf.get(&format!("tokenizer.ggml.{key}_token_id"))?.as_u64()?;
    tokens.get(usize::try_from(id).ok()?).copied()
}

fn strings<'a>(gguf: &'a Gguf, key: &str) -> Result<Vec<&'a str>, PolicyError> {
    let values = gguf.get(key).and_then(GgufValue::as_array);
    let strings = values.and_then(|values| values.iter().map(GgufValue::as_str).collect());
    strings.ok_or_else(|| PolicyError::Corrupt {
        path: gguf.path().to_owned(),
        reason: format!("key `{key}` is not a list of strings"),
    })
}

fn unsupported(option: &str, value: &str, supported: &str) -> PolicyError {
    PolicyError::Unsupported {
        option: option.into(),
        value: value.into(),
        supported: supported.into(),
    }
}
