//! The aggregator's process.

fn main() -> std::process::ExitCode {
    chassis::main(aggregator::SERVICE, aggregator::run)
}
