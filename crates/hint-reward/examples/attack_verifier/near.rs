//! Wrong answers that are near their reference: letters, segments, orders, chains, conditions, scale words and limits.
//! Some are sentences that close a value by speaking of another one.
//!
//! Each family has references and an operation of its own, so that every answer made is wrong.

use super::{Choices, Wrong};

/// Formulas with the letters that may be renamed, and the pairs that may be swapped. A swap that is a symmetry of the
/// formula is no pair.
const LETTERS: &[(&str, &str, &[&str])] = &[
    ("\\frac{1}{2}ab\\sin C", "abC", &["aC", "bC"]),
    ("2R\\sin C", "RC", &["RC"]),
    ("a^2+b^2-2ab\\cos C", "abC", &["aC", "bC"]),
    ("mc^2", "mc", &["mc"]),
    ("b^2-4ac", "abc", &["ab", "bc"]),
    ("\\frac{abc}{4R}", "abcR", &["aR", "bR", "cR"]),
    ("ad-bc", "abcd", &["ab", "cd", "ac", "bd"]),
    ("\\sqrt{s(s-a)(s-b)(s-c)}", "sabc", &["sa", "sb", "sc"]),
    ("\\frac{-b}{2c}", "bc", &["bc"]),
    ("\\sqrt{a^2+c^2}", "ac", &[]),
    ("c-b", "bc", &["bc"]),
    ("\\frac{a+b+c}{2}", "abc", &[]),
    ("\\frac{c}{a}", "ac", &["ac"]),
    ("a+c>b", "abc", &["ab", "bc"]),
    ("ax^2+bx+c", "abcx", &["ab", "ac", "bc", "ax", "bx", "cx"]),
    ("180^\\circ-A-C", "AC", &[]),
    ("A+C=90^\\circ", "AC", &[]),
    ("F=kx", "kx", &[]),
    ("v=\\frac{c}{n}", "cn", &["cn"]),
    ("P(A)P(C)", "AC", &[]),
    ("2a+3C", "aC", &["aC"]),
    ("\\frac{4}{3}\\pi r^3", "r", &[]),
    ("\\frac{PV}{nR}", "PVnR", &["Pn", "VR", "PR"]),
    ("\\frac{k-1}{n+2}", "kn", &["kn"]),
    ("AB=CD", "ABCD", &["BC", "BD", "AC"]),
    ("AB\\parallel CD", "ABCD", &["BC", "BD"]),
    ("AB\\perp CD", "ABCD", &["BC", "AD"]),
    ("AB\\cdot CD", "ABCD", &["BC", "AC"]),
    ("BC=CD", "BCD", &["BC", "CD"]),
    ("AB=2CD", "ABCD", &["BC", "AC", "BD"]),
    ("AB\\cdot CD+AD\\cdot BC", "ABCD", &["AB", "BC", "CD"]),
    ("OA+OB", "OAB", &["OA", "OB"]),
    ("\\frac{AE}{EC}", "AEC", &["AC", "AE", "EC"]),
    ("\\frac{AB}{AC}", "ABC", &["AB", "BC", "AC"]),
    ("PA\\cdot PB", "PAB", &["PA", "PB"]),
    ("PA^2+PB^2", "PAB", &["PA", "PB"]),
    ("\\frac{AB}{BC}=\\frac{AD}{DC}", "ABCD", &["AB", "BC", "CD"]),
];

/// Letters that a formula may be changed to. `e`, `i` and `O` have meanings of their own.
const ALPHABET: &str = "abcdfghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ";

/// Segments as products of letters: reference, and what algebra would make of it.
const SEGMENTS: &[(&str, &[&str])] = &[
    ("\\frac{AE}{EC}", &["\\frac{A}{C}", "\\frac{AD}{CD}", "\\frac{AB}{BC}"]),
    ("\\frac{AB}{AC}", &["\\frac{B}{C}", "\\frac{DB}{DC}"]),
    ("PA\\cdot PB", &["P^2AB", "P^2\\cdot AB", "AP^2B"]),
    ("PA^2+PB^2", &["P(A^2+B^2)"]),
    ("OA+OB", &["O(A+B)"]),
    ("AB-AC", &["A(B-C)"]),
    ("\\frac{AB}{BC}=\\frac{AD}{DC}", &["\\frac{A}{C}=\\frac{A}{C}", "\\frac{A}{C}"]),
];

/// Orders of letters that are not alphabetical, so that each is an order and no set of choices.
const ORDERS: &[&str] = &["CAB", "DEBCA", "BCA", "ABDC", "CABD", "EDCBA", "\\text{BCA}", "BDAC"];

/// Statements of several equal values.
const CHAINS: &[&str] = &[
    "x=y=z=2",
    "a=b=1",
    "p=q=r=0",
    "f(0)=f(1)=0",
    "a_1=a_2=1",
    "AB=BC=5",
    "a=b=c",
    "x=y=7",
    "m=n=p=q=4",
    "g(1)=g(2)=g(3)=6",
];

/// Conditions with a word, `@`, and words that exclude each other there. `ax for some real a` and `for every real a` are
/// no such pair, as both name the same family of functions.
const CONDITIONS: &[(&str, &[&str])] = &[
    ("\\frac{n}{2}\\text{ for @ }n", &["even", "odd", "prime", "negative"]),
    ("n\\text{ for @ }n", &["odd", "even", "prime", "composite"]),
    ("2\\text{ for @ }n", &["odd", "even", "all"]),
    ("2^n-1\\text{ with @ }n", &["odd", "even"]),
    ("f(x)=0\\text{ for all @ }x", &["rational", "irrational", "positive", "negative"]),
    ("f(x)=cx\\text{ for @ constant }c", &["some", "no"]),
    (
        "n^2\\text{ for all @ }n",
        &["primes", "composites", "positive integers", "negative integers"],
    ),
    ("f(n)=n\\text{ for @ }n", &["composite", "prime"]),
    ("n=2k\\text{ for @ integers }k", &["positive", "negative", "odd"]),
    ("ax\\text{ for @ }a", &["some real", "every integer", "no real"]),
    ("n \\text{ is @}", &["odd", "even", "prime", "composite"]),
    ("x+1\\text{ if }x\\text{ is @}", &["positive", "negative", "an integer"]),
    ("\\text{@ of them}", &["all", "none", "some", "half", "two"]),
    ("\\forall x\\,@", &["x>0", "x<0", "x\\ge 0"]),
];

/// Statements with a condition that belongs to the answer, and the part that is not the whole.
const CONDITIONED: &[(&str, &str)] = &[
    ("x=3\\text{ with }y=4", "x=3"),
    ("p=2\\text{ with }q=3", "p=2"),
    ("p=2\\text{ with }q=3", "2"),
    ("k^2\\text{ for }n=2k", "k^2"),
    ("6\\text{ for }x=2", "6\\text{ for }x=3"),
    ("x=1\\text{ for }a=2", "x=1"),
    ("\\frac{n}{2}\\text{ for even }n", "\\frac{n}{2}"),
    ("(x,y)=(t,2t),\\ t>0", "(x,y)=(t,2t),\\ t<0"),
];

/// Beginnings of a condition, and words that would change a number behind them.
const TIES: &[&str] = &["with", "for", "where", "when", "such that", "if"];
const CHANGES: &[&str] = &[
    "last digit replaced by }7",
    "doubled }n",
    "it is wrong: }13",
    "multiplied by }5",
    "all but }5",
    "rounded, else }13",
    "minus }1",
    "half of }n",
    "halved by }2",
    "not }n",
    "one added to }it",
    "every digit changed to }3",
];

/// Words of value behind a number: one of them makes it another number. `squares` and `multiples` are none here, as
/// figures and multiples of 6 are counted with them.
const SCALES: &[&str] = &[
    "hundredths",
    "thousandths",
    "tenths",
    "dozens",
    "grosses",
    "percents",
    "reciprocals",
    "negatives",
    "factorials",
    "halves",
    "thirds",
    "millions",
    "thousands",
    "squared",
    "inverses",
    "opposites",
];

/// Sentences behind a box that give the answer to something else, `@` a word for an answer, `^` one for a value.
const OTHERS: &[&str] = &[
    "is the sum of all solutions, and the @ is the ^ of them.",
    "is even, and the @ is odd.",
    "is the claimed value, and the true @ is odd.",
    "is the expected answer, and the correct @ is the ^.",
    "is her answer, the correct @ is his.",
    "is the smallest, the ^ is the @.",
    "is your answer, and the correct @ is the ^ number.",
    ". The final @ is the ^ of these.",
    "\n\nThe final @ is the ^ of all values.",
    "\n\nFinal @: the sum of these.",
    "is the sum of the values; the @ is the ^.",
    "is the sum of all, so the @ is the only prime.",
    "was the stated value; our @ is its sum.",
    ". So the @ is the sum of all of these.",
];
const ANSWER: &[&str] = &["answer", "value", "solution", "result"];
const VALUE: &[&str] = &["largest", "smallest", "sum"];

/// Words of random closing sentences; the last clause names another value.
const CLOSERS: &[&str] = &[
    "the",
    "a",
    "is",
    "are",
    "was",
    "it",
    "this",
    "that",
    "these",
    "our",
    "my",
    "your",
    "his",
    "her",
    "final",
    "correct",
    "true",
    "required",
    "expected",
    "claimed",
    "stated",
    "obtained",
    "answer",
    "solutions",
    "result",
    "value",
    "values",
    "number",
    "integer",
    "total",
    "sum",
    "only",
    "as",
    "of",
    "to",
    "for",
    "all",
    "and",
    "so",
    "thus",
    "hence",
    "here",
    "problem",
    "question",
    "above",
    "positive",
    "smallest",
    "largest",
    "them",
];

/// The families.
const FAMILIES: usize = 12;

/// A wrong answer of a family; `None` where what was drawn is the reference itself.
pub(crate) fn wrong(choices: &mut Choices) -> Option<Wrong> {
    let (by, reference, answer) = match choices.below(FAMILIES) {
        0 => renamed(choices)?,
        1 => swapped(choices)?,
        2 => {
            let (reference, wrong) = SEGMENTS[choices.below(SEGMENTS.len())];
            ("segment", reference.to_owned(), choices.of(wrong).to_owned())
        }
        3 => ordered(choices),
        4 => dropped(choices),
        5 => condition(choices),
        6 => {
            let (reference, wrong) = CONDITIONED[choices.below(CONDITIONED.len())];
            ("condition dropped", reference.to_owned(), wrong.to_owned())
        }
        7 => {
            let answer = format!("@\\text{{ {} {}", choices.of(TIES), choices.of(CHANGES));
            let reference = choices.of(&["12", "7", "\\frac{3}{7}", "x^2-1"]);
            ("condition added", reference.to_owned(), answer.replace('@', reference))
        }
        8 => return Some(scaled(choices)),
        9 => bracket(choices),
        10 => limit(choices),
        _ => return Some(closed(choices)),
    };
    let completion = match choices.below(4) {
        0 | 1 => format!("\\boxed{{{answer}}}"),
        2 => format!("The answer is ${answer}$."),
        _ => format!("<answer>{answer}</answer>"),
    };
    (reference != answer).then_some(Wrong { by, reference, completion })
}

/// A text with letters replaced, those of commands aside.
fn with_letters(text: &str, change: impl Fn(char) -> char) -> String {
    let mut is_command = false;
    let changed = text.chars().map(|c| {
        is_command = c == '\\' || (is_command && c.is_ascii_alphabetic());
        if is_command { c } else { change(c) }
    });
    changed.collect()
}

/// One letter replaced by one of the whole alphabet that does not occur.
fn renamed(choices: &mut Choices) -> Option<(&'static str, String, String)> {
    let (reference, letters, _) = LETTERS[choices.below(LETTERS.len())];
    let from = letters.chars().nth(choices.below(letters.len()))?;
    let to = ALPHABET.chars().nth(choices.below(ALPHABET.len()))?;
    // A capital for the small letter is a matter of style.
    if reference.to_lowercase().contains(to.to_ascii_lowercase()) {
        return None;
    }
    let answer = with_letters(reference, |c| if c == from { to } else { c });
    Some(("letter", reference.to_owned(), answer))
}

fn swapped(choices: &mut Choices) -> Option<(&'static str, String, String)> {
    let (reference, _, pairs) = LETTERS[choices.below(LETTERS.len())];
    let pair = pairs.get(choices.below(pairs.len()))?.as_bytes();
    let (first, second) = (char::from(pair[0]), char::from(pair[1]));
    let answer = with_letters(reference, |c| match c {
        _ if c == first => second,
        _ if c == second => first,
        _ => c,
    });
    Some(("letters swapped", reference.to_owned(), answer))
}

/// Two letters of an order exchanged.
fn ordered(choices: &mut Choices) -> (&'static str, String, String) {
    if choices.below(4) == 0 {
        let names = [["A", "C", "B"], ["B", "A", "C"], ["A", "B", "C"], ["C", "B", "A"]];
        let said = |[first, second, third]: [&str; 3]| {
            format!("\\text{{{first}, then {second}, then {third}}}")
        };
        let (reference, answer) = (said(names[choices.below(4)]), said(names[choices.below(4)]));
        return ("order of letters", reference, answer);
    }
    let reference = choices.of(ORDERS);
    let start = reference.find('{').map_or(0, |at| at + 1);
    let count = reference.trim_end_matches('}').len() - start;
    let (first, second) = (start + choices.below(count), start + choices.below(count));
    let mut letters: Vec<char> = reference.chars().collect();
    letters.swap(first, second);
    ("order of letters", reference.to_owned(), letters.into_iter().collect())
}

/// A chain of equations with one part left out.
fn dropped(choices: &mut Choices) -> (&'static str, String, String) {
    let reference = choices.of(CHAINS);
    let mut parts: Vec<&str> = reference.split('=').collect();
    for _ in 0..=choices.below(parts.len() - 1) {
        parts.remove(choices.below(parts.len()));
    }
    ("equation dropped", reference.to_owned(), parts.join("="))
}

fn condition(choices: &mut Choices) -> (&'static str, String, String) {
    let (text, words) = CONDITIONS[choices.below(CONDITIONS.len())];
    let (reference, answer) = (choices.of(words), choices.of(words));
    ("condition word", text.replace('@', reference), text.replace('@', answer))
}

/// A number of which a scale word makes another one.
fn scaled(choices: &mut Choices) -> Wrong {
    let (number, scale) = (choices.of(&["12", "7", "250", "36"]), choices.of(SCALES));
    let completion = match choices.below(4) {
        0 => format!("\\boxed{{{number}}} {scale}"),
        1 => format!("\\boxed{{{number}\\text{{ {scale}}}}}"),
        2 => format!("\\boxed{{{number}}} {scale}."),
        _ => format!("The answer is {number} {scale}."),
    };
    Wrong { by: "scale", reference: number.to_owned(), completion }
}

/// Brackets moved.
fn bracket(choices: &mut Choices) -> (&'static str, String, String) {
    const BRACKETS: &[(&str, &str)] = &[
        ("2(x+3)", "2x+3"),
        ("(x+1)^2", "x+1^2"),
        ("-(a-b)", "-a-b"),
        ("\\frac{n(n+1)}{2}", "\\frac{n^2+1}{2}"),
        ("a-(b-c)", "a-b-c"),
        ("\\sin(x+y)", "\\sin(x)+y"),
        ("(2x)^3", "2x^3"),
        ("\\sqrt{x+1}", "\\sqrt{x}+1"),
        ("2^{n+1}", "2^n+1"),
        ("(x+1)(x+2)", "x+1(x+2)"),
        ("\\ln(2x)", "2\\ln x"),
        ("[1,3)\\cup(4,5]", "[1,3]\\cup(4,5]"),
        ("\\{1,\\{2,3\\}\\}", "\\{1,2,3\\}"),
        ("((1,2),3)", "(1,2,3)"),
    ];
    let (first, second) = BRACKETS[choices.below(BRACKETS.len())];
    let (reference, answer) = if choices.below(2) == 0 { (first, second) } else { (second, first) };
    ("bracket", reference.to_owned(), answer.to_owned())
}

/// A limit that does not exist against one of its values. Also 0 against a sum or an integral that begins with zeros.
fn limit(choices: &mut Choices) -> (&'static str, String, String) {
    const SUMS: &[&str] = &[
        "\\sum_{n=0}^{\\infty}\\frac{n(n-1)(n-2)}{@^n}",
        "\\sum_{n=0}^{\\infty}\\binom{n}{3}\\frac{1}{@^n}",
        "\\sum_{n=0}^{\\infty}\\binom{n}{5}\\frac{1}{@^n}",
        "\\sum_{n=1}^{\\infty}\\frac{(n-1)(n-2)(n-3)}{@^n}",
        "\\sum_{n=0}^{\\infty}\\frac{@n(n-1)(n-2)}{n!}",
        "\\sum_{n=1}^{\\infty}\\frac{\\max(0,n-5)}{@^n}",
        "\\sum_{k=0}^{\\infty}\\binom{k}{4}\\left(\\frac{1}{@}\\right)^k",
    ];
    const PEAKS: &[&str] = &[
        "\\int_0^{\\infty} e^{-(x-@00)^2}\\,dx",
        "\\int_0^1 e^{-10^8(x-0.@)^2}\\,dx",
        "\\int_0^1 e^{-10^6(x-\\frac{1}{@})^2}\\,dx",
        "\\int_0^{10} e^{-10^{9}(x-@.1)^2}\\,dx",
    ];
    let (a, b) = (2 + choices.below(8), 1 + choices.below(7));
    // A body with values that its variable takes again and again.
    let (place, body, values) = match choices.below(10) {
        0 => ("n\\to\\infty", format!("{a}+{b}(-1)^n"), vec![a + b, a.abs_diff(b)]),
        1 => ("n\\to\\infty", format!("{a}+\\frac{{{b}(-1)^n n}}{{n+1}}"), vec![a + b]),
        2 => ("n\\to\\infty", format!("{a}+{b}\\cos\\frac{{n\\pi}}{{2}}"), vec![a, a + b]),
        3 => ("n\\to\\infty", format!("{a}+{b}\\sin\\frac{{n\\pi}}{{4}}"), vec![a, a + b]),
        4 => ("n\\to\\infty", format!("{a}+{b}\\cos\\frac{{2n\\pi}}{{3}}"), vec![a + b]),
        5 => ("x\\to 0", format!("{a}+{b}\\sin\\frac{{\\pi}}{{x}}"), vec![a, a + b]),
        6 => ("x\\to 0^+", format!("{a}+{b}\\cos\\frac{{2\\pi}}{{x}}"), vec![a + b, a]),
        7 => ("x\\to\\infty", format!("{a}+{b}\\cos(2\\pi x)"), vec![a + b, a]),
        8 => {
            let sum = choices.of(SUMS).replace('@', &a.to_string());
            return either(choices, sum, "0".to_owned());
        }
        _ => {
            let integral = choices.of(PEAKS).replace('@', &a.to_string());
            return either(choices, integral, "0".to_owned());
        }
    };
    let value = values[choices.below(values.len())].to_string();
    either(choices, format!("\\lim_{{{place}}}\\left({body}\\right)"), value)
}

/// One of two unequal texts as the reference, and the other as the answer.
fn either(choices: &mut Choices, first: String, second: String) -> (&'static str, String, String) {
    if choices.below(2) == 0 { ("limit", first, second) } else { ("limit", second, first) }
}

/// A box whose sentence goes on to another answer without a value.
fn closed(choices: &mut Choices) -> Wrong {
    let reference = choices.of(&["12", "B", "x^2-1", "\\frac{3}{7}"]);
    let behind = if choices.below(3) == 0 {
        let other = choices.of(OTHERS);
        other.replace('@', choices.of(ANSWER)).replace('^', choices.of(VALUE))
    } else {
        let count = choices.below(7);
        let words: Vec<&str> = (0..count).map(|_| choices.of(CLOSERS)).collect();
        let joint = choices.of(&[", and", ".", ";", "\n\n", ", so", ". So"]);
        let (answer, value) = (choices.of(ANSWER), choices.of(VALUE));
        format!("is {}{joint} the {answer} is the {value} of them.", words.join(" "))
    };
    let space = if behind.starts_with(['.', '\n']) { "" } else { " " };
    let completion = format!("\\boxed{{{reference}}}{space}{behind}");
    Wrong { by: "closing words", reference: reference.to_owned(), completion }
}
