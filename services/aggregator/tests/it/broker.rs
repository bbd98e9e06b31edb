//! The running service on a real broker, held against the oracle.

use crate::records::{START, reading, temperature, tick, uuid};
use aggregator::Windows;
use aggregator::oracle;
use schema::{DeadLetter, WindowAggregate, partition_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testbed::{NewRecord, OwnedRecord};

const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(90);
const MINUTE: i64 = 60_000;

/// The topics of one test.
struct Topics {
    kafka: String,
    enriched: String,
    one_minute: String,
    fifteen_minutes: String,
    invalid: String,
    changelog: String,
}

impl Topics {
    fn create() -> Self {
        Self {
            kafka: testbed::kafka(),
            enriched: testbed::topic("enriched", PARTITIONS),
            one_minute: testbed::topic("1min", 2),
            fifteen_minutes: testbed::topic("15min", 1),
            invalid: testbed::topic("invalid", 2),
            changelog: testbed::topic_with(
                "aggregator-changelog",
                PARTITIONS,
                &[("cleanup.policy", "compact")],
            ),
        }
    }

    /// Readings go to the partition of their key, ticks to all.
    fn produce(&self, values: impl IntoIterator<Item = Value>) {
        let records: Vec<NewRecord> = values
            .into_iter()
            .flat_map(|value| records(&value))
            .collect();
        testbed::produce(&self.kafka, &self.enriched, records);
    }

    fn committed(&self, topic: &str) -> Vec<OwnedRecord> {
        testbed::consume_committed(&self.kafka, topic, 0, PATIENCE)
    }

    /// What the oracle makes of all that was produced.
    fn expected(&self) -> oracle::Outcome {
        let log = self.committed(&self.enriched);
        let records: Vec<_> = log
            .iter()
            .map(|record| oracle::Record {
                partition: record.partition,
                offset: record.offset,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
            })
            .collect();
        oracle::aggregate(&records, &Windows::default())
    }

    /// Waits until the topics hold as many windows as the oracle has, and holds them against it: each GPU's windows of
    /// each size, in order, every byte of them, none twice.
    fn await_oracle(&self) -> oracle::Outcome {
        let expected = self.expected();
        let count = expected.windows.len();
        let mut found = Vec::new();
        testbed::wait_until(PATIENCE, &format!("{count} windows"), || {
            found = self.committed(&self.one_minute);
            found.extend(self.committed(&self.fifteen_minutes));
            found.len() >= count
        });
        let mut windows: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
        for record in &found {
            let window: WindowAggregate = serde_json::from_str(record.text()).unwrap();
            assert_eq!(record.key.as_deref(), Some(window.gpu_uuid.as_bytes()));
            let of = (window.gpu_uuid, size(window.window));
            windows.entry(of).or_default().push(record.text().into());
        }
        let mut wanted: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
        for window in &expected.windows {
            let of = (window.gpu_uuid.clone(), size(window.window));
            let text = serde_json::to_string(window).unwrap();
            wanted.entry(of).or_default().push(text);
        }
        assert_eq!(windows, wanted);
        let dead = expected.too_late.len() + expected.unreadable.len();
        assert_eq!(self.committed(&self.invalid).len(), dead);
        expected
    }
}

const fn size(size: schema::WindowSize) -> &'static str {
    match size {
        schema::WindowSize::OneMinute => "1m",
        schema::WindowSize::FifteenMinutes => "15m",
    }
}

fn records(value: &Value) -> Vec<NewRecord> {
    let text = value.to_string();
    match value["gpu"]["gpu_uuid"].as_str() {
        Some(uuid) => {
            let partition = partition_for(uuid.as_bytes(), PARTITIONS);
            vec![NewRecord::new(uuid, text).partition(partition)]
        }
        None => (0..PARTITIONS)
            .map(|partition| NewRecord::keyless(text.as_str()).partition(partition))
            .collect(),
    }
}

/// The running service.
struct Service {
    child: Child,
    http: u16,
    log: PathBuf,
}

impl Service {
    fn start(topics: &Topics, extra: &[(&str, &str)]) -> Self {
        let http = testbed::free_port();
        let log = std::env::temp_dir().join(format!("{}-{http}.log", topics.enriched));
        let group = format!("group-{}", topics.enriched);
        let child = Command::new(env!("CARGO_BIN_EXE_aggregator"))
            .env("AGGREGATOR__HTTP__LISTEN", format!("127.0.0.1:{http}"))
            .env("AGGREGATOR__KAFKA__BOOTSTRAP_SERVERS", &topics.kafka)
            .env("AGGREGATOR__KAFKA__GROUP_ID", group)
            .env("AGGREGATOR__KAFKA__INSTANCE_ID", "a")
            .env("AGGREGATOR__TOPICS__ENRICHED", &topics.enriched)
            .env("AGGREGATOR__TOPICS__ONE_MINUTE", &topics.one_minute)
            .env(
                "AGGREGATOR__TOPICS__FIFTEEN_MINUTES",
                &topics.fifteen_minutes,
            )
            .env("AGGREGATOR__TOPICS__INVALID", &topics.invalid)
            .env("AGGREGATOR__TOPICS__CHANGELOG", &topics.changelog)
            .envs(extra.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, http, log }
    }

    fn metric(&self, series: &str) -> u64 {
        let text = http_get(self.http, "/metrics").unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or(0)
    }

    fn await_metric(&self, series: &str, value: u64) {
        testbed::wait_until(PATIENCE, &format!("{series} {value}"), || {
            self.metric(series) == value
        });
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; its exit code and what it logged.
    fn stop(self) -> (Option<i32>, String) {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(asked.success());
        self.ended()
    }

    /// Waits until it ends of itself; its exit code and what it logged.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut code = None;
        testbed::wait_until(Duration::from_secs(40), "the service to end", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        let log = std::fs::read_to_string(&self.log).unwrap();
        (code.and_then(|status| status.code()), log)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            drop(writeln!(
                std::io::stderr(),
                "--- the aggregator logged ---\n{log}"
            ));
        }
        drop(std::fs::remove_file(&self.log));
    }
}

fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// Readings of so many GPUs, ten seconds apart, with a counter that restarts at times.
fn fleet(gpus: usize, from: i64, to: i64) -> impl Iterator<Item = Value> {
    (from..to).step_by(10_000).flat_map(move |at| {
        (0..gpus).map(move |gpu| {
            let step = at / 10_000 + 7 * i64::try_from(gpu).unwrap();
            let metrics = json!({
                "health": {"gpu_temp_c": 50.0 + (step * 37 % 101) as f64 / 4.0},
                "power": {"total_energy_mj": step % 40 * 1_000},
            });
            reading(gpu, START + at, START + at + 500, metrics)
        })
    })
}

#[test]
fn windows_come_out_once_and_late_records_correct_them_across_a_restart_until_it_is_too_late() {
    let topics = Topics::create();
    let gpus = 8;
    let first = Service::start(&topics, &[]);
    topics.produce(fleet(gpus, 0, 20 * MINUTE));
    topics.produce([tick(START + 21 * MINUTE)]);
    let outcome = topics.await_oracle();
    assert_eq!(outcome.windows.len(), 20 * gpus + gpus);
    first.await_metric(r#"aggregator_windows_emitted_total{window="1m"}"#, 160);
    first.await_metric(r#"aggregator_windows_emitted_total{window="15m"}"#, 8);
    first.await_metric("aggregator_readings_total", 960);
    first.await_metric("aggregator_ticks_total", 4);
    // The second quarter of each GPU is open.
    first.await_metric("aggregator_open_windows", 8);
    let (code, log) = first.stop();
    assert_eq!(code, Some(0), "{log}");

    // The minutes that are corrected now are only in the changelog.
    let second = Service::start(&topics, &[]);
    let late = START + 21 * MINUTE + 1_000;
    topics.produce([
        temperature(3, START + 14 * MINUTE + 5_000, late, 99.0),
        temperature(3, START + 19 * MINUTE, late, 1.0),
        temperature(5, START + 14 * MINUTE, late, 12.5),
    ]);
    let outcome = topics.await_oracle();
    let corrected = outcome.windows.iter().filter(|window| window.revision == 1);
    assert_eq!(corrected.count(), 5, "three minutes and two quarters");
    // Had the state been lost, the corrected quarter would hold one reading.
    let quarter = outcome
        .windows
        .iter()
        .find(|window| window.revision == 1 && size(window.window) == "15m");
    assert_eq!(quarter.unwrap().count, 91);
    second.await_metric(r#"aggregator_corrections_total{window="1m"}"#, 3);
    second.await_metric(r#"aggregator_corrections_total{window="15m"}"#, 2);
    second.await_metric(r#"aggregator_late_records_total{outcome="corrected"}"#, 3);

    topics.produce([tick(START + 31 * MINUTE)]);
    let beyond = temperature(3, START + 14 * MINUTE, START + 31 * MINUTE, 98.0);
    topics.produce([beyond.clone()]);
    testbed::wait_until(PATIENCE, "a dead letter", || {
        !topics.committed(&topics.invalid).is_empty()
    });
    topics.await_oracle();
    let letters = topics.committed(&topics.invalid);
    let letter: DeadLetter = serde_json::from_str(letters[0].text()).unwrap();
    assert_eq!(letters[0].key.as_deref(), Some(uuid(3).as_bytes()));
    assert_eq!(letter.validation_errors[0].code, "too_late");
    assert_eq!(letter.original, beyond.to_string());
    assert_eq!(letter.source.topic, topics.enriched);
    second.await_metric(r#"aggregator_late_records_total{outcome="too_late"}"#, 1);
    assert_eq!(second.stop().0, Some(0));
}

#[test]
fn a_kill_in_mid_transaction_changes_no_window_and_doubles_none() {
    let topics = Topics::create();
    let gpus = 40;
    // With readings out of order, so that corrections are on the way, too.
    let mut values: Vec<Value> = fleet(gpus, 0, 50 * MINUTE).collect();
    for at in (gpus * 24..values.len()).step_by(97) {
        values.swap(at, at - gpus * 24 + 13);
    }
    let total = values.len() as u64;
    topics.produce(values);
    topics.produce([tick(START + 70 * MINUTE)]);
    let small = [
        ("AGGREGATOR__PIPELINE__MAX_TRANSACTION_RECORDS", "200"),
        ("AGGREGATOR__PIPELINE__COMMIT_INTERVAL_MS", "10"),
        ("AGGREGATOR__KAFKA__PROPERTIES__QUEUED_MIN_MESSAGES", "1000"),
    ];
    for folded in [300, 2_000, 4_000] {
        let mut service = Service::start(&topics, &small);
        testbed::wait_until(PATIENCE, "readings to be folded", || {
            service.metric("aggregator_readings_total") >= folded
        });
        service.kill();
    }
    let service = Service::start(&topics, &small);
    let outcome = topics.await_oracle();
    assert!(outcome.windows.iter().any(|window| window.revision > 0));
    let quarters = outcome
        .windows
        .iter()
        .filter(|window| size(window.window) == "15m" && window.revision == 0);
    assert_eq!(quarters.count(), 4 * gpus);
    // The last one did not do all of it again.
    assert!(service.metric("aggregator_readings_total") < total - 2_000);
    assert_eq!(service.stop().0, Some(0));
}

#[test]
fn a_missing_topic_and_a_wrong_partition_count_end_in_one_clear_line() {
    let said = |log: &str| -> Vec<String> {
        let lines = log.lines().filter(|line| line.starts_with("aggregator: "));
        lines.map(str::to_owned).collect()
    };
    let mut topics = Topics::create();
    let changelog = std::mem::replace(&mut topics.changelog, testbed::unique("absent"));
    let (code, log) = Service::start(&topics, &[]).ended();
    assert_eq!(code, Some(69), "{log}");
    let lines = said(&log);
    assert!(
        lines.len() == 1 && lines[0].contains(&topics.changelog),
        "{log}"
    );

    topics.changelog = changelog;
    topics.one_minute = testbed::topic("1min", 3);
    let (code, log) = Service::start(&topics, &[]).ended();
    assert_eq!(code, Some(65), "{log}");
    let lines = said(&log);
    assert!(
        lines.len() == 1 && lines[0].contains(&topics.one_minute),
        "{log}"
    );
}
