//! Tokens that end a text or a turn by their names.

/// The names that llama.cpp goes by, for tokens of every kind. Files have keys for a few of them only.
const NAMES: [&str; 14] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
];

/// Whether a token ends a text or a turn, and is a control token therefore.
pub(crate) fn is_end(token: &str) -> bool {
    NAMES.contains(&token)
}
