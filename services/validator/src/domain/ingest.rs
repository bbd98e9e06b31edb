//! Ingest time: the broker's append time of the original record.

/// Where a record's ingest time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Milliseconds since the epoch, from 1970 to the end of 9998, so that it can always be written as a timestamp.
    pub at_ms: i64,
    /// The header that should say it can't be used; `at_ms` is then the record's own append time.
    pub header_is_bad: bool,
}

/// The last millisecond of the year 9998; what can be written as a timestamp ends in the year after.
const MAX_MS: i64 = 253_370_764_799_999;
/// The longest number that can be a time before [`MAX_MS`].
const MAX_DIGITS: usize = 15;

impl Ingest {
    /// From the record's own append time and, for a copy made for a replay, the value of the header
    /// [`schema::topic::ORIGINAL_APPEND_TIME`].
    ///
    /// An original is older than its copy: a header that says otherwise is refused, so that nobody can push stream time
    /// ahead of the broker's clock.
    pub fn of(append_time_ms: i64, original: Option<&[u8]>) -> Self {
        let own = append_time_ms.clamp(0, MAX_MS);
        match original.map(parse) {
            None => Self {
                at_ms: own,
                header_is_bad: false,
            },
            Some(Some(at_ms)) if at_ms <= own => Self {
                at_ms,
                header_is_bad: false,
            },
            Some(_) => Self {
                at_ms: own,
                header_is_bad: true,
            },
        }
    }
}

fn parse(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_the_time_of_its_original() {
        let check = |header: Option<&str>, at_ms, header_is_bad| {
            assert_eq!(
                Ingest::of(1_000_000, header.map(str::as_bytes)),
                Ingest {
                    at_ms,
                    header_is_bad
                },
                "{header:?}"
            );
        };
        check(None, 1_000_000, false);
        check(Some("5"), 5, false);
        check(Some("1000000"), 1_000_000, false);
        for bad in [
            "",
            "-5",
            "+5",
            "5.0",
            " 5",
            "soon",
            "1000001",
            "99999999999999999999",
        ] {
            check(Some(bad), 1_000_000, true);
        }
        assert!(Ingest::of(5, Some(&[0xff])).header_is_bad);
    }

    #[test]
    fn a_time_that_no_timestamp_can_hold_is_clamped() {
        assert_eq!(Ingest::of(i64::MAX, None).at_ms, MAX_MS);
        assert_eq!(Ingest::of(-1, None).at_ms, 0);
        assert_eq!(
            schema::Timestamp::from_millis(MAX_MS).to_string(),
            "9998-12-31T23:59:59.999Z"
        );
    }
}
