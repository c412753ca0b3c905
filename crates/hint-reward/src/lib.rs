//! Verifiable rewards for reinforcement learning on language models.
//!
//! A reward measures how good a completion is; a verifier decides whether it is *right*. The two are separate
//! because they have different uses. Scores become advantages, while verdicts decide whether a problem failed and
//! is tried again with a hint. A [`Verdict`] is typed. A verifier that fails, runs out of budget or meets a
//! reference it cannot read returns a verdict of its own. It never returns a zero, which would resemble a wrong
//! answer and change the behavior of the training loop.
//!
//! Every part can be replaced by a closure ([`from_fn`], [`verifier_from_fn`]). Everything is `Send + Sync`,
//! reads no clock and starts no process: a verdict is a function of the text.
//!
//! ```
//! use hint_reward::{MathVerifier, RewardInput, Rubric, Verdict, from_fn};
//!
//! let boxed = from_fn("boxed", |input| f64::from(u8::from(input.completion.contains("\\boxed"))));
//! let rubric = Rubric::new(MathVerifier::new()).with(0.1, boxed);
//!
//! let group = [
//!     RewardInput::new(r"2 + 2 = 4, so \boxed{4}", "4"),
//!     RewardInput::new(r"so \boxed{5}", "4"),
//!     RewardInput::new("I do not know", "4"),
//! ];
//! let scores = rubric.score_group(&group)?;
//! assert_eq!(scores[0].value, 1.1);
//! assert_eq!(scores[1].verdict, Verdict::Incorrect);
//! assert_eq!(scores[2].verdict, Verdict::NoAnswer);
//! # Ok::<(), hint_reward::RewardError>(())
//! ```
//!
//! The verifier for mathematics stands on its own:
//!
//! ```
//! use hint_reward::equivalent;
//!
//! assert!(equivalent("\\frac12", "0.5"));
//! assert!(equivalent("x < 1 \\text{ or } x > 2", "(-\\infty, 1) \\cup (2, \\infty)"));
//! assert!(!equivalent("5 cm", "5 km"));
//! ```
//!
//! | item | content |
//! |---|---|
//! | [`Reward`], [`from_fn`], [`RewardInput`] | a function from a completion to a score, and its input |
//! | [`Verifier`], [`verifier_from_fn`] | a function from a completion to a [`Judgment`] with a [`Verdict`] |
//! | [`Rubric`] | one verdict and a weighted sum of named rewards |
//! | [`MathVerifier`], [`equivalent`], [`ExactMatch`] | mathematical and literal equality |
//! | [`Extraction`], [`Level`] | where the answer of a completion stands |
//!
//! | module | content |
//! |---|---|
//! | [`reward`] | the trait; rewards for form, length and repetition |
//! | [`verifier`] | the trait; verifiers of mathematics, choices, measures, sets, patterns, texts, JSON |
//! | [`rubric`] | sums of rewards, on several threads |
//! | [`extract`] | boxes, announced answers, the sentences around them |
//! | [`math`] | reading and comparing answers, and the differences that a comparison forgives |
//! | [`number`] | the numbers of a text, in digits and in words |
//! | [`audit`] | checks of the reference answers of a data set |
//! | `judge` | an external scorer (feature `http`) |
//!
//! Features: `http` adds `HttpJudge`, `https` adds TLS to it, `json-schema` adds `JsonMatch`.
//!
//! It is independent of policies, tokens and log-probabilities.
#![forbid(unsafe_code)]

pub mod audit;
pub mod extract;
#[cfg(feature = "http")]
pub mod judge;
pub mod math;
pub mod number;
pub mod reward;
pub mod rubric;
pub mod verifier;

mod error;
mod input;
#[cfg(feature = "http")]
mod parallel;

pub use error::RewardError;
pub use extract::{Extraction, Level};
pub use input::RewardInput;
pub use reward::{Reward, from_fn};
pub use rubric::{Rubric, Score};
pub use verifier::{
    ExactMatch, Judgment, MathVerifier, Verdict, Verifier, equivalent, verifier_from_fn,
};
