//! The audit's state in Kafka: a compacted topic with one key, whose last record is where a restart goes on.

use crate::SERVICE;
use crate::config::Config;
use crate::domain::snapshot::Snapshot;
use crate::kafka::{self, Signs};
use chassis::Error;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The key of a snapshot.
const KEY: &str = "snapshot";
/// Its partition: there is one writer.
const PARTITION: i32 = 0;
/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for the last snapshot to be read.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for an acknowledgement.
const DELIVERY_TIMEOUT_MS: &str = "10000";

/// Counts what was refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries {
    signs: Signs,
    failed: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        self.signs.error(error, reason);
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.signs.log(level, facility, message);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes snapshots.
pub(crate) struct Journal {
    topic: String,
    producer: BaseProducer<Deliveries>,
    failed: Arc<AtomicU64>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// Why there is no last snapshot to be had.
#[derive(Debug)]
pub(crate) enum NoSnapshot {
    /// The broker does not answer: ask again later.
    Wait(String),
    /// Waiting does not help.
    Stop(Error),
}

impl From<KafkaError> for NoSnapshot {
    fn from(error: KafkaError) -> Self {
        match kafka::check(&error) {
            Ok(()) => Self::Wait(error.to_string()),
            Err(stop) => Self::Stop(stop),
        }
    }
}

/// The last snapshot; none before the first.
pub(crate) fn load(config: &Config, signs: &Signs) -> Result<Option<Snapshot>, NoSnapshot> {
    let topic = &config.topics.changelog;
    let group = config.kafka.group(SERVICE.name);
    let mut client = kafka::consumer(config, "restore", group, true);
    client
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer<Signs> =
        BaseConsumer::from_config_and_context(&client, signs.clone())
            .map_err(|error| NoSnapshot::Stop(Error::config(format!("kafka: {error}"))))?;
    consumer.fetch_watermarks(topic, PARTITION, QUERY_TIMEOUT)?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, PARTITION, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let (started, mut last) = (Instant::now(), None);
    loop {
        match consumer.poll(QUERY_TIMEOUT) {
            Some(Ok(record)) if record.key() == Some(KEY.as_bytes()) => {
                last = record.payload().map(<[u8]>::to_vec);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => kafka::check(&error).map_err(NoSnapshot::Stop)?,
            Some(Ok(_)) | None => {}
        }
        if started.elapsed() > LOAD_TIMEOUT {
            return Err(NoSnapshot::Wait(format!(
                "topic {topic} is not read to its end"
            )));
        }
    }
    let Some(bytes) = last else { return Ok(None) };
    let snapshot = Snapshot::decode(&bytes).map_err(|unreadable| {
        NoSnapshot::Stop(Error::data(format!(
            "snapshot in {topic}: {}",
            unreadable.0
        )))
    })?;
    Ok(Some(snapshot))
}

impl Journal {
    pub(crate) fn new(config: &Config, signs: &Signs) -> Result<Self, Error> {
        let kafka = &config.kafka;
        let mut client = kafka.client(&format!("{}-{}-journal", SERVICE.name, kafka.instance()));
        client
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS);
        let deliveries = Deliveries {
            signs: signs.clone(),
            failed: Arc::default(),
        };
        let failed = Arc::clone(&deliveries.failed);
        let producer = BaseProducer::from_config_and_context(&client, deliveries)
            .map_err(|error| Error::config(format!("kafka: {error}")))?;
        Ok(Self {
            topic: config.topics.changelog.clone(),
            producer,
            failed,
        })
    }

    /// Sends a snapshot. One that is refused is followed by another: true if one was since the last call.
    pub(crate) fn write(&self, snapshot: &Snapshot) -> Result<bool, Error> {
        let bytes = snapshot
            .encode()
            .map_err(|unreadable| Error::internal(format!("snapshot: {}", unreadable.0)))?;
        let record = BaseRecord::to(&self.topic)
            .key(KEY)
            .payload(&bytes)
            .partition(PARTITION);
        let full = self.producer.send(record).is_err();
        self.producer.poll(Duration::ZERO);
        Ok(self.failed.swap(0, Ordering::Relaxed) > 0 || full)
    }

    /// Waits until what was sent is acknowledged.
    pub(crate) fn flush(&self, limit: Duration) {
        if let Err(error) = self.producer.flush(limit) {
            tracing::warn!(%error, "the last snapshot is not acknowledged; a restart reads on from the one before");
        }
    }
}
