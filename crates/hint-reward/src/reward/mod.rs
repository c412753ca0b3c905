//! Functions from a completion to a score.
//!
//! [`Reward`] is the trait, [`from_fn`] turns a closure into one, and [`RewardInput`](crate::RewardInput) is its
//! input. The rewards here are about form and length; whether an answer is right is the business of
//! [`verifier`](crate::verifier).
//!
//! | item | score |
//! |---|---|
//! | [`ThinkAnswerFormat`], [`BoxedOnce`] | 1 if the completion has the form, else 0 |
//! | [`SoftOverlong`], [`Brevity`] | by the length in tokens |
//! | [`RepetitionPenalty`] | minus the share of repeated word n-grams |

mod contract;
mod format;
mod length;
mod repetition;

pub use contract::{FnReward, Reward, from_fn};
pub use format::{BoxedOnce, ThinkAnswerFormat};
pub use length::{Brevity, SoftOverlong};
pub use repetition::RepetitionPenalty;
