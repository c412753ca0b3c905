//! Comparison of quantities with units, angles, ratios and times.

use crate::math::compare::comparison::Comparison;
use crate::math::fuel::Stop;
use crate::math::lex::units::{Unit, is_unit_letter};
use crate::math::parse::calendar::minutes_of;
use crate::math::tree::node::{Expr, Function, Node};

impl Comparison<'_, '_> {
    pub(super) fn same_quantity(
        &mut self,
        a: &Node,
        unit: &str,
        b: &Node,
        other: &str,
    ) -> Result<bool, Stop> {
        if unit == other || !self.strictness.units.is_strict() {
            return self.same(a, b);
        }
        self.comparer.fuel.spend(200)?;
        // A pound is money where the other side says so.
        let money = |unit: &str, other: &str| matches!(unit, "pound" | "pounds") && other == "gbp";
        // The sign ¥ stands for both.
        let sign =
            |unit: &str, other: &str| unit == "jpy" && matches!(other, "yuan" | "cny" | "rmb");
        if money(unit, other) || money(other, unit) || sign(unit, other) || sign(other, unit) {
            return self.same(a, b);
        }
        let (unit, other) = (Unit::parse(unit), Unit::parse(other));
        if !unit.is_comparable(&other) {
            return match (unit.is_angle(), other.is_angle()) {
                (Some(true), Some(false)) => self.angle_is(a, b),
                (Some(false), Some(true)) => self.angle_is(b, a),
                _ => Ok(false),
            };
        }
        let (size, other_size) = (unit.size(), other.size());
        if size == other_size {
            return self.same(a, b);
        }
        match (a, b) {
            (Node::Expr(a), Node::Expr(b)) => {
                let a = a.clone().times(Expr::Number(size));
                let b = b.clone().times(Expr::Number(other_size));
                self.comparer.identical(&a, &b)
            }
            _ => Ok(false),
        }
    }

    /// A quantity against something without a unit. A bare value is taken to be in the unit asked for. `9.8 m/s^2` in
    /// plain text reads as a product. Degrees may come as a multiple of π.
    pub(super) fn quantity_is(
        &mut self,
        inner: &Node,
        unit: &str,
        other: &Node,
    ) -> Result<bool, Stop> {
        // `3:45 hours` is a duration.
        if matches!(other, Node::TimeOfDay { .. }) {
            return Ok(false);
        }
        let in_radians = matches!(other, Node::Expr(expr) if expr.any(&|expr| *expr == Expr::Pi));
        if in_radians && Unit::parse(unit).is_angle() == Some(true) {
            return self.angle_is(inner, other);
        }
        if self.same(inner, other)? {
            return Ok(true);
        }
        let Node::Expr(expr) = other else { return Ok(false) };
        match as_quantity(expr) {
            Some((value, other_unit)) => {
                self.same_quantity(inner, unit, &Node::Expr(value), &other_unit)
            }
            None => Ok(false),
        }
    }

    /// Whether an angle in degrees is the one in radians.
    fn angle_is(&mut self, degrees: &Node, radians: &Node) -> Result<bool, Stop> {
        match (degrees, radians) {
            (Node::Expr(degrees), Node::Expr(radians)) => {
                let degrees = Expr::Call(Function::Degrees, vec![degrees.clone()]);
                self.comparer.identical(&degrees, radians)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn ratio_is_value(&mut self, terms: &[Expr], value: &Expr) -> Result<bool, Stop> {
        match terms {
            [first, second] => self.comparer.identical(&first.clone().over(second.clone()), value),
            _ => Ok(false),
        }
    }

    pub(super) fn same_ratio(&mut self, terms: &[Expr], others: &[Expr]) -> Result<bool, Stop> {
        if terms.len() != others.len() {
            return Ok(false);
        }
        let zero = Expr::integer(0);
        for pair in terms.iter().chain(others) {
            if self.comparer.identical(pair, &zero)? {
                return Ok(false);
            }
        }
        for index in 1..terms.len() {
            let left = terms[0].clone().times(others[index].clone());
            let right = terms[index].clone().times(others[0].clone());
            if !self.comparer.identical(&left, &right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A product of numbers and one-letter units, as value and unit.
pub(crate) fn as_quantity(expr: &Expr) -> Option<(Expr, String)> {
    let Expr::Mul(factors) = expr else { return None };
    let mut value = Vec::new();
    let mut unit = String::new();
    // `8\,\mathrm{N\cdot m}` groups its unit.
    let groups = factors.iter().flat_map(|factor| match factor {
        Expr::Mul(inner) => inner.as_slice(),
        other => std::slice::from_ref(other),
    });
    for factor in groups {
        let (base, power) = match factor {
            Expr::Pow(pair) => (&pair.0, pair.1.as_number()?.to_string()),
            other => (other, "1".to_owned()),
        };
        match base {
            Expr::Symbol(name) if is_unit_letter(name) || &**name == "Omega" => {
                let name = if &**name == "Omega" { "Ω" } else { name };
                unit.extend([name, "^", power.as_str(), " "]);
            }
            _ if base.as_number().is_some() || matches!(base, Expr::Pi) => {
                value.push(factor.clone());
            }
            // `s^2` below a fraction bar is a power of a power.
            Expr::Pow(pair) => match (&pair.0, pair.1.as_number(), power.as_str()) {
                (Expr::Symbol(name), Some(inner), "-1") if is_unit_letter(name) => {
                    unit.extend([name, "^-", inner.to_string().as_str(), " "]);
                }
                _ => return None,
            },
            _ => return None,
        }
    }
    (!unit.is_empty() && !value.is_empty()).then(|| {
        let value = if value.len() == 1 { value.remove(0) } else { Expr::Mul(value) };
        (value, unit)
    })
}

/// Whether a time of day is the one a clock shows, which may leave open which half of the day it means.
pub(super) fn clock_shows(minutes: u32, clock: &str) -> bool {
    minutes_of(clock)
        .is_some_and(|shown| shown == minutes || (shown < 13 * 60 && shown % 720 == minutes % 720))
}

pub(super) fn clock_terms(clock: &str) -> Vec<Expr> {
    clock.split(':').map(|part| Expr::integer(part.parse().unwrap_or(0))).collect()
}
