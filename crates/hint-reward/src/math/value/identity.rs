//! Whether two expressions are the same number or the same function.

use num_traits::{Signed, ToPrimitive};

use crate::math::fuel::{DEFAULT_FUEL, Fuel, Stop};
use crate::math::tree::node::{Expr, Function, Rational};
use crate::math::value::ball::Ball;
use crate::math::value::exact::exact;
use crate::math::value::limit::has_infinity;
use crate::math::value::modular::{Element, Point, mix};
use crate::math::value::numeric::{Numeric, Sample};
use crate::math::value::real::Real;

/// Points in finite fields that must agree. Two fields above 2⁶¹ put the error below 1e-12 for every degree up to
/// 2⁴⁰. That is far beyond the expansion of a text of bounded length.
const FIELD_POINTS: usize = 2;

/// Fields tried to find as many in which both sides have a value.
const FIELD_TRIES: u64 = 40;

/// Numeric points that must agree when there are symbols.
const NUMERIC_POINTS: usize = 4;

const SAMPLES: [Sample; 16] = [
    Sample::Positive,
    Sample::Signed(0),
    Sample::Signed(1),
    Sample::Positive,
    Sample::Signed(2),
    Sample::Signed(3),
    Sample::Signed(4),
    Sample::Integer,
    Sample::Signed(5),
    Sample::Integer,
    Sample::Integer,
    Sample::Positive,
    Sample::Integer,
    Sample::Integer,
    Sample::Signed(6),
    Sample::Positive,
];

/// Points spread over a wide range, which expressions that fold signs must agree in as well.
const WIDE_POINTS: u8 = 72;

/// Inputs of the comparison of expressions.
pub(crate) struct Comparer<'f> {
    pub(crate) fuel: &'f mut Fuel,
    pub(crate) relative_tolerance: f64,
}

/// Result of evaluation in finite fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Formal {
    Equal,
    /// Equal where all symbols are positive.
    EqualIfPositive,
    Different,
    Unknown,
}

impl Comparer<'_> {
    /// Whether two expressions are equal.
    pub(crate) fn identical(&mut self, a: &Expr, b: &Expr) -> Result<bool, Stop> {
        self.fuel.spend(20)?;
        if a == b {
            return Ok(true);
        }
        match (a.infinite_sign(), b.infinite_sign()) {
            (Some(a), Some(b)) => return Ok(a == b),
            (None, None) => {}
            _ => return Ok(false),
        }
        if has_infinity(a) || has_infinity(b) {
            return Ok(false);
        }
        let has_symbols = has_symbols(a) || has_symbols(b);
        if !has_symbols {
            match (exact(a, self.fuel)?, exact(b, self.fuel)?) {
                (Some(first), Some(second)) => return Ok(self.numbers_equal(a, &first, b, &second)),
                (first, second) => {
                    let decimals = [(a, b, first), (b, a, second)];
                    for (decimal, other, value) in decimals {
                        if let (Expr::Decimal { places, .. }, Some(value)) = (decimal, value) {
                            return self.decimal_equals(&value, *places, other);
                        }
                    }
                }
            }
        }
        if !has_symbols && (self.is_transcendental(a, b)? || self.is_transcendental(b, a)?) {
            return Ok(false);
        }
        match self.formal(a, b)? {
            Formal::Equal => Ok(true),
            Formal::Different => Ok(false),
            Formal::EqualIfPositive | Formal::Unknown => self.numeric(a, b, has_symbols),
        }
    }

    /// Whether one side is a power of e that is never rational (Lindemann, Gelfond), and the other side is rational.
    fn is_transcendental(&mut self, power: &Expr, other: &Expr) -> Result<bool, Stop> {
        let Expr::Pow(pair) = power else { return Ok(false) };
        if pair.0 != Expr::E || pair.1.any(&|expr| matches!(expr, Expr::Call(..) | Expr::I)) {
            return Ok(false);
        }
        Ok(exact(other, self.fuel)?.is_some()
            && exact(&pair.1, self.fuel)?
                .is_none_or(|exponent| exponent != Rational::from_integer(0.into())))
    }

    /// Whether `a = b` and `c = d` are the same relation: `a − b` and `c − d` are proportional. The factor's sign
    /// is returned; `None` if they are not.
    pub(crate) fn proportional(
        &mut self,
        first: &Expr,
        second: &Expr,
    ) -> Result<Option<bool>, Stop> {
        if !has_symbols(first) || !has_symbols(second) {
            return Ok(None);
        }
        if !self.formally_proportional(first, second)? {
            return Ok(None);
        }
        let mut sign = None;
        let mut agreed = 0;
        let mut factor: Option<Ball> = None;
        let folds = folds(first) || folds(second);
        for (index, sample) in samples(folds).enumerate() {
            let (Some(a), Some(b)) = (
                self.sample(first, index, sample, false)?,
                self.sample(second, index, sample, false)?,
            ) else {
                continue;
            };
            // Near a common zero the factor is lost in the error.
            if a.size() <= 1e6 * a.error
                || b.size() <= 1e6 * b.error
                || !a.is_real()
                || !b.is_real()
            {
                continue;
            }
            let positive = a.re.is_negative() == b.re.is_negative();
            let ratio = (a.re / b.re).to_f64();
            if sign.is_some_and(|sign| sign != positive) {
                return Ok(None);
            }
            if let Some(before) = factor {
                let expected = before.re.to_f64();
                if (ratio - expected).abs() > 1e-9 * expected.abs() {
                    return Ok(None);
                }
            } else {
                factor = Some(Ball::real(Real::from_f64(ratio)));
            }
            sign = Some(positive);
            agreed += 1;
            if agreed == NUMERIC_POINTS && !folds {
                break;
            }
        }
        Ok(if agreed >= 2 { sign } else { None })
    }

    /// The numeric value of a constant, if it is real.
    pub(crate) fn constant(&mut self, expr: &Expr) -> Result<Option<Real>, Stop> {
        Ok(self.sample(expr, 0, Sample::Positive, false)?.filter(Ball::is_real).map(|ball| ball.re))
    }

    /// Cross products at two points of a field: `f(P)·g(Q) = f(Q)·g(P)`.
    fn formally_proportional(&mut self, first: &Expr, second: &Expr) -> Result<bool, Stop> {
        let seed = 7;
        let mut agreed = 0;
        for index in 0..FIELD_TRIES {
            let mut values: Vec<Element> = Vec::with_capacity(4);
            let mut decisive = true;
            let mut product = None;
            // Both points lie in the field of `index`; only the values of the symbols differ.
            for side in [0, 1] {
                let mut point = Point::new(seed, index, self.fuel).with_assignment(side);
                for expr in [first, second] {
                    values.extend(point.value(expr)?);
                }
                decisive &= point.decisive;
                if let [f_p, g_p, f_q, g_q] = values.as_slice() {
                    let (left, right) = (point.multiply(*f_p, *g_q), point.multiply(*f_q, *g_p));
                    let zero = Element { re: 0, im: 0 };
                    product = (left != zero).then_some(left == right);
                }
            }
            match product {
                Some(true) => agreed += 1,
                Some(false) if decisive => return Ok(false),
                // Functions and symbolic powers: leave it to the numeric factor.
                Some(false) => return Ok(true),
                None => {}
            }
            if agreed == FIELD_POINTS {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn formal(&mut self, a: &Expr, b: &Expr) -> Result<Formal, Stop> {
        let seed = 3;
        let mut agreed = 0;
        let mut positive = false;
        for index in 0..FIELD_TRIES {
            let mut point = Point::new(seed, index, self.fuel);
            let (Some(first), Some(second)) = (point.value(a)?, point.value(b)?) else {
                continue;
            };
            positive |= point.positive;
            if first != second {
                return Ok(if point.decisive { Formal::Different } else { Formal::Unknown });
            }
            agreed += 1;
            if agreed == FIELD_POINTS {
                return Ok(if positive { Formal::EqualIfPositive } else { Formal::Equal });
            }
        }
        Ok(Formal::Unknown)
    }

    fn numeric(&mut self, a: &Expr, b: &Expr, has_symbols: bool) -> Result<bool, Stop> {
        for complex in [false, true] {
            let mut agreed = 0;
            // Roots and absolute values need the signs of the symbols in many combinations.
            let folds = folds(a) || folds(b);
            let needed = match (has_symbols, folds) {
                (false, _) => 1,
                (true, false) => NUMERIC_POINTS,
                (true, true) => usize::MAX,
            };
            for (index, sample) in samples(folds).enumerate() {
                if !has_symbols && index > 0 {
                    break;
                }
                let Some(first) = self.sample(a, index, sample, complex)? else { continue };
                let Some(second) = self.sample(b, index, sample, complex)? else { continue };
                match first.equals(&second) {
                    Some(false) => return Ok(false),
                    Some(true) => agreed += 1,
                    None => {}
                }
                if agreed == needed {
                    return Ok(true);
                }
            }
            if agreed >= 2 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn sample(
        &mut self,
        expr: &Expr,
        index: usize,
        sample: Sample,
        complex: bool,
    ) -> Result<Option<Ball>, Stop> {
        Numeric::new(mix(index as u64 + 100), sample, complex, self.fuel).value(expr)
    }

    /// Equality of two exact values, with the tolerance of a decimal if exactly one side is one.
    fn numbers_equal(&self, a: &Expr, first: &Rational, b: &Expr, second: &Rational) -> bool {
        if first == second {
            return true;
        }
        let (decimal, places, value) = match (a, b) {
            (Expr::Decimal { places, .. }, Expr::Decimal { .. })
            | (Expr::Decimal { places, .. }, _) => {
                if matches!(b, Expr::Decimal { .. }) {
                    return false;
                }
                (first, *places, second)
            }
            (_, Expr::Decimal { places, .. }) => (second, *places, first),
            _ => return false,
        };
        let difference = (decimal - value).abs();
        let Some(tolerance) = self.tolerance(&value.abs(), places) else { return false };
        difference <= tolerance
    }

    /// The smaller of one unit in the last place written and the relative tolerance.
    fn tolerance(&self, size: &Rational, places: i32) -> Option<Rational> {
        let relative = size * Rational::from_float(self.relative_tolerance)?;
        let digits = places.unsigned_abs().min(5000);
        let power = Rational::from_integer(num_bigint::BigInt::from(10).pow(digits));
        let unit = if places < 0 { power } else { power.recip() };
        Some(if unit < relative { unit } else { relative })
    }

    fn decimal_equals(
        &mut self,
        decimal: &Rational,
        places: i32,
        other: &Expr,
    ) -> Result<bool, Stop> {
        let Some(value) = self.constant(other)? else { return Ok(false) };
        let Some(written) = Real::from_rational(decimal) else { return Ok(false) };
        let difference = (value - written).abs().to_f64();
        let unit = 10f64.powi(-places);
        let relative = value.to_f64().abs() * self.relative_tolerance;
        Ok(difference <= unit.min(relative) && decimal.to_f64().is_some())
    }
}

/// Whether a number is the limit of something, and that limit cannot be computed here.
pub(crate) fn is_uncomputable(expr: &Expr) -> bool {
    let is_limit = |inner: &Expr| match inner {
        Expr::Call(Function::Integral | Function::Limit, _) => true,
        Expr::Call(Function::Sum | Function::Product, arguments) => {
            arguments.iter().any(|end| end.infinite_sign().is_some())
        }
        _ => false,
    };
    if has_symbols(expr) || !expr.any(&is_limit) {
        return false;
    }
    // A budget of its own, so that other references of the judgment keep theirs.
    let mut fuel = Fuel::new(DEFAULT_FUEL);
    let value = Numeric::new(mix(100), Sample::Positive, false, &mut fuel).value(expr);
    // A value beyond the budget is none.
    matches!(value, Ok(None) | Err(Stop::OutOfFuel))
}

/// Whether the expression depends on anything but numbers.
pub(crate) fn has_symbols(expr: &Expr) -> bool {
    expr.is_open()
}

/// The points of a comparison. `|x + 3|` is `x + 3` near 0, so formulas that fold signs are compared far from
/// there too.
fn samples(folds: bool) -> impl Iterator<Item = Sample> {
    let wide = if folds { WIDE_POINTS } else { 0 };
    SAMPLES.into_iter().chain((0..wide).map(Sample::Wide))
}

/// Whether an expression follows another formula in another range of its symbols: `|x|`, `√(x²)`, `max(x, 3)`, `⌊x⌋`.
pub(crate) fn folds(expr: &Expr) -> bool {
    expr.any(&|inner| match inner {
        Expr::Call(
            Function::Abs
            | Function::Max
            | Function::Min
            | Function::Floor
            | Function::Ceil
            | Function::Mod
            | Function::Gcd
            | Function::Lcm,
            _,
        ) => true,
        Expr::Pow(pair) => {
            matches!(&pair.1, Expr::Number(power) if !power.is_integer()) && has_symbols(&pair.0)
        }
        _ => false,
    })
}
