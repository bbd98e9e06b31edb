//! From a raw record's append to its alert at a `read_committed` reader, three hops away.

use crate::broker::Broker;
use crate::process::Service;
use fleet_sim::{Fleet, FleetConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Raw records a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Seconds of load; 0 leaves the latency out.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Partitions of the topics under the latency run. The floor is for 8, where it was set; the catalogue has 32, and on
    /// two cores that a broker shares each partition of a transaction costs its latency.
    #[arg(long, default_value_t = 8)]
    latency_partitions: i32,
}

/// The floor, in milliseconds at the 99th percentile.
const P99_MS: f64 = 150.0;
/// One reading in so many carries a new double-bit error, which fires an alert at once.
const FAULT_EVERY: u32 = 20;
/// Seconds at the beginning that don't count: clients connect, and the broker's JVM takes most of a minute at this load until it has
/// compiled what it runs; before, the compiler has a core of its own.
const WARM_UP_S: u32 = 50;

/// Service, its topics, whether it keeps state.
const CHAIN: [(&str, &[&str], bool); 3] = [
    ("validator", &["RAW", "VALIDATED", "INVALID"], true),
    (
        "enricher",
        &["VALIDATED", "ENRICHED", "INVALID", "ASSETS"],
        false,
    ),
    (
        "anomaly-detector",
        &["ENRICHED", "ALERTS", "CRITICAL", "INVALID"],
        true,
    ),
];

pub(crate) fn run(broker: &Broker, options: &Options) -> Vec<String> {
    if options.seconds == 0 {
        return Vec::new();
    }
    let kafka = broker.bootstrap();
    let (services, raw, alerts) = start_chain(kafka, options.latency_partitions);
    for service in &services {
        service.wait_ready();
    }
    let cpu_before: Vec<f64> = services.iter().map(Service::cpu_seconds).collect();
    let started = Instant::now();
    let reader_kafka = kafka.to_owned();
    let seconds = options.seconds + WARM_UP_S;
    let reader = std::thread::spawn(move || read_alerts(&reader_kafka, &alerts, seconds + 5));
    let sent = load(kafka, &raw, options, seconds);
    let seen = reader.join().unwrap();
    let elapsed = started.elapsed().as_secs_f64();

    let mut latencies: Vec<f64> = Vec::new();
    let mut missing = 0;
    for (key, appended) in &sent {
        match seen.get(key) {
            Some(at) => latencies.push((at - appended) as f64),
            None => missing += 1,
        }
    }
    latencies.sort_by(f64::total_cmp);
    let at = |q: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank"
        )]
        let rank = (q * latencies.len() as f64).ceil() as usize;
        latencies
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or(f64::NAN)
    };
    println!(
        "raw -> alert at {} events/s over {} partitions, {} alerts: p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        options.rate,
        options.latency_partitions,
        latencies.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
    for ((service, (name, ..)), before) in services.iter().zip(CHAIN).zip(cpu_before) {
        println!(
            "  {name:<18} {:>5.0} ms CPU a second, {:>5.1} MB resident at most",
            (service.cpu_seconds() - before) * 1000.0 / elapsed,
            service.peak_mb()
        );
    }
    println!();
    let mut missed = Vec::new();
    if missing > 0 {
        missed.push(format!("{missing} alerts did not come"));
    }
    // NaN must not pass.
    if !at(0.99).le(&P99_MS) {
        missed.push(format!(
            "raw -> alert p99 {:.0} ms, the floor is {P99_MS:.0} ms",
            at(0.99)
        ));
    }
    missed
}

/// The three services on topics of their own; the raw topic and the alerts' topic.
fn start_chain(kafka: &str, wide: i32) -> (Vec<Service>, String, String) {
    let mut topics = BTreeMap::new();
    for (key, partitions) in [
        ("RAW", wide),
        ("VALIDATED", wide),
        ("ENRICHED", wide),
        ("INVALID", 8),
        ("ALERTS", 8),
        ("CRITICAL", 4),
        ("ASSETS", wide.min(16)),
    ] {
        let name = format!("bench-latency-{}", key.to_lowercase());
        testbed::create_topic(kafka, &name, partitions, &[]);
        topics.insert(key, name);
    }
    let services = CHAIN
        .iter()
        .map(|(name, keys, changelog)| {
            let mut settings: Vec<(String, String)> = keys
                .iter()
                .map(|key| (format!("TOPICS__{key}"), topics[key].clone()))
                .collect();
            settings.push((
                "KAFKA__GROUP_ID".to_owned(),
                format!("bench-latency-{name}"),
            ));
            settings.push(("KAFKA__INSTANCE_ID".to_owned(), "bench".to_owned()));
            if *changelog {
                let changelog = format!("bench-latency-{name}-changelog");
                testbed::create_topic(kafka, &changelog, wide, &[("cleanup.policy", "compact")]);
                settings.push(("TOPICS__CHANGELOG".to_owned(), changelog));
            }
            Service::start(name, kafka, &settings)
        })
        .collect();
    let named = |key: &str| topics[key].clone();
    (services, named("RAW"), named("ALERTS"))
}

fn now_ms() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}

/// Sends readings at a steady rate, each stamped with the present; returns when each faulty GPU's reading was handed to
/// the client (its linger and the way to the broker count too).
fn load(kafka: &str, topic: &str, options: &Options, seconds: u32) -> BTreeMap<String, i64> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("enable.idempotence", "true")
        .set("compression.type", "snappy")
        .set("linger.ms", "1")
        .create()
        .unwrap();
    let rate = options.rate;
    // A GPU for each record: an alert is a GPU's first, and nobody is missed for the rest of the run.
    let gpus = rate * seconds;
    let mut fleet = Fleet::new(FleetConfig {
        gpus,
        ..FleetConfig::default()
    })
    .unwrap();
    let mut readings: Vec<(String, Value)> = Vec::new();
    fleet.step(|record| {
        readings.push((
            String::from_utf8_lossy(record.key).into_owned(),
            serde_json::from_slice(record.value).unwrap(),
        ));
    });
    let mut sent = BTreeMap::new();
    let started = Instant::now();
    for (i, (key, mut reading)) in (0_u32..).zip(readings) {
        let due = Duration::from_secs_f64(f64::from(i) / f64::from(rate));
        while let Some(wait) = due.checked_sub(started.elapsed()) {
            std::thread::sleep(wait.min(Duration::from_millis(1)));
        }
        let now = now_ms();
        reading["timestamp"] = json!(schema::Timestamp::from_millis(now).to_string());
        let faulty = i.is_multiple_of(FAULT_EVERY);
        if faulty {
            // A definitional fault needs no history: the flag alone says it.
            reading["metrics"]["memory"]["row_remap_failure"] = json!(1);
        }
        let value = reading.to_string();
        let partition = schema::partition_for(key.as_bytes(), options.latency_partitions);
        while producer
            .send(
                BaseRecord::to(topic)
                    .partition(partition)
                    .key(&key)
                    .payload(&value),
            )
            .is_err()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        if faulty && i >= rate * WARM_UP_S {
            sent.insert(key, now);
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    sent
}

/// When each GPU's first alert reached this reader.
fn read_alerts(kafka: &str, topic: &str, seconds: u32) -> BTreeMap<String, i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "bench-latency-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "50")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..schema::topic::ALERTS.partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut seen = BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(u64::from(seconds));
    while Instant::now() < until {
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) {
            let at = now_ms();
            let alert: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
            if alert["rule_id"] == "row_remap_failure" {
                seen.entry(String::from_utf8_lossy(record.key().unwrap()).into_owned())
                    .or_insert(at);
            }
        }
    }
    seen
}
