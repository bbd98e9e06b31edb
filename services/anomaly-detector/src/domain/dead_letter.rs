//! A record that can't be read, as a dead letter.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schema::{DeadLetter, MAX_ORIGINAL_BYTES, OriginalEncoding, Reason, Source, Timestamp};
use std::fmt;

/// The most bytes of a key that a dead letter repeats; a GPU UUID has 40.
pub const MAX_KEY_BYTES: usize = 1_024;
/// The most bytes of escaped text that are written; the topic's limit is 1 MiB. What would be more is written as base64.
const MAX_TEXT_BYTES: usize = MAX_ORIGINAL_BYTES / 3 * 4;

/// Why a record can't be read.
#[derive(Debug)]
pub enum Unreadable {
    /// A null value.
    NoValue,
    /// A null key, yet no tick.
    NotATick(serde_json::Error),
    /// The key is not UTF-8, so that it names no GPU.
    KeyNotText,
    /// The value is no reading.
    NotAReading(serde_json::Error),
}

impl Unreadable {
    /// The code of a closed list; also the label of its metric.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoValue => "no_value",
            Self::NotATick(_) => "not_a_tick",
            Self::KeyNotText => "key_not_text",
            Self::NotAReading(_) => "not_a_reading",
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue => f.write_str("the value is null"),
            Self::NotATick(error) => {
                write!(f, "the key is null, and the value is no tick: {error}")
            }
            Self::KeyNotText => f.write_str("the key is not UTF-8"),
            Self::NotAReading(error) => write!(f, "the value is no reading: {error}"),
        }
    }
}

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
    reason: &Unreadable,
) -> DeadLetter {
    let value = original.value.unwrap_or_default();
    let (text, original_encoding, kept) = encode(value);
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
        original_encoding,
        original_size_bytes: value.len() as u64,
        original_truncated: kept < value.len(),
        validation_errors: vec![Reason::new(reason.code(), None, reason.to_string())],
    }
}

/// The key to write the dead letter under: the original's, unless it is so long that the letter might not fit.
pub fn short_key(key: Option<&[u8]>) -> Option<&[u8]> {
    key.filter(|key| key.len() <= MAX_KEY_BYTES)
}

/// The value as it is written, how that is, and how many of its bytes it holds.
fn encode(value: &[u8]) -> (String, OriginalEncoding, usize) {
    let cut = &value[..value.len().min(MAX_ORIGINAL_BYTES)];
    let text = match std::str::from_utf8(cut) {
        Ok(text) => Some(text),
        // The cut went through a character: what stands before it is text.
        Err(error) if error.error_len().is_none() && cut.len() < value.len() => {
            std::str::from_utf8(&cut[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    // A control character is written with six, so that text can grow where base64 can't.
    let written = |text: &str| -> usize {
        text.bytes()
            .map(|byte| match byte {
                b'"' | b'\\' => 2,
                0..0x20 => 6,
                _ => 1,
            })
            .sum()
    };
    match text.filter(|text| written(text) <= MAX_TEXT_BYTES) {
        Some(text) => (text.to_owned(), OriginalEncoding::Utf8, text.len()),
        None => (STANDARD.encode(cut), OriginalEncoding::Base64, cut.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(key: Option<&[u8]>, value: &[u8]) -> DeadLetter {
        let original = Original {
            topic: "gpu-metrics-enriched",
            partition: 5,
            offset: 77,
            timestamp_ms: 1_770_805_800_000,
            key,
            value: Some(value),
        };
        dead_letter("anomaly-detector", "1", &original, &Unreadable::KeyNotText)
    }

    #[test]
    fn it_holds_the_original_as_text_or_as_base64() {
        let text = letter(Some(b"GPU-1"), b"[1]");
        assert_eq!(
            (text.original.as_str(), text.original_encoding),
            ("[1]", OriginalEncoding::Utf8)
        );
        assert_eq!(text.key.as_deref(), Some("GPU-1"));
        assert_eq!(text.validation_errors[0].code, "key_not_text");
        let bytes = letter(Some(b"\xfe"), b"\xff\x00");
        assert_eq!(bytes.key, None);
        assert_eq!(STANDARD.decode(bytes.original).unwrap(), b"\xff\x00");
    }

    #[test]
    fn it_fits_whatever_the_original_is() {
        for filler in [b'a', b'"', 0, 0xff] {
            let letter = letter(Some(&vec![b'k'; 2_000_000]), &vec![filler; 2_000_000]);
            assert!(letter.original_truncated && letter.key.is_none());
            assert_eq!(letter.original_size_bytes, 2_000_000);
            assert!(serde_json::to_vec(&letter).unwrap().len() < 900_000);
        }
        let cut = letter(None, format!("a{}", "é".repeat(400_000)).as_bytes());
        assert_eq!(cut.original.len(), MAX_ORIGINAL_BYTES - 1);
    }
}
