//! From the scrapers to Kafka, without the one ever waiting for the other.
//!
//! Scrapers push into a bounded buffer, which drops its oldest when it is full. One task moves records from there into
//! an idempotent producer, at most `max_in_flight` at a time. What the producer gives back (its broker was away for too
//! long, or it had to be made anew) goes to the front of the buffer again, so that a record is lost only by the bound.

use crate::config::{BufferConfig, Config};
use crate::domain::buffer::Buffer;
use crate::metrics::{BUFFERED, BUFFERED_BYTES, DELIVERED, DROPPED, REBUILDS};
use chassis::{Error, Gate, Heartbeat};
use metrics::{counter, gauge};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use schema::topic::Compression;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// What is left of the grace period for the process's end once the last records were waited for.
const EXIT_RESERVE: Duration = Duration::from_secs(2);
const PURGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Key, headers and librdkafka's own bookkeeping, beside the value.
const RECORD_OVERHEAD: usize = 128;

#[derive(Debug)]
struct Pending {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Pending {
    const fn size(&self) -> usize {
        self.key.len() + self.value.len() + RECORD_OVERHEAD
    }
}

/// What waits for Kafka.
#[derive(Debug)]
pub(crate) struct Outbox {
    buffer: Mutex<Buffer<Pending>>,
    more: Notify,
    in_flight: AtomicUsize,
    began: Instant,
    /// Milliseconds after `began` of the last acknowledgement, or of the last moment when nothing waited.
    progress_ms: AtomicU64,
    dropped: AtomicU64,
    refused_told: AtomicBool,
    credentials_refused: AtomicBool,
}

impl Outbox {
    /// An empty one.
    pub(crate) fn new(config: BufferConfig) -> Arc<Self> {
        Arc::new(Self {
            buffer: Mutex::new(Buffer::new(config.max_records, config.max_bytes)),
            more: Notify::new(),
            in_flight: AtomicUsize::new(0),
            began: Instant::now(),
            progress_ms: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            refused_told: AtomicBool::new(false),
            credentials_refused: AtomicBool::new(false),
        })
    }

    /// Adds a record. Never waits.
    pub(crate) fn push(&self, key: &[u8], value: Vec<u8>) {
        let record = Pending {
            key: key.to_vec(),
            value,
        };
        let dropped = self.locked().push(record.size(), record);
        self.count_dropped(dropped);
        self.more.notify_one();
    }

    /// Records that wait or are under way.
    pub(crate) fn waiting(&self) -> usize {
        self.locked().len() + self.in_flight.load(Ordering::Acquire)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Buffer<Pending>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_dropped(&self, dropped: usize) {
        if dropped > 0 {
            counter!(DROPPED, "reason" => "buffer_full").increment(dropped as u64);
            self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        }
    }

    fn made_progress(&self) {
        self.progress_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn stalled_ms(&self) -> u64 {
        self.now_ms()
            .saturating_sub(self.progress_ms.load(Ordering::Relaxed))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The producer gave a record up.
    fn undelivered(&self, error: &KafkaError, key: &[u8], value: &[u8]) {
        // These are the record's own fault and would fail again; nobody else's records wait behind them.
        let hopeless = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::InvalidMessage
                    | RDKafkaErrorCode::InvalidMessageSize
                    | RDKafkaErrorCode::InvalidRecord
            )
        );
        if hopeless {
            counter!(DROPPED, "reason" => "refused").increment(1);
            if !self.refused_told.swap(true, Ordering::Relaxed) {
                warn!(%error, "Kafka refuses a record; it and others like it are dropped and counted");
            }
            return;
        }
        let record = Pending {
            key: key.to_vec(),
            value: value.to_vec(),
        };
        let dropped = self.locked().put_back(record.size(), record);
        self.count_dropped(dropped);
    }
}

/// The producer's ear.
struct Ear(Arc<Outbox>);

impl ClientContext for Ear {
    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
        ) {
            self.0.credentials_refused.store(true, Ordering::Relaxed);
        }
        tracing::debug!(%error, reason, "Kafka client");
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "Kafka client");
    }
}

impl ProducerContext for Ear {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outbox = &self.0;
        match result {
            Ok(_) => {
                counter!(DELIVERED).increment(1);
                outbox.made_progress();
            }
            Err((error, message)) => outbox.undelivered(
                error,
                message.key().unwrap_or_default(),
                message.payload().unwrap_or_default(),
            ),
        }
        outbox.in_flight.fetch_sub(1, Ordering::Release);
        outbox.more.notify_one();
    }
}

type RawProducer = ThreadedProducer<Ear>;

/// Moves records to Kafka until `stop`, which is cancelled once nobody pushes any more; then until all are acknowledged
/// or `grace` is over.
pub(crate) async fn run(
    outbox: Arc<Outbox>,
    config: Config,
    gate: Gate,
    heartbeat: Heartbeat,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut sender = Sender {
        outbox,
        config,
        gate,
        stalled: false,
        told_dropped: 0,
    };
    let mut producer = sender.producer()?;
    let Some(partitions) = sender.find_topic(&producer, &heartbeat, &stop).await? else {
        return sender.give_up();
    };
    sender.gate.open();
    sender.outbox.made_progress();
    while !stop.is_cancelled() {
        heartbeat.beat();
        sender.send(&producer, partitions)?;
        sender.report()?;
        if let Some((code, reason)) = producer.client().fatal_error() {
            warn!(%code, reason, "the Kafka producer is made anew");
            counter!(REBUILDS).increment(1);
            retire(producer).await;
            producer = sender.producer()?;
        }
        tokio::select! {
            () = sender.outbox.more.notified() => {}
            () = tokio::time::sleep(CHECK_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
    let deadline = Instant::now() + sender.config.shutdown.grace().saturating_sub(EXIT_RESERVE);
    while sender.outbox.waiting() > 0 && Instant::now() < deadline {
        heartbeat.beat();
        sender.send(&producer, partitions)?;
        tokio::select! {
            () = sender.outbox.more.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    let result = sender.give_up();
    retire(producer).await;
    result
}

struct Sender {
    outbox: Arc<Outbox>,
    config: Config,
    gate: Gate,
    stalled: bool,
    told_dropped: u64,
}

impl Sender {
    fn producer(&self) -> Result<RawProducer, Error> {
        let mut client: ClientConfig = self.config.kafka.client(crate::SERVICE.name);
        for (key, value) in [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // The topic's own, so that the broker keeps batches as they come.
            ("compression.type", codec()),
            ("linger.ms", "20"),
            // Records do not grow old in the client: what is too much leaves the buffer, oldest first.
            ("message.timeout.ms", "0"),
            ("queue.buffering.max.kbytes", "1048576"),
        ] {
            let own = self
                .config
                .kafka
                .properties
                .keys()
                .any(|name| name.replace('_', ".") == key);
            if !own {
                client.set(key, value);
            }
        }
        client.set(
            "queue.buffering.max.messages",
            (self.config.buffer.max_in_flight + 1).to_string(),
        );
        client
            .create_with_context(Ear(Arc::clone(&self.outbox)))
            .map_err(|error: KafkaError| Error::config(format!("kafka.properties: {error}")))
    }

    /// Waits for the topic; none when the service is told to stop before.
    async fn find_topic(
        &mut self,
        producer: &RawProducer,
        heartbeat: &Heartbeat,
        stop: &CancellationToken,
    ) -> Result<Option<i32>, Error> {
        let topic = self.config.topics.raw.clone();
        let wanted = self.config.topics.raw_partitions;
        let mut told = String::new();
        while !stop.is_cancelled() {
            heartbeat.beat();
            let (client, name) = (producer.clone(), topic.clone());
            let found = tokio::task::spawn_blocking(move || partitions(&client, &name))
                .await
                .map_err(|error| Error::internal(format!("metadata of {topic}: {error}")))?;
            let reason = match found {
                Ok(count) if count == wanted => return Ok(Some(count)),
                Ok(count) => {
                    return Err(Error::data(format!(
                        "topic {topic} has {count} partitions, not topics.raw_partitions = {wanted}; records of a GPU would lose their order"
                    )));
                }
                Err(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    return Err(Error::permission(format!(
                        "no right to write topic {topic}: grant Write and Describe to this user"
                    )));
                }
                Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                    format!("topic {topic} does not exist")
                }
                Err(code) => code.to_string(),
            };
            self.refuse_bad_credentials()?;
            if told != reason {
                warn!(reason, "waiting for Kafka; readings are buffered");
                self.gate.close(reason.clone());
                told = reason;
            }
            self.show();
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(None)
    }

    fn refuse_bad_credentials(&self) -> Result<(), Error> {
        if self.outbox.credentials_refused.load(Ordering::Relaxed) {
            return Err(Error::permission(
                "Kafka refuses the credentials: check kafka.sasl_username, kafka.sasl_password and kafka.sasl_mechanism",
            ));
        }
        Ok(())
    }

    /// Gives the producer what it may have.
    fn send(&self, producer: &RawProducer, partitions: i32) -> Result<(), Error> {
        let outbox = &self.outbox;
        while outbox.in_flight.load(Ordering::Acquire) < self.config.buffer.max_in_flight {
            let Some(record) = outbox.locked().pop() else {
                break;
            };
            let message = BaseRecord::to(&self.config.topics.raw)
                .partition(schema::partition_for(&record.key, partitions))
                .key(record.key.as_slice())
                .payload(record.value.as_slice());
            outbox.in_flight.fetch_add(1, Ordering::AcqRel);
            if let Err((error, _)) = producer.send(message) {
                outbox.in_flight.fetch_sub(1, Ordering::AcqRel);
                outbox.undelivered(&error, &record.key, &record.value);
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                        return Err(Error::permission(format!(
                            "no right to write topic {}: grant Write and Describe to this user",
                            self.config.topics.raw
                        )));
                    }
                    // The queue is full, or the producer is broken; both are looked at in the next round.
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Shows the buffer, and tells once when Kafka stops taking records and when it goes on.
    fn report(&mut self) -> Result<(), Error> {
        self.show();
        if self.outbox.waiting() == 0 {
            self.outbox.made_progress();
        }
        let stalled = self.outbox.stalled_ms() >= self.config.buffer.unready_after_ms;
        if stalled {
            self.refuse_bad_credentials()?;
        }
        let dropped = self.outbox.dropped.load(Ordering::Relaxed);
        if stalled && !self.stalled {
            warn!(
                waiting = self.outbox.waiting(),
                max_records = self.config.buffer.max_records,
                max_bytes = self.config.buffer.max_bytes,
                "Kafka takes no records; readings are buffered, and beyond the bounds the oldest are dropped"
            );
            self.gate.close("Kafka takes no records");
        } else if !stalled && self.stalled {
            info!(
                waiting = self.outbox.waiting(),
                dropped = dropped - self.told_dropped,
                "Kafka takes records again"
            );
            self.told_dropped = dropped;
            self.gate.open();
        }
        self.stalled = stalled;
        Ok(())
    }

    fn show(&self) {
        let (records, bytes) = {
            let buffer = self.outbox.locked();
            (buffer.len(), buffer.bytes())
        };
        let in_flight = self.outbox.in_flight.load(Ordering::Relaxed);
        gauge!(BUFFERED).set((records + in_flight) as f64);
        gauge!(BUFFERED_BYTES).set(bytes as f64);
    }

    /// The end: what is still here is lost, and that is said.
    fn give_up(&self) -> Result<(), Error> {
        let lost = self.outbox.waiting();
        if lost == 0 {
            return Ok(());
        }
        counter!(DROPPED, "reason" => "shutdown").increment(lost as u64);
        Err(Error::temporary(format!(
            "{lost} readings could not be delivered before the end"
        )))
    }
}

/// Ends a producer; what it still holds comes back through its delivery reports.
async fn retire(producer: RawProducer) {
    let ended = tokio::task::spawn_blocking(move || {
        producer.purge(PurgeConfig::default().queue().inflight());
        drop(producer.flush(PURGE_TIMEOUT));
    });
    if ended.await.is_err() {
        warn!("the Kafka producer did not end in order");
    }
}

const fn codec() -> &'static str {
    match schema::topic::RAW.compression {
        Compression::Snappy => "snappy",
        Compression::Lz4 | Compression::Producer => "lz4",
    }
}

fn partitions(producer: &RawProducer, topic: &str) -> Result<i32, RDKafkaErrorCode> {
    let metadata = producer
        .client()
        .fetch_metadata(Some(topic), METADATA_TIMEOUT)
        .map_err(|error| {
            error
                .rdkafka_error_code()
                .unwrap_or(RDKafkaErrorCode::Unknown)
        })?;
    let found = metadata
        .topics()
        .first()
        .ok_or(RDKafkaErrorCode::UnknownTopic)?;
    if let Some(error) = found.error() {
        return Err(error.into());
    }
    match i32::try_from(found.partitions().len()) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(RDKafkaErrorCode::UnknownTopic),
    }
}
