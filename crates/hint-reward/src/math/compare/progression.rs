//! Values that run through all integers: `kπ + π/3, k ∈ ℤ`.

use crate::math::compare::comparison::Comparison;
use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Node, Relation};
use crate::math::value::identity::has_symbols;

/// Steps between the first values of two progressions, beyond which they are not compared.
const MAX_STEPS: f64 = 1e6;

/// A value for each integer: `first + step·k`.
struct Progression<'n> {
    subject: Option<&'n Node>,
    first: Expr,
    step: Expr,
}

impl Comparison<'_, '_> {
    /// Whether two progressions over all integers have the same elements: `kπ − π/3` and `kπ + 2π/3`. `None` if they are
    /// not known to.
    pub(super) fn same_progression(&mut self, a: &Node, b: &Node) -> Result<Option<bool>, Stop> {
        let Some(first) = self.progression(a)? else { return Ok(None) };
        let Some(second) = self.progression(b)? else { return Ok(None) };
        if let (Some(subject), Some(other)) = (first.subject, second.subject)
            && !self.same(subject, other)?
        {
            return Ok(None);
        }
        let same_step = self.comparer.identical(&first.step, &second.step)?
            || self.comparer.identical(&first.step, &second.step.clone().negated())?;
        if !same_step || has_symbols(&first.step) {
            return Ok(None);
        }
        let gap = first.first.minus(second.first);
        let ratio = gap.clone().over(first.step.clone());
        let Some(ratio) = self.comparer.constant(&ratio)? else { return Ok(None) };
        let steps = ratio.to_f64().round();
        if steps.abs() > MAX_STEPS {
            return Ok(None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
        let expected = first.step.times(Expr::integer(steps as i64));
        Ok(self.comparer.identical(&gap, &expected)?.then_some(true))
    }

    /// Reads `x = kπ + π/3, k ∈ ℤ`, and the same without a name.
    fn progression<'n>(&mut self, node: &'n Node) -> Result<Option<Progression<'n>>, Stop> {
        let (main, condition) = match node {
            Node::List(items) => match items.as_slice() {
                [main, condition] => (main, condition),
                _ => return Ok(None),
            },
            Node::Given { main, condition, .. } => (&**main, &**condition),
            _ => return Ok(None),
        };
        let Node::Chain { terms, relations } = condition else { return Ok(None) };
        let ([Node::Expr(Expr::Symbol(name)), Node::NumberSet('Z')], [Relation::In]) =
            (terms.as_slice(), relations.as_slice())
        else {
            return Ok(None);
        };
        let (subject, value) = match main {
            Node::Expr(value) => (None, value),
            other => match other.equation() {
                Some((label, Node::Expr(value))) if label.is_label() => (Some(label), value),
                _ => return Ok(None),
            },
        };
        let at = |point: i64| {
            value.map(&|expr| {
                matches!(expr, Expr::Symbol(symbol) if symbol == name).then(|| Expr::integer(point))
            })
        };
        let first = at(0);
        let step = at(1).minus(first.clone());
        let line = first.clone().plus(step.clone().times(Expr::Symbol(name.clone())));
        let is_line = self.comparer.identical(value, &line)?
            && !self.comparer.identical(&step, &Expr::integer(0))?;
        Ok(is_line.then_some(Progression { subject, first, step }))
    }
}
