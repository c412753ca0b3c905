//! Errors of HTTP requests.

use std::time::Duration;

/// Why a server gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// It answered with an error status.
    #[error("`{url}` answered with status {status}: {message}")]
    Status {
        /// Address, without query and user.
        url: String,
        /// The status.
        status: u16,
        /// Text of the answer, shortened.
        message: String,
    },

    /// It did not answer in time.
    #[error("`{url}` did not answer within {}", describe(*timeout))]
    Timeout {
        /// Address, without query and user.
        url: String,
        /// Length of the wait.
        timeout: Duration,
    },

    /// It could not be reached, or the connection broke.
    #[error("cannot reach `{url}`: {reason}")]
    Transport {
        /// Address, without query and user.
        url: String,
        /// Why.
        reason: String,
    },

    /// Its answer breaks the contract of its interface.
    #[error("`{url}` answered with an unexpected body: {reason}")]
    Body {
        /// Address, without query and user.
        url: String,
        /// The expected content, and the content that came.
        reason: String,
    },
}

impl HttpError {
    /// Whether one more request may help: the server is busy, failing or unreachable, or the answer
    /// was cut off on its way.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(*status, 408 | 425 | 429 | 500..=599),
            Self::Timeout { .. } | Self::Transport { .. } | Self::Body { .. } => true,
        }
    }
}

fn describe(timeout: Duration) -> String {
    format!("{} s", timeout.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_transient() {
        let status =
            |status| HttpError::Status { url: String::new(), status, message: String::new() };
        assert!([408, 429, 500, 503].map(|code| status(code).is_transient()).iter().all(|&t| t));
        assert!(![301, 400, 401, 404].map(|code| status(code).is_transient()).iter().any(|&t| t));
    }
}
