//! DCGM's blank sentinels: numbers and strings that stand for "no value" (`dcgm_structs.h`).
//!
//! Each family is a base and the next three numbers: blank, not found, not supported, no permission. As values they
//! would be nine quintillion degrees; they are made null.

/// `DCGM_INT32_BLANK`, 0x7ffffff0.
const INT32: f64 = 2_147_483_632.0;
/// `DCGM_INT64_BLANK` to `.._NOT_PERMISSIONED` are 0x7ffffffffffffff0 and the next three; the nearest double of all
/// four is 2^63, which is also how an exporter that prints doubles shows them.
const INT64: f64 = (1_u64 << 63) as f64;
/// `DCGM_FP64_BLANK`, 2^47.
const FP64: f64 = (1_u64 << 47) as f64;
/// The distance from a base to the last of its family.
const LAST: f64 = 3.0;

/// Whether `value` is a sentinel.
///
/// The 32-bit and 64-bit floating families are matched number by number, not as "at least the base": nanosecond and
/// millijoule counters pass both bases within hours. A counter that happens to stand on one of the eight loses that one
/// reading, flagged; its next increment covers it.
#[inline]
pub fn is_blank(value: f64) -> bool {
    // Nearly every value of a reading is below the smallest base.
    value >= INT32
        && [INT32, FP64, INT64]
            .iter()
            .any(|base| is_member(value, *base))
}

fn is_member(value: f64, base: f64) -> bool {
    (base..=base + LAST).contains(&value) && value.fract() == 0.0
}

/// Whether `text` is a sentinel (`<<<NOT_SUPPORTED>>>`).
#[inline]
pub fn is_blank_text(text: &str) -> bool {
    text.len() >= 6 && text.starts_with("<<<") && text.ends_with(">>>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentinel_of_dcgm_is_blank() {
        for base in [
            "2147483632",
            "2147483633",
            "2147483634",
            "2147483635",
            "9223372036854775792",
            "9223372036854775793",
            "9223372036854775794",
            "9223372036854775795",
            "9.223372036854776e18",
            "140737488355328.0",
            "140737488355329.0",
            "140737488355330.0",
            "140737488355331.0",
        ] {
            assert!(is_blank(base.parse().unwrap()), "{base}");
        }
        for text in [
            "<<<NULL>>>",
            "<<<NOT_FOUND>>>",
            "<<<NOT_SUPPORTED>>>",
            "<<<NOT_PERMISSIONED>>>",
        ] {
            assert!(is_blank_text(text), "{text}");
        }
    }

    #[test]
    fn values_beside_the_sentinels_are_values() {
        for value in [
            0.0,
            -1.0,
            2_147_483_631.0,
            2_147_483_636.0,
            2_147_483_632.5,
            // 60 hours of a nanosecond counter, five years of energy at a kilowatt.
            216_000_000_000_000.0,
            157_680_000_000_000.0,
            140_737_488_355_327.0,
            140_737_488_355_332.0,
        ] {
            assert!(!is_blank(value), "{value}");
        }
        for text in ["", "<<<", ">>>", "<<<>>", "NVIDIA A100", "<<NULL>>"] {
            assert!(!is_blank_text(text), "{text}");
        }
    }
}
