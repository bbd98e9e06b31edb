//! The bare loop: consume, produce the same bytes, commit both in one transaction. Client settings are the chassis's.

use crate::process::{cpu_seconds, peak_mb};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    kafka: String,
    #[arg(long)]
    input: String,
    #[arg(long)]
    output: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    records: u64,
    #[arg(long)]
    compression: String,
}

const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints events per CPU-second over the last 70 % of the records, and the peak of resident memory in MB.
pub(crate) fn run(options: &Options) -> ExitCode {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.kafka)
        .set("group.id", &options.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.max.bytes", "4000000")
        .create()
        .unwrap();
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &options.kafka)
        .set("transactional.id", &options.group)
        .set("transaction.timeout.ms", "10000")
        .set("compression.type", &options.compression)
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "16384")
        .set("delivery.report.only.error", "true")
        .set("retry.backoff.ms", "5")
        .create()
        .unwrap();
    producer.init_transactions(CALL_TIMEOUT).unwrap();
    consumer.subscribe(&[&options.input]).unwrap();

    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    let (mut done, mut open) = (0_u64, None::<Instant>);
    let mut mark: Option<(u64, f64)> = None;
    let me = std::process::id();
    while done < options.records {
        let polled = consumer.poll(if open.is_some() {
            Duration::ZERO
        } else {
            Duration::from_millis(50)
        });
        let drained = polled.is_none();
        if let Some(record) = polled {
            let record = record.unwrap();
            if open.is_none() {
                producer.begin_transaction().unwrap();
                open = Some(Instant::now());
            }
            let mut out =
                BaseRecord::<[u8], [u8]>::to(&options.output).partition(record.partition());
            if let Some(key) = record.key() {
                out = out.key(key);
            }
            if let Some(value) = record.payload() {
                out = out.payload(value);
            }
            while let Err((_, refused)) = producer.send(out) {
                std::thread::sleep(Duration::from_millis(5));
                out = refused;
            }
            next.insert(record.partition(), record.offset() + 1);
            done += 1;
        }
        let due = open.is_some_and(|since| {
            drained || (done.is_multiple_of(64) && since.elapsed() >= COMMIT_INTERVAL)
        });
        if due || (open.is_some() && done == options.records) {
            commit(&consumer, &producer, &options.input, &mut next);
            open = None;
        }
        if mark.is_none() && done * 10 >= options.records * 3 {
            mark = Some((done, cpu_seconds(me)));
        }
    }
    let (from, cpu) = mark.unwrap();
    println!(
        "{} {}",
        (done - from) as f64 / (cpu_seconds(me) - cpu),
        peak_mb(me)
    );
    ExitCode::SUCCESS
}

fn commit(
    consumer: &BaseConsumer,
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    next: &mut BTreeMap<i32, i64>,
) {
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in std::mem::take(next) {
        offsets
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .unwrap();
    }
    let group = consumer.group_metadata().unwrap();
    producer
        .send_offsets_to_transaction(&offsets, &group, CALL_TIMEOUT)
        .unwrap();
    // rdkafka's flush waits in steps of 100 ms, which costs time but no CPU; CPU is what is measured.
    producer.commit_transaction(CALL_TIMEOUT).unwrap();
}
