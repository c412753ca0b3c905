//! Whether two answers are the same.

use super::fuel::Stop;
use super::identity::Comparer;
use super::node::{Expr, Node, Relation};
use super::real_set::RealSet;
use super::text::same_text;
use super::units::Unit;
use crate::Strictness;

/// Compares answers that went through [`super::prepare::prepare`]. Symmetric in its arguments.
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
        match (a, b) {
            (Node::Expr(a), Node::Expr(b)) => self.comparer.identical(a, b),
            (Node::Quantity(first, unit), Node::Quantity(second, other)) => {
                self.same_quantity(first, unit, second, other)
            }
            // A value without its unit is taken to be in the unit asked for.
            (Node::Quantity(inner, _), other) | (other, Node::Quantity(inner, _)) => {
                self.same(inner, other)
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
            (Node::Text(text), Node::Text(other)) => Ok(same_text(text, other)),
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

    fn same_quantity(&mut self, a: &Node, unit: &str, b: &Node, other: &str) -> Result<bool, Stop> {
        if unit == other || !self.strictness.units.is_strict() {
            return self.same(a, b);
        }
        self.comparer.fuel.spend(200)?;
        let (unit, other) = (Unit::parse(unit), Unit::parse(other));
        if !unit.is_comparable(&other) {
            return Ok(false);
        }
        let (size, other_size) = (unit.size(), other.size());
        if size == other_size {
            return self.same(a, b);
        }
        match (a, b) {
            (Node::Expr(a), Node::Expr(b)) => {
                let a = a.clone().times(Expr::Number(size));
                let b = b.clone().times(Expr::Number(other_size));
                self.comparer.identical(&a, &b)
            }
            _ => Ok(false),
        }
    }

    /// `x = 5` against `5`. `None` if neither side is an assignment.
    fn same_assignment(&mut self, a: &Node, b: &Node) -> Result<Option<bool>, Stop> {
        for (chain, other) in [(a, b), (b, a)] {
            if let Some((label, value)) = equation(chain)
                && label.is_label()
                && !matches!(other, Node::List(_) | Node::Set(_))
            {
                return self.same(value, other).map(Some);
            }
            // `x ∈ {1, 2}` against `{1, 2}` or `1, 2`.
            if let Node::Chain { terms, relations } = chain
                && let ([label, set @ Node::Set(_)], [Relation::In]) =
                    (terms.as_slice(), relations.as_slice())
                && label.is_label()
                && matches!(other, Node::List(_) | Node::Set(_))
            {
                return self.same(set, other).map(Some);
            }
        }
        Ok(None)
    }

    fn same_chain(&mut self, a: &Node, b: &Node) -> Result<bool, Stop> {
        if let (Some((left, right)), Some((other_left, other_right))) = (equation(a), equation(b)) {
            if self.same(left, other_left)? && self.same(right, other_right)? {
                return Ok(true);
            }
            return Ok(self.same_difference(left, right, other_left, other_right)?.is_some());
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

    fn same_collection(&mut self, a: &Node, b: &Node) -> Result<bool, Stop> {
        match (a, b) {
            (
                Node::Tuple { items, left_closed, right_closed },
                Node::Tuple { items: others, left_closed: other_left, right_closed: other_right },
            ) => {
                let brackets = (left_closed, right_closed) == (other_left, other_right);
                Ok((brackets || !self.strictness.ends.is_strict())
                    && self.ordered(items, others)?)
            }
            (Node::Set(items), Node::Set(others)) => self.as_sets(items, others),
            (Node::Set(items), Node::List(others)) | (Node::List(others), Node::Set(items)) => {
                // A set has neither names nor order, so it cannot stand for `x = 1, y = 2`; and it has each element
                // once, so it cannot stand for `1, 1, 2`.
                if labels(others).is_some_and(|labels| !interchangeable(&labels)) {
                    return Ok(false);
                }
                if others.iter().all(|item| matches!(item, Node::Tuple { .. })) {
                    return self.as_sets(items, others);
                }
                self.unordered(items, others)
            }
            (Node::List(items), Node::List(others)) => self.same_list(items, others),
            (Node::Tuple { items, left_closed, right_closed }, Node::List(others))
            | (Node::List(others), Node::Tuple { items, left_closed, right_closed }) => {
                // `[1, 2]` is an interval; `[1, 2, 3]` can only be a list.
                let is_list = left_closed == right_closed && (!left_closed || items.len() > 2);
                Ok(is_list && self.ordered(items, others)?)
            }
            (Node::Set(items), other) | (other, Node::Set(items)) => match items.as_slice() {
                [only] => self.same(only, other),
                _ => Ok(false),
            },
            (Node::List(items), other) | (other, Node::List(items)) => {
                // A remark such as `k ∈ ℤ` beside the answer.
                let rest: Vec<&Node> = items.iter().filter(|item| !is_remark(item)).collect();
                match rest.as_slice() {
                    [only] if rest.len() < items.len() => self.same(only, other),
                    _ => Ok(false),
                }
            }
            (Node::Matrix(rows), Node::Matrix(others)) => {
                if rows.len() != others.len() {
                    return Ok(false);
                }
                for (row, other) in rows.iter().zip(others) {
                    if !self.ordered(row, other)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Node::Matrix(rows), Node::Tuple { items, left_closed, right_closed })
            | (Node::Tuple { items, left_closed, right_closed }, Node::Matrix(rows)) => {
                let is_vector = rows.len() == 1 || rows[0].len() == 1;
                let cells: Vec<Node> = rows.iter().flatten().cloned().collect();
                Ok(is_vector && left_closed == right_closed && self.ordered(&cells, items)?)
            }
            (Node::Matrix(rows), other) | (other, Node::Matrix(rows)) => match rows.as_slice() {
                [row] if row.len() == 1 => self.same(&row[0], other),
                _ => Ok(false),
            },
            (Node::Ratio(terms), Node::Ratio(others)) => self.same_ratio(terms, others),
            (Node::Ratio(terms), Node::Clock(clock)) | (Node::Clock(clock), Node::Ratio(terms)) => {
                self.same_ratio(terms, &clock_terms(clock))
            }
            (Node::Ratio(terms), Node::Expr(value)) | (Node::Expr(value), Node::Ratio(terms)) => {
                self.ratio_is_value(terms, value)
            }
            (Node::Clock(clock), Node::Expr(value)) | (Node::Expr(value), Node::Clock(clock)) => {
                self.ratio_is_value(&clock_terms(clock), value)
            }
            (Node::Union(parts), Node::Union(others))
            | (Node::Intersection(parts), Node::Intersection(others)) => {
                self.unordered(parts, others)
            }
            (Node::Difference(pair), Node::Difference(other)) => {
                Ok(self.same(&pair.0, &other.0)? && self.same(&pair.1, &other.1)?)
            }
            _ => Ok(false),
        }
    }

    fn ratio_is_value(&mut self, terms: &[Expr], value: &Expr) -> Result<bool, Stop> {
        match terms {
            [first, second] => self.comparer.identical(&first.clone().over(second.clone()), value),
            _ => Ok(false),
        }
    }

    fn same_ratio(&mut self, terms: &[Expr], others: &[Expr]) -> Result<bool, Stop> {
        if terms.len() != others.len() {
            return Ok(false);
        }
        let zero = Expr::integer(0);
        for pair in terms.iter().chain(others) {
            if self.comparer.identical(pair, &zero)? {
                return Ok(false);
            }
        }
        for index in 1..terms.len() {
            let left = terms[0].clone().times(others[index].clone());
            let right = terms[index].clone().times(others[0].clone());
            if !self.comparer.identical(&left, &right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn same_list(&mut self, items: &[Node], others: &[Node]) -> Result<bool, Stop> {
        let remarks = |list: &[Node]| list.iter().any(is_remark);
        if remarks(items) != remarks(others) {
            let without = |list: &[Node]| -> Vec<Node> {
                list.iter().filter(|item| !is_remark(item)).cloned().collect()
            };
            return self.same_list(&without(items), &without(others));
        }
        if items.iter().chain(others).all(|item| matches!(item, Node::Tuple { .. })) {
            // Solutions: one that is listed twice is still one.
            return self.as_sets(items, others);
        }
        match (labels(items), labels(others)) {
            // Values without their names have to come in the order of the names.
            (Some(labels), None) | (None, Some(labels)) if !interchangeable(&labels) => {
                self.ordered(items, others)
            }
            _ => self.unordered(items, others),
        }
    }

    fn ordered(&mut self, items: &[Node], others: &[Node]) -> Result<bool, Stop> {
        if items.len() != others.len() {
            return Ok(false);
        }
        for (item, other) in items.iter().zip(others) {
            if !self.same(item, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unordered(&mut self, items: &[Node], others: &[Node]) -> Result<bool, Stop> {
        if items.len() != others.len() {
            return Ok(false);
        }
        let mut taken = vec![false; others.len()];
        for (index, item) in items.iter().enumerate() {
            // The same place first: most lists come in the same order.
            let places =
                std::iter::once(index).chain((0..others.len()).filter(|place| *place != index));
            let mut found = None;
            for place in places {
                if !taken[place] && self.same(item, &others[place])? {
                    found = Some(place);
                    break;
                }
            }
            match found {
                Some(place) => taken[place] = true,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// As sets: each element of one is in the other.
    fn as_sets(&mut self, items: &[Node], others: &[Node]) -> Result<bool, Stop> {
        for (from, to) in [(items, others), (others, items)] {
            for (index, item) in from.iter().enumerate() {
                let places = (index..to.len()).chain(0..index.min(to.len()));
                let mut found = false;
                for place in places {
                    if self.same(item, &to[place])? {
                        found = true;
                        break;
                    }
                }
                if !found {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// A short word of plain text may be a product of variables: `xy`.
    fn word_is_product(&mut self, word: &str, expr: &Expr) -> Result<bool, Stop> {
        if word.len() > 3 || !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Ok(false);
        }
        let letters = word.char_indices().map(|(at, c)| Expr::symbol(&word[at..at + c.len_utf8()]));
        let product = Expr::Mul(letters.collect());
        self.comparer.identical(&product, expr)
    }
}

/// The two sides of an equation.
pub(crate) fn equation(node: &Node) -> Option<(&Node, &Node)> {
    match node {
        Node::Chain { terms, relations } => match (terms.as_slice(), relations.as_slice()) {
            ([left, right], [Relation::Equal]) => Some((left, right)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a node can only be meant as a set of numbers.
fn is_set(node: &Node) -> bool {
    match node {
        Node::Union(_) | Node::Intersection(_) | Node::Difference(_) | Node::NumberSet(_) => true,
        Node::Chain { relations, .. } => {
            relations.iter().all(|r| r.is_order() || matches!(r, Relation::In | Relation::NotEqual))
        }
        Node::Tuple { left_closed, right_closed, items } => {
            left_closed != right_closed
                || items
                    .iter()
                    .any(|item| matches!(item, Node::Expr(expr) if expr.infinite_sign().is_some()))
        }
        _ => false,
    }
}

/// Whether an item only says where a parameter lives.
fn is_remark(node: &Node) -> bool {
    match node {
        Node::Chain { terms, relations } => {
            matches!((terms.as_slice(), relations.as_slice()), ([label, Node::NumberSet(_)], [Relation::In]) if label.is_label())
        }
        _ => false,
    }
}

/// The labels of a list in which each item is an assignment to another one.
fn labels(items: &[Node]) -> Option<Vec<&Node>> {
    let labels: Vec<&Node> = items
        .iter()
        .map(|item| equation(item).map(|(label, _)| label).filter(|l| l.is_label()))
        .collect::<Option<_>>()?;
    let distinct = labels.iter().enumerate().all(|(index, label)| !labels[..index].contains(label));
    (distinct && labels.len() > 1).then_some(labels)
}

/// Whether labels differ only in their index, as `x_1` and `x_2` do: then their order is arbitrary.
fn interchangeable(labels: &[&Node]) -> bool {
    let base = |node: &Node| match node {
        Node::Expr(Expr::Symbol(name)) => name.split_once('_').map(|(base, _)| base.to_owned()),
        _ => None,
    };
    let first = labels.first().and_then(|label| base(label));
    first.is_some() && labels.iter().all(|label| base(label) == first)
}

fn clock_terms(clock: &str) -> Vec<Expr> {
    clock.split(':').map(|part| Expr::integer(part.parse().unwrap_or(0))).collect()
}
