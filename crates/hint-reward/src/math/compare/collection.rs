//! Comparison of answers with several items: tuples, sets, lists, matrices.

use crate::math::compare::comparison::Comparison;
use crate::math::compare::congruence::completes;
use crate::math::compare::named::{are_roots, in_order, labels, values_of_one};
use crate::math::compare::quantity::{clock_shows, clock_terms};
use crate::math::compare::real_set::RealSet;
use crate::math::fuel::Stop;
use crate::math::parse::calendar::minutes_of;
use crate::math::tree::node::{Expr, Node, Relation};

impl Comparison<'_, '_> {
    pub(super) fn same_collection(&mut self, a: &Node, b: &Node) -> Result<bool, Stop> {
        match (a, b) {
            (
                Node::Tuple { items, left_closed, right_closed },
                Node::Tuple { items: others, left_closed: other_left, right_closed: other_right },
            ) => {
                let brackets = (left_closed, right_closed) == (other_left, other_right);
                Ok((brackets || !self.strictness.ends.is_strict())
                    && self.ordered(&in_order(items), &in_order(others))?)
            }
            (Node::Set(items), Node::Set(others)) => self.as_sets(items, others),
            (Node::Set(items), Node::List(others)) | (Node::List(others), Node::Set(items)) => {
                // A set has neither names nor order, so it cannot stand for `x = 1, y = 2`; and it has each element
                // once, so it cannot stand for `1, 1, 2`.
                if labels(others).is_some_and(|labels| !are_roots(&labels)) {
                    return Ok(labels(items).is_some() && self.same_list(items, others)?);
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
                Ok(is_list
                    && !is_partly_named(others)
                    && self.ordered(&in_order(items), &in_order(others))?)
            }
            (Node::Set(items), other) | (other, Node::Set(items)) => match items.as_slice() {
                [only] => self.same(only, other),
                _ => Ok(false),
            },
            (Node::List(items), other) | (other, Node::List(items)) => {
                // A remark such as `k ∈ ℤ` beside the answer.
                let rest = without_remarks(items);
                match rest.as_slice() {
                    // Where the parameter runs over the integers, it was read as a congruence before.
                    [only] if rest.len() < items.len() => Ok(!(is_modular(other)
                        && only.equation().is_some())
                        && self.same(only, other)?),
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
                let closed = |item: &Node| match item {
                    Node::Tuple { items, left_closed: true, right_closed: true } => {
                        Some(items.clone())
                    }
                    _ => None,
                };
                // `[[1, 2], [3, 4]]`, row by row.
                if let Some(others) = items.iter().map(closed).collect::<Option<Vec<_>>>()
                    && *left_closed
                    && *right_closed
                {
                    return self.same(&Node::Matrix(rows.clone()), &Node::Matrix(others));
                }
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
                // `6:30` may be a time, which is no other ratio than it says.
                let written = clock_terms(clock);
                Ok(*terms == written || (!tells_time(clock) && self.same_ratio(terms, &written)?))
            }
            (Node::Ratio(terms), Node::Expr(value)) | (Node::Expr(value), Node::Ratio(terms)) => {
                self.ratio_is_value(terms, value)
            }
            (Node::TimeOfDay { minutes }, Node::Clock(clock))
            | (Node::Clock(clock), Node::TimeOfDay { minutes }) => Ok(clock_shows(*minutes, clock)),
            (Node::Union(parts), Node::Union(others))
            | (Node::Intersection(parts), Node::Intersection(others)) => {
                self.unordered(parts, others)
            }
            (Node::Piecewise(branches), Node::Piecewise(others)) => {
                self.same_branches(branches, others)
            }
            (Node::Difference(pair), Node::Difference(other)) => {
                Ok(self.same(&pair.0, &other.0)? && self.same(&pair.1, &other.1)?)
            }
            _ => Ok(false),
        }
    }

    /// Whether every branch of one is a branch of the other; the conditions say when, not the order.
    fn same_branches(
        &mut self,
        branches: &[(Node, Node)],
        others: &[(Node, Node)],
    ) -> Result<bool, Stop> {
        if branches.len() != others.len() {
            return Ok(false);
        }
        // What is left by the other conditions has a name of its own.
        let rest = |branches: &[(Node, Node)]| {
            branches.iter().position(|(_, condition)| is_otherwise(condition))
        };
        match (rest(branches), rest(others)) {
            (Some(at), None) => return self.same_with_rest(branches, at, others),
            (None, Some(at)) => return self.same_with_rest(others, at, branches),
            _ => {}
        }
        let mut taken = vec![false; others.len()];
        for (index, (value, condition)) in branches.iter().enumerate() {
            let places =
                std::iter::once(index).chain((0..others.len()).filter(|place| *place != index));
            let mut found = None;
            for place in places {
                let (other, other_condition) = &others[place];
                if !taken[place]
                    && self.same(value, other)?
                    && self.same(condition, other_condition)?
                {
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

    /// Whether branches of which one is for all other arguments are the same as others.
    fn same_with_rest(
        &mut self,
        branches: &[(Node, Node)],
        rest: usize,
        others: &[(Node, Node)],
    ) -> Result<bool, Stop> {
        let named: Vec<(Node, Node)> = branches
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != rest)
            .map(|(_, branch)| branch.clone())
            .collect();
        let conditions: Vec<Node> = named.iter().map(|(_, condition)| condition.clone()).collect();
        for (index, (value, condition)) in others.iter().enumerate() {
            let mut left = others.to_vec();
            left.remove(index);
            if self.same(&branches[rest].0, value)?
                && self.is_complement(condition, &conditions)?
                && self.same_branches(&named, &left)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a condition holds where none of the others does.
    fn is_complement(&mut self, condition: &Node, others: &[Node]) -> Result<bool, Stop> {
        if let Some(answer) = completes(condition, others) {
            return Ok(answer);
        }
        let whole = Node::NumberSet('R');
        let rest = Node::Difference(Box::new((whole, Node::Union(others.to_vec()))));
        let (Some(own), Some(rest)) = (
            RealSet::read(condition, &mut self.comparer)?,
            RealSet::read(&rest, &mut self.comparer)?,
        ) else {
            return Ok(false);
        };
        own.equals(&rest, true, &mut self.comparer)
    }

    fn same_list(&mut self, items: &[Node], others: &[Node]) -> Result<bool, Stop> {
        let (plain, other_plain) = (without_remarks(items), without_remarks(others));
        let remarked = [plain.len() < items.len(), other_plain.len() < others.len()];
        if remarked[0] != remarked[1] {
            return self.same_list(&plain, &other_plain);
        }
        if let (Some(parameter), Some(other)) = (parameter(items), parameter(others))
            && parameter != other
            && !others.iter().any(|item| item.has_symbol(parameter))
            && !items.iter().any(|item| item.has_symbol(other))
        {
            // The same family under another name: `2kπ, k ∈ ℤ` and `2nπ, n ∈ ℤ`.
            let renamed: Vec<Node> =
                others.iter().map(|item| item.renamed(other, parameter)).collect();
            return self.same_list(items, &renamed);
        }
        if items.iter().chain(others).all(|item| matches!(item, Node::Tuple { .. })) {
            // Solutions: one that is listed twice is still one.
            return self.as_sets(items, others);
        }
        // `x_1 = 1, x_2 = 2` against `x = 1, 2`
        if let (Some(first), Some(second)) = (values_of_one(items), values_of_one(others))
            && first.name == second.name
        {
            return match (first.is_ordered, second.is_ordered) {
                (false, false) => self.unordered(&first.all, &second.all),
                // `a_1 = 5, a_2 = 3` is not `a_1 = 3, a_2 = 5`.
                (true, true) => self.unordered(items, others),
                _ if labels(items).is_some() && labels(others).is_some() => Ok(false),
                _ => self.ordered(&in_order(items), &in_order(others)),
            };
        }
        match (labels(items), labels(others)) {
            // Values without their names have to come in the order of the names.
            (Some(labels), None) | (None, Some(labels)) if !are_roots(&labels) => {
                Ok(!is_partly_named(items)
                    && !is_partly_named(others)
                    && self.ordered(&in_order(items), &in_order(others))?)
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
                if !taken[place] && self.same_element(item, &others[place])? {
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

    /// A set with one element is no element: `{{1}, 2}` is not `{1, 2}`.
    fn same_element(&mut self, item: &Node, other: &Node) -> Result<bool, Stop> {
        let is_set = |node: &Node| matches!(node, Node::Set(_));
        Ok(is_set(item) == is_set(other) && self.same(item, other)?)
    }

    /// As sets: each element of one is in the other.
    fn as_sets(&mut self, items: &[Node], others: &[Node]) -> Result<bool, Stop> {
        for (from, to) in [(items, others), (others, items)] {
            for (index, item) in from.iter().enumerate() {
                let places = (index..to.len()).chain(0..index.min(to.len()));
                let mut found = false;
                for place in places {
                    if self.same_element(item, &to[place])? {
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
}

/// Whether some items are assignments and others are not: `x = 1, 2` names both of its values.
fn is_partly_named(items: &[Node]) -> bool {
    let is_assigned = |item: &Node| item.equation().is_some();
    items.iter().any(is_assigned) && !items.iter().all(is_assigned)
}

/// Whether a condition holds for all other arguments.
fn is_otherwise(condition: &Node) -> bool {
    matches!(condition, Node::Text(words) if &**words == "otherwise")
}

/// Whether a node is a congruence.
fn is_modular(node: &Node) -> bool {
    matches!(node, Node::Chain { relations, .. } if relations.contains(&Relation::Modulo))
}

/// Whether two numbers with a colon are a time of day rather than a ratio: `6:05` and `6:30`, not `6:10`.
fn tells_time(clock: &str) -> bool {
    let is_time = minutes_of(clock).is_some_and(|minutes| minutes % 15 == 0);
    is_time || clock.split_once(':').is_some_and(|(_, minutes)| minutes.starts_with('0'))
}

/// Whether an item only says where a parameter lives.
fn is_remark(node: &Node) -> bool {
    match node {
        Node::Chain { terms, relations } => {
            let quantified = |label: &Node| matches!(label, Node::Expr(Expr::Symbol(name)) if name.starts_with("forall") || name.starts_with("exists"));
            matches!((terms.as_slice(), relations.as_slice()), ([label, Node::NumberSet(_)], [Relation::In])
                if label.is_label() && !quantified(label))
        }
        _ => false,
    }
}

/// The items of a list that are no remarks. Beside bounds on `x`, `x ∈ ℤ` is a condition of its own. A letter that
/// stands for integers by convention needs none.
fn without_remarks(items: &[Node]) -> Vec<Node> {
    let restricts = |remark: &Node| {
        let Node::Chain { terms, .. } = remark else { return false };
        let [Node::Expr(Expr::Symbol(name)), Node::NumberSet(set)] = terms.as_slice() else {
            return false;
        };
        let bounds = |item: &Node| {
            matches!(item, Node::Chain { terms: bounded, relations }
            if relations.iter().any(|relation| relation.is_order()) && bounded.contains(&terms[0]))
        };
        !matches!(set, 'R' | 'C')
            && !name.starts_with(['i', 'j', 'k', 'l', 'm', 'n', 'N'])
            && items.iter().any(bounds)
    };
    items.iter().filter(|item| !is_remark(item) || restricts(item)).cloned().collect()
}

/// The one parameter a list has a remark about.
fn parameter(items: &[Node]) -> Option<&str> {
    let mut remarks = items.iter().filter(|item| is_remark(item));
    match (remarks.next(), remarks.next()) {
        (Some(Node::Chain { terms, .. }), None) => match terms.first() {
            Some(Node::Expr(Expr::Symbol(name))) => Some(name),
            _ => None,
        },
        _ => None,
    }
}
