//! Rules by which byte-level BPE tokenizers cut a text into words, under their names in GGUF files.

use serde_json::{Value, json};

use crate::error::PolicyError;

/// Steps before byte-pair encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent options of the tokenizers")]
pub(super) struct PreTokenizer {
    /// Patterns that are cut out, one after the other.
    pub(super) patterns: Vec<String>,
    /// Whether the rest is cut as GPT-2 cuts, in place of being left whole.
    pub(super) words: bool,
    /// Whether texts are composed (NFC) first.
    pub(super) composes: bool,
    /// Whether a word that is a token stays whole for any merges.
    pub(super) ignore_merges: bool,
    /// Whether a bos token is added by default.
    pub(super) adds_bos: bool,
}

/// Ideographs, kana excepted, and Hangul, as `DeepSeek`'s first tokenizers list them.
const IDEOGRAPHS: &str = "[一-龥ࠀ-一가-퟿]+";

impl PreTokenizer {
    /// The names that are implemented.
    const SUPPORTED: [&'static str; 38] = [
        "gpt-2",
        "phi-2",
        "exaone4",
        "trillion",
        "mellum",
        "a.x-4.0",
        "smollm",
        "starcoder",
        "refact",
        "command-r",
        "exaone",
        "codeshell",
        "minerva-7b",
        "olmo",
        "mpt",
        "llama-bpe",
        "llama3",
        "llama-v3",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "lfm2",
        "midm-2.0",
        "smaug-bpe",
        "dbrx",
        "qwen2",
        "deepseek-r1-qwen",
        "megrez",
        "qwen35",
        "stablelm2",
        "tekken",
        "gpt-4o",
        "llama4",
        "deepseek-llm",
        "deepseek-coder",
        "deepseek-v3",
        "hunyuan-dense",
        "seed-coder",
    ];

    /// Finds a pre-tokenizer by the name in `tokenizer.ggml.pre`.
    pub(super) fn named(name: &str) -> Result<Self, PolicyError> {
        let plain = Self {
            patterns: Vec::new(),
            words: false,
            composes: false,
            ignore_merges: false,
            adds_bos: false,
        };
        let cut = |patterns: &[&str]| Self {
            patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            ..plain.clone()
        };
        Ok(match name {
            "gpt-2" | "phi-2" | "exaone4" | "trillion" | "mellum" | "a.x-4.0" | "olmo" | "mpt" => {
                Self { words: true, ..plain }
            }
            // Each digit is a word.
            "smollm" | "starcoder" | "refact" | "command-r" | "exaone" | "codeshell"
            | "minerva-7b" => Self { words: true, ..cut(&[r"\p{N}"]) },
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "lfm2"
            | "midm-2.0" => Self {
                ignore_merges: true,
                adds_bos: true,
                ..cut(&[&modern(MODERN_WORDS, "{1,3}")])
            },
            "smaug-bpe" | "dbrx" => cut(&[&modern(MODERN_WORDS, "{1,3}")]),
            "qwen2" | "deepseek-r1-qwen" | "megrez" => {
                Self { composes: true, ..cut(&[&modern(MODERN_WORDS, "")]) }
            }
            "qwen35" => {
                let pattern = modern(r"[\p{L}\p{M}]+", "").replace(r"[^\s\p{L}", r"[^\s\p{L}\p{M}");
                Self { composes: true, ..cut(&[&pattern]) }
            }
            "stablelm2" => cut(&[&modern(MODERN_WORDS, "")]),
            // Marks have no line ends behind them.
            "seed-coder" => cut(&[&modern(MODERN_WORDS, "")
                .replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+")]),
            "tekken" => Self { ignore_merges: true, adds_bos: true, ..cut(&[&cased("", "")]) },
            "gpt-4o" | "llama4" => cut(&[&cased(&format!("(?:{CONTRACTIONS})?"), "{1,3}")]),
            "deepseek-llm" => cut(&[
                "[\r\n]",
                // Letters that have a case, except those of Georgian.
                r"\s?[\p{Lu}\p{Ll}\p{Lt}&&[^ა-ჿ]]+",
                r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
                r"\s+$",
                IDEOGRAPHS,
                r"\p{N}",
            ]),
            "deepseek-coder" => cut(&["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", IDEOGRAPHS, r"\p{N}"]),
            "deepseek-v3" | "hunyuan-dense" => cut(&[
                r"\p{N}{1,3}",
                "[一-龥぀-ゟ゠-ヿ]+",
                concat!(
                    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
                    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
                    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
                ),
            ]),
            other => {
                return Err(PolicyError::unsupported(
                    "tokenizer.ggml.pre",
                    other,
                    Self::SUPPORTED.join(", "),
                ));
            }
        })
    }

    /// The steps in the words of `tokenizer.json`: what the patterns find, what lies between, and bytes as letters.
    pub(super) fn steps(&self) -> Value {
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": self.words,
        });
        let split = |pattern: &String| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let steps: Vec<Value> = self.patterns.iter().map(split).chain([byte_level]).collect();
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

/// Endings of English words behind an apostrophe.
const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

/// Letters of a word.
const MODERN_WORDS: &str = r"\p{L}+";

/// Words, numbers, punctuation and spaces as tokenizers since GPT-4 separate them, with `{1,3}` digits or one
/// at a time.
fn modern(letters: &str, digits: &str) -> String {
    let words = format!(r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{letters}");
    let rest = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    format!(r"{words}|\p{{N}}{digits}|{rest}")
}

/// As [`modern`], with a new word at a capital after small letters, and with a suffix of words.
fn cased(suffix: &str, digits: &str) -> String {
    let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
    let before = r"[^\r\n\p{L}\p{N}]?";
    let words = format!("{before}{upper}*{lower}+{suffix}|{before}{upper}+{lower}*{suffix}");
    format!(r"{words}|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde::Deserialize;
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, PreTokenizerWrapper,
    };

    use super::*;

    /// Texts, and their words by the expressions of llama.cpp; `gen/pre_tokenizers.py` writes them.
    #[derive(Deserialize)]
    struct Golden {
        texts: Vec<String>,
        rules: Vec<Rule>,
    }

    #[derive(Deserialize)]
    struct Rule {
        names: Vec<String>,
        words: Vec<Vec<String>>,
    }

    fn golden() -> Golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden/pre_tokenizer_words.json");
        let text = std::fs::read_to_string(path).expect("the golden file is there");
        serde_json::from_str(&text).expect("the golden file parses")
    }

    fn words(pre: &PreTokenizer, text: &str) -> Vec<String> {
        let steps = serde_json::from_value::<PreTokenizerWrapper>(pre.steps());
        let mut pieces = PreTokenizedString::from(text);
        steps.expect("steps").pre_tokenize(&mut pieces).expect("words");
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect()
    }

    #[test]
    fn golden_words_are_those_of_llama_cpp_for_all_names() {
        let golden = golden();
        let mut names = BTreeSet::new();
        for Rule { names: group, words: expected } in golden.rules {
            for name in group {
                let pre = PreTokenizer::named(&name).expect("a known name");
                for (text, expected) in golden.texts.iter().zip(&expected) {
                    assert_eq!(&words(&pre, text), expected, "{name}: {text:?}");
                }
                names.insert(name);
            }
        }
        // The expressions of this one list letters one by one; it has vectors of its own.
        names.insert("deepseek-llm".to_owned());
        assert_eq!(names, PreTokenizer::SUPPORTED.map(str::to_owned).into());
    }
}
