//! Number of attempts of a request, and the pauses between them.

use std::time::Duration;

use crate::error::HttpError;

/// One failed request, with the pause that the server asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: HttpError,
    pub(crate) retry_after: Option<Duration>,
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self { error, retry_after: None }
    }
}

/// Number of attempts of a request, and the pauses between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Requests made at most, the first included. At least 1.
    pub(crate) attempts: usize,
    /// Pause before the second one; it doubles each time.
    pub(crate) first: Duration,
}

/// Longest pause between two attempts, also when a server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Time after which a pause asks whether it is of use still.
const SLICE: Duration = Duration::from_millis(50);

impl Backoff {
    /// Asks until there is an answer, the failure will not pass, or the attempts are used up. `ask`
    /// gets the number of the attempt, from 1.
    #[cfg(feature = "teacher")]
    pub(crate) fn retry<T>(
        self,
        ask: impl FnMut(usize) -> Result<T, Failure>,
    ) -> Result<T, (usize, HttpError)> {
        self.retry_until(|| false, ask)
    }

    /// As `retry`, and gives up soon after `is_over` is true. Then the error is that of the last attempt.
    pub(crate) fn retry_until<T>(
        self,
        is_over: impl Fn() -> bool,
        mut ask: impl FnMut(usize) -> Result<T, Failure>,
    ) -> Result<T, (usize, HttpError)> {
        let mut attempt = 1;
        loop {
            let Failure { error, retry_after } = match ask(attempt) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !error.is_transient() || attempt >= self.attempts || is_over() {
                return Err((attempt, error));
            }
            let mut pause = self.pause(attempt, retry_after);
            tracing::warn!(attempt, ?pause, %error, "a request failed and is made again");
            while !pause.is_zero() {
                if is_over() {
                    return Err((attempt, error));
                }
                let slice = pause.min(SLICE);
                std::thread::sleep(slice);
                pause -= slice;
            }
            attempt += 1;
        }
    }

    /// The pause after failed attempt `attempt` (from 1): the server's request if that is longer,
    /// bounded in any case.
    pub(crate) fn pause(self, attempt: usize, asked: Option<Duration>) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let pause = self.first.saturating_mul(1 << doublings);
        pause.max(asked.unwrap_or_default()).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_follow_the_server() {
        let backoff = Backoff { attempts: 9, first: Duration::from_millis(500) };
        assert_eq!(backoff.pause(1, None), Duration::from_millis(500));
        assert_eq!(backoff.pause(3, None), Duration::from_secs(2));
        assert_eq!(backoff.pause(60, None), LONGEST_PAUSE);
        assert_eq!(backoff.pause(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.pause(1, Some(Duration::from_hours(9))), LONGEST_PAUSE);
    }

    #[test]
    fn a_pause_ends_when_nobody_waits_for_the_answer() {
        let backoff = Backoff { attempts: 9, first: Duration::from_hours(1) };
        let (asked, is_over) = (Cell::new(0), Cell::new(false));
        let busy = || HttpError::Status { url: String::new(), status: 503, message: String::new() };
        let found = backoff.retry_until(
            || is_over.replace(true),
            |attempt| {
                asked.set(attempt);
                Err::<(), _>(busy().into())
            },
        );
        // It was asked before the pause, and once more in it.
        assert_eq!((found, asked.get()), (Err((1, busy())), 1));
    }
}
