//! The small model that comes with the families.

use std::path::{Path, PathBuf};

use hint_policy::{PolicyError, Tokenizer};

use super::{EASY, FAMILIES, HARD, STATES, Strategy};
use crate::tiny::vocabulary;

/// The checkpoint in the repository that the program was built from.
pub(crate) fn model() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny-tasks");
    if built.exists() { built } else { PathBuf::from("examples/tiny-tasks") }
}

/// The tokenizer of the model: the words of problems, hints and completions, and single characters.
///
/// # Errors
///
/// As [`vocabulary::tokenizer`].
pub(crate) fn tokenizer() -> Result<Tokenizer, PolicyError> {
    let mut words =
        ["Q:", "\nHint:", "\nA:", " \\boxed{", " It", " Go", " First"].map(String::from).to_vec();
    let word = |word: &str| format!(" {word}");
    words.extend(FAMILIES.iter().map(|family| word(family.thing())));
    words.extend(EASY.iter().chain(&HARD).map(|verb| word(verb.word)));
    words.extend(Strategy::ALL.iter().flat_map(|one| [word(one.name()), word(one.effect())]));
    // A state and an amount begin with a character after a space.
    for family in FAMILIES {
        words.extend((0..STATES).filter_map(|state| family.show(state).get(..1).map(word)));
    }
    words.sort();
    words.dedup();
    vocabulary::tokenizer(words)
}

/// Whether this is the tokenizer of the model: in its folder, and in every checkpoint that was trained from it.
pub(crate) fn is_own(other: &Tokenizer) -> bool {
    let text = "Q: Dial 37: gain 4 warp 3.\nHint: It rises, leaps.\nA: gain up 4 41 \\boxed{71}";
    let same = |own: Tokenizer| {
        let ids = own.encode(text).ok().zip(other.encode(text).ok());
        own.vocab_size() == other.vocab_size() && ids.is_some_and(|(one, other)| one == other)
    };
    tokenizer().is_ok_and(same)
}
