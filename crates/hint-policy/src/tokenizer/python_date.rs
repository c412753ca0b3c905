//! A date as Python's `strftime` writes it, for `strftime_now` of chat templates.

use crate::error::PolicyError;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A day; its time is midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    year: u32,
    /// From 1.
    month: u32,
    day: u32,
}

impl Date {
    /// The date that templates of Llama 3 fall back to where there is no clock.
    pub(super) const FIXED: Self = Self { year: 2024, month: 7, day: 26 };

    /// Reads `YYYY-MM-DD`.
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let parts: Option<Vec<u32>> = text.split('-').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some(&[year @ 1..=9999, month @ 1..=12, day])
                if (1..=days(year, month)).contains(&day) =>
            {
                Ok(Self { year, month, day })
            }
            _ => Err(PolicyError::option("date", text, "a date as YYYY-MM-DD")),
        }
    }

    /// The date in a `format` of `strftime`. `None` for a directive that is not implemented.
    pub(super) fn format(self, format: &str) -> Option<String> {
        let Self { year, month, day } = self;
        let (month_name, weekday) = (MONTHS[month as usize - 1], WEEKDAYS[self.weekday() as usize]);
        let mut out = String::new();
        let mut rest = format.chars();
        while let Some(character) = rest.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            // `%-d` is `%d` without padding.
            let mut directive = rest.next()?;
            let padded = directive != '-';
            if !padded {
                directive = rest.next()?;
            }
            let two =
                |number: u32| if padded { format!("{number:02}") } else { number.to_string() };
            let written = match directive {
                'Y' => format!("{year:04}"),
                'y' => two(year % 100),
                'm' => two(month),
                'd' => two(day),
                'B' => month_name.to_owned(),
                'b' | 'h' => month_name[..3].to_owned(),
                'A' => weekday.to_owned(),
                'a' => weekday[..3].to_owned(),
                'j' => format!("{:03}", (1..month).map(|m| days(year, m)).sum::<u32>() + day),
                'H' | 'M' | 'S' => two(0),
                'I' => two(12),
                'p' => "AM".to_owned(),
                'F' => format!("{year:04}-{month:02}-{day:02}"),
                'T' => "00:00:00".to_owned(),
                'Z' | 'z' => String::new(),
                '%' => "%".to_owned(),
                _ => return None,
            };
            out.push_str(&written);
        }
        Some(out)
    }

    /// Days since the last Sunday, by Sakamoto's method.
    fn weekday(self) -> u32 {
        const SHIFTS: [u32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = if self.month < 3 { self.year - 1 } else { self.year };
        (year + year / 4 - year / 100 + year / 400 + SHIFTS[self.month as usize - 1] + self.day) % 7
    }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_writes_them() {
        #[track_caller]
        fn check(date: &str, format: &str, expected: &str) {
            assert_eq!(Date::parse(date).unwrap().format(format).as_deref(), Some(expected));
        }
        check("2024-07-26", "%d %b %Y", "26 Jul 2024");
        check("2024-07-26", "%A, %B %-d", "Friday, July 26");
        check("2025-03-01", "%Y-%m-%d %a %j %H:%M:%S", "2025-03-01 Sat 060 00:00:00");
        check("2000-02-29", "%d/%m/%y 100%%", "29/02/00 100%");
        assert_eq!(Date::FIXED.format("%Q"), None);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["2023-02-29", "2024-13-01", "2024-00-10", "26 Jul 2024", "2024-07"] {
            assert!(Date::parse(text).is_err(), "{text}");
        }
    }
}
