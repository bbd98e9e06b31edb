//! Searches enriched GPU telemetry for anomalies and keeps the alerts' state.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(anomaly_detector::SERVICE, anomaly_detector::run)
}
