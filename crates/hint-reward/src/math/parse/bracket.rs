//! Content of brackets: groups, tuples, sets.

use crate::math::fuel::Stop;
use crate::math::lex::token::Kind;
use crate::math::parse::parser::Parser;
use crate::math::tree::node::{Expr, Node, Relation};

impl Parser<'_, '_, '_> {
    /// Content of round or square brackets, from behind the opening one.
    pub(crate) fn bracketed(&mut self, open: char) -> Result<Node, Stop> {
        let (bars, set_braces) =
            (std::mem::take(&mut self.bars), std::mem::take(&mut self.set_braces));
        let (mut items, _) = self.items()?;
        (self.bars, self.set_braces) = (bars, set_braces);
        let Some(Kind::Close(close @ ('(' | '['))) = self.peek() else {
            return Err(Stop::Unreadable("a bracket that is not closed"));
        };
        self.at += 1;
        if let [Node::List(inner)] = items.as_mut_slice()
            && open == *close
        {
            items = std::mem::take(inner);
        }
        match items.len() {
            0 => Err(Stop::Unreadable("empty brackets")),
            1 if *close == open => Ok(items.remove(0)),
            1 => Err(Stop::Unreadable("brackets that do not match")),
            _ => Ok(Node::Tuple { items, left_closed: open == '[', right_closed: *close == '[' }),
        }
    }

    /// Whether a number stands in brackets of its own behind a number: `25 (3)` says two things, `25(3)` multiplies.
    pub(super) fn number_in_brackets(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let signed = usize::from(matches!(self.peek_at(1), Some(Kind::Operator('+' | '-'))));
        self.tokens.get(self.at).is_some_and(|bracket| bracket.spaced)
            && before.is_some_and(|token| matches!(token.kind, Kind::Number(_)))
            && matches!(self.peek_at(1 + signed), Some(Kind::Number(_)))
            && self.peek_at(2 + signed) == Some(&Kind::Close('('))
    }

    /// Content of set braces, from behind the opening one.
    pub(crate) fn set(&mut self) -> Result<Node, Stop> {
        let bars = std::mem::take(&mut self.bars);
        self.set_braces += 1;
        let (mut items, _) = self.items()?;
        // `\{ {1,2} \}`
        if let [Node::List(inner)] = items.as_mut_slice() {
            items = std::mem::take(inner);
        }
        let condition = match self.peek() {
            Some(Kind::Mid | Kind::Operator('|') | Kind::Colon) => {
                self.at += 1;
                // A bar in the condition is no other condition: `\{x \mid |x| < 1\}`.
                let set_braces = std::mem::take(&mut self.set_braces);
                let condition = self.list()?;
                self.set_braces = set_braces;
                Some(condition)
            }
            _ => None,
        };
        self.set_braces -= 1;
        self.bars = bars;
        self.expect(&Kind::Close('S'), "a set brace that is not closed")?;
        let Some(condition) = condition else { return Ok(Node::Set(items)) };
        match <[Node; 1]>::try_from(items) {
            Ok([element]) => Ok(elements_with(element, condition)),
            Err(_) => Err(Stop::Unreadable("a condition on several elements")),
        }
    }
}

/// Whether a condition is an equation between a name and others: `y = x²` for x alone. An equation that is solved for
/// the name, such as `x = 2k + 1`, tells where it lives.
fn ties_others(condition: &Node, name: &str) -> bool {
    let items = match condition {
        Node::List(items) | Node::Intersection(items) | Node::Union(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    items.iter().filter_map(Node::equation).any(|(left, right)| {
        let is_name =
            |side: &Node| matches!(side, Node::Expr(Expr::Symbol(symbol)) if **symbol == *name);
        let has_other = |side: &Node| match side {
            Node::Expr(expr) => {
                expr.any(&|inner| matches!(inner, Expr::Symbol(symbol) if **symbol != *name))
            }
            _ => true,
        };
        !is_name(left) && !is_name(right) && (has_other(left) || has_other(right))
    })
}

/// An equation for points, which gives no letter a value: `a + b = 10` as `a + b − 10 = 0`.
fn as_equation(condition: Node) -> Node {
    match condition.equation() {
        Some((Node::Expr(left), Node::Expr(right))) => Node::Chain {
            terms: vec![
                Node::Expr(left.clone().minus(right.clone())),
                Node::Expr(Expr::integer(0)),
            ],
            relations: vec![Relation::Equal],
        },
        _ => condition,
    }
}

/// The elements of this form that meet a condition. A bare variable says no more than its condition. Neither do the
/// coordinates of a point in their usual order. `\{x \mid x > 1\}` is `x > 1`; `\{2k \mid k ∈ ℤ\}` is `2k, k ∈ ℤ`.
fn elements_with(element: Node, condition: Node) -> Node {
    let is_plain = match &element {
        Node::Expr(Expr::Symbol(name)) => !ties_others(&condition, name),
        Node::Chain { terms, relations } => {
            matches!(terms.as_slice(), [_, Node::NumberSet('R' | 'C')])
                && relations == &[Relation::In]
        }
        Node::Tuple { items, .. } => {
            let name = |item: &Node| match item {
                Node::Expr(Expr::Symbol(name)) => Some(name.clone()),
                _ => None,
            };
            let names: Option<Vec<_>> = items.iter().map(name).collect();
            names.is_some_and(|names| names.windows(2).all(|pair| pair[0] < pair[1]))
        }
        _ => false,
    };
    if is_plain {
        return match (&element, condition) {
            (Node::Tuple { .. }, condition) => as_equation(condition),
            (_, condition) => condition,
        };
    }
    let mut items = match condition {
        Node::List(conditions) => conditions,
        condition => vec![condition],
    };
    // As it is written without braces: `2k, k ∈ ℤ` and `0 < x < 3, x ∈ ℤ`.
    let place = if matches!(element, Node::Chain { .. }) { items.len() } else { 0 };
    items.insert(place, element);
    Node::List(items)
}
