//! The health-scorer's process.

fn main() -> std::process::ExitCode {
    chassis::main(health_scorer::SERVICE, health_scorer::run)
}
