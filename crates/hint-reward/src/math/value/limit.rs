//! Values that are limits: infinite sums, limits and definite integrals.
//!
//! Each is approached along a sequence and extrapolated; the error of the result is the last correction. If that is
//! not small, the value stays unknown and the two sides are not equal.

use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Function};
use crate::math::value::ball::Ball;
use crate::math::value::numeric::Numeric;
use crate::math::value::real::{PI, Real};

type Value = Result<Option<Ball>, Stop>;

/// Indices at which partial sums and sequences are taken: the sequence of Bulirsch, whose extrapolation is stable.
const PLACES: [u32; 19] =
    [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768];

/// Terms of an alternating sum that are enough: each brings three quarters of a digit.
const ALTERNATING: usize = 40;

/// Points near a limit: powers of two, whose steps are exact.
const DOUBLINGS: [i32; 14] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Points near a limit on both sides.
const HALVINGS: [i32; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

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
        let mut settled = 0;
        for count in 1..=PLACES[PLACES.len() - 1] {
            let index = Real::from_f64((low + i64::from(count) - 1) as f64);
            let Some(term) = self.at(variable, index, body)? else { return Ok(None) };
            sum = sum.add(term);
            let (size, total) = (term.size(), sum.size());
            sizes = [sizes[1], sizes[2], size];
            // A tail below a geometric one of ratio 3/4.
            let falls = sizes[2] <= 0.75 * sizes[1] && sizes[1] <= 0.75 * sizes[0];
            settled = if size <= 1e-33 * total && (falls || size <= 0.0) { settled + 1 } else { 0 };
            if settled == 3 {
                let error = sum.error + 4.0 * size;
                return Ok(Ball::with_error(sum.re, sum.im, error));
            }
            if PLACES.contains(&count) {
                partial.push((f64::from(count) + shift, sum));
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
        // Sums that oscillate in another way have no expansion in the index.
        Ok(extrapolated(&partial))
    }

    /// The limit of the body as the variable goes to `target`.
    pub(super) fn limit(&mut self, arguments: &[Expr]) -> Value {
        let [Expr::Symbol(variable), target, side, body] = arguments else { return Ok(None) };
        if let Some(sign) = target.infinite_sign() {
            let mut values = Vec::with_capacity(DOUBLINGS.len());
            for place in DOUBLINGS.map(|power| f64::from(1 << power)) {
                let at = Real::from_f64(place * f64::from(sign));
                if let Some(value) = self.at(variable, at, body)? {
                    values.push((place, value));
                }
            }
            return Ok(extrapolated(&values));
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
            let mut values = Vec::with_capacity(DOUBLINGS.len());
            for place in DOUBLINGS.map(|power| f64::from(1 << power)) {
                let step = Real::from_f64(*side / place);
                if let Some(value) = self.at(variable, target.re + step, body)? {
                    values.push((place, value));
                }
            }
            let Some(value) = extrapolated(&values) else { return Ok(None) };
            if found.is_some_and(|found| found.equals(&value) != Some(true)) {
                return Ok(None);
            }
            found = Some(value);
        }
        Ok(found)
    }

    /// The limit as the mean of both sides, which is even in the distance. Half the points give twice the digits, and
    /// `(1 − cos x)/x²` keeps them where the points next to its hole lose them.
    fn limit_in_the_middle(&mut self, variable: &str, target: Real, body: &Expr) -> Value {
        let mut means = Vec::with_capacity(HALVINGS.len());
        let mut gaps = Vec::with_capacity(HALVINGS.len());
        for power in HALVINGS {
            let place = f64::from(1 << power);
            let step = Real::from_f64(1.0 / place);
            let above = self.at(variable, target + step, body)?;
            let below = self.at(variable, target - step, body)?;
            let (Some(above), Some(below)) = (above, below) else { continue };
            let half = Ball::real(Real::from_f64(0.5));
            means.push((place * place, above.add(below).times(half)));
            let gap = above.add(below.negated());
            gaps.push((gap.size(), gap.error));
        }
        // The two sides meet: their distance goes to nothing as the step does.
        let meets = gaps.windows(2).all(|pair| {
            let ((before, _), (now, error)) = (pair[0], pair[1]);
            now <= 0.75 * before || now <= 4.0 * error
        });
        Ok(if meets { extrapolated(&means) } else { None })
    }

    /// The integral of the body from one end to the other, by double-exponential quadrature. Each level halves the step
    /// and adds the points between those of the level before.
    pub(super) fn integral(&mut self, arguments: &[Expr]) -> Value {
        let [Expr::Symbol(variable), low, high, body] = arguments else { return Ok(None) };
        let (low, high) = (self.bound(low)?, self.bound(high)?);
        let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
        let range = match (low, high) {
            (Bound::At(low), Bound::At(high)) => Range::Finite(low, high),
            (Bound::At(low), Bound::Infinite(1)) => Range::Above(low),
            (Bound::Infinite(-1), Bound::At(high)) => Range::Below(high),
            (Bound::Infinite(-1), Bound::Infinite(1)) => Range::Line,
            _ => return Ok(None),
        };
        let is_nested =
            self.is_bound() || body.any(&|expr| matches!(expr, Expr::Call(Function::Integral, _)));
        if is_nested
            && let Range::Finite(low, high) = range
            && let Some(value) = self.smooth_integral(variable, (low, high), body)?
        {
            return Ok(Some(value));
        }
        let mut sum = Ball::real(Real::ZERO);
        let mut before: Option<Ball> = None;
        for level in 3..=5 {
            sum = sum.add(self.quadrature(variable, body, range, level)?);
            let step = 0.5_f64.powi(level);
            let value = sum.times(Ball { re: Real::from_f64(step), im: Real::ZERO, error: 0.0 });
            if let Some(before) = before {
                let change = (value.re - before.re).to_f64().abs();
                // The number of right digits doubles with each level.
                let size = value.size().max(1e-10);
                let error = size * (change / size).powf(1.6) + value.error;
                if error <= MAX_ERROR * size {
                    return Ok(Ball::with_error(value.re, value.im, error));
                }
            }
            before = Some(value);
        }
        Ok(None)
    }

    /// The sum over the points of a level that the level before has not.
    fn quadrature(
        &mut self,
        variable: &str,
        body: &Expr,
        range: Range,
        level: i32,
    ) -> Result<Ball, Stop> {
        let step = 0.5_f64.powi(level);
        let half_pi = PI / Real::from_f64(2.0);
        let half = Real::from_f64(0.5);
        let mut sum = Ball::real(Real::ZERO);
        let reach = if matches!(range, Range::Finite(..)) { 4 } else { 5 };
        let count = reach << level;
        for index in (-count..=count).filter(|index| level == 3 || index % 2 != 0) {
            self.fuel.spend(800)?;
            let t = Real::from_f64(f64::from(index) * step);
            let (up, down) = (t.exp(), (-t).exp());
            let inner = half_pi * (up - down) * half;
            let slope = half_pi * (up + down) * half;
            let (up, down) = (inner.exp(), (-inner).exp());
            let (weight, places) = match range {
                Range::Finite(low, high) => {
                    let width = high - low;
                    // From the nearer end, which keeps the digits next to it.
                    let share = if inner.is_negative() { up } else { down } / (up + down);
                    let place = if inner.is_negative() {
                        low + width * share
                    } else {
                        high - width * share
                    };
                    let spread = Real::from_f64(2.0) / (up + down);
                    (width * half * slope * spread * spread, [Some(place), None])
                }
                Range::Above(low) => (slope * up, [Some(low + up), None]),
                Range::Below(high) => (slope * up, [Some(high - up), None]),
                Range::Line => (slope * up, [Some(up), Some(-up)]),
            };
            if !weight.is_finite() || weight.to_f64() < 1e-40 {
                continue;
            }
            for place in places.into_iter().flatten().filter(|place| place.is_finite()) {
                // Beyond what the type holds a decaying integrand is nothing.
                let Some(value) = self.at(variable, place, body)? else { continue };
                sum = sum.add(value.times(Ball::real(weight)));
            }
        }
        Ok(sum)
    }

    fn bound(&mut self, expr: &Expr) -> Result<Option<Bound>, Stop> {
        if let Some(sign) = expr.infinite_sign() {
            return Ok(Some(Bound::Infinite(sign)));
        }
        Ok(self.value(expr)?.filter(Ball::is_real).map(|ball| Bound::At(ball.re)))
    }

    /// The body with the variable at a value.
    pub(super) fn at(&mut self, variable: &str, value: Real, body: &Expr) -> Value {
        self.bind(variable, value);
        let result = self.value(body);
        self.unbind();
        result
    }
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    At(Real),
    Infinite(i8),
}

#[derive(Debug, Clone, Copy)]
enum Range {
    Finite(Real, Real),
    Above(Real),
    Below(Real),
    /// Both ways from 0.
    Line,
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
        if let Some(before) = row.last() {
            let change = (best.re - before.re).to_f64().hypot((best.im - before.im).to_f64());
            if last.is_none_or(|(_, error)| change + best.error <= error) {
                last = Some((best, change + best.error));
            }
        }
        row = next;
    }
    let (value, error) = last?;
    (error <= MAX_ERROR * value.size().max(1e-3)).then_some(())?;
    Ball::with_error(value.re, value.im, error)
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
