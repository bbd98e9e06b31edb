//! The input: readings of 10,000 simulated GPUs, straight to the raw topic.

use fleet_sim::{Fleet, FleetConfig};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::time::Duration;

/// Writes `records` readings of `gpus` GPUs and returns their mean size in bytes.
pub(crate) fn fill(kafka: &str, topic: &str, gpus: u32, records: u64) -> f64 {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("enable.idempotence", "true")
        .set("compression.type", "snappy")
        .set("linger.ms", "50")
        .set("batch.size", "1000000")
        .create()
        .unwrap();
    let mut fleet = Fleet::new(FleetConfig {
        gpus,
        ..FleetConfig::default()
    })
    .unwrap();
    let (mut sent, mut bytes) = (0_u64, 0_u64);
    while sent < records {
        fleet.step(|record| {
            if sent == records {
                return;
            }
            let append_time = record.append_time.as_millis().to_string();
            let partition = schema::partition_for(record.key, schema::topic::RAW.partitions);
            let headers = || {
                OwnedHeaders::new().insert(Header {
                    key: schema::topic::ORIGINAL_APPEND_TIME,
                    value: Some(&append_time),
                })
            };
            let make = || {
                BaseRecord::to(topic)
                    .partition(partition)
                    .key(record.key)
                    .payload(record.value)
                    .headers(headers())
            };
            while producer.send(make()).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
            sent += 1;
            bytes += record.value.len() as u64;
        });
    }
    producer.flush(Duration::from_mins(2)).unwrap();
    bytes as f64 / sent as f64
}
