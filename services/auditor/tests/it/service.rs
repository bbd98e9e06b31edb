//! The service as a process, with topics and groups of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testbed::NewRecord;

pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const PARTITIONS: i32 = 2;

/// The topics by the name of their key in the configuration.
const KEYS: [&str; 10] = [
    "raw",
    "validated",
    "enriched",
    "invalid",
    "one_minute",
    "fifteen_minutes",
    "alerts",
    "critical",
    "health_scores",
    "changelog",
];

pub(crate) struct Topics {
    names: Vec<String>,
}

impl Topics {
    pub(crate) fn create() -> Self {
        let create = |key: &str| match key {
            "changelog" => testbed::topic_with(key, 1, &[("cleanup.policy", "compact")]),
            _ => testbed::topic(key, PARTITIONS),
        };
        Self {
            names: KEYS.map(create).to_vec(),
        }
    }

    pub(crate) fn of(&self, key: &str) -> &str {
        let index = KEYS.iter().position(|known| *known == key).unwrap();
        &self.names[index]
    }

    /// The stage's group.
    pub(crate) fn group(&self, stage: &str) -> String {
        format!("{}-{stage}", self.of("raw"))
    }

    /// A record in partition 0 that came of `input`/0/`offset`.
    pub(crate) fn out_of(&self, input: &str, offset: i64, value: &str) -> NewRecord {
        NewRecord::new("GPU-1", value)
            .partition(0)
            .header("source", format!("{}/0/{offset}", self.of(input)))
    }
}

pub(crate) struct Service {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Service {
    pub(crate) fn start(kafka: &str, topics: &Topics, extra: &[(&str, &str)]) -> Self {
        let port = testbed::free_port();
        let log = std::env::temp_dir().join(format!("auditor-{port}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_auditor"));
        for key in KEYS {
            command.env(
                format!("AUDITOR__TOPICS__{}", key.to_uppercase()),
                topics.of(key),
            );
        }
        for stage in [
            "validator",
            "enricher",
            "aggregator",
            "anomaly_detector",
            "health_scorer",
        ] {
            command.env(
                format!("AUDITOR__GROUPS__{}", stage.to_uppercase()),
                topics.group(stage),
            );
        }
        let child = command
            .env("AUDITOR__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("AUDITOR__KAFKA__BOOTSTRAP_SERVERS", kafka)
            .env("AUDITOR__KAFKA__GROUP_ID", topics.group("auditor"))
            .env("AUDITOR__AUDIT__START", "earliest")
            .env("AUDITOR__AUDIT__SURVEY_INTERVAL_MS", "100")
            .env("AUDITOR__AUDIT__SNAPSHOT_INTERVAL_MS", "200")
            .envs(extra.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, port, log }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.port, path).unwrap_or_default()
    }

    /// The value of a metric's series, as it stands in `/metrics`; 0 when it is not there.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or(0)
    }

    /// What a stage's account says: audited, lost, doubled, phantom, unaudited.
    pub(crate) fn account(&self, stage: &str) -> [u64; 5] {
        ["audited", "lost", "doubled", "phantom", "unaudited"].map(|kind| {
            self.metric(&format!(
                "auditor_{kind}_records_total{{stage=\"{stage}\"}}"
            ))
        })
    }

    /// Waits until a stage's account says this.
    pub(crate) fn wait_for(&self, stage: &str, expected: [u64; 5]) {
        let started = Instant::now();
        loop {
            let account = self.account(stage);
            if account == expected {
                return;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "{stage}: {account:?} and not {expected:?}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(self) -> (i32, String) {
        let status = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
        self.wait()
    }

    /// Waits for the end: the exit code and what it logged.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code().unwrap_or(-1), self.log());
            }
            assert!(started.elapsed() < DEADLINE, "still running");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the auditor ---\n{}", self.log());
        }
        drop(std::fs::remove_file(&self.log));
    }
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
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
