//! Records straight to Kafka.

use crate::cli::Failure;
use crate::fleet::{Fleet, Record};
use crate::stop::stop_flag;
use crate::truth::TruthFile;
use librdkafka_guard as _;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long to wait for the topic, and for the last records.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const FLUSH_TIMEOUT: Duration = Duration::from_mins(1);
/// The producer's queue is full: the broker is the bottleneck.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// How fast records are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// This many seconds of event time a second.
    Speed(f64),
    /// This many records a second.
    Rate(f64),
    /// As fast as the broker takes them.
    Max,
}

/// Where and how to produce.
#[derive(Debug)]
pub(crate) struct ProduceConfig {
    pub(crate) bootstrap_servers: String,
    pub(crate) topic: String,
    pub(crate) pace: Pace,
    /// Event times are simulated, and records carry the header with their append time.
    pub(crate) past: bool,
    pub(crate) records: Option<u64>,
    pub(crate) topic_timeout: Duration,
    pub(crate) properties: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!("a record was not delivered: {error}");
                }
            }
        }
    }
}

type RawProducer = ThreadedProducer<Deliveries>;

pub(crate) async fn run(
    fleet: Fleet,
    config: ProduceConfig,
    truth: TruthFile,
) -> Result<(), Failure> {
    let stop = stop_flag()?;
    tokio::task::spawn_blocking(move || produce_fleet(fleet, &config, truth, &stop))
        .await
        .map_err(|error| Failure::Unavailable(error.to_string()))?
}

fn produce_fleet(
    mut fleet: Fleet,
    config: &ProduceConfig,
    mut truth: TruthFile,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let producer = producer(config)?;
    let partitions = partitions(&producer, config, stop)?;
    tracing::info!(
        topic = config.topic,
        partitions,
        gpus = fleet.plan().config().gpus,
        "producing"
    );
    let began = Instant::now();
    let mut sent = 0_u64;
    let mut failure = None;
    let limit = config.records.unwrap_or(u64::MAX);
    let mut produce = |record: Record<'_>, sent: &mut u64| {
        if *sent < limit && failure.is_none() {
            failure = send_one(&producer, config, partitions, &record, stop).err();
            *sent += 1;
        }
        failure.is_none() && *sent < limit
    };
    // Beside a real clock, a rate decides how often a host comes up; the event time is then that clock's.
    let by_clock = !config.past && !matches!(config.pace, Pace::Speed(_));
    let mut more = true;
    while more
        && !stop.load(Ordering::Relaxed)
        && let Some(mut now_ms) = fleet.next_ms()
    {
        let due = match config.pace {
            Pace::Speed(speed) => Duration::from_secs_f64(now_ms as f64 / 1_000.0 / speed),
            Pace::Rate(rate) => Duration::from_secs_f64(sent as f64 / rate),
            Pace::Max => Duration::ZERO,
        };
        sleep_until(began + due, stop);
        if by_clock {
            now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            if fleet
                .plan()
                .config()
                .duration_ms
                .is_some_and(|end| now_ms >= end)
            {
                break;
            }
        }
        truth.reach(fleet.plan(), now_ms)?;
        fleet.step_host_at(now_ms, |record| more = produce(record, &mut sent));
    }
    if !stop.load(Ordering::Relaxed) {
        fleet.finish(|record| {
            produce(record, &mut sent);
        });
    }
    let flushed = producer.flush(FLUSH_TIMEOUT);
    let deliveries = Arc::clone(producer.context());
    let seconds = began.elapsed().as_secs_f64();
    let delivered = deliveries.delivered.load(Ordering::Relaxed);
    tracing::info!(
        sent,
        delivered,
        seconds,
        rate = delivered as f64 / seconds,
        "done"
    );
    if let Some(error) = failure {
        return Err(Failure::Unavailable(error.to_string()));
    }
    flushed.map_err(|error| Failure::Unavailable(error.to_string()))?;
    let failed = deliveries.failed.load(Ordering::Relaxed);
    if failed > 0 {
        return Err(Failure::Unavailable(format!(
            "{failed} records were not delivered"
        )));
    }
    Ok(())
}

fn producer(config: &ProduceConfig) -> Result<RawProducer, Failure> {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.bootstrap_servers)
        .set("client.id", "fleet-sim")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // The raw topic's own, so that the broker keeps batches as they come.
        .set("compression.type", "snappy")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "262144");
    for (key, value) in &config.properties {
        client.set(key, value);
    }
    client
        .create_with_context(Deliveries::default())
        .map_err(|error: KafkaError| Failure::Usage(error.to_string()))
}

/// Waits for the topic to be there.
fn partitions(
    producer: &RawProducer,
    config: &ProduceConfig,
    stop: &AtomicBool,
) -> Result<i32, Failure> {
    let topic = &config.topic;
    let deadline = Instant::now() + config.topic_timeout;
    let mut told = false;
    loop {
        let reason = match producer
            .client()
            .fetch_metadata(Some(topic), METADATA_TIMEOUT)
        {
            Ok(metadata) => {
                let count = metadata
                    .topics()
                    .first()
                    .map_or(0, |topic| topic.partitions().len());
                match i32::try_from(count) {
                    Ok(count) if count > 0 => return Ok(count),
                    _ => "the topic is not there".to_owned(),
                }
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline || stop.load(Ordering::Relaxed) {
            return Err(Failure::Unavailable(format!("topic {topic}: {reason}")));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("waiting for topic {topic}: {reason}");
        }
        std::thread::sleep(LONGEST_SLEEP);
    }
}

fn send_one(
    producer: &RawProducer,
    config: &ProduceConfig,
    partitions: i32,
    record: &Record<'_>,
    stop: &AtomicBool,
) -> Result<(), KafkaError> {
    let mut message = BaseRecord::to(&config.topic)
        .partition(schema::partition_for(record.key, partitions))
        .key(record.key)
        .payload(record.value);
    if config.past {
        let text = record.append_time.as_millis().to_string();
        message = message.headers(OwnedHeaders::new_with_capacity(1).insert(Header {
            key: schema::topic::ORIGINAL_APPEND_TIME,
            value: Some(text.as_str()),
        }));
    }
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                message = back;
                std::thread::sleep(FULL_QUEUE_PAUSE);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

fn sleep_until(due: Instant, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LONGEST_SLEEP));
    }
}
