//! From the written form to the meant one: chains to their results, `±` to two answers.

use crate::math::fuel::{Fuel, Stop};
use crate::math::tree::node::{Expr, Function, Node, Relation};
use crate::math::value::identity::{Comparer, has_symbols};

/// Answers that `±` may expand to.
const MAX_ITEMS: usize = 512;

/// Brings an answer into the form that is compared.
pub(crate) fn prepare(node: Node, fuel: &mut Fuel) -> Result<Node, Stop> {
    let mut forms = expand(node, fuel)?;
    Ok(if forms.len() == 1 { forms.remove(0) } else { Node::List(forms) })
}

/// The answers a node stands for: two if it has a `±`, else one.
fn expand(node: Node, fuel: &mut Fuel) -> Result<Vec<Node>, Stop> {
    fuel.spend(10)?;
    Ok(match node {
        Node::Expr(expr) => both_signs(&expr, fuel)?.into_iter().map(Node::Expr).collect(),
        Node::Chain { terms, relations } => chain(terms, relations, fuel)?,
        Node::List(items) => {
            let expanded = expand_all(distributed(items), fuel)?;
            let flat = expanded.into_iter().flat_map(|item| match item {
                Node::List(inner)
                    if inner.iter().all(|item| matches!(item, Node::Tuple { .. })) =>
                {
                    inner
                }
                other => vec![other],
            });
            vec![Node::List(flat.collect())]
        }
        Node::Given { main, condition, essential } => expand(*main, fuel)?
            .into_iter()
            .map(|main| Node::Given {
                main: Box::new(main),
                condition: condition.clone(),
                essential,
            })
            .collect(),
        Node::Set(items) => vec![Node::Set(expand_all(items, fuel)?)],
        Node::Union(items) => vec![Node::Union(expand_all(items, fuel)?)],
        Node::Intersection(items) => vec![Node::Intersection(expand_all(items, fuel)?)],
        Node::Quantity(inner, unit) => expand(*inner, fuel)?
            .into_iter()
            .map(|node| Node::Quantity(Box::new(node), unit.clone()))
            .collect(),
        Node::Tuple { items, left_closed, right_closed } => {
            let mut tuples = vec![Vec::with_capacity(items.len())];
            // The sign is the same in all places: (±1, ±2) is two points.
            for item in items {
                let forms = expand(item, fuel)?;
                if forms.len() == 2 && tuples.len() == 1 {
                    tuples.push(tuples[0].clone());
                }
                let count = tuples.len();
                for (index, tuple) in tuples.iter_mut().enumerate() {
                    let form = if forms.len() == count { &forms[index] } else { &forms[0] };
                    tuple.push(form.clone());
                }
            }
            tuples
                .into_iter()
                .map(|items| Node::Tuple { items, left_closed, right_closed })
                .collect()
        }
        other => vec![other],
    })
}

/// `x ≠ 1, 2` as `x ≠ 1, x ≠ 2`.
fn distributed(items: Vec<Node>) -> Vec<Node> {
    let subject = match items.first() {
        Some(Node::Chain { terms, relations }) if *relations == [Relation::NotEqual] => {
            terms.first().filter(|term| term.is_label()).cloned()
        }
        _ => None,
    };
    let Some(subject) = subject else { return items };
    let distribute = |item| match item {
        Node::Expr(value) if !has_symbols(&value) => Node::Chain {
            terms: vec![subject.clone(), Node::Expr(value)],
            relations: vec![Relation::NotEqual],
        },
        other => other,
    };
    items.into_iter().map(distribute).collect()
}

/// `a = b = 1` as `a = 1, b = 1`, if a chain is one.
pub(crate) fn shared_value(node: &Node) -> Option<Node> {
    let Node::Chain { terms, relations } = node else { return None };
    let (value, names) = terms.split_last()?;
    let is_name = |node: &Node| match node {
        Node::Expr(Expr::Symbol(_)) => true,
        Node::Expr(Expr::Call(Function::Named(_), arguments)) => {
            arguments.iter().all(|argument| argument.as_number().is_some())
        }
        _ => false,
    };
    let shares = names.len() > 1
        && names.iter().all(is_name)
        && relations.iter().all(|relation| *relation == Relation::Equal)
        && is_constant(value);
    let assign = |name: &Node| Node::Chain {
        terms: vec![name.clone(), value.clone()],
        relations: vec![Relation::Equal],
    };
    shares.then(|| Node::List(names.iter().map(assign).collect()))
}

fn expand_all(items: Vec<Node>, fuel: &mut Fuel) -> Result<Vec<Node>, Stop> {
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        all.extend(expand(item, fuel)?);
        if all.len() > MAX_ITEMS {
            return Err(Stop::Unreadable("too many items"));
        }
    }
    Ok(all)
}

fn both_signs(expr: &Expr, fuel: &mut Fuel) -> Result<Vec<Expr>, Stop> {
    fuel.spend(expr.size())?;
    if !expr.any(&|expr| *expr == Expr::PlusMinus) {
        return Ok(vec![expr.clone()]);
    }
    let with =
        |sign: i64| expr.map(&|expr| (*expr == Expr::PlusMinus).then(|| Expr::integer(sign)));
    Ok(vec![with(1), with(-1)])
}

fn chain(
    mut terms: Vec<Node>,
    mut relations: Vec<Relation>,
    fuel: &mut Fuel,
) -> Result<Vec<Node>, Stop> {
    // `x = 3 + 3 = 2` says of x that it is 2, however wrong the computation. Without a name, or where nothing is computed
    // as in `x = 8 = 7`, two numbers say nothing.
    let is_plain =
        matches!(terms.get(1), Some(Node::Expr(Expr::Number(number))) if number.is_integer());
    let is_named = !is_plain
        && matches!(
            terms[0],
            Node::Expr(Expr::Symbol(_) | Expr::Call(Function::Named(_), _)) | Node::Text(_)
        );
    // What follows `≈` only restates the value before it, unless that is a name: `1/3 ≈ 0.33` is 1/3, `x ≈ 2` is 2.
    if let Some(at) = relations.iter().position(|relation| *relation == Relation::Approximately) {
        if at > 0 || !terms[0].is_label() {
            let rounded = terms.get(at + 1).cloned();
            terms.truncate(at + 1);
            relations.truncate(at);
            if let (Some(exact), Some(rounded)) = (terms.last(), rounded)
                && !is_named
                && is_false(exact, &rounded, fuel)?
            {
                return Err(Stop::Unreadable("an approximation of a different number"));
            }
        } else {
            relations[0] = Relation::Equal;
        }
    }
    if relations.iter().all(|relation| *relation == Relation::Equal) {
        if let Some(names) = equal_names(&terms) {
            return Ok(vec![Node::Chain { terms: names, relations }]);
        }
        if comes_back(&terms) {
            return Err(Stop::Unreadable("a chain of equations that goes round"));
        }
        for pair in terms.windows(2).filter(|_| !is_named) {
            if is_constant(&pair[0]) && is_constant(&pair[1]) && is_false(&pair[0], &pair[1], fuel)?
            {
                return Err(Stop::Unreadable("an equation of two different numbers"));
            }
        }
        let last = terms.pop().ok_or(Stop::Unreadable("an empty chain"))?;
        let first = if terms.is_empty() { return expand(last, fuel) } else { terms.swap_remove(0) };
        let is_computation = relations.len() > 1 || (is_constant(&first) && is_constant(&last));
        if is_computation && !first.is_label() {
            // The removal put the term before the last one first.
            if is_false(terms.first().unwrap_or(&first), &last, fuel)? {
                return Err(Stop::Unreadable("an equation of two different numbers"));
            }
            return expand(last, fuel);
        }
        // The name to the left.
        let (left, right) =
            if last.is_label() && !first.is_label() { (last, first) } else { (first, last) };
        let lefts = expand(left, fuel)?;
        let rights = expand(right, fuel)?;
        // The sign is the same on both sides.
        let count = lefts.len().max(rights.len());
        let pick = |forms: &[Node], index: usize| forms[index.min(forms.len() - 1)].clone();
        let equations = (0..count).map(|index| Node::Chain {
            terms: vec![pick(&lefts, index), pick(&rights, index)],
            relations: vec![Relation::Equal],
        });
        return Ok(equations.collect());
    }
    if relations.contains(&Relation::Modulo) {
        // `±` in a congruence is read where congruences are compared.
        return Ok(vec![Node::Chain { terms, relations }]);
    }
    // `x ≠ ±2` is two of them.
    if relations == [Relation::NotEqual]
        && let [subject, Node::Expr(bound)] = terms.as_slice()
    {
        let chains = both_signs(bound, fuel)?.into_iter().map(|bound| Node::Chain {
            terms: vec![subject.clone(), Node::Expr(bound)],
            relations: vec![Relation::NotEqual],
        });
        return Ok(chains.collect());
    }
    // `x ∈ {5}` and the like keep their sides; `±` in an inequality is not expanded.
    let mut expanded = Vec::with_capacity(terms.len());
    for term in terms {
        let mut forms = expand(term, fuel)?;
        if forms.len() != 1 {
            return Err(Stop::Unreadable("± in a relation"));
        }
        expanded.push(forms.remove(0));
    }
    Ok(vec![Node::Chain { terms: expanded, relations }])
}

/// The names of `a = b = c` in the order of the alphabet, if a chain has nothing else.
fn equal_names(terms: &[Node]) -> Option<Vec<Node>> {
    let name = |term: &Node| match term {
        Node::Expr(Expr::Symbol(name)) => Some(name.clone()),
        _ => None,
    };
    let mut names: Vec<Box<str>> = terms.iter().map(name).collect::<Option<_>>()?;
    names.sort();
    names.dedup();
    (terms.len() > 2 && names.len() == terms.len())
        .then(|| names.into_iter().map(|name| Node::Expr(Expr::Symbol(name))).collect())
}

/// Whether the defined name of a chain of equations comes back in it: `f(x) = 3x − 1f(x) = 3x − 1` is
/// garbled.
fn comes_back(terms: &[Node]) -> bool {
    let [Node::Expr(label), _, rest @ ..] = terms else { return false };
    let has_label =
        |term: &Node| matches!(term, Node::Expr(expr) if expr.any(&|inner| inner == label));
    !rest.is_empty() && label.is_label() && terms[1..].iter().any(has_label)
}

/// Whether two numbers differ by more than a rounding: `8 = 9`.
fn is_false(left: &Node, right: &Node, fuel: &mut Fuel) -> Result<bool, Stop> {
    let (Node::Expr(left), Node::Expr(right)) = (left, right) else { return Ok(false) };
    if has_symbols(left) || has_symbols(right) {
        return Ok(false);
    }
    let mut comparer = Comparer { fuel, relative_tolerance: 0.0 };
    let (Some(left), Some(right)) = (comparer.constant(left)?, comparer.constant(right)?) else {
        return Ok(false);
    };
    let (left, right) = (left.to_f64(), right.to_f64());
    Ok((left - right).abs() > 0.02 * left.abs().max(right.abs()))
}

fn is_constant(node: &Node) -> bool {
    match node {
        Node::Expr(expr) => !has_symbols(expr),
        // `160 + 100 = 260 sheep`
        Node::Quantity(inner, _) => is_constant(inner),
        _ => false,
    }
}
