//! Follows every topic and the sink's tables, and proves that each record has one outcome.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main(auditor::SERVICE, auditor::run)
}
