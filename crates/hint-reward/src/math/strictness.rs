//! Differences that a comparison forgives.

use serde::{Deserialize, Serialize};

/// Whether a rule of comparison holds or is waived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The rule holds.
    #[default]
    Strict,
    /// The rule is waived.
    Lenient,
}

impl Rule {
    /// Whether the rule holds.
    pub fn is_strict(self) -> bool {
        self == Self::Strict
    }
}

/// Differences that a comparison forgives; everything is strict by default.
///
/// # Examples
///
/// ```
/// use hint_reward::{MathVerifier, math::{Rule, Strictness}};
///
/// let lenient = Strictness { percent: Rule::Lenient, ..Strictness::default() };
/// let verifier = MathVerifier::new().with_strictness(lenient);
/// assert!(verifier.compare(r"9\%", "9").verdict.is_correct());
/// assert!(MathVerifier::new().compare(r"9\%", "9").verdict.is_wrong());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Strictness {
    /// `9%` is 0.09. Lenient: it may also be 9.
    pub percent: Rule,
    /// `5 cm` is not `5 km`, though it is `50 mm`; a missing unit is taken to be the one asked for. Lenient: units
    /// are ignored.
    pub units: Rule,
    /// `101_2` is neither `101`, `101_3` nor `5`. Lenient: equal digits or equal values are enough.
    pub bases: Rule,
    /// `[0,1)` is not `[0,1]`. Lenient: open and closed ends, and round and square brackets, are the same.
    pub ends: Rule,
}
