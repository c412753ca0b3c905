//! Answers in words whose meaning is mathematics, a date or a time of day.

use crate::math::lex::units::is_unit;
use crate::math::parse::calendar::{date, time_of_day};
use crate::math::parse::spelled::spelled_number;
use crate::math::tree::node::{Expr, Node, Relation};

/// Bytes beyond which a text is no such phrase.
const MAX_BYTES: usize = 80;

/// Meaning of a whole text that is a phrase: `no solution`, `twelve`, `March 14, 2015`, `3:30 p.m.`
pub(crate) fn phrase(text: &str) -> Option<Node> {
    if text.len() > MAX_BYTES || !text.chars().any(char::is_alphabetic) {
        return None;
    }
    let words = plain_words(text)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(number) = spelled_number(&words.join(" ")) {
        return Some(number);
    }
    if let Some(quantity) = spelled_quantity(&words) {
        return Some(quantity);
    }
    if let Some(parity) = parity(&words) {
        return Some(parity);
    }
    if !text.contains('-')
        && let Some(set) = reals_without(&words)
    {
        return Some(set);
    }
    match words.as_slice() {
        ["no", "solution" | "solutions"]
        | ["there", "is" | "are", "no", "solution" | "solutions"]
        | ["there", "is" | "are", "no", "real", "solution" | "solutions"]
        | ["no", "real", "solution" | "solutions"]
        | ["the", "empty", "set"]
        | ["empty", "set"] => Some(Node::Set(Vec::new())),
        ["all", "reals"]
        | ["all", "real", "numbers" | "values"]
        | ["any", "real", "number"]
        | ["real", "numbers"] => Some(Node::NumberSet('R')),
        ["dne"]
        | [.., "does" | "do", "not", "exist"]
        | ["no", "such", .., "exists" | "exist"]
        | ["no", "such", "function" | "number" | "integer" | "polynomial" | "set" | "sequence"] => {
            Some(Node::text("does not exist"))
        }
        ["infinitely", "many"]
        | ["infinitely", "many", "solutions" | "values" | "answers" | "pairs" | "points"]
        | ["there", "are", "infinitely", "many"]
        | ["there", "are", "infinitely", "many", "solutions" | "values" | "pairs" | "points"] => {
            Some(Node::text("infinitely many"))
        }
        [.., "diverges" | "tends", "to", "infinity"] => Some(Node::Expr(Expr::Infinity)),
        [
            ..,
            "series" | "sequence" | "sum" | "integral" | "product" | "it",
            verb @ ("converges" | "diverges"),
        ] if words.len() <= 4 => Some(Node::text(verb)),
        ["natural", "numbers"] | ["the" | "all", "natural", "numbers"] => {
            Some(Node::NumberSet('N'))
        }
        ["integers"] | ["the" | "all", "integers"] => Some(Node::NumberSet('Z')),
        ["rational", "numbers"] | ["all", "rational", "numbers"] => Some(Node::NumberSet('Q')),
        ["positive", "integers"] | ["all", "positive", "integers"] => Some(Node::NumberSet('ζ')),
        ["positive", "real", "numbers"]
        | ["all", "positive", "real", "numbers"]
        | ["positive", "reals"] => Some(Node::NumberSet('ρ')),
        ["midnight"] => Some(Node::TimeOfDay { minutes: 0 }),
        ["noon"] => Some(Node::TimeOfDay { minutes: 720 }),
        _ => time_of_day(&words).or_else(|| date(&words)).or_else(|| {
            // `a circle`, `north-east`: only words.
            let all_words = text.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '-' | '.'));
            let article = matches!(words.first(), Some(&("a" | "an"))) && words.len() > 1;
            let hyphen = text.contains('-') && words.iter().all(|word| word.len() > 3);
            (all_words && words.len() < 4 + usize::from(article) && (article || hyphen))
                .then(|| Node::text(&words[usize::from(article)..].join(" ")))
        }),
    }
}

/// A number in words with its unit: `three hours`, `two and a half square meters`.
fn spelled_quantity(words: &[&str]) -> Option<Node> {
    let (unit, rest) = words.split_last()?;
    let (area, rest) = match rest.split_last() {
        Some((area @ (&"square" | &"cubic"), rest)) => (Some(*area), rest),
        _ => (None, rest),
    };
    let is_digits = |word: &&str| word.bytes().any(|byte| byte.is_ascii_digit());
    if !is_unit(unit) || rest.iter().any(is_digits) {
        return None;
    }
    let number = spelled_number(&rest.join(" "))?;
    let unit = area.map_or_else(|| (*unit).to_owned(), |area| format!("{area} {unit}"));
    Some(Node::Quantity(Box::new(number), unit.into()))
}

/// `all real numbers except 0`, `all nonzero real numbers`.
fn reals_without(words: &[&str]) -> Option<Node> {
    let words = if let ["all", rest @ ..] = words { rest } else { words };
    let excluded: &[&str] = match words {
        ["nonzero", "reals"] | ["nonzero", "real", "numbers"] => &["0"],
        ["reals" | "real", "numbers", "except", rest @ ..] | ["reals", "except", rest @ ..] => rest,
        _ => return None,
    };
    let numbers = excluded.iter().filter(|word| **word != "and");
    let numbers: Option<Vec<Node>> = numbers
        .map(|word| {
            Some(Node::Expr(Expr::integer(if *word == "zero" { 0 } else { word.parse().ok()? })))
        })
        .collect();
    let numbers = numbers.filter(|numbers| !numbers.is_empty())?;
    Some(Node::Difference(Box::new((Node::NumberSet('R'), Node::Set(numbers)))))
}

/// `n is even`, `even n`, `odd n` and `n is divisible by 3` as congruences; after "if and only if" too.
fn parity(words: &[&str]) -> Option<Node> {
    // `The gears turn if and only if n is even` says it of the gears too.
    if let Some(at) = words.windows(4).rposition(|window| window == ["if", "and", "only", "if"])
        && at > 0
    {
        let condition = parity(&words[at + 4..])?;
        return Some(Node::Given {
            main: Box::new(Node::text(&words[..at].join(" "))),
            condition: Box::new(condition),
            essential: true,
        });
    }
    let words = match words {
        ["if", "and", "only", "if", rest @ ..] => rest,
        other => other,
    };
    if let [name, "is", "divisible", "by", divisor] | [name, "is", "a", "multiple", "of", divisor] =
        words
    {
        let divisor: i64 = divisor.parse().ok()?;
        return (name.len() == 1 && divisor > 0).then(|| residue_class(name, 0, divisor));
    }
    let ([name, "is" | "are", parity] | [parity, name] | [name, "must", "be", parity]) = words
    else {
        return None;
    };
    let residue = match *parity {
        "even" => 0,
        "odd" => 1,
        _ => return None,
    };
    if name.len() != 1 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    Some(residue_class(name, residue, 2))
}

/// `name ≡ residue (mod modulus)`.
fn residue_class(name: &str, residue: i64, modulus: i64) -> Node {
    let number = |value| Node::Expr(Expr::integer(value));
    Node::Chain {
        terms: vec![Node::Expr(Expr::symbol(name)), number(residue), number(modulus)],
        relations: vec![Relation::Other('≡'), Relation::Modulo],
    }
}

/// The words of a text in lower case, without text commands, dollar signs and punctuation. `None` if there is any
/// other mathematics in it.
fn plain_words(text: &str) -> Option<Vec<String>> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let command = [
                "\\text{",
                "\\(",
                "\\)",
                "\\textbf{",
                "\\textit{",
                "\\mathrm{",
                "\\mbox{",
                "\\ ",
                "\\,",
            ]
            .into_iter()
            .find(|command| rest.starts_with(command))?;
            plain.push(' ');
            rest = &rest[command.len()..];
            continue;
        }
        match c {
            '}' | '~' | ',' | ';' | '-' => plain.push(' '),
            '$' | '.' | '"' | '\'' => {}
            ':' => plain.push(c),
            _ if c.is_alphanumeric() || c.is_whitespace() => plain.extend(c.to_lowercase()),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(plain.split_whitespace().map(ToOwned::to_owned).collect())
}
