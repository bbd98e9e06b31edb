//! The service as a process, and a client for its API.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const PARTITIONS: i32 = 4;

pub(crate) fn uuid(number: u32) -> String {
    format!("GPU-00000000-0000-0000-0000-{number:012}")
}

pub(crate) fn path(number: u32) -> String {
    format!("/api/v1/assets/{}", uuid(number))
}

/// A topic for assets on the shared broker.
pub(crate) fn topic() -> String {
    testbed::topic_with("assets", PARTITIONS, &[("cleanup.policy", "compact")])
}

pub(crate) struct Service {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's kind and the fields or lines that it blames.
    pub(crate) fn problem(&self) -> (u16, String, Vec<String>) {
        assert!(
            self.head.contains("content-type: application/problem+json"),
            "{self:?}"
        );
        let json = self.json();
        assert_eq!(json["status"], self.status);
        assert!(
            json["title"].is_string() && json["detail"].is_string(),
            "{json}"
        );
        let kind = json["type"].as_str().unwrap();
        let kind = kind.rsplit(':').next().unwrap().to_owned();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        let blamed = errors.iter().map(|error| {
            assert!(error["reason"].is_string(), "{error}");
            let field = error["field"].as_str().unwrap_or("-");
            match error["line"].as_u64() {
                Some(line) => format!("{line} {field}"),
                None => field.to_owned(),
            }
        });
        (self.status, kind, blamed.collect())
    }
}

impl Service {
    /// Starts it on a database and a topic of its own group.
    pub(crate) fn start(kafka: &str, database: &str, topic: &str, extra: &[(&str, &str)]) -> Self {
        let port = testbed::free_port();
        let log = std::env::temp_dir().join(format!("asset-lookup-{topic}-{port}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_asset-lookup"))
            .env("ASSET_LOOKUP__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("ASSET_LOOKUP__KAFKA__BOOTSTRAP_SERVERS", kafka)
            .env("ASSET_LOOKUP__KAFKA__GROUP_ID", topic)
            .env("ASSET_LOOKUP__DATABASE__URL", database)
            .env("ASSET_LOOKUP__TOPICS__ASSETS", topic)
            .envs(extra.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, port, log }
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Answer {
        let started = Instant::now();
        loop {
            match request(self.port, method, path, content_type, body) {
                Ok(answer) => return answer,
                // It listens a moment after it was started.
                Err(error) => assert!(started.elapsed() < DEADLINE, "{error}\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None, b"")
    }

    pub(crate) fn put(&self, path: &str, json: &Value) -> Answer {
        let body = json.to_string();
        self.request("PUT", path, Some("application/json"), body.as_bytes())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, None, b"")
    }

    pub(crate) fn import_csv(&self, csv: &str) -> Answer {
        let path = "/api/v1/assets/import";
        self.request("POST", path, Some("text/csv"), csv.as_bytes())
    }

    pub(crate) fn metric(&self, series: &str) -> f64 {
        let metrics = self.get("/metrics").body;
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or(0.0)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").status == 200
    }

    pub(crate) fn wait_ready(&self) {
        testbed::wait_until(DEADLINE, "asset-lookup is ready", || self.is_ready());
    }

    /// Waits until it relays, having looked at the topic: what is changed from then on is published once.
    pub(crate) fn wait_publishing(&self) {
        testbed::wait_until(DEADLINE, "asset-lookup publishes", || {
            self.metric("asset_lookup_relay_active") > 0.0
        });
    }

    /// Waits until the API answers, though Kafka may be away.
    pub(crate) fn wait_database(&self) {
        testbed::wait_until(DEADLINE, "the API has its database", || {
            self.get("/api/v1/assets?limit=1").status == 200
        });
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

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

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of asset-lookup ---\n{}", self.log());
        }
        drop(std::fs::remove_file(&self.log));
    }
}

/// One request with a JSON body, not repeated when it fails.
pub(crate) fn once(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
    request(
        port,
        method,
        path,
        Some("application/json"),
        body.as_bytes(),
    )
}

fn request(
    port: u16,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let content_type = content_type.map_or_else(String::new, |t| format!("Content-Type: {t}\r\n"));
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{content_type}Content-Length: {}\r\n\r\n",
        body.len()
    )?;
    // The service may answer and close before it has read a body that is too long.
    drop(stream.write_all(body));
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        read?;
        return Err(std::io::Error::other("no answer"));
    };
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(|| std::io::Error::other("no status"))?,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}
