//! Integrals in integrals, by the rules of Gauss and Legendre.
//!
//! A polynomial takes a dozen points and a smooth integrand some forty, so an integral of integrals stays within the
//! work budget. If two rules do not agree, the value is left to the slower quadrature.

use std::sync::LazyLock;

use crate::math::fuel::Stop;
use crate::math::tree::node::Expr;
use crate::math::value::ball::Ball;
use crate::math::value::limit::MAX_ERROR;
use crate::math::value::numeric::Numeric;
use crate::math::value::real::{PI, Real};

/// Numbers of points of the rules, one after the other.
const ORDERS: [u32; 4] = [4, 8, 14, 20];

/// Points in [−1, 1] with their weights, for each order.
static RULES: LazyLock<Vec<Vec<(Real, Real)>>> =
    LazyLock::new(|| ORDERS.into_iter().map(rule).collect());

impl Numeric<'_> {
    /// The integral over a finite range of an integrand that is smooth there; `None` where the rules do not settle.
    pub(super) fn smooth_integral(
        &mut self,
        variable: &str,
        (low, high): (Real, Real),
        body: &Expr,
    ) -> Result<Option<Ball>, Stop> {
        let half = Real::from_f64(0.5);
        let (middle, reach) = ((low + high) * half, (high - low) * half);
        let mut before: Option<Ball> = None;
        for rule in RULES.iter() {
            let mut sum = Ball::real(Real::ZERO);
            for (node, weight) in rule {
                self.fuel.spend(50)?;
                let Some(value) = self.at(variable, middle + reach * *node, body)? else {
                    return Ok(None);
                };
                sum = sum.add(value.times(Ball::real(*weight)));
            }
            let value = sum.times(Ball::real(reach));
            if let Some(before) = before {
                let change = (value.re - before.re).to_f64().abs();
                let size = value.size().max(1e-10);
                // The number of right digits grows at least as the number of points does.
                let error = size * (change / size).powf(1.4) + value.error;
                if error <= MAX_ERROR * size {
                    return Ok(Ball::with_error(value.re, value.im, error));
                }
            }
            before = Some(value);
        }
        Ok(None)
    }
}

/// The roots of a Legendre polynomial and their weights, by Newton's method.
fn rule(order: u32) -> Vec<(Real, Real)> {
    let (one, two) = (Real::ONE, Real::from_f64(2.0));
    // The polynomial and its derivative, by its recurrence.
    let at = |x: Real| {
        let (mut value, mut before) = (x, one);
        for degree in 2..=order {
            let n = Real::from_f64(f64::from(degree));
            let next = ((two * n - one) * x * value - (n - one) * before) / n;
            (before, value) = (value, next);
        }
        let n = Real::from_f64(f64::from(order));
        (value, n * (x * value - before) / (x * x - one))
    };
    (1..=order)
        .map(|index| {
            let angle = PI * Real::from_f64((f64::from(index) - 0.25) / (f64::from(order) + 0.5));
            let mut x = Real::from_f64(angle.to_f64().cos());
            for _ in 0..6 {
                let (value, slope) = at(x);
                x = x - value / slope;
            }
            let slope = at(x).1;
            (x, two / ((one - x * x) * slope * slope))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_exact_for_polynomials_below_twice_its_order() {
        for (rule, order) in RULES.iter().zip(ORDERS) {
            for power in 0..2 * order {
                let sum = rule.iter().fold(Real::ZERO, |sum, (x, weight)| {
                    sum + (0..power).fold(*weight, |product, _| product * *x)
                });
                let expected = if power % 2 == 0 { 2.0 / f64::from(power + 1) } else { 0.0 };
                assert!((sum.to_f64() - expected).abs() < 1e-15, "{order}: x^{power}");
            }
        }
    }
}
