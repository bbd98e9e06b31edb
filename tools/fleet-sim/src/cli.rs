//! The command line: `fleet-sim <command>`.

use crate::assets;
use crate::exposition::Style;
use crate::fleet::{Fleet, FleetConfig, Plan};
use crate::kafka::{self, Pace, ProduceConfig};
use crate::schedule::{FaultPlan, GroundTruth};
use crate::serve::{self, ServeConfig};
use crate::topology::ModelMix;
use crate::truth::TruthFile;
use crate::{jsonl, targets};
use clap::{Args, Parser, Subcommand, ValueEnum};
use schema::Timestamp;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wrong usage (sysexits.h).
const EX_USAGE: u8 = 64;
/// What is needed is not there.
const EX_UNAVAILABLE: u8 = 69;
/// Reading or writing failed.
const EX_IO: u8 = 74;

/// A deterministic fleet of GPUs, with injected faults and their ground truth.
#[derive(Debug, Parser)]
#[command(name = "fleet-sim", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves dcgm-exporter endpoints: GET /host/{n}/metrics, and GET /targets for the collector.
    Serve(ServeArgs),
    /// Produces records to the raw topic.
    Kafka(KafkaArgs),
    /// Prints records as JSON lines.
    Jsonl(JsonlArgs),
    /// Prints the inventory for asset-lookup.
    Assets(AssetArgs),
    /// Prints the ground truth of the faults, and does nothing else.
    Faults(FaultArgs),
    /// Prints the collector's targets file for a fleet that `serve` shows.
    Targets(TargetArgs),
}

#[derive(Debug, Args)]
struct FleetArgs {
    /// GPUs, 1 to 1,000,000, eight to a host.
    #[arg(long, default_value_t = 64)]
    gpus: u32,
    /// Everything follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// From one reading of a GPU to the next (500ms, 10s, 1m).
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    interval: u64,
    /// How long in event time; for ever without it (jsonl, faults: 1h).
    #[arg(long, value_parser = parse_duration)]
    duration: Option<u64>,
    /// Models and weights: a100, a100-40gb, h100, h200, b200, l40s, t4. A rack holds one model.
    #[arg(long, default_value = "a100=35,h100=40,h200=15,b200=10")]
    models: String,
    /// Faults: none, rates (as published), default (every kind once an hour, and the rates), or a file of JSON lines like
    /// `{"kind":"dbe","gpu":3,"from_s":60,"for_s":600}`.
    #[arg(long, default_value = "none")]
    faults: String,
    /// Multiplies the published rates; with a file of faults, adds them.
    #[arg(long)]
    fault_rate_scale: Option<f64>,
    /// All hosts are read at the beginning of the interval, instead of each at a point of its own.
    #[arg(long)]
    no_spread: bool,
    /// Writes a JSON line for each fault, day by day as they come.
    #[arg(long, value_name = "FILE")]
    ground_truth: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Address; with --port-per-host the first host's, the others follow.
    #[arg(long, default_value = "127.0.0.1:9400")]
    listen: SocketAddr,
    /// One port for each host (GET /metrics) beside the paths.
    #[arg(long)]
    port_per_host: bool,
    /// Field names: host n takes the n-th of this list, and so on in turn.
    #[arg(long, value_delimiter = ',', default_value = "old,new,mixed")]
    names: Vec<crate::exposition::Names>,
    /// Labels: host n takes the n-th of this list, and so on in turn.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "hostname,capital-hostname,old-namespace"
    )]
    labels: Vec<crate::exposition::Labels>,
    /// Every n-th host shows MIG rows on its first GPU; 0 for none.
    #[arg(long, default_value_t = 4)]
    mig_every: u32,
    /// Every n-th host shows NVLink counters link by link; 0 for none.
    #[arg(long, default_value_t = 2)]
    nvlink_rows_every: u32,
}

#[derive(Debug, Args)]
struct KafkaArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Brokers.
    #[arg(long, default_value = "127.0.0.1:9092")]
    bootstrap_servers: String,
    /// Topic.
    #[arg(long, default_value = schema::topic::RAW.name)]
    topic: String,
    /// Records a second, or max. Without it records are sent when they happen.
    #[arg(long)]
    rate: Option<String>,
    /// Simulates the past from this time on: event times are as simulated, and each record carries the header
    /// original-append-time, so that a pipeline gives the same answers each time.
    #[arg(long, value_parser = parse_time)]
    event_time: Option<Timestamp>,
    /// With --event-time: simulated seconds a second (as fast as possible without it).
    #[arg(long, requires = "event_time", conflicts_with = "rate")]
    speed: Option<f64>,
    /// Ends after this many records.
    #[arg(long)]
    records: Option<u64>,
    /// How long to wait for the topic to be there.
    #[arg(long, default_value = "1m", value_parser = parse_duration)]
    topic_timeout: u64,
    /// More settings of librdkafka (`security.protocol=SASL_SSL`); may be repeated.
    #[arg(long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
}

#[derive(Debug, Args)]
struct JsonlArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Event time of the start.
    #[arg(long, default_value = "2026-02-11T10:30:00.000Z", value_parser = parse_time)]
    start: Timestamp,
    /// Ends after this many records.
    #[arg(long)]
    records: Option<u64>,
    /// Prints `{"key":..,"append_time":..,"value":{..}}` instead of the value alone; a broken value is a string there.
    #[arg(long)]
    keyed: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AssetFormat {
    Csv,
    Json,
}

#[derive(Debug, Args)]
struct AssetArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Form.
    #[arg(long, value_enum, default_value = "csv")]
    format: AssetFormat,
    /// The share of GPUs that the inventory does not know.
    #[arg(long, default_value_t = assets::DEFAULT_MISSING)]
    missing: f64,
}

#[derive(Debug, Args)]
struct FaultArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Event time of the start.
    #[arg(long, default_value = "2026-02-11T10:30:00.000Z", value_parser = parse_time)]
    start: Timestamp,
}

#[derive(Debug, Args)]
struct TargetArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Where the collector finds the endpoints.
    #[arg(long, default_value = "127.0.0.1:9400")]
    address: String,
    /// One port for each host.
    #[arg(long)]
    port_per_host: bool,
}

/// Why a command ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// Kafka is not there, or refuses.
    #[error("{0}")]
    Unavailable(String),
    /// A file or a socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EX_USAGE,
            Self::Unavailable(_) => EX_UNAVAILABLE,
            Self::Io(_) => EX_IO,
        }
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { EX_USAGE } else { 0 };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::from(EX_IO),
            };
        }
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has read enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    const HOUR_MS: u64 = 3_600_000;
    match command {
        Command::Serve(args) => {
            let plan = plan(args.fleet.config(wall_clock())?)?;
            let truth = TruthFile::open(args.fleet.ground_truth.as_deref())?;
            if args.names.is_empty() || args.labels.is_empty() {
                return Err(Failure::Usage(
                    "--names and --labels need at least one value".to_owned(),
                ));
            }
            let styles = styles(&args);
            let config = ServeConfig {
                listen: args.listen,
                port_per_host: args.port_per_host,
                styles,
            };
            runtime()?.block_on(serve::run(plan, config, truth))
        }
        Command::Kafka(args) => {
            let truth = TruthFile::open(args.fleet.ground_truth.as_deref())?;
            let fleet = fleet(
                args.fleet
                    .config(args.event_time.unwrap_or_else(wall_clock))?,
            )?;
            let config = args.produce_config()?;
            runtime()?.block_on(kafka::run(fleet, config, truth))
        }
        Command::Jsonl(args) => {
            let mut truth = TruthFile::open(args.fleet.ground_truth.as_deref())?;
            let mut config = args.fleet.config(args.start)?;
            if args.records.is_none() {
                config.duration_ms.get_or_insert(HOUR_MS);
            }
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            jsonl::run(
                &mut fleet(config)?,
                args.records,
                args.keyed,
                &mut truth,
                &mut out,
            )?;
            Ok(())
        }
        Command::Assets(args) => {
            if !(0.0..=1.0).contains(&args.missing) {
                return Err(Failure::Usage("--missing must be from 0 to 1".to_owned()));
            }
            let plan = plan(args.fleet.config(FleetConfig::default().start)?)?;
            let out = BufWriter::new(io::stdout().lock());
            match args.format {
                AssetFormat::Csv => assets::write_csv(plan.assets(args.missing), out)?,
                AssetFormat::Json => assets::write_json(plan.assets(args.missing), out)?,
            }
            Ok(())
        }
        Command::Faults(args) => {
            let plan = plan(args.fleet.config(args.start)?)?;
            let until = plan.config().duration_ms.unwrap_or(HOUR_MS);
            let mut out = BufWriter::new(io::stdout().lock());
            for fault in plan.faults_between(0, until) {
                write_line(&mut out, &plan.ground_truth(&fault))?;
            }
            out.flush()?;
            Ok(())
        }
        Command::Targets(args) => {
            let plan = plan(args.fleet.config(FleetConfig::default().start)?)?;
            let mut out = BufWriter::new(io::stdout().lock());
            let list = targets::file_sd(&plan, &args.address, args.port_per_host)
                .map_err(Failure::Usage)?;
            serde_json::to_writer_pretty(&mut out, &list).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            out.flush()?;
            Ok(())
        }
    }
}

pub(crate) fn write_line(out: &mut impl Write, truth: &GroundTruth) -> io::Result<()> {
    serde_json::to_writer(&mut *out, truth)?;
    out.write_all(b"\n")
}

impl FleetArgs {
    fn config(&self, start: Timestamp) -> Result<FleetConfig, Failure> {
        let mut faults = match self.faults.as_str() {
            "none" => FaultPlan::none(),
            "rates" => FaultPlan::rates(),
            "default" => FaultPlan::demo(self.gpus),
            path => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::Usage(format!("--faults {path}: {error}")))?;
                FaultPlan::parse(&text)
                    .map_err(|error| Failure::Usage(format!("--faults {path}: {error}")))?
            }
        };
        if let Some(scale) = self.fault_rate_scale {
            if !(0.0..=1e6).contains(&scale) {
                return Err(Failure::Usage(
                    "--fault-rate-scale must be from 0 to 1,000,000".to_owned(),
                ));
            }
            faults.rate_scale = scale;
        }
        Ok(FleetConfig {
            seed: self.seed,
            gpus: self.gpus,
            start,
            interval_ms: u32::try_from(self.interval)
                .map_err(|_| Failure::Usage("--interval must be below 49 days".to_owned()))?,
            spread: !self.no_spread,
            duration_ms: self.duration,
            models: ModelMix::parse(&self.models)
                .map_err(|error| Failure::Usage(format!("--models: {error}")))?,
            faults,
        })
    }
}

impl KafkaArgs {
    fn produce_config(&self) -> Result<ProduceConfig, Failure> {
        let positive = |name: &str, value: f64| {
            if value > 0.0 && value.is_finite() {
                Ok(value)
            } else {
                Err(Failure::Usage(format!("{name} must be above 0")))
            }
        };
        let pace = match (self.rate.as_deref(), self.speed) {
            (Some("max"), _) => Pace::Max,
            (Some(rate), _) => {
                let rate = rate.parse().map_err(|_| {
                    Failure::Usage(format!("--rate: '{rate}' is neither a number nor max"))
                })?;
                Pace::Rate(positive("--rate", rate)?)
            }
            (None, Some(speed)) => Pace::Speed(positive("--speed", speed)?),
            (None, None) if self.event_time.is_some() => Pace::Max,
            (None, None) => Pace::Speed(1.0),
        };
        let mut properties = Vec::new();
        for property in &self.properties {
            let (key, value) = property
                .split_once('=')
                .ok_or_else(|| Failure::Usage(format!("--property {property}: not KEY=VALUE")))?;
            properties.push((key.to_owned(), value.to_owned()));
        }
        Ok(ProduceConfig {
            bootstrap_servers: self.bootstrap_servers.clone(),
            topic: self.topic.clone(),
            pace,
            past: self.event_time.is_some(),
            records: self.records,
            topic_timeout: Duration::from_millis(self.topic_timeout),
            properties,
        })
    }
}

fn styles(args: &ServeArgs) -> Vec<Style> {
    // Long enough that every combination of the lists comes up.
    let every = |n: u32, host: usize| n > 0 && host.is_multiple_of(n as usize);
    let hosts = args.fleet.gpus.div_ceil(crate::topology::GPUS_PER_HOST) as usize;
    (0..hosts)
        .map(|host| Style {
            names: args.names[host % args.names.len()],
            labels: args.labels[host / args.names.len() % args.labels.len()],
            mig: every(args.mig_every, host),
            nvlink_rows: every(args.nvlink_rows_every, host),
        })
        .collect()
}

fn plan(config: FleetConfig) -> Result<Plan, Failure> {
    Plan::new(config).map_err(|error| Failure::Usage(error.to_string()))
}

fn fleet(config: FleetConfig) -> Result<Fleet, Failure> {
    Fleet::new(config).map_err(|error| Failure::Usage(error.to_string()))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// Now, cut to the second.
fn wall_clock() -> Timestamp {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    Timestamp::from_millis(seconds * 1_000)
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

/// `500ms`, `10s`, `5m`, `2h`, `1d` in milliseconds.
fn parse_duration(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("a number and one of ms, s, m, h, d, as in 10s".to_owned()),
    };
    text[..digits]
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms))
        .filter(|ms| *ms > 0)
        .ok_or_else(|| "not a positive duration".to_owned())
}

impl TruthFile {
    /// Opens `path` for writing; without a path, nothing is written.
    fn open(path: Option<&std::path::Path>) -> Result<Self, Failure> {
        path.map_or_else(
            || Ok(Self::none()),
            |path| {
                File::create(path)
                    .map(|file| Self::new(Box::new(BufWriter::new(file))))
                    .map_err(|error| {
                        Failure::Usage(format!("--ground-truth {}: {error}", path.display()))
                    })
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("10s"), Ok(10_000));
        assert_eq!(parse_duration("250ms"), Ok(250));
        assert_eq!(parse_duration("2d"), Ok(172_800_000));
        for bad in ["", "10", "s", "0s", "1w", "-1s", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
