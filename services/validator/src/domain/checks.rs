//! The checks of a record whose form is as it should be, one after the other, each said as a [`Finding`].

use super::blank::is_blank;
use super::flags::Flag;
use super::gpu_id;
use super::ingest::Ingest;
use super::limits::{Limits, Range};
use super::reading::{Given, Reading};
use super::reason::{Code, Reasons, shown};
use schema::{METRICS, MetricKind, Timestamp};

/// Something to say about a record. It borrows; nothing is written out unless somebody wants to read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding<'f> {
    /// [`Code::InvalidAppendTime`]
    InvalidAppendTime,
    /// [`Code::MissingKey`]
    MissingKey,
    /// [`Code::KeyMismatch`]
    KeyMismatch {
        /// The record's key.
        key: &'f [u8],
        /// `gpu.gpu_uuid`
        gpu_uuid: &'f str,
    },
    /// [`Code::MissingGpuUuid`]
    MissingGpuUuid,
    /// [`Code::InvalidGpuUuid`]
    InvalidGpuUuid(&'f str),
    /// [`Code::MissingMetrics`]
    MissingMetrics,
    /// [`Code::MissingTimestamp`]
    MissingTimestamp,
    /// [`Code::InvalidTimestamp`]
    InvalidTimestamp(&'f str),
    /// [`Code::TimestampTooOld`], by how much event time is behind.
    TooOld(i64),
    /// [`Code::TimestampInFuture`], by how much event time is ahead.
    InFuture(i64),
    /// [`Flag::Late`]
    Late,
    /// [`Code::OutOfRange`]: the metric, its value and what can be.
    OutOfRange(usize, f64, Range),
    /// [`Code::NegativeCounter`]: the metric and its value.
    NegativeCounter(usize, f64),
    /// [`Flag::OutOfRange`]
    OutsideModel,
    /// [`Flag::Blank`], once the sentinel is taken out.
    Blank,
}

/// What is known of a record before its value is looked into.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// When it was appended.
    pub ingest: Ingest,
}

impl Envelope<'_> {
    /// The checks for which the value need not be readable.
    pub fn check<'f>(&'f self, found: &mut impl FnMut(Finding<'f>)) {
        if self.ingest.header_is_bad {
            found(Finding::InvalidAppendTime);
        }
        if self.key.is_none() {
            found(Finding::MissingKey);
        }
    }
}

/// The checks of `reading` and its `numbers`; `model` is its model's place in `limits`. Returns event time in
/// milliseconds since the epoch where it is known.
pub fn check<'f>(
    envelope: &'f Envelope<'_>,
    reading: &'f Reading<'_>,
    numbers: &[(u16, f64)],
    limits: &Limits,
    model: Option<usize>,
    found: &mut impl FnMut(Finding<'f>),
) -> Option<i64> {
    check_identity(envelope, reading, found);
    if reading.metrics == Given::Absent {
        found(Finding::MissingMetrics);
    }
    let event_ms = check_time(envelope.ingest.at_ms, reading, limits, found);
    let ranges = limits.ranges(model);
    for (index, value) in numbers {
        let index = usize::from(*index);
        let (min, max) = ranges[index];
        if !(*value >= min && *value <= max) || is_blank(*value) {
            found(judge_number(index, *value, limits.general[index]));
        }
    }
    event_ms
}

fn check_identity<'f>(
    envelope: &'f Envelope<'_>,
    reading: &'f Reading<'_>,
    found: &mut impl FnMut(Finding<'f>),
) {
    match &reading.gpu_uuid {
        Given::Absent => found(Finding::MissingGpuUuid),
        Given::Misfit => {}
        Given::Value(gpu_uuid) => {
            if gpu_uuid.is_empty()
                || gpu_uuid.len() > gpu_id::MAX_BYTES
                || gpu_uuid.bytes().any(|byte| byte.is_ascii_control())
            {
                found(Finding::InvalidGpuUuid(gpu_uuid));
            }
            if let Some(key) = envelope.key
                && key != gpu_uuid.as_bytes()
            {
                found(Finding::KeyMismatch { key, gpu_uuid });
            }
        }
    }
}

fn check_time<'f>(
    ingest_ms: i64,
    reading: &'f Reading<'_>,
    limits: &Limits,
    found: &mut impl FnMut(Finding<'f>),
) -> Option<i64> {
    let text = match &reading.timestamp {
        Given::Absent => {
            found(Finding::MissingTimestamp);
            return None;
        }
        Given::Misfit => return None,
        Given::Value(text) => text,
    };
    let Ok(event_time) = Timestamp::parse(text) else {
        found(Finding::InvalidTimestamp(text));
        return None;
    };
    let event_ms = event_time.as_millis();
    let behind_ms = ingest_ms.saturating_sub(event_ms);
    if behind_ms > limits.too_old_after_ms {
        found(Finding::TooOld(behind_ms));
    } else if behind_ms > limits.late_after_ms {
        found(Finding::Late);
    } else if behind_ms < -limits.future_tolerance_ms {
        found(Finding::InFuture(-behind_ms));
    }
    Some(event_ms)
}

fn judge_number(index: usize, value: f64, general: Range) -> Finding<'static> {
    if is_blank(value) {
        Finding::Blank
    } else if value >= general.0 && value <= general.1 {
        Finding::OutsideModel
    } else if METRICS[index].kind == MetricKind::Counter && value < 0.0 {
        Finding::NegativeCounter(index, value)
    } else {
        Finding::OutOfRange(index, value, general)
    }
}

impl Finding<'_> {
    /// The flag, when it does not make the record invalid.
    pub const fn flag(self) -> Option<Flag> {
        match self {
            Self::Late => Some(Flag::Late),
            Self::OutsideModel => Some(Flag::OutOfRange),
            Self::Blank => Some(Flag::Blank),
            _ => None,
        }
    }

    /// Adds it to `reasons`, in words; a flag is none.
    pub fn explain(self, limits: &Limits, reasons: &mut Reasons) {
        match self {
            Self::InvalidAppendTime => reasons.add(
                Code::InvalidAppendTime,
                "the header original-append-time must be milliseconds since the epoch, not after the record's own append time",
            ),
            Self::MissingKey => reasons.add(Code::MissingKey, "the record has no key"),
            Self::KeyMismatch { key, gpu_uuid } => reasons.add_field(
                Code::KeyMismatch,
                "gpu.gpu_uuid",
                format!(
                    "is \"{}\", the record's key is \"{}\"",
                    shown(gpu_uuid),
                    shown(&String::from_utf8_lossy(key))
                ),
            ),
            Self::MissingGpuUuid => {
                reasons.add_field(Code::MissingGpuUuid, "gpu.gpu_uuid", "must be there");
            }
            Self::InvalidGpuUuid(gpu_uuid) => reasons.add_field(
                Code::InvalidGpuUuid,
                "gpu.gpu_uuid",
                format!(
                    "must have 1 to {} bytes and no control character, is \"{}\"",
                    gpu_id::MAX_BYTES,
                    shown(gpu_uuid)
                ),
            ),
            Self::MissingMetrics => {
                reasons.add_field(Code::MissingMetrics, "metrics", "must be there");
            }
            Self::MissingTimestamp => {
                reasons.add_field(Code::MissingTimestamp, "timestamp", "must be there");
            }
            Self::InvalidTimestamp(text) => reasons.add_field(
                Code::InvalidTimestamp,
                "timestamp",
                format!("must be RFC 3339, is \"{}\"", shown(text)),
            ),
            Self::TooOld(behind_ms) => reasons.add_field(
                Code::TimestampTooOld,
                "timestamp",
                format!(
                    "is {behind_ms} ms behind the append time, more than {} ms",
                    limits.too_old_after_ms
                ),
            ),
            Self::InFuture(ahead_ms) => reasons.add_field(
                Code::TimestampInFuture,
                "timestamp",
                format!(
                    "is {ahead_ms} ms ahead of the append time, more than {} ms",
                    limits.future_tolerance_ms
                ),
            ),
            Self::OutOfRange(index, value, (min, max)) => reasons.add_field(
                Code::OutOfRange,
                metric_path(index),
                format!("is {value}, must be {min} to {max}"),
            ),
            Self::NegativeCounter(index, value) => reasons.add_field(
                Code::NegativeCounter,
                metric_path(index),
                format!("is {value}, a count can't be negative"),
            ),
            Self::Late | Self::OutsideModel | Self::Blank => {}
        }
    }
}

fn metric_path(index: usize) -> String {
    format!("metrics.{}.{}", METRICS[index].group, METRICS[index].name)
}
