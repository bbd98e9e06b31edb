//! The steady load: a simulated fleet, written to the raw topic by an idempotent producer.
//!
//! Event time runs faster than the clock. Each record says when it would have been appended, so that every output follows
//! from the input alone; see `schema::topic::ORIGINAL_APPEND_TIME`.

use fleet_sim::{FaultPlan, Fleet, FleetConfig, Record};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use schema::topic;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds between two readings of a GPU.
const INTERVAL_S: u64 = 10;
/// Seconds of event time in a second of the load, about: `gpus` follows from it.
const SPEED: u64 = 20;
/// How long the last records may take.
const FLUSH_WITHIN: Duration = Duration::from_mins(2);
/// The client's queue is full, or the next record is not due.
const PAUSE: Duration = Duration::from_millis(2);

/// GPUs whose readings make `records_per_second` at [`SPEED`].
pub(crate) fn gpus(records_per_second: u64) -> u32 {
    u32::try_from(records_per_second * INTERVAL_S / SPEED)
        .unwrap_or(u32::MAX)
        .max(64)
}

/// The fleet that everything follows from.
pub(crate) fn simulation(seed: u64, gpus: u32) -> Fleet {
    Fleet::new(FleetConfig {
        seed,
        gpus,
        faults: FaultPlan::demo(gpus),
        ..FleetConfig::default()
    })
    .unwrap_or_else(|error| panic!("the simulated fleet: {error}"))
}

/// What was sent to one partition, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) records: u64,
    /// Of every key and value, each folded into what was before it.
    pub(crate) digest: u64,
}

impl Sent {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut hasher = DefaultHasher::new();
        (self.digest, key, value).hash(&mut hasher);
        self.digest = hasher.finish();
        self.records += 1;
    }
}

/// A load that runs.
#[derive(Debug, Default)]
pub(crate) struct Load {
    stop: AtomicBool,
    /// Event milliseconds to be sent at full speed, not yet begun.
    flood_ms: AtomicU64,
    sent: Mutex<Vec<Sent>>,
    /// Event time that has been sent.
    reached_ms: AtomicU64,
}

impl Load {
    /// No more of it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// So many minutes of event time, as fast as the broker takes them.
    pub(crate) fn flood(&self, event_minutes: u64) {
        self.flood_ms
            .fetch_add(event_minutes * 60_000, Ordering::Relaxed);
    }

    /// What was sent, by partition.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Event time that was sent.
    pub(crate) fn event_time(&self) -> Duration {
        Duration::from_millis(self.reached_ms.load(Ordering::Relaxed))
    }

    /// Sends until it is stopped, and then waits until the broker has everything.
    ///
    /// # Errors
    /// If a record was not delivered: then nothing can be said about the fleet.
    pub(crate) fn run(
        &self,
        bootstrap: &str,
        mut fleet: Fleet,
        records_per_second: u64,
    ) -> Result<(), String> {
        let producer = producer(bootstrap)?;
        let partitions = topic::RAW.partitions;
        let mut sent = vec![Sent::default(); usize::try_from(partitions).unwrap_or(0)];
        let mut total = 0;
        // What a flood has sent is not due again.
        let mut flooded = 0;
        let began = Instant::now();
        let mut flood_until = 0;
        let mut failure = None;
        let mut push = |record: Record<'_>, total: &mut u64| {
            let partition = schema::partition_for(record.key, partitions);
            if let Err(error) = send(&producer, &record, partition) {
                failure.get_or_insert(error);
                return;
            }
            sent[usize::try_from(partition).unwrap_or(0)].add(record.key, record.value);
            *total += 1;
        };
        while !self.stop.load(Ordering::Relaxed) {
            let Some(now_ms) = fleet.next_ms() else { break };
            let flood_ms = self.flood_ms.swap(0, Ordering::Relaxed);
            if flood_ms > 0 {
                flood_until = now_ms.max(flood_until) + flood_ms;
            }
            let due = began
                + Duration::from_secs_f64((total - flooded) as f64 / records_per_second as f64);
            if now_ms >= flood_until && Instant::now() < due {
                std::thread::sleep(PAUSE);
                continue;
            }
            let before = total;
            fleet.step_host(|record| push(record, &mut total));
            if now_ms < flood_until {
                flooded += total - before;
            }
            self.reached_ms.store(now_ms, Ordering::Relaxed);
        }
        fleet.finish(|record| push(record, &mut total));
        let flushed = producer.flush(FLUSH_WITHIN);
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = sent;
        let refused = producer
            .context()
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let failure = failure.or(refused);
        failure.map_or_else(
            || flushed.map_err(|error| format!("the load was not taken: {error}")),
            |error| Err(format!("the load was not taken: {error}")),
        )
    }
}

#[derive(Debug, Default)]
struct Deliveries {
    refused: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| error.to_string());
        }
    }
}

fn producer(bootstrap: &str) -> Result<ThreadedProducer<Deliveries>, String> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "chaos-load")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "snappy")
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "500000")
        .set("queue.buffering.max.kbytes", "524288")
        // Brokers are killed and put to sleep meanwhile.
        .set("message.timeout.ms", "0")
        .create_with_context(Deliveries::default())
        .map_err(|error| format!("the load's producer: {error}"))
}

fn send(
    producer: &ThreadedProducer<Deliveries>,
    record: &Record<'_>,
    partition: i32,
) -> Result<(), String> {
    let append_time = record.append_time.as_millis().to_string();
    let mut base = BaseRecord::to(topic::RAW.name)
        .partition(partition)
        .key(record.key)
        .payload(record.value)
        .headers(OwnedHeaders::new_with_capacity(1).insert(Header {
            key: topic::ORIGINAL_APPEND_TIME,
            value: Some(&append_time),
        }));
    loop {
        match producer.send(base) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                base = back;
                std::thread::sleep(PAUSE);
            }
            Err((error, _)) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_a_doubled_and_a_moved_record_change_the_digest() {
        let digest = |values: &[&[u8]]| {
            let mut sent = Sent::default();
            for value in values {
                sent.add(b"key", value);
            }
            sent
        };
        let whole = digest(&[b"a", b"b", b"c"]);
        assert_eq!(whole, digest(&[b"a", b"b", b"c"]));
        for other in [
            digest(&[b"a", b"c"]),
            digest(&[b"a", b"b", b"b", b"c"]),
            digest(&[b"b", b"a", b"c"]),
        ] {
            assert_ne!(whole, other);
        }
    }

    #[test]
    fn the_fleet_is_as_large_as_its_load_needs() {
        assert_eq!(gpus(2_000), 1_000);
        assert_eq!(gpus(1), 64);
    }
}
