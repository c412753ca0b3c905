//! From tokens to answers: lists, relations, sets and what stands around expressions.

use super::fuel::{Fuel, Stop};
use super::lexer::lex;
use super::literal::Commas;
use super::node::{Expr, Function, Node, Relation};
use super::token::{Kind, Token};

/// Depth of nesting beyond which a text is not read as an answer.
const MAX_DEPTH: usize = 48;

/// An answer that was read.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) node: Node,
    /// Whether [`Commas::Unusual`] would read something else.
    pub(crate) ambiguous_comma: bool,
}

/// Reads a whole text as one answer.
pub(crate) fn parse(text: &str, commas: Commas, fuel: &mut Fuel) -> Result<Parsed, Stop> {
    let lexed = lex(text, commas, fuel)?;
    let mut parser = Parser {
        tokens: &lexed.tokens,
        at: 0,
        fuel,
        depth: 0,
        bars: 0,
        matrices: 0,
        set_braces: 0,
    };
    let node = parser.list()?;
    if parser.at < parser.tokens.len() {
        return Err(Stop::Unreadable("something follows the answer"));
    }
    Ok(Parsed { node, ambiguous_comma: lexed.ambiguous_comma })
}

pub(crate) struct Parser<'t, 'a, 'f> {
    pub(crate) tokens: &'t [Token<'a>],
    pub(crate) at: usize,
    pub(crate) fuel: &'f mut Fuel,
    depth: usize,
    /// Open `|`, inside which another one closes.
    pub(crate) bars: usize,
    /// Open matrices, inside which `&` and `\\` belong to the matrix.
    matrices: usize,
    /// Open set braces, inside which `|` starts a condition.
    pub(crate) set_braces: usize,
}

impl<'t, 'a> Parser<'t, 'a, '_> {
    pub(crate) fn peek(&self) -> Option<&'t Kind<'a>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(crate) fn peek_at(&self, ahead: usize) -> Option<&'t Kind<'a>> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    pub(crate) fn take(&mut self, kind: &Kind<'_>) -> bool {
        let found = self.peek() == Some(kind);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, kind: &Kind<'_>, reason: &'static str) -> Result<(), Stop> {
        if self.take(kind) { Ok(()) } else { Err(Stop::Unreadable(reason)) }
    }

    /// Runs one level deeper.
    pub(crate) fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        self.fuel.spend(20)?;
        if self.depth >= MAX_DEPTH {
            return Err(Stop::Unreadable("the nesting is too deep"));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Items up to the end or a closing bracket, as one node.
    pub(crate) fn list(&mut self) -> Result<Node, Stop> {
        let (mut items, joint) = self.items()?;
        if items.is_empty() {
            return Err(Stop::Unreadable("nothing to read"));
        }
        if items.len() == 1 {
            return Ok(items.remove(0));
        }
        let conditions = items.iter().all(is_condition);
        Ok(match joint {
            Joint::Or if conditions => Node::Union(items),
            Joint::And if conditions && items.iter().all(is_order_chain) => {
                Node::Intersection(items)
            }
            _ => Node::List(items),
        })
    }

    /// Items up to the end or a closing bracket, and what joins them.
    pub(crate) fn items(&mut self) -> Result<(Vec<Node>, Joint), Stop> {
        let mut items = Vec::new();
        let mut joint = Joint::None;
        loop {
            while let Some(found) = self.separator() {
                if !items.is_empty() {
                    joint = joint.merge(found);
                }
            }
            if matches!(
                self.peek(),
                None | Some(
                    Kind::Close(_) | Kind::Ampersand | Kind::RowBreak | Kind::End(_) | Kind::Mid
                )
            ) || (self.set_braces > 0 && self.peek() == Some(&Kind::Operator('|')))
            {
                return Ok((items, joint));
            }
            items.push(self.nested(Self::item)?);
            if self.remark_follows() {
                continue;
            }
            if !matches!(
                self.peek(),
                None | Some(
                    Kind::Comma
                        | Kind::Semicolon
                        | Kind::And
                        | Kind::Or
                        | Kind::RowBreak
                        | Kind::Close(_)
                        | Kind::Ampersand
                        | Kind::End(_)
                        | Kind::Mid
                        | Kind::Operator('|')
                        | Kind::Colon
                )
            ) {
                return Err(Stop::Unreadable("two answers without a separator"));
            }
            if matches!(self.peek(), Some(Kind::Operator('|') | Kind::Colon)) {
                return Ok((items, joint));
            }
        }
    }

    /// Whether the bracket that opens here holds a remark such as `(k \in \mathbb{Z})`.
    pub(crate) fn remark_follows(&self) -> bool {
        if self.peek() != Some(&Kind::Open('(')) {
            return false;
        }
        let mut depth = 0_usize;
        for token in &self.tokens[self.at..] {
            match token.kind {
                Kind::Open(_) => depth += 1,
                Kind::Close(_) if depth <= 1 => return false,
                Kind::Close(_) => depth -= 1,
                Kind::Relation(Relation::In) if depth == 1 => return true,
                _ => {}
            }
        }
        false
    }

    fn separator(&mut self) -> Option<Joint> {
        let joint = match self.peek()? {
            Kind::Comma | Kind::Semicolon => Joint::Comma,
            Kind::And => Joint::And,
            Kind::Or => Joint::Or,
            Kind::RowBreak if self.matrices == 0 => Joint::Comma,
            _ => return None,
        };
        self.at += 1;
        Some(joint)
    }

    /// One item: a chain of relations with an optional unit behind it.
    fn item(&mut self) -> Result<Node, Stop> {
        let currency = match self.peek() {
            Some(Kind::Currency(name)) => {
                self.at += 1;
                Some(*name)
            }
            _ => None,
        };
        let node = self.chain()?;
        let node = as_angle(node);
        let unit = match (currency, self.unit()?) {
            (Some(name), _) => Some(name.to_owned()),
            (None, unit) => unit,
        };
        Ok(match unit {
            None => node,
            Some(unit) => with_unit(node, &unit)?,
        })
    }

    /// Words behind a value.
    fn unit(&mut self) -> Result<Option<String>, Stop> {
        let mut unit = String::new();
        let mut words = 0;
        loop {
            let word = match self.peek() {
                Some(Kind::Word(word) | Kind::Text(word) | Kind::Currency(word)) => word,
                Some(Kind::Operator('/')) if words > 0 => "/",
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
                        _ => break,
                    },
                    _ => break,
                },
                Some(Kind::Operator('*')) if words > 0 => " ",
                Some(Kind::Name(name)) if words > 0 && unit.ends_with('/') => name,
                _ => break,
            };
            words += 1;
            if words > 6 || is_sentence_word(word) {
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

    fn chain(&mut self) -> Result<Node, Stop> {
        let mut terms = vec![self.set_expression()?];
        let mut relations = Vec::new();
        while let Some(Kind::Relation(relation)) = self.peek() {
            let relation = *relation;
            self.at += 1;
            // `<=` and `≮` may come in two tokens.
            relations.push(relation);
            terms.push(self.set_expression()?);
        }
        if relations.is_empty() {
            return Ok(terms.remove(0));
        }
        Ok(Node::Chain { terms, relations })
    }

    fn set_expression(&mut self) -> Result<Node, Stop> {
        let mut left = self.ratio()?;
        let mut nesting = 0;
        loop {
            let kind = self.peek();
            if !matches!(kind, Some(Kind::Union | Kind::Intersection | Kind::SetMinus)) {
                return Ok(left);
            }
            self.at += 1;
            let continues = matches!(
                (kind, &left),
                (Some(Kind::Union), Node::Union(_))
                    | (Some(Kind::Intersection), Node::Intersection(_))
            );
            nesting += usize::from(!continues);
            if nesting > MAX_DEPTH {
                return Err(Stop::Unreadable("too many operations on sets"));
            }
            let right = self.ratio()?;
            left = match kind {
                Some(Kind::Union) => match left {
                    Node::Union(mut parts) => {
                        parts.push(right);
                        Node::Union(parts)
                    }
                    other => Node::Union(vec![other, right]),
                },
                Some(Kind::Intersection) => match left {
                    Node::Intersection(mut parts) => {
                        parts.push(right);
                        Node::Intersection(parts)
                    }
                    other => Node::Intersection(vec![other, right]),
                },
                _ => Node::Difference(Box::new((left, right))),
            };
        }
    }

    fn ratio(&mut self) -> Result<Node, Stop> {
        if let Some(clock) = self.clock() {
            return Ok(clock);
        }
        let first = self.sum()?;
        if self.peek() != Some(&Kind::Colon) || self.set_braces > 0 {
            return Ok(first);
        }
        let mut terms = vec![into_expr(first)?];
        while self.take(&Kind::Colon) {
            terms.push(into_expr(self.sum()?)?);
        }
        Ok(Node::Ratio(terms))
    }

    /// `12:05`: one or two digits, a colon, two digits.
    fn clock(&mut self) -> Option<Node> {
        let [Kind::Number(hours), Kind::Colon, Kind::Number(minutes)] =
            [self.peek()?, self.peek_at(1)?, self.peek_at(2)?]
        else {
            return None;
        };
        let digits = |raw: &str, range: std::ops::RangeInclusive<usize>| {
            range.contains(&raw.len()) && raw.bytes().all(|byte| byte.is_ascii_digit())
        };
        let hour_ok =
            digits(hours.raw, 1..=2) && hours.raw.parse::<u8>().is_ok_and(|hour| hour <= 24);
        let minute_ok =
            digits(minutes.raw, 2..=2) && minutes.raw.parse::<u8>().is_ok_and(|minute| minute < 60);
        let alone = self.peek_at(3) != Some(&Kind::Colon)
            && hours.places.is_none()
            && minutes.places.is_none()
            && !self.tokens[self.at + 1].spaced;
        if !(hour_ok && minute_ok && alone) {
            return None;
        }
        let text = format!("{}:{}", hours.raw.trim_start_matches('0'), minutes.raw);
        self.at += 3;
        Some(Node::Clock(text.into()))
    }

    /// A matrix from behind its `\begin`.
    pub(crate) fn matrix(&mut self, name: &str) -> Result<Node, Stop> {
        if matches!(name, "vmatrix" | "Vmatrix") {
            return Err(Stop::Unreadable("a determinant"));
        }
        self.matrices += 1;
        let mut rows = vec![Vec::new()];
        loop {
            let cell =
                if matches!(self.peek(), Some(Kind::Ampersand | Kind::RowBreak | Kind::End(_))) {
                    None
                } else {
                    Some(self.list()?)
                };
            let row = rows.len() - 1;
            rows[row].extend(cell);
            match self.peek() {
                Some(Kind::Ampersand) => self.at += 1,
                Some(Kind::RowBreak) => {
                    self.at += 1;
                    rows.push(Vec::new());
                }
                Some(Kind::End(_)) => {
                    self.at += 1;
                    break;
                }
                _ => return Err(Stop::Unreadable("a matrix that does not end")),
            }
        }
        self.matrices -= 1;
        rows.retain(|row| !row.is_empty());
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(Stop::Unreadable("a matrix with rows of different length"));
        }
        if matches!(name, "array" | "cases") && width == 1 {
            // A system of equations.
            return Ok(Node::List(rows.into_iter().flatten().collect()));
        }
        Ok(Node::Matrix(rows))
    }

    /// What stands in round or square brackets, from behind the opening one.
    pub(crate) fn bracketed(&mut self, open: char) -> Result<Node, Stop> {
        let (bars, set_braces) =
            (std::mem::take(&mut self.bars), std::mem::take(&mut self.set_braces));
        let (mut items, _) = self.items()?;
        (self.bars, self.set_braces) = (bars, set_braces);
        let Some(Kind::Close(close @ ('(' | '['))) = self.peek() else {
            return Err(Stop::Unreadable("a bracket that is not closed"));
        };
        self.at += 1;
        match items.len() {
            0 => Err(Stop::Unreadable("empty brackets")),
            1 if *close == open => Ok(items.remove(0)),
            1 => Err(Stop::Unreadable("brackets that do not match")),
            _ => Ok(Node::Tuple { items, left_closed: open == '[', right_closed: *close == '[' }),
        }
    }

    /// What stands in set braces, from behind the opening one.
    pub(crate) fn set(&mut self) -> Result<Node, Stop> {
        let bars = std::mem::take(&mut self.bars);
        self.set_braces += 1;
        let (items, _) = self.items()?;
        let condition = match self.peek() {
            Some(Kind::Mid | Kind::Operator('|') | Kind::Colon) => {
                self.at += 1;
                Some(self.list()?)
            }
            _ => None,
        };
        self.set_braces -= 1;
        self.bars = bars;
        self.expect(&Kind::Close('S'), "a set brace that is not closed")?;
        match condition {
            Some(condition) if items.len() == 1 => Ok(condition),
            Some(_) => Err(Stop::Unreadable("a condition on several elements")),
            None => Ok(Node::Set(items)),
        }
    }
}

/// What joins the items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    None,
    Comma,
    And,
    Or,
}

impl Joint {
    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::None | Self::Comma, other) => other,
            (first, Self::Comma) => first,
            (first, other) if first == other => first,
            _ => Self::Comma,
        }
    }
}

/// The expression of a node that is one.
pub(crate) fn into_expr(node: Node) -> Result<Expr, Stop> {
    match node {
        Node::Expr(expr) => Ok(expr),
        Node::Quantity(inner, unit) if &*unit == "degree" => {
            Ok(Expr::Call(Function::Degrees, vec![into_expr(*inner)?]))
        }
        _ => Err(Stop::Unreadable("arithmetic on something that is no number")),
    }
}

/// Whether an item restricts a variable.
fn is_condition(node: &Node) -> bool {
    match node {
        Node::Chain { relations, .. } => {
            relations.iter().all(|r| r.is_order() || matches!(r, Relation::In | Relation::NotEqual))
        }
        Node::Union(_) | Node::Intersection(_) => true,
        _ => false,
    }
}

fn is_order_chain(node: &Node) -> bool {
    matches!(node, Node::Chain { relations, .. } if relations.iter().all(|r| r.is_order() || *r == Relation::NotEqual))
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

/// Words that show that a sentence is going on, not a unit.
pub(crate) fn is_sentence_word(word: &str) -> bool {
    word.split_whitespace().any(|word| {
        matches!(
            word.to_lowercase().as_str(),
            "is" | "are"
                | "was"
                | "the"
                | "be"
                | "which"
                | "so"
                | "because"
                | "since"
                | "but"
                | "not"
                | "if"
                | "then"
                | "answer"
                | "solution"
                | "we"
                | "therefore"
                | "thus"
                | "where"
                | "when"
                | "that"
                | "this"
                | "it"
                | "has"
                | "have"
                | "for"
                | "from"
                | "by"
                | "with"
                | "as"
                | "only"
                | "none"
        )
    })
}
