//! JSON over HTTP: bounded waits, retries, and a key that is never printed.
//!
//! Servers of models ([`engine::vllm`](crate::engine::vllm)) and teachers
//! ([`hint::source::teacher`](crate::hint::source::teacher)) go through this module. Only
//! [`ApiKey`] is public: libraries read no environment, so programs read the variable and pass the
//! key on.

mod address;
mod api_key;
#[cfg(any(feature = "vllm", feature = "teacher"))]
mod http;
#[cfg(any(feature = "vllm", feature = "teacher"))]
mod redact;
#[cfg(any(feature = "vllm", feature = "teacher"))]
mod retry;

pub(crate) use address::{is_address, shown};
pub use api_key::ApiKey;
#[cfg(any(feature = "vllm", feature = "teacher"))]
pub(crate) use http::JsonServer;
#[cfg(any(feature = "vllm", feature = "teacher"))]
pub(crate) use retry::Backoff;
#[cfg(feature = "vllm")]
pub(crate) use retry::Failure;
