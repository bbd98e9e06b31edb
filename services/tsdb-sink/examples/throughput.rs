//! Measures the sink: `fleet-sim jsonl .. | cargo run --example throughput -- target/release/tsdb-sink`.
//!
//! Reads readings as JSON lines, adds what validator and enricher add, fills a topic of a real broker with them, and has
//! the given binary store them in a real PostgreSQL. Prints rows a second, and rows a second of the sink's CPU time.

use std::error::Error;
use std::io::{BufRead, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testbed::{Broker, NewRecord, Postgres};

const PARTITIONS: i32 = 8;
const DEADLINE: Duration = Duration::from_mins(5);
const ADDED: &str = r#","validation_timestamp":"2026-02-11T10:30:00.456Z","validation_version":"1.0","quality_flags":[],"asset_status":"known","asset":{"model":"NVIDIA H100 80GB HBM3","rack_id":"rack-12","cluster_id":"production-cluster-1","datacenter":"us-west-2a","region":"us-west-2","purchase_date":"2024-03-01","warranty_expiry":"2027-03-01","sla_tier":"production","priority":2,"warranty_status":"active"}}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let binary = std::env::args()
        .nth(1)
        .ok_or("usage: throughput BINARY <READINGS")?;
    let (broker, postgres) = (Broker::start(), Postgres::start());
    let topic = broker.topic("enriched", PARTITIONS);
    let others = [
        "one-minute",
        "fifteen-minutes",
        "alerts",
        "scores",
        "invalid",
    ]
    .map(|prefix| broker.topic(prefix, 1));
    let mut records = 0_u64;
    let mut bytes = 0;
    let lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let record = |line: String| {
        let uuid = line
            .split(r#""gpu_uuid":""#)
            .nth(1)?
            .split('"')
            .next()?
            .to_owned();
        let value = format!("{}{ADDED}", line.strip_suffix('}')?);
        records += 1;
        bytes += value.len();
        let partition = schema::partition_for(uuid.as_bytes(), PARTITIONS);
        Some(NewRecord::new(uuid, value).partition(partition))
    };
    testbed::produce(broker.bootstrap(), &topic, lines.filter_map(record));

    let port = testbed::free_port();
    let mut command = Command::new(binary);
    for (key, topic) in [
        "ONE_MINUTE",
        "FIFTEEN_MINUTES",
        "ALERTS",
        "HEALTH_SCORES",
        "INVALID",
    ]
    .iter()
    .zip(&others)
    {
        command.env(format!("TSDB_SINK__TOPICS__{key}"), topic);
    }
    let started = Instant::now();
    let mut sink = command
        .env("TSDB_SINK__TOPICS__ENRICHED", &topic)
        .env("TSDB_SINK__HTTP__LISTEN", format!("127.0.0.1:{port}"))
        .env("TSDB_SINK__KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap())
        .env("TSDB_SINK__DATABASE__URL", postgres.url())
        .env("TSDB_SINK__RETENTION__READINGS_DAYS", "36500")
        .stdin(Stdio::null())
        .spawn()?;
    let mut first = None;
    testbed::wait_until(DEADLINE, "every offset is stored", || {
        let stored = stored(&postgres);
        if stored > 0 {
            first.get_or_insert_with(|| (Instant::now(), stored));
        }
        stored >= records
    });
    let (first, before) = first.ok_or("nothing was stored")?;
    let seconds = first.elapsed().as_secs_f64();
    let cpu = cpu_seconds(&sink)?;
    let peak = peak_memory(&sink)?;
    stop(&mut sink)?;
    let rows = postgres.sql("SELECT count(*) FROM gpu_metrics");
    let kinds = postgres.sql("SELECT count(*) FROM sink_dead_letters");
    writeln!(
        std::io::stdout().lock(),
        "{records} records of {} bytes, {rows} rows, {kinds} dead letters, {:.1} s from the start; {:.0} rows/s after the \
         first batch, {:.0} rows/s of CPU time ({cpu:.1} s), peak of {peak}",
        bytes as u64 / records.max(1),
        started.elapsed().as_secs_f64(),
        (records - before) as f64 / seconds,
        records as f64 / cpu,
    )?;
    Ok(())
}

/// Offsets begin at 0 and have no holes here.
fn stored(postgres: &Postgres) -> u64 {
    let exists = postgres.sql("SELECT to_regclass('sink_offsets') IS NOT NULL");
    if exists != "t" {
        return 0;
    }
    let sum = postgres.sql("SELECT coalesce(sum(next_offset), 0) FROM sink_offsets");
    sum.parse().unwrap_or(0)
}

/// User and system time: fields 14 and 15 of proc(5)'s stat, in hundredths of a second.
fn cpu_seconds(child: &Child) -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .ok_or("stat")?
        .1
        .split_whitespace()
        .collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn peak_memory(child: &Child) -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.ok_or("no VmHWM")?.trim().to_owned())
}

fn stop(sink: &mut Child) -> Result<(), Box<dyn Error>> {
    Command::new("kill").arg(sink.id().to_string()).status()?;
    sink.wait()?;
    Ok(())
}
