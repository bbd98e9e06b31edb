//! A record that could not be processed, with everything needed to look into it and to replay it (`gpu-metrics-invalid`).

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// The most bytes of the original that a dead letter carries; a longer one is cut, and says so.
///
/// Base64 makes 4 bytes of 3, and the broker's default limit for a record is 1 MiB.
pub const MAX_ORIGINAL_BYTES: usize = 512 * 1024;

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The service that gave the record up.
    pub service: String,
    /// Its rules' version.
    pub version: String,
    /// The original's ingest time (broker's append time).
    pub timestamp: Timestamp,
    /// Where the original stands.
    pub source: Source,
    /// The original's key when it is UTF-8, else null.
    pub key: Option<String>,
    /// The original value; text when it is UTF-8, else base64.
    pub original: String,
    /// How `original` is written.
    pub original_encoding: OriginalEncoding,
    /// The size of the original value in bytes.
    pub original_size_bytes: u64,
    /// `original` holds only the first [`MAX_ORIGINAL_BYTES`] bytes.
    #[serde(default)]
    pub original_truncated: bool,
    /// Every reason, not just the first.
    pub validation_errors: Vec<Reason>,
}

/// A record's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// How the original's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginalEncoding {
    /// As they are.
    Utf8,
    /// Base64 (RFC 4648, with padding).
    Base64,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// A code of the writer's closed list (`timestamp_too_old`); also the label of its metric.
    pub code: String,
    /// The field, as a dotted path, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// A sentence for a person, with the value and the limit.
    pub message: String,
}

/// The most bytes of a reason's field and message. Parsers quote what they could not read, all of it, and a dead letter
/// that is too large for its topic would stop the service that writes it.
const MAX_REASON_BYTES: usize = 1_000;

impl Reason {
    /// Field and message are cut to 1,000 bytes each.
    pub fn new(code: impl Into<String>, field: Option<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            field: field.map(cut),
            message: cut(message.into()),
        }
    }
}

/// `text` with an ellipsis for what is over the limit.
fn cut(mut text: String) -> String {
    const ELLIPSIS: char = '…';
    if text.len() > MAX_REASON_BYTES {
        text.truncate(text.floor_char_boundary(MAX_REASON_BYTES - ELLIPSIS.len_utf8()));
        text.push(ELLIPSIS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        let long = "ü".repeat(400_000);
        let reason = Reason::new("unreadable", Some(long.clone()), long);
        for text in [reason.field.unwrap(), reason.message] {
            assert!(text.len() <= MAX_REASON_BYTES);
            assert!(text.len() > MAX_REASON_BYTES - 4);
            assert!(text.ends_with("ü…"));
        }
    }

    #[test]
    fn a_reason_that_fits_stays_as_it_is() {
        let fits = "x".repeat(MAX_REASON_BYTES);
        assert_eq!(Reason::new("code", None, fits.clone()).message, fits);
    }
}
