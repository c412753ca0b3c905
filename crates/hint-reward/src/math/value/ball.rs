//! Complex numbers of about 31 digits with error bounds.

use crate::math::value::real::{EPSILON, FUNCTION_EPSILON, PI, Real};

/// A complex number and a bound on its absolute error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ball {
    pub(crate) re: Real,
    pub(crate) im: Real,
    pub(crate) error: f64,
}

impl Ball {
    pub(crate) fn real(value: Real) -> Self {
        Self { re: value, im: Real::ZERO, error: value.to_f64().abs() * EPSILON }
    }

    /// Magnitude.
    pub(crate) fn size(&self) -> f64 {
        self.re.to_f64().hypot(self.im.to_f64())
    }

    pub(crate) fn is_real(&self) -> bool {
        self.im.is_zero() || self.im.to_f64().abs() <= self.error
    }

    /// Whether two values are equal within their errors; `None` if the errors are too large to decide.
    pub(crate) fn equals(&self, other: &Self) -> Option<bool> {
        let difference = (self.re - other.re).to_f64().hypot((self.im - other.im).to_f64());
        let error = 4.0 * (self.error + other.error);
        if difference > error {
            return Some(false);
        }
        let size = self.size().max(other.size());
        // Near zero only the absolute error can be asked for.
        (error <= 1e-20 * size || error <= 1e-24).then_some(true)
    }

    pub(crate) fn add(self, other: Self) -> Self {
        let (re, im) = (self.re + other.re, self.im + other.im);
        let size = re.to_f64().abs() + im.to_f64().abs();
        Self { re, im, error: self.error + other.error + EPSILON * size }
    }

    pub(crate) fn negated(self) -> Self {
        Self { re: -self.re, im: -self.im, error: self.error }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        let (a, b) = (self.size(), other.size());
        let error =
            self.error * b + other.error * a + self.error * other.error + 4.0 * EPSILON * a * b;
        if self.im.is_zero() && other.im.is_zero() {
            return Self { re: self.re * other.re, im: Real::ZERO, error };
        }
        let re = self.re * other.re - self.im * other.im;
        Self { re, im: self.re * other.im + self.im * other.re, error }
    }

    pub(crate) fn reciprocal(self) -> Option<Self> {
        let size = self.size();
        // A value that may be zero has no reciprocal.
        if size <= 2.0 * self.error || !size.is_finite() {
            return None;
        }
        let error = self.error / (size * (size - self.error)) + 8.0 * EPSILON / size;
        if self.im.is_zero() {
            return Some(Self { re: Real::ONE / self.re, im: Real::ZERO, error });
        }
        let norm = self.re * self.re + self.im * self.im;
        Some(Self { re: self.re / norm, im: -self.im / norm, error })
    }

    pub(crate) fn with_error(re: Real, im: Real, error: f64) -> Option<Self> {
        let ball = Self { re, im, error };
        (re.is_finite() && im.is_finite() && error.is_finite()).then_some(ball)
    }

    pub(crate) fn exp(self) -> Option<Self> {
        let size = self.re.exp();
        let scale = size.to_f64();
        let error = scale * (self.error * 1.01 + FUNCTION_EPSILON * (1.0 + self.size()));
        if self.error > 1e-3 {
            return None;
        }
        if self.im.is_zero() {
            return Self::with_error(size, Real::ZERO, error);
        }
        let (sine, cosine) = self.im.sin_cos()?;
        Self::with_error(size * cosine, size * sine, error)
    }

    /// Principal logarithm.
    pub(crate) fn ln(self) -> Option<Self> {
        let size = self.size();
        if size <= 2.0 * self.error {
            return None;
        }
        let relative = 2.0 * self.error / size;
        if self.im.is_zero() {
            let re = self.re.abs().ln();
            let im = if self.re.is_negative() { PI } else { Real::ZERO };
            let error = relative + FUNCTION_EPSILON * (1.0 + re.to_f64().abs());
            return Self::with_error(re, im, error);
        }
        let norm = (self.re * self.re + self.im * self.im).ln();
        let re = norm / Real::from_f64(2.0);
        let im = self.im.atan2(self.re);
        Self::with_error(re, im, relative + FUNCTION_EPSILON * (4.0 + re.to_f64().abs()))
    }

    pub(crate) fn sin_cos(self) -> Option<(Self, Self)> {
        if self.error > 1e-3 {
            return None;
        }
        if self.im.is_zero() {
            let (sine, cosine) = self.re.sin_cos()?;
            let error = self.error + FUNCTION_EPSILON * (1.0 + self.size());
            // Below π/4 nothing is reduced, and the sine is as exact as its argument.
            let small = self.error + FUNCTION_EPSILON * self.size();
            let sine_error = if self.size() < 0.75 { small } else { error };
            return Some((
                Self { re: sine, im: Real::ZERO, error: sine_error },
                Self { re: cosine, im: Real::ZERO, error },
            ));
        }
        // sin z = (e^{iz} − e^{−iz})/2i, cos z = (e^{iz} + e^{−iz})/2.
        let turned = Self { re: -self.im, im: self.re, error: self.error };
        let (up, down) = (turned.exp()?, turned.negated().exp()?);
        let half = Self::real(Real::from_f64(0.5));
        let difference = up.add(down.negated()).times(half);
        let sine = Self { re: difference.im, im: -difference.re, error: difference.error };
        Some((sine, up.add(down).times(half)))
    }
}
