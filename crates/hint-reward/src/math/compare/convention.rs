//! Notations that say the same by convention: conditions, congruences, names of points and of bound variables.

use num_traits::{One, Signed, Zero};

use crate::math::compare::comparison::Comparison;
use crate::math::compare::real_set::RealSet;
use crate::math::fuel::Stop;
use crate::math::parse::frame::restricts_nothing;
use crate::math::tree::node::{Expr, Function, Node, Rational, Relation, symbols};
use crate::math::value::identity::has_symbols;

impl Comparison<'_, '_> {
    /// Compares by a convention, where one applies.
    pub(super) fn by_convention(&mut self, a: &Node, b: &Node) -> Result<Option<bool>, Stop> {
        if let Some(equal) = self.same_progression(a, b)? {
            return Ok(Some(equal));
        }
        if let Some(equal) = self.same_congruence(a, b)? {
            return Ok(Some(equal));
        }
        if let Some(equal) = self.given(a, b)? {
            return Ok(Some(equal));
        }
        for (a, b) in [(a, b), (b, a)] {
            match (a, b) {
                // `P(2, 7)` against `(2, 7)`
                (
                    Node::Expr(Expr::Call(Function::Named(name), arguments)),
                    Node::Tuple { items, left_closed: false, right_closed: false },
                ) if arguments.len() > 1
                    && arguments.len() == items.len()
                    && name.len() == 1
                    && name.bytes().all(|byte| byte.is_ascii_uppercase()) =>
                {
                    for (argument, item) in arguments.iter().zip(items) {
                        if !self.same(&Node::Expr(argument.clone()), item)? {
                            return Ok(Some(false));
                        }
                    }
                    return Ok(Some(true));
                }
                // `3i − 2j + 5k`
                (
                    Node::Expr(vector),
                    Node::Tuple { items, left_closed: false, right_closed: false },
                ) if (2..=3).contains(&items.len())
                    && !has_unit_vector(vector)
                    && vector.any(&|expr| *expr == Expr::symbol("j")) =>
                {
                    let axes = vector.map(&|expr| match expr {
                        Expr::I => Some(Expr::symbol("hat i")),
                        Expr::Symbol(name) if matches!(&**name, "j" | "k") => {
                            Some(Expr::Symbol(format!("hat {name}").into()))
                        }
                        _ => None,
                    });
                    return self.vector_is(&axes, &items.iter().collect::<Vec<_>>()).map(Some);
                }
                (
                    Node::Expr(vector),
                    Node::Tuple { items, left_closed: false, right_closed: false },
                ) if has_unit_vector(vector) => {
                    return self.vector_is(vector, &items.iter().collect::<Vec<_>>()).map(Some);
                }
                (Node::Expr(vector), Node::Matrix(rows))
                    if has_unit_vector(vector) && (rows.len() == 1 || rows[0].len() == 1) =>
                {
                    return self
                        .vector_is(vector, &rows.iter().flatten().collect::<Vec<_>>())
                        .map(Some);
                }
                (Node::Piecewise(branches), Node::Expr(whole)) => {
                    return self.branches_are(branches, whole).map(Some);
                }
                // `x > 1 and y ≤ 2` against the same in two lines: of different variables all must hold.
                (Node::Intersection(parts), Node::List(items)) if is_system(items) => {
                    return self
                        .same_collection(&Node::Set(parts.clone()), &Node::Set(items.clone()))
                        .map(Some);
                }
                // The integers between two bounds, as a set.
                (Node::List(conditions), Node::Set(_)) => {
                    if let Some(integers) = self.integers_between(conditions)? {
                        return self.same(&Node::Set(integers), b).map(Some);
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// An answer under a condition. Two conditions must agree. A single one may only give the domain of the answer.
    fn given(&mut self, a: &Node, b: &Node) -> Result<Option<bool>, Stop> {
        Ok(Some(match (a, b) {
            (
                Node::Given { main, condition, .. },
                Node::Given { main: other_main, condition: other_condition, .. },
            ) => {
                // `cx for some constant c` against `kx for some constant k`
                if let (Some(name), Some(other_name)) =
                    (letter_of(condition), letter_of(other_condition))
                    && name != other_name
                    && !main.has_symbol(&other_name)
                    && !other_main.has_symbol(&name)
                {
                    let (main_too, condition_too) = (
                        other_main.renamed(&other_name, &name),
                        other_condition.renamed(&other_name, &name),
                    );
                    return Ok(Some(
                        self.same(main, &main_too)?
                            && (matches!(**condition, Node::Text(_))
                                || self.same(condition, &condition_too)?),
                    ));
                }
                if !self.same(main, other_main)? {
                    return Ok(Some(false));
                }
                let bare = |condition: &Node| is_vague(condition) && !is_domain(condition);
                let vague = |condition: &Node| is_vague(condition) || is_domain(condition);
                let is_restated = (bare(condition) && vague(other_condition))
                    || (bare(other_condition) && vague(condition));
                is_restated || self.same(condition, other_condition)?
            }
            // `The gears turn if and only if n is even` against `n is even`.
            (Node::Given { main, condition, .. }, other @ Node::Chain { .. })
            | (other @ Node::Chain { .. }, Node::Given { main, condition, .. })
                if matches!(**main, Node::Text(_)) =>
            {
                self.same(condition, other)?
            }
            (Node::Given { main, condition, essential }, other)
            | (other, Node::Given { main, condition, essential }) => {
                if let Node::List(items) = other
                    && let [first, condition_too] = items.as_slice()
                    && is_restriction(condition_too)
                {
                    return Ok(Some(
                        self.same(main, first)? && self.same(condition, condition_too)?,
                    ));
                }
                // `The minimum is 3, attained at x = 5` says nothing of `x = 3`.
                let is_argument = |name: &str| condition.has_symbol(name) && !main.has_symbol(name);
                let names_argument = other.equation().is_some_and(|(label, _)| match label {
                    Node::Expr(Expr::Symbol(name)) => is_argument(name),
                    Node::Text(words) => words.rsplit(' ').next().is_some_and(is_argument),
                    _ => false,
                });
                // Where the parameter runs over the integers, it was read as a congruence before.
                let is_modular = matches!(other, Node::Chain { relations, .. }
                    if relations.contains(&Relation::Modulo) && main.equation().is_some());
                !essential && !names_argument && !is_modular && self.same(main, other)?
            }
            // `k` is a nonnegative integer, or `k ≥ 0`
            (bounds @ Node::Chain { .. }, domain) | (domain, bounds @ Node::Chain { .. })
                if first_integer(domain).is_some() && is_restriction(bounds) =>
            {
                let Some((subject, first)) = first_integer(domain) else { return Ok(None) };
                let expected = Node::Chain {
                    terms: vec![subject.clone(), Node::Expr(Expr::integer(first))],
                    relations: vec![Relation::GreaterEqual],
                };
                self.same(bounds, &expected)?
            }
            // `a_n = 2^n, n ≥ 1` against `2^n`
            (Node::List(items), other) | (other, Node::List(items))
                if !matches!(other, Node::List(_) | Node::Set(_)) =>
            {
                match items.as_slice() {
                    [main, condition] if is_natural_domain(main, condition) => {
                        self.same(main, other)?
                    }
                    _ => return Ok(None),
                }
            }
            (Node::List(items), Node::List(others)) => {
                let ([first, condition], [other, other_condition]) =
                    (items.as_slice(), others.as_slice())
                else {
                    return Ok(None);
                };
                if !(is_restriction(condition) && is_restriction(other_condition))
                    || is_restriction(first)
                    || is_restriction(other)
                {
                    return Ok(None);
                }
                self.same(first, other)? && self.same(condition, other_condition)?
            }
            _ => return Ok(None),
        }))
    }

    /// `f(x) = 2x` against `f(t) = 2t`: the name of an argument is arbitrary.
    pub(super) fn renamed_function(&mut self, a: &Node, b: &Node) -> Result<bool, Stop> {
        let (Some((left, right)), Some((other_left, other_right))) = (a.equation(), b.equation())
        else {
            return Ok(false);
        };
        let (
            Node::Expr(Expr::Call(Function::Named(name), arguments)),
            Node::Expr(Expr::Call(Function::Named(other_name), other_arguments)),
        ) = (left, other_left)
        else {
            return Ok(false);
        };
        let ([Expr::Symbol(argument)], [Expr::Symbol(other)]) =
            (arguments.as_slice(), other_arguments.as_slice())
        else {
            return Ok(false);
        };
        if name != other_name
            || argument == other
            || right.has_symbol(other)
            || other_right.has_symbol(argument)
        {
            return Ok(false);
        }
        self.same(right, &other_right.renamed(other, argument))
    }

    /// `C(8, 3)` and `C_8^3` against a number: how many ways there are to choose; `A_8^3`: to arrange.
    pub(super) fn counted(&mut self, a: &Expr, b: &Expr) -> Result<bool, Stop> {
        let choices = |expr: &Expr| {
            expr.map(&|expr| match expr {
                Expr::Call(Function::Named(name), arguments)
                    if &**name == "C"
                        && arguments.len() == 2
                        && arguments.iter().all(|n| n.as_number().is_some()) =>
                {
                    Some(Expr::Call(Function::Binomial, arguments.clone()))
                }
                // `A(5, 2)`: how many ways there are to arrange.
                Expr::Call(Function::Named(name), arguments) if matches!(&**name, "A" | "P") => {
                    match arguments.as_slice() {
                        [Expr::Number(upper), Expr::Number(lower)] => arrangements(upper, lower),
                        _ => None,
                    }
                }
                Expr::Pow(pair) => match (&pair.0, &pair.1) {
                    (Expr::Symbol(name), Expr::Number(lower)) if lower.is_integer() => {
                        let (kind, upper) = name.split_once('_')?;
                        let upper = Rational::from_integer(upper.parse().ok()?);
                        match kind {
                            "C" => {
                                let arguments =
                                    vec![Expr::Number(upper), Expr::Number(lower.clone())];
                                Some(Expr::Call(Function::Binomial, arguments))
                            }
                            "A" | "P" => arrangements(&upper, lower),
                            _ => None,
                        }
                    }
                    _ => None,
                },
                _ => None,
            })
        };
        for (counted, value) in [(a, b), (b, a)] {
            if !has_symbols(value) && has_symbols(counted) {
                let counted = choices(counted);
                return Ok(!has_symbols(&counted) && self.comparer.identical(&counted, value)?);
            }
        }
        Ok(false)
    }

    /// `|x|` against the branches that define it: at points inside and at the ends of every branch.
    pub(super) fn branches_are(
        &mut self,
        branches: &[(Node, Node)],
        whole: &Expr,
    ) -> Result<bool, Stop> {
        const POINTS: [(i64, i64); 12] = [
            (0, 1),
            (-17, 3),
            (23, 7),
            (-5, 8),
            (3, 11),
            (97, 4),
            (-201, 5),
            (1, 1),
            (-1, 1),
            (2, 1),
            (13, 9),
            (-29, 10),
        ];
        let mut names = Vec::new();
        symbols(whole, &mut names);
        let [name] = names.as_slice() else { return Ok(false) };
        let at = |expr: &Expr, point: &Rational| {
            expr.map(&|expr| match expr {
                Expr::Symbol(symbol) if **symbol == **name => Some(Expr::Number(point.clone())),
                _ => None,
            })
        };
        let mut sets = Vec::with_capacity(branches.len());
        for (value, condition) in branches {
            let (Node::Expr(value), Some(set)) =
                (value, RealSet::read(condition, &mut self.comparer)?)
            else {
                return Ok(false);
            };
            sets.push((value, set));
        }
        let ends = sets.iter().flat_map(|(_, set)| set.ends());
        let points: Vec<Rational> = POINTS
            .iter()
            .map(|(n, d)| Rational::new((*n).into(), (*d).into()))
            .chain(ends)
            .collect();
        let mut seen = vec![0; sets.len()];
        for point in points {
            let Some((index, (value, _))) =
                sets.iter().enumerate().find(|(_, (_, set))| set.has(&point))
            else {
                return Ok(false);
            };
            seen[index] += 1;
            if !self.comparer.identical(&at(value, &point), &at(whole, &point))? {
                return Ok(false);
            }
        }
        Ok(seen.iter().all(|count| *count > 0))
    }

    /// `3i − 2j` against `(3, −2)`.
    fn vector_is(&mut self, vector: &Expr, items: &[&Node]) -> Result<bool, Stop> {
        const NAMES: [&str; 3] = ["hat i", "hat j", "hat k"];
        if !(2..=3).contains(&items.len()) {
            return Ok(false);
        }
        let at = |values: [i64; 3]| {
            vector.map(&|expr| match expr {
                Expr::Symbol(name) => NAMES
                    .iter()
                    .position(|known| **known == **name)
                    .map(|axis| Expr::integer(values[axis])),
                _ => None,
            })
        };
        let zero = Node::Expr(Expr::integer(0));
        if !self.same(&Node::Expr(at([0, 0, 0])), &zero)? {
            return Ok(false);
        }
        // At multiples of the axes and at their sum, so that only a sum of them fits.
        let mut sum = Expr::integer(0);
        for axis in 0..3 {
            let item = items.get(axis).copied().unwrap_or(&zero);
            let Node::Expr(expected) = item else { return Ok(false) };
            let mut values = [0; 3];
            values[axis] = 2;
            let twice = Expr::integer(2).times(expected.clone());
            if !self.comparer.identical(&at(values), &twice)? {
                return Ok(false);
            }
            sum = sum.plus(expected.clone());
        }
        self.comparer.identical(&at([1, 1, 1]), &sum)
    }

    /// The elements of `2 ≤ n ≤ 5, n ∈ ℤ`.
    fn integers_between(&mut self, conditions: &[Node]) -> Result<Option<Vec<Node>>, Stop> {
        let [bounds, Node::Chain { terms, relations }] = conditions else { return Ok(None) };
        let ([subject, Node::NumberSet(integers @ ('Z' | 'N' | 'ζ'))], [Relation::In]) =
            (terms.as_slice(), relations.as_slice())
        else {
            return Ok(None);
        };
        let least = match integers {
            'N' => Some(0),
            'ζ' => Some(1),
            _ => None,
        };
        let least = least.map(|least| Node::Chain {
            terms: vec![subject.clone(), Node::Expr(Expr::integer(least))],
            relations: vec![Relation::GreaterEqual],
        });
        let bounds = Node::Intersection(std::iter::once(bounds.clone()).chain(least).collect());
        let Some(set) = RealSet::read(&bounds, &mut self.comparer)? else { return Ok(None) };
        if set.subject.as_ref() != Some(subject) {
            return Ok(None);
        }
        set.integers(&mut self.comparer)
    }

    /// `xy = 8` against `y = 8/x`: the same once the denominator is multiplied out, which is 0 nowhere on either.
    pub(super) fn without_denominator(&mut self, a: &Expr, b: &Expr) -> Result<bool, Stop> {
        for (fraction, other) in [(a, b), (b, a)] {
            let mut names = Vec::new();
            denominators(fraction, &mut names);
            let mut others = Vec::new();
            denominators(other, &mut others);
            if names.len() == 1
                && others.is_empty()
                && self
                    .comparer
                    .proportional(&fraction.clone().times(Expr::symbol(names[0])), other)?
                    .is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The letter that a condition introduces without restricting it: `c` of `some constant c` and of `c ∈ ℝ`.
fn letter_of(condition: &Node) -> Option<String> {
    match condition {
        Node::Expr(Expr::Symbol(name)) => Some(name.to_string()),
        Node::Chain { terms, .. } if is_domain(condition) => match terms.first() {
            Some(Node::Expr(Expr::Symbol(name))) => Some(name.to_string()),
            _ => None,
        },
        Node::Text(words) if restricts_nothing(words) => {
            let mut letters = words.split(' ').filter(|word| word.len() == 1 && *word != "a");
            letters.next().filter(|_| letters.next().is_none()).map(ToOwned::to_owned)
        }
        _ => None,
    }
}

/// Whether a condition only says which numbers a letter stands for.
fn is_domain(condition: &Node) -> bool {
    matches!(condition, Node::Chain { terms, relations }
        if matches!((terms.as_slice(), relations.as_slice()),
            ([Node::Expr(Expr::Symbol(_)), Node::NumberSet(_)], [Relation::In])))
}

/// The letter of `k ∈ ℤ⁺` or `k ∈ ℤ` with `k ≥ 0`, and the first number it stands for. It must be one that mostly stands
/// for integers.
fn first_integer(domain: &Node) -> Option<(&Node, i64)> {
    let Node::Chain { terms, relations } = domain else { return None };
    let ([subject @ Node::Expr(Expr::Symbol(name)), Node::NumberSet(set)], [Relation::In]) =
        (terms.as_slice(), relations.as_slice())
    else {
        return None;
    };
    let first = match set {
        'ω' => 0,
        'ζ' => 1,
        _ => return None,
    };
    matches!(&**name, "i" | "j" | "k" | "l" | "m" | "n" | "N").then_some((subject, first))
}

/// Whether a condition only says that the index of a sequence starts at 0 or 1.
fn is_natural_domain(main: &Node, condition: &Node) -> bool {
    let Some((Node::Expr(Expr::Symbol(label)), _)) = main.equation() else { return false };
    let Node::Chain { terms, relations } = condition else { return false };
    let [Node::Expr(Expr::Symbol(index)), Node::Expr(Expr::Number(first))] = terms.as_slice()
    else {
        return false;
    };
    relations.as_slice() == [Relation::GreaterEqual]
        && label.split_once('_').is_some_and(|(_, subscript)| *subscript == **index)
        && (first.is_one() || first.is_zero())
}

/// A condition that only repeats the kind of the variable.
fn is_vague(condition: &Node) -> bool {
    match condition {
        Node::Expr(Expr::Symbol(_)) => true,
        Node::Chain { terms, relations } => {
            matches!(
                (terms.as_slice(), relations.as_slice()),
                ([_, Node::NumberSet('R' | 'C')], [Relation::In])
            )
        }
        Node::Text(words) => restricts_nothing(words),
        Node::Quantity(inner, unit) => is_vague(inner) && restricts_nothing(unit),
        _ => false,
    }
}

/// Whether items bound one variable each, all of them different.
fn is_system(items: &[Node]) -> bool {
    let mut subjects = Vec::with_capacity(items.len());
    for item in items {
        let Node::Chain { terms, relations } = item else { return false };
        let mut names = terms.iter().filter(|term| matches!(term, Node::Expr(Expr::Symbol(_))));
        let (Some(subject), None) = (names.next(), names.next()) else { return false };
        if !relations.iter().all(|relation| relation.is_order()) || subjects.contains(&subject) {
            return false;
        }
        subjects.push(subject);
    }
    true
}

/// Whether an item bounds a variable.
fn is_restriction(node: &Node) -> bool {
    matches!(node, Node::Chain { relations, .. } if relations.iter().all(|relation| relation.is_order()))
}

/// `n!/(n − k)!`, for natural numbers.
fn arrangements(upper: &Rational, lower: &Rational) -> Option<Expr> {
    let rest = upper - lower;
    let natural = |number: &Rational| number.is_integer() && !number.is_negative();
    let factorial =
        |number: &Rational| Expr::Call(Function::Factorial, vec![Expr::Number(number.clone())]);
    (natural(lower) && natural(&rest)).then(|| factorial(upper).over(factorial(&rest)))
}

fn has_unit_vector(expr: &Expr) -> bool {
    expr.any(&|expr| matches!(expr, Expr::Symbol(name) if name.starts_with("hat ")))
}

/// The symbols an expression divides by.
fn denominators<'e>(expr: &'e Expr, found: &mut Vec<&'e str>) {
    match expr {
        Expr::Pow(pair) => match (&pair.0, &pair.1) {
            (Expr::Symbol(name), Expr::Number(power)) if (-power).is_one() => found.push(name),
            _ => denominators(&pair.0, found),
        },
        other => other.children().iter().for_each(|child| denominators(child, found)),
    }
}
