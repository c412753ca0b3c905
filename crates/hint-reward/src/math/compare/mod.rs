//! Whether two trees say the same.

mod collection;
pub(crate) mod comparison;
mod congruence;
mod constant;
mod convention;
mod named;
pub(crate) mod prepare;
mod progression;
pub(crate) mod quantity;
pub(crate) mod real_set;
mod rounding;
pub(crate) mod segment;
pub(crate) mod text;
pub(crate) mod word;
