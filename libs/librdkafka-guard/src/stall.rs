//! Finds clients that have no broker left, and partitions that a client has stopped to fetch though there is something to
//! read.
//!
//! Three faults of librdkafka 2.12 do this when a broker comes back. A new client helps then, and a restart brings one.
//!
//! - A broker that has just come back may answer with a list of brokers that has nobody in it, itself included. The
//!   client then drops all that it knows, and asks nobody any more (confluentinc/librdkafka#5301). The crate's root has
//!   the cure; this is for builds without it. It says that all brokers are down, as in an outage; that it knows none tells
//!   the two apart.
//!
//! - It validates its position with the leader whenever the leader's epoch changes, as it does when a broker is started
//!   again. When that request comes to nothing the partition stays in the state `validate-epoch-wait` for good: neither a
//!   seek nor a new assignment helps, since each waits for the same validation (confluentinc/librdkafka#4492 shows it from
//!   outside).
//! - When a leader changes and changes back at once, it may go on to ask the broker in between, which leads nothing any
//!   more (confluentinc/librdkafka#5593, #5401).
//!
//! The client's own statistics tell of all three. That a partition's records do not come would be no sign: in a backlog
//! a partition may wait for its turn for more than a minute.

use rdkafka::Statistics;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The value of `statistics.interval.ms` that this needs.
pub const STATISTICS_INTERVAL_MS: &str = "5000";
/// Either takes milliseconds with a leader that is there; a validation is tried again every 500 ms while a leader that
/// does not know yet that it is one refuses it.
const PATIENCE: Duration = Duration::from_secs(20);
const WAITING: &str = "validate-epoch-wait";
/// One look may fall between two lists of brokers; the next comes 5 s later.
const ALONE_PATIENCE: Duration = Duration::from_secs(5);
/// A client that has not been heard of for several intervals is closed.
const CLOSED_AFTER: Duration = Duration::from_secs(35);

/// Partitions that are not fetched, by topic and number, since when.
type Waiting = BTreeMap<(String, i32), Instant>;

#[derive(Debug, Default)]
struct Client {
    waiting: Waiting,
    /// It knows no broker, since when.
    alone: Option<Instant>,
    /// When it was last heard of.
    noted: Option<Instant>,
}

/// A client that only a restart helps, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled(String);

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Stalled {}

/// Watches the statistics of some clients.
#[derive(Debug, Default)]
pub struct Stalls {
    clients: Mutex<BTreeMap<String, Client>>,
}

impl Stalls {
    /// Takes note of the client's statistics: call it from [`rdkafka::ClientContext::stats`].
    pub fn note(&self, now: Instant, statistics: &Statistics) {
        let mut clients = self.lock();
        let client = clients.entry(statistics.name.clone()).or_default();
        client.noted = Some(now);
        client.waiting = follow(&client.waiting, now, unfetched(statistics));
        client.alone = if knows_a_broker(statistics) {
            None
        } else {
            client.alone.or(Some(now))
        };
    }

    /// Whether a client has been without a broker, or a partition waiting, for too long.
    ///
    /// # Errors
    /// When one has: a restart is the cure.
    pub fn check(&self, now: Instant) -> Result<(), Stalled> {
        let clients = self.lock();
        let heard = clients.iter().filter(|(_, client)| {
            client
                .noted
                .is_some_and(|noted| now.duration_since(noted) <= CLOSED_AFTER)
        });
        for (name, client) in heard {
            if let Some(since) = client.alone
                && client.noted > Some(since)
                && now.duration_since(since) >= ALONE_PATIENCE
            {
                return Err(Stalled(format!(
                    "{name}: the client knows no broker any more, and asks nobody"
                )));
            }
            let stalled = client
                .waiting
                .iter()
                .find(|(_, since)| now.duration_since(**since) >= PATIENCE);
            if let Some(((topic, partition), since)) = stalled {
                return Err(Stalled(format!(
                    "{topic} partition {partition}: the client has stopped to fetch it, {} s ago",
                    now.duration_since(*since).as_secs()
                )));
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the cluster's, or one of `bootstrap.servers`: they are there in an outage, too.
fn knows_a_broker(statistics: &Statistics) -> bool {
    statistics
        .brokers
        .values()
        .any(|broker| ["learned", "configured"].contains(&broker.source.as_str()))
}

/// Partitions that wait for a validation, or that the client asks another broker for than the one that it means to ask.
/// Only those whose leader is there: while it is away there is nobody to ask, and a restart would not help.
fn unfetched(statistics: &Statistics) -> impl Iterator<Item = (&str, i32)> {
    let is_there = |leader: i32| {
        let mut brokers = statistics.brokers.values();
        leader >= 0 && brokers.any(|broker| broker.nodeid == leader && broker.state == "UP")
    };
    let told = |topic: &str, partition: i32| {
        let partitions = &statistics.topics.get(topic)?.partitions;
        partitions.get(&partition)
    };
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
        .flat_map(move |broker| {
            let asked = broker.toppars.values();
            asked.filter(move |at| {
                told(&at.topic, at.partition)
                    .is_some_and(|meant| meant.broker >= 0 && meant.broker != broker.nodeid)
            })
        })
        .map(|at| (at.topic.as_str(), at.partition));
    validated
        .chain(misplaced)
        .filter(move |(topic, partition)| {
            told(topic, *partition).is_some_and(|partition| is_there(partition.leader))
        })
}

/// Those that wait now, since when they do.
fn follow<'a>(
    before: &Waiting,
    now: Instant,
    partitions: impl IntoIterator<Item = (&'a str, i32)>,
) -> Waiting {
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
                state: if nodeid == 3 { "DOWN" } else { "UP" }.to_owned(),
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
                leader: broker,
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
                partition(4, 3, WAITING),
            ]
            .into(),
            ..Topic::default()
        };
        let statistics = Statistics {
            brokers: [
                broker(1, &[0]),
                broker(2, &[1, 2]),
                broker(3, &[4]),
                broker(-1, &[3]),
            ]
            .into(),
            topics: [("in".to_owned(), topic)].into(),
            ..Statistics::default()
        };
        let found: Vec<_> = unfetched(&statistics).collect();
        assert_eq!(found, [("in", 1), ("in", 2)]);
    }

    #[test]
    fn a_client_without_any_broker_is_told_from_one_in_an_outage() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let broker = |source: &str| {
            let broker = Broker {
                source: source.to_owned(),
                state: "TRY_CONNECT".to_owned(),
                ..Broker::default()
            };
            (source.to_owned(), broker)
        };
        let client = |name: &str, sources: &[&str]| Statistics {
            name: name.to_owned(),
            brokers: sources.iter().map(|source| broker(source)).collect(),
            ..Statistics::default()
        };
        let stalls = Stalls::default();
        for seconds in [0, 90] {
            let one = client("one", &["learned", "internal", "logical"]);
            stalls.note(at(seconds), &one);
            stalls.note(at(seconds), &client("two", &["configured", "internal"]));
        }
        assert!(stalls.check(at(100)).is_ok(), "an outage");
        stalls.note(at(100), &client("two", &["internal", "logical"]));
        assert!(stalls.check(at(108)).is_ok(), "perhaps between two lists");
        stalls.note(at(110), &client("one", &["learned"]));
        stalls.note(at(110), &client("two", &["internal", "logical"]));
        let told = stalls.check(at(110)).map_err(|error| error.to_string());
        assert!(told.is_err_and(|text| text.contains("two")));
        assert!(stalls.check(at(200)).is_ok(), "closed");
        stalls.note(at(201), &client("two", &["learned"]));
        assert!(stalls.check(at(210)).is_ok());
    }

    #[test]
    fn a_partition_that_waits_for_too_long_is_stalled() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let stalls = Stalls::default();
        let see = |seconds, waiting: &[(&'static str, i32)]| {
            let mut clients = stalls.lock();
            let client = clients.entry(String::new()).or_default();
            client.noted = Some(at(seconds));
            let waiting = waiting.iter().copied();
            client.waiting = follow(&client.waiting, at(seconds), waiting);
        };
        see(0, &[("in", 1), ("in", 2)]);
        see(5, &[("in", 1)]);
        see(15, &[("in", 1)]);
        assert!(stalls.check(at(19)).is_ok());
        let told = stalls.check(at(20)).map_err(|error| error.to_string());
        assert!(told.is_err_and(|text| text.contains("in partition 1")));
        see(25, &[("in", 2)]);
        assert!(
            stalls.check(at(44)).is_ok(),
            "one came back, the other waits anew"
        );
        assert!(stalls.check(at(45)).is_err());
    }
}
