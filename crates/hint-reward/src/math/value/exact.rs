//! Exact values of expressions in the rational numbers.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::math::fuel::{Fuel, Stop};
use crate::math::tree::node::{Expr, Function, Rational};

/// Bits of numerator or denominator beyond which a value is not computed.
const MAX_BITS: u64 = 1 << 14;

/// Terms of a sum or product beyond which it is not expanded.
pub(crate) const MAX_TERMS: i64 = 2000;

/// Exact values, with the bound variables of the sums around.
pub(crate) struct Exact<'f> {
    pub(crate) fuel: &'f mut Fuel,
    pub(crate) bound: Vec<(Box<str>, Rational)>,
}

/// The exact value of an expression, if it has one that is rational and not too large.
pub(crate) fn exact(expr: &Expr, fuel: &mut Fuel) -> Result<Option<Rational>, Stop> {
    Exact { fuel, bound: Vec::new() }.value(expr)
}

impl Exact<'_> {
    pub(crate) fn value(&mut self, expr: &Expr) -> Result<Option<Rational>, Stop> {
        self.fuel.spend(20)?;
        match expr {
            Expr::Number(value) | Expr::Decimal { value, .. } => Ok(Some(value.clone())),
            Expr::Symbol(name) => Ok(self
                .bound
                .iter()
                .rev()
                .find(|(bound, _)| bound == name)
                .map(|(_, value)| value.clone())),
            Expr::Add(terms) => self.fold(terms, Rational::zero(), |sum, term| sum + term),
            Expr::Mul(factors) => {
                self.fold(factors, Rational::one(), |product, factor| product * factor)
            }
            Expr::Pow(pair) => {
                let Some(exponent) = self.value(&pair.1)? else { return Ok(None) };
                let Some(base) = self.value(&pair.0)? else { return Ok(None) };
                self.power(&base, &exponent)
            }
            Expr::Call(Function::Sum | Function::Product, arguments) => {
                self.series(expr, arguments)
            }
            Expr::Call(Function::Integral | Function::Limit, _)
            | Expr::Pi
            | Expr::E
            | Expr::I
            | Expr::Infinity
            | Expr::PlusMinus => Ok(None),
            Expr::Call(function, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    match self.value(argument)? {
                        Some(value) => values.push(value),
                        None => return Ok(None),
                    }
                }
                self.call(function, &values)
            }
        }
    }

    fn fold(
        &mut self,
        items: &[Expr],
        start: Rational,
        combine: impl Fn(Rational, Rational) -> Rational,
    ) -> Result<Option<Rational>, Stop> {
        let mut result = start;
        for item in items {
            let Some(value) = self.value(item)? else { return Ok(None) };
            result = combine(result, value);
            if !self.fits(&result)? {
                return Ok(None);
            }
        }
        Ok(Some(result))
    }

    /// Pays for a value and returns whether it is small enough.
    fn fits(&mut self, value: &Rational) -> Result<bool, Stop> {
        let bits = value.numer().bits() + value.denom().bits();
        let words = bits / 64 + 1;
        // Rational arithmetic takes a greatest common divisor, quadratic in the length.
        self.fuel.spend(50 + 12 * words * words)?;
        Ok(bits <= 2 * MAX_BITS)
    }

    pub(crate) fn power(
        &mut self,
        base: &Rational,
        exponent: &Rational,
    ) -> Result<Option<Rational>, Stop> {
        if exponent.is_zero() {
            // 0^0 has no value here.
            return Ok((!base.is_zero()).then(Rational::one));
        }
        if base.is_zero() {
            return Ok(exponent.is_positive().then(Rational::zero));
        }
        if base.is_one() {
            return Ok(Some(Rational::one()));
        }
        let (Some(numerator), Some(root)) = (exponent.numer().to_i32(), exponent.denom().to_u32())
        else {
            return Ok(None);
        };
        let base = if root == 1 {
            base.clone()
        } else {
            match self.root(base, root)? {
                Some(base) => base,
                None => return Ok(None),
            }
        };
        let bits = (base.numer().bits() + base.denom().bits())
            .saturating_mul(u64::from(numerator.unsigned_abs()));
        if bits > 2 * MAX_BITS && !(base.is_integer() && base.numer().abs().is_one()) {
            return Ok(None);
        }
        let words = bits.min(2 * MAX_BITS) / 64 + 1;
        self.fuel.spend(50 + 12 * words * words)?;
        let exponent = numerator.unsigned_abs();
        if base.is_integer() && base.numer().abs().is_one() {
            let negative = base.is_negative() && exponent % 2 == 1;
            return Ok(Some(if negative { -Rational::one() } else { Rational::one() }));
        }
        let raised = Rational::new_raw(base.numer().pow(exponent), base.denom().pow(exponent));
        Ok(Some(if numerator < 0 { raised.recip() } else { raised }))
    }

    /// The real root, if it is rational.
    fn root(&mut self, base: &Rational, index: u32) -> Result<Option<Rational>, Stop> {
        if (base.is_negative() && index.is_multiple_of(2)) || index > 64 {
            return Ok(None);
        }
        let words = (base.numer().bits() + base.denom().bits()) / 64 + 1;
        self.fuel.spend(50 * words * words)?;
        let part = |value: &BigInt| {
            let root = value.nth_root(index);
            (root.pow(index) == *value).then_some(root)
        };
        Ok(part(base.numer()).zip(part(base.denom())).map(|(n, d)| Rational::new_raw(n, d)))
    }

    fn series(&mut self, whole: &Expr, arguments: &[Expr]) -> Result<Option<Rational>, Stop> {
        let [Expr::Symbol(variable), low, high, body] = arguments else { return Ok(None) };
        let (Some(low), Some(high)) = (self.value(low)?, self.value(high)?) else {
            return Ok(None);
        };
        let Some((low, high)) = integer_range(&low, &high) else { return Ok(None) };
        let is_sum = matches!(whole, Expr::Call(Function::Sum, _));
        let mut result = if is_sum { Rational::zero() } else { Rational::one() };
        for index in low..=high {
            self.bound.push((variable.clone(), Rational::from_integer(index.into())));
            let term = self.value(body);
            self.bound.pop();
            let Some(term) = term? else { return Ok(None) };
            result = if is_sum { result + term } else { result * term };
            if !self.fits(&result)? {
                return Ok(None);
            }
        }
        Ok(Some(result))
    }

    fn call(&mut self, function: &Function, values: &[Rational]) -> Result<Option<Rational>, Stop> {
        let integers =
            || values.iter().map(|value| value.is_integer().then(|| value.to_integer())).collect();
        Ok(match (function, values) {
            (Function::Abs, [value]) => Some(value.abs()),
            (Function::Floor, [value]) => Some(value.floor()),
            (Function::Ceil, [value]) => Some(value.ceil()),
            (Function::Min, [_, ..]) => values.iter().min().cloned(),
            (Function::Max, [_, ..]) => values.iter().max().cloned(),
            (Function::Mod, [value, modulus]) if modulus.is_positive() => {
                Some(value - (value / modulus).floor() * modulus)
            }
            (Function::Gcd | Function::Lcm, [_, ..]) => {
                let integers: Option<Vec<BigInt>> = integers();
                let Some(integers) = integers else { return Ok(None) };
                let mut result = integers[0].clone();
                for next in &integers[1..] {
                    let words = (result.bits() + next.bits()) / 64 + 1;
                    self.fuel.spend(50 + 12 * words * words)?;
                    if result.bits() + next.bits() > MAX_BITS {
                        return Ok(None);
                    }
                    result = if *function == Function::Gcd {
                        result.gcd(next)
                    } else {
                        result.lcm(next)
                    };
                }
                Some(Rational::from_integer(result))
            }
            (Function::Factorial, [value]) => self.factorial(value, 1)?,
            (Function::DoubleFactorial, [value]) => self.factorial(value, 2)?,
            (Function::Binomial, [upper, lower]) => self.binomial(upper, lower)?,
            _ => None,
        })
    }

    /// `n·(n − step)·(n − 2·step)·…`, down to the last positive factor.
    fn factorial(&mut self, value: &Rational, step: usize) -> Result<Option<Rational>, Stop> {
        let Some(n) = value
            .is_integer()
            .then(|| value.to_integer().to_u32())
            .flatten()
            .filter(|n| *n <= 1500)
        else {
            return Ok(None);
        };
        self.fuel.spend(u64::from(n) * u64::from(n) / 20 + 10)?;
        let mut product = BigInt::one();
        for factor in (2..=n).rev().step_by(step) {
            product *= factor;
        }
        Ok(Some(Rational::from_integer(product)))
    }

    fn binomial(&mut self, upper: &Rational, lower: &Rational) -> Result<Option<Rational>, Stop> {
        let Some(k) =
            lower.is_integer().then(|| lower.to_integer().to_u32()).flatten().filter(|k| *k <= 500)
        else {
            return Ok(None);
        };
        if upper.numer().bits() + upper.denom().bits() > 256 {
            return Ok(None);
        }
        let mut result = Rational::one();
        for index in 0..k {
            // Three rational operations, each with a greatest common divisor.
            self.fuel.spend(200)?;
            if result.is_zero() {
                break;
            }
            let index = Rational::from_integer(index.into());
            result = result * (upper - &index) / (index + Rational::one());
            if !self.fits(&result)? {
                return Ok(None);
            }
        }
        Ok(Some(result))
    }
}

/// Both ends of a range of integers that is short enough to walk.
pub(crate) fn integer_range(low: &Rational, high: &Rational) -> Option<(i64, i64)> {
    if !low.is_integer() || !high.is_integer() {
        return None;
    }
    let (low, high) = (low.to_integer().to_i64()?, high.to_integer().to_i64()?);
    (high.checked_sub(low)? <= MAX_TERMS).then_some((low, high))
}
