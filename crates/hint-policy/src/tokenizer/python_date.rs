//! A date as Python's `strftime` writes it, for `strftime_now` of chat templates.

use std::fmt::Write as _;

use chrono::format::{Fixed, Item, StrftimeItems};
use chrono::{Datelike, NaiveDate, NaiveTime};

use crate::error::PolicyError;

/// A day; its time is midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date(NaiveDate);

impl Date {
    /// The date that templates of Llama 3 fall back to where there is no clock.
    pub(super) const FIXED: Self =
        Self(NaiveDate::from_ymd_opt(2024, 7, 26).expect("July has 31 days"));

    /// Reads `YYYY-MM-DD`.
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            Ok(date) if (1..=9999).contains(&date.year()) => Ok(Self(date)),
            _ => Err(PolicyError::option("date", text, "a date as YYYY-MM-DD")),
        }
    }

    /// The date in a `format` of `strftime`. `None` for a directive that is not implemented.
    pub(super) fn format(self, format: &str) -> Option<String> {
        // A date has no zone; Python writes nothing for it.
        let is_zone = |item: &Item<'_>| {
            matches!(item, Item::Fixed(Fixed::TimezoneName | Fixed::TimezoneOffset))
        };
        // Python writes microseconds.
        let format = &format.replace("%%", "\0").replace("%f", "%6f").replace('\0', "%%");
        let items = StrftimeItems::new(format).filter(|item| !is_zone(item)).collect::<Vec<_>>();
        if items.contains(&Item::Error) {
            return None;
        }
        let mut text = String::new();
        // Directives that need a zone fail, such as `%+` and `%:z`.
        write!(text, "{}", self.0.and_time(NaiveTime::MIN).format_with_items(items.iter())).ok()?;
        Some(text)
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
        check("2000-02-29", "%f %%f", "000000 %f");
        check("2000-02-29", "%d/%m/%y 100%%", "29/02/00 100%");
        check("2024-07-26", "%I:%M %p%Z%z, %h %F %T", "12:00 AM, Jul 2024-07-26 00:00:00");
        for unknown in ["%Q", "%+", "%:z", "%::z", "%#z"] {
            assert_eq!(Date::FIXED.format(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["2023-02-29", "2024-13-01", "2024-00-10", "26 Jul 2024", "2024-07"] {
            assert!(Date::parse(text).is_err(), "{text}");
        }
    }
}
