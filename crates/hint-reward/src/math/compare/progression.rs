//! Values that run through all integers: `kπ + π/3, k ∈ ℤ`.

use crate::math::compare::comparison::Comparison;
use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Node, Relation, symbols};
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
        let (first, second) = match (self.progression(a)?, self.progression(b)?) {
            (Some(first), Some(second)) => (first, second),
            // By convention `k` is an integer in `x = kπ + π/4`.
            (Some(first), None) => match self.without_domain(b)? {
                Some(second) => (first, second),
                None => return Ok(None),
            },
            (None, Some(second)) => match self.without_domain(a)? {
                Some(first) => (first, second),
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
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
        self.progression_in(main, name)
    }

    /// Reads `x = kπ + π/3` where nothing says what `k` is.
    fn without_domain<'n>(&mut self, node: &'n Node) -> Result<Option<Progression<'n>>, Stop> {
        let value = match node {
            Node::Expr(value) => value,
            other => match other.equation() {
                Some((_, Node::Expr(value))) => value,
                _ => return Ok(None),
            },
        };
        let mut names = Vec::new();
        symbols(value, &mut names);
        match names.as_slice() {
            [name @ ("k" | "n" | "m")] => self.progression_in(node, name),
            _ => Ok(None),
        }
    }

    /// The progression of a value in the parameter of this name.
    fn progression_in<'n>(
        &mut self,
        main: &'n Node,
        name: &str,
    ) -> Result<Option<Progression<'n>>, Stop> {
        let (subject, value) = match main {
            Node::Expr(value) => (None, value),
            other => match other.equation() {
                Some((label, Node::Expr(value))) if label.is_label() => (Some(label), value),
                _ => return Ok(None),
            },
        };
        let at = |point: i64| {
            value.map(&|expr| {
                matches!(expr, Expr::Symbol(symbol) if **symbol == *name)
                    .then(|| Expr::integer(point))
            })
        };
        let first = at(0);
        let step = at(1).minus(first.clone());
        let line = first.clone().plus(step.clone().times(Expr::symbol(name)));
        let is_line = self.comparer.identical(value, &line)?
            && !self.comparer.identical(&step, &Expr::integer(0))?;
        Ok(is_line.then_some(Progression { subject, first, step }))
    }
}
