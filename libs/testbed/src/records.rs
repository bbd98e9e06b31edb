use crate::topic::partitions;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(30);
const LARGEST_RECORD: &str = "33554432";

/// A record read from a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Where it lies.
    pub partition: i32,
    /// Where in the partition.
    pub offset: i64,
    /// None is a null key.
    pub key: Option<Vec<u8>>,
    /// None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// In their order; a name may come twice.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since the epoch; the broker's append time on topics with log-append time.
    pub timestamp: i64,
}

impl OwnedRecord {
    /// The value as text; empty for a tombstone.
    ///
    /// # Panics
    /// If it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).expect("a value in UTF-8")
    }

    /// The last header of that name, as Kafka's own clients choose; None if there is none or its value is null.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().rev().find(|(header, _)| header == name);
        found.and_then(|(_, value)| value.as_deref())
    }
}

/// A record to produce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    partition: Option<i32>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    timestamp: Option<i64>,
}

impl NewRecord {
    /// A record with a key and a value; librdkafka chooses the partition by murmur2, as Java's clients do.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            key: Some(key.into()),
            value: Some(value.into()),
            ..Self::default()
        }
    }

    /// A record with a null key.
    pub fn keyless(value: impl Into<Vec<u8>>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::default()
        }
    }

    /// A record with a null value.
    pub fn tombstone(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::default()
        }
    }

    /// Puts it into that partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Milliseconds since the epoch; the broker overwrites it on topics with log-append time.
    #[must_use]
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }
}

/// Produces records in their order, waits until the broker has them, and returns their partitions and offsets.
pub fn produce(
    bootstrap: &str,
    topic: &str,
    records: impl IntoIterator<Item = NewRecord>,
) -> Vec<(i32, i64)> {
    let producer: ThreadedProducer<Positions> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "1")
        .set("message.max.bytes", LARGEST_RECORD)
        .set(
            "message.timeout.ms",
            PRODUCE_TIMEOUT.as_millis().to_string(),
        )
        .create_with_context(Positions::default())
        .expect("a Kafka producer");
    let mut sent = 0;
    for record in records {
        send(&producer, topic, &record, sent);
        sent += 1;
    }
    producer
        .flush(PRODUCE_TIMEOUT)
        .unwrap_or_else(|error| panic!("topic {topic}: {error}"));
    let mut done = std::mem::take(
        &mut *producer
            .context()
            .done
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    assert_eq!(done.len(), sent, "topic {topic}: delivery reports");
    done.sort_unstable_by_key(|(index, _)| *index);
    let position = |(index, result): Delivered| {
        result.unwrap_or_else(|error| panic!("topic {topic}: record {index}: {error}"))
    };
    done.into_iter().map(position).collect()
}

/// Reads a topic from its beginning as a `read_committed` consumer: at least `count` records, and then to the end of every
/// partition, so that one too many shows. In order of partition and offset.
///
/// # Panics
/// If they are not all there within `deadline`.
pub fn consume_committed(
    bootstrap: &str,
    topic: &str,
    count: usize,
    deadline: Duration,
) -> Vec<OwnedRecord> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    read_committed(&config, topic, count, deadline)
}

/// [`consume_committed`] for a client that needs more settings than the bootstrap servers, such as a password.
///
/// # Panics
/// If the records are not all there within `deadline`.
pub fn read_committed(
    client: &ClientConfig,
    topic: &str,
    count: usize,
    deadline: Duration,
) -> Vec<OwnedRecord> {
    let consumer = reader(client);
    let all = partitions(&consumer, topic);
    assert!(all > 0, "there is no topic {topic}");
    let from: BTreeMap<i32, i64> = (0..all).map(|partition| (partition, 0)).collect();
    read(&consumer, topic, &from, count, deadline)
}

/// Reads some partitions of a topic, each from an offset (or from the oldest record after it), to their ends as a
/// `read_committed` consumer. In order of partition and offset. For topics that are too large to be held whole.
///
/// # Panics
/// If they are not read within `deadline`.
pub fn read_committed_from(
    bootstrap: &str,
    topic: &str,
    from: &BTreeMap<i32, i64>,
    deadline: Duration,
) -> Vec<OwnedRecord> {
    Reader::new(bootstrap).read(topic, from, deadline)
}

/// Reads as [`read_committed_from`], many times: a client takes a second to start.
pub struct Reader {
    consumer: BaseConsumer,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// A client that has read nothing yet.
    pub fn new(bootstrap: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        Self {
            consumer: reader(&config),
        }
    }

    /// See [`read_committed_from`].
    ///
    /// # Panics
    /// If the partitions are not read within `deadline`.
    pub fn read(
        &self,
        topic: &str,
        from: &BTreeMap<i32, i64>,
        deadline: Duration,
    ) -> Vec<OwnedRecord> {
        let records = read(&self.consumer, topic, from, 0, deadline);
        self.consumer.unassign().expect("an assignment");
        records
    }
}

fn reader(client: &ClientConfig) -> BaseConsumer {
    client
        .clone()
        .set("group.id", "testbed-reads-without-committing")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("receive.message.max.bytes", "100000000")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a Kafka consumer")
}

fn read(
    consumer: &BaseConsumer,
    topic: &str,
    from: &BTreeMap<i32, i64>,
    count: usize,
    deadline: Duration,
) -> Vec<OwnedRecord> {
    let started = Instant::now();
    let mut assignment = TopicPartitionList::new();
    for (partition, offset) in from {
        let offset = match offset {
            0 => Offset::Beginning,
            offset => Offset::Offset(*offset),
        };
        assignment
            .add_partition_offset(topic, *partition, offset)
            .expect("an assignment");
    }
    consumer.assign(&assignment).expect("an assignment");

    let mut records = Vec::new();
    let mut unread: BTreeSet<i32> = from.keys().copied().collect();
    while records.len() < count || !unread.is_empty() {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                unread.insert(message.partition());
                records.push(owned(&message));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            // librdkafka goes on by itself; a broker that restarts is part of many tests. It also asks for the group's
            // coordinator, and may be refused; nothing here needs one.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::GroupAuthorizationFailed,
            )))
            | None => {}
            Some(Err(error)) => panic!("topic {topic}: {error}"),
        }
        assert!(
            started.elapsed() < deadline,
            "topic {topic}: {} of {count} records within {deadline:?}, partitions not read to their end: {unread:?}",
            records.len()
        );
    }
    records.sort_unstable_by_key(|record: &OwnedRecord| (record.partition, record.offset));
    records
}

fn send(producer: &ThreadedProducer<Positions>, topic: &str, record: &NewRecord, index: usize) {
    let mut base = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, index);
    base.partition = record.partition;
    base.key = record.key.as_deref();
    base.payload = record.value.as_deref();
    base.timestamp = record.timestamp;
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        base = base.headers(headers);
    }
    loop {
        match producer.send(base) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                base = back;
                std::thread::sleep(POLL);
            }
            Err((error, _)) => panic!("topic {topic}: record {index}: {error}"),
        }
    }
}

fn owned(message: &BorrowedMessage<'_>) -> OwnedRecord {
    let header =
        |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
    OwnedRecord {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message
            .headers()
            .map_or_else(Vec::new, |headers| headers.iter().map(header).collect()),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
    }
}

/// A record's index, and where it lies or why not.
type Delivered = (usize, Result<(i32, i64), KafkaError>);

/// Collects the delivery reports.
#[derive(Default)]
struct Positions {
    done: Mutex<Vec<Delivered>>,
}

impl ClientContext for Positions {}

impl ProducerContext for Positions {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.done
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((index, outcome));
    }
}
