//! Value of an expression: exact, in finite fields, and in double-double arithmetic with error bounds.

pub(crate) mod ball;
pub(crate) mod exact;
mod gauss;
pub(crate) mod identity;
mod integral;
mod limit;
pub(crate) mod modular;
pub(crate) mod numeric;
pub(crate) mod real;
