//! Values with their context: currency signs, number words such as million, units.

use num_traits::Signed;

use crate::math::fuel::Stop;
use crate::math::lex::token::Kind;
use crate::math::lex::units::{Unit, is_unit};
use crate::math::parse::counted::is_counted;
use crate::math::parse::parser::{Parser, into_expr, is_sentence_word};
use crate::math::parse::stance::is_no_noun;
use crate::math::tree::node::{Expr, Function, Node, Rational, Relation};
use crate::number::numbers_in;

impl Parser<'_, '_, '_> {
    /// One item: a chain of relations with an optional unit behind it.
    pub(super) fn item(&mut self) -> Result<Node, Stop> {
        // `= 5` and `≈ 5`: the end of a computation.
        if matches!(self.peek(), Some(Kind::Relation(Relation::Equal | Relation::Approximately))) {
            self.at += 1;
        }
        // `Alice: 3`
        if let Some(Kind::Word(name) | Kind::Text(name)) = self.peek() {
            let name = name.trim();
            let titled = name.ends_with(':');
            let is_name = name.trim_end_matches(':').chars().all(|c| c.is_alphabetic() || c == ' ')
                && name.len() > 1;
            let is_titled = titled || self.peek_at(1) == Some(&Kind::Colon);
            if is_name && is_titled && self.names_several() {
                self.at += if titled { 1 } else { 2 };
                let label = Node::text(name.trim_end_matches(':'));
                let value = self.nested(Self::item)?;
                return Ok(Node::Chain {
                    terms: vec![label, value],
                    relations: vec![Relation::Equal],
                });
            }
        }
        // `maximum 7, minimum 3`
        if let Some(name) = self.peek().and_then(label)
            && self.labels_several()
        {
            self.at += 1;
            while matches!(self.peek(), Some(Kind::Word("value") | Kind::Relation(Relation::Equal)))
            {
                self.at += 1;
            }
            let value = self.nested(Self::item)?;
            return Ok(Node::Chain {
                terms: vec![Node::text(name), value],
                relations: vec![Relation::Equal],
            });
        }
        let negative = self.peek() == Some(&Kind::Operator('-'))
            && matches!(self.peek_at(1), Some(Kind::Currency(_)));
        self.at += usize::from(negative);
        let currency = match self.peek() {
            Some(Kind::Currency(name)) => {
                self.at += 1;
                Some(*name)
            }
            _ => None,
        };
        let mut node = as_angle(self.chain()?);
        if negative {
            node = Node::Expr(into_expr(node)?.negated());
        }
        if let Some(Kind::Word(word) | Kind::Text(word)) = self.peek()
            && let Some((scale, rest)) = split_scale(word)
            && let Node::Expr(value) = node
        {
            node = Node::Expr(scaled(value, scale));
            self.at += 1;
            if !rest.is_empty() {
                if !is_counted(rest, false) {
                    return Err(Stop::Unreadable(
                        "words behind the value that name nothing counted",
                    ));
                }
                return with_unit(node, rest);
            }
        }
        let words = self.unit()?;
        // `\$15 \text{ per hour}`
        if let (Some(currency), Some(rate)) = (currency, words.as_deref())
            && (rate.starts_with("per ") || rate.starts_with('/'))
        {
            return with_unit(node, &format!("{currency} {rate}"));
        }
        if words.as_ref().is_some_and(|words| !is_counted(words, is_one(&node))) {
            return Err(Stop::Unreadable("words behind the value that name nothing counted"));
        }
        // `24 (square centimetres)`
        let words = words.map(|words| {
            let inside = words.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            inside.map_or(words.clone(), |inside| inside.trim().to_owned())
        });
        let Some(unit) = currency.map(ToOwned::to_owned).or(words) else { return Ok(node) };
        let node = with_unit(node, &unit)?;
        self.compound(node, &unit)
    }

    /// The smaller units of `6 ft 3 in` and `1 hour 30 minutes` behind the first, as one quantity in the first unit.
    fn compound(&mut self, node: Node, unit: &str) -> Result<Node, Stop> {
        let mut total = match &node {
            Node::Quantity(value, _) => match &**value {
                Node::Expr(Expr::Number(value)) if value.is_integer() => value.clone(),
                _ => return Ok(node),
            },
            _ => return Ok(node),
        };
        let whole = Unit::parse(unit);
        let mut last = whole.size();
        let mut found = false;
        loop {
            let start = self.at;
            if matches!(self.peek(), Some(Kind::And | Kind::Comma)) {
                self.at += 1;
            }
            let Some(Kind::Number(literal)) = self.peek() else {
                self.at = start;
                break;
            };
            self.at += 1;
            let part = self.unit()?.map(|unit| Unit::parse(&unit));
            let Some(part) = part.filter(|part| part.is_comparable(&whole) && part.size() < last)
            else {
                self.at = start;
                break;
            };
            total += &literal.value * part.size() / whole.size();
            last = part.size();
            found = true;
        }
        if !found {
            return Ok(node);
        }
        Ok(Node::Quantity(Box::new(Node::Expr(Expr::Number(total))), unit.into()))
    }

    /// Whether at least two items start with the name of an extreme or a measure.
    fn labels_several(&self) -> bool {
        let starts = |index: usize| {
            let before = index.checked_sub(1).map(|before| &self.tokens[before].kind);
            matches!(before, None | Some(Kind::Comma | Kind::Semicolon | Kind::And))
        };
        let is_value = |kind: &Kind<'_>| {
            matches!(
                kind,
                Kind::Number(_)
                    | Kind::Operator('-')
                    | Kind::Fraction
                    | Kind::Root
                    | Kind::Open('(')
                    | Kind::Relation(Relation::Equal)
                    | Kind::Word("value")
            )
        };
        let labels = self.tokens.windows(2).enumerate().filter(|(index, pair)| {
            starts(*index) && label(&pair[0].kind).is_some() && is_value(&pair[1].kind)
        });
        labels.take(2).count() > 1
    }

    /// Whether at least two values carry a name in front.
    fn names_several(&self) -> bool {
        let names = self.tokens.windows(2).filter(|pair| match &pair[0].kind {
            Kind::Text(name) if name.ends_with(':') => true,
            Kind::Word(_) | Kind::Text(_) => pair[1].kind == Kind::Colon,
            _ => false,
        });
        names.take(2).count() > 1
    }

    /// `\frac{\text{m}}{\text{s}^2}` behind a value as `m/s^2`.
    fn unit_fraction(&mut self) -> Result<Option<String>, Stop> {
        let start = self.at;
        if !self.take(&Kind::Fraction) {
            return Ok(None);
        }
        let mut parts = Vec::with_capacity(2);
        while parts.len() < 2 && self.take(&Kind::Open('{')) {
            let Some(part) = self.unit()? else { break };
            parts.push(part);
            if !self.take(&Kind::Close('{')) {
                break;
            }
        }
        if let [above, below] = parts.as_slice() {
            return Ok(Some(format!("{above}/{below}")));
        }
        self.at = start;
        Ok(None)
    }

    /// Words behind a value.
    fn unit(&mut self) -> Result<Option<String>, Stop> {
        if let Some(fraction) = self.unit_fraction()? {
            return Ok(Some(fraction));
        }
        let mut unit = String::new();
        let mut words = 0;
        let is_rate = self.peek() == Some(&Kind::Operator('/'))
            && matches!(self.peek_at(1), Some(Kind::Word(_) | Kind::Text(_)));
        loop {
            let word = match self.peek() {
                Some(Kind::Word(word) | Kind::Text(word) | Kind::Currency(word)) => word,
                Some(Kind::Operator('/')) if words > 0 || is_rate => "/",
                Some(Kind::Operator('^')) if words > 0 => match self.peek_at(1) {
                    Some(Kind::Number(literal)) => {
                        unit.push('^');
                        unit.push_str(literal.raw);
                        self.at += 2;
                        continue;
                    }
                    Some(Kind::Open('{')) => match (self.peek_at(2), self.peek_at(3)) {
                        (Some(Kind::Number(literal)), Some(Kind::Close('{'))) => {
                            unit.push('^');
                            unit.push_str(literal.raw);
                            self.at += 4;
                            continue;
                        }
                        _ => match (self.peek_at(2), self.peek_at(3), self.peek_at(4)) {
                            (
                                Some(Kind::Operator('-')),
                                Some(Kind::Number(literal)),
                                Some(Kind::Close('{')),
                            ) => {
                                unit.push_str("^-");
                                unit.push_str(literal.raw);
                                self.at += 5;
                                continue;
                            }
                            _ => break,
                        },
                    },
                    _ => break,
                },
                Some(Kind::Operator('*')) if words > 0 => " ",
                Some(Kind::Name(name)) if words > 0 && unit.ends_with('/') => name,
                _ => break,
            };
            // `meters per second squared`
            let power = match word.trim() {
                "squared" => "^2",
                "cubed" => "^3",
                _ => "",
            };
            if !power.is_empty() && unit.rsplit([' ', '/']).next().is_some_and(is_unit) {
                unit.push_str(power);
                self.at += 1;
                continue;
            }
            words += 1;
            // `5 (six)` takes itself back.
            if word.contains('(') && !numbers_in(word).is_empty() {
                return Err(Stop::Unreadable("a number in brackets behind the value"));
            }
            if words > 6 || is_sentence_word(word) || is_no_noun(word) {
                return Err(Stop::Unreadable("a sentence follows the value"));
            }
            if !unit.is_empty() {
                unit.push(' ');
            }
            unit.push_str(word);
            self.at += 1;
        }
        let unit = unit.replace(" / ", "/").replace("/ ", "/");
        Ok((!unit.is_empty()).then_some(unit))
    }
}

/// The name that a word of statistics or geometry gives to the value behind it.
fn label(kind: &Kind<'_>) -> Option<&'static str> {
    const NAMES: [&str; 13] = [
        "maximum",
        "minimum",
        "mean",
        "median",
        "mode",
        "range",
        "center",
        "centre",
        "radius",
        "area",
        "perimeter",
        "vertex",
        "focus",
    ];
    match kind {
        Kind::Function(Function::Max) => Some("maximum"),
        Kind::Function(Function::Min) => Some("minimum"),
        Kind::Word(word) | Kind::Text(word) => {
            let lowered = word.trim().trim_end_matches(':').to_ascii_lowercase();
            let lowered = lowered.strip_suffix(" value").unwrap_or(&lowered);
            let lowered = match lowered {
                "max" => "maximum",
                "min" => "minimum",
                other => other,
            };
            let found = NAMES.into_iter().find(|name| *name == lowered);
            found.map(|name| if name == "centre" { "center" } else { name })
        }
        _ => None,
    }
}

/// Whether a value is one thing or a part of it, which is named in the singular.
fn is_one(node: &Node) -> bool {
    let value = match node {
        Node::Expr(expr) => expr,
        Node::Chain { terms, .. } => match terms.last() {
            Some(Node::Expr(expr)) => expr,
            _ => return false,
        },
        _ => return false,
    };
    value.as_number().is_some_and(|value| value.abs() <= Rational::from_integer(1.into()))
}

/// Factor of a number word that a text starts with (a count and a power of ten), and the remaining
/// text.
fn split_scale(text: &str) -> Option<((u32, u32), &str)> {
    let text = text.trim_start();
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let scale = match first {
        "dozen" => (12, 0),
        "hundred" => (1, 2),
        "thousand" => (1, 3),
        "lakh" => (1, 5),
        "million" => (1, 6),
        "crore" => (1, 7),
        "billion" => (1, 9),
        "trillion" => (1, 12),
        _ => return None,
    };
    Some((scale, rest.trim()))
}

/// A value times a count and a power of ten; a decimal stays one, as precise as it was written.
fn scaled(value: Expr, (count, power): (u32, u32)) -> Expr {
    let factor = num_bigint::BigInt::from(10).pow(power) * count;
    let factor = Rational::from_integer(factor);
    match value {
        Expr::Number(value) => Expr::Number(value * factor),
        Expr::Decimal { value, places } => {
            let places = places.saturating_sub(power.cast_signed());
            Expr::Decimal { value: value * factor, places }
        }
        other => other.times(Expr::Number(factor)),
    }
}

/// Puts a unit on a value, or on the last term of a chain.
fn with_unit(node: Node, unit: &str) -> Result<Node, Stop> {
    Ok(match node {
        Node::Chain { mut terms, relations } => {
            if let Some(last) = terms.pop() {
                terms.push(with_unit(last, unit)?);
            }
            Node::Chain { terms, relations }
        }
        Node::Expr(_) | Node::Tuple { .. } | Node::Ratio(_) | Node::Clock(_) => {
            Node::Quantity(Box::new(node), unit.into())
        }
        Node::Quantity(inner, first) => Node::Quantity(inner, format!("{first} {unit}").into()),
        _ => return Err(Stop::Unreadable("words behind something that has no unit")),
    })
}

/// `90°` on its own is a quantity of 90 degrees, not a number of radians.
fn as_angle(node: Node) -> Node {
    match node {
        Node::Expr(Expr::Call(Function::Degrees, mut arguments)) if arguments.len() == 1 => {
            Node::Quantity(Box::new(Node::Expr(arguments.remove(0))), "degree".into())
        }
        Node::Expr(Expr::Mul(factors)) => match factors.as_slice() {
            [Expr::Number(sign), Expr::Call(Function::Degrees, arguments)]
                if arguments.len() == 1 =>
            {
                let value = Expr::Number(sign.clone()).times(arguments[0].clone());
                Node::Quantity(Box::new(Node::Expr(value)), "degree".into())
            }
            // `25°C`
            [Expr::Call(Function::Degrees, arguments), Expr::Symbol(scale)]
                if matches!(&**scale, "C" | "F") =>
            {
                let unit = format!("degree {scale}");
                Node::Quantity(Box::new(Node::Expr(arguments[0].clone())), unit.into())
            }
            _ => Node::Expr(Expr::Mul(factors)),
        },
        Node::Chain { mut terms, relations } => {
            if let Some(last) = terms.pop() {
                terms.push(as_angle(last));
            }
            Node::Chain { terms, relations }
        }
        other => other,
    }
}
