//! What a record of the sink's topics must have become: a row, found by its key.

use super::pipeline::{ALERTS, ENRICHED, FIFTEEN_MINUTES, HEALTH_SCORES, ONE_MINUTE, TopicId};
use schema::Timestamp;
use serde::Deserialize;

/// Where a row is to be found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// A GPU's UUID, or an alert's id.
    pub id: String,
    /// Event time, or a window's start.
    pub time: Timestamp,
    /// An alert's state; empty for all others.
    pub state: String,
}

/// The topics that the sink stores, and their tables.
pub const TABLES: [(TopicId, &str); 5] = [
    (ENRICHED, "gpu_metrics"),
    (ONE_MINUTE, "gpu_metrics_1min"),
    (FIFTEEN_MINUTES, "gpu_metrics_15min"),
    (ALERTS, "alerts"),
    (HEALTH_SCORES, "health_scores"),
];

#[derive(Deserialize)]
struct Fields {
    alert_id: Option<String>,
    state: Option<String>,
    timestamp: Option<Timestamp>,
    window_start: Option<Timestamp>,
}

/// The key of the row that a record makes; none if it makes none, or can't be read (the sink then gives it up, too).
pub fn row_key(topic: TopicId, key: Option<&[u8]>, value: &[u8]) -> Option<RowKey> {
    let gpu = std::str::from_utf8(key?).ok()?;
    let fields: Fields = serde_json::from_slice(value).ok()?;
    let (id, time, state) = match topic {
        ALERTS => (fields.alert_id?, fields.timestamp?, fields.state?),
        ONE_MINUTE | FIFTEEN_MINUTES => (gpu.to_owned(), fields.window_start?, String::new()),
        _ => (gpu.to_owned(), fields.timestamp?, String::new()),
    };
    Some(RowKey { id, time, state })
}

/// The query that tells of the rows with keys `$1` (ids), `$2` (milliseconds) and `$3` (states): how many there are of each, in
/// their order.
pub fn query(topic: TopicId, table: &str) -> String {
    let rows = match topic {
        ALERTS => format!(
            "SELECT count(*) FROM {table} AS t WHERE t.alert_id = k.id AND t.time = to_timestamp(k.ms / 1000.0) AND t.state = k.state"
        ),
        ONE_MINUTE | FIFTEEN_MINUTES => format!(
            "SELECT count(*) FROM {table} AS t JOIN gpus AS g USING (gpu_id) WHERE g.gpu_uuid = k.id AND t.window_start = to_timestamp(k.ms / 1000.0)"
        ),
        _ => format!(
            "SELECT count(*) FROM {table} AS t JOIN gpus AS g USING (gpu_id) WHERE g.gpu_uuid = k.id AND t.time = to_timestamp(k.ms / 1000.0)"
        ),
    };
    format!(
        "SELECT ({rows}) FROM ROWS FROM (unnest($1::text[]), unnest($2::int8[]), unnest($3::text[])) \
         WITH ORDINALITY AS k(id, ms, state, number) ORDER BY k.number"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_by_the_key_of_its_row() {
        let reading = br#"{"timestamp":"2026-02-11T10:30:00.000Z","state":"x","metrics":{}}"#;
        let found = row_key(ENRICHED, Some(b"GPU-1"), reading).unwrap();
        assert_eq!((found.id.as_str(), found.state.as_str()), ("GPU-1", ""));
        assert_eq!(found.time.as_millis(), 1_770_805_800_000);
        let alert = br#"{"alert_id":"a","state":"firing","timestamp":"2026-02-11T10:30:00.000Z"}"#;
        let found = row_key(ALERTS, Some(b"GPU-1"), alert).unwrap();
        assert_eq!((found.id.as_str(), found.state.as_str()), ("a", "firing"));
        assert_eq!(row_key(ONE_MINUTE, Some(b"GPU-1"), reading), None);
        assert_eq!(row_key(ENRICHED, None, reading), None);
        assert_eq!(row_key(ENRICHED, Some(b"GPU-1"), b"no json"), None);
    }
}
