//! Bars and times, for any width.

use std::time::Duration;

use console::measure_text_width;

/// The longest bar.
const BAR: usize = 40;

/// `start`, a bar as long as there is room, and `end`.
pub(crate) fn with_bar(start: &str, end: &str, (done, total): (u64, u64), width: usize) -> String {
    let taken = measure_text_width(start) + measure_text_width(end);
    let room = width.saturating_sub(taken).min(BAR);
    if room < 5 {
        return format!("{}{end}", start.trim_end());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the room"
    )]
    let filled = (done.min(total) as f64 / total.max(1) as f64 * room as f64) as usize;
    format!("{start}{}{}{end}", "━".repeat(filled), "─".repeat(room - filled))
}

/// A time in two units at most.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// The time that `to_do` pieces take at the speed of the `done` ones.
pub(crate) fn remaining(elapsed: Duration, done: u64, to_do: u64) -> Option<Duration> {
    let each = elapsed.as_secs_f64() / done as f64;
    Duration::try_from_secs_f64(each * to_do as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_pieces_so_far() {
        let seconds = Duration::from_secs;
        assert_eq!(remaining(seconds(10), 5, 20), Some(seconds(40)));
        assert_eq!(remaining(seconds(10), 5, 0), Some(seconds(0)));
        // Before the first piece, and behind it when nothing is left.
        assert_eq!((remaining(seconds(10), 0, 20), remaining(seconds(0), 0, 0)), (None, None));
    }

    #[test]
    fn a_bar_fills_the_room_and_gives_way() {
        assert_eq!(with_bar("a ", " b", (1, 2), 14), "a ━━━━━───── b");
        assert_eq!(with_bar("a ", " b", (3, 2), 9), "a ━━━━━ b");
        assert_eq!(with_bar("a ", " b", (1, 2), 8), "a b");
        assert_eq!(measure_text_width(&with_bar("a", "b", (0, 0), 500)), 42);
    }

    #[test]
    fn times_have_two_units() {
        let texts = [59, 60, 3599, 3600, 90_000].map(|seconds| time(Duration::from_secs(seconds)));
        assert_eq!(texts, ["59s", "1m 00s", "59m 59s", "1h 00m", "1d 01h"]);
    }
}
