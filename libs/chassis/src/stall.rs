//! Finds partitions that a client has stopped to fetch though there is something to read.
//!
//! librdkafka 2.12 validates its position with the leader whenever the leader's epoch changes, as it does when a broker
//! is started again. When that request comes to nothing the partition stays in the state `validate-epoch-wait` for good:
//! no error, no record, and neither a seek nor a new assignment helps, since each waits for the same validation
//! (confluentinc/librdkafka#4492 shows it from outside). Only a new client reads on, and a restart brings one.
//!
//! The client's own statistics tell of the state. That a partition's records do not come would be no sign: in a backlog
//! a partition may wait for its turn for more than a minute.

use crate::Error;
use rdkafka::Statistics;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The value of `statistics.interval.ms` that this needs.
pub const STATISTICS_INTERVAL_MS: &str = "10000";
/// A validation takes milliseconds, and is tried again every 500 ms while the leader refuses it.
const PATIENCE: Duration = Duration::from_mins(1);
const WAITING: &str = "validate-epoch-wait";

/// Partitions that wait for a validation, by topic and number, since when.
type Waiting = BTreeMap<(String, i32), Instant>;

/// Watches the statistics of one client.
#[derive(Debug, Default)]
pub struct Stalls {
    waiting: Mutex<Waiting>,
}

impl Stalls {
    /// Takes note of the client's statistics: call it from [`rdkafka::ClientContext::stats`].
    pub fn note(&self, now: Instant, statistics: &Statistics) {
        let is_connected = statistics
            .brokers
            .values()
            .any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        let partitions = statistics.topics.values().flat_map(|topic| {
            let waiting = topic
                .partitions
                .values()
                .filter(|partition| partition.fetch_state == WAITING);
            waiting.map(|partition| (topic.topic.as_str(), partition.partition))
        });
        let mut waiting = self.lock();
        *waiting = follow(&waiting, now, is_connected, partitions);
    }

    /// Whether a partition has been waiting for too long.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Temporary`] when one has: a restart is the cure.
    pub fn check(&self, now: Instant) -> Result<(), Error> {
        let waiting = self.lock();
        let stalled = waiting
            .iter()
            .find(|(_, since)| now.duration_since(**since) >= PATIENCE);
        stalled.map_or(Ok(()), |((topic, partition), since)| {
            Err(Error::temporary(format!(
                "{topic} partition {partition}: the client has stopped to fetch it ({WAITING} for {} s)",
                now.duration_since(*since).as_secs()
            )))
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that wait now, since when they do. While no broker is there nobody can be validated, and time does not count.
fn follow<'a>(
    before: &Waiting,
    now: Instant,
    is_connected: bool,
    partitions: impl IntoIterator<Item = (&'a str, i32)>,
) -> Waiting {
    if !is_connected {
        return Waiting::new();
    }
    let since = |place: (String, i32)| {
        let since = before.get(&place).copied().unwrap_or(now);
        (place, since)
    };
    partitions
        .into_iter()
        .map(|(topic, partition)| since((topic.to_owned(), partition)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_waits_for_a_minute_beside_a_broker_is_stalled() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let stalls = Stalls::default();
        let see = |seconds, is_connected, waiting: &[(&'static str, i32)]| {
            let mut known = stalls.lock();
            *known = follow(&known, at(seconds), is_connected, waiting.iter().copied());
        };
        see(0, true, &[("in", 1), ("in", 2)]);
        see(10, true, &[("in", 1)]);
        assert!(stalls.check(at(59)).is_ok());
        let told = stalls.check(at(60)).map_err(|error| error.to_string());
        assert!(told.is_err_and(|text| text.contains("in partition 1")));
        see(70, true, &[("in", 2)]);
        assert!(
            stalls.check(at(129)).is_ok(),
            "one came back, the other waits anew"
        );
        see(120, false, &[("in", 2)]);
        see(130, true, &[("in", 2)]);
        assert!(stalls.check(at(189)).is_ok(), "the broker was away");
    }
}
