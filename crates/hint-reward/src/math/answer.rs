//! Answers as they are read and compared.

use crate::math::compare::comparison::{Comparison, equation};
use crate::math::compare::prepare::{prepare, shared_value};
use crate::math::compare::text::bare;
use crate::math::fuel::{Fuel, Stop};
use crate::math::lex::literal::Commas;
use crate::math::parse::choice::named;
use crate::math::parse::parser::{is_sentence_word, parse};
use crate::math::parse::phrase::phrase;
use crate::math::strictness::{Rule, Strictness};
use crate::math::tree::node::{Expr, Node};
use crate::math::tree::render::render;
use crate::math::value::identity::{Comparer, has_symbols};
use crate::math::value::real::Real;

/// Bytes beyond which a text is not read, only compared as it stands.
const MAX_BYTES: usize = 8192;

/// A text read as an answer, in each way it can be read.
#[derive(Debug)]
pub(crate) struct Answer<'t> {
    text: &'t str,
    bare: String,
    readings: Vec<Node>,
    /// Why it cannot be read, if it cannot.
    pub(crate) unreadable: Option<&'static str>,
}

impl<'t> Answer<'t> {
    /// Reads a text. What cannot be read is kept as text.
    ///
    /// # Errors
    ///
    /// [`Stop::OutOfFuel`] only.
    pub(crate) fn read(
        text: &'t str,
        strictness: &Strictness,
        fuel: &mut Fuel,
    ) -> Result<Self, Stop> {
        fuel.spend(10 + text.len() as u64)?;
        let mut answer = Self { text, bare: bare(text), readings: Vec::new(), unreadable: None };
        if text.len() > MAX_BYTES {
            answer.unreadable = Some("the answer is too long");
            return Ok(answer);
        }
        let mut ambiguous = false;
        match reading(text, Commas::Usual, fuel) {
            Ok(reading) => {
                answer.readings.push(reading.node);
                answer.readings.extend(reading.other);
                ambiguous = reading.ambiguous_comma;
            }
            Err(Stop::Unreadable(reason)) => answer.unreadable = Some(reason),
            Err(stop) => return Err(stop),
        }
        if ambiguous {
            answer.try_reading(text, Commas::Unusual, fuel)?;
        }
        if strictness.percent == Rule::Lenient && answer.unreadable.is_none() {
            let without = text.replace("\\%", "").replace('%', "").replace("percent", "");
            if without.len() < text.len() {
                answer.try_reading(&without, Commas::Usual, fuel)?;
            }
        }
        Ok(answer)
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.bare.is_empty()
    }

    /// The answer in LaTeX, as it was read; as it was written where it could not be read.
    pub(crate) fn rendered(&self) -> String {
        self.readings.first().map_or_else(|| self.bare.clone(), render)
    }

    fn try_reading(&mut self, text: &str, commas: Commas, fuel: &mut Fuel) -> Result<(), Stop> {
        match reading(text, commas, fuel) {
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
    fuel: &mut Fuel,
) -> Result<bool, Stop> {
    if a.bare == b.bare {
        return Ok(!a.bare.is_empty());
    }
    if names_alike(a.text, b.text) {
        return Ok(true);
    }
    for first in &a.readings {
        for second in &b.readings {
            let comparer = Comparer { fuel, relative_tolerance };
            match (Comparison { comparer, strictness }).same(first, second) {
                Ok(true) => return Ok(true),
                Ok(false) | Err(Stop::Unreadable(_)) => {}
                Err(stop) => return Err(stop),
            }
        }
    }
    Ok(false)
}

/// Whether both texts name the same choice or say the same of yes, no, true and false, one of them without a word
/// more.
fn names_alike(a: &str, b: &str) -> bool {
    match (named(a), named(b)) {
        (Some(a), Some(b)) => a.what == b.what && (a.rest.is_empty() || b.rest.is_empty()),
        _ => false,
    }
}

/// Whether a text as a whole reads as an answer: mathematics, or at most `max_words` words.
pub(crate) fn is_readable(text: &str, max_words: usize, fuel: &mut Fuel) -> Result<Readable, Stop> {
    if text.len() > MAX_BYTES {
        return Ok(Readable::No);
    }
    if phrase(unwrapped(text)).is_some() {
        return Ok(Readable::Answer);
    }
    let node = reading(text, Commas::Usual, fuel).map(|reading| reading.node);
    match node {
        Ok(Node::Text(words)) => {
            let count = words.split_whitespace().count();
            let is_answer = count == 1 || (count <= max_words && !is_sentence_word(&words));
            Ok(if is_answer { Readable::Answer } else { Readable::No })
        }
        Ok(Node::List(items)) if items.iter().any(|item| is_remark(item, max_words)) => {
            Ok(if named(text).is_some() { Readable::Answer } else { Readable::No })
        }
        Ok(Node::Expr(Expr::Symbol(_))) => Ok(Readable::Symbol),
        Ok(_) => Ok(Readable::Answer),
        Err(Stop::Unreadable(_)) if named(text).is_some() => Ok(Readable::Answer),
        Err(Stop::Unreadable(_)) => Ok(Readable::No),
        Err(stop) => Err(stop),
    }
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

/// The value of a text that is one real number, whatever its unit or name.
pub(crate) fn constant_value(text: &str, fuel: &mut Fuel) -> Option<f64> {
    let mut node = reading(text, Commas::Usual, fuel).ok()?.node;
    loop {
        node = match node {
            Node::Quantity(inner, _) => *inner,
            Node::Chain { .. } => equation(&node)?.1.clone(),
            Node::Expr(expr) if !has_symbols(&expr) => {
                let mut comparer = Comparer { fuel, relative_tolerance: 0.0 };
                return comparer.constant(&expr).ok()?.map(Real::to_f64);
            }
            _ => return None,
        };
    }
}

/// How a text reads as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readable {
    Answer,
    /// A bare name, which is rarely what a sentence has as its answer.
    Symbol,
    No,
}

/// The content of a text command that holds the whole text: `\text{(1) and (3)}` is read as it stands inside.
fn unwrapped(text: &str) -> &str {
    const COMMANDS: [&str; 4] = ["\\text{", "\\textbf{", "\\mbox{", "\\textnormal{"];
    let trimmed = text.trim();
    let inner = COMMANDS
        .into_iter()
        .find_map(|command| trimmed.strip_prefix(command))
        .and_then(|rest| rest.strip_suffix('}'));
    match inner {
        Some(inner) if !inner.contains(['{', '}']) => inner,
        _ => text,
    }
}

/// One way to read a text.
struct Reading {
    node: Node,
    /// Another way to read the same words.
    other: Option<Node>,
    ambiguous_comma: bool,
}

fn reading(text: &str, commas: Commas, fuel: &mut Fuel) -> Result<Reading, Stop> {
    let text = unwrapped(text);
    if let Some(node) = phrase(text) {
        return Ok(Reading { node, other: None, ambiguous_comma: false });
    }
    let parsed = parse(text, commas, fuel)?;
    let other = shared_value(&parsed.node);
    let node = prepare(parsed.node, fuel)?;
    Ok(Reading { node, other, ambiguous_comma: parsed.ambiguous_comma })
}
