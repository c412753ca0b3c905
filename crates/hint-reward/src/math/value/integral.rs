//! Definite integrals, by double-exponential quadrature.
//!
//! The range is cut where the integrand has a kink. An integral of integrals whose integrand is a product of
//! functions of one variable each is a product of integrals.

use std::cmp::Ordering;
use std::sync::LazyLock;

use num_traits::Signed;

use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Function, Rational};
use crate::math::value::ball::Ball;
use crate::math::value::limit::MAX_ERROR;
use crate::math::value::numeric::Numeric;
use crate::math::value::real::{FUNCTION_EPSILON, PI, Real};

type Value = Result<Option<Ball>, Stop>;

/// The level of quadrature with the most points.
const MAX_LEVEL: i32 = 5;

/// Points that count in a sum, below which the integrand may have a peak between them.
const MIN_COUNTING: usize = 24;

/// Relative error of the weights, which are made of functions.
const WEIGHT_ERROR: f64 = 10.0 * FUNCTION_EPSILON;

/// A point of double-exponential quadrature.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// `exp(π/2 · sinh t)`, and one over it.
    up: Real,
    down: Real,
    /// The slope of `π/2 · sinh t`.
    slope: Real,
    is_below: bool,
}

/// The points for `t` from −5 to 5, in the steps of the last level.
static POINTS: LazyLock<Vec<Point>> = LazyLock::new(|| {
    let half_pi = PI / Real::from_f64(2.0);
    let half = Real::from_f64(0.5);
    let count = 5 << MAX_LEVEL;
    let point = |index: i32| {
        let t = Real::from_f64(f64::from(index) * 0.5_f64.powi(MAX_LEVEL));
        let (up, down) = (t.exp(), (-t).exp());
        let inner = half_pi * (up - down) * half;
        let slope = half_pi * (up + down) * half;
        Point { up: inner.exp(), down: (-inner).exp(), slope, is_below: inner.is_negative() }
    };
    (-count..=count).map(point).collect()
});

/// Points of a range at which a kink is looked for.
const PROBES: u32 = 64;

/// Kinks of one integrand beyond which it is not integrated.
const MAX_KINKS: usize = 64;

/// Halvings that find a kink to the precision of the numbers.
const HALVINGS: usize = 106;

/// The integral of one variable: its name, its ends and its integrand.
struct Single<'e> {
    variable: &'e str,
    low: &'e Expr,
    high: &'e Expr,
    body: &'e Expr,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    At(Real),
    Infinite(i8),
}

#[derive(Debug, Clone, Copy)]
enum Range {
    /// The lower end first.
    Finite(Real, Real),
    Above(Real),
    Below(Real),
    /// Both ways from 0.
    Line,
}

impl Numeric<'_> {
    /// The integral of the body from one end to the other.
    pub(super) fn integral(&mut self, arguments: &[Expr]) -> Value {
        let Some(single) = Single::of(arguments) else { return Ok(None) };
        if single.body.any(&is_integral) {
            if let Some(value) = self.product_of_integrals(&single)? {
                return Ok(Some(value));
            }
            // Each point of one infinite range around another needs hundreds: more than any budget has.
            if single.has_infinite_range() {
                return Ok(None);
            }
        }
        let (low, high) = (self.bound(single.low)?, self.bound(single.high)?);
        let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
        let (range, is_reversed) = match (low, high) {
            (Bound::At(low), Bound::At(high)) if high < low => (Range::Finite(high, low), true),
            (Bound::At(low), Bound::At(high)) => (Range::Finite(low, high), false),
            (Bound::At(low), Bound::Infinite(1)) => (Range::Above(low), false),
            (Bound::Infinite(-1), Bound::At(high)) => (Range::Below(high), false),
            (Bound::Infinite(-1), Bound::Infinite(1)) => (Range::Line, false),
            _ => return Ok(None),
        };
        let Some(kinks) = self.kinks(single.variable, range, single.body)? else { return Ok(None) };
        let mut sum = Ball::real(Real::ZERO);
        for part in range.cut(&kinks) {
            let Some(value) = self.over(single.variable, part, single.body)? else {
                return Ok(None);
            };
            sum = sum.add(value);
        }
        Ok(Some(if is_reversed { sum.negated() } else { sum }))
    }

    /// An integral of integrals as a product of integrals. No range may depend on another variable, and the integrand must
    /// be a product of functions of one variable each.
    fn product_of_integrals(&mut self, outer: &Single<'_>) -> Value {
        let mut integrals = vec![outer.arguments(outer.body)];
        let mut body = outer.body;
        while let Expr::Call(Function::Integral, inner) = body {
            let Some(single) = Single::of(inner) else { return Ok(None) };
            integrals.push(single.arguments(single.body));
            body = single.body;
        }
        if integrals.len() < 2 || body.any(&is_integral) {
            return Ok(None);
        }
        let names: Vec<Expr> = integrals.iter().map(|arguments| arguments[0].clone()).collect();
        let depends = |expr: &Expr, name: &Expr| expr.any(&|inner| inner == name);
        let is_tied = |arguments: &Vec<Expr>| {
            names.iter().any(|name| arguments[1..3].iter().any(|end| depends(end, name)))
        };
        let repeats = (1..names.len()).any(|index| names[..index].contains(&names[index]));
        if repeats || integrals.iter().any(is_tied) {
            return Ok(None);
        }
        let mut parts = vec![Expr::integer(1); names.len()];
        for factor in factors(body) {
            let mut owners = (0..names.len()).filter(|index| depends(&factor, &names[*index]));
            let owner = owners.next().unwrap_or(0);
            if owners.next().is_some() {
                return Ok(None);
            }
            parts[owner] = std::mem::replace(&mut parts[owner], Expr::I).times(factor);
        }
        let mut product = Ball::real(Real::ONE);
        let mut known: Vec<(Vec<Expr>, Ball)> = Vec::new();
        for (mut arguments, part) in integrals.into_iter().zip(parts) {
            // One name for all variables: the same integral is computed once.
            let name = std::mem::replace(&mut arguments[0], Expr::symbol("x"));
            arguments[3] = part.map(&|expr| (*expr == name).then(|| Expr::symbol("x")));
            let value = match known.iter().find(|(before, _)| *before == arguments) {
                Some((_, value)) => *value,
                None => match self.integral(&arguments)? {
                    Some(value) => value,
                    None => return Ok(None),
                },
            };
            product = product.times(value);
            known.push((arguments, value));
        }
        Ok(Some(product))
    }

    /// The integral over a range without a kink. Each level halves the step and adds the points between those of the
    /// level before.
    fn over(&mut self, variable: &str, range: Range, body: &Expr) -> Value {
        let is_nested = self.is_bound() || body.any(&is_integral);
        if is_nested
            && let Range::Finite(low, high) = range
            && let Some(value) = self.smooth_integral(variable, (low, high), body)?
        {
            return Ok(Some(value));
        }
        let mut sum = Ball::real(Real::ZERO);
        let mut before: Option<Ball> = None;
        let mut parts = Vec::new();
        for level in 3..=MAX_LEVEL {
            sum = sum.add(self.quadrature(variable, body, range, level, &mut parts)?);
            let step = 0.5_f64.powi(level);
            let value = sum.times(Ball { re: Real::from_f64(step), im: Real::ZERO, error: 0.0 });
            if let Some(before) = before {
                let change = (value.re - before.re).to_f64().abs();
                // The number of right digits doubles with each level.
                let size = value.size().max(1e-10);
                let error = size * (change / size).powf(1.6) + value.error + WEIGHT_ERROR * size;
                // A peak between the points leaves too few of them that count.
                let all: f64 = parts.iter().sum();
                let counting = parts.iter().filter(|part| **part > 1e-20 * all).count();
                if error <= MAX_ERROR * size && counting >= MIN_COUNTING {
                    return Ok(Ball::with_error(value.re, value.im, error));
                }
            }
            before = Some(value);
        }
        Ok(None)
    }

    /// The sum over the points of a level that the level before has not. The sizes of its terms are added to `parts`.
    fn quadrature(
        &mut self,
        variable: &str,
        body: &Expr,
        range: Range,
        level: i32,
        parts: &mut Vec<f64>,
    ) -> Result<Ball, Stop> {
        let half = Real::from_f64(0.5);
        let mut sum = Ball::real(Real::ZERO);
        let (mut skipped, mut most) = (0.0, 0.0_f64);
        let reach = if matches!(range, Range::Finite(..)) { 4 } else { 5 };
        let count = reach << level;
        for index in (-count..=count).filter(|index| level == 3 || index % 2 != 0) {
            self.fuel.spend(200)?;
            let place = (index << (MAX_LEVEL - level)) + (5 << MAX_LEVEL);
            let Some(point) = usize::try_from(place).ok().and_then(|place| POINTS.get(place))
            else {
                continue;
            };
            let Point { up, down, slope, is_below } = *point;
            let (weight, places) = match range {
                Range::Finite(low, high) => {
                    let width = high - low;
                    // From the nearer end, which keeps the digits next to it.
                    let share = if is_below { up } else { down } / (up + down);
                    let place = if is_below { low + width * share } else { high - width * share };
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
                let Some(value) = self.at(variable, place, body)? else {
                    skipped += weight.to_f64();
                    continue;
                };
                most = most.max(value.size());
                parts.push(value.size() * weight.to_f64());
                sum = sum.add(value.times(Ball::real(weight)));
            }
        }
        // Next to a jump there is no value. Beyond what the type holds a decaying integrand is nothing.
        let lost = if matches!(range, Range::Finite(..)) { skipped * most } else { 0.0 };
        Ok(Ball { error: sum.error + lost, ..sum })
    }

    fn bound(&mut self, expr: &Expr) -> Result<Option<Bound>, Stop> {
        if let Some(sign) = expr.infinite_sign() {
            return Ok(Some(Bound::Infinite(sign)));
        }
        Ok(self.value(expr)?.filter(Ball::is_real).map(|ball| Bound::At(ball.re)))
    }

    /// The places inside a range where an integrand has a kink, in order. `None` if it has jumps or too many of them.
    fn kinks(
        &mut self,
        variable: &str,
        range: Range,
        body: &Expr,
    ) -> Result<Option<Vec<Real>>, Stop> {
        // Jumps at whole numbers are not looked for.
        if body.any(&|expr| matches!(expr, Expr::Call(Function::Floor | Function::Ceil, _))) {
            return Ok(None);
        }
        let mut folds = Vec::new();
        folded(body, variable, &mut folds);
        let mut kinks: Vec<Real> = Vec::new();
        let mut peaks = Vec::new();
        peaked(body, variable, &mut peaks);
        for peak in &peaks {
            kinks.extend(self.zero_of_line(variable, peak)?);
        }
        for fold in &folds {
            let points = self.probed(variable, range, fold)?;
            for pair in points.windows(2) {
                let ((low, below), (high, above)) = (pair[0], pair[1]);
                if below.is_zero() {
                    kinks.push(low);
                } else if !above.is_zero() && below.is_negative() != above.is_negative() {
                    kinks.extend(self.crossing(variable, (low, high), fold)?);
                }
            }
            if kinks.len() > MAX_KINKS {
                return Ok(None);
            }
        }
        kinks.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        kinks.dedup_by(|a, b| (*a - *b).to_f64().abs() <= 1e-25 * (1.0 + a.to_f64().abs()));
        Ok(Some(kinks))
    }

    /// Values of an expression at points of a range, in order.
    fn probed(
        &mut self,
        variable: &str,
        range: Range,
        expr: &Expr,
    ) -> Result<Vec<(Real, Real)>, Stop> {
        // Dense next to 0 and next to a finite end.
        let spread = |share: f64| Real::from_f64((8.0 * share).sinh() / 8.0);
        let mut points = Vec::with_capacity(PROBES as usize + 1);
        for index in 0..=PROBES {
            let share = f64::from(index) / f64::from(PROBES);
            let place = match range {
                Range::Finite(low, high) => low + (high - low) * Real::from_f64(share),
                Range::Above(low) => low + spread(share),
                Range::Below(high) => high - spread(1.0 - share),
                Range::Line => spread(2.0 * share - 1.0),
            };
            if let Some(value) = self.at(variable, place, expr)?.filter(Ball::is_real) {
                points.push((place, value.re));
            }
        }
        Ok(points)
    }

    /// The zero of an expression that is linear in the variable.
    fn zero_of_line(&mut self, variable: &str, expr: &Expr) -> Result<Option<Real>, Stop> {
        let (zero, one) = (Real::ZERO, Real::ONE);
        let (Some(start), Some(next)) =
            (self.at(variable, zero, expr)?, self.at(variable, one, expr)?)
        else {
            return Ok(None);
        };
        let slope = next.re - start.re;
        if !(start.is_real() && next.is_real()) || slope.is_zero() {
            return Ok(None);
        }
        let place = -start.re / slope;
        let value = self.at(variable, place, expr)?;
        let size = 1e-24 * (1.0 + start.size());
        Ok(value.filter(|value| value.size() <= size).map(|_| place))
    }

    /// The place between two others where an expression changes its sign.
    fn crossing(
        &mut self,
        variable: &str,
        (mut low, mut high): (Real, Real),
        expr: &Expr,
    ) -> Result<Option<Real>, Stop> {
        let half = Real::from_f64(0.5);
        let Some(start) = self.at(variable, low, expr)? else { return Ok(None) };
        let is_below = start.re.is_negative();
        for _ in 0..HALVINGS {
            let middle = (low + high) * half;
            let Some(value) = self.at(variable, middle, expr)? else { return Ok(None) };
            if value.re.is_zero() {
                return Ok(Some(middle));
            }
            if value.re.is_negative() == is_below { low = middle } else { high = middle }
        }
        Ok(Some(high))
    }
}

impl<'e> Single<'e> {
    fn of(arguments: &'e [Expr]) -> Option<Self> {
        let [Expr::Symbol(variable), low, high, body] = arguments else { return None };
        Some(Self { variable, low, high, body })
    }

    /// The arguments of this integral with another integrand.
    fn arguments(&self, body: &Expr) -> Vec<Expr> {
        vec![Expr::symbol(self.variable), self.low.clone(), self.high.clone(), body.clone()]
    }

    /// Whether it or an integral inside it has an infinite range.
    fn has_infinite_range(&self) -> bool {
        let is_infinite = |expr: &Expr| expr.infinite_sign().is_some();
        let has_infinite_end = |expr: &Expr| match expr {
            Expr::Call(Function::Integral, arguments) => arguments.iter().any(is_infinite),
            _ => false,
        };
        is_infinite(self.low) || is_infinite(self.high) || self.body.any(&has_infinite_end)
    }
}

impl Range {
    /// The parts of a range between places inside it, which are in order.
    fn cut(self, places: &[Real]) -> Vec<Self> {
        let mut parts = Vec::with_capacity(places.len() + 1);
        let mut rest = self;
        for place in places {
            let (part, behind) = match rest {
                Self::Finite(low, high) if low < *place && *place < high => {
                    (Self::Finite(low, *place), Self::Finite(*place, high))
                }
                Self::Above(low) if low < *place => {
                    (Self::Finite(low, *place), Self::Above(*place))
                }
                Self::Below(high) if *place < high => {
                    (Self::Below(*place), Self::Finite(*place, high))
                }
                Self::Line => (Self::Below(*place), Self::Above(*place)),
                _ => continue,
            };
            parts.push(part);
            rest = behind;
        }
        parts.push(rest);
        parts
    }
}

/// The folds of an integrand: the `u` of `|u|` and `√(u²)`, the `u − v` of `max(u, v)`. A kink is where one is 0.
fn folded(expr: &Expr, variable: &str, found: &mut Vec<Expr>) {
    let depends = |expr: &Expr| expr.any(&|inner| *inner == Expr::symbol(variable));
    let mut add = |expr: Expr| {
        if depends(&expr) {
            found.push(expr);
        }
    };
    match expr {
        Expr::Call(Function::Abs, arguments) => {
            for argument in arguments {
                add(argument.clone());
            }
        }
        Expr::Call(Function::Min | Function::Max, arguments) => {
            for pair in arguments.windows(2) {
                add(pair[0].clone().minus(pair[1].clone()));
            }
        }
        Expr::Pow(pair) => {
            if let (Expr::Pow(inner), Expr::Number(root)) = (&pair.0, &pair.1)
                && *root == Rational::new(1.into(), 2.into())
            {
                add(inner.0.clone());
            }
            folded(&pair.0, variable, found);
            folded(&pair.1, variable, found);
            return;
        }
        // Its own variable has no value here.
        Expr::Call(Function::Integral | Function::Sum | Function::Product | Function::Limit, _) => {
            return;
        }
        _ => {}
    }
    expr.children().iter().for_each(|child| folded(child, variable, found));
}

/// The `u` of even powers in an exponent or a denominator, as in `e^{−u²}` and `1/(1 + u²)`. The integrand may have a
/// narrow peak where `u` is 0. There a range is cut, as the points are dense next to its ends.
fn peaked(expr: &Expr, variable: &str, found: &mut Vec<Expr>) {
    let symbol = Expr::symbol(variable);
    if let Expr::Pow(pair) = expr {
        let is_below = pair.1.as_number().is_some_and(Signed::is_negative);
        let place = if is_below {
            Some(&pair.0)
        } else {
            pair.1.any(&|it| *it == symbol).then_some(&pair.1)
        };
        if let Some(place) = place {
            even_powers(place, &symbol, found);
        }
    }
    if !matches!(
        expr,
        Expr::Call(Function::Integral | Function::Sum | Function::Product | Function::Limit, _)
    ) {
        expr.children().iter().for_each(|child| peaked(child, variable, found));
    }
}

fn even_powers(expr: &Expr, symbol: &Expr, found: &mut Vec<Expr>) {
    if let Expr::Pow(pair) = expr
        && let Some(power) = pair.1.as_number()
        && power.is_integer()
        && (power / Rational::from_integer(2.into())).is_integer()
        && pair.0.any(&|inner| inner == symbol)
        && found.len() < MAX_KINKS
    {
        found.push(pair.0.clone());
    }
    expr.children().iter().for_each(|child| even_powers(child, symbol, found));
}

/// The factors of an expression, with a power of a sum as a product of powers.
fn factors(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::Mul(parts) => parts.iter().flat_map(factors).collect(),
        // Other powers of a product may have another sign than the product of powers.
        Expr::Pow(pair) => match (&pair.0, &pair.1) {
            (Expr::Mul(parts), Expr::Number(power)) if power.is_integer() => {
                parts.iter().map(|part| part.clone().power(pair.1.clone())).collect()
            }
            (base, exponent)
                if *base == Expr::E || base.as_number().is_some_and(Signed::is_positive) =>
            {
                terms(exponent).into_iter().map(|term| base.clone().power(term)).collect()
            }
            _ => vec![expr.clone()],
        },
        _ => vec![expr.clone()],
    }
}

/// The terms of an expression, with a product of a sum as a sum of products.
fn terms(expr: &Expr) -> Vec<Expr> {
    let is_sum = |part: &Expr| matches!(part, Expr::Add(_));
    match expr {
        Expr::Add(parts) => parts.iter().flat_map(terms).collect(),
        Expr::Mul(parts) if parts.iter().filter(|part| is_sum(part)).count() == 1 => {
            let others = parts.iter().filter(|part| !is_sum(part));
            let scale = others.fold(Expr::integer(1), |scale, part| scale.times(part.clone()));
            let sums = parts.iter().filter(|part| is_sum(part)).flat_map(terms);
            sums.map(|term| scale.clone().times(term)).collect()
        }
        _ => vec![expr.clone()],
    }
}

fn is_integral(expr: &Expr) -> bool {
    matches!(expr, Expr::Call(Function::Integral, _))
}
