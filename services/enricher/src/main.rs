//! Joins validated GPU telemetry with the asset table.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(enricher::SERVICE, enricher::run)
}
