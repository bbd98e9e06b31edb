//! Strikes the running fleet, by a seed, and proves that nothing was lost, doubled or changed.
//!
//! Real brokers, a real database, the released binaries of all services, a simulated fleet as load. See `README.md`.
#![expect(
    clippy::panic,
    reason = "a suite that can't go on ends here, and a hook ends what it has started"
)]

mod audit;
mod check;
mod compare;
mod disk;
mod ending;
mod evidence;
mod failover;
mod ground;
mod lineage;
mod load;
mod pause;
mod plan;
mod progress;
mod random;
mod report;
mod role;
mod run;
mod streams;
mod supervisor;
mod tally;
mod verdict;

use clap::{Args, Parser, Subcommand};
use run::Options;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the fleet, strike it, and compare. Exit 1 when anything is wrong.
    Run {
        #[command(flatten)]
        run: RunArguments,
    },
    /// Measure how long partitions wait when a member dies or is restarted. Exit 1 when a limit is passed.
    Failover {
        #[command(flatten)]
        failover: FailoverArguments,
    },
    /// The same blows, and the same strikes at one member, for ours and for Kafka Streams beside it. Exit 1 when ours loses or
    /// doubles anything.
    Compare {
        #[command(flatten)]
        run: RunArguments,
        /// Kills of one of three members, static and dynamic.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
    },
    /// Print what would strike when.
    Plan {
        #[command(flatten)]
        run: RunArguments,
    },
}

#[derive(Clone, Debug, Args)]
struct RunArguments {
    /// Everything follows from it; without it, the clock chooses one.
    #[arg(long)]
    seed: Option<u64>,
    /// How long the load lasts: 90s, 3m, 2h.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// The form for a continuous integration: a minute and a half of load, a smaller backlog.
    #[arg(long)]
    short: bool,
    /// Records a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=50_000))]
    records_per_second: u64,
    /// Three brokers, of which one is lost at a time, instead of one.
    #[arg(long)]
    three_brokers: bool,
    /// When the stages write their state; without it, the seed chooses for each (`compare`: `every_commit`).
    #[arg(long)]
    state: Option<plan::State>,
    /// Only blows whose description has this in it, such as "SIGSTOP broker"; may be given more than once.
    #[arg(long)]
    only: Vec<String>,
    /// Seconds that the fleet may take, after the load, until nothing is left to read.
    #[arg(long, default_value_t = 180)]
    bound_s: u64,
    /// Keep the folder of a run that was green.
    #[arg(long)]
    keep: bool,
    /// Where the folder is made.
    #[arg(long, default_value = OUT)]
    out: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct FailoverArguments {
    /// GPUs.
    #[arg(long, default_value_t = 10_000)]
    gpus: u32,
    /// Records a second.
    #[arg(long, default_value_t = 2_000)]
    records_per_second: u64,
    /// Instances of the validator.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=8))]
    instances: u32,
    /// Kills of each kind.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only this case; may be given more than once.
    #[arg(long = "case")]
    cases: Vec<failover::Case>,
    /// Keep the folder though no limit was passed.
    #[arg(long)]
    keep: bool,
    /// Where the folder is made.
    #[arg(long, default_value = OUT)]
    out: PathBuf,
}

impl FailoverArguments {
    fn options(self) -> failover::Options {
        failover::Options {
            gpus: self.gpus,
            records_per_second: self.records_per_second,
            instances: self.instances,
            rounds: self.rounds,
            cases: self.cases,
            keep: self.keep,
            out: self.out,
        }
    }
}

const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/out");
const SHORT: Duration = Duration::from_secs(90);
const LONG: Duration = Duration::from_mins(4);
/// As `failover` has it.
const COMPARED_GPUS: u32 = 10_000;
/// Minutes of event time in a backlog.
const SHORT_BACKLOG: u64 = 10;
const LONG_BACKLOG: u64 = 60;

impl RunArguments {
    fn options(self) -> Options {
        let (duration, backlog_minutes) = if self.short {
            (SHORT, SHORT_BACKLOG)
        } else {
            (LONG, LONG_BACKLOG)
        };
        Options {
            seed: self.seed.unwrap_or_else(any_seed),
            duration: self.duration.unwrap_or(duration),
            records_per_second: self.records_per_second,
            brokers: if self.three_brokers { 3 } else { 1 },
            backlog_minutes,
            state: self.state,
            only: self.only,
            bound: Duration::from_secs(self.bound_s),
            keep: self.keep,
            out: self.out,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = ending::prepare() {
        drop(writeln!(std::io::stderr().lock(), "chaos: {error}"));
        return ExitCode::from(2);
    }
    let green = match arguments.command {
        Command::Run { run } => run::run(&run.options()),
        Command::Failover { failover } => failover::run(&failover.options()),
        Command::Compare { run, rounds } => {
            let mut options = run.options();
            // As Kafka Streams does.
            options.state.get_or_insert(plan::State::EveryCommit);
            let takeover = failover::Options {
                gpus: COMPARED_GPUS,
                records_per_second: options.records_per_second,
                instances: 3,
                rounds,
                cases: vec![failover::Case::DynamicKill, failover::Case::StaticKill],
                keep: options.keep,
                out: options.out.clone(),
            };
            compare::run(&options, &takeover)
        }
        Command::Plan { run } => {
            let options = run.options();
            let text = report::plan(&run::plan_of(&options, &role::Role::ALL));
            write!(std::io::stdout().lock(), "SEED={}\n{text}", options.seed)
                .map(|()| true)
                .map_err(|error| error.to_string())
        }
    };
    match green {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            drop(writeln!(std::io::stderr().lock(), "chaos: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Short enough to be typed.
fn any_seed() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    random::Random::new(u64::try_from(since.as_nanos()).unwrap_or_default()).next() % 1_000_000
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text}: must be a number and s, m or h, such as 3m");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("3m"), Ok(Duration::from_mins(3)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_hours(2)));
        for wrong in ["", "3", "m", "3d", "-1m"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
