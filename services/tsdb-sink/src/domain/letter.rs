//! A record that can't be stored, as a dead letter.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schema::{DeadLetter, MAX_ORIGINAL_BYTES, OriginalEncoding, Reason, Source, Timestamp};
use std::fmt;

/// The most bytes of a key that a dead letter repeats; a GPU UUID has 40.
pub const MAX_KEY_BYTES: usize = 1_024;
/// The most bytes of an explanation.
const MAX_MESSAGE_BYTES: usize = 1_024;

/// The codes of [`Unstorable`], which are also the label of a metric.
pub const CODES: [&str; 7] = [
    "no_value",
    "not_a_tick",
    "not_readable",
    "wrong_window",
    "bad_gpu_uuid",
    "not_storable",
    "refused_by_database",
];

/// Why a record can't be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstorable {
    /// One of [`CODES`].
    pub code: &'static str,
    /// The field to blame.
    pub field: Option<String>,
    /// A sentence.
    pub message: String,
}

impl Unstorable {
    /// A reason that blames no field.
    pub fn new(code: &'static str, message: impl fmt::Display) -> Self {
        Self {
            code,
            field: None,
            message: cut(&message.to_string()).to_owned(),
        }
    }

    /// A reason that blames `field`.
    pub fn of(code: &'static str, field: &str, message: impl fmt::Display) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..Self::new(code, message)
        }
    }

    /// The database refused the record's row with an error of that SQLSTATE.
    pub fn refused(sqlstate: &str, message: &str) -> Self {
        Self::new(
            "refused_by_database",
            format_args!("SQLSTATE {sqlstate}: {message}"),
        )
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

impl Original<'_> {
    /// The dead letter, given up by `service` in `version` because of `reason`.
    pub fn letter(&self, service: &str, version: &str, reason: &Unstorable) -> DeadLetter {
        let value = self.value.unwrap_or_default();
        let (text, encoding, kept) = encode(value);
        DeadLetter {
            service: service.to_owned(),
            version: version.to_owned(),
            timestamp: Timestamp::from_millis(self.timestamp_ms),
            source: Source {
                topic: self.topic.to_owned(),
                partition: self.partition,
                offset: self.offset,
            },
            key: self
                .short_key()
                .and_then(|key| str::from_utf8(key).ok())
                .map(str::to_owned),
            original: text,
            original_encoding: encoding,
            original_size_bytes: value.len() as u64,
            original_truncated: kept < value.len(),
            validation_errors: vec![Reason::new(
                reason.code,
                reason.field.clone(),
                reason.message.clone(),
            )],
        }
    }

    /// The key to write the dead letter under: the original's, unless it is so long that the letter might not fit.
    pub fn short_key(&self) -> Option<&[u8]> {
        self.key.filter(|key| key.len() <= MAX_KEY_BYTES)
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_MESSAGE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The value as text, how it is written, and how many of its bytes that is.
fn encode(value: &[u8]) -> (String, OriginalEncoding, usize) {
    let part = &value[..value.len().min(MAX_ORIGINAL_BYTES)];
    let valid = match str::from_utf8(part) {
        Ok(text) => Some(text),
        // A character that the cut went through is left out; any other error means that it is not text.
        Err(error) if error.error_len().is_none() && part.len() < value.len() => {
            str::from_utf8(&part[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    // Escaped, text can take six times its size; base64 takes four thirds, and so always fits.
    match valid.filter(|text| escaped_length(text) <= MAX_ORIGINAL_BYTES.div_ceil(3) * 4) {
        Some(text) => (text.to_owned(), OriginalEncoding::Utf8, text.len()),
        None => (STANDARD.encode(part), OriginalEncoding::Base64, part.len()),
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
            topic: "gpu-alerts",
            partition: 5,
            offset: 77,
            timestamp_ms: 1_770_805_800_000,
            key,
            value,
        };
        let reason = Unstorable::of("not_storable", "message", "message holds U+0000");
        original.letter("tsdb-sink", "1", &reason)
    }

    #[test]
    fn a_dead_letter_tells_what_it_was_and_why_it_is_one() {
        let letter = letter(Some(b"GPU-1"), Some(b"[1]"));
        assert_eq!(
            serde_json::to_string(&letter).unwrap(),
            r#"{"service":"tsdb-sink","version":"1","timestamp":"2026-02-11T10:30:00.000Z","source":{"topic":"gpu-alerts","partition":5,"offset":77},"key":"GPU-1","original":"[1]","original_encoding":"utf8","original_size_bytes":3,"original_truncated":false,"validation_errors":[{"code":"not_storable","field":"message","message":"message holds U+0000"}]}"#
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
        let odd = format!("a{}", "é".repeat(400_000));
        let letter = letter(None, Some(odd.as_bytes()));
        assert_eq!(letter.original.len(), MAX_ORIGINAL_BYTES - 1);
        let reason = Unstorable::refused("22P05", &"é".repeat(5_000));
        assert!(reason.message.len() <= MAX_MESSAGE_BYTES);
        assert!(CODES.contains(&reason.code));
    }
}
