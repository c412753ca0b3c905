//! The verifier of a configuration.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::RewardError;
use crate::extract::{Extraction, Level};
use crate::math::Strictness;
use crate::verifier::choice::ChoiceMatch;
use crate::verifier::contract::Verifier;
use crate::verifier::distance::TextDistance;
use crate::verifier::exact_match::ExactMatch;
use crate::verifier::math::MathVerifier;
use crate::verifier::numeric::NumericTolerance;
use crate::verifier::pattern::PatternMatch;
use crate::verifier::set::SetMatch;

/// Choice of the verifier: the place of the answer, and the equality with the reference.
///
/// # Examples
///
/// ```
/// use hint_reward::verifier::VerifierConfig;
/// use hint_reward::{RewardInput, Verdict, Verifier};
///
/// let verifier = VerifierConfig::default().build()?;
/// let verdict = |completion| verifier.verify(&RewardInput::new(completion, "12")).verdict;
/// assert_eq!(verdict(r"\boxed{12}"), Verdict::Correct);
/// assert_eq!(verdict("I count 12 of them."), Verdict::NoAnswer);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerifierConfig {
    /// Place of the answer.
    pub level: Level,
    /// Equality with the reference.
    pub equality: Equality,
}

/// Equality with the reference: one of the verifiers of this crate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Equality {
    /// Mathematics ([`MathVerifier`]).
    Math {
        /// Differences that the comparison forgives.
        #[serde(default)]
        strictness: Strictness,
        /// Largest distance of a value from a decimal that stands for it, relative to its size.
        #[serde(default = "exactly")]
        relative_tolerance: f64,
    },
    /// Equal numbers or normalized texts, in a box at either level ([`ExactMatch`]).
    #[serde(deserialize_with = "no_fields")]
    Exact,
    /// The same choice, by its letter or its text ([`ChoiceMatch`]).
    #[serde(deserialize_with = "no_fields")]
    Choice,
    /// A number within a tolerance, units converted ([`NumericTolerance`]).
    Numeric {
        /// Tolerance relative to the reference.
        #[serde(default)]
        relative: f64,
        /// Absolute tolerance, in the unit of the reference.
        #[serde(default)]
        absolute: f64,
    },
    /// The same items in any order ([`SetMatch`]).
    #[serde(deserialize_with = "no_fields")]
    Set,
    /// The reference is a regular expression ([`PatternMatch`]).
    #[serde(deserialize_with = "no_fields")]
    Pattern,
    /// A similar text ([`TextDistance`]).
    Text {
        /// Least similarity, in `(0, 1]`.
        min_similarity: f64,
    },
    /// JSON that is valid under a schema, anywhere in the completion (`JsonMatch`; feature `json-schema`). The
    /// column `schema` of a problem comes first.
    Json {
        /// The JSON schema.
        #[serde(default = "anything")]
        schema: Value,
    },
}

impl Default for Equality {
    fn default() -> Self {
        Self::Math { strictness: Strictness::default(), relative_tolerance: exactly() }
    }
}

const fn exactly() -> f64 {
    1e-12
}

/// Reads a variant without fields, which serde by itself would let have any.
fn no_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoFields {}
    NoFields::deserialize(deserializer).map(|NoFields {}| ())
}

const fn anything() -> Value {
    Value::Bool(true)
}

impl VerifierConfig {
    /// The verifier.
    ///
    /// # Errors
    ///
    /// [`RewardError::Setting`] for a value out of range, or JSON without the feature `json-schema`.
    pub fn build(&self) -> Result<Box<dyn Verifier>, RewardError> {
        let extraction = Extraction::of_level(self.level);
        Ok(match &self.equality {
            Equality::Math { strictness, relative_tolerance } => {
                let verifier = MathVerifier::new().with_relative_tolerance(*relative_tolerance)?;
                Box::new(verifier.with_extraction(extraction).with_strictness(strictness.clone()))
            }
            Equality::Exact => Box::new(ExactMatch::new()),
            Equality::Choice => Box::new(ChoiceMatch::default().with_extraction(extraction)),
            Equality::Numeric { relative, absolute } => {
                let verifier = NumericTolerance::new(*relative, *absolute)?;
                Box::new(verifier.with_extraction(extraction))
            }
            Equality::Set => Box::new(SetMatch::default().with_extraction(extraction)),
            Equality::Pattern => Box::new(PatternMatch::default().with_extraction(extraction)),
            Equality::Text { min_similarity } => {
                Box::new(TextDistance::new(*min_similarity)?.with_extraction(extraction))
            }
            Equality::Json { schema } => json(schema)?,
        })
    }
}

#[cfg(feature = "json-schema")]
fn json(schema: &Value) -> Result<Box<dyn Verifier>, RewardError> {
    Ok(Box::new(crate::verifier::json::JsonMatch::new(schema)?))
}

#[cfg(not(feature = "json-schema"))]
fn json(_schema: &Value) -> Result<Box<dyn Verifier>, RewardError> {
    let (found, expected) =
        ("json".to_owned(), "built with the feature `json-schema` of hint-reward");
    Err(RewardError::Setting { name: "equality.type", found, expected })
}
