//! Dates and times of day.

use chrono::{Month, NaiveDate};

use crate::math::tree::node::Node;

/// `march 14 2015`, `14 march`, `the 3rd of may`, as a text in one form.
pub(crate) fn date(words: &[&str]) -> Option<Node> {
    let words: Vec<&str> =
        words.iter().copied().filter(|word| !matches!(*word, "the" | "of")).collect();
    let (month, day, year) = match words.as_slice() {
        [first, second] => match (month(first), day(second)) {
            (Some(month), Some(day)) => (month, day, None),
            _ => (month(second)?, day(first)?, None),
        },
        [first, second, year] => match (month(first), day(second)) {
            (Some(month), Some(day)) => (month, day, Some(*year)),
            _ => (month(second)?, day(first)?, Some(*year)),
        },
        _ => return None,
    };
    let name = month.name();
    // A leap year stands for a year that is not given.
    let year_number = match year {
        Some(year) if year.len() == 4 => year.parse().ok()?,
        Some(_) => return None,
        None => 2000,
    };
    NaiveDate::from_ymd_opt(year_number, month.number_from_month(), day)?;
    Some(match year {
        Some(year) => Node::text(&format!("{name} {day}, {year}")),
        None => Node::text(&format!("{name} {day}")),
    })
}

/// `3:30 pm`, `3 pm`, as minutes since midnight.
pub(crate) fn time_of_day(words: &[&str]) -> Option<Node> {
    let (clock, half) = match words {
        [clock, half] => (*clock, *half),
        [both] => both.split_at_checked(both.len().checked_sub(2)?)?,
        _ => return None,
    };
    let afternoon = match half {
        "am" => false,
        "pm" => true,
        _ => return None,
    };
    let minutes = minutes_of(clock)?;
    let hour = minutes / 60;
    if !(1..=12).contains(&hour) {
        return None;
    }
    let hour = hour % 12 + if afternoon { 12 } else { 0 };
    Some(Node::TimeOfDay { minutes: hour * 60 + minutes % 60 })
}

/// The minutes of `3:30` or `3`.
pub(crate) fn minutes_of(clock: &str) -> Option<u32> {
    let (hours, minutes) = clock.split_once(':').unwrap_or((clock, "00"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) || hours.len() > 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours <= 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// A month by its name or its first three letters.
fn month(word: &str) -> Option<Month> {
    word.parse().ok()
}

fn day(word: &str) -> Option<u32> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &word[digits.len()..];
    let is_day = matches!(suffix, "" | "st" | "nd" | "rd" | "th") && digits.len() <= 2;
    digits.parse().ok().filter(|_| is_day)
}
