//! Number words of English.

/// Meaning of a number word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Zero to nineteen.
    Unit(i64),
    /// Twenty, thirty, …
    Ten(i64),
    /// Dozen, hundred, thousand, million, billion.
    Scale(i64),
    /// Half, quarter: only a part of something.
    Part(i64),
    /// Third, fifth, …: a part of something, or a place in an order.
    OrdinalPart(i64),
    /// Once, twice, double, halve, …: an operation.
    Multiple,
}

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

const SCALES: [(&str, i64); 5] = [
    ("dozen", 12),
    ("hundred", 100),
    ("thousand", 1000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
];

const ORDINALS: [(&str, i64); 11] = [
    ("third", 3),
    ("fourth", 4),
    ("fifth", 5),
    ("sixth", 6),
    ("seventh", 7),
    ("eighth", 8),
    ("ninth", 9),
    ("tenth", 10),
    ("twelfth", 12),
    ("sixteenth", 16),
    ("hundredth", 100),
];

const MULTIPLES: [&str; 20] = [
    "once",
    "twice",
    "thrice",
    "double",
    "doubles",
    "doubled",
    "doubling",
    "triple",
    "triples",
    "tripled",
    "tripling",
    "quadruple",
    "quadruples",
    "quadrupled",
    "quintuple",
    "quintuples",
    "halve",
    "halves",
    "halved",
    "halving",
];

/// The value of a cardinal below a hundred in one word, in lower case.
pub(crate) fn cardinal(word: &str) -> Option<i64> {
    let place = |list: &[&str]| {
        list.iter().position(|known| *known == word).and_then(|at| i64::try_from(at).ok())
    };
    place(&UNITS).or_else(|| place(&TENS).map(|tens| 10 * tens + 20))
}

/// Meaning of `word`, in lower case; `None` if it is no number word. `first` and `second` do not
/// count: they order steps, and a `second` is a unit.
pub(super) fn word(word: &str) -> Option<Word> {
    if let Some(value) = cardinal(word) {
        return Some(if value < 20 { Word::Unit(value) } else { Word::Ten(value) });
    }
    if MULTIPLES.contains(&word) {
        return Some(Word::Multiple);
    }
    let stem = word.strip_suffix('s').unwrap_or(word);
    let find = |list: &[(&str, i64)]| list.iter().find(|(known, _)| *known == stem).map(|w| w.1);
    match stem {
        "half" => Some(Word::Part(2)),
        "quarter" => Some(Word::Part(4)),
        _ => find(&SCALES).map(Word::Scale).or_else(|| find(&ORDINALS).map(Word::OrdinalPart)),
    }
}
