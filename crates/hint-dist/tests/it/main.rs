//! Tests of the public interface.

#[cfg(feature = "gloo")]
mod processes;
mod threads;
