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
    const SUPPORTED: [&'static str; 32] = [
        "gpt-2",
        "phi-2",
        "exaone4",
        "smollm",
        "starcoder",
        "refact",
        "command-r",
        "exaone",
        "olmo",
        "mpt",
        "llama-bpe",
        "llama3",
        "llama-v3",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "lfm2",
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
            "gpt-2" | "phi-2" | "exaone4" | "olmo" | "mpt" => Self { words: true, ..plain },
            // Each digit is a word.
            "smollm" | "starcoder" | "refact" | "command-r" | "exaone" => {
                Self { words: true, ..cut(&[r"\p{N}"]) }
            }
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "lfm2" => {
                Self {
                    ignore_merges: true,
                    adds_bos: true,
                    ..cut(&[&modern(MODERN_WORDS, "{1,3}")])
                }
            }
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
