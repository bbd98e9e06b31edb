//! Dead letters: records that no window takes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::Record;
use schema::{DeadLetter, MAX_ORIGINAL_BYTES, OriginalEncoding, Reason, Source, Timestamp};

/// The version of the rules by which records are given up.
const RULES_VERSION: &str = "1";

/// Why a record is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Its minute is beyond correction.
    TooLate,
    /// It has no value.
    MissingValue,
    /// It is no enriched reading.
    UnreadableReading,
    /// It has no key and is no tick.
    UnreadableTick,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 4] = [
        Self::TooLate,
        Self::MissingValue,
        Self::UnreadableReading,
        Self::UnreadableTick,
    ];

    /// The code as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLate => "too_late",
            Self::MissingValue => "missing_value",
            Self::UnreadableReading => "unreadable_reading",
            Self::UnreadableTick => "unreadable_tick",
        }
    }
}

/// The most bytes of a key that a dead letter carries. A longer one is no GPU's, and is left out.
const MAX_KEY_BYTES: usize = 1_024;

/// The key that a dead letter of `record` has.
pub fn key<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    record.key.filter(|key| key.len() <= MAX_KEY_BYTES)
}

/// The dead letter of `record`, which was ingested at `ingest_ms`.
pub fn dead_letter(
    record: &Record<'_>,
    ingest_ms: i64,
    code: Code,
    field: Option<&str>,
    message: String,
) -> DeadLetter {
    let value = record.value.unwrap_or_default();
    let is_truncated = value.len() > MAX_ORIGINAL_BYTES;
    let (original, original_encoding) = original(&value[..value.len().min(MAX_ORIGINAL_BYTES)]);
    DeadLetter {
        service: crate::SERVICE_NAME.to_owned(),
        version: RULES_VERSION.to_owned(),
        timestamp: Timestamp::from_millis(ingest_ms),
        source: Source {
            topic: record.topic.to_owned(),
            partition: record.partition,
            offset: record.offset,
        },
        key: key(record)
            .and_then(|key| str::from_utf8(key).ok())
            .map(str::to_owned),
        original,
        original_encoding,
        original_size_bytes: value.len() as u64,
        original_truncated: is_truncated,
        validation_errors: vec![Reason::new(
            code.as_str(),
            field.map(str::to_owned),
            message,
        )],
    }
}

/// Text as it is, anything else as base64; so is text of which a third or more would have to be escaped, since JSON
/// could then make it longer than a record may be. A cut through a character makes it base64, too.
fn original(value: &[u8]) -> (String, OriginalEncoding) {
    let is_plain = |text: &str| {
        let escapes = text
            .bytes()
            .filter(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))
            .count();
        let controls = text.bytes().filter(|byte| *byte < 0x20).count();
        escapes + 4 * controls <= text.len() / 3 + SMALL
    };
    match str::from_utf8(value) {
        Ok(text) if is_plain(text) => (text.to_owned(), OriginalEncoding::Utf8),
        _ => (STANDARD.encode(value), OriginalEncoding::Base64),
    }
}

/// Escapes that do no harm, so that a short text stays text whatever it holds.
const SMALL: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::Headers;
    use proptest::prelude::*;

    fn letter(value: &[u8]) -> DeadLetter {
        let record = Record {
            topic: "gpu-metrics-enriched",
            partition: 3,
            offset: 17,
            timestamp_ms: 5,
            key: Some(b"GPU-1"),
            value: Some(value),
            headers: Headers::EMPTY,
        };
        dead_letter(&record, 5, Code::TooLate, None, "late".to_owned())
    }

    #[test]
    fn a_dead_letter_always_fits_into_a_record() {
        for value in [
            vec![b'"'; 2 << 20],
            vec![1; 2 << 20],
            vec![0xff; 2 << 20],
            vec![b'x'; 2 << 20],
        ] {
            let letter = letter(&value);
            assert!(letter.original_truncated);
            assert_eq!(letter.original_size_bytes, 2 << 20);
            assert!(serde_json::to_vec(&letter).unwrap().len() < 950_000);
        }
    }

    proptest! {
        #[test]
        fn the_original_comes_back(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let letter = letter(&value);
            let back = match letter.original_encoding {
                OriginalEncoding::Utf8 => letter.original.into_bytes(),
                OriginalEncoding::Base64 => STANDARD.decode(letter.original).unwrap(),
            };
            prop_assert_eq!(back, value);
        }
    }
}
