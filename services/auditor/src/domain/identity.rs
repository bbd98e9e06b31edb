//! What makes an output of a folding stage the same as another, and a memory of those seen.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes that are searched for the end of what identifies a record.
const HEAD: usize = 1_024;
/// Identities in a generation at most, some 100 MB; beyond it what is oldest is forgotten early.
const MOST_PER_GENERATION: usize = 4_000_000;

/// Which part of a value identifies a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identifies {
    /// A window: GPU, size, start, end and revision, which come before its count.
    Window,
    /// An alert: all up to its fingerprint, which holds its id, state, severity, times and count.
    Alert,
    /// Value and source: two scores of one GPU at one stream time are possible.
    Everything,
    /// Source alone: a stage gives an input up once.
    Source,
}

/// A number for what identifies a record; two of one identity are one record too many.
pub fn identity(
    part: Identifies,
    topic: usize,
    source: (i32, i64),
    key: &[u8],
    value: &[u8],
) -> u64 {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    match part {
        Identifies::Window => head(value, b",\"count\":").hash(&mut hasher),
        Identifies::Alert => head(value, b",\"fingerprint\":").hash(&mut hasher),
        Identifies::Everything => (source, key, value).hash(&mut hasher),
        Identifies::Source => source.hash(&mut hasher),
    }
    hasher.finish()
}

/// What comes before `end`; all of it where `end` is not to be found near the beginning.
fn head<'a>(value: &'a [u8], end: &[u8]) -> &'a [u8] {
    let searched = value.get(..HEAD).unwrap_or(value);
    let at = searched.windows(end.len()).position(|window| window == end);
    at.map_or(value, |at| &value[..at])
}

/// The identities of a span of time, by the records' own append time.
#[derive(Clone, Debug)]
pub struct Memory {
    horizon_ms: i64,
    /// Start of the newer generation.
    since: i64,
    newer: BTreeSet<u64>,
    older: BTreeSet<u64>,
}

impl Memory {
    /// Remembers for `horizon_ms` at least, and for twice as long at most.
    pub const fn new(horizon_ms: i64) -> Self {
        Self {
            horizon_ms,
            since: i64::MIN,
            newer: BTreeSet::new(),
            older: BTreeSet::new(),
        }
    }

    /// Whether it is new, at `now_ms`.
    pub fn insert(&mut self, identity: u64, now_ms: i64) -> bool {
        if self.since == i64::MIN {
            self.since = now_ms;
        }
        if now_ms.saturating_sub(self.since) >= self.horizon_ms
            || self.newer.len() >= MOST_PER_GENERATION
        {
            self.older = std::mem::take(&mut self.newer);
            self.since = now_ms;
        }
        !self.older.contains(&identity) && self.newer.insert(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: &str = r#"{"gpu_uuid":"GPU-1","window":"1m","window_start":"2026-02-11T10:30:00.000Z","window_end":"2026-02-11T10:31:00.000Z","revision":0,"count":3,"metrics":{}}"#;

    #[test]
    fn a_window_is_its_gpu_times_and_revision_whatever_is_in_it() {
        let id = |value: &str| identity(Identifies::Window, 4, (0, 7), b"k", value.as_bytes());
        assert_eq!(
            id(WINDOW),
            id(&WINDOW.replace("\"count\":3", "\"count\":4"))
        );
        assert_ne!(
            id(WINDOW),
            id(&WINDOW.replace("\"revision\":0", "\"revision\":1"))
        );
        assert_ne!(id(WINDOW), id(&WINDOW.replace("10:31", "10:45")));
        let other_topic = identity(Identifies::Window, 5, (0, 7), b"k", WINDOW.as_bytes());
        assert_ne!(id(WINDOW), other_topic);
    }

    #[test]
    fn a_value_of_another_layout_counts_whole() {
        let id = |value: &[u8]| identity(Identifies::Alert, 4, (0, 7), b"k", value);
        assert_ne!(id(b"{\"a\":1}"), id(b"{\"a\":2}"));
        assert_eq!(id(b"{\"a\":1}"), id(b"{\"a\":1}"));
    }

    #[test]
    fn it_is_remembered_for_the_horizon_and_then_forgotten() {
        let mut memory = Memory::new(1_000);
        assert!(memory.insert(1, 5_000));
        assert!(!memory.insert(1, 5_999));
        assert!(memory.insert(2, 6_000));
        assert!(!memory.insert(1, 6_500));
        assert!(memory.insert(3, 7_000));
        assert!(memory.insert(1, 7_001));
    }
}
