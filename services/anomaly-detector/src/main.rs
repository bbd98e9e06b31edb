//! Searches enriched GPU telemetry for anomalies and keeps the alerts' state.

fn main() {}
