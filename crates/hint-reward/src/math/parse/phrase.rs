//! Answers in words whose meaning is mathematics, a date or a time of day.

use chrono::{Month, Weekday};

use crate::math::lex::units::is_unit;
use crate::math::lex::vocabulary::TEXT_GROUPS;
use crate::math::parse::calendar::{date, time_of_day};
use crate::math::parse::counted::is_counted;
use crate::math::parse::spelled::spelled_number;
use crate::math::parse::stance::is_no_noun;
use crate::math::parse::wording::named_set;
use crate::math::tree::node::{Expr, Node, Rational, Relation};

/// Bytes beyond which a text is no such phrase.
const MAX_BYTES: usize = 80;

/// Meaning of a whole text that is a phrase: `no solution`, `twelve`, `March 14, 2015`, `3:30 p.m.`
pub(crate) fn phrase(text: &str) -> Option<Node> {
    if text.len() > MAX_BYTES || !text.chars().any(char::is_alphabetic) {
        return None;
    }
    let words = plain_words(text)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // `even, E` is a list, and so is `twenty, five`.
    let is_list = text.contains([',', ';']);
    if !is_list || groups_thousands(text) {
        if let Some(number) = spelled_number(&words.join(" ")) {
            return Some(number);
        }
        if let Some(quantity) = spelled_quantity(&words) {
            return Some(quantity);
        }
    }
    if let Some(parity) = parity(&words).filter(|_| !is_list) {
        return Some(parity);
    }
    if !text.contains('-')
        && let Some(set) = reals_without(&words)
    {
        return Some(set);
    }
    if let Some(kind) = kind_of_number(&words).filter(|_| !is_list) {
        return Some(Node::text(&kind));
    }
    if let Some(set) = named_set(&words).filter(|_| !is_list) {
        return Some(Node::NumberSet(set));
    }
    if let Some(text) = nonexistence(&words) {
        return Some(Node::text(&text));
    }
    if let Some(text) = statement(&words) {
        return Some(Node::text(text));
    }
    match words.as_slice() {
        words if is_empty_set(words) => Some(Node::Set(Vec::new())),
        ["on" | "in", rest @ ..] if date(rest).is_some() => date(rest),
        ["on" | "in", name] if is_in_calendar(name) => Some(Node::text(name)),
        [front @ .., "diverges" | "tends", "to", "infinity"] if is_topic(front) => {
            Some(Node::Expr(Expr::Infinity))
        }
        [front @ .., verb @ ("converges" | "diverges")] if is_topic(front) => {
            Some(Node::text(verb))
        }
        ["midnight"] => Some(Node::TimeOfDay { minutes: 0 }),
        ["noon"] => Some(Node::TimeOfDay { minutes: 720 }),
        _ => time_of_day(&words).or_else(|| date(&words)).or_else(|| only_words(text, &words)),
    }
}

/// Whether words name nothing but the object of the question: `the limit`, `this infinite series`. Other subjects, such as
/// `its reciprocal` or `no series`, say something else.
fn is_topic(words: &[&str]) -> bool {
    const TOPICS: [&str; 20] = [
        "the",
        "this",
        "that",
        "it",
        "given",
        "infinite",
        "improper",
        "limit",
        "two",
        "one",
        "sided",
        "series",
        "sequence",
        "sum",
        "integral",
        "product",
        "function",
        "expression",
        "value",
        "answer",
    ];
    words.iter().all(|word| TOPICS.contains(word))
}

/// Things that a problem may ask for, in the singular.
pub(crate) fn sought(noun: &str) -> Option<&'static str> {
    const NOUNS: [&str; 13] = [
        "function",
        "number",
        "integer",
        "polynomial",
        "set",
        "sequence",
        "solution",
        "value",
        "pair",
        "triple",
        "triangle",
        "point",
        "prime",
    ];
    NOUNS.into_iter().find(|known| *known == noun || noun.strip_suffix('s') == Some(known))
}

/// `a circle`, `north-east`: words without their article or hyphen.
fn only_words(text: &str, words: &[&str]) -> Option<Node> {
    let all_words = text.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '-' | '.'));
    let article = matches!(words.first(), Some(&("a" | "an"))) && words.len() > 1;
    let hyphen = text.contains('-') && words.iter().all(|word| word.len() > 3);
    (all_words && words.len() < 4 + usize::from(article) && (article || hyphen))
        .then(|| Node::text(&words[usize::from(article)..].join(" ")))
}

/// Whether words say that nothing solves the problem.
fn is_empty_set(words: &[&str]) -> bool {
    matches!(
        words,
        ["none"]
            | ["no", "solution" | "solutions" | "root" | "roots"]
            | ["no", "real", "solution" | "solutions" | "root" | "roots"]
            | ["there", "is" | "are", "no", "solution" | "solutions"]
            | ["there", "is" | "are", "no", "real", "solution" | "solutions"]
            | ["the" | "this", "equation" | "system", "has", "no", "solution" | "solutions"]
            | ["the", "equation", "has", "no", "real", "solution" | "solutions" | "roots"]
            | ["the", "empty", "set"]
            | ["empty", "set"]
    )
}

/// The statement that the object of the question, or a thing by name, does not exist.
fn nonexistence(words: &[&str]) -> Option<String> {
    let nothing = |noun: &str| {
        let is_letter = noun.len() == 1 && noun.bytes().all(|byte| byte.is_ascii_alphabetic());
        let named = || sought(noun).map(|noun| format!("no such {noun}"));
        if is_letter { Some("does not exist".to_owned()) } else { named() }
    };
    match words {
        ["dne"] => Some("does not exist".to_owned()),
        ["such", "a" | "an", noun, "does", "not", "exist"]
        | ["such", noun, "does" | "do", "not", "exist"]
        | ["no", "such", noun]
        | ["no", "such", noun, "exists" | "exist"]
        | ["there", "is" | "are", "no", "such", noun] => nothing(noun),
        [front @ .., "does" | "do", "not", "exist"] => {
            is_topic(front).then(|| "does not exist".to_owned())
        }
        _ => None,
    }
}

/// Statements that have several wordings, in one of them.
fn statement(words: &[&str]) -> Option<&'static str> {
    let words = match words {
        ["the", rest @ ..] if rest.last() == Some(&"quadrant") => rest,
        other => other,
    };
    Some(match words {
        ["infinite"]
        | ["infinitely", "many"]
        | ["infinitely", "many", "solutions" | "values" | "answers" | "pairs" | "points"]
        | ["there", "are", "infinitely", "many"]
        | ["there", "are", "infinitely", "many", "solutions" | "values" | "pairs" | "points"] => {
            "infinitely many"
        }
        ["not", "possible"] | ["it", "is", "not", "possible"] | ["it", "is", "impossible"] => {
            "impossible"
        }
        ["it", "cannot", "be", "determined"] | ["can", "not", "be", "determined"] => {
            "cannot be determined"
        }
        ["odd", "function"] | ["an", "odd", "function"] => "odd",
        ["even", "function"] | ["an", "even", "function"] => "even",
        ["neither", "even", "nor", "odd"] | ["neither", "odd", "nor", "even"] => "neither",
        ["quadrant", "i" | "1"] | ["first", "quadrant"] => "first quadrant",
        ["quadrant", "ii" | "2"] | ["second", "quadrant"] => "second quadrant",
        ["quadrant", "iii" | "3"] | ["third", "quadrant"] => "third quadrant",
        ["quadrant", "iv" | "4"] | ["fourth", "quadrant"] => "fourth quadrant",
        _ => return None,
    })
}

/// Whether a word names a weekday or a month.
fn is_in_calendar(word: &str) -> bool {
    word.len() > 2 && (word.parse::<Weekday>().is_ok() || word.parse::<Month>().is_ok())
}

/// The kind of numbers that words name, in one form: `all prime numbers`, `n is a perfect square`, `odd positive
/// integers`.
fn kind_of_number(words: &[&str]) -> Option<String> {
    const KINDS: [(&[&str], &str); 10] = [
        (&["primes"], "primes"),
        (&["prime"], "primes"),
        (&["prime", "numbers"], "primes"),
        (&["prime", "number"], "primes"),
        (&["perfect", "squares"], "perfect squares"),
        (&["perfect", "square"], "perfect squares"),
        (&["perfect", "cubes"], "perfect cubes"),
        (&["perfect", "cube"], "perfect cubes"),
        (&["composite", "numbers"], "composite numbers"),
        (&["composite", "number"], "composite numbers"),
    ];
    let is_letter = |word: &str| word.len() == 1 && word.bytes().all(|b| b.is_ascii_lowercase());
    let mut rest = match words {
        [name, "is", rest @ ..] if is_letter(name) => rest,
        other => other,
    };
    while let ["all" | "every" | "any" | "the" | "a" | "an" | "set" | "of", behind @ ..] = rest {
        rest = behind;
    }
    if let [before @ .., name] = rest
        && is_letter(name)
        && !before.is_empty()
    {
        rest = before;
    }
    if let [powers @ ("powers" | "power"), "of", base] = rest
        && base.bytes().all(|byte| byte.is_ascii_digit())
        && (*powers == "powers" || words.len() > rest.len())
    {
        return Some(format!("powers of {base}"));
    }
    let (parity, rest) = match rest {
        [parity @ ("odd" | "even"), rest @ ..] => (*parity, rest),
        ["positive", parity @ ("odd" | "even"), "integers" | "integer" | "numbers" | "number"] => {
            return Some(format!("{parity} positive integers"));
        }
        other => ("", other),
    };
    if let ["positive", "integers" | "integer" | "numbers" | "number"] = rest
        && !parity.is_empty()
    {
        return Some(format!("{parity} positive integers"));
    }
    let (_, kind) = KINDS.iter().find(|(words, _)| *words == rest)?;
    // The word prime alone is a property.
    let is_alone = rest == ["prime"] && words.len() == 1;
    (!is_alone)
        .then(|| if parity.is_empty() { (*kind).to_owned() } else { format!("{parity} {kind}") })
}

/// A number in words with its unit: `three hours`, `two and a half square meters`.
fn spelled_quantity(words: &[&str]) -> Option<Node> {
    if let Some(part) = part_of_unit(words).or_else(|| spelled_count(words)) {
        return Some(part);
    }
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

/// `half an hour`, `a quarter of an hour`, `two hours and a half`.
fn part_of_unit(words: &[&str]) -> Option<Node> {
    let part = |numerator: i64, denominator: i64| {
        Expr::Number(Rational::new(numerator.into(), denominator.into()))
    };
    let (value, unit) = match words {
        ["half", "a" | "an", unit] => (part(1, 2), unit),
        ["a" | "one", "quarter", "of", "a" | "an", unit] => (part(1, 4), unit),
        ["three", "quarters", "of", "a" | "an", unit] => (part(3, 4), unit),
        [count @ .., unit, "and", "a", "half"] if !count.is_empty() => {
            let count = match count {
                ["a" | "an"] => Rational::from_integer(1.into()),
                _ => match spelled_number(&count.join(" "))? {
                    Node::Expr(Expr::Number(count)) => count,
                    _ => return None,
                },
            };
            (Expr::Number(count + Rational::new(1.into(), 2.into())), unit)
        }
        _ => return None,
    };
    is_unit(unit).then(|| Node::Quantity(Box::new(Node::Expr(value)), (*unit).into()))
}

/// A number in words with what it counts: `four cats`.
fn spelled_count(words: &[&str]) -> Option<Node> {
    let most = words.len().min(6);
    let (count, number) = (1..most)
        .rev()
        .find_map(|count| Some((count, spelled_number(&words[..count].join(" "))?)))?;
    let thing = &words[count..];
    let text = thing.join(" ");
    let is_thing = thing.len() <= 3
        && text.chars().all(|c| c.is_alphabetic() || c == ' ')
        && !thing.iter().any(|word| is_unit(word) || matches!(*word, "point" | "in" | "out"))
        && !is_no_noun(&text)
        && is_counted(&text, false);
    is_thing.then(|| Node::Quantity(Box::new(number), text.into()))
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

/// Whether the only comma of a text stands behind a thousand or a million, with hundreds behind it: `one thousand, two
/// hundred and five`.
fn groups_thousands(text: &str) -> bool {
    let Some((before, behind)) = text.split_once(',') else { return false };
    let groups = ["thousand", "million", "billion"];
    groups.iter().any(|group| before.trim_end().ends_with(group))
        && behind.contains("hundred")
        && !behind.contains([',', ';'])
}

/// The words of a text in lower case, without text commands, dollar signs and punctuation. `None` if there is any
/// other mathematics in it. A hyphen joins two words, or is a sign in front of the first one.
fn plain_words(text: &str) -> Option<Vec<String>> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("\\!") {
            rest = behind;
            continue;
        }
        if c == '\\' {
            let command = TEXT_GROUPS
                .into_iter()
                .chain(["\\(", "\\)", "\\ ", "\\,"])
                .find(|command| rest.starts_with(command))?;
            plain.push(' ');
            rest = &rest[command.len()..];
            continue;
        }
        match c {
            '-' => {
                let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                let (before, behind) = (plain.chars().next_back(), rest[1..].chars().next());
                if plain.trim().is_empty() {
                    plain.push_str(" minus ");
                } else if is_part(before) && is_part(behind) {
                    plain.push(' ');
                } else {
                    return None;
                }
            }
            '}' | '~' | ',' | ';' => plain.push(' '),
            '$' | '.' | '"' | '\'' => {}
            ':' => plain.push(c),
            _ if c.is_alphanumeric() || c.is_whitespace() => plain.extend(c.to_lowercase()),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(plain.split_whitespace().map(ToOwned::to_owned).collect())
}
