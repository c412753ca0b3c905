//! The model part of a `SentencePiece` tokenizer (Llama 2, Gemma) from the metadata of a GGUF file.
//!
//! Such files give each piece a score and no merges. `SentencePiece` joins the two neighbors whose
//! union has the highest score; byte-pair encoding joins the pair that stands first in a list. So
//! the list holds every way to split a piece into two, ordered by the score of the piece.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};

use crate::error::PolicyError;
use crate::gguf::{Gguf, GgufValue};
use crate::tokenizer::gguf_keys::{NORMAL, special, token_kinds};

/// Character that `SentencePiece` writes for a space.
const SPACE: &str = "\u{2581}";

/// `model`, `normalizer`, `pre_tokenizer` and `decoder` of the `tokenizer.json`.
pub(super) fn parts(gguf: &Gguf, tokens: &[&str]) -> Result<[Value; 4], PolicyError> {
    let ids: HashMap<&str, usize> =
        tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let merges = merges(gguf, tokens, &ids)?;
    let prefix = gguf.get("tokenizer.ggml.add_space_prefix").and_then(GgufValue::as_bool);
    let prefix = prefix.unwrap_or(true);
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut normalizers = vec![replace(" ", SPACE)];
    let mut decoders =
        vec![replace(SPACE, " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": special(gguf, tokens, "unknown"),
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": true,
        "byte_fallback": true,
        "ignore_merges": false,
        "vocab": ids,
        "merges": merges,
    });
    Ok([
        model,
        json!({"type": "Sequence", "normalizers": normalizers}),
        Value::Null,
        json!({"type": "Sequence", "decoders": decoders}),
    ])
}

/// Every split of an ordinary piece into two, the piece with the highest score first. Of one piece,
/// the split with the longest left part comes first.
fn merges<'a>(
    gguf: &Gguf,
    tokens: &[&'a str],
    ids: &HashMap<&str, usize>,
) -> Result<Vec<[&'a str; 2]>, PolicyError> {
    let scores = gguf.get("tokenizer.ggml.scores").and_then(GgufValue::as_array);
    let scores: Option<Vec<f64>> =
        scores.and_then(|scores| scores.iter().map(GgufValue::as_f64).collect());
    let corrupt = |reason: &str| PolicyError::Corrupt {
        path: gguf.path().to_owned(),
        reason: reason.to_owned(),
    };
    let scores =
        scores.ok_or_else(|| corrupt("key `tokenizer.ggml.scores` is not a list of numbers"))?;
    let kinds = token_kinds(gguf, tokens);
    if scores.len() != tokens.len() || kinds.len() != tokens.len() {
        return Err(corrupt("tokens, `tokenizer.ggml.scores` and `token_type` differ in length"));
    }
    let is_normal = |part: &str| ids.get(part).is_some_and(|&id| kinds[id] == Some(NORMAL));
    let mut order: Vec<usize> = (0..tokens.len()).filter(|&id| kinds[id] == Some(NORMAL)).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut merges = Vec::new();
    for id in order {
        let piece = tokens[id];
        let mut cuts: Vec<usize> = piece.char_indices().skip(1).map(|(at, _)| at).collect();
        cuts.sort_unstable_by_key(|&at| Reverse(at));
        let parts = cuts.into_iter().map(|at| piece.split_at(at));
        let known = parts.filter(|(left, right)| is_normal(left) && is_normal(right));
        merges.extend(known.map(|(left, right)| [left, right]));
    }
    Ok(merges)
}
