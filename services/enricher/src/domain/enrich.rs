//! The splice of an asset into a record.

use super::asset_table::KnownAsset;
use super::ingest_day::ingest_day;
use super::warranty;
use schema::{NotAnObject, splice_into};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

const UNKNOWN: &[u8] = br#""asset_status":"unknown""#;
/// The start of every name that the splice adds; a record that holds it anywhere is looked at more closely.
const OWN_NAMES: &str = "\"asset";

/// Why a record can't be enriched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unenrichable {
    /// It has no value.
    NoValue,
    /// Its value is not UTF-8, and so not JSON.
    NotUtf8,
    /// Its value is not a JSON object.
    NotAnObject,
    /// Its value has a member that the enricher is to add.
    ReservedMember(&'static str),
    /// It has no key, and is not a tick.
    NotATick,
    /// With the asset it would be longer than a record may be.
    TooLarge {
        /// Bytes of key and value.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

impl Unenrichable {
    /// The code in the dead letter and on the metric.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoValue => "no_value",
            Self::NotUtf8 => "not_utf8",
            Self::NotAnObject => "not_an_object",
            Self::ReservedMember(_) => "reserved_member",
            Self::NotATick => "not_a_tick",
            Self::TooLarge { .. } => "too_large",
        }
    }

    /// The member to blame, where one is.
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Self::ReservedMember(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Unenrichable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue => f.write_str("the record has no value"),
            Self::NotUtf8 => f.write_str("the value is not UTF-8"),
            Self::NotAnObject => f.write_str("the value is not a JSON object"),
            Self::ReservedMember(name) => {
                write!(
                    f,
                    "the record already has `{name}`, which the enricher adds"
                )
            }
            Self::NotATick => f.write_str("a record without a key must be a tick"),
            Self::TooLarge { bytes, limit } => write!(
                f,
                "enriched it would have {bytes} bytes with its key, and the limit is {limit}"
            ),
        }
    }
}

impl std::error::Error for Unenrichable {}

impl From<NotAnObject> for Unenrichable {
    fn from(_: NotAnObject) -> Self {
        Self::NotAnObject
    }
}

/// The most bytes that [`enrich_into`] adds to a record of a GPU with this asset.
pub fn added_bytes(asset: Option<&KnownAsset>) -> usize {
    // A comma, the longest status, `"}` and the record's own brace.
    const AROUND: usize = 1 + "expiring".len() + 2 + 1;
    asset.map_or(UNKNOWN.len(), |asset| asset.members.len()) + AROUND
}

/// Appends `record` with its asset to `out`. After an error what was appended is to be thrown away.
pub fn enrich_into(
    record: &[u8],
    asset: Option<&KnownAsset>,
    out: &mut Vec<u8>,
) -> Result<(), Unenrichable> {
    refuse_own_names(record)?;
    let Some(asset) = asset else {
        return Ok(splice_into(record, UNKNOWN, out)?);
    };
    splice_into(record, &asset.members, out)?;
    let today = asset.warranty_last_day.and_then(|_| ingest_day(record));
    let status = warranty::status(asset.warranty_last_day, today);
    // The rendered members end inside the status's quotes; the brace that the splice put there closes the record later.
    out.pop();
    out.extend_from_slice(warranty::wire_name(status).as_bytes());
    out.extend_from_slice(b"\"}}");
    Ok(())
}

/// Two members of one name make a record that later stages can't read. The validator passes fields that it does not
/// know, so that a foreign collector could send one of ours.
fn refuse_own_names(record: &[u8]) -> Result<(), Unenrichable> {
    let text = std::str::from_utf8(record).map_err(|_| Unenrichable::NotUtf8)?;
    if !text.contains(OWN_NAMES) {
        return Ok(());
    }
    // The name may stand deeper, or in a string.
    let members: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(text).map_err(|_| Unenrichable::NotAnObject)?;
    ["asset", "asset_status"]
        .into_iter()
        .find(|name| members.contains_key(*name))
        .map_or(Ok(()), |name| Err(Unenrichable::ReservedMember(name)))
}
