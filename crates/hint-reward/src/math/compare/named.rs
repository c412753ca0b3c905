//! Lists whose items have names: `x = 1, y = 2`, `x_1 = 1, x_2 = 2`, `x = 1, 2`.

use std::borrow::Cow;

use crate::math::tree::node::{Expr, Node};

/// The labels of a list in which each item is an assignment to another one.
pub(super) fn labels(items: &[Node]) -> Option<Vec<&Node>> {
    let labels: Vec<&Node> = items
        .iter()
        .map(|item| item.equation().map(|(label, _)| label).filter(|l| l.is_label()))
        .collect::<Option<_>>()?;
    let distinct = labels.iter().enumerate().all(|(index, label)| !labels[..index].contains(label));
    (distinct && labels.len() > 1).then_some(labels)
}

/// Whether labels are those of the roots of an equation, which have no order: `x_1` to `x_n`. The same holds for `y`, `z`
/// and `λ`. The terms of a sequence and quantities such as `v_1` and `P_A` are told apart by their index.
pub(super) fn are_roots(labels: &[&Node]) -> bool {
    let names: Option<Vec<_>> = labels.iter().map(|label| root(label)).collect();
    let Some(mut names) = names else { return false };
    names.sort_unstable();
    let base = names.first().map(|(base, _)| *base);
    names.iter().enumerate().all(|(at, (name, index))| Some(*name) == base && *index == at + 1)
}

/// The base and the index of a name that a root may have.
fn root(label: &Node) -> Option<(&str, usize)> {
    let Node::Expr(Expr::Symbol(name)) = label else { return None };
    let (base, index) = name.split_once('_')?;
    matches!(base, "x" | "y" | "z" | "lambda").then_some((base, index.parse().ok()?))
}

/// Values of one name.
pub(super) struct Values {
    /// The name without its index.
    pub(super) name: String,
    pub(super) all: Vec<Node>,
    /// Whether each value has an index of its own, and these are not the indices of roots.
    pub(super) is_ordered: bool,
}

/// The values of `x_1 = 1, x_2 = 2` or of `x = 1, 2`, and their name.
pub(super) fn values_of_one(items: &[Node]) -> Option<Values> {
    let mut name: Option<String> = None;
    let mut values = Vec::with_capacity(items.len());
    let mut is_indexed = false;
    for (index, item) in items.iter().enumerate() {
        match item.equation() {
            Some((Node::Expr(Expr::Symbol(label)), value @ Node::Expr(_))) => {
                let base = label.split('_').next().unwrap_or(label);
                is_indexed |= base.len() < label.len();
                if name.get_or_insert_with(|| base.to_owned()) != base {
                    return None;
                }
                values.push(value.clone());
            }
            None if index > 0 && matches!(item, Node::Expr(_)) => values.push(item.clone()),
            _ => return None,
        }
    }
    let is_ordered = is_indexed && !labels(items).is_some_and(|labels| are_roots(&labels));
    Some(Values { name: name?, all: values, is_ordered })
}

/// The items in the order of their names: the alphabet, then the index. `y = 4, x = 3` is (3, 4). Items without names, or
/// with names that have no such order, stay as they are.
pub(super) fn in_order(items: &[Node]) -> Cow<'_, [Node]> {
    let Some(labels) = labels(items) else { return Cow::Borrowed(items) };
    match order(&labels) {
        Some(order) => Cow::Owned(order.into_iter().map(|at| items[at].clone()).collect()),
        None => Cow::Borrowed(items),
    }
}

/// The values of `(y, x) = (3, 4)` in the order of their names.
pub(super) fn values_in_order(names: &[Node], values: &[Node]) -> Vec<Node> {
    let labels: Vec<&Node> = names.iter().collect();
    match order(&labels).filter(|order| order.len() == values.len()) {
        Some(order) => order.into_iter().map(|at| values[at].clone()).collect(),
        None => values.to_vec(),
    }
}

/// Places of the labels in the order of the alphabet. `None` if one is no letter, with or without a number as its index.
fn order(labels: &[&Node]) -> Option<Vec<usize>> {
    let key = |node: &&Node| {
        let symbol = match node {
            Node::Expr(Expr::Symbol(name)) => &**name,
            Node::Expr(Expr::E) => "e",
            Node::Expr(Expr::I) => "i",
            _ => return None,
        };
        let (base, index) = symbol.split_once('_').unwrap_or((symbol, "0"));
        let index: usize = index.parse().ok()?;
        let is_letter = base.bytes().all(|byte| byte.is_ascii_alphabetic());
        // Greek letters, whose names are words, come behind the Latin ones.
        is_letter.then(|| (base.len() > 1, base.to_ascii_lowercase(), index))
    };
    let keys: Vec<_> = labels.iter().map(key).collect::<Option<_>>()?;
    let mut places: Vec<usize> = (0..keys.len()).collect();
    places.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
    Some(places)
}
