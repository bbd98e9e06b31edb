//! The validator's process.

fn main() -> std::process::ExitCode {
    chassis::main(validator::SERVICE, validator::run)
}
