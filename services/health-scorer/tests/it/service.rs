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
    pub(crate) scores: String,
    pub(crate) invalid: String,
    pub(crate) changelog: String,
}

impl Topics {
    pub(crate) fn create() -> Self {
        Self {
            enriched: testbed::topic("enriched", PARTITIONS),
            scores: testbed::topic("scores", OUTPUT_PARTITIONS),
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
        let child = Command::new(env!("CARGO_BIN_EXE_health-scorer"))
            .env("HEALTH_SCORER__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("HEALTH_SCORER__KAFKA__BOOTSTRAP_SERVERS", kafka)
            .env("HEALTH_SCORER__KAFKA__GROUP_ID", &topics.enriched)
            .env("HEALTH_SCORER__KAFKA__INSTANCE_ID", "0")
            .env("HEALTH_SCORER__TOPICS__ENRICHED", &topics.enriched)
            .env("HEALTH_SCORER__TOPICS__HEALTH_SCORES", &topics.scores)
            .env("HEALTH_SCORER__TOPICS__INVALID", &topics.invalid)
            .env("HEALTH_SCORER__TOPICS__CHANGELOG", &topics.changelog)
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

    /// The value of a metric's series, as it stands in `/metrics`; none when it is not there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
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

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the health-scorer ---\n{}", self.log());
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
