//! Relations in words as the signs that they stand for.
//!
//! `n is at least 5`, `x is divisible by 3`, `m leaves a remainder of 1 when divided by 4`, `k is a positive integer`,
//! `for any integer k`, `t is strictly between 2 and 7`, `all odd integers`.

use crate::math::lex::token::{Kind, Literal, Token};
use crate::math::parse::stance::has;
use crate::math::tree::node::{Rational, Relation};

/// Words without which there is nothing to do here.
#[rustfmt::skip]
const TRIGGERS: &[&str] = &[
    "least", "most", "than", "equal", "equals", "exceeds", "different", "divisible", "multiple", "multiples", "divides",
    "even", "odd", "remainder", "congruent", "modulo", "between", "integer", "integers", "number", "numbers", "real",
    "reals", "rational", "natural", "positive", "negative", "nonnegative", "non-negative", "nonzero", "non-zero",
];

/// Comparisons in words, the longest first. Those that are marked need a verb: `n more than 3` is a sum.
const COMPARISONS: [(&[&str], Relation, bool); 22] = [
    (&["greater", "than", "or", "equal", "to"], Relation::GreaterEqual, false),
    (&["more", "than", "or", "equal", "to"], Relation::GreaterEqual, true),
    (&["less", "than", "or", "equal", "to"], Relation::LessEqual, false),
    (&["at", "least"], Relation::GreaterEqual, false),
    (&["no", "less", "than"], Relation::GreaterEqual, true),
    (&["not", "less", "than"], Relation::GreaterEqual, true),
    (&["no", "smaller", "than"], Relation::GreaterEqual, true),
    (&["at", "most"], Relation::LessEqual, false),
    (&["no", "more", "than"], Relation::LessEqual, true),
    (&["not", "more", "than"], Relation::LessEqual, true),
    (&["no", "greater", "than"], Relation::LessEqual, true),
    (&["not", "greater", "than"], Relation::LessEqual, true),
    (&["strictly", "greater", "than"], Relation::Greater, false),
    (&["strictly", "less", "than"], Relation::Less, false),
    (&["greater", "than"], Relation::Greater, false),
    (&["larger", "than"], Relation::Greater, true),
    (&["more", "than"], Relation::Greater, true),
    (&["less", "than"], Relation::Less, true),
    (&["smaller", "than"], Relation::Less, true),
    (&["not", "equal", "to"], Relation::NotEqual, true),
    (&["different", "from"], Relation::NotEqual, true),
    (&["equal", "to"], Relation::Equal, true),
];

/// Words that say of how many of a kind something holds.
const QUANTIFIERS: &[&str] =
    &["all", "any", "every", "each", "some", "the", "a", "an", "arbitrary", "of", "set"];

/// Words that tie a condition to what stands in front of it.
const TIES: &[&str] =
    &["for", "where", "when", "with", "if", "but", "except", "excluding", "that", "only"];

/// Tokens that take the place of others.
struct Rewrite<'a> {
    from: usize,
    to: usize,
    tokens: Vec<Token<'a>>,
}

/// Puts signs in the place of relations in words. Tokens without any stay as they are.
pub(crate) fn with_relations(tokens: &mut Vec<Token<'_>>) {
    let is_candidate = |token: &Token<'_>| match &token.kind {
        Kind::Word(text) | Kind::Text(text) => {
            text.split(' ').any(|word| has(TRIGGERS, word.trim_matches([',', '.', '(', ')'])))
        }
        Kind::Mid | Kind::Operator('|') => true,
        _ => false,
    };
    if !tokens.iter().any(is_candidate) {
        return;
    }
    let mut words = in_words(tokens);
    let mut is_changed = false;
    let mut at = 0;
    while at < words.len() {
        if let Some(rewrite) = rewrite_at(&words, at) {
            at = rewrite.from + rewrite.tokens.len();
            words.splice(rewrite.from..rewrite.to, rewrite.tokens);
            is_changed = true;
        } else {
            at += 1;
        }
    }
    if is_changed {
        *tokens = words;
    }
}

/// The tokens with each word of a text command on its own.
fn in_words<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut words = Vec::with_capacity(tokens.len() + 8);
    for token in tokens {
        let Kind::Text(text) = &token.kind else {
            words.push(token.clone());
            continue;
        };
        let is_candidate = text.split(' ').nth(1).is_some();
        if !is_candidate || !text.chars().all(|c| c.is_ascii_alphabetic() || " ,-".contains(c)) {
            words.push(token.clone());
            continue;
        }
        for (index, word) in text.split(' ').filter(|word| !word.is_empty()).enumerate() {
            let bare = word.trim_matches(',');
            let spaced = token.spaced || index > 0;
            let comma = Token { kind: Kind::Comma, spaced: false };
            if word.starts_with(',') {
                words.push(comma.clone());
            }
            match bare {
                "" => {}
                "and" => words.push(Token { kind: Kind::And, spaced }),
                "or" => words.push(Token { kind: Kind::Or, spaced }),
                _ if bare.len() == 1 && bare != "a" && bare != "A" => {
                    words.push(Token { kind: Kind::Name(bare), spaced });
                }
                _ => words.push(Token { kind: Kind::Word(bare), spaced }),
            }
            if word.ends_with(',') && word.len() > 1 {
                words.push(comma);
            }
        }
    }
    words
}

fn rewrite_at<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    if let Some(Kind::Name(_)) = at.checked_sub(1).map(|before| &tokens[before].kind) {
        let found = comparison(tokens, at)
            .or_else(|| between(tokens, at))
            .or_else(|| divisibility(tokens, at))
            .or_else(|| remainder(tokens, at))
            .or_else(|| membership(tokens, at))
            .or_else(|| sign(tokens, at));
        if found.is_some() {
            return found;
        }
    } else if let Some(Kind::Close(_)) = at.checked_sub(1).map(|before| &tokens[before].kind) {
        return comparison(tokens, at);
    }
    if !starts(tokens, at) {
        return None;
    }
    divisor(tokens, at).or_else(|| quantified(tokens, at)).or_else(|| class_of_integers(tokens, at))
}

/// The word of a token in lower case letters; the words and and or are tokens of their own.
fn word<'a>(tokens: &[Token<'a>], at: usize) -> Option<&'a str> {
    match &tokens.get(at)?.kind {
        Kind::Word(word) | Kind::Text(word) => Some(word.trim()),
        Kind::Or => Some("or"),
        Kind::And => Some("and"),
        _ => None,
    }
}

fn is_word(tokens: &[Token<'_>], at: usize, known: &[&str]) -> bool {
    word(tokens, at).is_some_and(|word| has(known, word))
}

/// Whether words stand at a place.
fn are_words(tokens: &[Token<'_>], at: usize, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(index, known)| is_word(tokens, at + index, &[known]))
}

/// The place behind a link verb.
fn behind_verb(tokens: &[Token<'_>], at: usize) -> usize {
    if is_word(tokens, at, &["must", "can", "should"]) && is_word(tokens, at + 1, &["be"]) {
        return at + 2;
    }
    at + usize::from(is_word(tokens, at, &["is", "are", "be", "being"]))
}

/// Whether an item may start here: at the start, behind a separator, or behind a word that ties a condition.
fn starts(tokens: &[Token<'_>], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return true };
    match &tokens[before].kind {
        Kind::Comma | Kind::Semicolon | Kind::And | Kind::Or | Kind::Ampersand | Kind::Open(_) => {
            true
        }
        _ => is_word(tokens, before, TIES),
    }
}

/// Whether an item ends here.
fn ends(tokens: &[Token<'_>], at: usize) -> bool {
    matches!(
        tokens.get(at).map(|token| &token.kind),
        None | Some(
            Kind::Comma
                | Kind::Semicolon
                | Kind::And
                | Kind::Or
                | Kind::Close(_)
                | Kind::Ampersand
                | Kind::RowBreak
                | Kind::End(_)
        )
    )
}

fn number<'t, 'a>(tokens: &'t [Token<'a>], at: usize) -> Option<&'t Literal<'a>> {
    match &tokens.get(at)?.kind {
        Kind::Number(literal) if literal.places.is_none() => Some(literal),
        _ => None,
    }
}

fn token(kind: Kind<'_>) -> Token<'_> {
    Token { kind, spaced: true }
}

fn digit<'a>(raw: &'static str, value: i64) -> Kind<'a> {
    Kind::Number(Literal { value: Rational::from_integer(value.into()), places: None, raw })
}

/// `(mod m)` behind a residue.
fn modulo<'a>(residue: Kind<'a>, modulus: Kind<'a>) -> Vec<Token<'a>> {
    let kinds = [residue, Kind::Open('('), Kind::Mod, modulus, Kind::Close('(')];
    kinds.into_iter().map(token).collect()
}

/// `≡ residue (mod m)` in the place of words.
fn congruent<'a>(
    from: usize,
    to: usize,
    residue: Kind<'a>,
    modulus: Kind<'a>,
    sign: char,
) -> Rewrite<'a> {
    let mut tokens = vec![token(Kind::Relation(Relation::Other(sign)))];
    tokens.extend(modulo(residue, modulus));
    Rewrite { from, to, tokens }
}

/// `is at least`
fn comparison<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    if is_word(tokens, at, &["equals", "exceeds"]) && tokens.len() > at + 1 {
        let relation =
            if is_word(tokens, at, &["equals"]) { Relation::Equal } else { Relation::Greater };
        return Some(Rewrite {
            from: at,
            to: at + 1,
            tokens: vec![token(Kind::Relation(relation))],
        });
    }
    let start = behind_verb(tokens, at);
    let has_verb = start > at;
    let (words, relation, _) = COMPARISONS.iter().find(|(words, _, needs_verb)| {
        (has_verb || !needs_verb) && are_words(tokens, start, words)
    })?;
    let to = start + words.len();
    (to < tokens.len()).then(|| Rewrite {
        from: at,
        to,
        tokens: vec![token(Kind::Relation(*relation))],
    })
}

/// `x is between 2 and 7, inclusive` and `x is strictly between 2 and 7`.
fn between<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    let start = behind_verb(tokens, at);
    let strict = is_word(tokens, start, &["strictly"]);
    let low = start + usize::from(strict);
    if start == at || !is_word(tokens, low, &["between"]) {
        return None;
    }
    let and = (low + 1..tokens.len()).find(|index| tokens[*index].kind == Kind::And)?;
    let end = (and + 1..tokens.len())
        .find(|index| {
            matches!(tokens[*index].kind, Kind::Comma | Kind::Open('('))
                || word(tokens, *index).is_some()
        })
        .unwrap_or(tokens.len());
    let mut to = end;
    let marks = [Kind::Comma, Kind::Open('('), Kind::Close('(')];
    let mut closed = None;
    while let Some(next) = tokens.get(to) {
        if is_word(tokens, to, &["inclusive", "inclusively"]) {
            closed = Some(true);
        } else if is_word(tokens, to, &["exclusive", "exclusively"]) {
            closed = Some(false);
        } else if !marks.contains(&next.kind) {
            return None;
        }
        to += 1;
    }
    let relation = match (strict, closed) {
        (true, None) | (false, Some(false)) => Relation::Less,
        (false, Some(true)) => Relation::LessEqual,
        _ => return None,
    };
    let (low, high) = (&tokens[low + 1..and], &tokens[and + 1..end]);
    if low.is_empty() || high.is_empty() {
        return None;
    }
    let sign = token(Kind::Relation(relation));
    let mut changed = low.to_vec();
    changed.extend([sign.clone(), tokens[at - 1].clone(), sign]);
    changed.extend_from_slice(high);
    Some(Rewrite { from: at - 1, to, tokens: changed })
}

/// `is divisible by 3`, `is a multiple of 3`, `is even`.
fn divisibility<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    let start = behind_verb(tokens, at);
    let negated = usize::from(start > at && is_word(tokens, start, &["not"]));
    let start = start + negated;
    let sign = if negated == 1 { '≢' } else { '≡' };
    for words in [&["divisible", "by"][..], &["a", "multiple", "of"], &["multiple", "of"]] {
        let to = start + words.len();
        if are_words(tokens, start, words)
            && let Some(modulus) = number(tokens, to)
            && ends(tokens, to + 1)
        {
            return Some(congruent(at, to + 1, digit("0", 0), Kind::Number(modulus.clone()), sign));
        }
    }
    let residue = parity(tokens, start)?;
    (negated == 0 && ends(tokens, start + 1))
        .then(|| congruent(at, start + 1, residue, digit("2", 2), '≡'))
}

/// The residue of `even` and `odd`.
fn parity<'a>(tokens: &[Token<'a>], at: usize) -> Option<Kind<'a>> {
    match word(tokens, at)? {
        "even" => Some(digit("0", 0)),
        "odd" => Some(digit("1", 1)),
        _ => None,
    }
}

/// `leaves a remainder of 1 when divided by 4`, `is congruent to 1 modulo 4`.
fn remainder<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    let is_any = |at: usize, words: &[&str]| usize::from(is_word(tokens, at, words));
    let verb = usize::from(is_word(tokens, at, &["is", "are"]));
    if are_words(tokens, at + verb, &["congruent", "to"]) {
        let residue = number(tokens, at + verb + 2)?;
        let mut modulus = at + verb + 3;
        let bracket = usize::from(tokens.get(modulus)?.kind == Kind::Open('('));
        modulus += bracket;
        let is_modulo = is_word(tokens, modulus, &["modulo"]) || tokens[modulus].kind == Kind::Mod;
        let value = number(tokens, modulus + 1).filter(|_| is_modulo)?;
        let to = modulus + 2 + bracket;
        return Some(congruent(
            at,
            to,
            Kind::Number(residue.clone()),
            Kind::Number(value.clone()),
            '≡',
        ));
    }
    if !is_word(tokens, at, &["leaves", "leave", "has", "gives", "have", "leaving"]) {
        return None;
    }
    let mut place = at + 1;
    place += is_any(place, &["a", "the"]);
    if !is_word(tokens, place, &["remainder"]) {
        return None;
    }
    place += 1;
    place += is_any(place, &["of"]);
    let residue = number(tokens, place)?;
    place += 1;
    place += is_any(place, &["when", "upon", "on", "if", "after"]);
    if !is_word(tokens, place, &["divided", "division"]) || !is_word(tokens, place + 1, &["by"]) {
        return None;
    }
    let modulus = number(tokens, place + 2)?;
    let (residue, modulus) = (Kind::Number(residue.clone()), Kind::Number(modulus.clone()));
    ends(tokens, place + 3).then(|| congruent(at, place + 3, residue, modulus, '≡'))
}

/// The set of numbers that words name, and how many tokens name it: `positive integers`, `real number`.
fn set_of_numbers(tokens: &[Token<'_>], at: usize) -> Option<(char, usize)> {
    let (mut base, mut sign, mut length) = (None, "", 0);
    loop {
        let place = at + length;
        // `non-negative` in running text is three tokens.
        if is_word(tokens, place, &["non"])
            && tokens.get(place + 1).is_some_and(|token| token.kind == Kind::Operator('-'))
        {
            sign = match word(tokens, place + 2)? {
                "negative" => "nonnegative",
                "zero" => "nonzero",
                _ => return None,
            };
            length += 3;
            continue;
        }
        let lowered = word(tokens, place).unwrap_or_default().to_ascii_lowercase();
        match lowered.as_str() {
            "positive" => sign = "positive",
            "negative" => sign = "negative",
            "nonnegative" | "non-negative" => sign = "nonnegative",
            "nonzero" | "non-zero" => sign = "nonzero",
            "real" => base = Some('R'),
            "rational" => base = Some('Q'),
            "natural" => base = Some('N'),
            "complex" => base = Some('C'),
            "integer" | "integers" => {
                length += 1;
                base = Some(base.unwrap_or('Z'));
                break;
            }
            "reals" => {
                length += 1;
                base = Some('R');
                break;
            }
            "number" | "numbers" | "value" | "values" => {
                length += 1;
                break;
            }
            // `for all real x`
            _ if length > 0 && sign.is_empty() && matches!(base, Some('R')) => break,
            _ => return None,
        }
        length += 1;
    }
    Some((part_of(base?, sign)?, length))
}

/// The letter for the part of a set of numbers: see [`Node::NumberSet`](crate::math::tree::node::Node::NumberSet).
pub(crate) fn part_of(base: char, sign: &str) -> Option<char> {
    Some(match (base, sign) {
        (base, "") => base,
        ('R', "positive") => 'ρ',
        ('R', "negative") => 'ν',
        ('R', "nonnegative") => 'ϱ',
        ('Q', "positive") => 'κ',
        ('Z' | 'N', "positive") => 'ζ',
        ('Z', "nonnegative") => 'ω',
        ('R' | 'Z' | 'Q', "nonzero") => base.to_ascii_lowercase(),
        _ => return None,
    })
}

/// The set of numbers that words name as a whole: `all positive integers`, `the nonnegative reals`.
pub(crate) fn named_set(words: &[&str]) -> Option<char> {
    let tokens: Vec<Token<'_>> = words.iter().map(|word| token(Kind::Word(word))).collect();
    let start = (0..tokens.len()).find(|index| !is_word(&tokens, *index, QUANTIFIERS))?;
    let (set, length) = set_of_numbers(&tokens, start)?;
    (start + length == tokens.len()).then_some(set)
}

/// `is a positive integer` behind a letter.
fn membership<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    let start = behind_verb(tokens, at);
    let article = usize::from(is_word(tokens, start, &["a", "an", "any"]));
    let (set, length) = set_of_numbers(tokens, start + article)?;
    let to = start + article + length;
    let signs = [Kind::Relation(Relation::In), Kind::NumberSet(set)];
    (start > at && ends(tokens, to)).then(|| Rewrite {
        from: at,
        to,
        tokens: signs.into_iter().map(token).collect(),
    })
}

/// `is positive` behind a letter.
fn sign<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    let start = behind_verb(tokens, at);
    let relation = match word(tokens, start)? {
        "positive" => Relation::Greater,
        "negative" => Relation::Less,
        "nonnegative" | "non-negative" => Relation::GreaterEqual,
        "nonzero" | "non-zero" => Relation::NotEqual,
        _ => return None,
    };
    (start > at && ends(tokens, start + 1)).then(|| Rewrite {
        from: at,
        to: start + 1,
        tokens: vec![token(Kind::Relation(relation)), token(digit("0", 0))],
    })
}

/// `3 divides n` and `3 \mid n`, which is no set.
fn divisor<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    let divisor = number(tokens, at)?;
    let sign = match &tokens.get(at + 1)?.kind {
        Kind::Relation(Relation::Other('∤')) => '≢',
        Kind::Mid | Kind::Operator('|') => '≡',
        _ if is_word(tokens, at + 1, &["divides"]) => '≡',
        _ => return None,
    };
    let name = tokens.get(at + 2).filter(|token| matches!(token.kind, Kind::Name(_)))?;
    if !ends(tokens, at + 3) {
        return None;
    }
    let mut rewrite = congruent(at, at + 3, digit("0", 0), Kind::Number(divisor.clone()), sign);
    rewrite.tokens.insert(0, name.clone());
    Some(rewrite)
}

/// `any integer k`, `all positive integers n`, `even n`.
fn quantified<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    let start = (at..tokens.len()).find(|index| !is_word(tokens, *index, QUANTIFIERS))?;
    if let Some(residue) = parity(tokens, start)
        && let Some(Kind::Name(name)) = tokens.get(start + 1).map(|token| &token.kind)
        && ends(tokens, start + 2)
    {
        let mut rewrite = congruent(at, start + 2, residue, digit("2", 2), '≡');
        rewrite.tokens.insert(0, token(Kind::Name(name)));
        return Some(rewrite);
    }
    let (set, length) = set_of_numbers(tokens, start)?;
    let place = start + length;
    // `all real numbers except 2`
    if is_word(tokens, place, &["except", "excluding"]) {
        let tokens = vec![token(Kind::NumberSet(set))];
        return Some(Rewrite { from: at, to: place, tokens });
    }
    if let Some(bounded) = bounded_numbers(tokens, at, set, place) {
        return Some(bounded);
    }
    let name = tokens.get(place).filter(|token| matches!(token.kind, Kind::Name(_)))?;
    ends(tokens, place + 1).then(|| Rewrite {
        from: at,
        to: place + 1,
        tokens: vec![
            name.clone(),
            token(Kind::Relation(Relation::In)),
            token(Kind::NumberSet(set)),
        ],
    })
}

/// `all real numbers greater than 3` as an interval, and `integers greater than 4` as `n > 4`.
fn bounded_numbers<'a>(
    tokens: &[Token<'a>],
    from: usize,
    set: char,
    at: usize,
) -> Option<Rewrite<'a>> {
    let (words, relation, _) =
        COMPARISONS.iter().find(|(words, ..)| are_words(tokens, at, words))?;
    let start = at + words.len();
    let bound = tokens.get(start..).filter(|bound| {
        !bound.is_empty()
            && bound.iter().all(|token| {
                !matches!(
                    token.kind,
                    Kind::Word(_) | Kind::Text(_) | Kind::And | Kind::Or | Kind::Comma
                )
            })
    })?;
    let mut signs = Vec::with_capacity(bound.len() + 4);
    match (set, relation) {
        ('Z', _) if relation.is_order() => {
            signs.extend([token(Kind::Name("n")), token(Kind::Relation(*relation))]);
            signs.extend_from_slice(bound);
        }
        ('R', Relation::Greater | Relation::GreaterEqual) => {
            let open = if *relation == Relation::Greater { '(' } else { '[' };
            signs.push(token(Kind::Open(open)));
            signs.extend_from_slice(bound);
            signs.extend([Kind::Comma, Kind::Infinity, Kind::Close('(')].map(token));
        }
        ('R', Relation::Less | Relation::LessEqual) => {
            let close = if *relation == Relation::Less { '(' } else { '[' };
            signs.extend(
                [Kind::Open('('), Kind::Operator('-'), Kind::Infinity, Kind::Comma].map(token),
            );
            signs.extend_from_slice(bound);
            signs.push(token(Kind::Close(close)));
        }
        _ => return None,
    }
    Some(Rewrite { from, to: tokens.len(), tokens: signs })
}

/// `all odd integers`, `the multiples of 3`, `integers divisible by 4`.
fn class_of_integers<'a>(tokens: &[Token<'a>], at: usize) -> Option<Rewrite<'a>> {
    let start = (at..tokens.len()).find(|index| !is_word(tokens, *index, QUANTIFIERS))?;
    if let Some(residue) = parity(tokens, start)
        && is_word(tokens, start + 1, &["integers", "numbers", "integer"])
        && ends(tokens, start + 2)
    {
        let tokens = modulo(residue, digit("2", 2));
        return Some(Rewrite { from: at, to: start + 2, tokens });
    }
    let phrases: [&[&str]; 4] = [
        &["multiples", "of"],
        &["integers", "divisible", "by"],
        &["numbers", "divisible", "by"],
        &["integer", "multiples", "of"],
    ];
    let words = phrases.into_iter().find(|words| are_words(tokens, start, words))?;
    let to = start + words.len();
    let modulus = number(tokens, to)?;
    ends(tokens, to + 1).then(|| Rewrite {
        from: at,
        to: to + 1,
        tokens: modulo(digit("0", 0), Kind::Number(modulus.clone())),
    })
}
