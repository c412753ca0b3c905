//! Comparison of expressions that round, at integers.

use crate::math::compare::comparison::Comparison;
use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Function, symbols};

impl Comparison<'_, '_> {
    /// `⌈n/2⌉` against `⌊(n + 1)/2⌋`: floors of n, m and k are about integers.
    pub(super) fn same_integer_function(&mut self, a: &Expr, b: &Expr) -> Result<bool, Stop> {
        let mut names = Vec::new();
        symbols(a, &mut names);
        symbols(b, &mut names);
        let is_integer = matches!(names.as_slice(), [name] if matches!(*name, "n" | "m" | "k"));
        Ok(is_integer && self.agree_at_integers(a, b)? == Some(true))
    }

    /// Whether two expressions in one symbol, at least one of which rounds, agree at integers. `None` if they are none.
    pub(super) fn agree_at_integers(&mut self, a: &Expr, b: &Expr) -> Result<Option<bool>, Stop> {
        let rounds = |expr: &Expr| {
            expr.any(&|expr| {
                matches!(expr, Expr::Call(Function::Floor | Function::Ceil | Function::Mod, _))
            })
        };
        if !(rounds(a) || rounds(b)) {
            return Ok(None);
        }
        let mut names = Vec::new();
        symbols(a, &mut names);
        symbols(b, &mut names);
        let [name] = names.as_slice() else { return Ok(None) };
        // Every residue by any short divisor, and both signs of growth.
        for at in (1..=30).chain([97, 1000, 1001, 4095]) {
            let at_point = |expr: &Expr| {
                expr.map(&|expr| match expr {
                    Expr::Symbol(symbol) if **symbol == **name => Some(Expr::integer(at)),
                    _ => None,
                })
            };
            if !self.comparer.identical(&at_point(a), &at_point(b))? {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }
}
