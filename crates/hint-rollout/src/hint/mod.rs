//! Hints: their sources and their leaks.
//!
//! A [`HintProvider`] answers a [`HintRequest`] with a [`Hint`](crate::data::Hint) or with none.
//! [`hints_from_fn`] makes a provider of a closure. The built-in providers are in [`source`], where
//! [`HintSourceConfig`](source::HintSourceConfig) names them in a configuration. A provider may let
//! the policy write through a [`HintWriter`]; [`EngineWriter`] is one made of an engine and a prompt
//! format. [`leak`] finds values and answers that a hint gives away.

pub mod leak;
mod provider;
mod shared;
pub mod source;
mod writer;

pub use provider::{FnHints, HintProvider, HintRequest, hints_from_fn};
pub(crate) use shared::SharedHints;
pub use writer::{EngineWriter, HintWriter, WriteRequest};
