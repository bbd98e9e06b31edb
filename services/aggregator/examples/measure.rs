//! What a reading costs in the stage, without Kafka: parsing, folding, journal, windows; and parsing alone, the fast way
//! and by the general reader.
//!
//! `fleet-sim jsonl --gpus 10000 --records 900000 | cargo run --release -p aggregator --example measure`
//!
//! Takes raw readings as JSON lines, ten seconds apart for each GPU, and makes enriched ones of them.
#![expect(
    clippy::unwrap_used,
    reason = "a tool for developers: what it can't read ends it"
)]

use aggregator::Windows;
use aggregator::domain::reading;
use aggregator::domain::row::Row;
use aggregator::stage::{Aggregator, FIFTEEN_MINUTES, ONE_MINUTE};
use chassis::{Changelog, Headers, Outbox, Record, Stage, Task};
use serde::Deserialize;
use std::io::{BufRead, Write};

const PARTITIONS: i32 = 8;
/// Readings in a transaction: 100 ms at 130,000 a second.
const TRANSACTION: usize = 13_000;

#[derive(Deserialize)]
struct Raw<'a> {
    timestamp: &'a str,
    #[serde(borrow)]
    gpu: Gpu<'a>,
}

#[derive(Deserialize)]
struct Gpu<'a> {
    gpu_uuid: &'a str,
}

struct Enriched {
    partition: i32,
    key: Vec<u8>,
    value: Vec<u8>,
}

fn enriched(line: &str) -> Enriched {
    let raw: Raw<'_> = serde_json::from_str(line).unwrap();
    let members = format!(
        r#""validation_timestamp":"{}","validation_version":"1","quality_flags":[],"asset_status":"known","asset":{{"model":"NVIDIA H100 80GB HBM3","rack_id":"rack-12","cluster_id":"production-cluster-1","datacenter":"us-west-2a","region":"us-west-2","purchase_date":"2024-03-01","warranty_expiry":"2027-03-01","sla_tier":"production","priority":2,"warranty_status":"active"}}"#,
        raw.timestamp
    );
    let key = raw.gpu.gpu_uuid.as_bytes();
    Enriched {
        partition: schema::partition_for(key, PARTITIONS),
        key: key.to_vec(),
        value: schema::splice(line.as_bytes(), members.as_bytes()).unwrap(),
    }
}

/// Nanoseconds that this thread has been on a processor: the machine may be busy with other things.
fn processor_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedstat.split(' ').next().unwrap().parse().unwrap()
}

fn main() {
    let mut stage = Aggregator::new(Windows::default());
    let mut tasks: Vec<_> = (0..PARTITIONS).map(|number| stage.open(number)).collect();
    let mut out = Outbox::new(vec![PARTITIONS; 3]);
    let mut changelog = Changelog::default();
    let mut lines = std::io::stdin().lock().lines();
    let (mut spent, mut fast, mut general) = (0, 0, 0);
    let mut row = Row::EMPTY;
    let (mut readings, mut input_bytes, mut state_bytes, mut offset) = (0_u64, 0, 0, 0);
    let (mut windows, mut window_bytes) = ([0_u64; 2], 0);
    loop {
        let batch: Vec<Enriched> = lines
            .by_ref()
            .take(TRANSACTION)
            .map(|line| enriched(&line.unwrap()))
            .collect();
        if batch.is_empty() {
            break;
        }
        let started = processor_ns();
        for record in &batch {
            offset += 1;
            out.set_input_partition(record.partition);
            let record = Record {
                topic: "gpu-metrics-enriched",
                partition: record.partition,
                offset,
                timestamp_ms: 0,
                key: Some(&record.key),
                value: Some(&record.value),
                headers: Headers::EMPTY,
            };
            let task = &mut tasks[usize::try_from(record.partition).unwrap()];
            stage.process(task, &record, &mut out);
        }
        for task in &mut tasks {
            task.flush(&mut changelog);
            task.committed();
        }
        spent += processor_ns() - started;
        let started = processor_ns();
        for record in &batch {
            std::hint::black_box(reading::parse(&record.value, &mut row).unwrap());
        }
        fast += processor_ns() - started;
        let started = processor_ns();
        for record in &batch {
            std::hint::black_box(reading::read(&record.value, &mut row).unwrap());
        }
        general += processor_ns() - started;
        for staged in out.staged() {
            let size = [ONE_MINUTE, FIFTEEN_MINUTES]
                .iter()
                .position(|output| *output == staged.output);
            windows[size.unwrap()] += 1;
            window_bytes += staged.value.unwrap().len();
        }
        state_bytes += changelog
            .staged()
            .map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len))
            .sum::<usize>();
        out.clear();
        changelog.clear();
        readings += batch.len() as u64;
        input_bytes += batch.iter().map(|record| record.value.len()).sum::<usize>();
    }
    let gpus: usize = tasks.iter().map(Task::entries).sum();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or("");
    writeln!(
        std::io::stdout().lock(),
        "{readings} readings of {} bytes, {gpus} GPUs: {} ns a reading\n\
         parsing alone: {} ns, by the general reader {} ns\n\
         {} one-minute and {} fifteen-minute windows of {} bytes\n\
         {} bytes of changelog a reading\n{resident}",
        input_bytes as u64 / readings,
        spent / readings,
        fast / readings,
        general / readings,
        windows[0],
        windows[1],
        window_bytes as u64 / (windows[0] + windows[1]).max(1),
        state_bytes as u64 / readings,
    )
    .unwrap();
}
