//! A collector for a test: in this process, or as the process that it is.

use chassis::{App, Error};
use collector::config::Config;
use collector::{SERVICE, run};
use schema::MetricEvent;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed::{OwnedRecord, free_port, wait_until};
use tokio::task::JoinHandle;

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A configuration with a fast pace, for `topic` on the shared broker.
pub(crate) fn config(topic: &str, targets: &[String]) -> Config {
    let mut config = Config {
        targets: targets.to_vec(),
        ..Config::default()
    };
    config.kafka.bootstrap_servers = testbed::kafka();
    topic.clone_into(&mut config.topics.raw);
    config.scrape.interval_ms = 500;
    config.scrape.timeout_ms = 400;
    config.scrape.targets_file_poll_ms = 100;
    config
}

/// A collector in this process.
pub(crate) struct InProcess {
    app: App,
    task: JoinHandle<Result<(), Error>>,
}

impl InProcess {
    pub(crate) fn start(config: Config) -> Self {
        let app = App::detached(SERVICE);
        Self {
            task: tokio::spawn(run(config, app.clone())),
            app,
        }
    }

    pub(crate) async fn stop(self) {
        self.app.shutdown().cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// A collector as a process; killed with the guard.
pub(crate) struct Process {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
}

impl Process {
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_collector"))
            .env("COLLECTOR__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self { child, port, log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn log_lines(&self, part: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(part))
            .count()
    }

    /// Status and body of `path`.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return (0, String::new());
        };
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        if stream.write_all(request.as_bytes()).is_err()
            || stream.read_to_string(&mut answer).is_err()
        {
            return (0, String::new());
        }
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    pub(crate) fn ready(&self) -> bool {
        self.get("/readyz").0 == 200
    }

    /// The value of the metric whose line begins with `name`; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics");
        body.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap_or(0.0)
    }

    pub(crate) fn wait(&mut self, what: &str) -> ExitStatus {
        let mut status = None;
        wait_until(PATIENCE, what, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.wait("the collector's end")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn event(record: &OwnedRecord) -> MetricEvent<'_> {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

/// An exposition of one GPU.
pub(crate) fn exposition(uuid: &str, celsius: u8) -> String {
    format!("DCGM_FI_DEV_GPU_TEMP{{gpu=\"0\",UUID=\"{uuid}\",hostname=\"node\"}} {celsius}\n")
}

/// Serves `router` on a port of its own, for as long as the runtime lives.
pub(crate) async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address.to_string()
}
