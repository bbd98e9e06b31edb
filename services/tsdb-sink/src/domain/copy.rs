//! `PostgreSQL`'s binary COPY format, written straight into a buffer.
//!
//! Layout and type representations: the manual's pages "COPY, Binary Format" and the `*_send` functions of the types.

use schema::Timestamp;
use std::fmt;

/// What a stream begins with: signature, flags, length of the (absent) extension.
pub const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a field count of -1.
pub const TRAILER: [u8; 2] = [0xff, 0xff];

const NULL: i32 = -1;
const INT4_OID: u32 = 23;
const TEXT_OID: u32 = 25;
/// The only version of jsonb's binary form.
const JSONB_VERSION: u8 = 1;
/// `PostgreSQL` counts from 2000-01-01.
const EPOCH_MS: i64 = 946_684_800_000;
/// 4713-11-24 BC, the first instant of a `timestamptz` (`MIN_TIMESTAMP`).
const MIN_MS: i64 = EPOCH_MS - 211_813_488_000_000;

/// A value that its column can't hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstorable {
    /// The field, as the record names it.
    pub field: &'static str,
    /// Why not.
    pub why: Why,
}

/// Why a column can't hold a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Text with U+0000, which neither `text` nor `jsonb` holds.
    Nul,
    /// A time before what `timestamptz` reaches.
    Time,
    /// An integer larger than the column's type.
    Integer,
}

impl fmt::Display for Unstorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Nul => "holds U+0000, which PostgreSQL can't store",
            Why::Time => "is before 4713 BC, which PostgreSQL can't store",
            Why::Integer => "is larger than its column",
        };
        write!(f, "{} {why}", self.field)
    }
}

/// Appends the fields of one row, in the order of the statement's columns.
#[derive(Debug)]
pub struct Fields<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Fields<'a> {
    /// Begins a row of `count` fields.
    pub fn begin(bytes: &'a mut Vec<u8>, count: i16) -> Self {
        bytes.extend_from_slice(&count.to_be_bytes());
        Self { bytes }
    }

    /// Unknown.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(&NULL.to_be_bytes());
    }

    /// `float8`
    pub fn float8(&mut self, value: Option<f64>) {
        self.fixed(value.map(f64::to_be_bytes));
    }

    /// `int4`
    pub fn int4(&mut self, value: Option<i32>) {
        self.fixed(value.map(i32::to_be_bytes));
    }

    /// `int4`, to be [set](set_int4) at the place that is returned.
    pub fn int4_later(&mut self) -> usize {
        self.int4(Some(0));
        self.bytes.len() - size_of::<i32>()
    }

    /// `int4` of a number that may be too large.
    pub fn int4_of(&mut self, field: &'static str, value: Option<u32>) -> Result<(), Unstorable> {
        let value = value
            .map(i32::try_from)
            .transpose()
            .map_err(|_| Unstorable {
                field,
                why: Why::Integer,
            })?;
        self.int4(value);
        Ok(())
    }

    /// `int8` of a number that may be too large.
    pub fn int8_of(&mut self, field: &'static str, value: Option<u64>) -> Result<(), Unstorable> {
        let value = value
            .map(i64::try_from)
            .transpose()
            .map_err(|_| Unstorable {
                field,
                why: Why::Integer,
            })?;
        self.fixed(value.map(i64::to_be_bytes));
        Ok(())
    }

    /// `boolean`
    pub fn boolean(&mut self, value: Option<bool>) {
        self.fixed(value.map(|value| [u8::from(value)]));
    }

    /// `timestamptz`
    pub fn time(
        &mut self,
        field: &'static str,
        value: Option<Timestamp>,
    ) -> Result<(), Unstorable> {
        let Some(value) = value else {
            self.null();
            return Ok(());
        };
        let millis = value.as_millis();
        // A `Timestamp` ends with the year 9999, far below the type's end.
        let micros = (millis >= MIN_MS)
            .then(|| (millis - EPOCH_MS).checked_mul(1_000))
            .flatten()
            .ok_or(Unstorable {
                field,
                why: Why::Time,
            })?;
        self.fixed(Some(micros.to_be_bytes()));
        Ok(())
    }

    /// `text`
    pub fn text(&mut self, field: &'static str, value: Option<&str>) -> Result<(), Unstorable> {
        match value {
            Some(value) => {
                check_text(field, value)?;
                self.variable(value.as_bytes());
            }
            None => self.null(),
        }
        Ok(())
    }

    /// `text[]`
    pub fn text_array<T: AsRef<str>>(
        &mut self,
        field: &'static str,
        values: &[T],
    ) -> Result<(), Unstorable> {
        for value in values {
            check_text(field, value.as_ref())?;
        }
        self.array(TEXT_OID, values, |bytes, value| {
            let value = value.as_ref().as_bytes();
            bytes.extend_from_slice(&length(value.len()));
            bytes.extend_from_slice(value);
        });
        Ok(())
    }

    /// `int4[]` of numbers that may be too large.
    pub fn int4_array_of(&mut self, field: &'static str, values: &[u32]) -> Result<(), Unstorable> {
        if values.iter().any(|value| i32::try_from(*value).is_err()) {
            return Err(Unstorable {
                field,
                why: Why::Integer,
            });
        }
        self.array(INT4_OID, values, |bytes, value| {
            bytes.extend_from_slice(&length(size_of::<i32>()));
            bytes.extend_from_slice(&value.to_be_bytes());
        });
        Ok(())
    }

    /// `jsonb` of well-formed JSON text.
    pub fn jsonb(&mut self, field: &'static str, json: Option<&str>) -> Result<(), Unstorable> {
        let Some(json) = json else {
            self.null();
            return Ok(());
        };
        if holds_nul_escape(json) {
            return Err(Unstorable {
                field,
                why: Why::Nul,
            });
        }
        self.bytes.extend_from_slice(&length(json.len() + 1));
        self.bytes.push(JSONB_VERSION);
        self.bytes.extend_from_slice(json.as_bytes());
        Ok(())
    }

    fn fixed<const N: usize>(&mut self, value: Option<[u8; N]>) {
        match value {
            Some(value) => self.variable(&value),
            None => self.null(),
        }
    }

    fn variable(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(&length(value.len()));
        self.bytes.extend_from_slice(value);
    }

    fn array<T>(&mut self, oid: u32, values: &[T], mut element: impl FnMut(&mut Vec<u8>, &T)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let dimensions = i32::from(!values.is_empty());
        self.bytes.extend_from_slice(&dimensions.to_be_bytes());
        // No element is null.
        self.bytes.extend_from_slice(&0_i32.to_be_bytes());
        self.bytes.extend_from_slice(&oid.to_be_bytes());
        if !values.is_empty() {
            self.bytes.extend_from_slice(&length(values.len()));
            // The lower bound that SQL's own arrays have.
            self.bytes.extend_from_slice(&1_i32.to_be_bytes());
            for value in values {
                element(self.bytes, value);
            }
        }
        let size = length(self.bytes.len() - start - 4);
        self.bytes[start..start + 4].copy_from_slice(&size);
    }
}

/// Sets a field that [`Fields::int4_later`] left open.
pub fn set_int4(bytes: &mut [u8], at: usize, value: i32) {
    bytes[at..at + size_of::<i32>()].copy_from_slice(&value.to_be_bytes());
}

/// A field comes from a record, and Kafka's records are far below 2 GiB.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_be_bytes()
}

fn check_text(field: &'static str, text: &str) -> Result<(), Unstorable> {
    if text.as_bytes().contains(&0) {
        return Err(Unstorable {
            field,
            why: Why::Nul,
        });
    }
    Ok(())
}

/// JSON text never holds the character itself, only its escape.
fn holds_nul_escape(json: &str) -> bool {
    if !json.contains("\\u0000") {
        return false;
    }
    let mut rest = json.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        // What a backslash escapes may be a backslash.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(write: impl FnOnce(&mut Fields<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut Fields::begin(&mut bytes, 1));
        bytes
    }

    #[test]
    fn fields_are_written_as_the_manual_says() {
        assert_eq!(
            row(|f| {
                f.null();
            }),
            [0, 1, 255, 255, 255, 255]
        );
        assert_eq!(
            row(|f| f.float8(Some(1.0))),
            [0, 1, 0, 0, 0, 8, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            row(|f| f.text("t", Some("ab")).unwrap()),
            [0, 1, 0, 0, 0, 2, b'a', b'b']
        );
        assert_eq!(
            row(|f| f.jsonb("j", Some("{}")).unwrap()),
            [0, 1, 0, 0, 0, 3, 1, b'{', b'}']
        );
        // 2000-01-01T00:00:00.001Z is 1000 microseconds.
        let time = Timestamp::from_millis(EPOCH_MS + 1);
        assert_eq!(
            row(|f| f.time("t", Some(time)).unwrap()),
            [0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 3, 232]
        );
        let empty: [&str; 0] = [];
        assert_eq!(
            row(|f| f.text_array("a", &empty).unwrap()),
            [0, 1, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25]
        );
    }

    #[test]
    fn a_field_left_open_is_set_in_its_place() {
        let mut bytes = Vec::new();
        let at = Fields::begin(&mut bytes, 1).int4_later();
        set_int4(&mut bytes, at, 258);
        assert_eq!(bytes, [0, 1, 0, 0, 0, 4, 0, 0, 1, 2]);
    }

    #[test]
    fn what_postgresql_cannot_hold_is_refused() {
        let mut bytes = Vec::new();
        let mut fields = Fields::begin(&mut bytes, 1);
        let nul = |field| Unstorable {
            field,
            why: Why::Nul,
        };
        assert_eq!(fields.text("t", Some("a\0b")), Err(nul("t")));
        assert_eq!(fields.text_array("t", &["a", "\0"]), Err(nul("t")));
        assert_eq!(fields.jsonb("j", Some(r#"{"a":"\u0000"}"#)), Err(nul("j")));
        assert_eq!(
            fields.jsonb("j", Some(r#"{"a":"\\\u0000"}"#)),
            Err(nul("j"))
        );
        assert_eq!(fields.jsonb("j", Some(r#"{"a":"\\u0000"}"#)), Ok(()));
        let early = Timestamp::from_millis(MIN_MS - 1);
        assert_eq!(fields.time("t", Some(early)).unwrap_err().why, Why::Time);
        assert!(
            fields
                .time("t", Some(Timestamp::from_millis(MIN_MS)))
                .is_ok()
        );
        assert!(fields.int4_of("n", Some(1 << 31)).is_err());
        assert!(fields.int8_of("n", Some(1 << 63)).is_err());
        assert!(fields.int4_array_of("n", &[1, u32::MAX]).is_err());
    }
}
