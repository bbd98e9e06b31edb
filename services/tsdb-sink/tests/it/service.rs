//! The topics of one test, and the service as a process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testbed::{Broker, NewRecord};

pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
pub(crate) const PARTITIONS: i32 = 4;

/// Topics of one test, on the shared broker or on one of its own.
pub(crate) struct Topics {
    pub(crate) kafka: String,
    pub(crate) enriched: String,
    pub(crate) one_minute: String,
    pub(crate) fifteen_minutes: String,
    pub(crate) alerts: String,
    pub(crate) scores: String,
    pub(crate) invalid: String,
}

impl Topics {
    pub(crate) fn create() -> Self {
        Self::with(testbed::kafka(), testbed::topic)
    }

    pub(crate) fn on(broker: &Broker) -> Self {
        Self::with(broker.bootstrap().to_owned(), |prefix, partitions| {
            broker.topic(prefix, partitions)
        })
    }

    fn with(kafka: String, topic: impl Fn(&str, i32) -> String) -> Self {
        Self {
            kafka,
            enriched: topic("enriched", PARTITIONS),
            one_minute: topic("one-minute", 2),
            fifteen_minutes: topic("fifteen-minutes", 2),
            alerts: topic("alerts", 2),
            scores: topic("scores", 2),
            invalid: topic("invalid", 2),
        }
    }

    pub(crate) fn produce(&self, topic: &str, records: impl IntoIterator<Item = NewRecord>) {
        testbed::produce(&self.kafka, topic, records);
    }
}

/// The running service.
pub(crate) struct Service {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Service {
    /// Starts it on a database and the topics of a test, whose group it joins.
    pub(crate) fn start(topics: &Topics, database: &str, extra: &[(&str, &str)]) -> Self {
        let port = testbed::free_port();
        let log = std::env::temp_dir().join(format!("tsdb-sink-{}-{port}.log", topics.enriched));
        let child = Command::new(env!("CARGO_BIN_EXE_tsdb-sink"))
            .env("TSDB_SINK__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("TSDB_SINK__KAFKA__BOOTSTRAP_SERVERS", &topics.kafka)
            .env("TSDB_SINK__KAFKA__GROUP_ID", &topics.enriched)
            .env("TSDB_SINK__KAFKA__INSTANCE_ID", port.to_string())
            .env("TSDB_SINK__DATABASE__URL", database)
            .env("TSDB_SINK__TOPICS__ENRICHED", &topics.enriched)
            .env("TSDB_SINK__TOPICS__ONE_MINUTE", &topics.one_minute)
            .env(
                "TSDB_SINK__TOPICS__FIFTEEN_MINUTES",
                &topics.fifteen_minutes,
            )
            .env("TSDB_SINK__TOPICS__ALERTS", &topics.alerts)
            .env("TSDB_SINK__TOPICS__HEALTH_SCORES", &topics.scores)
            .env("TSDB_SINK__TOPICS__INVALID", &topics.invalid)
            .envs(extra.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, port, log }
    }

    /// The status and the body of an answer, once it listens.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let started = Instant::now();
        loop {
            match request(self.port, path) {
                Ok(answer) => return answer,
                Err(error) => assert!(started.elapsed() < DEADLINE, "{error}\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The sum of the series whose name and labels begin with `series`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let value = |line: &str| -> Option<f64> {
            let rest = line.strip_prefix(series)?;
            rest.rsplit_once(' ')?.1.parse().ok()
        };
        self.get("/metrics").1.lines().filter_map(value).sum()
    }

    pub(crate) fn wait_metric(&self, series: &str, condition: impl Fn(f64) -> bool) {
        testbed::wait_until(DEADLINE, series, || condition(self.metric(series)));
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").0 == 200
    }

    pub(crate) fn wait_ready(&self) {
        testbed::wait_until(DEADLINE, "the sink is ready", || self.is_ready());
    }

    /// Waits until it is not ready because of `gate`; it stays alive.
    pub(crate) fn wait_unready(&self, gate: &str) {
        testbed::wait_until(DEADLINE, &format!("{gate} closes"), || {
            let (status, body) = self.get("/readyz");
            status == 503 && body.contains(gate)
        });
        assert_eq!(self.get("/healthz").0, 200);
    }

    /// How often the log has said `words`.
    pub(crate) fn said(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(self) -> (i32, String) {
        self.signal("TERM");
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
            eprintln!("--- log of tsdb-sink ---\n{}", self.log());
        }
        drop(std::fs::remove_file(&self.log));
    }
}

fn request(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.unwrap_or(0), body.to_owned()))
}
