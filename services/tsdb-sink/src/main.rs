//! Stores telemetry, windows, alerts and scores in TimescaleDB or PostgreSQL, exactly once.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(tsdb_sink::SERVICE, tsdb_sink::run)
}
