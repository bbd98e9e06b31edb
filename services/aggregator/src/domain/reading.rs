//! What the aggregator reads of an enriched record, and nothing else of it.

use super::column::{BANK_REMAP, BANK_REMAP_MEMBERS, COLUMN_OF_METRIC};
use super::row::Row;
use super::scan::scan;
use schema::{METRIC_COUNT, METRICS, Text, Timestamp};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// A reading, but for its numbers, which stand in a [`Row`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading<'a> {
    /// Event time.
    pub time: i64,
    /// Ingest time.
    pub ingest: i64,
    /// Which GPU.
    pub gpu_uuid: Text<'a>,
    /// What its windows are labelled with.
    pub labels: LabelsView<'a>,
    /// Xids by code, ascending, with their counts.
    pub xid_counts: Vec<(u32, f64)>,
}

/// Labels, borrowed from the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelsView<'a> {
    /// Model as the reading names it, else as the asset does.
    pub model: Option<Text<'a>>,
    /// Host name.
    pub hostname: Option<Text<'a>>,
    /// Rack of the asset, else of the reading.
    pub rack: Option<Text<'a>>,
    /// Cluster of the asset, else of the reading.
    pub cluster: Option<Text<'a>>,
}

/// The record is no enriched reading.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Its bytes are not UTF-8.
    #[error("not UTF-8: {0}")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// It is not JSON, lacks what is required, or has another type where it counts.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// Its event time is one whose windows can't be written.
    #[error("event time {0} is outside 1970 to 9999")]
    TimeOutOfRange(Timestamp),
}

/// Windows of times outside can't be written as RFC 3339 with four digits of year: 9999-12-29T00:00:00Z.
const END_OF_TIME: i64 = 253_402_041_600_000;

/// Reads `bytes`; the numbers go to `row`. Plain records the fast way, all others as [`read`] does.
pub fn parse<'a>(bytes: &'a [u8], row: &mut Row) -> Result<Reading<'a>, Unreadable> {
    *row = Row::EMPTY;
    match scan(bytes, row) {
        Some(reading) => in_range(reading),
        None => read(bytes, row),
    }
}

fn in_range(reading: Reading<'_>) -> Result<Reading<'_>, Unreadable> {
    if !(0..END_OF_TIME).contains(&reading.time) {
        return Err(Unreadable::TimeOutOfRange(Timestamp::from_millis(
            reading.time,
        )));
    }
    Ok(reading)
}

/// The general reader: any JSON, in any order of members, and what is wrong with it.
pub fn read<'a>(bytes: &'a [u8], row: &mut Row) -> Result<Reading<'a>, Unreadable> {
    let text = std::str::from_utf8(bytes)?;
    *row = Row::EMPTY;
    let mut json = serde_json::Deserializer::from_str(text);
    let reading = json.deserialize_map(Record { row })?;
    json.end()?;
    in_range(reading)
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Member {
    Timestamp,
    ValidationTimestamp,
    Gpu,
    Host,
    Metrics,
    Asset,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Gpu<'a> {
    #[serde(borrow)]
    gpu_uuid: Text<'a>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Host<'a> {
    #[serde(borrow)]
    hostname: Option<Text<'a>>,
    #[serde(borrow)]
    rack: Option<Text<'a>>,
    #[serde(borrow)]
    cluster: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asset<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    rack_id: Option<Text<'a>>,
    #[serde(borrow)]
    cluster_id: Option<Text<'a>>,
}

struct Record<'r> {
    row: &'r mut Row,
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = Reading<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an enriched reading")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reading<'de>, A::Error> {
        let mut time = None;
        let mut ingest = None;
        let mut gpu: Option<Gpu<'de>> = None;
        let mut host: Option<Host<'de>> = None;
        let mut asset: Option<Asset<'de>> = None;
        let mut xid_counts = None;
        while let Some(member) = map.next_key()? {
            match member {
                Member::Timestamp => time = Some(map.next_value_seed(Time)?),
                Member::ValidationTimestamp => ingest = Some(map.next_value_seed(Time)?),
                Member::Gpu => gpu = Some(map.next_value()?),
                Member::Host => host = map.next_value()?,
                Member::Asset => asset = map.next_value()?,
                Member::Metrics => {
                    let mut counts = Vec::new();
                    map.next_value_seed(Groups {
                        row: self.row,
                        xid_counts: &mut counts,
                    })?;
                    xid_counts = Some(counts);
                }
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let missing = de::Error::missing_field;
        let gpu = gpu.ok_or_else(|| missing("gpu"))?;
        let host = host.unwrap_or_default();
        let asset = asset.unwrap_or_default();
        Ok(Reading {
            time: time.ok_or_else(|| missing("timestamp"))?,
            ingest: ingest.ok_or_else(|| missing("validation_timestamp"))?,
            gpu_uuid: gpu.gpu_uuid,
            labels: LabelsView {
                model: gpu.name.or(asset.model),
                hostname: host.hostname,
                rack: asset.rack_id.or(host.rack),
                cluster: asset.cluster_id.or(host.cluster),
            },
            xid_counts: xid_counts.ok_or_else(|| missing("metrics"))?,
        })
    }
}

/// RFC 3339 text as milliseconds.
struct Time;

impl<'de> DeserializeSeed<'de> for Time {
    type Value = i64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i64, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Time {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 timestamp")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
        if let Some(millis) = super::time_text::parse(text.as_bytes()) {
            return Ok(millis);
        }
        Timestamp::parse(text)
            .map(Timestamp::as_millis)
            .map_err(E::custom)
    }
}

/// One group of [`METRICS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) from: usize,
    pub(super) to: usize,
}

const GROUP_COUNT: usize = count_groups();
/// The groups, in the schema's order.
pub(super) const GROUPS: [Group; GROUP_COUNT] = groups();

const fn is_new_group(at: usize) -> bool {
    at == 0 || !super::column::equal(METRICS[at].group, METRICS[at - 1].group)
}

const fn count_groups() -> usize {
    let mut count = 0;
    let mut at = 0;
    while at < METRIC_COUNT {
        if is_new_group(at) {
            count += 1;
        }
        at += 1;
    }
    count
}

const fn groups() -> [Group; GROUP_COUNT] {
    let mut groups = [Group {
        name: "",
        from: 0,
        to: 0,
    }; GROUP_COUNT];
    let mut next = 0;
    let mut at = 0;
    while at < METRIC_COUNT {
        if is_new_group(at) {
            groups[next].name = METRICS[at].group;
            groups[next].from = at;
            next += 1;
        }
        groups[next - 1].to = at + 1;
        at += 1;
    }
    groups
}

/// `metrics`
struct Groups<'r> {
    row: &'r mut Row,
    xid_counts: &'r mut Vec<(u32, f64)>,
}

impl<'de> DeserializeSeed<'de> for Groups<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Groups<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metrics by group")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(group) = map.next_key_seed(GroupName)? {
            match group {
                Some(group) => map.next_value_seed(Members {
                    group,
                    row: self.row,
                    xid_counts: self.xid_counts,
                })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct GroupName;

impl<'de> DeserializeSeed<'de> for GroupName {
    type Value = Option<Group>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for GroupName {
    type Value = Option<Group>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<Group>, E> {
        Ok(GROUPS.into_iter().find(|group| group.name == name))
    }
}

/// The members of one group, which may be null.
struct Members<'r> {
    group: Group,
    row: &'r mut Row,
    xid_counts: &'r mut Vec<(u32, f64)>,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the metrics of {}", self.group.name)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut cursor = self.group.from;
        while let Some(found) = map.next_key_seed(MetricName {
            group: self.group,
            cursor: &mut cursor,
        })? {
            match found {
                Found::Column(column) => {
                    let value = map.next_value_seed(Number)?;
                    self.row.set(column, value);
                }
                Found::BankRemap => map.next_value_seed(BankRemap { row: self.row })?,
                Found::XidCounts => map.next_value_seed(XidCounts {
                    counts: self.xid_counts,
                })?,
                Found::Unused => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

enum Found {
    Column(usize),
    BankRemap,
    XidCounts,
    Unused,
}

/// A name within a group. Writers keep the schema's order, so that the next name stands at the cursor or just after it.
struct MetricName<'r> {
    group: Group,
    cursor: &'r mut usize,
}

impl<'de> DeserializeSeed<'de> for MetricName<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for MetricName<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Found, E> {
        let Group { from, to, .. } = self.group;
        for at in (*self.cursor..to).chain(from..*self.cursor) {
            if METRICS[at].name == name {
                *self.cursor = at + 1;
                return Ok(COLUMN_OF_METRIC[at]
                    .map_or(Found::Unused, |column| Found::Column(column.into())));
            }
        }
        Ok(match (self.group.name, name) {
            ("memory", "bank_remap_avail") => Found::BankRemap,
            ("errors", "xid_counts") => Found::XidCounts,
            _ => Found::Unused,
        })
    }
}

/// A number or null.
struct Number;

impl<'de> DeserializeSeed<'de> for Number {
    type Value = Option<f64>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Number {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or null")
    }

    #[inline]
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value))
    }

    #[inline]
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value as f64))
    }

    #[inline]
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value as f64))
    }

    #[inline]
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// `bank_remap_avail`, or null.
struct BankRemap<'r> {
    row: &'r mut Row,
}

impl<'de> DeserializeSeed<'de> for BankRemap<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BankRemap<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("banks by the spare rows they have left")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Text<'de>>()? {
            match BANK_REMAP_MEMBERS.iter().position(|member| name == *member) {
                Some(at) => {
                    let value = map.next_value_seed(Number)?;
                    self.row.set(BANK_REMAP + at, value);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// `xid_counts`, or null.
struct XidCounts<'r> {
    counts: &'r mut Vec<(u32, f64)>,
}

impl<'de> DeserializeSeed<'de> for XidCounts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for XidCounts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counts by Xid")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.counts.clear();
        while let Some(name) = map.next_key::<Text<'de>>()? {
            let count = map.next_value_seed(Number)?;
            let (Some(code), Some(count)) = (xid_code(&name), count) else {
                continue;
            };
            match self.counts.binary_search_by_key(&code, |entry| entry.0) {
                Ok(at) => self.counts[at].1 = count,
                Err(at) => self.counts.insert(at, (code, count)),
            }
        }
        Ok(())
    }
}

/// An Xid as a name: plain decimal, at least 1.
pub(super) fn xid_code(name: &str) -> Option<u32> {
    let plain = name.bytes().all(|byte| byte.is_ascii_digit()) && !name.starts_with('0');
    plain.then(|| name.parse().ok()).flatten()
}

/// The Xid that `last_xid` shows: a whole number, at least 1.
pub fn xid_of(value: f64) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what does not come back the same is none"
    )]
    let code = value as u32;
    (code > 0 && f64::from(code).to_bits() == value.to_bits()).then_some(code)
}

#[cfg(test)]
mod tests;
