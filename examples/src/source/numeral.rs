//! Finds numbers in English text, written in digits or in words.
//!
//! Words count as numbers when they state a quantity: cardinals (`seven`, `twenty-one`,
//! `two hundred`), `dozen`, multiples (`once`, `twice`, `thrice`, `double`, `triple`, …) and
//! fractions (`half`, `quarter`, `two thirds`). `one` counts even where it is a pronoun.
//! `first` and `second` do not count: they order steps, and a `second` is a unit. From `third` on,
//! ordinals are also fractions and do count. `pair`, `couple` and `both` describe things and do not
//! count; neither do articles.

use super::number::{Notation, Number};

/// A number that a text mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Its value.
    pub value: Number,
    /// As it is written.
    pub text: String,
}

/// Every number in `text`. Parts count too: `two hundred` gives 2, 100 and 200, and `3/4` gives 3,
/// 4 and 3/4, so that no reading is missed.
pub fn numbers_in(text: &str) -> Vec<Mention> {
    let mut mentions = digits_in(text);
    words_in(text, &mut mentions);
    mentions
}

/// Whether `word` (letters only) is a number word.
pub fn is_number_word(word: &str) -> bool {
    word_value(&word.to_ascii_lowercase()).is_some()
}

/// Whether `word` counts units (`seven`, `twenty`), as opposed to fractions and multiples.
fn is_cardinal(kind: Kind) -> bool {
    matches!(kind, Kind::Unit | Kind::Ten | Kind::Scale)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unit,
    Ten,
    Scale,
    Fraction,
    Multiple,
}

fn word_value(word: &str) -> Option<(Kind, Number)> {
    const UNITS: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] =
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    const FRACTIONS: [(&str, i128); 13] = [
        ("half", 2),
        ("halve", 2),
        ("third", 3),
        ("quarter", 4),
        ("fourth", 4),
        ("fifth", 5),
        ("sixth", 6),
        ("seventh", 7),
        ("eighth", 8),
        ("ninth", 9),
        ("tenth", 10),
        ("twelfth", 12),
        ("sixteenth", 16),
    ];
    const SCALES: [(&str, i128); 4] =
        [("dozen", 12), ("hundred", 100), ("thousand", 1000), ("million", 1_000_000)];
    const MULTIPLES: [(&str, i128); 7] = [
        ("once", 1),
        ("twice", 2),
        ("thrice", 3),
        ("double", 2),
        ("triple", 3),
        ("quadruple", 4),
        ("quintuple", 5),
    ];
    let position = |list: &[&str]| list.iter().position(|w| *w == word).map(|at| at as i128);
    if let Some(value) = position(&UNITS) {
        return Some((Kind::Unit, Number::whole(value)));
    }
    if let Some(tens) = position(&TENS) {
        return Some((Kind::Ten, Number::whole(10 * tens + 20)));
    }
    let stem = match word {
        "halves" | "halved" | "halving" => "half",
        "doubles" | "doubled" | "doubling" => "double",
        "triples" | "tripled" | "tripling" => "triple",
        _ => word.strip_suffix('s').unwrap_or(word),
    };
    let lookup = |list: &[(&str, i128)]| list.iter().find(|(w, _)| *w == stem).map(|(_, v)| *v);
    if let Some(value) = lookup(&SCALES) {
        return Some((Kind::Scale, Number::whole(value)));
    }
    if let Some(den) = lookup(&FRACTIONS) {
        return Number::ratio(1, den, Notation::Fraction).map(|value| (Kind::Fraction, value));
    }
    lookup(&MULTIPLES).map(|value| (Kind::Multiple, Number::whole(value)))
}

fn digits_in(text: &str) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut previous: Option<(usize, Number)> = None;
    while at < bytes.len() {
        // Digits inside a name, such as `x_1` or `H2`, are not quantities.
        let inside = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        if !bytes[at].is_ascii_digit() || inside {
            at += 1;
            continue;
        }
        let length = numeral_length(&bytes[at..]);
        let written = &text[at..at + length];
        // `.5` without a leading zero.
        let point = at > 0 && bytes[at - 1] == b'.' && !written.contains('.');
        let value = if point { Number::parse(&format!("0.{written}")) } else { None };
        let value = value.or_else(|| Number::parse(written));
        if let Some(value) = value {
            let mut push = |value| mentions.push(Mention { value, text: written.to_owned() });
            push(value);
            if bytes.get(at + length) == Some(&b'%') {
                value.over(Number::whole(100)).map(&mut push);
            }
            if let Some((end, num)) = previous
                && end + 1 == at
                && bytes[end] == b'/'
            {
                num.over(value).map(&mut push);
            }
            previous = Some((at + length, value));
        }
        at += length;
    }
    mentions
}

/// Length of `1,250.75` at the start of `bytes`; commas only before three digits.
fn numeral_length(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut length = digits(0);
    while length <= 3 * bytes.len() && bytes.get(length) == Some(&b',') && digits(length + 1) == 3 {
        length += 4;
    }
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    length
}

fn words_in(text: &str, mentions: &mut Vec<Mention>) {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    // The cardinal being read: finished thousands and the group below.
    let mut total = Number::whole(0);
    let mut group: Option<Number> = None;
    let mut written = String::new();
    for word in &words {
        let value = word_value(word);
        if let Some((kind, value)) = value {
            mentions.push(Mention { value, text: word.clone() });
            written = if written.is_empty() { word.clone() } else { format!("{written} {word}") };
            let (next_total, next_group) = match (kind, group) {
                (Kind::Unit | Kind::Ten, None) => (Some(total), Some(value)),
                (Kind::Unit | Kind::Ten, Some(so_far)) => (Some(total), so_far.plus(value)),
                (Kind::Scale, so_far) => {
                    let scaled = so_far.unwrap_or(Number::whole(1)).times(value);
                    if value >= Number::whole(1000) {
                        (scaled.and_then(|s| total.plus(s)), Some(Number::whole(0)))
                    } else {
                        (Some(total), scaled)
                    }
                }
                (Kind::Fraction | Kind::Multiple, Some(so_far)) => {
                    (Some(Number::whole(0)), so_far.times(value))
                }
                (Kind::Fraction | Kind::Multiple, None) => (Some(total), None),
            };
            total = next_total.unwrap_or(Number::whole(0));
            group = next_group;
            if let Some(sum) = group.and_then(|group| total.plus(group)) {
                mentions.push(Mention { value: sum, text: written.clone() });
            }
            if !is_cardinal(kind) {
                (total, group) = (Number::whole(0), None);
                written.clear();
            }
        } else if word != "and" {
            (total, group) = (Number::whole(0), None);
            written.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn mentions(text: &str, expected: &str) {
        let expected = Number::parse(expected).unwrap();
        let found = numbers_in(text);
        assert!(found.iter().any(|m| m.value == expected), "{text}: {found:?}");
    }

    #[test]
    fn digits_are_found_in_every_notation() {
        mentions("costs $1,250.75 today", "1250.75");
        mentions("about .5 of it", "0.5");
        mentions("50% of them", "0.5");
        mentions("3/4 of them", "3/4");
        mentions("a 36-minute call", "36");
        mentions("1, 2", "2");
    }

    #[test]
    fn number_words_are_found_alone_and_combined() {
        mentions("Twenty-one cats", "21");
        mentions("two hundred and fifty", "250");
        mentions("three thousand forty", "3040");
        mentions("two dozen eggs", "24");
        mentions("three quarters of it", "3/4");
        mentions("Half of them", "1/2");
        mentions("twice as many", "2");
        mentions("the price doubled", "2");
        mentions("a third of it", "1/3");
    }

    #[test]
    fn words_that_only_order_or_describe_are_no_numbers() {
        for text in ["First add, then in a second step a pair of both", "x_1 + a2", "often weighty"]
        {
            assert_eq!(numbers_in(text), [], "{text}");
        }
    }
}
