//! The command line of the fleet simulator; everything it does is in the library.

fn main() -> std::process::ExitCode {
    fleet_sim::cli::main()
}
