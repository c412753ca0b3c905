//! Words behind a number that name the counted thing: `12 red marbles`, not `12 doubled` or
//! `12 in hexadecimal`.
//!
//! A counted thing stands in the plural, unless there is one of it. Other words behind a number may change it, and a text
//! with them is not read.

use crate::math::lex::units::{is_unit, is_unit_letter};
use crate::math::parse::stance::{has, is_east_asian, is_no_counter, words_of};
use crate::number::is_number_word;

/// Whether the words behind a value are a unit or name the counted thing. `is_one` says that it is one thing or
/// less.
pub(crate) fn is_counted(words: &str, is_one: bool) -> bool {
    /// Behind the counted thing they give manner, time or topic.
    const LINKS: [&str; 25] = [
        "that",
        "this",
        "for",
        "per",
        "of",
        "in",
        "on",
        "each",
        "left",
        "remaining",
        "total",
        "altogether",
        "a",
        "an",
        "long",
        "wide",
        "tall",
        "high",
        "deep",
        "old",
        "thick",
        "apart",
        "away",
        "to",
        "from",
    ];
    /// Without a thing counted in front of them.
    const ALONE: [&str; 7] =
        ["in total", "in all", "total", "altogether", "each", "left", "o'clock"];
    let words = words.trim_matches([' ', '.', ',', ';', ':', '!', '*']);
    // `12 (per week)`
    if let Some(inside) = words.strip_prefix('(') {
        let inside = inside.trim_matches([')', ' ']);
        return has(&["minimum", "maximum", "total", "answer"], inside)
            || inside.starts_with("per ")
            || is_counted(inside, is_one);
    }
    if ALONE.contains(&words) {
        return true;
    }
    let is_known = |word: &str| {
        word.split(['/', '^', '-', '.', '{', '}', '²', '³', '·'])
            .filter(|part| part.chars().any(char::is_alphabetic))
            .all(|part| is_unit(part) || is_unit_letter(part) || is_word_of_units(part))
    };
    if words.split_whitespace().all(is_known) {
        return true;
    }
    if is_one && words.starts_with("of the ") {
        return true;
    }
    if !words.is_ascii() {
        return words.split_whitespace().all(|word| is_known(word) || is_foreign_noun(word));
    }
    if changes_count(words) {
        return false;
    }
    let words = words.replace("\\cdot", " ");
    let head: Vec<&str> = words
        .split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '^' | '/' | '-' | '.')))
        .filter(|word| !word.is_empty())
        .take_while(|word| !LINKS.contains(word))
        .collect();
    let Some(last) = head.last() else { return false };
    // `1 solution`, not `1 doubled`
    let is_singular =
        is_one && head.len() < 4 && !["ed", "ly", "ble"].iter().any(|end| last.ends_with(end));
    is_plural(last) || head.iter().all(|word| is_known(word)) || is_singular
}

/// Whether a word in the plural makes another value of a number, and is no thing that it counts. `12 dozens` and
/// `12 twentieths` are not 12.
fn is_of_another_value(word: &str) -> bool {
    const WORDS: [&str; 26] = [
        "percents",
        "percentages",
        "dozens",
        "grosses",
        "reciprocals",
        "inverses",
        "negatives",
        "opposites",
        "factorials",
        "quarters",
        "halves",
        "thirds",
        "lakhs",
        "crores",
        "myriads",
        "milliards",
        "milliers",
        "permilles",
        "hundreds",
        "thousands",
        "tens",
        "scores",
        "zillions",
        "menos",
        "moins",
        "cents per",
    ];
    // Nouns of the same ending as the parts of a whole.
    const THINGS: [&str; 24] = [
        "months",
        "paths",
        "lengths",
        "widths",
        "depths",
        "breadths",
        "births",
        "deaths",
        "baths",
        "cloths",
        "moths",
        "myths",
        "mouths",
        "truths",
        "booths",
        "sloths",
        "youths",
        "faiths",
        "breaths",
        "growths",
        "strengths",
        "earths",
        "maths",
        "mammoths",
    ];
    let word = word.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    has(&WORDS, &word)
        || (word.ends_with("ths") && !has(&THINGS, &word))
        || ends(&["illions", "illiards", "illones", "illiers", "zaines", "taines"])
}

/// Whether words count in groups or fractions of the thing, or owe it: `hundreds of people`, `basis points`, `groups of
/// two`, `dollars in debt`.
fn changes_count(words: &str) -> bool {
    const OWED: [&str; 6] = ["debt", "deficit", "owed", "loss", "short", "magnitude"];
    let mut behind_of = false;
    words_of(words).enumerate().any(|(at, word)| {
        let is_number = behind_of
            && (is_number_word(&word.to_ascii_lowercase())
                || word.bytes().all(|byte| byte.is_ascii_digit()));
        behind_of = word == "of";
        is_number
            || has(&OWED, word)
            || (at == 0 && has(&["basis"], word))
            || is_of_another_value(word)
    })
}

/// Whether a word of another language is a counter or a noun that is known. Others may compute: `тысяч`, `más uno`.
fn is_foreign_noun(word: &str) -> bool {
    const NOUNS: [&str; 48] = [
        "です",
        "입니다",
        "руб",
        "рубль",
        "рубля",
        "рублей",
        "см",
        "мм",
        "дм",
        "м",
        "км",
        "кг",
        "г",
        "л",
        "мл",
        "с",
        "мин",
        "ч",
        "час",
        "часа",
        "часов",
        "минут",
        "минуты",
        "дней",
        "дня",
        "лет",
        "человек",
        "учеников",
        "книг",
        "яблок",
        "способов",
        "способа",
        "años",
        "días",
        "niños",
        "números",
        "páginas",
        "élèves",
        "étudiants",
        "mètres",
        "kilomètres",
        "centimètres",
        "années",
        "Schüler",
        "Äpfel",
        "Stück",
        "người",
        "cách",
    ];
    let is_counter = word.chars().all(is_east_asian) && !is_no_counter(word);
    NOUNS.contains(&word) || is_counter
}

/// Whether words behind a value compute with it: `squared`, `times 3`, `more than that`, not `more dollars`.
pub(crate) fn computes(words: &str) -> bool {
    const OPERATIONS: [&str; 17] = [
        "squared",
        "cubed",
        "times",
        "plus",
        "minus",
        "halves",
        "thirds",
        "fourths",
        "fifths",
        "sixths",
        "divided",
        "multiplied",
        "over",
        "choose",
        "factorial",
        "mod",
        "modulo",
    ];
    let mut words = words_of(words);
    let Some(first) = words.next() else { return false };
    has(&OPERATIONS, first)
        || is_of_another_value(first)
        || first == "o'clock"
        || (has(&["less", "more", "fewer"], first) && !words.next().is_some_and(is_plural))
}

/// Words that units are made of, beside their names.
fn is_word_of_units(word: &str) -> bool {
    const WORDS: [&str; 26] = [
        "square",
        "cup",
        "pint",
        "quart",
        "tablespoon",
        "teaspoon",
        "units",
        "cubic",
        "sq",
        "cu",
        "unit",
        "percent",
        "percentage",
        "pct",
        "point",
        "degree",
        "celsius",
        "fahrenheit",
        "C",
        "F",
        "rpm",
        "mph",
        "bit",
        "light",
        "second",
        "case",
    ];
    has(&WORDS, word)
}

/// Whether a word is a noun in the plural, by its ending or as one of the irregular ones.
fn is_plural(word: &str) -> bool {
    const IRREGULAR: [&str; 20] = [
        "people", "men", "women", "children", "fish", "sheep", "mice", "feet", "teeth", "geese",
        "deer", "oxen", "dice", "vertices", "data", "yuan", "yen", "won", "baht", "rand",
    ];
    const OTHERS: [&str; 35] = [
        "tens",
        "ones",
        "twos",
        "threes",
        "fives",
        "gross",
        "less",
        "plus",
        "minus",
        "perhaps",
        "always",
        "times",
        "thus",
        "fails",
        "works",
        "is",
        "was",
        "has",
        "does",
        "versus",
        "scores",
        "hundreds",
        "thousands",
        "millions",
        "billions",
        "afterwards",
        "backwards",
        "besides",
        "contradicts",
        "remains",
        "violates",
        "divides",
        "needs",
        "exceeds",
        "likewise",
    ];
    // `undercounts` is a verb.
    let ending = word.ends_with('s')
        && !["over", "under", "mis"].iter().any(|prefix| word.starts_with(prefix))
        && word.len() > 2
        && !["ss", "us", "is"].iter().any(|end| word.ends_with(end));
    has(&IRREGULAR, word) || (ending && !has(&OTHERS, word) && !is_of_another_value(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_stands_in_the_plural() {
        for words in [
            "apples",
            "red marbles",
            "people",
            "square units",
            "cm",
            "m/s^2",
            "years old",
            "students per class",
            "pieces of candy",
            "meters long",
            "in total",
            "ways",
            "kg m/s",
            "percentage points",
            "個",
            "unit^2",
        ] {
            assert!(is_counted(words, false), "{words}");
        }
        for words in [
            "doubled",
            "pairs fewer",
            "gross",
            "less one",
            "rounded down",
            "per mille",
            "mil",
            "impossible",
            "fails",
            "approximately",
            "in hexadecimal",
            "reversed",
            "dozens",
            "of them",
        ] {
            assert!(!is_counted(words, false), "{words}");
        }
        assert!(is_counted("solution", true) && !is_counted("solution", false));
        assert!(!is_counted("doubled", true));
    }
}
