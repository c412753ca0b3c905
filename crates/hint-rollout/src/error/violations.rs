//! Everything that is out of range in a configuration.

use std::fmt;

/// One value that is out of range.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Dotted path of the field.
    pub field: String,
    /// The condition.
    pub expected: String,
    /// Its value.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, expected, found } = self;
        write!(f, "{field}: {expected}, found {found}")
    }
}

/// Collects violations, so that one run of a program shows them all.
///
/// Every configuration type has a method `check(&self, at: &mut Violations)`; one that holds others
/// calls theirs [within](Violations::within) their field.
///
/// ```
/// use hint_rollout::error::Violations;
///
/// let mut at = Violations::new();
/// at.at_least("steps", 0, 1);
/// at.within("kl", |at| at.not_negative("coef", f64::INFINITY));
/// let error = at.finish().expect_err("both are out of range");
/// assert_eq!(
///     error.to_string(),
///     "steps: must be at least 1, found 0; kl.coef: must be finite and not negative, found inf"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violations {
    /// Path of the type that is being checked, with a dot at its end.
    path: String,
    found: Vec<Violation>,
}

impl Violations {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a check on its own.
    ///
    /// # Errors
    ///
    /// The value that is out of range.
    pub fn check(check: impl FnOnce(&mut Self)) -> Result<(), Self> {
        let mut at = Self::new();
        check(&mut at);
        at.finish()
    }

    /// Checks the value of `field`.
    pub fn within(&mut self, field: impl fmt::Display, check: impl FnOnce(&mut Self)) {
        let len = self.path.len();
        self.path = format!("{}{field}.", self.path);
        check(self);
        self.path.truncate(len);
    }

    /// Records a violation unless `holds`.
    pub fn require(
        &mut self,
        holds: bool,
        field: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) {
        if !holds {
            self.found.push(Violation {
                field: format!("{}{field}", self.path),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }

    /// The least value is `least`.
    pub fn at_least<N>(&mut self, field: impl fmt::Display, value: N, least: N)
    where
        N: PartialOrd + fmt::Display + Copy,
    {
        self.require(value >= least, field, format!("must be at least {least}"), value);
    }

    /// Above 0, and finite.
    pub fn positive(&mut self, field: impl fmt::Display, value: f64) {
        let holds = value > 0.0 && value.is_finite();
        self.require(holds, field, "must be positive and finite", value);
    }

    /// At least 0, and finite.
    pub fn not_negative(&mut self, field: impl fmt::Display, value: f64) {
        let holds = value >= 0.0 && value.is_finite();
        self.require(holds, field, "must be finite and not negative", value);
    }

    /// In `[0, 1]`.
    pub fn share(&mut self, field: impl fmt::Display, value: f64) {
        self.require((0.0..=1.0).contains(&value), field, "must be in [0, 1]", value);
    }

    /// Bounds: `min` at least 0, `max` positive and not below it, both finite.
    pub fn bounds(&mut self, min: f64, max: f64) {
        self.not_negative("min", min);
        let holds = max > 0.0 && max >= min && max.is_finite();
        self.require(holds, "max", "must be positive, finite and not below min", max);
    }

    /// In `(0, 1]`.
    pub fn positive_share(&mut self, field: impl fmt::Display, value: f64) {
        self.require(value > 0.0 && value <= 1.0, field, "must be in (0, 1]", value);
    }

    /// A time to wait, in seconds, that the machine can represent.
    pub fn seconds(&mut self, field: impl fmt::Display, value: f64) {
        let holds = value > 0.0 && std::time::Duration::try_from_secs_f64(value).is_ok();
        self.require(holds, field, "must be positive and finite, in seconds", value);
    }

    /// The violations, in the order of the checks.
    pub fn iter(&self) -> std::slice::Iter<'_, Violation> {
        self.found.iter()
    }

    /// Whether the list is empty.
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `Ok` if the list is empty.
    ///
    /// # Errors
    ///
    /// The violations themselves.
    pub fn finish(self) -> Result<(), Self> {
        if self.found.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl<'a> IntoIterator for &'a Violations {
    type Item = &'a Violation;
    type IntoIter = std::slice::Iter<'a, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.found.iter().enumerate() {
            write!(f, "{}{violation}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}
