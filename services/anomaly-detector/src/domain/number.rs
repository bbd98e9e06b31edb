//! Numbers of the wire: what is a value, what is a blank, and conversions that lose nothing that matters.

/// The smallest blank of DCGM's 32-bit integers (`DCGM_INT32_BLANK`, 0x7ffffff0); the three after it are blanks too.
const INT32_BLANK: f64 = 2_147_483_632.0;
/// `DCGM_FP64_BLANK`; the three after it are blanks too.
const FP64_BLANK: f64 = 140_737_488_355_328.0;
/// `DCGM_INT64_BLANK` (0x7ffffffffffffff0) as the nearest double, which is 2^63.
const INT64_BLANK: f64 = (1_u64 << 63) as f64;
/// Blanks of one kind: not set, not found, not supported, no permission.
const BLANKS: f64 = 4.0;

/// A level, flag, code or limit: none of them comes near a blank sentinel, so whatever is as large is one.
///
/// The validator takes sentinels out already; a second look costs a comparison and keeps 9e18 °C from ever being one.
pub fn level(value: f64) -> Option<f64> {
    (value.abs() < INT32_BLANK).then_some(value)
}

/// A cumulative count, which may be larger than a 32-bit blank but is never equal to one in practice.
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

/// The nearest single-precision number: 7 digits are more than any sensor has.
pub const fn narrow(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
    {
        value as f32
    }
}

/// Tenths, as they are kept in state; clamped to what fits (±3,276 of the unit).
pub fn tenths(value: f64) -> i16 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "clamped to the range of i16"
    )]
    {
        (value * 10.0).round().clamp(-32_767.0, f64::from(i16::MAX)) as i16
    }
}

/// A number as small as `u16` holds, clamped.
pub fn small(value: f64) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u16"
    )]
    {
        value.round().clamp(0.0, f64::from(u16::MAX)) as u16
    }
}

/// `millis` as the index of the period of `size_ms` that holds it, counted from the epoch.
pub fn period(millis: i64, size_ms: i64) -> u32 {
    u32::try_from(millis.div_euclid(size_ms)).unwrap_or(if millis < 0 { 0 } else { u32::MAX })
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
        assert_eq!(level(f64::NAN), None);
        assert_eq!(level(f64::INFINITY), None);
        assert_eq!(count(f64::NAN), None);
        assert_eq!(count(-1.0), None);
    }

    #[test]
    fn what_is_no_blank_stays() {
        assert_eq!(level(-5.5), Some(-5.5));
        assert_eq!(count(5.5e10), Some(55_000_000_000));
        assert_eq!(count(2_147_483_636.0), Some(2_147_483_636));
        assert_eq!(tenths(61.26), 613);
        assert_eq!(tenths(1e9), i16::MAX);
        assert_eq!(period(60_000, 60_000), 1);
        assert_eq!(period(-1, 60_000), 0);
    }
}
