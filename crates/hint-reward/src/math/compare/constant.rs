//! Constants of integration, whose names are arbitrary.

use crate::math::compare::comparison::Comparison;
use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Function, symbols};
use crate::math::value::identity::has_symbols;

impl Comparison<'_, '_> {
    /// `C_1 e^x + C_2 e^{-x}` against `A e^x + B e^{-x}`: constants of integration have arbitrary names. They stand beside
    /// a variable and in no function, and no other letter of that family does. One alone is a term, or the factor of an
    /// exponential or a trigonometric function.
    pub(super) fn renamed_constants(&mut self, a: &Expr, b: &Expr) -> Result<bool, Stop> {
        let (mut names, mut others) = (Vec::new(), Vec::new());
        symbols(a, &mut names);
        symbols(b, &mut others);
        let own: Vec<&str> = names.iter().filter(|name| !others.contains(name)).copied().collect();
        let other: Vec<&str> =
            others.iter().filter(|name| !names.contains(name)).copied().collect();
        let shared = || names.iter().filter(|name| others.contains(name));
        let base = |name: &str| name.split('_').next().unwrap_or_default().to_owned();
        let is_of = |letters: &str, name: &str| {
            let base = base(name);
            base.len() == 1 && letters.contains(&*base)
        };
        // One side must say that they are constants, by the letter C or by an index.
        let marked = |names: &[&str]| names.iter().all(|name| is_of("CcK", name));
        let free = |names: &[&str]| names.iter().all(|name| is_of("CcKkABD", name));
        if own.len() != other.len()
            || !(1..=2).contains(&own.len())
            || !(marked(&own) || marked(&other))
            || !free(&own)
            || !free(&other)
            || !shared().any(|name| matches!(*name, "x" | "t" | "y" | "u" | "theta"))
            || shared().any(|name| is_of("CcKkABDabd", name))
            || !self.are_constants(a, &own)?
            || !self.are_constants(b, &other)?
        {
            return Ok(false);
        }
        let orders: &[&[usize]] = if own.len() == 1 { &[&[0]] } else { &[&[0, 1], &[1, 0]] };
        for order in orders {
            let renamed = b.map(&|expr| match expr {
                Expr::Symbol(name) => {
                    let at = other.iter().position(|other| **other == **name)?;
                    Some(Expr::symbol(own[order[at]]))
                }
                _ => None,
            });
            if self.comparer.identical(a, &renamed)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether letters stand where constants of integration do.
    fn are_constants(&mut self, expr: &Expr, names: &[&str]) -> Result<bool, Stop> {
        for name in names {
            let at = |value: i64| {
                expr.map(&|inner| match inner {
                    Expr::Symbol(symbol) if **symbol == **name => Some(Expr::integer(value)),
                    _ => None,
                })
            };
            let (zero, one, two) = (at(0), at(1), at(2));
            let step = one.clone().minus(zero.clone());
            let next = two.minus(one);
            if !self.comparer.identical(&step, &next)? {
                return Ok(false);
            }
            let is_term = self.comparer.identical(&step, &Expr::integer(1))?
                || self.comparer.identical(&step, &Expr::integer(-1))?;
            let is_factor = expr.any(&|inner| match inner {
                Expr::Call(Function::Sin | Function::Cos, _) => true,
                Expr::Pow(pair) => has_symbols(&pair.1),
                _ => false,
            });
            if !(is_factor || (is_term && has_symbols(&zero))) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
