//! Values that are limits: infinite sums and limits.
//!
//! Each is approached along a sequence and extrapolated; the error of the result is the last correction. If that is
//! not small, the value stays unknown and the two sides are not equal.

use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Function};
use crate::math::value::ball::Ball;
use crate::math::value::numeric::Numeric;
use crate::math::value::real::Real;

type Value = Result<Option<Ball>, Stop>;

/// Indices at which partial sums and sequences are taken: the sequence of Bulirsch, whose extrapolation is stable.
const PLACES: [u32; 19] =
    [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768];

/// Terms of an alternating sum that are enough: each brings three quarters of a digit.
const ALTERNATING: usize = 40;

/// Points near a limit: powers of two, whose steps are exact.
const DOUBLINGS: [i32; 14] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Powers of three that are the second sequence of points near a limit. What oscillates has another limit there.
const TRIPLINGS: [i32; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// Consecutive indices at which a sequence must be as near to its limit as before them.
const WINDOW: std::ops::RangeInclusive<u32> = 1000..=1011;

/// Places below which the distance from a limit may still rise.
const FIRST_PROBE: f64 = 24.0;

/// A base with its powers that are the places far out. `n^{1/n}` has no expansion in the index, but falls to its limit
/// there. They are odd, and exact in the numbers of this crate.
const FAR_PLACES: [(f64, [u32; 5]); 2] = [(3.0, [42, 48, 54, 60, 66]), (5.0, [29, 33, 37, 41, 45])];

/// Terms that are 0 behind which a sum has ended.
const ENDING_ZEROS: u32 = 64;

/// Partial sums at the end, each of which must be as near to the sum as those before them.
const LAST_SUMS: u32 = 15;

/// Points near a limit on both sides.
const HALVINGS: [i32; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// Places in front of those whose extrapolation may be a value.
const MIN_LEVEL: usize = 5;

/// Relative error beyond which a value is not known.
pub(super) const MAX_ERROR: f64 = 1e-21;

impl Numeric<'_> {
    /// The sum over all integers from `low` on.
    pub(super) fn infinite_sum(&mut self, variable: &str, low: i64, body: &Expr) -> Value {
        let mut sum = Ball::real(Real::ZERO);
        let mut partial = Vec::with_capacity(PLACES.len());
        let mut first = Vec::with_capacity(ALTERNATING);
        // Halfway between the last term and the next, where the rest has the shortest expansion.
        let shift = (low.clamp(1, 3) - 1) as f64 + 0.5;
        let mut sizes = [f64::INFINITY; 3];
        let (mut settled, mut zeros) = (0, 0);
        let mut last = Vec::new();
        let most = PLACES[PLACES.len() - 1];
        for count in 1..=most {
            let index = Real::from_f64((low + i64::from(count) - 1) as f64);
            let Some(term) = self.at(variable, index, body)? else { return Ok(None) };
            sum = sum.add(term);
            let (size, total) = (term.size(), sum.size());
            if size > 0.0 {
                zeros = 0;
                sizes = [sizes[1], sizes[2], size];
                // A tail below a geometric one of ratio 3/4, behind terms that are more than their errors.
                let falls = sizes[2] <= 0.75 * sizes[1] && sizes[1] <= 0.75 * sizes[0];
                let is_small = size <= 1e-33 * total && total > 16.0 * sum.error;
                settled = if is_small && falls { settled + 1 } else { 0 };
                if settled == 3 {
                    let error = sum.error + 4.0 * size;
                    return Ok(Ball::with_error(sum.re, sum.im, error));
                }
            } else {
                zeros += 1;
                if zeros == ENDING_ZEROS {
                    // A sum that has only begun with zeros is not known.
                    return Ok((total > 16.0 * sum.error).then_some(sum));
                }
            }
            if PLACES.contains(&count) {
                partial.push((f64::from(count) + shift, sum));
            }
            if count + LAST_SUMS >= most {
                last.push((f64::from(count) + shift, sum));
            }
            if first.len() < ALTERNATING {
                first.push(term);
                if first.len() == ALTERNATING
                    && let Some(sum) = alternating(&first)
                {
                    return Ok(Some(sum));
                }
            }
        }
        // Sums that oscillate in another way have no expansion in the index, or one at some indices only.
        Ok(extrapolated(&partial).filter(|value| stays_near(*value, &partial, &last)))
    }

    /// The product over all integers from `low` on, as the exponential of a sum of logarithms.
    pub(super) fn infinite_product(&mut self, variable: &str, low: i64, body: &Expr) -> Value {
        let logarithm = Expr::Call(Function::Ln, vec![body.clone()]);
        Ok(self.infinite_sum(variable, low, &logarithm)?.and_then(Ball::exp))
    }

    /// The limit of the body as the variable goes to `target`.
    pub(super) fn limit(&mut self, arguments: &[Expr]) -> Value {
        let [Expr::Symbol(variable), target, side, body] = arguments else { return Ok(None) };
        if let Some(sign) = target.infinite_sign() {
            return self.approached(body, |numeric, body, place| {
                numeric.at(variable, place * Real::from_f64(f64::from(sign)), body)
            });
        }
        let Some(target) = self.value(target)? else { return Ok(None) };
        let both = matches!(side, Expr::Number(side) if num_traits::Zero::is_zero(side));
        if both && let Some(value) = self.limit_in_the_middle(variable, target.re, body)? {
            return Ok(Some(value));
        }
        let mut found: Option<Ball> = None;
        let sides: &[f64] = match side {
            Expr::Number(side) if num_traits::Signed::is_positive(side) => &[1.0],
            Expr::Number(side) if num_traits::Signed::is_negative(side) => &[-1.0],
            _ => &[1.0, -1.0],
        };
        for side in sides {
            let value = self.approached(body, |numeric, body, place| {
                numeric.at(variable, target.re + Real::from_f64(*side) / place, body)
            })?;
            let Some(value) = value else { return Ok(None) };
            if found.is_some_and(|found| found.equals(&value) != Some(true)) {
                return Ok(None);
            }
            found = Some(value);
        }
        Ok(found)
    }

    /// The limit of measurements at places that go to infinity: extrapolated from near places, else read off at far ones.
    /// Two sequences of places must have the same limit.
    fn approached(
        &mut self,
        body: &Expr,
        measure: impl Fn(&mut Self, &Expr, Real) -> Value,
    ) -> Value {
        let mut at = |places: &mut dyn Iterator<Item = Real>| {
            let mut values = Vec::new();
            for place in places {
                if let Some(value) = measure(self, body, place)? {
                    values.push((place.to_f64(), value));
                }
            }
            Ok(values)
        };
        let near = at(&mut doublings())?;
        if let Some(value) = read_off(&near) {
            // `(−1)^n` is the same at all powers of two, and `sin πx` at all integers.
            for other in [at(&mut triplings())?, at(&mut between_doublings())?] {
                if read_off(&other).is_some_and(|other| differs(value, other))
                    || !stays_near(value, &near, &other)
                {
                    return Ok(None);
                }
            }
            let window = at(&mut WINDOW.map(|place| Real::from_f64(f64::from(place))))?;
            return Ok(stays_near(value, &near, &window).then_some(value));
        }
        let mut found: Option<Ball> = None;
        for (base, powers) in FAR_PLACES {
            let mut places = powers
                .into_iter()
                .map(|power| (0..power).fold(Real::ONE, |place, _| place * Real::from_f64(base)));
            let far: Vec<Ball> = at(&mut places)?.into_iter().map(|(_, value)| value).collect();
            let Some(value) = settled(&far).filter(|_| far.len() == powers.len()) else {
                return Ok(None);
            };
            if found.is_some_and(|found| differs(found, value)) {
                return Ok(None);
            }
            found = Some(value);
        }
        Ok(found)
    }

    /// The limit as the mean of both sides, which is even in the distance. Half the points give twice the digits, and
    /// `(1 − cos x)/x²` keeps them where the points next to its hole lose them.
    fn limit_in_the_middle(&mut self, variable: &str, target: Real, body: &Expr) -> Value {
        let mut at = |places: &mut dyn Iterator<Item = Real>| {
            let (mut means, mut gaps) = (Vec::new(), Vec::new());
            for place in places {
                let step = Real::ONE / place;
                let above = self.at(variable, target + step, body)?;
                let below = self.at(variable, target - step, body)?;
                let (Some(above), Some(below)) = (above, below) else { continue };
                let half = Ball::real(Real::from_f64(0.5));
                means.push((place.to_f64(), above.add(below).times(half)));
                gaps.push((place.to_f64(), above.add(below.negated())));
            }
            Ok((means, gaps))
        };
        let (means, gaps) = at(&mut HALVINGS.into_iter().map(power_of_two))?;
        // The two sides meet: their distance goes to nothing as the step does.
        let meets = gaps.windows(2).all(|pair| {
            let (before, now) = (pair[0].1.size(), pair[1].1);
            now.size() <= 0.75 * before || now.size() <= 4.0 * now.error
        });
        let squared: Vec<(f64, Ball)> =
            means.iter().map(|(place, value)| (place * place, *value)).collect();
        let Some(value) = extrapolated(&squared).filter(|_| meets) else { return Ok(None) };
        let nothing = Ball { error: 0.0, ..Ball::real(Real::ZERO) };
        for mut places in [
            &mut triplings() as &mut dyn Iterator<Item = Real>,
            &mut between_doublings(),
            &mut WINDOW.map(|place| Real::from_f64(f64::from(place))),
        ] {
            let (other_means, other_gaps) = at(&mut places)?;
            let is_near =
                stays_near(value, &means, &other_means) && stays_near(nothing, &gaps, &other_gaps);
            if !is_near {
                return Ok(None);
            }
        }
        Ok(Some(value))
    }

    /// The body with the variable at a value.
    pub(super) fn at(&mut self, variable: &str, value: Real, body: &Expr) -> Value {
        self.bind(variable, value);
        let result = self.value(body);
        self.unbind();
        result
    }
}

fn power_of_two(power: i32) -> Real {
    Real::from_f64(f64::from(1 << power))
}

/// The first sequence of places near a limit.
fn doublings() -> impl Iterator<Item = Real> {
    DOUBLINGS.into_iter().map(power_of_two)
}

/// The second sequence, of odd places.
fn triplings() -> impl Iterator<Item = Real> {
    TRIPLINGS.into_iter().map(|power| Real::from_f64(3.0_f64.powi(power)))
}

/// A sequence between the places of the first that has no integer.
fn between_doublings() -> impl Iterator<Item = Real> {
    let root = Real::from_f64(2.0).sqrt();
    DOUBLINGS.into_iter().map(move |power| power_of_two(power) * root)
}

/// The limit of measurements at these places, in one over the place or over its square. In the square, an even function
/// keeps more digits. Where neither is one, the value that the last ones have settled on.
fn read_off(values: &[(f64, Ball)]) -> Option<Ball> {
    let squared: Vec<(f64, Ball)> =
        values.iter().map(|(place, value)| (place * place, *value)).collect();
    let last: Vec<Ball> =
        values[values.len().saturating_sub(4)..].iter().map(|(_, value)| *value).collect();
    extrapolated(values).or_else(|| extrapolated(&squared)).or_else(|| settled(&last))
}

/// Whether two limits differ by more than the estimates of their errors can be wrong.
fn differs(a: Ball, b: Ball) -> bool {
    a.add(b.negated()).size() > 1e-15 * (1.0 + a.size())
}

/// Whether measurements at further places are about as near to a value as the last one in front of each.
fn stays_near(value: Ball, near: &[(f64, Ball)], further: &[(f64, Ball)]) -> bool {
    let distance = |measured: &Ball| measured.add(value.negated());
    further.iter().filter(|(place, _)| *place >= FIRST_PROBE).all(|(place, measured)| {
        let Some((_, before)) = near.iter().rev().find(|(earlier, _)| earlier <= place) else {
            return true;
        };
        let (now, before) = (distance(measured), distance(before));
        now.size() <= 4.0 * (before.size() + before.error + now.error)
    })
}

/// The sum of an alternating series from its first terms, by the polynomials of Chebyshev (Cohen, Rodriguez Villegas
/// and Zagier, 2000). `None` for terms that do not alternate and fall. The error is the change by the last terms.
fn alternating(terms: &[Ball]) -> Option<Ball> {
    let falls = terms.windows(2).all(|pair| {
        let signs = pair[0].re.is_negative() != pair[1].re.is_negative();
        pair.iter().all(Ball::is_real) && signs && pair[1].size() < pair[0].size()
    });
    let (middle, last) = (terms.get(terms.len() / 2)?.size(), terms.last()?.size());
    if !falls || last > 0.85 * middle {
        return None;
    }
    let accelerated = |count: usize| {
        let (one, n) = (Real::ONE, count as f64);
        let root = Real::from_f64(3.0) + Real::from_f64(8.0).sqrt();
        let power = (0..count).fold(one, |power, _| power * root);
        let scale = (power + one / power) * Real::from_f64(0.5);
        let (mut weight, mut rest) = (-one, -scale);
        let mut sum = Ball::real(Real::ZERO);
        for (index, term) in terms[..count].iter().enumerate() {
            rest = weight - rest;
            // The weights are for the sizes of the terms, which alternate themselves.
            let sign = if index % 2 == 0 { one } else { -one };
            sum = sum.add(term.times(Ball::real(sign * rest / scale)));
            let k = index as f64;
            let step = Real::from_f64((k + n) * (k - n)) / Real::from_f64((k + 0.5) * (k + 1.0));
            weight = weight * step;
        }
        sum
    };
    let (sum, before) = (accelerated(terms.len()), accelerated(terms.len() - 6));
    let error = (sum.re - before.re).to_f64().abs() + sum.error;
    (error <= MAX_ERROR * sum.size()).then_some(Ball { error, ..sum })
}

/// The value at infinity of measurements at these places, as a polynomial in one over the place (Neville).
fn extrapolated(values: &[(f64, Ball)]) -> Option<Ball> {
    if values.len() < 8 {
        return None;
    }
    let mut row: Vec<Ball> = Vec::with_capacity(values.len());
    let mut last: Option<(Ball, f64)> = None;
    for (index, (place, value)) in values.iter().enumerate() {
        let mut next = vec![*value];
        for level in 1..=index {
            let earlier = values[index - level].0;
            // (place·new − earlier·old) / (place − earlier), in whole numbers.
            let (up, down) = (next[level - 1], row[level - 1]);
            let scaled = up
                .times(Ball::real(Real::from_f64(*place)))
                .add(down.times(Ball::real(Real::from_f64(-earlier))));
            next.push(scaled.times(Ball::real(Real::ONE / Real::from_f64(place - earlier))));
        }
        let best = next[index];
        // The first partial sums of `1 + 0 − 1 + 0 + ⋯` agree by chance.
        if let Some(before) = row.last().filter(|_| index >= MIN_LEVEL) {
            let change = (best.re - before.re).to_f64().hypot((best.im - before.im).to_f64());
            if last.is_none_or(|(_, error)| change + best.error <= error) {
                last = Some((best, change + best.error));
            }
        }
        row = next;
    }
    let (value, error) = last?;
    // What fits some places alone moves away behind them.
    let all = row.last()?;
    if differs(value, *all) && all.add(value.negated()).size() > 4.0 * all.error {
        return None;
    }
    (error <= MAX_ERROR * value.size().max(1e-3)).then_some(())?;
    Ball::with_error(value.re, value.im, error)
}

/// The value that measurements have settled on: each changes it by less than half of the change before.
fn settled(values: &[Ball]) -> Option<Ball> {
    let changes: Vec<f64> =
        values.windows(2).map(|pair| pair[1].add(pair[0].negated()).size()).collect();
    let last = values.last()?;
    let change = changes.last().filter(|_| changes.len() > 2)?;
    let falls =
        changes.windows(2).all(|pair| pair[1] <= 0.5 * pair[0] || pair[1] <= 4.0 * last.error);
    let error = 4.0 * change + last.error;
    let is_known = falls && error <= MAX_ERROR * last.size().max(1e-3);
    is_known.then_some(Ball { error, ..*last })
}

/// Whether an expression has an infinity outside the ends of a sum, a limit or an integral.
pub(crate) fn has_infinity(expr: &Expr) -> bool {
    match expr {
        Expr::Infinity => true,
        Expr::Pow(pair) => has_infinity(&pair.0) || has_infinity(&pair.1),
        Expr::Call(
            Function::Sum | Function::Product | Function::Integral | Function::Limit,
            arguments,
        ) => arguments.last().is_some_and(has_infinity),
        other => other.children().iter().any(has_infinity),
    }
}
