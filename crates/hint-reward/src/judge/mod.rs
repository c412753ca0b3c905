//! External scorers.
//!
//! [`HttpJudge`] posts each completion to a service and reads a score from its answer.

mod http;

pub use http::HttpJudge;
