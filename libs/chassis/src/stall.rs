//! Finds partitions that a client has stopped to fetch though there is something to read.
//!
//! Two faults of librdkafka 2.12 do this, without an error, when a leader changes. Only a new client reads on then, and a
//! restart brings one.
//!
//! - It validates its position with the leader whenever the leader's epoch changes, as it does when a broker is started
//!   again. When that request comes to nothing the partition stays in the state `validate-epoch-wait` for good: neither a
//!   seek nor a new assignment helps, since each waits for the same validation (confluentinc/librdkafka#4492 shows it from
//!   outside).
//! - When a leader changes and changes back at once, it may go on to ask the broker in between, which leads nothing any
//!   more (confluentinc/librdkafka#5593, #5401).
//!
//! The client's own statistics tell of both. That a partition's records do not come would be no sign: in a backlog
//! a partition may wait for its turn for more than a minute.

use crate::Error;
use rdkafka::Statistics;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The value of `statistics.interval.ms` that this needs.
pub const STATISTICS_INTERVAL_MS: &str = "10000";
/// Either takes milliseconds; a validation is tried again every 500 ms while the leader refuses it.
const PATIENCE: Duration = Duration::from_mins(1);
const WAITING: &str = "validate-epoch-wait";

/// Partitions that are not fetched, by topic and number, since when.
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
        let mut waiting = self.lock();
        *waiting = follow(&waiting, now, is_connected, unfetched(statistics));
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
                "{topic} partition {partition}: the client has stopped to fetch it, {} s ago",
                now.duration_since(*since).as_secs()
            )))
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Partitions that wait for a validation, or that the client asks another broker for than the one that it means to ask.
fn unfetched(statistics: &Statistics) -> impl Iterator<Item = (&str, i32)> {
    let validated = statistics.topics.values().flat_map(|topic| {
        let waiting = topic
            .partitions
            .values()
            .filter(|partition| partition.fetch_state == WAITING);
        waiting.map(|partition| (topic.topic.as_str(), partition.partition))
    });
    let brokers = statistics.brokers.values();
    let misplaced = brokers
        .filter(|broker| broker.nodeid >= 0)
        .flat_map(|broker| {
            let asked = broker.toppars.values();
            asked.filter(|at| {
                let topic = statistics.topics.get(&at.topic);
                let meant = topic.and_then(|topic| topic.partitions.get(&at.partition));
                meant.is_some_and(|meant| meant.broker >= 0 && meant.broker != broker.nodeid)
            })
        })
        .map(|at| (at.topic.as_str(), at.partition));
    validated.chain(misplaced)
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
    use rdkafka::statistics::{Broker, Partition, Topic, TopicPartition};

    #[test]
    fn a_partition_is_not_fetched_while_it_is_validated_or_with_a_broker_that_does_not_lead_it() {
        let broker = |nodeid: i32, partitions: &[i32]| {
            let at = |partition: &i32| TopicPartition {
                topic: "in".to_owned(),
                partition: *partition,
            };
            let broker = Broker {
                nodeid,
                toppars: partitions
                    .iter()
                    .map(|partition| (format!("in-{partition}"), at(partition)))
                    .collect(),
                ..Broker::default()
            };
            (format!("broker {nodeid}"), broker)
        };
        let partition = |partition: i32, broker: i32, state: &str| {
            let told = Partition {
                partition,
                broker,
                fetch_state: state.to_owned(),
                ..Partition::default()
            };
            (partition, told)
        };
        let topic = Topic {
            topic: "in".to_owned(),
            partitions: [
                partition(0, 1, "active"),
                partition(1, 2, WAITING),
                partition(2, 1, "active"),
                partition(3, -1, "none"),
            ]
            .into(),
            ..Topic::default()
        };
        let statistics = Statistics {
            brokers: [broker(1, &[0]), broker(2, &[1, 2]), broker(-1, &[3])].into(),
            topics: [("in".to_owned(), topic)].into(),
            ..Statistics::default()
        };
        let found: Vec<_> = unfetched(&statistics).collect();
        assert_eq!(found, [("in", 1), ("in", 2)]);
    }

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
