//! Numbers of the wire: what is a value, what is a blank, and conversions that lose nothing that matters.

/// The smallest blank of DCGM's 32-bit integers (`DCGM_INT32_BLANK`, 0x7ffffff0); the three after it are blanks too.
const INT32_BLANK: f64 = 2_147_483_632.0;
/// `DCGM_FP64_BLANK`; the three after it are blanks too.
const FP64_BLANK: f64 = 140_737_488_355_328.0;
/// `DCGM_INT64_BLANK` (0x7ffffffffffffff0) as the nearest double, 2^63.
const INT64_BLANK: f64 = 9.223_372_036_854_776e18;
/// Blanks of one kind: not set, not found, not supported, no permission.
const BLANKS: f64 = 4.0;

/// A level, flag, code or limit: none of them comes near a blank sentinel, so whatever is as large is one.
///
/// The validator takes sentinels out already; a second look costs a comparison and keeps 9e18 °C from ever being one.
pub fn level(value: f64) -> Option<f64> {
    (value.abs() < INT32_BLANK).then_some(value)
}

/// A cumulative count. It may be larger than a 32-bit blank, but equals one only by a chance of one in a thousand million.
pub fn count(value: f64) -> Option<u64> {
    let is_blank = (INT32_BLANK..INT32_BLANK + BLANKS).contains(&value)
        || (FP64_BLANK..FP64_BLANK + BLANKS).contains(&value)
        || value >= INT64_BLANK;
    if is_blank { None } else { whole(value) }
}

/// The whole part of a number that is not negative.
pub fn whole(value: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked, and the whole part is what is wanted"
    )]
    (0.0..INT64_BLANK).contains(&value).then_some(value as u64)
}

/// Tenths, as they are kept in state; clamped to what fits (±3,276 of the unit).
pub fn tenths(value: f64) -> i16 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "clamped to the range of i16"
    )]
    {
        (value * 10.0).round().clamp(-32_767.0, 32_767.0) as i16
    }
}

/// The nearest whole number from 0 to 65,535.
pub fn small(value: f64) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u16"
    )]
    {
        value.round().clamp(0.0, 65_535.0) as u16
    }
}

/// As many milliseconds as there are in `nanoseconds`, as far as they fit.
pub fn millis_of_nanos(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds / 1_000_000).unwrap_or(u32::MAX)
}

/// Milliseconds as they are kept in state: not negative, at most 49 days.
pub fn span(millis: i64) -> u32 {
    u32::try_from(millis.max(0)).unwrap_or(u32::MAX)
}

/// `millis` as the index of the period of `size_ms` that holds it, counted from the epoch.
pub fn period(millis: i64, size_ms: i64) -> u32 {
    u32::try_from(millis.div_euclid(size_ms).max(0)).unwrap_or(u32::MAX)
}

/// Rounded to `digits` decimals, and never a negative zero: for what people read and what two runs must agree on.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit + 0.0
}

/// A 32-bit FNV-1a hash of `parts`: the same in every run and on every machine.
pub fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> u32 {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let mut hash = OFFSET;
    for part in parts {
        // The byte between two parts is in no UTF-8 text, so that "a","bc" is not "ab","c".
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(PRIME);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_sentinel_is_no_value_whatever_its_width() {
        for kind in 0..4 {
            let blanks = [
                2_147_483_632_i64 + kind,
                140_737_488_355_328 + kind,
                9_223_372_036_854_775_792 + kind,
            ];
            for blank in blanks {
                assert_eq!(level(blank as f64), None, "{blank}");
                assert_eq!(count(blank as f64), None, "{blank}");
            }
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!((level(value), count(value)), (None, None));
        }
        assert_eq!(count(-1.0), None);
    }

    #[test]
    fn what_is_no_blank_stays() {
        assert_eq!(level(-5.5), Some(-5.5));
        // The storm of DCGM issue 313.
        assert_eq!(count(5.5e10), Some(55_000_000_000));
        assert_eq!(count(2_147_483_636.0), Some(2_147_483_636));
        assert_eq!(tenths(61.26), 613);
        assert_eq!(tenths(-1e9), -32_767);
        assert_eq!(small(1e9), u16::MAX);
        assert_eq!(span(-1), 0);
        assert_eq!(period(60_000, 60_000), 1);
        assert_eq!(period(-1, 60_000), 0);
        assert_eq!(millis_of_nanos(u64::MAX), u32::MAX);
    }

    #[test]
    fn rounding_never_leaves_a_negative_zero() {
        assert_eq!(rounded(1.005_1, 2).to_string(), "1.01");
        assert_eq!(rounded(-0.000_1, 2).to_string(), "0");
    }

    #[test]
    fn a_hash_tells_where_one_part_ends() {
        assert_ne!(hash(["a", "bc"]), hash(["ab", "c"]));
        assert_eq!(hash(["node-1"]), hash(["node-1"]));
    }
}
