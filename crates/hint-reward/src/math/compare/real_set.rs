//! Subsets of the real line: intervals, points and their unions.

use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Function, Node, Rational, Relation, symbols};
use crate::math::value::identity::{Comparer, has_symbols};

/// One end of an interval.
#[derive(Debug, Clone)]
struct End {
    value: Expr,
    /// For ordering; [`Comparer::identical`] recognizes equal ends.
    position: f64,
    closed: bool,
}

/// An interval, or a point when both ends are the same.
#[derive(Debug, Clone)]
struct Piece {
    low: End,
    high: End,
}

/// A union of disjoint pieces in increasing order.
#[derive(Debug, Clone)]
pub(crate) struct RealSet {
    pieces: Vec<Piece>,
    /// Variable of the condition, if the set was written as one.
    pub(crate) subject: Option<Node>,
}

impl RealSet {
    /// Reads a node as a set of real numbers, if it is one.
    pub(crate) fn read(node: &Node, comparer: &mut Comparer<'_>) -> Result<Option<Self>, Stop> {
        comparer.fuel.spend(50)?;
        match node {
            Node::NumberSet('R') => Ok(Some(Self::of(vec![Piece::everything()]))),
            Node::NumberSet(part @ ('ρ' | 'ϱ')) => {
                let closed = *part == 'ϱ';
                let zero = End { value: Expr::integer(0), position: 0.0, closed };
                Ok(Some(Self::of(vec![Piece { low: zero, high: End::infinite(1) }])))
            }
            Node::NumberSet('r') => {
                let zero = Node::Set(vec![Node::Expr(Expr::integer(0))]);
                let nonzero = Node::Difference(Box::new((Node::NumberSet('R'), zero)));
                Self::read(&nonzero, comparer)
            }
            Node::NumberSet('ν') => {
                let zero = End { value: Expr::integer(0), position: 0.0, closed: false };
                Ok(Some(Self::of(vec![Piece { low: End::infinite(-1), high: zero }])))
            }
            Node::Tuple { items, left_closed, right_closed } => {
                let [Node::Expr(low), Node::Expr(high)] = items.as_slice() else { return Ok(None) };
                let (Some(low), Some(high)) = (
                    End::new(low, *left_closed, comparer)?,
                    End::new(high, *right_closed, comparer)?,
                ) else {
                    return Ok(None);
                };
                Ok((low.position < high.position).then(|| Self::of(vec![Piece { low, high }])))
            }
            Node::Set(items) => {
                let mut pieces = Vec::with_capacity(items.len());
                for item in items {
                    let Node::Expr(value) = item else { return Ok(None) };
                    let Some(end) =
                        End::new(value, true, comparer)?.filter(|end| end.position.is_finite())
                    else {
                        return Ok(None);
                    };
                    pieces.push(Piece { low: end.clone(), high: end });
                }
                Ok(Some(Self::of(pieces).merged()))
            }
            Node::Union(parts) => {
                let mut union = Self::of(Vec::new());
                for part in parts {
                    let Some(part) = Self::read(part, comparer)? else { return Ok(None) };
                    if !union.join_subject(part.subject) {
                        return Ok(None);
                    }
                    union.pieces.extend(part.pieces);
                }
                Ok(Some(union.merged()))
            }
            Node::Intersection(parts) => {
                let mut result = Self::of(vec![Piece::everything()]);
                for part in parts {
                    let Some(part) = Self::read(part, comparer)? else { return Ok(None) };
                    if !result.join_subject(part.subject.clone()) {
                        return Ok(None);
                    }
                    result.pieces = result.intersected(&part, comparer)?;
                }
                Ok(Some(result))
            }
            Node::Difference(pair) => {
                let (Some(mut from), Some(without)) =
                    (Self::read(&pair.0, comparer)?, Self::read(&pair.1, comparer)?)
                else {
                    return Ok(None);
                };
                let complement = without.complement();
                from.pieces = from.intersected(&complement, comparer)?;
                Ok(Some(from))
            }
            Node::Chain { terms, relations } => Self::chain(terms, relations, comparer),
            Node::List(items) if items.iter().all(is_condition) => Self::list(items, comparer),
            // `(-∞, -1), (3, ∞)`: no points have such ends.
            Node::List(items) if are_intervals(items) => {
                Self::read(&Node::Union(items.clone()), comparer)
            }
            _ => Ok(None),
        }
    }

    /// Whether two sets are equal; without `ends`, whether they are up to open and closed ends.
    pub(crate) fn equals(
        &self,
        other: &Self,
        ends: bool,
        comparer: &mut Comparer<'_>,
    ) -> Result<bool, Stop> {
        if self.pieces.len() != other.pieces.len() {
            return Ok(false);
        }
        for (a, b) in self.pieces.iter().zip(&other.pieces) {
            for (a, b) in [(&a.low, &b.low), (&a.high, &b.high)] {
                if (ends && a.closed != b.closed) || !comparer.identical(&a.value, &b.value)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn of(pieces: Vec<Piece>) -> Self {
        Self { pieces, subject: None }
    }

    /// The finite ends, as numbers near them where they are irrational.
    pub(crate) fn ends(&self) -> Vec<Rational> {
        let ends = self.pieces.iter().flat_map(|piece| [&piece.low, &piece.high]);
        ends.filter(|end| end.position.is_finite())
            .filter_map(|end| {
                end.value.as_number().cloned().or_else(|| Rational::from_float(end.position))
            })
            .collect()
    }

    /// Whether a number lies in it, up to rounding.
    pub(crate) fn has(&self, point: &Rational) -> bool {
        let Some(at) = num_traits::ToPrimitive::to_f64(point) else { return false };
        self.pieces.iter().any(|piece| {
            let low = if near(at, piece.low.position) {
                piece.low.closed
            } else {
                at > piece.low.position
            };
            let high = if near(at, piece.high.position) {
                piece.high.closed
            } else {
                at < piece.high.position
            };
            low && high
        })
    }

    /// The integers of a bounded set.
    pub(crate) fn integers(&self, comparer: &mut Comparer<'_>) -> Result<Option<Vec<Node>>, Stop> {
        const MOST: f64 = 1000.0;
        let mut integers = Vec::new();
        for piece in &self.pieces {
            let (low, high) = (piece.low.position, piece.high.position);
            if !(high - low).is_finite() || high - low > MOST || low.abs() > 1e9 {
                return Ok(None);
            }
            let (first, last) = (low.ceil(), high.floor());
            let mut at = first;
            while at <= last {
                comparer.fuel.spend(20)?;
                let open_end =
                    (near(at, low) && !piece.low.closed) || (near(at, high) && !piece.high.closed);
                if !open_end {
                    integers.push(Node::Expr(Expr::Number(
                        Rational::from_float(at)
                            .ok_or(Stop::Unreadable("an end that is no number"))?,
                    )));
                }
                at += 1.0;
            }
        }
        Ok(Some(integers))
    }

    /// Takes over the subject of a part; false if it has another one already.
    fn join_subject(&mut self, subject: Option<Node>) -> bool {
        match (&self.subject, subject) {
            (None, subject) => self.subject = subject,
            (Some(own), Some(other)) => return *own == other,
            (Some(_), None) => {}
        }
        true
    }

    /// The solutions of a chain in its one variable.
    fn chain(
        terms: &[Node],
        relations: &[Relation],
        comparer: &mut Comparer<'_>,
    ) -> Result<Option<Self>, Stop> {
        if let ([subject, set], [Relation::In]) = (terms, relations) {
            if !subject.is_label() {
                return Ok(None);
            }
            return Ok(Self::read(set, comparer)?.map(|mut set| {
                set.subject = Some(subject.clone());
                set
            }));
        }
        let alone = |relation: &Relation| *relation == Relation::Equal;
        if relations.iter().all(alone)
            && !matches!((terms, relations), ([Node::Expr(Expr::Symbol(_)), Node::Expr(_)], [_]))
        {
            return Ok(None);
        }
        let mut result = Self::of(vec![Piece::everything()]);
        for (pair, relation) in terms.windows(2).zip(relations) {
            let [Node::Expr(left), Node::Expr(right)] = pair else { return Ok(None) };
            let Some(link) = Self::link(left, *relation, right, comparer)? else { return Ok(None) };
            if !result.join_subject(link.subject.clone()) {
                return Ok(None);
            }
            result.pieces = result.intersected(&link, comparer)?;
        }
        Ok(Some(result))
    }

    /// Conditions with commas between them: all of them hold if they can, `x > 1, x < 3`, else one of them,
    /// `x < 1, x > 3`.
    fn list(items: &[Node], comparer: &mut Comparer<'_>) -> Result<Option<Self>, Stop> {
        let all = Self::read(&Node::Intersection(items.to_vec()), comparer)?;
        match all {
            Some(all) if all.pieces.is_empty() => {
                Self::read(&Node::Union(items.to_vec()), comparer)
            }
            other => Ok(other),
        }
    }

    /// The solutions of one relation that is linear in one variable, or has a label on one side.
    fn link(
        left: &Expr,
        relation: Relation,
        right: &Expr,
        comparer: &mut Comparer<'_>,
    ) -> Result<Option<Self>, Stop> {
        for (inner, relation, bound) in [(left, relation, right), (right, relation.flipped(), left)]
        {
            if let Expr::Call(Function::Abs, arguments) = inner
                && let [inner] = arguments.as_slice()
                && !has_symbols(bound)
                && has_symbols(inner)
            {
                return Self::absolute(inner, relation, bound, comparer);
            }
        }
        let (subject, relation, bound) = if is_variable(left) && !has_symbols(right) {
            (left.clone(), relation, right.clone())
        } else if is_variable(right) && !has_symbols(left) {
            (right.clone(), relation.flipped(), left.clone())
        } else {
            match solve_linear(left, relation, right, comparer)? {
                Some(solved) => solved,
                None => return Ok(None),
            }
        };
        let Some(end) = End::new(&bound, false, comparer)? else { return Ok(None) };
        let closed = End { closed: true, ..end.clone() };
        let pieces = match relation {
            Relation::Less => vec![Piece { low: End::infinite(-1), high: end }],
            Relation::LessEqual => vec![Piece { low: End::infinite(-1), high: closed }],
            Relation::Greater => vec![Piece { low: end, high: End::infinite(1) }],
            Relation::GreaterEqual => vec![Piece { low: closed, high: End::infinite(1) }],
            Relation::Equal => vec![Piece { low: closed.clone(), high: closed }],
            Relation::NotEqual => {
                Self::of(vec![Piece { low: closed.clone(), high: closed }]).complement().pieces
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { pieces, subject: Some(Node::Expr(subject)) }))
    }

    /// `|inner| < bound` as `−bound < inner < bound`, and so on.
    fn absolute(
        inner: &Expr,
        relation: Relation,
        bound: &Expr,
        comparer: &mut Comparer<'_>,
    ) -> Result<Option<Self>, Stop> {
        let is_positive =
            comparer.constant(bound)?.is_some_and(|bound| !bound.is_negative() && !bound.is_zero());
        if !relation.is_order() || !is_positive {
            return Ok(None);
        }
        let below = bound.clone().negated();
        let (Some(mut first), Some(second)) = (
            Self::link(inner, relation, bound, comparer)?,
            Self::link(inner, relation.flipped(), &below, comparer)?,
        ) else {
            return Ok(None);
        };
        if matches!(relation, Relation::Less | Relation::LessEqual) {
            first.pieces = first.intersected(&second, comparer)?;
            return Ok(Some(first));
        }
        first.pieces.extend(second.pieces);
        Ok(Some(first.merged()))
    }

    /// Sorted, with pieces that overlap or touch made one.
    fn merged(mut self) -> Self {
        self.pieces.sort_by(|a, b| {
            a.low.position.total_cmp(&b.low.position).then_with(|| b.low.closed.cmp(&a.low.closed))
        });
        let mut merged: Vec<Piece> = Vec::with_capacity(self.pieces.len());
        for piece in self.pieces {
            match merged.last_mut() {
                Some(last) if last.reaches(&piece) => {
                    if piece.high.is_beyond(&last.high) {
                        last.high = piece.high;
                    }
                }
                _ => merged.push(piece),
            }
        }
        self.pieces = merged;
        self
    }

    fn complement(&self) -> Self {
        let mut pieces = Vec::with_capacity(self.pieces.len() + 1);
        let mut low = End::infinite(-1);
        for piece in &self.pieces {
            let high = End { closed: !piece.low.closed, ..piece.low.clone() };
            if low.position < high.position
                || (near(low.position, high.position) && low.closed && high.closed)
            {
                pieces.push(Piece { low, high });
            }
            low = End { closed: !piece.high.closed, ..piece.high.clone() };
        }
        if low.position < f64::INFINITY {
            pieces.push(Piece { low, high: End::infinite(1) });
        }
        for piece in &mut pieces {
            piece.low.closed &= piece.low.position.is_finite();
            piece.high.closed &= piece.high.position.is_finite();
        }
        Self { pieces, subject: self.subject.clone() }
    }

    fn intersected(&self, other: &Self, comparer: &mut Comparer<'_>) -> Result<Vec<Piece>, Stop> {
        comparer.fuel.spend(20 * (self.pieces.len() * other.pieces.len()) as u64)?;
        let mut pieces = Vec::new();
        for a in &self.pieces {
            for b in &other.pieces {
                let low = if b.low.is_inside_of(&a.low) { &b.low } else { &a.low };
                let high = if a.high.is_beyond(&b.high) { &b.high } else { &a.high };
                let is_point = near(low.position, high.position) && low.closed && high.closed;
                if (low.position < high.position && !near(low.position, high.position)) || is_point
                {
                    pieces.push(Piece { low: low.clone(), high: high.clone() });
                }
            }
        }
        Ok(Self::of(pieces).merged().pieces)
    }
}

impl Piece {
    fn everything() -> Self {
        Self { low: End::infinite(-1), high: End::infinite(1) }
    }

    /// Whether a piece that starts no earlier overlaps or touches this one.
    fn reaches(&self, next: &Self) -> bool {
        if near(next.low.position, self.high.position) {
            return next.low.closed || self.high.closed;
        }
        next.low.position < self.high.position
    }
}

impl End {
    /// An end at a constant or at infinity; `None` if the value is neither.
    fn new(value: &Expr, closed: bool, comparer: &mut Comparer<'_>) -> Result<Option<Self>, Stop> {
        if let Some(sign) = value.infinite_sign() {
            // Infinity is never reached; `[0, ∞]` is a slip for `[0, ∞)`.
            return Ok(Some(Self::infinite(sign)));
        }
        if has_symbols(value) {
            return Ok(None);
        }
        let position = comparer.constant(value)?.map(crate::math::value::real::Real::to_f64);
        Ok(position.map(|position| Self { value: value.clone(), position, closed }))
    }

    fn infinite(sign: i8) -> Self {
        let (value, position) = if sign < 0 {
            (Expr::Infinity.negated(), f64::NEG_INFINITY)
        } else {
            (Expr::Infinity, f64::INFINITY)
        };
        Self { value, position, closed: false }
    }

    /// As upper ends: whether this one lets more in.
    fn is_beyond(&self, other: &Self) -> bool {
        if near(self.position, other.position) {
            return self.closed && !other.closed;
        }
        self.position > other.position
    }

    /// As lower ends: whether this one lets less in.
    fn is_inside_of(&self, other: &Self) -> bool {
        if near(self.position, other.position) {
            return !self.closed && other.closed;
        }
        self.position > other.position
    }
}

/// Whether a node is an inequality.
pub(crate) fn is_condition(node: &Node) -> bool {
    matches!(node, Node::Chain { relations, .. } if relations.iter().all(|relation| {
        relation.is_order() || *relation == Relation::NotEqual
    }))
}

/// Whether all items are pairs in brackets, and one of them can only be an interval.
fn are_intervals(items: &[Node]) -> bool {
    let is_pair = |item: &Node| matches!(item, Node::Tuple { items, .. } if items.len() == 2);
    let is_interval = |item: &Node| match item {
        Node::Tuple { items, left_closed, right_closed } => {
            left_closed != right_closed
                || items
                    .iter()
                    .any(|end| matches!(end, Node::Expr(end) if end.infinite_sign().is_some()))
        }
        _ => false,
    };
    items.iter().all(is_pair) && items.iter().any(is_interval)
}

/// Whether an inequality bounds this and nothing inside it: `x` and `f(x)`, but not `|x|`, whose bounds say more.
fn is_variable(expr: &Expr) -> bool {
    matches!(expr, Expr::Symbol(_) | Expr::Call(Function::Named(_), _))
        || (matches!(expr, Expr::Mul(_))
            && expr.is_label()
            && expr.children().iter().all(is_variable))
}

/// Whether two positions are the same up to rounding.
fn near(a: f64, b: f64) -> bool {
    total_equal(a, b)
        || (a.is_finite() && b.is_finite() && (a - b).abs() <= 1e-13 * a.abs().max(b.abs()))
}

fn total_equal(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}

/// `a·x + b < c·x + d` as `x < …`, for rational coefficients.
fn solve_linear(
    left: &Expr,
    relation: Relation,
    right: &Expr,
    comparer: &mut Comparer<'_>,
) -> Result<Option<(Expr, Relation, Expr)>, Stop> {
    let difference = left.clone().minus(right.clone());
    let Some(name) = only_symbol(&difference) else { return Ok(None) };
    let mut values = Vec::with_capacity(5);
    for point in [0, 1, 2, 7, -5] {
        let at = difference.map(&|expr| match expr {
            Expr::Symbol(symbol) if **symbol == *name => Some(Expr::integer(point)),
            _ => None,
        });
        comparer.fuel.spend(20 * at.size())?;
        let Some(value) = crate::math::value::exact::exact(&at, comparer.fuel)? else {
            return Ok(None);
        };
        values.push((Rational::from_integer(point.into()), value));
    }
    let offset = values[0].1.clone();
    let slope = &values[1].1 - &offset;
    let zero = Rational::from_integer(0.into());
    if slope == zero || values.iter().any(|(point, value)| &slope * point + &offset != *value) {
        return Ok(None);
    }
    let relation = if slope < zero { relation.flipped() } else { relation };
    Ok(Some((Expr::symbol(&name), relation, Expr::Number(-offset / slope))))
}

/// The name of the only symbol of an expression.
fn only_symbol(expr: &Expr) -> Option<Box<str>> {
    let mut names = Vec::new();
    symbols(expr, &mut names);
    match names.as_slice() {
        [name] => Some((*name).into()),
        _ => None,
    }
}
