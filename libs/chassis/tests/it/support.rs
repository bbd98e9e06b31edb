//! The example service as a process, and what its outputs must be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testbed::NewRecord;

pub(crate) const PARTITIONS: i32 = 4;

/// The topics of one test.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) changelog: String,
}

impl Topics {
    pub(crate) fn create(kafka: &str) -> Self {
        Self::create_with(kafka, PARTITIONS)
    }

    pub(crate) fn create_with(kafka: &str, changelog_partitions: i32) -> Self {
        let topics = Self {
            input: testbed::unique("in"),
            output: testbed::unique("out"),
            changelog: testbed::unique("changelog"),
        };
        testbed::create_topic(kafka, &topics.input, PARTITIONS, &[]);
        testbed::create_topic(kafka, &topics.output, PARTITIONS, &[]);
        testbed::create_topic(
            kafka,
            &topics.changelog,
            changelog_partitions,
            &[("cleanup.policy", "compact")],
        );
        topics
    }
}

/// Produces `n` records over `keys` keys.
pub(crate) fn produce(kafka: &str, topic: &str, keys: u32, n: u32) {
    let record = |i: u32| {
        let key = i % keys;
        let partition = i32::try_from(key).unwrap() % PARTITIONS;
        NewRecord::new(format!("key-{key}"), "x").partition(partition)
    };
    testbed::produce(kafka, topic, (0..n).map(record));
}

/// The running example.
pub(crate) struct Counter {
    child: Child,
    pub(crate) http: u16,
    log: PathBuf,
}

impl Counter {
    pub(crate) fn start(
        kafka: &str,
        topics: &Topics,
        instance: &str,
        extra: &[(&str, &str)],
    ) -> Self {
        let http = testbed::free_port();
        let log = std::env::temp_dir().join(format!("{}-{instance}-{http}.log", topics.input));
        let stderr = std::fs::File::create(&log).unwrap();
        let child = Command::new(example("counter"))
            .env("COUNTER__HTTP__LISTEN", format!("127.0.0.1:{http}"))
            .env("COUNTER__KAFKA__BOOTSTRAP_SERVERS", kafka)
            .env(
                "COUNTER__KAFKA__GROUP_ID",
                format!("group-{}", topics.input),
            )
            .env("COUNTER__KAFKA__INSTANCE_ID", instance)
            .env("COUNTER__COUNTER__INPUT", &topics.input)
            .env("COUNTER__COUNTER__OUTPUT", &topics.output)
            .env("COUNTER__COUNTER__CHANGELOG", &topics.changelog)
            .env("COUNTER__LOG__FILTER", "info,chassis=debug")
            .envs(extra.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, http, log }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end; the exit code and everything it logged.
    pub(crate) fn wait(mut self, within: Duration) -> (i32, String) {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = self.log();
                return (status.code().unwrap_or(-1), log);
            }
            assert!(Instant::now() < deadline, "still running\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Status and body of one of its endpoints; 0 while it does not answer.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        http_get(self.http, path).unwrap_or_default()
    }

    pub(crate) fn wait_ready(&self) {
        testbed::wait_until(Duration::from_secs(30), "the counter to be ready", || {
            self.get("/readyz").0 == 200
        });
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the counter ---\n{}", self.log());
        }
        drop(std::fs::remove_file(&self.log));
    }
}

fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("examples").join(name)
}

/// Reads the committed output until it holds `n` records, and proves that each key counts 1, 2, 3, … in order.
pub(crate) fn assert_exactly_once(kafka: &str, topics: &Topics, keys: u32, n: u32) {
    let expected = usize::try_from(n).unwrap();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut sources: BTreeSet<Vec<u8>> = BTreeSet::new();
    let records =
        testbed::consume_committed(kafka, &topics.output, expected, Duration::from_secs(90));
    for record in &records {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        let count: u64 = record.text().parse().unwrap();
        let last = counts.entry(key.clone()).or_default();
        assert_eq!(
            count,
            *last + 1,
            "{key} at partition {} offset {}",
            record.partition,
            record.offset
        );
        *last = count;
        let source = record
            .headers
            .iter()
            .find(|(name, _)| name == "source")
            .and_then(|(_, value)| value.clone())
            .unwrap();
        assert!(
            source.starts_with(format!("{}/{}/", topics.input, record.partition).as_bytes()),
            "{}",
            String::from_utf8_lossy(&source)
        );
        assert!(sources.insert(source), "a source comes twice");
    }
    assert_eq!(records.len(), expected);
    assert_eq!(counts.len(), usize::try_from(keys.min(n)).unwrap());
}
