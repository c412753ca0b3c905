//! The text of each token of a completion, from the tokenizer of a run's checkpoint.

use std::collections::HashMap;
use std::path::Path;

use hint_grpo::RunDir;
use hint_policy::Tokenizer;

/// The texts of the tokens of one completion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Text before the first token: the prefix that the completion continues.
    pub(super) before: String,
    /// One per token; together they are the text. A character of several tokens is in the last of them.
    pub(super) texts: Vec<String>,
    /// The special tokens, which are not part of the text, with their names.
    pub(super) special: Vec<(usize, String)>,
}

/// Splits completions at their tokens.
#[derive(Debug)]
pub(super) struct Splitter {
    tokenizer: Tokenizer,
    /// The text of a token on its own.
    alone: HashMap<u32, String>,
}

impl Splitter {
    /// With the tokenizer of the newest checkpoint, or the reason why it is missing.
    pub(super) fn of_run(dir: &Path) -> Result<Self, String> {
        let checkpoints = RunDir::checkpoints(dir).map_err(|error| error.to_string())?;
        let (_, newest) = checkpoints.last().ok_or("the run has no checkpoint yet")?;
        let tokenizer = Tokenizer::from_dir(newest)
            .map_err(|error| format!("its checkpoint has no tokenizer: {error}"))?;
        Ok(Self { tokenizer, alone: HashMap::new() })
    }

    /// A prompt as the model reads it, special tokens included.
    pub(super) fn prompt(&self, tokens: &[u32]) -> Option<String> {
        self.tokenizer.decode(tokens).ok()
    }

    /// The tokens of `text`; `None` if they do not make it up.
    pub(super) fn pieces(&mut self, tokens: &[u32], text: &str) -> Option<Pieces> {
        let alone = tokens.iter().map(|token| self.alone(*token)).collect::<Option<Vec<_>>>()?;
        // Byte fallback, and decoders that look at the neighbors, need them decoded together.
        let texts = if text.ends_with(&alone.concat()) { alone } else { self.together(tokens)? };
        let before = text.strip_suffix(&texts.concat())?.to_owned();
        let special =
            tokens.iter().zip(&texts).enumerate().filter(|(_, (_, text))| text.is_empty());
        let special = special.filter_map(|(at, (token, _))| {
            let name = self.tokenizer.decode(&[*token]).ok()?;
            let is_special = self.alone.get(token).is_none_or(String::is_empty);
            (is_special && !name.is_empty()).then_some((at, name))
        });
        let special = special.collect();
        Some(Pieces { before, texts, special })
    }

    fn alone(&mut self, token: u32) -> Option<String> {
        if let Some(text) = self.alone.get(&token) {
            return Some(text.clone());
        }
        let text = self.tokenizer.decode_skip_special(&[token]).ok()?;
        self.alone.insert(token, text.clone());
        Some(text)
    }

    /// The texts of tokens, each decoded with the tokens before it.
    fn together(&self, tokens: &[u32]) -> Option<Vec<String>> {
        let decode = |tokens: &[u32]| self.tokenizer.decode_skip_special(tokens).ok();
        // `known..read` are the tokens of the last complete text, which is context for the next one.
        let (mut known, mut read) = (0, 0);
        let mut texts = Vec::with_capacity(tokens.len());
        for end in 1..=tokens.len() {
            let before = decode(&tokens[known..read])?;
            let with = decode(&tokens[known..end])?;
            let is_complete = end == tokens.len() || !with.ends_with('\u{fffd}');
            match with.strip_prefix(&before).filter(|text| is_complete && !text.is_empty()) {
                Some(text) => {
                    texts.push(text.to_owned());
                    (known, read) = (read, end);
                }
                None => texts.push(String::new()),
            }
        }
        Some(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte-level BPE without merges: a token per byte.
    fn bytes() -> Splitter {
        let letters = "abcdefghijklmnopqrstuvwxyz".chars().map(String::from);
        // Bytes 0xC3 and 0xA9 of `é`, and the space, as GPT-2 writes them.
        let vocab = letters.chain(["Ã", "©", "Ġ"].map(String::from)).enumerate();
        let vocab = vocab.map(|(id, token)| (token, serde_json::json!(id)));
        let json = serde_json::json!({
            "version": "1.0",
            "added_tokens": [{"id": 29, "content": "<end>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
            "model": {"type": "BPE", "vocab": vocab.collect::<serde_json::Map<_, _>>(), "merges": []},
        });
        let tokenizer = Tokenizer::from_json_str(&json.to_string()).unwrap();
        Splitter { tokenizer, alone: HashMap::new() }
    }

    #[test]
    fn pieces_make_up_the_text() {
        // "ab éc<end>"
        let tokens = [0, 1, 28, 26, 27, 2, 29];
        let pieces = bytes().pieces(&tokens, "ab éc").unwrap();
        assert_eq!(pieces.texts, ["a", "b", " ", "", "é", "c", ""]);
        assert_eq!(pieces.special, [(6, "<end>".to_owned())]);
        assert_eq!(pieces.before, "");
    }

    #[test]
    fn a_prefix_precedes_the_tokens() {
        let pieces = bytes().pieces(&[0, 1], "see: ab").unwrap();
        assert_eq!((pieces.before.as_str(), pieces.texts.concat()), ("see: ", "ab".to_owned()));
        assert_eq!(bytes().pieces(&[0, 1], "another text"), None);
    }
}
