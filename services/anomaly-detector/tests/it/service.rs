//! The service as a process, with topics of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const OUTPUT_PARTITIONS: i32 = 2;

pub(crate) struct Topics {
    pub(crate) enriched: String,
    pub(crate) alerts: String,
    pub(crate) critical: String,
    pub(crate) invalid: String,
    pub(crate) changelog: String,
}

impl Topics {
    pub(crate) fn create() -> Self {
        Self {
            enriched: testbed::topic("enriched", PARTITIONS),
            alerts: testbed::topic("alerts", OUTPUT_PARTITIONS),
            critical: testbed::topic("critical", OUTPUT_PARTITIONS),
            invalid: testbed::topic("invalid", OUTPUT_PARTITIONS),
            changelog: testbed::topic_with(
                "changelog",
                PARTITIONS,
                &[("cleanup.policy", "compact")],
            ),
        }
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
        let log = std::env::temp_dir().join(format!("{}-{port}.log", topics.enriched));
        let child = Command::new(env!("CARGO_BIN_EXE_anomaly-detector"))
            .env(
                "ANOMALY_DETECTOR__HTTP__LISTEN",
                format!("127.0.0.1:{port}"),
            )
            .env("ANOMALY_DETECTOR__KAFKA__BOOTSTRAP_SERVERS", kafka)
            .env("ANOMALY_DETECTOR__KAFKA__GROUP_ID", &topics.enriched)
            .env("ANOMALY_DETECTOR__KAFKA__INSTANCE_ID", "0")
            .env("ANOMALY_DETECTOR__TOPICS__ENRICHED", &topics.enriched)
            .env("ANOMALY_DETECTOR__TOPICS__ALERTS", &topics.alerts)
            .env("ANOMALY_DETECTOR__TOPICS__CRITICAL", &topics.critical)
            .env("ANOMALY_DETECTOR__TOPICS__INVALID", &topics.invalid)
            .env("ANOMALY_DETECTOR__TOPICS__CHANGELOG", &topics.changelog)
            .envs(extra.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, port, log }
    }

    /// The text of `/metrics`; empty while nobody answers.
    pub(crate) fn metrics(&self) -> String {
        get(self.port, "/metrics").unwrap_or_default()
    }

    /// The value of a metric's series; none when it is not there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Everything that was produced before has been read and committed.
    pub(crate) fn has_caught_up(&self) -> bool {
        let text = self.metrics();
        let mut lags = text
            .lines()
            .filter(|line| line.starts_with("chassis_consumer_lag_records"))
            .peekable();
        lags.peek().is_some() && lags.all(|line| line.ends_with(" 0"))
    }

    /// kill -9
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

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the anomaly-detector ---\n{}", self.log());
        }
        drop(std::fs::remove_file(&self.log));
    }
}

fn get(port: u16, path: &str) -> Option<String> {
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
