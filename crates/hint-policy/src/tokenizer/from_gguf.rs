//! A `tokenizer.json` from the metadata of a GGUF file.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::error::PolicyError;
use crate::gguf::{Gguf, GgufValue};
use crate::tokenizer::gguf_keys::{CONTROL, UNKNOWN, USER_DEFINED, special, strings, token_kinds};
use crate::tokenizer::pre_tokenizer::PreTokenizer;
use crate::tokenizer::{Tokenizer, sentence_piece};

pub(super) fn build(gguf: &Gguf) -> Result<Tokenizer, PolicyError> {
    let text = |key: &str| gguf.get(key).and_then(GgufValue::as_str);
    let model = text("tokenizer.ggml.model").unwrap_or("missing");
    let pre = text("tokenizer.ggml.pre");
    if !matches!(model, "gpt2" | "llama") {
        let supported = "gpt2 (byte-level BPE), llama (SentencePiece)";
        return Err(PolicyError::unsupported("tokenizer.ggml.model", model, supported));
    }
    let tokens = strings(gguf, "tokenizer.ggml.tokens")?;
    let distinct: HashSet<&str> = tokens.iter().copied().collect();
    if distinct.len() != tokens.len() {
        let reason = "a token of `tokenizer.ggml.tokens` occurs twice".to_owned();
        return Err(PolicyError::Corrupt { path: gguf.path().to_owned(), reason });
    }
    let ([model, normalizer, pre_tokenizer, decoder], post_processor) = if model == "llama" {
        // SentencePiece adds a bos token unless the file says otherwise.
        (sentence_piece::parts(gguf, &tokens)?, end_processor(gguf, &tokens, true))
    } else {
        let pre = PreTokenizer::named(pre.unwrap_or("gpt-2"))?;
        let ends = end_processor(gguf, &tokens, pre.adds_bos);
        let plain = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
        (byte_level(gguf, &tokens, &pre)?, ends.or(Some(plain)))
    };
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(gguf, &tokens),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": model,
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
    let named = "tokenizer.chat_template.";
    let others = gguf.metadata().keys().filter_map(|key| key.strip_prefix(named));
    let others: Vec<String> = others.map(|name| format!("`{name}`")).collect();
    if tokenizer.chat_template.is_none() && !others.is_empty() {
        tokenizer.warnings.push(format!(
            "the file has the chat templates {}, and none without a name; prompts are plain text unless one is given",
            others.join(", ")
        ));
    }
    if pre.is_none() && text("tokenizer.ggml.model") == Some("gpt2") {
        tokenizer.warnings.push(format!(
            "`{}` does not name its pre-tokenizer (`tokenizer.ggml.pre`), GPT-2's is used; if the model has \
             another one, convert it again",
            gguf.path().display()
        ));
    }
    Ok(tokenizer)
}

/// `model`, `normalizer`, `pre_tokenizer` and `decoder` of byte-level BPE.
fn byte_level(gguf: &Gguf, tokens: &[&str], pre: &PreTokenizer) -> Result<[Value; 4], PolicyError> {
    let vocab: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    // A pair that makes no token stays two tokens, as llama.cpp has it.
    let makes_tokens = |merge: &&str| {
        let Some((left, right)) = merge.split_once(' ') else { return false };
        [left, right, &format!("{left}{right}")].iter().all(|part| vocab.contains_key(*part))
    };
    let mut merges = strings(gguf, "tokenizer.ggml.merges")?;
    merges.retain(makes_tokens);
    let model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": pre.ignore_merges,
        "vocab": vocab,
        "merges": merges,
    });
    let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let normalizer = if pre.composes { json!({"type": "NFC"}) } else { Value::Null };
    Ok([model, normalizer, pre.steps(), decoder])
}

/// Control and user-defined tokens, which are matched in the text before anything else.
fn added_tokens(gguf: &Gguf, tokens: &[&str]) -> Vec<Value> {
    let is_added = |kind: &Option<u64>| matches!(kind, Some(UNKNOWN | CONTROL | USER_DEFINED));
    // Files do not say which tokens swallow the white space behind them. Those of Phi-3 do, apart from three.
    let name = gguf.get("general.name").and_then(GgufValue::as_str).unwrap_or_default();
    let name = name.to_lowercase();
    let strips = name.contains("phi-3") || name.contains("phi3");
    token_kinds(gguf, tokens)
        .into_iter()
        .zip(tokens)
        .enumerate()
        .filter(|(_, (kind, token))| is_added(kind) && !token.is_empty())
        .map(|(id, (kind, token))| {
            json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": strips && !matches!(*token, "<unk>" | "<s>" | "<|endoftext|>"),
                "normalized": false,
                "special": kind != Some(USER_DEFINED),
            })
        })
        .collect()
}

/// Adds the bos and the eos token to plain texts, where they are wanted and exist.
fn end_processor(gguf: &Gguf, tokens: &[&str], adds_bos: bool) -> Option<Value> {
    let wanted = |key: &str, default| {
        let key = format!("tokenizer.ggml.add_{key}_token");
        gguf.get(&key).and_then(GgufValue::as_bool).unwrap_or(default)
    };
    let token = |key: &str, default| special(gguf, tokens, key).filter(|_| wanted(key, default));
    let (bos, eos) = (token("bos", adds_bos), token("eos", false));
    if bos.is_none() && eos.is_none() {
        return None;
    }
    let end = |token: Option<&str>| {
        token.map(|token| json!({"SpecialToken": {"id": token, "type_id": 0}}))
    };
    let sequence = |id: &str| {
        let text = json!({"Sequence": {"id": id, "type_id": 0}});
        [end(bos), Some(text), end(eos)].into_iter().flatten().collect::<Vec<_>>()
    };
    let known: Map<String, Value> = [bos, eos]
        .into_iter()
        .flatten()
        .map(|token| {
            let id = tokens.iter().position(|known| *known == token);
            (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}))
        })
        .collect();
    let pair = [sequence("A"), sequence("B")].concat();
    Some(json!({
        "type": "TemplateProcessing",
        "single": sequence("A"),
        "pair": pair,
        "special_tokens": known,
    }))
}
