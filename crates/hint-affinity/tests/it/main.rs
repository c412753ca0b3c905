//! Integration tests of `hint-affinity`.

mod definition;
mod golden;
mod properties;
