//! Sources: the built-in providers of hints.
//!
//! | provider | gives |
//! |---|---|
//! | [`DatasetHints`] | the hint of the data set, or columns with one level each |
//! | [`SolutionPrefix`] | the beginning of the reference solution |
//! | [`MaskedSolution`] | the reference solution with its numbers left out |
//! | [`Demonstrations`] | the whole reference solution as a completion |
//! | [`SelfHints`] | a hint of the policy itself, given the reference solution |
//! | [`PeerSuccess`] | a correct completion of the same group |
//! | [`WrongAnswers`] | the wrong answers that the policy just gave |
//! | [`teacher`] | a hint of another model |
//! | [`Placebo`] | a control: the hint of another problem |
//! | [`Unrelated`] | a control: unrelated text of the same length |
//!
//! [`HintSourceConfig`] names them in a configuration. The set is open: implement
//! [`HintProvider`](crate::hint::HintProvider) for another one.

mod config;
mod control;
mod dataset;
mod demonstration;
mod masked_solution;
mod peer_success;
mod self_hint;
mod solution_prefix;
pub mod teacher;
mod wrong_answers;

pub use config::HintSourceConfig;
pub use control::{Placebo, Unrelated};
pub use dataset::DatasetHints;
pub use demonstration::Demonstrations;
pub use masked_solution::MaskedSolution;
pub use peer_success::PeerSuccess;
pub use self_hint::SelfHints;
pub use solution_prefix::{PrefixUnit, SolutionPrefix};
pub use wrong_answers::WrongAnswers;
