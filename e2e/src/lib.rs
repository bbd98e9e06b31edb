//! Starts the real binaries of the fleet on a real broker and a real database, kills them, and waits for what they make.
//!
//! And holds what they made against what they should have: [`conservation`] counts outcomes, [`undisturbed`] computes the
//! same in memory, [`stored`] looks at the database.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't get what it needs ends here and says why"
)]

pub mod conservation;
pub mod stored;
pub mod undisturbed;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Every service, in the order of the data's way.
pub const SERVICES: &[&str] = &[
    "collector",
    "validator",
    "asset-lookup",
    "enricher",
    "aggregator",
    "anomaly-detector",
    "health-scorer",
    "tsdb-sink",
    "auditor",
];

/// How long a service may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// The binary of a service or tool, freshly built with the profile of this test.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let mut folder = std::env::current_exe().unwrap();
        folder.pop();
        if folder.ends_with("deps") {
            folder.pop();
        }
        // `cargo test -p e2e` alone builds no other package's binary; where all are built this takes half a second.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--workspace", "--bins", "--locked"]);
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(status.success(), "the binaries do not build");
        folder
    });
    folder.join(name)
}

/// Status and body of an endpoint on this machine; 0 while nothing answers.
pub fn http_get(port: u16, path: &str) -> (u16, String) {
    http(
        port,
        &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        &[],
    )
}

/// Status and answer of a POST.
pub fn http_post(port: u16, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    http(port, &head, body)
}

fn http(port: u16, head: &str, body: &[u8]) -> (u16, String) {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().unwrap_or_default();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    (status, body)
}

/// One running service.
#[derive(Debug)]
struct Process {
    child: Child,
    port: u16,
    environment: Vec<(String, String)>,
    log: PathBuf,
}

/// Services that run, by name. They end with this value.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    kafka: String,
    processes: BTreeMap<String, Process>,
}

impl Fleet {
    /// No service yet. Topics are made from the catalogue.
    pub fn new(kafka: &str) -> Self {
        let folder = std::env::temp_dir().join(testbed::unique("fleet"));
        std::fs::create_dir_all(&folder).unwrap();
        let status = Command::new(binary("topics"))
            .args([
                "apply",
                "--bootstrap-servers",
                kafka,
                "--replication-factor",
                "1",
            ])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "the topics can't be made");
        Self {
            folder,
            kafka: kafka.to_owned(),
            processes: BTreeMap::new(),
        }
    }

    /// Starts `service` with further settings, `("PIPELINE__WORKERS", "2")`, as its environment.
    pub fn start(&mut self, service: &str, settings: &[(&str, &str)]) {
        let port = testbed::free_port();
        let prefix = service.to_uppercase().replace('-', "_");
        let mut environment = vec![
            (
                format!("{prefix}__HTTP__LISTEN"),
                format!("127.0.0.1:{port}"),
            ),
            (
                format!("{prefix}__KAFKA__BOOTSTRAP_SERVERS"),
                self.kafka.clone(),
            ),
            (
                format!("{prefix}__KAFKA__INSTANCE_ID"),
                format!("{service}-0"),
            ),
        ];
        environment.extend(
            settings
                .iter()
                .map(|(key, value)| (format!("{prefix}__{key}"), (*value).to_owned())),
        );
        let log = self.folder.join(format!("{service}.log"));
        let child = spawn(service, &environment, &log);
        self.processes.insert(
            service.to_owned(),
            Process {
                child,
                port,
                environment,
                log,
            },
        );
    }

    /// kill -9, and the same again.
    pub fn kill_and_restart(&mut self, service: &str) {
        self.kill(service);
        let process = self.processes.get_mut(service).unwrap();
        process.child = spawn(service, &process.environment, &process.log);
    }

    /// kill -9.
    pub fn kill(&mut self, service: &str) {
        let process = self.processes.get_mut(service).unwrap();
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self, service: &str) -> Option<i32> {
        let mut process = self.processes.remove(service).unwrap();
        let status = Command::new("kill")
            .arg(process.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(status) = process.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "{service} does not drain");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The port of its endpoints.
    pub fn port(&self, service: &str) -> u16 {
        self.processes[service].port
    }

    /// The process's id.
    pub fn pid(&self, service: &str) -> u32 {
        self.processes[service].child.id()
    }

    /// Waits until `/readyz` says so.
    pub fn wait_ready(&self, service: &str) {
        let port = self.port(service);
        testbed::wait_until(READY_WITHIN, &format!("{service} to be ready"), || {
            http_get(port, "/readyz").0 == 200
        });
    }

    /// The sum of a metric's series; 0 while there are none.
    pub fn metric(&self, service: &str, name: &str) -> f64 {
        let (_, text) = http_get(self.port(service), "/metrics");
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// What a service has logged.
    pub fn log(&self, service: &str) -> String {
        std::fs::read_to_string(&self.processes[service].log).unwrap_or_default()
    }

    /// The ends of all logs, for a failure that has to be understood.
    pub fn logs(&self) -> String {
        self.processes
            .keys()
            .fold(String::new(), |mut text, service| {
                let log = self.log(service);
                let lines: Vec<&str> = log.lines().collect();
                text.push_str(&format_log(
                    service,
                    &lines[lines.len().saturating_sub(15)..],
                ));
                text
            })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            drop(process.child.kill());
            drop(process.child.wait());
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn format_log(service: &str, lines: &[&str]) -> String {
    format!("--- {service} ---\n{}\n", lines.join("\n"))
}

fn spawn(service: &str, environment: &[(String, String)], log: &Path) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    Command::new(binary(service))
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{service}: {error}"))
}
