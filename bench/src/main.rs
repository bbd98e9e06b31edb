//! Events per CPU-second of each stage beside a bare librdkafka loop, and the latency from a raw record to its alert.
//!
//! One broker on the same machine, exactly-once on. The bare loop consumes and transactionally produces the same bytes
//! with the same client settings, and does nothing else: what a stage needs more is what it costs. Each stage runs next
//! to a bare loop on its own input, in the same run, so that the ratio holds on a noisy machine.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that can't go on ends here, and prints"
)]

mod bare;
mod broker;
mod corpus;
mod latency;
mod process;
mod restore;
mod throughput;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything: throughput of each stage, then latency.
    All {
        #[command(flatten)]
        throughput: throughput::Options,
        #[command(flatten)]
        latency: latency::Options,
        /// Exit 1 when a floor is missed.
        #[arg(long)]
        floors: bool,
    },
    /// How long restoring state takes.
    Restore {
        #[command(flatten)]
        restore: restore::Options,
        /// Exit 1 when it takes longer than it may.
        #[arg(long)]
        floors: bool,
    },
    /// The bare loop, as a process of its own (used by the others).
    #[command(hide = true)]
    Bare(bare::Options),
}

fn main() -> std::process::ExitCode {
    match Arguments::parse().command {
        Command::Bare(options) => bare::run(&options),
        Command::All {
            throughput,
            latency,
            floors,
        } => measure(floors, |broker| {
            let mut missed = throughput::run(broker, &throughput);
            missed.extend(latency::run(broker, &latency));
            missed
        }),
        Command::Restore { restore, floors } => {
            // Asked before there is a broker: a panic aborts, and would leave it running.
            if !restore::service().exists() {
                eprintln!(
                    "bench: the example `counter` is not built; `make bench-restore` builds it and runs this"
                );
                return std::process::ExitCode::FAILURE;
            }
            measure(floors, |broker| restore::run(broker, &restore))
        }
    }
}

fn measure(
    floors: bool,
    run: impl FnOnce(&broker::Broker) -> Vec<String>,
) -> std::process::ExitCode {
    let broker = broker::Broker::start();
    println!("broker {} · {} cores\n", broker.bootstrap(), cores());
    let missed = run(&broker);
    for line in &missed {
        println!("below the floor: {line}");
    }
    if floors && !missed.is_empty() {
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}
