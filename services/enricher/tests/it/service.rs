//! The service as a process, with topics of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const PARTITIONS: i32 = 4;
/// Fewer than the input has, as in the catalogue.
pub(crate) const TABLE_PARTITIONS: i32 = 2;

pub(crate) struct Topics {
    pub(crate) validated: String,
    pub(crate) assets: String,
    pub(crate) enriched: String,
    pub(crate) invalid: String,
}

impl Topics {
    pub(crate) fn create() -> Self {
        Self {
            validated: testbed::topic("validated", PARTITIONS),
            assets: testbed::topic_with(
                "assets",
                TABLE_PARTITIONS,
                &[("cleanup.policy", "compact")],
            ),
            enriched: testbed::topic("enriched", PARTITIONS),
            invalid: testbed::topic("invalid", 2),
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
        let log = std::env::temp_dir().join(format!("{}-{port}.log", topics.validated));
        let child = Command::new(env!("CARGO_BIN_EXE_enricher"))
            .env("ENRICHER__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("ENRICHER__KAFKA__BOOTSTRAP_SERVERS", kafka)
            .env("ENRICHER__KAFKA__GROUP_ID", &topics.validated)
            .env("ENRICHER__KAFKA__INSTANCE_ID", "0")
            .env("ENRICHER__TOPICS__VALIDATED", &topics.validated)
            .env("ENRICHER__TOPICS__ASSETS", &topics.assets)
            .env("ENRICHER__TOPICS__ENRICHED", &topics.enriched)
            .env("ENRICHER__TOPICS__INVALID", &topics.invalid)
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
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or(0.0)
    }

    pub(crate) fn wait_ready(&self) {
        testbed::wait_until(DEADLINE, "the enricher is ready", || {
            self.get("/readyz").0 == 200
        });
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
            eprintln!("--- log of the enricher ---\n{}", self.log());
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
