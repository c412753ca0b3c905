//! Whether two trees say the same.

mod collection;
pub(crate) mod comparison;
pub(crate) mod prepare;
mod quantity;
pub(crate) mod real_set;
pub(crate) mod text;
