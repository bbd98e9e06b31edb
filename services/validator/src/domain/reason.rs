//! Why a record is invalid: a closed list of codes, each with a sentence for a person.

use schema::Reason;
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// A reason to give a record up; also the label `reason` of `validator_records_invalid_total`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name on the wire and in metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// The record has no value.
    MissingValue = "missing_value",
    /// The value is longer than `limits.record_max_bytes`; it is not looked into.
    RecordTooLarge = "record_too_large",
    /// The value is not UTF-8.
    NotUtf8 = "not_utf8",
    /// The value is not JSON.
    MalformedJson = "malformed_json",
    /// Arrays and objects are nested deeper than readers of JSON go.
    TooDeep = "too_deep",
    /// The value is JSON, but not an object.
    NotAnObject = "not_an_object",
    /// The record has no key.
    MissingKey = "missing_key",
    /// The key is not `gpu.gpu_uuid`.
    KeyMismatch = "key_mismatch",
    /// `gpu.gpu_uuid` is absent, null or blank.
    MissingGpuUuid = "missing_gpu_uuid",
    /// `gpu.gpu_uuid` is empty, too long or holds a control character.
    InvalidGpuUuid = "invalid_gpu_uuid",
    /// `metrics` is absent or null.
    MissingMetrics = "missing_metrics",
    /// `timestamp` is absent or null.
    MissingTimestamp = "missing_timestamp",
    /// `timestamp` is not an RFC 3339 point in time.
    InvalidTimestamp = "invalid_timestamp",
    /// Event time is further behind ingest time than `limits.too_old_after_ms`.
    TimestampTooOld = "timestamp_too_old",
    /// Event time is further ahead of ingest time than `limits.future_tolerance_ms`.
    TimestampInFuture = "timestamp_in_future",
    /// A known field has a value of another type.
    WrongType = "wrong_type",
    /// A known field is there twice.
    DuplicateField = "duplicate_field",
    /// A number is too large for a double.
    NotFinite = "not_finite",
    /// A value that can't be: outside `limits.ranges`.
    OutOfRange = "out_of_range",
    /// A counter is below zero.
    NegativeCounter = "negative_counter",
    /// The reading was seen before.
    Duplicate = "duplicate",
    /// The header `original-append-time` can't be used.
    InvalidAppendTime = "invalid_append_time",
}

/// The reasons against one record, as they are found.
#[derive(Debug, Default)]
pub struct Reasons(Vec<(Code, Reason)>);

impl Reasons {
    /// Adds a reason that no field is to blame for.
    pub fn add(&mut self, code: Code, message: impl Into<String>) {
        self.push(code, None, message.into());
    }

    /// Adds a reason with the dotted path of the field to blame.
    pub fn add_field(&mut self, code: Code, field: impl fmt::Display, message: impl Into<String>) {
        self.push(code, Some(field.to_string()), message.into());
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The codes found, each once.
    pub fn codes(&self) -> Vec<Code> {
        let mut codes: Vec<_> = self.0.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    /// The reasons as they go on the wire.
    pub fn into_wire(self) -> Vec<Reason> {
        self.0.into_iter().map(|(_, reason)| reason).collect()
    }

    fn push(&mut self, code: Code, field: Option<String>, message: String) {
        self.0
            .push((code, Reason::new(code.as_str(), field, message)));
    }
}

/// The most characters of a value that a message shows.
const SHOWN_CHARACTERS: usize = 64;

/// `text` as a message shows it: cut where it is long.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn the_index_of_a_code_is_its_place_in_the_list() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, index);
        }
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        assert_eq!(shown("short"), "short");
        let long = "ü".repeat(200);
        assert_eq!(shown(&long), format!("{}…", "ü".repeat(64)));
    }
}
