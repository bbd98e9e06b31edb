//! Time written into the log, so that windows close on idle partitions too.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// A record without a reading: stream time of its partition has reached `validation_timestamp`.
///
/// The validator writes one (null key) for each raw partition that it has read to the end and that stays idle; the
/// enricher passes it on. Because it is a record, a replay closes the same windows at the same offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Always [`Tick::EVENT_TYPE`].
    pub event_type: TickType,
    /// Stream time: every record ingested before it has been read.
    pub validation_timestamp: Timestamp,
}

/// The `event_type` of a [`Tick`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TickType {
    /// `tick`
    Tick,
}

impl Tick {
    /// The `event_type` on the wire.
    pub const EVENT_TYPE: &'static str = "tick";

    /// A tick for `stream_time`.
    pub const fn at(stream_time: Timestamp) -> Self {
        Self {
            event_type: TickType::Tick,
            validation_timestamp: stream_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_reads_back() {
        let tick = Tick::at(Timestamp::from_millis(1_770_805_800_000));
        let json = serde_json::to_string(&tick).unwrap();
        assert_eq!(
            json,
            r#"{"event_type":"tick","validation_timestamp":"2026-02-11T10:30:00.000Z"}"#
        );
        assert_eq!(serde_json::from_str::<Tick>(&json).unwrap(), tick);
        assert!(serde_json::from_str::<Tick>(&json.replace("tick\"", "metric\"")).is_err());
    }
}
