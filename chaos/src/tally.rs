//! What came of the raw records, counted alike for any system that writes the `source` header: each raw record one outcome,
//! each validated one, and each minute of a GPU that was due one window.

use crate::evidence::Evidence;
use crate::ground::Ground;
use crate::lineage;
use crate::verdict::Kind;
use e2e::conservation;
use schema::Timestamp;
use schema::topic::{self, Topic};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use testbed::{OwnedRecord, Reader};

const READ_WITHIN: Duration = Duration::from_mins(5);
const MINUTE_MS: i64 = 60_000;
/// A minute is due when its partition's event time is this far past its end: grace (30 s), and readings that come late.
const DUE_AFTER_MS: i64 = 120_000;

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) raw: usize,
    /// Inputs of validator and enricher without an outcome.
    pub(crate) lost: usize,
    /// Those with more than one, and outcomes of nothing.
    pub(crate) doubled: usize,
    pub(crate) windows_due: usize,
    /// Due, and not there, though a later one of the same GPU is.
    pub(crate) windows_missing: usize,
    /// Due, and not there, nor any later one: they may still come with the next record.
    pub(crate) windows_waiting: usize,
    pub(crate) windows_doubled: usize,
}

impl Tally {
    /// Nothing is wrong.
    pub(crate) const fn is_whole(&self) -> bool {
        self.lost == 0
            && self.doubled == 0
            && self.windows_missing == 0
            && self.windows_waiting == 0
            && self.windows_doubled == 0
    }
}

/// Reads everything, a partition at a time. What is lost or doubled is kept in words.
pub(crate) fn tally(ground: &Ground, evidence: &Evidence) -> Tally {
    let reader = Reader::new(ground.bootstrap());
    let read = |topic: &Topic, partition: i32| {
        reader.read(topic.name, &BTreeMap::from([(partition, 0)]), READ_WITHIN)
    };
    let letters: Vec<OwnedRecord> = (0..topic::INVALID.partitions)
        .flat_map(|partition| read(&topic::INVALID, partition))
        .collect();
    let parsed = conservation::letters(&letters);
    let mut tally = Tally::default();
    for partition in 0..topic::RAW.partitions {
        let raw = read(&topic::RAW, partition);
        let validated = read(&topic::VALIDATED, partition);
        let enriched = read(&topic::ENRICHED, partition);
        tally.raw += raw.len();
        for (input, inputs, outputs, service) in [
            (&topic::RAW, &raw, &validated, "validator"),
            (&topic::VALIDATED, &validated, &enriched, "enricher"),
        ] {
            let given_up = letters.iter().zip(&parsed).filter(|(_, letter)| {
                letter.service == service && letter.source.partition == partition
            });
            let outcomes: Vec<&OwnedRecord> = outputs
                .iter()
                .filter(|record| is_outcome(service, record))
                .chain(given_up.map(|(record, _)| record))
                .collect();
            for violation in lineage::trace(input.name, partition, inputs, &outcomes) {
                evidence.keep_line(
                    "violations.txt",
                    &format!("{:?}: {}", violation.kind, violation.what),
                );
                match violation.kind {
                    Kind::Lost => tally.lost += 1,
                    _ => tally.doubled += 1,
                }
            }
        }
        let mut windows = read(&topic::ONE_MINUTE, partition % topic::ONE_MINUTE.partitions);
        windows.retain(|record| {
            record.key.as_deref().is_some_and(|key| {
                schema::partition_for(key, topic::ENRICHED.partitions) == partition
            })
        });
        count_windows(&enriched, &windows, &mut tally);
    }
    tally
}

/// Is an output what came of one input? What the suite or a clock has put between them is not, and neither is a tick that
/// the validator writes beside a dead letter, though it names the same source (rule 5 of `docs/spec/lineage.md`).
fn is_outcome(service: &str, output: &OwnedRecord) -> bool {
    let is_own_tick = service == "validator" && output.key.is_none();
    output.header(lineage::SOURCE_HEADER).is_some() && !is_own_tick
}

#[derive(Deserialize)]
struct Reading {
    timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Window {
    window_start: Timestamp,
    #[serde(default)]
    revision: u32,
}

fn count_windows(readings: &[OwnedRecord], windows: &[OwnedRecord], tally: &mut Tally) {
    let mut minutes: BTreeSet<(&[u8], i64)> = BTreeSet::new();
    let mut reached = i64::MIN;
    for record in readings {
        let Some((gpu, reading)) = parse::<Reading>(record) else {
            continue;
        };
        let at_ms = reading.timestamp.as_millis();
        // A GPU whose clock is fast must not make the others' minutes due.
        reached = reached.max(at_ms.min(appended_ms(record)));
        minutes.insert((gpu, at_ms.div_euclid(MINUTE_MS)));
    }
    let mut seen: BTreeSet<(&[u8], i64, u32)> = BTreeSet::new();
    let mut came: BTreeSet<(&[u8], i64)> = BTreeSet::new();
    let mut latest: BTreeMap<&[u8], i64> = BTreeMap::new();
    for record in windows {
        let Some((gpu, window)) = parse::<Window>(record) else {
            continue;
        };
        let minute = window.window_start.as_millis().div_euclid(MINUTE_MS);
        if !seen.insert((gpu, minute, window.revision)) {
            tally.windows_doubled += 1;
        }
        came.insert((gpu, minute));
        let last = latest.entry(gpu).or_insert(minute);
        *last = minute.max(*last);
    }
    let due = minutes
        .iter()
        .filter(|(_, minute)| (minute + 1) * MINUTE_MS + DUE_AFTER_MS <= reached);
    for minute in due {
        tally.windows_due += 1;
        if came.contains(minute) {
            continue;
        }
        let (gpu, number) = minute;
        if latest.get(gpu).is_some_and(|last| last > number) {
            tally.windows_missing += 1;
        } else {
            tally.windows_waiting += 1;
        }
    }
}

/// When the record was appended, in the time of the simulated fleet; see `schema::topic::ORIGINAL_APPEND_TIME`.
fn appended_ms(record: &OwnedRecord) -> i64 {
    record
        .header(topic::ORIGINAL_APPEND_TIME)
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .unwrap_or(record.timestamp)
}

fn parse<T: DeserializeOwned>(record: &OwnedRecord) -> Option<(&[u8], T)> {
    let key = record.key.as_deref()?;
    let value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    Some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &str) -> OwnedRecord {
        OwnedRecord {
            partition: 0,
            offset: 0,
            key: Some(b"GPU-1".to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
            timestamp: i64::MAX,
        }
    }

    #[test]
    fn a_tick_is_the_outcome_of_a_tick_and_of_nothing_else() {
        let sourced = |key: Option<&[u8]>| OwnedRecord {
            key: key.map(<[u8]>::to_vec),
            headers: vec![(
                lineage::SOURCE_HEADER.to_owned(),
                Some(b"gpu-metrics-raw/10/3140".to_vec()),
            )],
            ..record("{}")
        };
        let (reading, tick) = (sourced(Some(b"GPU-1")), sourced(None));
        assert!(is_outcome("validator", &reading));
        assert!(!is_outcome("validator", &tick), "beside a dead letter");
        assert!(is_outcome("enricher", &tick), "of a validated tick");
        assert!(!is_outcome("enricher", &record("{}")), "put there by hand");
    }

    #[test]
    fn a_minute_that_is_due_has_one_window() {
        let readings = ["10:00:05", "10:00:15", "10:01:05", "10:05:00"]
            .map(|at| record(&format!(r#"{{"timestamp":"2026-02-11T{at}.000Z"}}"#)));
        let window = |at: &str, revision: u32| {
            record(&format!(
                r#"{{"window_start":"2026-02-11T{at}.000Z","revision":{revision}}}"#
            ))
        };
        let count = |windows: &[OwnedRecord]| {
            let mut tally = Tally::default();
            count_windows(&readings, windows, &mut tally);
            [
                tally.windows_due,
                tally.windows_missing,
                tally.windows_waiting,
                tally.windows_doubled,
            ]
        };
        let (first, second) = (window("10:00:00", 0), window("10:01:00", 0));
        assert_eq!(count(&[first.clone(), second.clone()]), [2, 0, 0, 0]);
        assert_eq!(count(std::slice::from_ref(&first)), [2, 0, 1, 0]);
        assert_eq!(count(std::slice::from_ref(&second)), [2, 1, 0, 0]);
        assert_eq!(count(&[first.clone(), first, second]), [2, 0, 0, 1]);
    }
}
