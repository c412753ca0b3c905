//! Wrong answers that overlook a part of their reference.
//!
//! Such parts are the order of names, an index, a constant, and the order of a product. Others add a sign in front of words, a
//! second letter, an adverb, a restriction, or a word of another language.

use super::{Choices, Wrong};

/// Words in place of numbers, with the number.
const SPELLED: &[(&str, &str)] = &[
    ("13", "thirteen"),
    ("40", "forty"),
    ("68", "sixty-eight"),
    ("300", "three hundred"),
    ("\\frac{4}{5}", "four fifths"),
    ("4\\text{ hours}", "four hours"),
    ("9\\text{ dollars}", "nine dollars"),
    ("2000000", "two million"),
];

/// Words that qualify a yes, a no or a true.
const QUALIFIERS: &[&str] = &[
    "sometimes",
    "usually",
    "mostly",
    "rarely",
    "partially",
    "in part",
    "in theory",
    "almost",
    "nearly always",
    "half of the time",
    "in some cases",
    "in most cases",
    "for small n",
    "for n=3",
    "as long as x>0",
    "provided x>0",
    "given x>0",
    "with one exception",
    "apart from 5",
    "save for 5",
    "depending on x",
    "although it fails for 5",
    "though not for 5",
    "with probability 1/3",
    "up to n=7",
    "by a coin flip",
    "on condition that n is odd",
    "at least for odd n",
    "iff x>0",
    "otherwise not",
    "according to some",
    "to a degree",
    "as a rule",
    "as far as we know",
    "after x=2",
    "barring 5",
    "more or less",
];

/// Formulas, and conditions that restrict each of them.
const FORMULAS: &[&str] = &["x^2+3", "4x", "5^x", "\\frac{x}{7}", "f(x)=x^2+3", "x(x-9)"];
const RESTRICTIONS: &[&str] = &[
    "x=2",
    "x=0",
    "x<0",
    "x<-4",
    "x\\le 5",
    "x>40",
    "a=b",
    "b=-a",
    "x=y",
    "2=3",
    "x\\ne x",
    "x=x+1",
    "x\\ge 100",
];

/// Words of other languages that compute with a number, name a power of ten, deny or offer another value.
const FOREIGN: &[&str] = &[
    "тысяч",
    "миллион",
    "минус два",
    "плюс один",
    "в кубе",
    "неверно",
    "не ответ",
    "или 15",
    "больше",
    "más dos",
    "más o menos",
    "élevé au cube",
    "négatif",
    "größer",
    "höchstens",
    "nicht möglich",
    "ungefähr",
    "ή 15",
    "nghìn",
    "triệu",
    "trừ hai",
    "ألف",
    "ناقص واحد",
    "लाख",
    "हज़ार",
    "พัน",
    "ล้าน",
    "加二",
    "减二",
    "平方",
    "立方",
    "倒数",
    "次方",
    "반",
    "만",
    "천",
    "백만",
    "倍",
    "以上",
];

/// Beginnings of a word that its ending makes a part or a power of ten.
const STEMS: &[(&str, &str)] = &[
    (
        "ths",
        "four fif six seven nin eleven twelf thirteen fourteen sixteen eighteen twentie thirtie fiftie millionth billion",
    ),
    ("illions", "m b tr quadr quint sext sept zill"),
    (
        "",
        "dozens hundreds thousands lakhs crores myriads milliards permilles percents douzaines millones",
    ),
];

/// Sentences about another thing than the reference speaks of.
const SENTENCES: &[(&str, &[&str])] = &[
    (
        "\\infty",
        &[
            "its negative diverges to infinity",
            "it never diverges to infinity",
            "the inverse tends to infinity",
            "3 when x tends to infinity",
            "nothing tends to infinity",
            "minus it tends to infinity",
            "no term tends to infinity",
        ],
    ),
    (
        "\\text{converges}",
        &[
            "no series converges",
            "not every series converges",
            "hardly any series converges",
            "neither series converges",
            "the reciprocal converges",
            "the negation converges",
        ],
    ),
    (
        "\\text{does not exist}",
        &[
            "a counterexample does not exist",
            "an upper bound does not exist",
            "another solution does not exist",
            "3, other values do not exist",
            "no such restriction exists",
            "no such proof exists",
            "it is untrue that it does not exist",
        ],
    ),
];

/// Products whose order counts, and the same letters in another order.
const PRODUCTS: &[(&str, &str)] = &[
    ("p\\circ q", "q\\circ p"),
    ("f\\circ g\\circ h", "h\\circ g\\circ f"),
    ("(f\\circ g)(x)", "(g\\circ f)(x)"),
    ("\\mathbf{a}\\times\\mathbf{b}", "\\mathbf{b}\\times\\mathbf{a}"),
    ("\\mathbf{a}\\times\\mathbf{b}", "\\mathbf{a}\\cdot\\mathbf{b}"),
    ("\\vec a\\times\\vec b", "\\vec b\\times\\vec a"),
    ("\\bm{a}\\times\\bm{b}", "\\bm{b}\\times\\bm{a}"),
    ("A^{-1}BA", "B"),
    ("PDP^{-1}", "P^{-1}DP"),
    ("B^{-1}A^{-1}", "A^{-1}B^{-1}"),
    ("AB-BA", "0"),
    ("XYX", "X^2Y"),
    ("xyx^{-1}", "y"),
    ("\\mathbf{A}\\mathbf{B}", "\\mathbf{B}\\mathbf{A}"),
];

/// Names for a value that is not the answer's own.
const LABELS: &[&str] = &[
    "its square",
    "double",
    "twice it",
    "half of it",
    "its reciprocal",
    "the inverse",
    "the error",
    "lower bound",
    "upper bound",
    "sum of the others",
    "the old value",
    "a wrong value",
];

/// The families.
const FAMILIES: usize = 14;

/// A wrong answer of a family; `None` where what was drawn is the reference itself.
pub(crate) fn wrong(choices: &mut Choices) -> Option<Wrong> {
    let (by, reference, answer) = match choices.below(FAMILIES) {
        0 => names(choices),
        1 => indices(choices)?,
        2 => sign(choices),
        3 => letters(choices)?,
        4 => {
            let reference = choices.of(&["Yes", "No", "True", "False"]);
            let answer = format!("\\text{{{reference}, {}}}", choices.of(QUALIFIERS));
            ("qualified", format!("\\text{{{reference}}}"), answer)
        }
        5 => {
            let (reference, tie) = (
                choices.of(FORMULAS),
                choices.of(&["where", "for", "with", "such that", "if", "when", "provided"]),
            );
            let answer = format!("{reference}\\text{{ {tie} }}{}", choices.of(RESTRICTIONS));
            ("restricted", reference.to_owned(), answer)
        }
        6 => constant(choices),
        7 => {
            let (reference, answer) = PRODUCTS[choices.below(PRODUCTS.len())];
            ("order of factors", reference.to_owned(), answer.to_owned())
        }
        8 => {
            let reference = choices.of(&["14", "-6", "\\frac{2}{9}", "x^2+3", "2.75"]);
            let answer = format!("{reference}\\text{{ {}}}", choices.of(FOREIGN));
            ("foreign word", reference.to_owned(), answer)
        }
        9 => return Some(scale(choices)),
        10 => {
            let (reference, sentences) = SENTENCES[choices.below(SENTENCES.len())];
            let answer = format!("\\text{{{}}}", choices.of(sentences));
            ("other subject", reference.to_owned(), answer)
        }
        11 => modulus(choices),
        12 => {
            let answer = format!("\\text{{{}}}=14", choices.of(LABELS));
            ("label", "14".to_owned(), answer)
        }
        _ => {
            let power = 2 + choices.below(11);
            let other = 1 + choices.below(14);
            let text = |power: usize| format!("5\\text{{ m}}^{{{power}}}");
            ("power of a unit", text(power), text(other))
        }
    };
    let completion = match choices.below(4) {
        0 | 1 => format!("\\boxed{{{answer}}}"),
        2 => format!("The answer is ${answer}$."),
        _ => format!("<answer>{answer}</answer>"),
    };
    (reference != answer).then_some(Wrong { by, reference, completion })
}

/// Three different numbers.
fn numbers(choices: &mut Choices) -> [usize; 3] {
    let first = 1 + choices.below(9);
    let second = first + 1 + choices.below(7);
    [first, second, second + 1 + choices.below(5)]
}

/// The values of a point under names in another order.
fn names(choices: &mut Choices) -> (&'static str, String, String) {
    let [a, b, c] = numbers(choices);
    if choices.below(3) == 0 {
        let reference = format!("({a},{b},{c})");
        let answer = match choices.below(3) {
            0 => format!("z={a},y={b},x={c}"),
            1 => format!("(y,x,z)=({a},{b},{c})"),
            _ => format!("y={a},x={b},z={c}"),
        };
        return ("names in another order", reference, answer);
    }
    let pair = choices.of(&["xy", "ab", "pq", "mn", "hk", "rs"]);
    let (first, second) = pair.split_at(1);
    let reference = match choices.below(4) {
        0 => format!("({first},{second})=({a},{b})"),
        1 => format!("{first}={a},{second}={b}"),
        _ => format!("({a},{b})"),
    };
    let answer = match choices.below(5) {
        0 => format!("{second}={a},{first}={b}"),
        1 => format!("{second}={a}\\text{{ and }}{first}={b}"),
        2 => format!("({second},{first})=({a},{b})"),
        3 => format!("({first},{second})=({b},{a})"),
        _ => format!("{second}={a};\\ {first}={b}"),
    };
    ("names in another order", reference, answer)
}

/// The values of names with an index, under other indices.
fn indices(choices: &mut Choices) -> Option<(&'static str, String, String)> {
    let [a, b, _] = numbers(choices);
    let base = choices.of(&["a", "b", "v", "S", "m", "P", "T", "u", "F"]);
    let indices = [
        ("1", "2"),
        ("0", "1"),
        ("2", "1"),
        ("1", "7"),
        ("3", "4"),
        ("A", "B"),
        ("B", "A"),
        ("\\max", "\\min"),
        ("\\min", "\\max"),
        ("n", "m"),
        ("m", "n"),
        ("\\text{in}", "\\text{out}"),
        ("\\text{out}", "\\text{in}"),
    ];
    let (own, other) =
        (indices[choices.below(indices.len())], indices[choices.below(indices.len())]);
    let text =
        |(first, second): (&str, &str)| format!("{base}_{{{first}}}={a}, {base}_{{{second}}}={b}");
    (own != other).then(|| ("index", text(own), text(other)))
}

/// A sign, or a comma or dash, among the words of a number.
fn sign(choices: &mut Choices) -> (&'static str, String, String) {
    let (reference, words) = SPELLED[choices.below(SPELLED.len())];
    let parted = words.split_once([' ', '-']);
    let answer = match (choices.below(5), parted) {
        (0, Some((first, second))) if !reference.contains("text") => {
            format!("\\text{{{first}, {second}}}")
        }
        (1, Some((first, second))) if !reference.contains("text") => {
            format!("\\text{{{first} - {second}}}")
        }
        (2, _) => format!("\\text{{-{words}}}"),
        (3, _) => format!("\\text{{minus {words}}}"),
        _ => format!("-\\text{{{words}}}"),
    };
    ("sign of words", reference.to_owned(), answer)
}

/// A letter with others behind it.
fn letters(choices: &mut Choices) -> Option<(&'static str, String, String)> {
    const LETTERS: [&str; 4] = ["A", "B", "C", "D"];
    let (own, other, third) = (choices.of(&LETTERS), choices.of(&LETTERS), choices.of(&LETTERS));
    let answer = match choices.below(8) {
        0 => format!("\\text{{{own}. {other}}}"),
        1 => format!("\\text{{({own}) {other}}}"),
        2 => format!("\\text{{{own}) {other}) {third})}}"),
        3 => format!("\\text{{{own}: {other}}}"),
        4 => format!("{own}. {other}. {third}."),
        5 => format!("\\text{{({own}) {other} or {third}}}"),
        6 => format!("\\text{{{own}. Or {other}.}}"),
        _ => format!("\\text{{({own}) and ({other})}}"),
    };
    (own != other && own != third).then(|| ("letters", own.to_owned(), answer))
}

/// A rounding or a sum with a constant beyond the small numbers, and one beside it.
fn constant(choices: &mut Choices) -> (&'static str, String, String) {
    let large = 35 + choices.below(1965);
    let beside = if choices.below(2) == 0 { large + 1 } else { large - 1 };
    let (reference, answer) = match choices.below(8) {
        0 => (
            format!("\\lfloor\\frac{{n}}{{{large}}}\\rfloor"),
            format!("\\lfloor\\frac{{n}}{{{beside}}}\\rfloor"),
        ),
        1 => (
            format!("\\lceil\\frac{{n}}{{{large}}}\\rceil"),
            format!("\\lfloor\\frac{{n}}{{{large}}}\\rfloor+1"),
        ),
        2 => (format!("\\lfloor\\frac{{n}}{{{large}}}\\rfloor"), "0".to_owned()),
        3 => (format!("n\\bmod {large}"), "n".to_owned()),
        4 => (format!("n\\bmod {large}"), format!("n\\bmod {beside}")),
        5 => (format!("\\sum_{{k={large}}}^{{n}}k"), "0".to_owned()),
        6 => (format!("\\sum_{{k=1}}^{{n}}\\min(k,{large})"), "\\frac{n(n+1)}{2}".to_owned()),
        _ => (format!("\\sum_{{k=1}}^{{n}}\\lfloor\\frac{{k}}{{{large}}}\\rfloor"), "0".to_owned()),
    };
    ("constant", reference, answer)
}

/// A number of which a word in the plural makes another one.
fn scale(choices: &mut Choices) -> Wrong {
    let (ending, stems) = STEMS[choices.below(STEMS.len())];
    let stems: Vec<&str> = stems.split(' ').collect();
    let word = format!("{}{ending}", choices.of(&stems));
    let number = choices.of(&["14", "3", "250", "2.75"]);
    let completion = match choices.below(4) {
        0 => format!("\\boxed{{{number}}} {word}"),
        1 => format!("\\boxed{{{number}\\text{{ {word}}}}}"),
        2 => format!("\\boxed{{{number}}} {word} of them."),
        _ => format!("The answer is {number} {word}."),
    };
    Wrong { by: "scale word", reference: number.to_owned(), completion }
}

/// A residue by another modulus, or a modulus that was not asked for.
fn modulus(choices: &mut Choices) -> (&'static str, String, String) {
    let (residue, modulus) = (1 + choices.below(5), 7 + choices.below(30));
    let command = choices.of(&["\\mod", "\\bmod"]);
    let formula = choices.of(&["x^2+1", "2n+1", "k^3-4"]);
    let (reference, answer) = match choices.below(3) {
        0 => {
            (format!("{residue}{command} {modulus}"), format!("{residue}{command} {}", modulus + 1))
        }
        1 => (formula.to_owned(), format!("{formula}{command} {modulus}")),
        _ => (formula.to_owned(), format!("{formula}\\text{{ mod }}{modulus}")),
    };
    ("modulus", reference, answer)
}
