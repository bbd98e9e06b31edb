//! Logs and metrics of the process.

use crate::Error;
use crate::config::{LogConfig, LogFormat};
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Seconds; from a fast transaction to a stalled one.
const SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Sends the logs to standard error: text or one JSON object a line.
pub(crate) fn init_logs(config: &LogConfig) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| Error::config(format!("log.filter: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let result = match config.format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| Error::internal(format!("logs: {error}")))
}

/// Installs the process's metrics recorder.
pub(crate) fn init_metrics() -> Result<PrometheusHandle, Error> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| Error::internal(format!("metrics: {error}")))
}

/// Describes what every service exposes.
pub(crate) fn describe() {
    use metrics::{describe_counter, describe_gauge};
    describe_gauge!("build_info", "1; the labels tell the build.");
    describe_counter!(
        "process_cpu_seconds_total",
        "CPU time of this process, user and system, in seconds."
    );
    describe_gauge!(
        "process_resident_memory_bytes",
        "Resident memory of this process in bytes."
    );
    describe_gauge!("process_open_fds", "Open file descriptors of this process.");
}

/// Refreshes the metrics of the process itself; called at each scrape.
pub(crate) fn refresh_process_metrics() {
    // USER_HZ: the unit of utime and stime, 100 on every Linux that Rust supports.
    const TICKS_PER_SECOND: u64 = 100;
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
        // The command's name may hold blanks and brackets; what follows its last bracket does not.
        && let Some((_, rest)) = stat.rsplit_once(')')
    {
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |i: usize| {
            fields
                .get(i)
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0)
        };
        counter!("process_cpu_seconds_total")
            .absolute((number(11) + number(12)) / TICKS_PER_SECOND);
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status")
        && let Some(line) = status.lines().find(|line| line.starts_with("VmRSS:"))
        && let Some(kib) = line
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|field| field.parse::<f64>().ok())
    {
        gauge!("process_resident_memory_bytes").set(kib * 1024.0);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(entries.count() as f64);
    }
}
