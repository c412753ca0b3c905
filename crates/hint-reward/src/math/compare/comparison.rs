//! Whether two answers are the same.

use crate::math::compare::named::values_in_order;
use crate::math::compare::real_set::RealSet;
use crate::math::compare::segment::is_segment;
use crate::math::compare::text::same_words;
use crate::math::fuel::Stop;
use crate::math::strictness::Strictness;
use crate::math::tree::node::{Expr, Function, Node, Relation};
use crate::math::value::identity::Comparer;

/// Compares answers that went through [`crate::math::compare::prepare::prepare`]. Symmetric in its arguments.
pub(crate) struct Comparison<'f, 's> {
    pub(crate) comparer: Comparer<'f>,
    pub(crate) strictness: &'s Strictness,
}

impl Comparison<'_, '_> {
    /// Whether two answers are the same.
    pub(crate) fn same(&mut self, a: &Node, b: &Node) -> Result<bool, Stop> {
        self.comparer.fuel.spend(20)?;
        if a == b {
            return Ok(true);
        }
        if let (Node::Expr(a), Node::Expr(b)) = (a, b) {
            // `3 mod 7` and `3 mod 8` are the same number, and not the same residue.
            if let (Expr::Call(Function::Mod, own), Expr::Call(Function::Mod, others)) = (a, b)
                && let ([_, modulus], [_, other]) = (own.as_slice(), others.as_slice())
                && !self.comparer.identical(modulus, other)?
            {
                return Ok(false);
            }
            // Real points miss where a rounding jumps: ⌈√n⌉ is ⌊√n⌋ + 1 except at squares.
            return Ok((self.comparer.identical(a, b)?
                && self.agree_at_integers(a, b)? != Some(false))
                || self.renamed_constants(a, b)?
                || self.same_integer_function(a, b)?
                || self.counted(a, b)?);
        }
        if let Some(equal) = self.by_convention(a, b)? {
            return Ok(equal);
        }
        match (a, b) {
            (Node::Expr(a), Node::Expr(b)) => self.comparer.identical(a, b),
            // The name in front of a quantity is no part of it.
            (Node::Quantity(..), Node::Chain { .. }) | (Node::Chain { .. }, Node::Quantity(..)) => {
                Ok(self.same_assignment(a, b)?.unwrap_or(false))
            }
            (Node::Quantity(first, unit), Node::Quantity(second, other)) => {
                self.same_quantity(first, unit, second, other)
            }
            (Node::Quantity(inner, unit), other) | (other, Node::Quantity(inner, unit)) => {
                self.quantity_is(inner, unit, other)
            }
            (Node::Based { value: v, digits: d, base: b }, Node::Based { value, digits, base }) => {
                Ok(if self.strictness.bases.is_strict() {
                    b == base && v == value
                } else {
                    d == digits || v == value
                })
            }
            (Node::Based { value, digits, .. }, Node::Expr(other))
            | (Node::Expr(other), Node::Based { value, digits, .. }) => {
                if self.strictness.bases.is_strict() {
                    return Ok(false);
                }
                let as_written = digits.parse().ok().map(Expr::Number);
                Ok(self.comparer.identical(&Expr::Number(value.clone()), other)?
                    || match as_written {
                        Some(written) => self.comparer.identical(&written, other)?,
                        None => false,
                    })
            }
            (Node::Chain { .. }, Node::Chain { .. }) => self.same_chain(a, b),
            (Node::Text(text), Node::Text(other)) => Ok(same_words(text, other)),
            (Node::Text(word), Node::Expr(expr)) | (Node::Expr(expr), Node::Text(word)) => {
                self.word_is_product(word, expr)
            }
            _ => {
                if let Some(equal) = self.same_assignment(a, b)? {
                    return Ok(equal);
                }
                if (is_set(a) || is_set(b))
                    && let Some(equal) = self.same_set(a, b)?
                {
                    return Ok(equal);
                }
                self.same_collection(a, b)
            }
        }
    }

    /// `x = 5` against `5`, `(x, y) = (1, 2)` against `x = 1, y = 2`. `None` if neither side is an assignment.
    fn same_assignment(&mut self, a: &Node, b: &Node) -> Result<Option<bool>, Stop> {
        for (chain, other) in [(a, b), (b, a)] {
            if let Some((label, value)) = chain.equation()
                && label.is_label()
                && !matches!(other, Node::List(_) | Node::Set(_))
            {
                // `(y, x) = (3, 4)` is the point (4, 3).
                if let (
                    Node::Tuple { items: names, .. },
                    Node::Tuple { items, left_closed, right_closed },
                ) = (label, value)
                {
                    let (left_closed, right_closed) = (*left_closed, *right_closed);
                    let items = values_in_order(names, items);
                    return self
                        .same(&Node::Tuple { items, left_closed, right_closed }, other)
                        .map(Some);
                }
                return self.same(value, other).map(Some);
            }
            if let Some((Node::Tuple { items: names, .. }, Node::Tuple { items: values, .. })) =
                chain.equation()
                && names.len() == values.len()
                && matches!(other, Node::List(_))
            {
                let assignments = names.iter().zip(values).map(|(name, value)| Node::Chain {
                    terms: vec![name.clone(), value.clone()],
                    relations: vec![Relation::Equal],
                });
                return self.same(&Node::List(assignments.collect()), other).map(Some);
            }
            // `x ∈ {1, 2}` against `{1, 2}` or `1, 2`.
            if let Node::Chain { terms, relations } = chain
                && let (
                    [label, set @ (Node::Set(_) | Node::NumberSet(_) | Node::List(_))],
                    [Relation::In],
                ) = (terms.as_slice(), relations.as_slice())
                && label.is_label()
                && matches!(other, Node::List(_) | Node::Set(_) | Node::NumberSet(_))
            {
                return self.same(set, other).map(Some);
            }
        }
        Ok(None)
    }

    fn same_chain(&mut self, a: &Node, b: &Node) -> Result<bool, Stop> {
        if let (Some((left, right)), Some((other_left, other_right))) = (a.equation(), b.equation())
        {
            let named_alike = names_graph(left, other_left) || names_graph(other_left, left);
            if (named_alike || self.same(left, other_left)?) && self.same(right, other_right)? {
                return Ok(true);
            }
            if self.renamed_function(a, b)?
                || self.same_difference(left, right, other_left, other_right)?.is_some()
            {
                return Ok(true);
            }
            return match (left, right, other_left, other_right) {
                (
                    Node::Expr(left),
                    Node::Expr(right),
                    Node::Expr(other_left),
                    Node::Expr(other_right),
                ) => {
                    let first = left.clone().minus(right.clone());
                    let second = other_left.clone().minus(other_right.clone());
                    self.without_denominator(&first, &second)
                }
                _ => Ok(false),
            };
        }
        let (
            Node::Chain { terms, relations },
            Node::Chain { terms: other_terms, relations: other_relations },
        ) = (a, b)
        else {
            return Ok(false);
        };
        if let ([left, right], [other_left, other_right], [relation], [other]) = (
            terms.as_slice(),
            other_terms.as_slice(),
            relations.as_slice(),
            other_relations.as_slice(),
        ) {
            let sign = self.same_difference(left, right, other_left, other_right)?;
            match sign {
                Some(_) if *relation == Relation::NotEqual && relation == other => return Ok(true),
                Some(positive) if relation.is_order() && other.is_order() => {
                    let expected = if positive { *other } else { other.flipped() };
                    return Ok(*relation == expected);
                }
                _ => {}
            }
        }
        if let Some(equal) = self.same_set(a, b)? {
            return Ok(equal);
        }
        let same =
            |this: &mut Self, terms: &[Node], relations: &[Relation]| -> Result<bool, Stop> {
                if relations != other_relations.as_slice() {
                    return Ok(false);
                }
                for (term, other) in terms.iter().zip(other_terms) {
                    if !this.same(term, other)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
        if terms.len() != other_terms.len() {
            return Ok(false);
        }
        if same(self, terms, relations)? {
            return Ok(true);
        }
        let reversed: Vec<Node> = terms.iter().rev().cloned().collect();
        let flipped: Vec<Relation> =
            relations.iter().rev().map(|relation| relation.flipped()).collect();
        let symmetric = relations
            .iter()
            .all(|r| r.is_order() || matches!(r, Relation::Equal | Relation::NotEqual));
        Ok(symmetric && same(self, &reversed, &flipped)?)
    }

    /// Whether `left − right` and the other difference are proportional, and the sign of the factor.
    fn same_difference(
        &mut self,
        left: &Node,
        right: &Node,
        other_left: &Node,
        other_right: &Node,
    ) -> Result<Option<bool>, Stop> {
        let (Node::Expr(left), Node::Expr(right), Node::Expr(other_left), Node::Expr(other_right)) =
            (left, right, other_left, other_right)
        else {
            return Ok(None);
        };
        let difference = left.clone().minus(right.clone());
        let other = other_left.clone().minus(other_right.clone());
        self.comparer.fuel.spend(10 * (difference.size() + other.size()))?;
        self.comparer.proportional(&difference, &other)
    }

    /// `None` if one of the two is no set of real numbers.
    fn same_set(&mut self, a: &Node, b: &Node) -> Result<Option<bool>, Stop> {
        let Some(first) = RealSet::read(a, &mut self.comparer)? else { return Ok(None) };
        let Some(second) = RealSet::read(b, &mut self.comparer)? else { return Ok(None) };
        if let (Some(subject), Some(other)) = (&first.subject, &second.subject)
            && !self.same(subject, other)?
        {
            return Ok(Some(false));
        }
        let ends = self.strictness.ends.is_strict();
        first.equals(&second, ends, &mut self.comparer).map(Some)
    }

    /// A short word of plain text may be a product of variables: `xy`.
    fn word_is_product(&mut self, word: &str, expr: &Expr) -> Result<bool, Stop> {
        if word.len() > 3 || !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Ok(false);
        }
        let letters = word.char_indices().map(|(at, c)| Expr::symbol(&word[at..at + c.len_utf8()]));
        let product = Expr::Mul(letters.collect());
        // A segment, whose ends have no order.
        let is_segment = is_segment(word)
            && matches!(expr, Expr::Symbol(name) if **name == *word
                || name.bytes().rev().eq(word.bytes()));
        Ok(is_segment || self.comparer.identical(&product, expr)?)
    }
}

/// Whether the two are `y` and `f(x)`, the two ways to name the values of a function.
fn names_graph(ordinate: &Node, call: &Node) -> bool {
    matches!(
        (ordinate, call),
        (Node::Expr(Expr::Symbol(name)), Node::Expr(Expr::Call(Function::Named(function), arguments)))
            if (&**name == "y" || name == function)
                && matches!(arguments.as_slice(), [Expr::Symbol(argument)] if argument != name)
    )
}

/// Whether a node can only be meant as a set of numbers.
fn is_set(node: &Node) -> bool {
    match node {
        Node::Union(_) | Node::Intersection(_) | Node::Difference(_) | Node::NumberSet(_) => true,
        Node::Chain { relations, .. } => {
            relations.iter().all(|r| r.is_order() || matches!(r, Relation::In | Relation::NotEqual))
        }
        Node::List(items) => items.iter().all(crate::math::compare::real_set::is_condition),
        Node::Tuple { left_closed, right_closed, items } => {
            left_closed != right_closed
                || items
                    .iter()
                    .any(|item| matches!(item, Node::Expr(expr) if expr.infinite_sign().is_some()))
        }
        _ => false,
    }
}
