//! Dead letters: as much of the original as a record can carry, in the form that takes less room.

use crate::domain::RULES_VERSION;
use crate::domain::reason::Reasons;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schema::{DeadLetter, MAX_ORIGINAL_BYTES, OriginalEncoding, Source, Timestamp};

/// The most bytes of a key that a dead letter carries, as its key and in its value. A longer one is no GPU's, and is left
/// out.
pub const MAX_KEY_BYTES: usize = 1_024;

/// What a dead letter says of the original value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The value, or its beginning.
    pub text: String,
    /// How `text` is written.
    pub encoding: OriginalEncoding,
    /// `text` holds only the first [`MAX_ORIGINAL_BYTES`] bytes.
    pub truncated: bool,
}

/// The dead letter for the record at `source`.
pub fn dead_letter(
    source: Source,
    ingest_ms: i64,
    key: Option<&[u8]>,
    value: &[u8],
    reasons: Reasons,
) -> DeadLetter {
    let original = original(value);
    DeadLetter {
        service: crate::SERVICE_NAME.to_owned(),
        version: RULES_VERSION.to_owned(),
        timestamp: Timestamp::from_millis(ingest_ms),
        source,
        key: self::key(key)
            .and_then(|key| str::from_utf8(key).ok())
            .map(str::to_owned),
        original: original.text,
        original_encoding: original.encoding,
        original_size_bytes: value.len() as u64,
        original_truncated: original.truncated,
        validation_errors: reasons.into_wire(),
    }
}

/// The original `value` as a dead letter carries it: text when it is UTF-8, else base64.
///
/// Text full of quotes and control characters grows up to sixfold when it is put into JSON; where base64 is shorter it is
/// taken for text, too, so that a dead letter always fits into a record.
pub fn original(value: &[u8]) -> Original {
    let truncated = value.len() > MAX_ORIGINAL_BYTES;
    let cut = &value[..value.len().min(MAX_ORIGINAL_BYTES)];
    if let Some(text) = text(cut, truncated)
        && escaped_len(text) <= base64_len(text.len()).max(text.len() + SMALL)
    {
        return Original {
            text: text.to_owned(),
            encoding: OriginalEncoding::Utf8,
            truncated,
        };
    }
    Original {
        text: STANDARD.encode(cut),
        encoding: OriginalEncoding::Base64,
        truncated,
    }
}

/// `key` as a dead letter carries it.
pub fn key(key: Option<&[u8]>) -> Option<&[u8]> {
    key.filter(|key| key.len() <= MAX_KEY_BYTES)
}

/// Escapes that do no harm: a short text stays text whatever it holds.
const SMALL: usize = 4_096;

/// `bytes` as text. Where they were cut, an incomplete character at their end is left out.
fn text(bytes: &[u8], was_cut: bool) -> Option<&str> {
    match str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if was_cut && error.error_len().is_none() => {
            str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn escaped_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

const fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays_text_and_other_bytes_become_base64() {
        assert_eq!(
            original(br#"{"a":1}"#),
            Original {
                text: r#"{"a":1}"#.to_owned(),
                encoding: OriginalEncoding::Utf8,
                truncated: false
            }
        );
        assert_eq!(
            original(&[0xff, 0x00]),
            Original {
                text: "/wA=".to_owned(),
                encoding: OriginalEncoding::Base64,
                truncated: false
            }
        );
    }

    #[test]
    fn a_long_original_is_cut_at_a_character() {
        let long = "ü".repeat(MAX_ORIGINAL_BYTES);
        let cut = original(format!("x{long}").as_bytes());
        assert!(cut.truncated);
        assert_eq!(cut.encoding, OriginalEncoding::Utf8);
        assert_eq!(cut.text.len(), MAX_ORIGINAL_BYTES - 1);
    }

    #[test]
    fn a_long_text_that_escaping_would_blow_up_is_written_as_base64() {
        let quotes = "\"".repeat(100_000);
        assert_eq!(
            original(quotes.as_bytes()).encoding,
            OriginalEncoding::Base64
        );
        assert_eq!(
            original("\u{1}".repeat(100).as_bytes()).encoding,
            OriginalEncoding::Utf8
        );
    }

    proptest! {
        #[test]
        fn the_original_comes_back(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let original = original(&value);
            let back = match original.encoding {
                OriginalEncoding::Utf8 => original.text.into_bytes(),
                OriginalEncoding::Base64 => STANDARD.decode(original.text).unwrap(),
            };
            prop_assert_eq!(back, value);
        }

        #[test]
        fn the_escaped_length_is_that_of_serde_json(text in "\\PC{0,40}[\u{0}-\u{1f}\"\\\\]{0,40}") {
            prop_assert_eq!(escaped_len(&text) + 2, serde_json::to_string(&text).unwrap().len());
        }
    }
}
