//! Values of expressions in finite fields, where equality is exact.
//!
//! A symbol takes a random value, and so do π and e. Two expressions that are equal as formulas then have equal
//! values in every field. Two that are not differ, except when a random point is a root of their difference.
//! That has a probability of at most degree/p per point (Schwartz and Zippel). p is above 2⁶¹, and there are
//! two points in two fields.
//!
//! Every prime here is 3 modulo 4 and (p − 1)/2 has no small prime factor. So −1 is no square and `i` is a formal
//! root of it. In the subgroup of squares each element has exactly one n-th root for every small n. So roots of
//! positive numbers and symbols obey the laws of positive roots: √2·√3 = √6, ∛(x²)·∛x = x. The small primes are
//! squares modulo each of these primes.

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::math::fuel::{Fuel, Stop};
use crate::math::tree::node::{Expr, Function, Rational};
use crate::math::value::exact::{exact, integer_range};

const PRIMES: [u64; 36] = [
    3_752_090_453_473_620_359,
    3_064_398_838_780_047_599,
    4_349_723_768_709_544_319,
    3_526_936_376_654_189_399,
    2_785_447_689_295_038_239,
    2_930_129_748_222_037_919,
    4_256_525_327_743_080_479,
    2_392_466_521_848_496_799,
    4_157_677_094_861_377_559,
    3_858_644_851_051_833_839,
    2_944_973_759_222_741_399,
    3_594_003_493_576_692_479,
    2_340_293_027_051_299_319,
    2_365_850_049_187_584_959,
    2_408_445_086_081_394_359,
    2_434_002_108_217_679_999,
    2_459_559_130_353_965_639,
    2_493_635_159_869_013_159,
    2_502_154_167_247_775_039,
    2_587_344_241_035_393_839,
    2_595_863_248_414_155_719,
    2_612_901_263_171_679_479,
    2_621_420_270_550_441_359,
    2_757_724_388_610_631_439,
    2_842_914_462_398_250_239,
    2_851_433_469_777_012_119,
    2_868_471_484_534_535_879,
    2_885_509_499_292_059_639,
    2_962_180_565_700_916_559,
    3_030_332_624_731_011_599,
    3_055_889_646_867_297_239,
    3_081_446_669_003_582_879,
    3_124_041_705_897_392_279,
    3_192_193_764_927_487_319,
    3_200_712_772_306_249_199,
    3_388_130_934_639_010_559,
];

/// Factorials beyond this one stay unknown.
const MAX_FACTORIAL: u64 = 20_000;

/// An element `re + im·i` of the field with p² elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) re: u64,
    pub(crate) im: u64,
}

/// One field, one assignment of values to symbols, and the assumptions so far.
pub(crate) struct Point<'f> {
    prime: u64,
    seed: u64,
    fuel: &'f mut Fuel,
    bound: Vec<(Box<str>, Element)>,
    /// Whether different values prove different expressions. Functions known by name only and roots of sums take
    /// random values that obey none of their laws.
    pub(crate) decisive: bool,
    /// Whether a root of a symbol was taken, which is only right where the symbol is positive.
    pub(crate) positive: bool,
}

/// Why an expression has no value at a point.
type Value = Result<Option<Element>, Stop>;

impl<'f> Point<'f> {
    /// The point number `index` of a comparison with this seed.
    pub(crate) fn new(seed: u64, index: u64, fuel: &'f mut Fuel) -> Self {
        // One field after the other: a number that is no square in one may be one in the next.
        let prime = PRIMES[usize::try_from(index % PRIMES.len() as u64).unwrap_or(0)];
        let seed = mix(seed ^ mix(index + 1));
        Self { prime, seed, fuel, bound: Vec::new(), decisive: true, positive: false }
    }

    /// The same field with other values for the symbols.
    pub(crate) fn with_assignment(mut self, assignment: u64) -> Self {
        self.seed = mix(self.seed ^ mix(assignment + 60));
        self
    }

    /// The value of an expression; `None` where it has none in this field.
    pub(crate) fn value(&mut self, expr: &Expr) -> Value {
        self.fuel.spend(10)?;
        Ok(match expr {
            Expr::Number(value) | Expr::Decimal { value, .. } => self.rational(value)?,
            Expr::Symbol(name) => match self.bound.iter().rev().find(|(bound, _)| bound == name) {
                Some((_, value)) => Some(*value),
                None => Some(self.square(hash_text(1, name))),
            },
            Expr::Pi => Some(self.constant(2)),
            Expr::E => Some(self.constant(3)),
            Expr::I => Some(Element { re: 0, im: 1 }),
            Expr::Infinity | Expr::PlusMinus => {
                self.decisive = false;
                Some(self.square(4))
            }
            Expr::Add(terms) => {
                let mut sum = Element { re: 0, im: 0 };
                for term in terms {
                    let Some(value) = self.value(term)? else { return Ok(None) };
                    sum = self.add(sum, value);
                }
                Some(sum)
            }
            Expr::Mul(factors) => {
                let mut product = Element { re: 1, im: 0 };
                for factor in factors {
                    let Some(value) = self.value(factor)? else { return Ok(None) };
                    product = self.multiply(product, value);
                }
                Some(product)
            }
            Expr::Pow(pair) => self.power(&pair.0, &pair.1)?,
            Expr::Call(function, arguments) => self.call(expr, function, arguments)?,
        })
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Value {
        let number = match exponent {
            Expr::Number(number) => Some(number.clone()),
            other => exact(other, self.fuel)?,
        };
        match number {
            Some(number) if number.is_integer() => {
                let Some(value) = self.value(base)? else { return Ok(None) };
                match number.to_integer().to_i64() {
                    // 0^0 has no value.
                    Some(0) if value == (Element { re: 0, im: 0 }) => Ok(None),
                    Some(exponent) => self.raise(value, exponent),
                    None => Ok(Some(self.opaque(10, &[value], &[hash_big(number.numer())]))),
                }
            }
            Some(number) => self.rational_power(base, &number),
            None => self.symbolic_power(base, exponent),
        }
    }

    /// A root: by the laws of positive roots where the base is positive for positive symbols, else opaque.
    fn rational_power(&mut self, base: &Expr, exponent: &Rational) -> Value {
        let index = exponent.denom().to_u64();
        let (Some(numerator), Some(index)) =
            (exponent.numer().to_i64(), index.filter(|index| *index < 50))
        else {
            let Some(value) = self.value(base)? else { return Ok(None) };
            return Ok(Some(self.opaque(
                11,
                &[value],
                &[hash_big(exponent.numer()), hash_big(exponent.denom())],
            )));
        };
        if let Some(number) = exact(base, self.fuel)? {
            if number.is_zero() {
                return Ok((numerator > 0).then_some(Element { re: 0, im: 0 }));
            }
            let Some(magnitude) = self.rational(&number.abs())? else { return Ok(None) };
            let Some(root) = self.root(magnitude, index)? else { return Ok(None) };
            let root = match (number.is_negative(), index) {
                (false, _) => root,
                (true, 2) => self.multiply(root, Element { re: 0, im: 1 }),
                (true, _) if index % 2 == 1 => {
                    self.multiply(root, Element { re: self.prime - 1, im: 0 })
                }
                (true, _) => self.opaque(12, &[root], &[index]),
            };
            return self.raise(root, numerator);
        }
        let Some(value) = self.value(base)? else { return Ok(None) };
        if !is_monomial(base) || value.im != 0 {
            let root = self.opaque(13, &[value], &[index]);
            return self.raise(root, numerator);
        }
        if base.any(&|expr| matches!(expr, Expr::Symbol(_))) {
            self.positive = true;
        }
        let Some(root) = self.root(value, index)? else { return Ok(None) };
        self.raise(root, numerator)
    }

    /// The root of a square among the squares; `None` for an element that is no square.
    fn root(&mut self, value: Element, index: u64) -> Value {
        let order = (self.prime - 1) / 2;
        if value.im != 0 || self.raise_u64(value, order)? != (Element { re: 1, im: 0 }) {
            return Ok(None);
        }
        let Some(inverse) = inverse_modulo(index % order, order) else { return Ok(None) };
        Ok(Some(self.raise_u64(value, inverse)?))
    }

    /// A power with a symbolic exponent, by `b^(u+v) = b^u·b^v` and `b^(k·u) = (b^u)^k`.
    fn symbolic_power(&mut self, base: &Expr, exponent: &Expr) -> Value {
        self.decisive = false;
        let Some(value) = self.value(base)? else { return Ok(None) };
        let single = [exponent.clone()];
        let terms = match exponent {
            Expr::Add(terms) => terms.as_slice(),
            _ => &single,
        };
        let mut product = Element { re: 1, im: 0 };
        for term in terms {
            let mut coefficient = Rational::one();
            let mut rest = Vec::new();
            match term {
                Expr::Mul(factors) => {
                    for factor in factors {
                        match factor.as_number() {
                            Some(number) => coefficient *= number,
                            None => rest.push(factor.clone()),
                        }
                    }
                }
                Expr::Number(number) => coefficient = number.clone(),
                other => rest.push(other.clone()),
            }
            let atom = if rest.is_empty() {
                value
            } else {
                let Some(rest) = self.value(&Expr::Mul(rest))? else { return Ok(None) };
                self.opaque(14, &[value, rest], &[])
            };
            let factor = if let (true, Some(coefficient)) =
                (coefficient.is_integer(), coefficient.numer().to_i64())
            {
                self.raise(atom, coefficient)?
            } else {
                let marks = [hash_big(coefficient.numer()), hash_big(coefficient.denom())];
                Some(self.opaque(15, &[atom], &marks))
            };
            let Some(factor) = factor else { return Ok(None) };
            product = self.multiply(product, factor);
        }
        Ok(Some(product))
    }

    fn call(&mut self, whole: &Expr, function: &Function, arguments: &[Expr]) -> Value {
        if matches!(function, Function::Sum | Function::Product) {
            return self.series(function, arguments);
        }
        if *function == Function::Degrees {
            let factor = Expr::Pi.times(Expr::Number(Rational::new(1.into(), 180.into())));
            return self.value(&arguments[0].clone().times(factor));
        }
        if function.is_arithmetic()
            && let Some(value) = exact(whole, self.fuel)?
        {
            return self.rational(&value);
        }
        if let Some(value) = self.counted(function, arguments)? {
            return Ok(Some(value));
        }
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let Some(value) = self.value(argument)? else { return Ok(None) };
            values.push(value);
        }
        if matches!(function, Function::Gcd | Function::Lcm | Function::Min | Function::Max) {
            values.sort_unstable_by_key(|value| (value.re, value.im));
        }
        // A name stands for any function, so different values do prove different expressions.
        let decisive = self.decisive && matches!(function, Function::Named(_));
        let mark = match function {
            Function::Named(name) => hash_text(20, name),
            other => hash_text(21, &format!("{other:?}")),
        };
        let result = self.opaque(22, &values, &[mark]);
        self.decisive = decisive;
        Ok(Some(result))
    }

    /// Factorials and binomials of numbers whose exact values are too long, in the field.
    fn counted(&mut self, function: &Function, arguments: &[Expr]) -> Value {
        if !matches!(function, Function::Factorial | Function::Binomial) {
            return Ok(None);
        }
        let mut numbers = [0; 2];
        for (number, argument) in numbers.iter_mut().zip(arguments) {
            let value = exact(argument, self.fuel)?.filter(Rational::is_integer);
            match value.and_then(|value| value.to_integer().to_u64()) {
                Some(value) if value <= MAX_FACTORIAL => *number = value,
                _ => return Ok(None),
            }
        }
        let [upper, lower] = numbers;
        let whole = self.product(1, upper)?;
        if *function == Function::Factorial {
            return Ok(Some(whole));
        }
        let Some(rest) = upper.checked_sub(lower) else { return Ok(None) };
        let parts = self.product(1, lower)?;
        let rest = self.product(1, rest)?;
        let parts = self.multiply(parts, rest);
        Ok(self.raise(parts, -1)?.map(|inverse| self.multiply(whole, inverse)))
    }

    /// The product of the integers from `first` to `last`.
    fn product(&mut self, first: u64, last: u64) -> Result<Element, Stop> {
        self.fuel.spend(10 + 2 * last.saturating_sub(first))?;
        let re = (first..=last).fold(1, |product, factor| mul_mod(product, factor, self.prime));
        Ok(Element { re, im: 0 })
    }

    fn series(&mut self, function: &Function, arguments: &[Expr]) -> Value {
        let [Expr::Symbol(variable), low, high, body] = arguments else { return Ok(None) };
        let bounds = match (exact(low, self.fuel)?, exact(high, self.fuel)?) {
            (Some(low), Some(high)) if !body.is_indexed() => integer_range(&low, &high),
            _ => None,
        };
        let is_sum = *function == Function::Sum;
        if let Some((first, last)) = bounds {
            let mut result = Element { re: u64::from(!is_sum), im: 0 };
            for index in first..=last {
                let Some(index) = self.rational(&Rational::from_integer(index.into()))? else {
                    return Ok(None);
                };
                self.bound.push((variable.clone(), index));
                let term = self.value(body);
                self.bound.pop();
                let Some(term) = term? else { return Ok(None) };
                result = if is_sum { self.add(result, term) } else { self.multiply(result, term) };
            }
            return Ok(Some(result));
        }
        // The bound variable takes a value of its own, the same for any name.
        let (Some(low), Some(high)) = (self.value(low)?, self.value(high)?) else {
            return Ok(None);
        };
        let inner = self.square(mix(30 + self.bound.len() as u64));
        self.bound.push((variable.clone(), inner));
        let body = self.value(body);
        self.bound.pop();
        let Some(body) = body? else { return Ok(None) };
        Ok(Some(self.opaque(if is_sum { 31 } else { 32 }, &[low, high, body], &[])))
    }

    fn rational(&mut self, value: &Rational) -> Value {
        let words = (value.numer().bits() + value.denom().bits()) / 64 + 1;
        self.fuel.spend(10 + 2 * words)?;
        let numerator = Element { re: self.reduce(value.numer()), im: 0 };
        if value.denom().is_one() {
            return Ok(Some(numerator));
        }
        let denominator = Element { re: self.reduce(value.denom()), im: 0 };
        Ok(self.raise(denominator, -1)?.map(|inverse| self.multiply(numerator, inverse)))
    }

    fn reduce(&self, value: &BigInt) -> u64 {
        if let Some(small) = value.to_i64() {
            let magnitude = small.unsigned_abs() % self.prime;
            return if small < 0 && magnitude > 0 { self.prime - magnitude } else { magnitude };
        }
        let remainder = (value.magnitude() % self.prime).to_u64().unwrap_or(0);
        if value.is_negative() && remainder > 0 { self.prime - remainder } else { remainder }
    }

    fn raise(&mut self, value: Element, exponent: i64) -> Value {
        let raised = self.raise_u64(value, exponent.unsigned_abs())?;
        if exponent >= 0 {
            return Ok(Some(raised));
        }
        // 1/(a + bi) = (a − bi)/(a² + b²); the norm is zero only for zero, as −1 is no square.
        let p = self.prime;
        let norm = add_mod(mul_mod(raised.re, raised.re, p), mul_mod(raised.im, raised.im, p), p);
        if norm == 0 {
            return Ok(None);
        }
        self.fuel.spend(400)?;
        let inverse = pow_mod(norm, p - 2, p);
        let negative = if raised.im == 0 { 0 } else { p - raised.im };
        Ok(Some(Element { re: mul_mod(raised.re, inverse, p), im: mul_mod(negative, inverse, p) }))
    }

    fn raise_u64(&mut self, value: Element, exponent: u64) -> Result<Element, Stop> {
        self.fuel.spend(4 + 6 * u64::from(64 - exponent.leading_zeros()))?;
        if value.im == 0 {
            return Ok(Element { re: pow_mod(value.re, exponent, self.prime), im: 0 });
        }
        let (mut result, mut square, mut left) = (Element { re: 1, im: 0 }, value, exponent);
        while left > 0 {
            if left & 1 == 1 {
                result = self.multiply(result, square);
            }
            square = self.multiply(square, square);
            left >>= 1;
        }
        Ok(result)
    }

    fn add(&self, a: Element, b: Element) -> Element {
        Element { re: add_mod(a.re, b.re, self.prime), im: add_mod(a.im, b.im, self.prime) }
    }

    pub(crate) fn multiply(&self, a: Element, b: Element) -> Element {
        let p = self.prime;
        if a.im == 0 && b.im == 0 {
            return Element { re: mul_mod(a.re, b.re, p), im: 0 };
        }
        let re = add_mod(mul_mod(a.re, b.re, p), p - mul_mod(a.im, b.im, p), p);
        Element { re, im: add_mod(mul_mod(a.re, b.im, p), mul_mod(a.im, b.re, p), p) }
    }

    /// The value of a constant: the same for every assignment of values to symbols.
    fn constant(&self, mark: u64) -> Element {
        let root = 1 + mix(self.prime ^ mark) % (self.prime - 1);
        Element { re: mul_mod(root, root, self.prime), im: 0 }
    }

    /// A random nonzero square that depends on the mark.
    fn square(&self, mark: u64) -> Element {
        let root = 1 + mix(self.seed ^ mark.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % (self.prime - 1);
        Element { re: mul_mod(root, root, self.prime), im: 0 }
    }

    /// The value of a function whose laws are unknown: random, but the same for the same arguments.
    fn opaque(&mut self, mark: u64, values: &[Element], marks: &[u64]) -> Element {
        self.decisive = false;
        let mut hash = mix(mark);
        for value in values {
            hash = mix(mix(hash ^ value.re) ^ value.im);
        }
        for mark in marks {
            hash = mix(hash ^ mark);
        }
        self.square(hash)
    }
}

/// Whether the expression is positive when its symbols are: a product of powers without sums.
fn is_monomial(expr: &Expr) -> bool {
    match expr {
        Expr::Number(value) | Expr::Decimal { value, .. } => value.is_positive(),
        Expr::Symbol(_) | Expr::Pi | Expr::E => true,
        Expr::Mul(factors) => factors.iter().all(is_monomial),
        Expr::Pow(pair) => is_monomial(&pair.0) && matches!(pair.1, Expr::Number(_)),
        _ => false,
    }
}

fn add_mod(a: u64, b: u64, p: u64) -> u64 {
    // p is below 2⁶², so the sum does not overflow.
    let sum = a + b;
    if sum >= p { sum - p } else { sum }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder modulo a 62-bit prime fits 64 bits"
)]
fn mul_mod(a: u64, b: u64, p: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(p)) as u64
}

fn pow_mod(mut base: u64, mut exponent: u64, p: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul_mod(result, base, p);
        }
        base = mul_mod(base, base, p);
        exponent >>= 1;
    }
    result
}

/// The inverse of `value` modulo `modulus`, by Euclid.
fn inverse_modulo(value: u64, modulus: u64) -> Option<u64> {
    let (mut r, mut next_r) = (i128::from(modulus), i128::from(value));
    let (mut t, mut next_t) = (0_i128, 1_i128);
    while next_r != 0 {
        let quotient = r / next_r;
        (t, next_t) = (next_t, t - quotient * next_t);
        (r, next_r) = (next_r, r - quotient * next_r);
    }
    if r != 1 {
        return None;
    }
    u64::try_from(t.rem_euclid(i128::from(modulus))).ok()
}

/// A bijective scrambling of 64 bits (splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn hash_text(mark: u64, text: &str) -> u64 {
    text.bytes().fold(mix(mark), |hash, byte| mix(hash ^ u64::from(byte)))
}

fn hash_big(value: &BigInt) -> u64 {
    value
        .magnitude()
        .iter_u64_digits()
        .fold(mix(u64::from(value.is_negative())), |hash, digit| mix(hash ^ digit))
}
