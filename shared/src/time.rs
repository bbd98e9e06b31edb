//! A point in time on the wire: RFC 3339 in UTC, milliseconds inside.

use jiff::fmt::temporal::DateTimeParser;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Milliseconds since the Unix epoch; on the wire `2026-02-11T10:30:00.123Z`.
///
/// Reading accepts any RFC 3339 offset and any fraction (cut to milliseconds); writing always gives UTC with three
/// digits, so that equal times are equal bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTimestamp;

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an RFC 3339 timestamp")
    }
}

impl std::error::Error for InvalidTimestamp {}

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 text.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        static PARSER: DateTimeParser = DateTimeParser::new();
        PARSER
            .parse_timestamp(text)
            .map(|t| Self(t.as_millisecond()))
            .map_err(|_| InvalidTimestamp)
    }

    /// The start of the window of `size_ms` that holds this time; windows are aligned to the epoch.
    #[must_use]
    pub const fn window_start(self, size_ms: i64) -> Self {
        Self(self.0.div_euclid(size_ms) * size_ms)
    }

    /// This time moved by `millis`, clamped to what fits.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this time; negative when it is later.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 3339 ends with the year 9999 and jiff somewhat before; what lies outside is written as the nearest end,
        // since a `Display` that fails would panic in `to_string`.
        let end = if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(end);
        write!(f, "{time:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 timestamp")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Timestamp, E> {
                Timestamp::parse(value).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_and_fractions_are_read_and_utc_is_written() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), expected);
        };
        check("2026-02-11T10:30:00.123Z", "2026-02-11T10:30:00.123Z");
        check("2026-02-11T10:30:00Z", "2026-02-11T10:30:00.000Z");
        check(
            "2026-02-11T12:30:00.123999+02:00",
            "2026-02-11T10:30:00.123Z",
        );
        for bad in [
            "",
            "yesterday",
            "2026-02-11",
            "2026-02-11T10:30:00",
            "1770805800",
        ] {
            assert_eq!(Timestamp::parse(bad), Err(InvalidTimestamp), "{bad}");
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_written_as_its_end() {
        assert!(
            Timestamp::from_millis(i64::MAX)
                .to_string()
                .starts_with("9999-12-30T")
        );
        assert!(
            Timestamp::from_millis(i64::MIN)
                .to_string()
                .starts_with("-009999-01-02T")
        );
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_also_before_it() {
        assert_eq!(
            Timestamp::from_millis(61_000)
                .window_start(60_000)
                .as_millis(),
            60_000
        );
        assert_eq!(
            Timestamp::from_millis(-1).window_start(60_000).as_millis(),
            -60_000
        );
    }

    proptest! {
        #[test]
        fn written_times_read_back_equal(millis in -62_000_000_000_000_i64..250_000_000_000_000) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        }
    }
}
