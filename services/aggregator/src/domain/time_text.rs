//! Times as text, for the one form that the pipeline writes: `2026-02-11T10:30:00.123Z`.
//!
//! Every record has two such times and every window four; a general parser and printer would cost more than folding the
//! reading does.

use schema::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// Milliseconds since the epoch; none for any other form than `YYYY-MM-DDTHH:MM:SS.mmmZ`, and for what may need more
/// care (years before 1970, leap seconds, days that a month does not have).
pub fn parse(text: &[u8]) -> Option<i64> {
    let bytes: &[u8; 24] = text.try_into().ok()?;
    let separators = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
        (23, b'Z'),
    ];
    if separators.iter().any(|(at, byte)| bytes[*at] != *byte) {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0_i64, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + i64::from(byte - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let fits = year >= 1970
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits {
        return None;
    }
    let of_day = ((hour * 60 + minute) * 60 + second) * 1_000 + number(20, 23)?;
    Some(days(year, month, day) * DAY_MS + of_day)
}

/// The length of a month; 0 where there is no such month.
const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// Days from the epoch to a date of the Gregorian calendar, by counting years from March on (Hinnant, `days_from_civil`).
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Writes times; remembers the hour of the last one, since times that are written together are close.
#[derive(Clone, Debug, Default)]
pub struct TimeText {
    hour: Option<i64>,
    /// `2026-02-11T10:`
    prefix: Vec<u8>,
}

impl TimeText {
    /// Appends `millis` as [`Timestamp`] writes it.
    pub fn write(&mut self, out: &mut Vec<u8>, millis: i64) {
        let hour = millis.div_euclid(HOUR_MS);
        if self.hour != Some(hour) {
            self.prefix.clear();
            let text = Timestamp::from_millis(hour * HOUR_MS).to_string();
            self.prefix.extend_from_slice(text.as_bytes());
            let n = self.prefix.len().saturating_sub("00:00.000Z".len());
            self.prefix.truncate(n);
            self.hour = Some(hour);
        }
        out.extend_from_slice(&self.prefix);
        let of_hour = millis.rem_euclid(HOUR_MS);
        let (minute, second) = (of_hour / 60_000, of_hour / 1_000 % 60);
        let digit = |number: i64| b'0' + (number % 10).to_le_bytes()[0];
        out.extend_from_slice(&[
            digit(minute / 10),
            digit(minute),
            b':',
            digit(second / 10),
            digit(second),
            b'.',
            digit(of_hour / 100),
            digit(of_hour / 10),
            digit(of_hour),
            b'Z',
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_are_written_and_read_as_the_schema_does(
            times in proptest::collection::vec(0..253_402_041_600_000_i64, 1..5),
            step in 0..3_i64,
        ) {
            let mut text = TimeText::default();
            for time in times {
                for time in [time, time + step * HOUR_MS / 2] {
                    let mut out = Vec::new();
                    text.write(&mut out, time);
                    let expected = Timestamp::from_millis(time).to_string();
                    prop_assert_eq!(str::from_utf8(&out).unwrap(), &expected);
                    prop_assert_eq!(parse(expected.as_bytes()), Some(time));
                }
            }
        }

        #[test]
        fn whatever_is_read_is_read_as_the_schema_does(
            text in "(19|20|21)[0-9]{2}-[0-9][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}[Zz]"
        ) {
            if let Some(time) = parse(text.as_bytes()) {
                prop_assert_eq!(Timestamp::parse(&text).map(Timestamp::as_millis), Ok(time));
            }
        }
    }

    #[test]
    fn other_forms_are_left_to_the_general_parser() {
        for text in [
            "2026-02-11T10:30:00Z",
            "2026-02-11T10:30:00.123+00",
            "2026-02-30T10:30:00.123Z",
            "1969-12-31T23:59:59.999Z",
            "2026-02-11T10:30:60.000Z",
            "2026-02-11T10:3x:00.123Z",
            "",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
