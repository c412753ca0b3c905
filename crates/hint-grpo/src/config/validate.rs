//! Collecting every violated constraint of a configuration.

use super::ConfigError;

/// Collects violations, so that one run of the program shows them all.
#[derive(Debug, Default)]
pub(super) struct Validator {
    violations: Vec<String>,
}

impl Validator {
    pub(super) fn that(
        &mut self,
        field: &str,
        holds: bool,
        expected: &str,
        found: impl std::fmt::Display,
    ) {
        if !holds {
            self.violations.push(format!("{field}: {expected}, got {found}"));
        }
    }

    pub(super) fn at_least(&mut self, field: &str, value: u64, least: u64) {
        self.that(field, value >= least, &format!("must be at least {least}"), value);
    }

    pub(super) fn positive(&mut self, field: &str, value: f64) {
        self.that(field, value > 0.0 && value.is_finite(), "must be positive", value);
    }

    pub(super) fn not_negative(&mut self, field: &str, value: f64) {
        self.that(field, value >= 0.0 && value.is_finite(), "must not be negative", value);
    }

    pub(super) fn finish(self) -> Result<(), ConfigError> {
        if self.violations.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(self.violations)) }
    }
}
