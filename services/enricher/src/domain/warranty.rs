//! Whether a warranty covers a day.

use schema::{Timestamp, WarrantyStatus};

const DAY_MS: i64 = 86_400_000;

/// A warranty that ends within so many days is [`WarrantyStatus::Expiring`].
pub const EXPIRING_DAYS: i64 = 90;

/// A day in UTC: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// The day that holds `time`.
    pub const fn of(time: Timestamp) -> Self {
        Self(time.as_millis().div_euclid(DAY_MS))
    }

    /// Reads `YYYY-MM-DD`.
    pub fn parse(date: &str) -> Option<Self> {
        if date.len() != 10 {
            return None;
        }
        Timestamp::parse(&format!("{date}T00:00:00Z"))
            .ok()
            .map(Self::of)
    }

    /// The day of a date of the proleptic Gregorian calendar that is known to be one.
    ///
    /// Years are counted from March, so that the leap day is a year's last; 400 years have 146,097 days, and 719,468 of
    /// them lie between 0000-03-01 and 1970-01-01.
    pub const fn from_civil(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self(era * 146_097 + day_of_era - 719_468)
    }
}

/// The status on day `today` of a warranty whose last day is `last`.
pub const fn status(last: Option<Day>, today: Option<Day>) -> WarrantyStatus {
    match (last, today) {
        (Some(last), Some(today)) => {
            if today.0 > last.0 {
                WarrantyStatus::Expired
            } else if last.0 - today.0 <= EXPIRING_DAYS {
                WarrantyStatus::Expiring
            } else {
                WarrantyStatus::Active
            }
        }
        _ => WarrantyStatus::Unknown,
    }
}

/// The status as it stands on the wire.
pub const fn wire_name(status: WarrantyStatus) -> &'static str {
    match status {
        WarrantyStatus::Active => "active",
        WarrantyStatus::Expiring => "expiring",
        WarrantyStatus::Expired => "expired",
        WarrantyStatus::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_status_changes_on_the_ninetieth_day_before_the_last_and_on_the_day_after_it() {
        let last = Day::parse("2026-06-30");
        let on = |date: &str| status(last, Day::parse(date));
        assert_eq!(on("2026-03-31"), WarrantyStatus::Active);
        assert_eq!(on("2026-04-01"), WarrantyStatus::Expiring);
        assert_eq!(on("2026-06-30"), WarrantyStatus::Expiring);
        assert_eq!(on("2026-07-01"), WarrantyStatus::Expired);
        assert_eq!(
            status(None, Day::parse("2026-07-01")),
            WarrantyStatus::Unknown
        );
        assert_eq!(status(last, None), WarrantyStatus::Unknown);
    }

    #[test]
    fn wire_names_are_the_schemas() {
        for status in [
            WarrantyStatus::Active,
            WarrantyStatus::Expiring,
            WarrantyStatus::Expired,
            WarrantyStatus::Unknown,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), wire_name(status));
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for bad in [
            "",
            "2026-02-29",
            "2026-13-01",
            "26-01-01",
            "2026-1-01",
            "01.02.2026",
            "2026-02-01Z",
        ] {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
        assert!(Day::parse("2024-02-29").is_some());
    }

    proptest! {
        #[test]
        fn a_civil_date_is_the_day_that_the_calendar_library_gives(millis in -62_000_000_000_000_i64..250_000_000_000_000) {
            let time = Timestamp::from_millis(millis);
            let text = time.to_string();
            let part = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
            prop_assert_eq!(Day::from_civil(part(0..4), part(5..7), part(8..10)), Day::of(time));
            prop_assert_eq!(Day::parse(&text[..10]), Some(Day::of(time)));
        }
    }
}
