//! The tree that a text is read as, and writing it back as LaTeX.

pub(crate) mod node;
pub(crate) mod render;
