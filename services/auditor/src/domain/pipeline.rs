//! The stages and the topics between them, as the auditor sees them.

use super::identity::Identifies;
use super::ledger::Kind;

/// A topic's place among those that are audited: an index below [`TOPICS`].
pub type TopicId = usize;

/// Telemetry as it came.
pub const RAW: TopicId = 0;
/// Valid telemetry.
pub const VALIDATED: TopicId = 1;
/// Telemetry with assets.
pub const ENRICHED: TopicId = 2;
/// Dead letters of every stage.
pub const INVALID: TopicId = 3;
/// One-minute windows.
pub const ONE_MINUTE: TopicId = 4;
/// Fifteen-minute windows.
pub const FIFTEEN_MINUTES: TopicId = 5;
/// Alerts.
pub const ALERTS: TopicId = 6;
/// Critical alerts once more.
pub const CRITICAL: TopicId = 7;
/// Health scores.
pub const HEALTH_SCORES: TopicId = 8;
/// How many.
pub const TOPICS: usize = 9;

/// A stage on the exactly-once loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its service.
    pub name: &'static str,
    /// What it reads.
    pub input: TopicId,
    /// What it writes.
    pub outputs: &'static [TopicId],
    /// What it owes.
    pub kind: Kind,
}

/// Every stage.
pub const STAGES: [Stage; 5] = [
    Stage {
        name: "validator",
        input: RAW,
        outputs: &[VALIDATED, INVALID],
        kind: Kind::PassThrough,
    },
    Stage {
        name: "enricher",
        input: VALIDATED,
        outputs: &[ENRICHED, INVALID],
        kind: Kind::PassThrough,
    },
    Stage {
        name: "aggregator",
        input: ENRICHED,
        outputs: &[ONE_MINUTE, FIFTEEN_MINUTES, INVALID],
        kind: Kind::Folding,
    },
    Stage {
        name: "anomaly-detector",
        input: ENRICHED,
        outputs: &[ALERTS, CRITICAL, INVALID],
        kind: Kind::Folding,
    },
    Stage {
        name: "health-scorer",
        input: ENRICHED,
        outputs: &[HEALTH_SCORES, INVALID],
        kind: Kind::Folding,
    },
];

/// The stage that wrote a record to `topic`, by what it read. Several fold enriched readings: their dead letters begin
/// with the service's name.
pub fn writer(topic: TopicId, input: TopicId, value: &[u8]) -> Option<usize> {
    let mut writers = STAGES
        .iter()
        .enumerate()
        .filter(|(_, stage)| stage.input == input && stage.outputs.contains(&topic));
    let (first, stage) = writers.next()?;
    if topic != INVALID || stage.kind == Kind::PassThrough {
        return Some(first);
    }
    let name = value.strip_prefix(b"{\"service\":\"")?;
    STAGES.iter().position(|stage| {
        stage.input == input
            && name
                .strip_prefix(stage.name.as_bytes())
                .is_some_and(|rest| rest.starts_with(b"\""))
    })
}

/// What identifies a record of a folding stage.
pub const fn identifies(topic: TopicId) -> Identifies {
    match topic {
        ONE_MINUTE | FIFTEEN_MINUTES => Identifies::Window,
        ALERTS | CRITICAL => Identifies::Alert,
        INVALID => Identifies::Source,
        _ => Identifies::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_writers_by_what_the_writer_reads() {
        assert_eq!(writer(VALIDATED, RAW, b""), Some(0));
        assert_eq!(writer(INVALID, RAW, b""), Some(0));
        assert_eq!(writer(INVALID, VALIDATED, b""), Some(1));
        assert_eq!(writer(CRITICAL, ENRICHED, b""), Some(3));
        assert_eq!(writer(VALIDATED, VALIDATED, b""), None);
        let letter = br#"{"service":"health-scorer","version":"1"}"#;
        assert_eq!(writer(INVALID, ENRICHED, letter), Some(4));
        assert_eq!(writer(INVALID, ENRICHED, b"{}"), None);
        assert_eq!(
            writer(INVALID, ENRICHED, br#"{"service":"tsdb-sink"}"#),
            None
        );
    }
}
