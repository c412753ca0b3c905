//! Files that are written whole or not at all, and JSON in them.

pub(crate) mod atomic;
pub(crate) mod json;
pub(crate) mod text;
