//! Rules by which byte-level BPE tokenizers cut a text into words, under their names in GGUF files.

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
    const SUPPORTED: &'static str = "gpt-2, smollm, starcoder, refact, command-r, olmo, mpt, llama-bpe, \
        llama3, llama-v3, falcon3, falcon-h1, pixtral, smaug-bpe, dbrx, qwen2, deepseek-r1-qwen, megrez, \
        stablelm2, tekken, deepseek-llm, deepseek-coder, deepseek-v3";

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
            "gpt-2" | "olmo" | "mpt" => Self { words: true, ..plain },
            // Each digit is a word.
            "smollm" | "starcoder" | "refact" | "command-r" => {
                Self { words: true, ..cut(&[r"\p{N}"]) }
            }
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" => {
                Self { ignore_merges: true, adds_bos: true, ..cut(&[&modern("{1,3}")]) }
            }
            "smaug-bpe" | "dbrx" => cut(&[&modern("{1,3}")]),
            "qwen2" | "deepseek-r1-qwen" | "megrez" => {
                Self { composes: true, ..cut(&[&modern("")]) }
            }
            "stablelm2" => cut(&[&modern("")]),
            "tekken" => Self { ignore_merges: true, adds_bos: true, ..cut(&[&tekken()]) },
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
            "deepseek-v3" => cut(&[
                r"\p{N}{1,3}",
                "[一-龥぀-ゟ゠-ヿ]+",
                concat!(
                    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
                    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
                    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
                ),
            ]),
            other => {
                return Err(PolicyError::unsupported("tokenizer.ggml.pre", other, Self::SUPPORTED));
            }
        })
    }
}

/// Words, numbers, punctuation and spaces as tokenizers since GPT-4 separate them, with `{1,3}` digits or one
/// at a time.
fn modern(digits: &str) -> String {
    let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+";
    let rest = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    format!(r"{words}|\p{{N}}{digits}|{rest}")
}

/// As [`modern`], with a new word at a capital after small letters.
fn tekken() -> String {
    let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
    let before = r"[^\r\n\p{L}\p{N}]?";
    let words = format!("{before}{upper}*{lower}+|{before}{upper}+{lower}*");
    format!(r"{words}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
}
