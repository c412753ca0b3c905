//! Values of expressions in complex numbers of about 31 digits, with error bounds.

use num_traits::ToPrimitive;

use crate::math::fuel::{Fuel, Stop};
use crate::math::tree::node::{Expr, Function, Rational};
use crate::math::value::ball::Ball;
use crate::math::value::exact::{MAX_TERMS, exact};
use crate::math::value::modular::{hash_text, mix};
use crate::math::value::real::{E, EPSILON, FUNCTION_EPSILON, PI, Real};

/// Values for the symbols of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// Real and positive.
    Positive,
    /// Real, of either sign. Of an even and the next odd number, a symbol is negative in one.
    Signed(u8),
    /// A small positive integer.
    Integer,
    /// Real, in a sequence without a gap of 1 between −16 and 16 for a single symbol, which then extends far
    /// beyond.
    Wide(u8),
}

/// Evaluates expressions at one point.
pub(crate) struct Numeric<'f> {
    pub(crate) fuel: &'f mut Fuel,
    seed: u64,
    sample: Sample,
    /// Whether roots and logarithms of negative numbers have (complex) values, or none.
    complex: bool,
    bound: Vec<(Box<str>, Real)>,
}

/// `None` where the expression has no value, or none that stands out from its error.
type Value = Result<Option<Ball>, Stop>;

impl<'f> Numeric<'f> {
    pub(crate) fn new(seed: u64, sample: Sample, complex: bool, fuel: &'f mut Fuel) -> Self {
        Self { fuel, seed, sample, complex, bound: Vec::new() }
    }

    pub(crate) fn value(&mut self, expr: &Expr) -> Value {
        self.fuel.spend(20)?;
        Ok(match expr {
            Expr::Number(value) | Expr::Decimal { value, .. } => {
                Real::from_rational(value).map(Ball::real)
            }
            Expr::Symbol(name) => Some(Ball::real(self.symbol(name))),
            Expr::Pi => Some(Ball::real(PI)),
            Expr::E => Some(Ball::real(E)),
            Expr::I => self.complex.then_some(Ball { re: Real::ZERO, im: Real::ONE, error: 0.0 }),
            Expr::Infinity | Expr::PlusMinus => None,
            Expr::Add(terms) => self.fold(terms, Ball::real(Real::ZERO), Ball::add)?,
            Expr::Mul(factors) => self.fold(factors, Ball::real(Real::ONE), Ball::times)?,
            Expr::Pow(pair) => self.power(&pair.0, &pair.1)?,
            Expr::Call(Function::Sum | Function::Product, arguments) => {
                self.series(matches!(expr, Expr::Call(Function::Sum, _)), arguments)?
            }
            Expr::Call(Function::Integral, arguments) => self.integral(arguments)?,
            Expr::Call(Function::Limit, arguments) => self.limit(arguments)?,
            Expr::Call(function, arguments) => self.call(expr, function, arguments)?,
        })
    }

    pub(super) fn bind(&mut self, variable: &str, value: Real) {
        self.bound.push((variable.into(), value));
    }

    /// Whether a variable of a sum, a limit or an integral has a value.
    pub(super) fn is_bound(&self) -> bool {
        !self.bound.is_empty()
    }

    pub(super) fn unbind(&mut self) {
        self.bound.pop();
    }

    fn symbol(&self, name: &str) -> Real {
        if let Some((_, value)) = self.bound.iter().rev().find(|(bound, _)| &**bound == name) {
            return *value;
        }
        let hash = mix(self.seed ^ hash_text(40, name));
        // 53 random bits in [0, 1).
        let unit = (hash >> 11) as f64 / 9_007_199_254_740_992.0;
        Real::from_f64(match self.sample {
            Sample::Positive => 0.3 + 2.2 * unit,
            Sample::Signed(number) => {
                let size = 0.3 + 2.2 * unit;
                let bit = hash_text(42, name) >> (number / 2) & 1;
                if bit == u64::from(number & 1) { size } else { -size }
            }
            Sample::Integer => (2.0 + 12.0 * unit).floor(),
            Sample::Wide(number) => {
                const GOLDEN: f64 = 0.618_033_988_749_894_9;
                let own = hash_text(44, name);
                let start = (own >> 11) as f64 / 9_007_199_254_740_992.0;
                let stride = 1.0 + (own & 7) as f64;
                let place = 2.0 * (start + f64::from(number) * GOLDEN * stride).fract() - 1.0;
                match number {
                    0..64 => 16.0 * place,
                    _ => 16.0 * place * 10f64.powi(i32::from(number - 63)),
                }
            }
        })
    }

    fn fold(&mut self, items: &[Expr], start: Ball, combine: impl Fn(Ball, Ball) -> Ball) -> Value {
        let mut result = start;
        for item in items {
            let Some(value) = self.value(item)? else { return Ok(None) };
            result = combine(result, value);
        }
        Ok(Some(result))
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Value {
        let number = match exponent {
            Expr::Number(number) => Some(number.clone()),
            Expr::Symbol(_) => None,
            other => exact(other, self.fuel)?,
        };
        let Some(value) = self.value(base)? else { return Ok(None) };
        if let Some(number) = &number {
            return self.rational_power(value, number);
        }
        let Some(exponent) = self.value(exponent)? else { return Ok(None) };
        // A symbol in the exponent may have an integer value.
        if exponent.im.is_zero()
            && exponent.re == exponent.re.floor()
            && exponent.re.to_f64().abs() < 1e6
        {
            let Some(integer) = Rational::from_float(exponent.re.to_f64()) else { return Ok(None) };
            return self.rational_power(value, &integer);
        }
        if value.im.is_zero() && value.re.is_negative() && !self.complex {
            return Ok(None);
        }
        self.fuel.spend(400)?;
        Ok(value.ln().and_then(|logarithm| logarithm.times(exponent).exp()))
    }

    fn rational_power(&mut self, value: Ball, exponent: &Rational) -> Value {
        let (Some(numerator), Some(index)) = (exponent.numer().to_i64(), exponent.denom().to_u64())
        else {
            return Ok(None);
        };
        let is_real = value.im.is_zero();
        let root = if index == 1 {
            value
        } else if is_real && value.size() <= value.error {
            return Ok((numerator > 0)
                .then_some(Ball { error: value.error.powf(1.0 / index as f64), ..value }));
        } else if is_real && value.re.is_negative() {
            if index % 2 == 1 && !self.complex {
                match self.positive_root(value.negated(), index)? {
                    Some(root) => root.negated(),
                    None => return Ok(None),
                }
            } else if self.complex {
                self.fuel.spend(400)?;
                let power = Ball::real(Real::ONE / Real::from_f64(index as f64));
                match value.ln().and_then(|logarithm| logarithm.times(power).exp()) {
                    Some(root) => root,
                    None => return Ok(None),
                }
            } else {
                return Ok(None);
            }
        } else if is_real {
            match self.positive_root(value, index)? {
                Some(root) => root,
                None => return Ok(None),
            }
        } else {
            self.fuel.spend(400)?;
            let power = Ball::real(Real::ONE / Real::from_f64(index as f64));
            match value.ln().and_then(|logarithm| logarithm.times(power).exp()) {
                Some(root) => root,
                None => return Ok(None),
            }
        };
        self.integer_power(root, numerator)
    }

    fn positive_root(&mut self, value: Ball, index: u64) -> Value {
        self.fuel.spend(400)?;
        let size = value.size();
        let root = if index == 2 {
            value.re.sqrt()
        } else {
            (value.re.ln() / Real::from_f64(index as f64)).exp()
        };
        let error =
            root.to_f64() * (value.error / (size - value.error).max(1e-300) + FUNCTION_EPSILON);
        Ok(Ball::with_error(root, Real::ZERO, error))
    }

    fn integer_power(&mut self, value: Ball, exponent: i64) -> Value {
        if value.size() <= value.error && exponent <= 0 {
            return Ok(None);
        }
        if exponent.unsigned_abs() > 4096 {
            self.fuel.spend(400)?;
            if value.im.is_zero() && value.re.is_negative() {
                let Some(positive) = self.integer_power(value.negated(), exponent)? else {
                    return Ok(None);
                };
                return Ok(Some(if exponent % 2 == 0 { positive } else { positive.negated() }));
            }
            let exponent = Ball::real(Real::from_f64(exponent as f64));
            return Ok(value.ln().and_then(|logarithm| logarithm.times(exponent).exp()));
        }
        self.fuel.spend(30)?;
        let (mut result, mut square, mut left) =
            (Ball::real(Real::ONE), value, exponent.unsigned_abs());
        while left > 0 {
            if left & 1 == 1 {
                result = result.times(square);
            }
            left >>= 1;
            if left > 0 {
                square = square.times(square);
            }
        }
        let result = Ball::with_error(result.re, result.im, result.error);
        Ok(if exponent < 0 { result.and_then(Ball::reciprocal) } else { result })
    }

    fn series(&mut self, is_sum: bool, arguments: &[Expr]) -> Value {
        let [Expr::Symbol(variable), low, high, body] = arguments else { return Ok(None) };
        if body.is_indexed() {
            return Ok(None);
        }
        if *high == Expr::Infinity {
            let Some(low) = self.value(low)?.and_then(|low| integer(&low)) else { return Ok(None) };
            return if is_sum {
                self.infinite_sum(variable, low, body)
            } else {
                self.infinite_product(variable, low, body)
            };
        }
        let (Some(low), Some(high)) = (self.value(low)?, self.value(high)?) else {
            return Ok(None);
        };
        let (Some(low), Some(high)) = (integer(&low), integer(&high)) else { return Ok(None) };
        if high - low > MAX_TERMS {
            return Ok(None);
        }
        let mut result = Ball::real(if is_sum { Real::ZERO } else { Real::ONE });
        for index in low..=high {
            self.bound.push((variable.clone(), Real::from_f64(index as f64)));
            let term = self.value(body);
            self.bound.pop();
            let Some(term) = term? else { return Ok(None) };
            result = if is_sum { result.add(term) } else { result.times(term) };
        }
        Ok(Some(result))
    }

    fn call(&mut self, whole: &Expr, function: &Function, arguments: &[Expr]) -> Value {
        self.fuel.spend(400)?;
        if function.is_arithmetic()
            && self.bound.is_empty()
            && let Some(value) = exact(whole, self.fuel)?
        {
            return Ok(Real::from_rational(&value).map(Ball::real));
        }
        if let Function::Named(name) = function {
            return self.unknown_function(name, arguments);
        }
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let Some(value) = self.value(argument)? else { return Ok(None) };
            values.push(value);
        }
        Ok(match (function, values.as_slice()) {
            (Function::Log, [base, value]) => match (self.logarithm(*base), self.logarithm(*value))
            {
                (Some(base), Some(value)) => base.reciprocal().map(|base| value.times(base)),
                _ => None,
            },
            (Function::Ln, [value]) => self.logarithm(*value),
            (Function::Binomial, [upper, lower]) => self.binomial(*upper, *lower)?,
            (Function::Min | Function::Max, [first, rest @ ..]) => {
                let pick = |a: Ball, b: Ball| {
                    if (a.re < b.re) == (*function == Function::Min) { a } else { b }
                };
                values
                    .iter()
                    .all(Ball::is_real)
                    .then(|| rest.iter().fold(*first, |best, next| pick(best, *next)))
            }
            (_, [value]) => unary(function, *value),
            _ => None,
        })
    }

    /// A function known by its name alone: a random value for each name and arguments. Arguments are distinguished
    /// by their leading digits.
    fn unknown_function(&mut self, name: &str, arguments: &[Expr]) -> Value {
        let mut hash = hash_text(41, name);
        for argument in arguments {
            let Some(value) = self.value(argument)? else { return Ok(None) };
            for part in [value.re, value.im] {
                let rounded = (part.to_f64() * 1e12).round();
                hash = mix(hash ^ rounded.to_bits());
            }
        }
        Ok(Some(Ball::real(self.symbol(&format!("{hash:x}")))))
    }

    fn logarithm(&self, value: Ball) -> Option<Ball> {
        if value.im.is_zero() && value.re.is_negative() && !self.complex {
            return None;
        }
        value.ln()
    }

    fn binomial(&mut self, upper: Ball, lower: Ball) -> Value {
        let Some(k) = integer(&lower).filter(|k| (0..=200).contains(k)) else { return Ok(None) };
        let mut result = Ball::real(Real::ONE);
        for index in 0..k {
            self.fuel.spend(20)?;
            let factor = upper.add(Ball::real(Real::from_f64(-(index as f64))));
            let divisor = Ball::real(Real::ONE / Real::from_f64((index + 1) as f64));
            result = result.times(factor).times(divisor);
        }
        Ok(Some(result))
    }
}

/// A function of one argument.
fn unary(function: &Function, value: Ball) -> Option<Ball> {
    let one = Ball::real(Real::ONE);
    match function {
        Function::Sin => value.sin_cos().map(|(sine, _)| sine),
        Function::Cos => value.sin_cos().map(|(_, cosine)| cosine),
        Function::Tan => quotient(value.sin_cos()),
        Function::Cot => quotient(value.sin_cos().map(|(sine, cosine)| (cosine, sine))),
        Function::Sec => value.sin_cos().and_then(|(_, cosine)| cosine.reciprocal()),
        Function::Csc => value.sin_cos().and_then(|(sine, _)| sine.reciprocal()),
        Function::Asin | Function::Acos => arc(value, *function == Function::Asin),
        Function::Atan if value.im.is_zero() => {
            let angle = value.re.atan2(Real::ONE);
            Ball::with_error(angle, Real::ZERO, value.error + FUNCTION_EPSILON)
        }
        Function::Sinh | Function::Cosh | Function::Tanh => {
            let (Some(up), Some(down)) = (value.exp(), value.negated().exp()) else {
                return None;
            };
            let half = Ball::real(Real::from_f64(0.5));
            let (sinh, cosh) = (up.add(down.negated()).times(half), up.add(down).times(half));
            match function {
                Function::Sinh => Some(sinh),
                Function::Cosh => Some(cosh),
                _ => quotient(Some((sinh, cosh))),
            }
        }
        Function::Abs => {
            if value.im.is_zero() {
                Some(Ball { re: value.re.abs(), ..value })
            } else {
                let norm = value.re * value.re + value.im * value.im;
                let error = value.error + FUNCTION_EPSILON * value.size();
                Some(Ball { re: norm.sqrt(), im: Real::ZERO, error })
            }
        }
        Function::Degrees => Some(value.times(Ball::real(PI / Real::from_f64(180.0)))),
        Function::Factorial => integer(&value).filter(|n| (0..=170).contains(n)).map(|n| {
            (2..=n).fold(one, |product, k| product.times(Ball::real(Real::from_f64(k as f64))))
        }),
        Function::Floor | Function::Ceil if value.is_real() => {
            let is_floor = *function == Function::Floor;
            let argument = if is_floor { value.re } else { -value.re };
            let floor = argument.floor();
            let above = (argument - floor).to_f64();
            let below = (floor + Real::ONE - argument).to_f64();
            // Within its error of an integer the value is not known.
            let known = above > 4.0 * value.error && below > 4.0 * value.error;
            known.then(|| Ball::real(if is_floor { floor } else { -floor }))
        }
        _ => None,
    }
}

/// The integer a value is within its error, if it is one.
#[expect(clippy::cast_possible_truncation, reason = "the value is below 1e9 in magnitude")]
fn integer(value: &Ball) -> Option<i64> {
    let rounded = value.re.to_f64().round();
    let difference = (value.re - Real::from_f64(rounded)).to_f64().abs();
    (value.is_real() && rounded.abs() < 1e9 && difference <= 4.0 * value.error)
        .then_some(rounded as i64)
}

fn quotient(pair: Option<(Ball, Ball)>) -> Option<Ball> {
    let (numerator, denominator) = pair?;
    denominator.reciprocal().map(|inverse| numerator.times(inverse))
}

/// Arc sine or arc cosine of a real number in [−1, 1].
fn arc(value: Ball, sine: bool) -> Option<Ball> {
    if !value.im.is_zero() {
        return None;
    }
    let other = Real::ONE - value.re * value.re;
    if other.is_zero() && value.error <= EPSILON {
        // At ±1 itself, where the slope is infinite.
        let angle = if sine { value.re.atan2(Real::ZERO) } else { Real::ZERO.atan2(value.re) };
        return Ball::with_error(angle, Real::ZERO, FUNCTION_EPSILON);
    }
    if other.to_f64() < -4.0 * value.error {
        return None;
    }
    let other = other.sqrt();
    let angle = if sine { value.re.atan2(other) } else { other.atan2(value.re) };
    // The derivative is 1/√(1 − x²).
    let slope = 1.0 / other.to_f64().max(1e-14);
    Ball::with_error(angle, Real::ZERO, slope * value.error + FUNCTION_EPSILON)
}
