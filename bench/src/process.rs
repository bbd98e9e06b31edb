//! A process under measurement.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running service, ended with this value.
pub(crate) struct Service {
    child: Child,
    port: u16,
}

impl Service {
    /// Starts `name` with settings such as `("TOPICS__RAW", "t")`.
    pub(crate) fn start(name: &str, kafka: &str, settings: &[(String, String)]) -> Self {
        Self::start_from(name, name, kafka, settings)
    }

    /// Starts the service `name` from the file `path` beside this binary.
    pub(crate) fn start_from(
        path: &str,
        name: &str,
        kafka: &str,
        settings: &[(String, String)],
    ) -> Self {
        let port = testbed::free_port();
        let prefix = name.to_uppercase().replace('-', "_");
        let child = Command::new(binary(path))
            .env(
                format!("{prefix}__HTTP__LISTEN"),
                format!("127.0.0.1:{port}"),
            )
            .env(format!("{prefix}__KAFKA__BOOTSTRAP_SERVERS"), kafka)
            .env(format!("{prefix}__LOG__FILTER"), "warn")
            .envs(
                settings
                    .iter()
                    .map(|(key, value)| (format!("{prefix}__{key}"), value)),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name}: {error}; build with cargo build --release --workspace")
            });
        Self { child, port }
    }

    pub(crate) fn wait_ready(&self) {
        testbed::wait_until(Duration::from_mins(1), "a service to be ready", || {
            self.is_ready()
        });
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").0 == 200
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        drop(Command::new("kill").args(["-TERM", &pid]).status());
        drop(self.child.wait());
    }

    /// Sum of a metric's series.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id())
    }

    /// The most memory it ever held, in MB (10^6 bytes).
    pub(crate) fn peak_mb(&self) -> f64 {
        peak_mb(self.child.id())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )?;
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
        (
            status,
            answer
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned())
                .unwrap_or_default(),
        )
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A binary beside this one.
pub(crate) fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(name)
}

/// User and system time of a process. The kernel counts in hundredths of a second.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace().collect())
        .unwrap_or_default();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

pub(crate) fn peak_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<f64>().ok())
        .unwrap_or(0.0);
    kib * 1024.0 / 1e6
}
