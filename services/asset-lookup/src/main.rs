//! Owns the GPU assets in PostgreSQL and publishes every change to Kafka.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(asset_lookup::SERVICE, asset_lookup::run)
}
