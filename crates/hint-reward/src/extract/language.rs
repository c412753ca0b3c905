//! The language of a sentence.

/// Words that no English sentence does without.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "the", "are", "were", "been", "of", "to", "for", "it", "its", "they", "you", "there", "this", "that",
    "these", "those", "his", "their", "our", "my", "has", "have", "had", "with", "by", "from", "each", "all",
    "takes", "costs", "gives", "altogether", "she", "and", "get", "gets", "got", "needs", "equals", "makes",
    "leaves", "answer", "result", "solution", "therefore", "thus", "hence", "he", "we", "must", "obtain",
    "after", "find", "week", "day", "year", "month", "hour", "hours", "meters", "miles", "feet", "dollars",
    "people", "into", "only", "than", "when", "who",
];

/// Words of other languages too, unless two of them stand together.
#[rustfmt::skip]
const SHARED: &[&str] = &["is", "in", "so", "i", "at", "be", "on", "per", "total", "final", "an"];

/// `To nie jest 12.` has English words in another language, and denies in it.
#[rustfmt::skip]
const DENIALS: &[&str] = &[
    "nie", "není", "nicht", "kein", "keine", "niet", "geen", "ikke", "inte", "pas", "não",
];

/// Whether a sentence speaks English, by the words that no sentence does without. Statements, denials and bounds in
/// another language are not read.
pub(crate) fn is_english(sentence: &str) -> bool {
    let count_words = |text: &str| {
        let words = text.split(|c: char| !c.is_alphabetic());
        words.filter(|word| word.chars().count() > 1).count()
    };
    let is_latin = |c: char| {
        c.is_ascii() || !c.is_alphabetic() || matches!(c, 'α'..='ω' | 'Α'..='Ω' | 'À'..='ÿ')
    };
    let words = sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let count = |known: &[&str]| {
        let is_known = |word: &&str| known.iter().any(|other| other.eq_ignore_ascii_case(word));
        words.clone().filter(is_known).count()
    };
    // `20 m/sec`: a number with its unit is no sentence.
    let layout: &[char] = &[' ', '*', '_', '`', '>', ':', '#', '|', '\n', '-', '$'];
    let is_quantity = sentence.trim_start_matches(layout).starts_with(|c: char| c.is_ascii_digit())
        && count_words(sentence) < 3;
    sentence.chars().all(is_latin)
        && count(DENIALS) == 0
        && (is_quantity
            || sentence
                .split('=')
                .next()
                .is_some_and(|left| left.len() < sentence.len() && count_words(left) < 2)
            || count(WORDS) > 0
            || count(SHARED) > 1)
}
