//! How often, and after which pauses, a request is made again.

use std::time::Duration;

/// How often, and after which pauses, a request is made again.
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
    /// The pause after failed attempt `attempt` (from 1): what the server asked for if that is
    /// longer, bounded in any case.
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
