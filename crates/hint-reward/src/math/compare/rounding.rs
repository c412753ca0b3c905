//! Comparison of expressions that round, at integers.

use num_traits::{Signed, ToPrimitive};

use crate::math::compare::comparison::Comparison;
use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Function, symbols};
use crate::math::value::identity::{folds, has_symbols};

/// The end up to which a sum is added for a comparison.
const MAX_END: i64 = 1990;

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
        if !(jumps(a) || jumps(b)) {
            return Ok(None);
        }
        let mut names = Vec::new();
        free_symbols(a, &mut Vec::new(), &mut names);
        free_symbols(b, &mut Vec::new(), &mut names);
        let [name] = names.as_slice() else { return Ok(None) };
        let adds = adds_up(a) || adds_up(b);
        if adds && a != b && (folds_late(a) || folds_late(b)) {
            // The place where a term changes its formula is too far to add up to.
            return Ok(Some(false));
        }
        for at in points(a, b, adds) {
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

/// The symbols of an expression that no sum, product, integral or limit binds, each once.
fn free_symbols<'e>(expr: &'e Expr, bound: &mut Vec<&'e str>, found: &mut Vec<&'e str>) {
    match expr {
        Expr::Symbol(name) => {
            if !bound.contains(&&**name) && !found.contains(&&**name) {
                found.push(name);
            }
        }
        Expr::Pow(pair) => {
            free_symbols(&pair.0, bound, found);
            free_symbols(&pair.1, bound, found);
        }
        Expr::Call(
            Function::Sum | Function::Product | Function::Integral | Function::Limit,
            arguments,
        ) if let [Expr::Symbol(variable), rest @ ..] = arguments.as_slice() => {
            bound.push(variable);
            for part in rest {
                free_symbols(part, bound, found);
            }
            bound.pop();
        }
        other => other.children().iter().for_each(|child| free_symbols(child, bound, found)),
    }
}

/// Whether a sum starts, or has terms that fold, beyond the ends that can be computed.
fn folds_late(expr: &Expr) -> bool {
    expr.any(&|inner| match inner {
        Expr::Call(Function::Sum | Function::Product, arguments) => {
            let is_late = |part: &Expr| {
                let mut constants = Vec::new();
                large_constants(part, &mut constants);
                constants.iter().any(|constant| *constant >= MAX_END)
            };
            arguments.get(1).is_some_and(is_late)
                || arguments.last().is_some_and(|body| folds(body) && is_late(body))
        }
        _ => false,
    })
}

/// Whether an expression rounds, or adds up to an end that is a letter. It may follow another formula from some integer
/// on.
fn jumps(expr: &Expr) -> bool {
    let rounds = |inner: &Expr| {
        matches!(inner, Expr::Call(Function::Floor | Function::Ceil | Function::Mod, _))
    };
    expr.any(&rounds) || adds_up(expr)
}

/// Whether an expression has a sum or a product whose end is a letter.
fn adds_up(expr: &Expr) -> bool {
    expr.any(&|inner| match inner {
        Expr::Call(Function::Sum | Function::Product, arguments) => {
            arguments.iter().skip(1).take(2).any(has_symbols)
        }
        _ => false,
    })
}

/// The integers at which both sides are compared. They have every residue by any short divisor. Around the constants of
/// either side a rounding with them jumps.
fn points(a: &Expr, b: &Expr, adds: bool) -> Vec<i64> {
    const MAX_CONSTANTS: usize = 6;
    let mut constants = Vec::new();
    for expr in [a, b] {
        large_constants(expr, &mut constants);
    }
    constants.sort_unstable();
    constants.dedup();
    constants.truncate(MAX_CONSTANTS);
    let around = constants.into_iter().flat_map(|constant| {
        let near = [constant - 1, constant, constant + 1];
        near.into_iter().chain([2 * constant, 7 * constant - 1, 7 * constant + 1])
    });
    if adds {
        // A sum is computed term by term.
        const MAX_POINTS: usize = 24;
        let few = (1..=8).chain([13, 21, 30, 97]);
        return few.chain(around).filter(|at| *at <= MAX_END).take(MAX_POINTS).collect();
    }
    let many = (1..=30).chain([97, 1000, 1001, 4095]);
    many.chain(around).chain([999_999, 1_000_003, 1_000_000_007]).collect()
}

/// The integers above 30 in an expression.
fn large_constants(expr: &Expr, found: &mut Vec<i64>) {
    const LARGE: i64 = 30;
    const MAX: i64 = 1_000_000_000_000;
    if let Expr::Number(value) = expr {
        for part in [value.numer(), value.denom()] {
            found.extend(part.abs().to_i64().filter(|part| (LARGE..MAX).contains(part)));
        }
    }
    match expr {
        Expr::Pow(pair) => {
            large_constants(&pair.0, found);
            large_constants(&pair.1, found);
        }
        other => other.children().iter().for_each(|child| large_constants(child, found)),
    }
}
