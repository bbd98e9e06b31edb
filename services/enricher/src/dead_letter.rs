//! A record that can't be enriched, as a dead letter.

use crate::domain::enrich::Unenrichable;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schema::{DeadLetter, MAX_ORIGINAL_BYTES, OriginalEncoding, Reason, Source, Timestamp};

/// The most bytes of a key that a dead letter repeats; a GPU UUID has 40.
pub const MAX_KEY_BYTES: usize = 1_024;

/// The record that is given up.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The broker's append time.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
}

/// The dead letter of `original`, given up by `service` in `version` because of `reason`.
pub fn dead_letter(
    service: &str,
    version: &str,
    original: &Original<'_>,
    reason: Unenrichable,
) -> DeadLetter {
    let value = original.value.unwrap_or_default();
    let (text, encoding, kept) = encode(value);
    DeadLetter {
        service: service.to_owned(),
        version: version.to_owned(),
        timestamp: Timestamp::from_millis(original.timestamp_ms),
        source: Source {
            topic: original.topic.to_owned(),
            partition: original.partition,
            offset: original.offset,
        },
        key: short_key(original.key)
            .and_then(|key| std::str::from_utf8(key).ok())
            .map(str::to_owned),
        original: text,
        original_encoding: encoding,
        original_size_bytes: value.len() as u64,
        original_truncated: kept < value.len(),
        validation_errors: vec![Reason::new(
            reason.code(),
            reason.field().map(str::to_owned),
            reason.to_string(),
        )],
    }
}

/// The key to write the dead letter under: the original's, unless it is so long that the letter might not fit.
pub fn short_key(key: Option<&[u8]>) -> Option<&[u8]> {
    key.filter(|key| key.len() <= MAX_KEY_BYTES)
}

/// The value as text, how it is written, and how many of its bytes that is.
fn encode(value: &[u8]) -> (String, OriginalEncoding, usize) {
    let cut = &value[..value.len().min(MAX_ORIGINAL_BYTES)];
    let valid = match std::str::from_utf8(cut) {
        Ok(text) => Some(text),
        // A character that the cut went through is left out; any other error means that it is not text.
        Err(error) if error.error_len().is_none() && cut.len() < value.len() => {
            std::str::from_utf8(&cut[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    // Escaped, text can take six times its size; base64 takes four thirds, and so always fits.
    match valid.filter(|text| escaped_length(text) <= MAX_ORIGINAL_BYTES.div_ceil(3) * 4) {
        Some(text) => (text.to_owned(), OriginalEncoding::Utf8, text.len()),
        None => (STANDARD.encode(cut), OriginalEncoding::Base64, cut.len()),
    }
}

fn escaped_length(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(key: Option<&[u8]>, value: Option<&[u8]>) -> DeadLetter {
        let original = Original {
            topic: "gpu-metrics-validated",
            partition: 5,
            offset: 77,
            timestamp_ms: 1_770_805_800_000,
            key,
            value,
        };
        dead_letter("enricher", "1", &original, Unenrichable::NotAnObject)
    }

    #[test]
    fn a_dead_letter_tells_what_it_was_and_why_it_is_one() {
        let json = serde_json::to_string(&letter(Some(b"GPU-1"), Some(b"[1]"))).unwrap();
        assert_eq!(
            json,
            r#"{"service":"enricher","version":"1","timestamp":"2026-02-11T10:30:00.000Z","source":{"topic":"gpu-metrics-validated","partition":5,"offset":77},"key":"GPU-1","original":"[1]","original_encoding":"utf8","original_size_bytes":3,"original_truncated":false,"validation_errors":[{"code":"not_an_object","message":"the value is not a JSON object"}]}"#
        );
    }

    #[test]
    fn bytes_that_are_no_text_come_back_from_base64() {
        let bytes = b"{\xff\x00}";
        let letter = letter(Some(b"\xfe"), Some(bytes));
        assert_eq!(letter.key, None);
        assert_eq!(letter.original_encoding, OriginalEncoding::Base64);
        assert_eq!(STANDARD.decode(&letter.original).unwrap(), bytes);
    }

    #[test]
    fn a_dead_letter_fits_whatever_the_original_is() {
        let long_key = vec![b'k'; 2_000_000];
        for filler in [b'a', b'"', 0, 0xff] {
            let value = vec![filler; 2_000_000];
            let letter = letter(Some(&long_key), Some(&value));
            assert!(letter.original_truncated);
            assert_eq!(letter.original_size_bytes, 2_000_000);
            assert!(serde_json::to_vec(&letter).unwrap().len() < 750_000);
        }
        let letter = letter(None, Some("é".repeat(400_000).as_bytes()));
        assert_eq!(letter.original_encoding, OriginalEncoding::Utf8);
        assert_eq!(letter.original.len(), MAX_ORIGINAL_BYTES);
        let odd = format!("a{}", "é".repeat(400_000));
        assert_eq!(
            self::letter(None, Some(odd.as_bytes())).original.len(),
            MAX_ORIGINAL_BYTES - 1
        );
    }
}
