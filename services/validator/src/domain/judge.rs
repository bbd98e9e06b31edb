//! The verdict on a record.
//!
//! Nearly all records are sound, and those take the short way: one pass of the fast reader, the checks, a look into the
//! ledger. Whatever is unusual takes the long way, which starts again and names everything.

use super::audit::{Audit, audit};
use super::checks::{Envelope, Finding, check};
use super::flags::{Flag, Flags};
use super::history::{Repeat, Sequence, Stamp, run_id};
use super::ingest::Ingest;
use super::layout::Object;
use super::ledger::Ledger;
use super::limits::Limits;
use super::nesting::{self, MAX_DEPTH};
use super::reading::{Given, Numbers, Reading};
use super::reason::{Code, Reasons};
use super::rewrite;
use super::scan::scan;
use rustc_hash::FxHashMap;
use std::borrow::Cow;

/// A raw record.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// When it was appended.
    pub ingest: Ingest,
}

/// What becomes of a record.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It goes on.
    Valid {
        /// `gpu.gpu_uuid`, which is the record's key.
        gpu_uuid: Cow<'a, str>,
        /// Its value: the very bytes, or rewritten where they held blank sentinels or reserved names.
        value: Cow<'a, [u8]>,
        /// What is odd about it.
        flags: Flags,
    },
    /// It becomes a dead letter.
    Invalid(Reasons),
}

/// The most model names whose place among the models is remembered. A fleet has a handful.
const MAX_NAMES: usize = 1_024;
/// The longest of them, in bytes. `nvml.h` allows 96.
const MAX_NAME_BYTES: usize = 128;

/// Judges records. It holds the rules and scratch memory; what it answers depends on the rules, the ledger and the record.
#[derive(Debug)]
pub struct Judge {
    limits: Limits,
    layout: Object,
    numbers: Numbers,
    names: FxHashMap<Box<str>, Option<usize>>,
}

impl Judge {
    /// By `limits`.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            layout: Object::record(),
            numbers: Numbers::new(),
            names: FxHashMap::default(),
        }
    }

    /// The verdict on `raw`. A valid record is noted in `ledger`.
    pub fn judge<'a>(&mut self, raw: &Raw<'a>, ledger: &mut Ledger) -> Verdict<'a> {
        self.short_way(raw, ledger)
            .unwrap_or_else(|| self.long_way(raw, ledger))
    }

    fn short_way<'a>(&mut self, raw: &Raw<'a>, ledger: &mut Ledger) -> Option<Verdict<'a>> {
        let value = raw.value?;
        if value.len() > self.limits.record_max_bytes || nesting::is_too_deep(value) {
            return None;
        }
        let text = str::from_utf8(value).ok()?;
        let reading = scan(&self.layout, text, &mut self.numbers)?;
        let model = self.model(&reading);
        let envelope = raw.envelope();
        let (mut flags, mut sound) = (Flags::NONE, true);
        let mut found = |finding: Finding<'_>| match finding.flag() {
            // A blank must be taken out, which is for the long way.
            None | Some(Flag::Blank) => sound = false,
            Some(flag) => flags.add(flag),
        };
        envelope.check(&mut found);
        let event_ms = check(
            &envelope,
            &reading,
            &self.numbers,
            &self.limits,
            model,
            &mut found,
        )?;
        let stamp = stamp(&reading, event_ms);
        let Given::Value(gpu_uuid) = reading.gpu_uuid else {
            return None;
        };
        if !sound {
            return None;
        }
        flags.add_all(ledger.admit(&gpu_uuid, stamp, raw.ingest.at_ms).ok()?);
        Some(Verdict::Valid {
            gpu_uuid,
            value: Cow::Borrowed(value),
            flags,
        })
    }

    fn long_way<'a>(&mut self, raw: &Raw<'a>, ledger: &mut Ledger) -> Verdict<'a> {
        let mut reasons = Reasons::default();
        let envelope = raw.envelope();
        envelope.check(&mut |finding: Finding<'_>| finding.explain(&self.limits, &mut reasons));
        let Some(text) = self.text(raw.value, &mut reasons) else {
            return Verdict::Invalid(reasons);
        };
        let Some(Audit {
            reading,
            edits,
            blank,
        }) = audit(&self.layout, text, &mut self.numbers, &mut reasons)
        else {
            return Verdict::Invalid(reasons);
        };
        let mut flags = Flags::NONE;
        if blank {
            flags.add(Flag::Blank);
        }
        let model = self.model(&reading);
        let event_ms = check(
            &envelope,
            &reading,
            &self.numbers,
            &self.limits,
            model,
            &mut |finding: Finding<'_>| match finding.flag() {
                Some(flag) => flags.add(flag),
                None => finding.explain(&self.limits, &mut reasons),
            },
        );
        let (Some(event_ms), Given::Value(gpu_uuid)) = (event_ms, &reading.gpu_uuid) else {
            return Verdict::Invalid(reasons);
        };
        let stamp = stamp(&reading, event_ms);
        if !reasons.is_empty() {
            if let Some(repeat) = ledger.repeat(gpu_uuid, stamp) {
                explain_repeat(repeat, &reading, &mut reasons);
            }
            return Verdict::Invalid(reasons);
        }
        match ledger.admit(gpu_uuid, stamp, raw.ingest.at_ms) {
            Ok(seen) => flags.add_all(seen),
            Err(repeat) => {
                explain_repeat(repeat, &reading, &mut reasons);
                return Verdict::Invalid(reasons);
            }
        }
        let value = if edits.is_empty() {
            Cow::Borrowed(text.as_bytes())
        } else {
            Cow::Owned(rewrite::apply(text, edits))
        };
        let Given::Value(gpu_uuid) = reading.gpu_uuid else {
            return Verdict::Invalid(reasons);
        };
        Verdict::Valid {
            gpu_uuid,
            value,
            flags,
        }
    }

    /// The value as text, if it can be looked into.
    fn text<'a>(&self, value: Option<&'a [u8]>, reasons: &mut Reasons) -> Option<&'a str> {
        let Some(value) = value else {
            reasons.add(Code::MissingValue, "the record has no value");
            return None;
        };
        let max = self.limits.record_max_bytes;
        if value.len() > max {
            reasons.add(
                Code::RecordTooLarge,
                format!("has {} bytes, more than {max}", value.len()),
            );
            return None;
        }
        if nesting::is_too_deep(value) {
            reasons.add(
                Code::TooDeep,
                format!("arrays and objects are nested more than {MAX_DEPTH} deep"),
            );
        }
        match str::from_utf8(value) {
            Ok(text) => Some(text),
            Err(error) => {
                reasons.add(
                    Code::NotUtf8,
                    format!("not UTF-8 from byte {} on", error.valid_up_to()),
                );
                None
            }
        }
    }

    fn model(&mut self, reading: &Reading<'_>) -> Option<usize> {
        let name = reading.model_name.as_deref()?;
        if let Some(model) = self.names.get(name) {
            return *model;
        }
        let model = self.limits.model(name);
        if self.names.len() < MAX_NAMES && name.len() <= MAX_NAME_BYTES {
            self.names.insert(name.into(), model);
        }
        model
    }
}

impl<'a> Raw<'a> {
    const fn envelope(&self) -> Envelope<'a> {
        Envelope {
            key: self.key,
            ingest: self.ingest,
        }
    }
}

fn stamp(reading: &Reading<'_>, event_ms: i64) -> Stamp {
    Stamp {
        event_ms,
        sequence: reading.sequence.map(|number| Sequence {
            run: run_id(reading.boot_id.as_deref()),
            number,
        }),
    }
}

fn explain_repeat(repeat: Repeat, reading: &Reading<'_>, reasons: &mut Reasons) {
    match repeat {
        Repeat::Sequence(number) => reasons.add_field(
            Code::Duplicate,
            "collector.sequence",
            format!("{number} was seen before"),
        ),
        Repeat::BehindWindow { number, highest } => reasons.add_field(
            Code::Duplicate,
            "collector.sequence",
            format!(
                "{number} is too far behind {highest}, the highest seen, to be told from a repeat"
            ),
        ),
        Repeat::EventTime => reasons.add_field(
            Code::Duplicate,
            "timestamp",
            format!(
                "{} was seen before",
                reading.timestamp.value().map_or("", |text| text.as_ref())
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
