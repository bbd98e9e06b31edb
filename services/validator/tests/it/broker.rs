//! The running service on a real broker.

use schema::{DeadLetter, Tick, Timestamp, ValidatedEvent, partition_for};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testbed::{NewRecord, OwnedRecord};

const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(90);

/// The topics of one test.
struct Topics {
    kafka: String,
    raw: String,
    validated: String,
    invalid: String,
    changelog: String,
}

impl Topics {
    fn create() -> Self {
        let large = [("max.message.bytes", "33554432")];
        Self {
            kafka: testbed::kafka(),
            raw: testbed::topic_with("raw", PARTITIONS, &large),
            validated: testbed::topic("validated", PARTITIONS),
            invalid: testbed::topic("invalid", 2),
            changelog: testbed::topic_with(
                "validator-changelog",
                PARTITIONS,
                &[("cleanup.policy", "compact")],
            ),
        }
    }

    fn produce(&self, records: impl IntoIterator<Item = NewRecord>) {
        testbed::produce(&self.kafka, &self.raw, records);
    }

    /// At least so many validated records, ticks left out.
    fn validated(&self, count: usize) -> Vec<OwnedRecord> {
        let mut found = Vec::new();
        testbed::wait_until(PATIENCE, "validated records", || {
            found = testbed::consume_committed(&self.kafka, &self.validated, 0, PATIENCE);
            found.retain(|record| record.key.is_some());
            found.len() >= count
        });
        found
    }

    fn letters(&self, count: usize) -> Vec<DeadLetter> {
        testbed::consume_committed(&self.kafka, &self.invalid, count, PATIENCE)
            .iter()
            .map(|record| serde_json::from_str(record.text()).unwrap())
            .collect()
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
        let log = std::env::temp_dir().join(format!("{}-{http}.log", topics.raw));
        let child = Command::new(env!("CARGO_BIN_EXE_validator"))
            .env("VALIDATOR__HTTP__LISTEN", format!("127.0.0.1:{http}"))
            .env("VALIDATOR__KAFKA__BOOTSTRAP_SERVERS", &topics.kafka)
            .env(
                "VALIDATOR__KAFKA__GROUP_ID",
                format!("group-{}", topics.raw),
            )
            .env("VALIDATOR__KAFKA__INSTANCE_ID", "a")
            .env("VALIDATOR__TOPICS__RAW", &topics.raw)
            .env("VALIDATOR__TOPICS__VALIDATED", &topics.validated)
            .env("VALIDATOR__TOPICS__INVALID", &topics.invalid)
            .env("VALIDATOR__TOPICS__CHANGELOG", &topics.changelog)
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

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; its exit code and what it logged.
    fn stop(mut self) -> (Option<i32>, String) {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(asked.success());
        let mut code = None;
        testbed::wait_until(Duration::from_secs(30), "the service to drain", || {
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
                "--- the validator logged ---\n{log}"
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

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn uuid(gpu: usize) -> String {
    format!("GPU-00000000-0000-0000-0000-{gpu:012x}")
}

/// A reading, made now, in the partition of its key.
fn reading(gpu: usize, sequence: usize) -> NewRecord {
    let uuid = uuid(gpu);
    let value = format!(
        r#"{{"timestamp":"{}","gpu":{{"gpu_uuid":"{uuid}"}},"metrics":{{"health":{{"gpu_temp_c":61.50}}}},"collector":{{"sequence":{sequence},"boot_id":"b"}}}}"#,
        Timestamp::from_millis(now_ms())
    );
    let partition = partition_for(uuid.as_bytes(), PARTITIONS);
    NewRecord::new(uuid, value).partition(partition)
}

fn codes(letters: &[DeadLetter]) -> BTreeMap<&str, usize> {
    let mut codes = BTreeMap::new();
    for reason in letters.iter().flat_map(|letter| &letter.validation_errors) {
        *codes.entry(reason.code.as_str()).or_default() += 1;
    }
    codes
}

#[test]
fn records_go_where_they_belong_and_a_restart_keeps_duplicates_out() {
    let topics = Topics::create();
    let readings: Vec<NewRecord> = (0..200).map(|i| reading(i % 20, i / 20)).collect();
    let key = uuid(1);
    let broken = [
        NewRecord::new(key.as_str(), "{\"timestamp\":NaN}"),
        NewRecord::new(key.as_str(), vec![0xff, 0xfe]),
        NewRecord::tombstone(key.as_str()),
        NewRecord::keyless("[]"),
        NewRecord::new(key.as_str(), "[".repeat(500)),
        NewRecord::new(key.as_str(), vec![b'x'; 10 * 1024 * 1024]),
        reading(1, 0).header(schema::topic::ORIGINAL_APPEND_TIME, "soon"),
    ];
    let first = Service::start(&topics, &[]);
    topics.produce(readings.iter().cloned());
    topics.produce(broken);
    topics.produce([readings[7].clone(), readings[150].clone()]);

    let validated = topics.validated(200);
    assert_eq!(validated.len(), 200);
    for record in &validated {
        let key = record.key.as_deref().unwrap();
        assert_eq!(record.partition, partition_for(key, PARTITIONS));
        let event: ValidatedEvent<'_> = serde_json::from_str(record.text()).unwrap();
        assert_eq!(event.gpu.gpu_uuid.as_bytes(), key);
        assert!(event.quality_flags.is_empty(), "{}", record.text());
        assert!(record.text().contains(r#""gpu_temp_c":61.50"#));
        // Ingest time is the raw record's append time: before this record's own.
        assert!(event.validation_timestamp.as_millis() <= record.timestamp);
        assert!(event.timestamp <= event.validation_timestamp);
    }
    let letters = topics.letters(9);
    assert_eq!(
        codes(&letters),
        BTreeMap::from([
            ("duplicate", 3),
            ("invalid_append_time", 1),
            ("malformed_json", 2),
            ("missing_key", 1),
            ("missing_value", 1),
            ("not_an_object", 1),
            ("not_utf8", 1),
            ("record_too_large", 1),
            ("too_deep", 1),
        ])
    );
    assert!(
        letters
            .iter()
            .all(|letter| letter.source.topic == topics.raw)
    );
    testbed::wait_until(PATIENCE, "the counters", || {
        first.metric("validator_records_valid_total") == 200
            && first.metric(r#"validator_records_invalid_total{reason="duplicate"}"#) == 3
            && first.metric("validator_dead_letters_total") == 9
    });
    let (code, log) = first.stop();
    assert_eq!(code, Some(0), "{log}");

    let second = Service::start(&topics, &[]);
    topics.produce(readings);
    let letters = topics.letters(209);
    assert_eq!(codes(&letters)["duplicate"], 203);
    assert_eq!(topics.validated(200).len(), 200);
    assert_eq!(second.metric("validator_records_valid_total"), 0);
}

#[test]
fn a_kill_in_mid_transaction_loses_nothing_and_doubles_nothing() {
    let topics = Topics::create();
    let n = 20_000;
    topics.produce((0..n).map(|i| reading(i % 300, i / 300)));
    // Every reading once more: whether one is a duplicate depends on state that must survive.
    topics.produce((0..n).map(|i| reading(i % 300, i / 300)));
    let small = [
        ("VALIDATOR__PIPELINE__MAX_TRANSACTION_RECORDS", "500"),
        ("VALIDATOR__PIPELINE__COMMIT_INTERVAL_MS", "10"),
        ("VALIDATOR__KAFKA__PROPERTIES__QUEUED_MIN_MESSAGES", "1000"),
    ];
    for judged in [300, 3_000, 6_000] {
        let mut service = Service::start(&topics, &small);
        testbed::wait_until(PATIENCE, "records to be judged", || {
            let valid = service.metric("validator_records_valid_total");
            let invalid = service.metric("validator_dead_letters_total");
            valid + invalid >= judged
        });
        service.kill();
    }
    let service = Service::start(&topics, &small);
    let letters = topics.letters(n);
    assert_eq!(letters.len(), n);
    assert_eq!(codes(&letters), BTreeMap::from([("duplicate", n)]));
    let validated = topics.validated(n);
    let distinct: BTreeSet<String> = validated
        .iter()
        .map(|record| {
            let event: ValidatedEvent<'_> = serde_json::from_str(record.text()).unwrap();
            assert!(
                event.quality_flags.is_empty(),
                "no gap, no restart: {}",
                record.text()
            );
            let sequence = event.collector.unwrap().sequence.unwrap();
            format!("{} {sequence}", event.gpu.gpu_uuid)
        })
        .collect();
    assert_eq!((validated.len(), distinct.len()), (n, n));
    assert_eq!(service.stop().0, Some(0));
}

#[test]
fn idle_partitions_get_ticks_that_only_go_forward() {
    let topics = Topics::create();
    topics.produce([reading(1, 1)]);
    let service = Service::start(
        &topics,
        &[
            ("VALIDATOR__PIPELINE__IDLE_AFTER_MS", "200"),
            ("VALIDATOR__TICKS__MARGIN_MS", "300"),
        ],
    );
    let mut ticks: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    testbed::wait_until(PATIENCE, "three ticks in every partition", || {
        ticks.clear();
        for record in testbed::consume_committed(&topics.kafka, &topics.validated, 0, PATIENCE) {
            if record.key.is_none() {
                let tick: Tick = serde_json::from_str(record.text()).unwrap();
                ticks
                    .entry(record.partition)
                    .or_default()
                    .push((tick.validation_timestamp.as_millis(), record.timestamp));
            }
        }
        ticks.len() == 4 && ticks.values().all(|ticks| ticks.len() >= 3)
    });
    for ticks in ticks.values() {
        assert!(ticks.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(ticks.iter().all(|(tick, appended)| appended - tick >= 300));
    }
    assert!(service.metric("validator_ticks_total") >= 12);
    assert_eq!(service.stop().0, Some(0));
}
