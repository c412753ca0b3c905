//! The embedded default: a small model that comes with the repository, and its task.

pub(crate) mod fit;
pub mod pretrain;
pub mod swaps;
pub(crate) mod vocabulary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hint_policy::Tokenizer;
use hint_rollout::TextFormat;
use hint_rollout::prompt::HintTemplate;

/// The checkpoint in the repository that the program was built from.
pub(crate) fn tiny_model() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
    if built.exists() { built } else { PathBuf::from("examples/tiny") }
}

/// Form in which the tiny model saw problems and hints.
pub(crate) fn tiny_format(
    tokenizer: impl Into<Arc<Tokenizer>>,
    stop_tokens: Vec<u32>,
) -> TextFormat {
    let template = HintTemplate { introduction: swaps::HINT_INTRODUCTION.to_owned() };
    let (prefix, suffix) = swaps::FRAME;
    let format = TextFormat::new(tokenizer.into(), stop_tokens);
    format.with_frame(prefix, suffix).with_hint_template(template)
}

/// Whether this is the tokenizer of the tiny model: in its folder, and in every checkpoint that was trained from it.
pub(crate) fn is_tiny(tokenizer: &Tokenizer) -> bool {
    let (prefix, suffix) = swaps::FRAME;
    let text = format!("{prefix}Row ABCDE. Swaps 1:AC 2:BD.{suffix} \\boxed{{CDABE}}");
    let same = |tiny: Tokenizer| {
        let ids = tiny.encode(&text).ok().zip(tokenizer.encode(&text).ok());
        tiny.vocab_size() == tokenizer.vocab_size() && ids.is_some_and(|(one, other)| one == other)
    };
    swaps::tokenizer().is_ok_and(same)
}
