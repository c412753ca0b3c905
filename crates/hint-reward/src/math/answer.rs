//! Answers in the form that is compared.

use std::borrow::Cow;

use num_traits::ToPrimitive;

use crate::math::compare::comparison::Comparison;
use crate::math::compare::prepare::{prepare, shared_value};
use crate::math::compare::quantity::as_quantity;
use crate::math::compare::segment::with_segments;
use crate::math::compare::text::{bare, same_winner, same_wording};
use crate::math::compare::word::same_products;
use crate::math::fuel::Stop;
use crate::math::lex::literal::Commas;
use crate::math::lex::typography::plain;
use crate::math::lex::units::Unit;
use crate::math::lex::vocabulary::TEXT_GROUPS;
use crate::math::parse::choice::{What, named};
use crate::math::parse::parser::{is_sentence_word, parse};
use crate::math::parse::permutation::{named_permutations, permuted};
use crate::math::parse::phrase::phrase;
use crate::math::parse::stance::{doubts, has, takes_back, words_of};
use crate::math::reader::{Reader, Reading};
use crate::math::respelled::respelled;
use crate::math::strictness::{Rule, Strictness};
use crate::math::tree::node::{Expr, Node, Relation};
use crate::math::tree::render::render;
use crate::math::value::identity::{Comparer, has_symbols, is_uncomputable};
use crate::math::value::real::Real;

/// Bytes beyond which a text is not read, only compared as it stands.
const MAX_BYTES: usize = 8192;

/// A text read as an answer, in each way it can be read.
#[derive(Debug)]
pub(crate) struct Answer<'t> {
    text: Cow<'t, str>,
    bare: String,
    readings: Vec<Node>,
    /// Why it cannot be read, if it cannot.
    pub(crate) unreadable: Option<&'static str>,
}

impl<'t> Answer<'t> {
    /// Reads a text. A text that cannot be read is kept as text.
    ///
    /// # Errors
    ///
    /// [`Stop::OutOfFuel`] only.
    pub(crate) fn read(
        text: &'t str,
        strictness: &Strictness,
        reader: &mut Reader,
    ) -> Result<Self, Stop> {
        reader.fuel.spend(10 + text.len() as u64)?;
        let text = respelled(plain(text));
        let mut answer = Self { bare: bare(&text), text, readings: Vec::new(), unreadable: None };
        if answer.text.len() > MAX_BYTES {
            answer.unreadable = Some("the answer is too long");
            return Ok(answer);
        }
        let text = answer.text.clone();
        if text.contains(|c: char| c < ' ' && !matches!(c, '\n' | '\t' | '\r')) {
            answer.unreadable = Some("a control character, as of a damaged command");
            return Ok(answer);
        }
        let mut ambiguous = false;
        match reading(&text, Commas::Usual, reader) {
            Ok(reading) => {
                answer.readings.push(reading.node);
                answer.readings.extend(reading.other);
                ambiguous = reading.ambiguous_comma;
            }
            Err(Stop::Unreadable(reason)) => {
                let node = match restated(&text, reader)? {
                    Some(node) => Some(node),
                    None => with_reason(&text, reader)?,
                };
                match node {
                    Some(node) => answer.readings.push(node),
                    None => answer.unreadable = Some(reason),
                }
            }
            Err(stop) => return Err(stop),
        }
        if ambiguous {
            answer.try_reading(&text, Commas::Unusual, reader)?;
        }
        if strictness.percent == Rule::Lenient && answer.unreadable.is_none() {
            let without = text.replace("\\%", "").replace('%', "").replace("percent", "");
            if without.len() < text.len() {
                answer.try_reading(&without, Commas::Usual, reader)?;
            }
        }
        Ok(answer)
    }

    /// Whether it is an integral, a limit or a sum whose value cannot be computed.
    pub(crate) fn is_uncomputable(&self) -> bool {
        matches!(self.readings.first(), Some(Node::Expr(expr)) if is_uncomputable(expr))
    }

    /// Whether it is words that name no value: only a text of the same words equals it.
    pub(crate) fn is_words(&self) -> bool {
        let is_text = |node: &Node| matches!(node, Node::Text(_));
        let is_words = match self.readings.as_slice() {
            [Node::List(items)] => items.iter().any(is_text),
            [node] => is_text(node),
            _ => false,
        };
        is_words && named(&self.text).is_none()
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.bare.is_empty()
    }

    /// The answer in LaTeX, as it was read; as it was written where it could not be read.
    pub(crate) fn rendered(&self) -> String {
        self.readings.first().map_or_else(|| self.bare.clone(), render)
    }

    fn try_reading(&mut self, text: &str, commas: Commas, reader: &mut Reader) -> Result<(), Stop> {
        match reading(text, commas, reader) {
            Ok(reading) => {
                if !self.readings.contains(&reading.node) {
                    self.readings.push(reading.node);
                }
                Ok(())
            }
            Err(Stop::Unreadable(_)) => Ok(()),
            Err(stop) => Err(stop),
        }
    }
}

/// Whether two answers are the same, in any of their readings.
pub(crate) fn compare(
    a: &Answer<'_>,
    b: &Answer<'_>,
    strictness: &Strictness,
    relative_tolerance: f64,
    reader: &mut Reader,
) -> Result<bool, Stop> {
    if a.bare == b.bare {
        return Ok(!a.bare.is_empty());
    }
    // Texts that no formula is, word for word.
    if (a.unreadable.is_some() || b.unreadable.is_some()) && same_wording(&a.text, &b.text) {
        return Ok(true);
    }
    if names_alike(&a.text, &b.text) || same_winner(&a.text, &b.text) {
        return Ok(true);
    }
    match (choices(&a.text), choices(&b.text)) {
        (Some(first), Some(second)) => return Ok(first == second),
        // `CAB` is no `ABC`.
        (Some(letters), None) if is_run_of(&b.text, &letters) => return Ok(false),
        (None, Some(letters)) if is_run_of(&a.text, &letters) => return Ok(false),
        _ if are_orders(&a.text, &b.text) => return Ok(false),
        _ => {}
    }
    // `A, then B, then C` has an order.
    let is_ordered = |text: &str| text.contains("then ");
    if is_ordered(&a.text) && is_ordered(&b.text) {
        return Ok(same_wording(&a.text, &b.text));
    }
    // `(C) 36` against `C) 36`: the letter and what stands behind it.
    if let (Some(first), Some(second)) = (named(&a.text), named(&b.text))
        && matches!(first.what, What::Choice(_))
        && first.what == second.what
    {
        let first = Answer::read(first.rest, strictness, reader)?;
        let second = Answer::read(second.rest, strictness, reader)?;
        if named(&first.text).is_none() && named(&second.text).is_none() {
            return compare(&first, &second, strictness, relative_tolerance, reader);
        }
    }
    for (named_side, other) in [(a, b), (b, a)] {
        if let Some(rest) = text_of_choice(&named_side.text, &other.text) {
            let rest = Answer::read(rest, strictness, reader)?;
            return compare(&rest, other, strictness, relative_tolerance, reader);
        }
    }
    if let Some(equal) = same_products(&a.text, &b.text) {
        return Ok(equal);
    }
    for first in &a.readings {
        for second in &b.readings {
            let pair = with_segments(first, second);
            let (first, second) = (&pair.0, &pair.1);
            let comparer = Comparer { fuel: &mut reader.fuel, relative_tolerance };
            match (Comparison { comparer, strictness }).same(first, second) {
                Ok(true) => return Ok(true),
                Ok(false) | Err(Stop::Unreadable(_)) => {}
                Err(stop) => return Err(stop),
            }
        }
    }
    Ok(false)
}

/// Whether two texts are the same answer under the strict rules.
pub(crate) fn is_same_answer(a: &str, b: &str, reader: &mut Reader) -> Result<bool, Stop> {
    let strictness = Strictness::default();
    let first = Answer::read(a, &strictness, reader)?;
    let second = Answer::read(b, &strictness, reader)?;
    compare(&first, &second, &strictness, 0.01, reader)
}

/// Whether both texts name the same choice or the same of yes, no, true and false. One of them must have no
/// further word, and those of the other may not qualify it.
fn names_alike(a: &str, b: &str) -> bool {
    match (named(a), named(b)) {
        (Some(a), Some(b)) => {
            a.what == b.what
                && (a.rest.is_empty() || b.rest.is_empty())
                && a.is_unqualified()
                && b.is_unqualified()
        }
        _ => false,
    }
}

/// The text of the choice that one side names, where the other side gives the text alone: `(C) 36` against `36`.
fn text_of_choice<'t>(named_side: &'t str, other: &str) -> Option<&'t str> {
    let name = named(named_side)?;
    let is_text =
        matches!(name.what, What::Choice(_)) && !name.rest.is_empty() && named(other).is_none();
    (is_text && named(name.rest).is_none()).then_some(name.rest)
}

/// The letters of an answer that names several choices: `AC`, `A, C`, `A and C`. Letters without a separator are choices
/// in the order of the alphabet only; in another they are a word.
fn choices(text: &str) -> Option<Vec<char>> {
    if text.len() > 40 {
        return None;
    }
    let text = unwrapped(text.trim().trim_matches('$'));
    let words = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty() && *word != "and");
    let mut letters = Vec::new();
    let mut is_run = false;
    for word in words {
        is_run |= word.len() > 1;
        letters.extend(word.chars());
    }
    let allowed = |c: char| c.is_ascii_alphabetic() || matches!(c, ' ' | ',' | ';' | '.');
    let is_sorted = letters.is_sorted();
    letters.sort_unstable();
    let distinct = letters.windows(2).all(|pair| pair[0] != pair[1]);
    let named = letters.len() > 1 && letters.iter().all(|letter| ('A'..='H').contains(letter));
    (named && distinct && (is_sorted || !is_run) && text.chars().all(allowed)).then_some(letters)
}

/// Whether a text is a run of these letters in another order.
fn is_run_of(text: &str, letters: &[char]) -> bool {
    let mut own: Vec<char> = unwrapped(text.trim().trim_matches('$')).chars().collect();
    own.sort_unstable();
    own == letters
}

/// Whether two texts are the same three or more choices in two orders: `CAB` and `BCA`.
fn are_orders(a: &str, b: &str) -> bool {
    let letters = |text: &str| {
        let mut own: Vec<char> = unwrapped(text.trim().trim_matches('$')).trim().chars().collect();
        own.sort_unstable();
        let is_run = own.len() > 2
            && own.iter().all(|letter| ('A'..='H').contains(letter))
            && own.windows(2).all(|pair| pair[0] != pair[1]);
        is_run.then_some(own)
    };
    a != b && letters(a).is_some_and(|first| letters(b) == Some(first))
}

/// An answer that is said twice, the second time in brackets: `8 (eight)`, `8/3 (or 2.667)`. The two must agree, where
/// a decimal may be rounded to its last place.
fn restated(text: &str, reader: &mut Reader) -> Result<Option<Node>, Stop> {
    const GLUE: [&str; 9] =
        ["=", "or ", "i.e. ", "i.e., ", "that is ", "approximately ", "about ", "≈", "\\approx "];
    let trimmed = text.trim().trim_end_matches(['.', '$', '}']);
    let Some(inner) = trimmed.strip_suffix(')') else { return Ok(None) };
    let Some((head, inner)) = inner.rsplit_once('(') else { return Ok(None) };
    let head = head
        .trim()
        .trim_end_matches("\\text{")
        .trim_matches([' ', '$', '\\'])
        .trim_end_matches("\\text{");
    let mut inner = inner.trim_start_matches("\\text{").trim();
    for glue in GLUE {
        inner = inner.strip_prefix(glue).unwrap_or(inner).trim_start_matches([' ', '}', '$']);
    }
    let mut read = |text: &str| match reading(text, Commas::Usual, reader) {
        Ok(reading) => Ok(Some(reading.node)),
        Err(Stop::Unreadable(_)) => Ok(None),
        Err(stop) => Err(stop),
    };
    let (Some(head), Some(inner)) = (read(head)?, read(inner)?) else { return Ok(None) };
    let (Node::Expr(first), Node::Expr(second)) = (&head, &inner) else { return Ok(None) };
    let same =
        Comparer { fuel: &mut reader.fuel, relative_tolerance: 0.01 }.identical(first, second)?;
    Ok(same.then_some(head))
}

/// The answer in front of a reason in brackets: `9 (since 3^2 = 9)`. The reason may not doubt it or speak of another.
fn with_reason(text: &str, reader: &mut Reader) -> Result<Option<Node>, Stop> {
    let trimmed = text.trim().trim_end_matches(['.', '$', '}', ' ']);
    let Some(inside) = trimmed.strip_suffix(')') else { return Ok(None) };
    let found =
        ["(since ", "(because ", "(as "].into_iter().find_map(|open| inside.split_once(open));
    let Some((head, reason)) = found else { return Ok(None) };
    let others = ["answer", "right", "correct", "true", "lied"];
    if doubts(reason) || takes_back(reason) || words_of(reason).any(|word| has(&others, word)) {
        return Ok(None);
    }
    let reason = reason.trim_matches([' ', '}', '$']);
    let is_refuted = match reading(reason, Commas::Usual, reader) {
        Ok(reading) => is_refuted(&reading.node, reader)?,
        // A false equation of numbers is not read.
        Err(Stop::Unreadable(_)) => reason.contains('=') && !reason.contains(char::is_alphabetic),
        Err(stop) => return Err(stop),
    };
    if is_refuted {
        return Ok(None);
    }
    let head = head.trim_end().trim_end_matches("\\text{").trim_matches([' ', '$', '\\']);
    match reading(head, Commas::Usual, reader) {
        Ok(reading) => Ok(matches!(reading.node, Node::Expr(_)).then_some(reading.node)),
        Err(Stop::Unreadable(_)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

/// Whether a reason is an equation of two numbers that are not equal, or says of two that they are not.
fn is_refuted(reason: &Node, reader: &mut Reader) -> Result<bool, Stop> {
    let Node::Chain { terms, relations } = reason else { return Ok(false) };
    let ([Node::Expr(first), Node::Expr(second)], [relation]) =
        (terms.as_slice(), relations.as_slice())
    else {
        return Ok(false);
    };
    if has_symbols(first) || has_symbols(second) {
        return Ok(false);
    }
    let mut comparer = Comparer { fuel: &mut reader.fuel, relative_tolerance: 0.01 };
    let is_equal = comparer.identical(first, second)?;
    Ok(match relation {
        Relation::Equal => !is_equal,
        Relation::NotEqual => is_equal,
        _ => false,
    })
}

/// Whether a text as a whole reads as an answer: mathematics, or at most `max_words` words.
pub(crate) fn is_readable(
    text: &str,
    max_words: usize,
    reader: &mut Reader,
) -> Result<Readable, Stop> {
    if text.len() > MAX_BYTES {
        return Ok(Readable::No);
    }
    let respelled = respelled(plain(text));
    let text = &*respelled;
    let reading = match reading(text, Commas::Usual, reader) {
        Ok(reading) => reading,
        Err(Stop::Unreadable(_)) if named(text).is_some() || restated(text, reader)?.is_some() => {
            return Ok(Readable::Answer);
        }
        Err(Stop::Unreadable(_)) => return Ok(Readable::No),
        Err(stop) => return Err(stop),
    };
    let readable = match &reading.node {
        _ if reading.is_phrase => Readable::Answer,
        Node::Text(words) => {
            let count = words.split_whitespace().count();
            let is_answer = count == 1 || (count <= max_words && !is_sentence_word(words));
            if is_answer { Readable::Answer } else { Readable::No }
        }
        Node::List(items)
            if items.iter().any(|item| is_remark(item, max_words))
                || (matches!(items.last(), Some(Node::Text(_)))
                    && !items.iter().all(|item| matches!(item, Node::Text(_)))) =>
        {
            if named(text).is_some() { Readable::Answer } else { Readable::No }
        }
        Node::Expr(Expr::Symbol(_)) => Readable::Symbol,
        _ => Readable::Answer,
    };
    if readable != Readable::No {
        reader.keep(text, reading);
    }
    Ok(readable)
}

/// Whether an item of a list is running text: `since it is even`.
fn is_remark(item: &Node, max_words: usize) -> bool {
    match item {
        Node::Text(words) => {
            words.split_whitespace().count() > max_words || is_sentence_word(words)
        }
        _ => false,
    }
}

/// A real number with its unit, if it has one.
#[derive(Debug, Clone)]
pub(crate) struct Measure {
    pub(crate) value: f64,
    unit: Option<Unit>,
    /// The `v` of `v = 5`.
    name: Option<Expr>,
}

impl Measure {
    /// Whether both have the same name, or one has none.
    pub(crate) fn may_be_named_as(&self, other: &Self) -> bool {
        match (&self.name, &other.name) {
            (Some(own), Some(name)) => own == name,
            _ => true,
        }
    }

    /// The value in the unit of another measure; `None` if the two are of different kinds. A missing unit is the other's.
    pub(crate) fn in_unit_of(&self, other: &Self) -> Option<f64> {
        match (&self.unit, &other.unit) {
            (Some(own), Some(unit)) => {
                let factor = (own.size() / unit.size()).to_f64()?;
                own.is_comparable(unit).then_some(self.value * factor)
            }
            _ => Some(self.value),
        }
    }
}

/// The value of a text that is one real number, with its unit and its name.
///
/// # Errors
///
/// [`Stop::OutOfFuel`] only.
pub(crate) fn measured(text: &str, reader: &mut Reader) -> Result<Option<Measure>, Stop> {
    reader.fuel.spend(10 + text.len() as u64)?;
    if text.len() > MAX_BYTES {
        return Ok(None);
    }
    let text = respelled(plain(text));
    match reading(&text, Commas::Usual, reader).and_then(|reading| measure(reading.node, reader)) {
        Err(Stop::Unreadable(_)) => Ok(None),
        measure => measure,
    }
}

fn measure(mut node: Node, reader: &mut Reader) -> Result<Option<Measure>, Stop> {
    let (mut unit, mut name) = (None, None);
    loop {
        node = match node {
            Node::Quantity(inner, spelled) => {
                unit = Some(Unit::parse(&spelled));
                *inner
            }
            Node::Chain { .. } => match node.equation() {
                Some((Node::Expr(left @ Expr::Symbol(_)), right)) if name.is_none() => {
                    name = Some(left.clone());
                    right.clone()
                }
                _ => return Ok(None),
            },
            Node::Expr(expr) => match as_quantity(&expr).filter(|_| unit.is_none()) {
                Some((value, spelled)) if has_symbols(&expr) => {
                    unit = Some(Unit::parse(&spelled));
                    Node::Expr(value)
                }
                _ if has_symbols(&expr) => return Ok(None),
                _ => {
                    let mut comparer = Comparer { fuel: &mut reader.fuel, relative_tolerance: 0.0 };
                    let value = comparer.constant(&expr)?.map(Real::to_f64);
                    return Ok(value.map(|value| Measure { value, unit, name }));
                }
            },
            _ => return Ok(None),
        };
    }
}

/// Reading of a text as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readable {
    Answer,
    /// A bare name, which is rarely the answer of a sentence.
    Symbol,
    No,
}

/// The content of a text command that holds the whole text: `\text{(1) and (3)}` is read as it stands inside.
pub(crate) fn unwrapped(text: &str) -> &str {
    let trimmed = text.trim();
    let inner = TEXT_GROUPS
        .into_iter()
        .find_map(|command| trimmed.strip_prefix(command))
        .and_then(|rest| rest.strip_suffix('}'));
    match inner {
        Some(inner) if !inner.contains(['{', '}']) => inner,
        _ => text,
    }
}

fn reading(text: &str, commas: Commas, reader: &mut Reader) -> Result<Reading, Stop> {
    if commas == Commas::Usual
        && let Some(reading) = reader.kept(text)
    {
        return Ok(reading);
    }
    let text = unwrapped(text);
    if let Some(node) = phrase(text) {
        return Ok(Reading { node, other: None, ambiguous_comma: false, is_phrase: true });
    }
    if let Some((tuple, is_cyclic)) = named_permutations(text) {
        let parsed = parse(&tuple, commas, &mut reader.fuel)?;
        let node = permuted(&parsed.node, is_cyclic)
            .ok_or(Stop::Unreadable("permutations of something else than a tuple"))?;
        return Ok(Reading { node, other: None, ambiguous_comma: false, is_phrase: false });
    }
    let parsed = parse(text, commas, &mut reader.fuel)?;
    let node = match shared_value(&parsed.node) {
        Some(assignments) => assignments,
        None => parsed.node,
    };
    let node = prepare(node, &mut reader.fuel)?;
    Ok(Reading { node, other: None, ambiguous_comma: parsed.ambiguous_comma, is_phrase: false })
}
