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

impl Backoff {
    /// Asks until there is an answer, the failure will not pass, or the attempts are used up. `ask`
    /// gets the number of the attempt, from 1.
    pub(crate) fn retry<T>(
        self,
        mut ask: impl FnMut(usize) -> Result<T, Failure>,
    ) -> Result<T, (usize, HttpError)> {
        let mut attempt = 1;
        loop {
            match ask(attempt) {
                Ok(answer) => return Ok(answer),
                Err(Failure { error, .. }) if !error.is_transient() || attempt >= self.attempts => {
                    return Err((attempt, error));
                }
                Err(Failure { error, retry_after }) => {
                    let pause = self.pause(attempt, retry_after);
                    tracing::warn!(attempt, ?pause, %error, "a request failed and is made again");
                    std::thread::sleep(pause);
                    attempt += 1;
                }
            }
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
}
