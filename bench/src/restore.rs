//! How long it takes until a dead fleet's state is back: a million keys over eight instances that start at once.

use crate::broker::Broker;
use crate::process::{Service, binary};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testbed::NewRecord;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Keys of state in all.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u32,
    /// Bytes of state a key, incompressible.
    #[arg(long, default_value_t = 2_000)]
    value_bytes: usize,
    /// Instances that share it.
    #[arg(long, default_value_t = 8)]
    instances: usize,
    /// `every_commit` or `rolling`.
    #[arg(long, default_value = "every_commit")]
    state: String,
}

/// The floor, in seconds from the start of the processes to the last one that is ready.
const READY_S: f64 = 25.0;
/// As the catalogue's topics of readings.
const PARTITIONS: u32 = 32;
const PATIENCE: Duration = Duration::from_mins(5);
/// The chassis' example: state and nothing else.
const COUNTER: &str = "examples/counter";

/// The service that is measured; `cargo build --workspace` doesn't build it.
pub(crate) fn service() -> PathBuf {
    binary(COUNTER)
}

/// Builds the state through the service itself, stops it, and restores it.
pub(crate) fn run(broker: &Broker, options: &Options) -> Vec<String> {
    let kafka = broker.bootstrap();
    let wide = PARTITIONS.cast_signed();
    testbed::create_topic(kafka, "bench-restore-input", wide, &[]);
    testbed::create_topic(kafka, "bench-restore-output", wide, &[]);
    // As the catalogue declares changelogs, as far as it matters for reading them.
    let compact = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "67108864"),
        ("compression.type", "producer"),
    ];
    testbed::create_topic(kafka, "bench-restore-changelog", wide, &compact);
    let record = |i: u32| {
        NewRecord::new(format!("GPU-{i:032x}"), "").partition((i % PARTITIONS).cast_signed())
    };
    testbed::produce(kafka, "bench-restore-input", (0..options.keys).map(record));

    let builder = start(kafka, options, 0);
    testbed::wait_until(PATIENCE, "the state to be built", || {
        builder.metric("chassis_records_consumed_total") >= f64::from(options.keys)
    });
    builder.stop();

    let started = Instant::now();
    let services: Vec<Service> = (0..options.instances)
        .map(|number| start(kafka, options, number))
        .collect();
    let mut ready: Vec<Option<f64>> = vec![None; services.len()];
    let share = f64::from(PARTITIONS) / options.instances as f64;
    testbed::wait_until(PATIENCE, "all instances to be ready", || {
        for (service, ready) in services.iter().zip(&mut ready) {
            let whole = || {
                (service.metric("chassis_assigned_partitions") - share).abs() < 1.0
                    && service.is_ready()
            };
            if ready.is_none() && whole() {
                *ready = Some(started.elapsed().as_secs_f64());
            }
        }
        ready.iter().all(Option::is_some)
    });
    let held: f64 = services
        .iter()
        .map(|service| service.metric("chassis_state_entries"))
        .sum();
    let slowest = ready.iter().flatten().copied().fold(0.0, f64::max);
    let fastest = ready.iter().flatten().copied().fold(f64::MAX, f64::min);
    let peak = services.iter().map(Service::peak_mb).fold(0.0, f64::max);
    println!(
        "restore of {} keys of {} bytes over {} instances, state = {}: ready after {fastest:.1} to {slowest:.1} s, {peak:.0} MB resident at most",
        options.keys, options.value_bytes, options.instances, options.state
    );
    let mut missed = Vec::new();
    // The gauge follows twice a second.
    testbed::wait_until(PATIENCE, "all keys to be counted", || {
        let now: f64 = services
            .iter()
            .map(|service| service.metric("chassis_state_entries"))
            .sum();
        now >= f64::from(options.keys)
    });
    if slowest > READY_S {
        missed.push(format!(
            "restore took {slowest:.1} s, the limit is {READY_S:.0} s ({held} keys then)"
        ));
    }
    missed
}

fn start(kafka: &str, options: &Options, number: usize) -> Service {
    let settings = [
        ("COUNTER__INPUT", "bench-restore-input".to_owned()),
        ("COUNTER__OUTPUT", "bench-restore-output".to_owned()),
        ("COUNTER__CHANGELOG", "bench-restore-changelog".to_owned()),
        ("COUNTER__STATE_BYTES", options.value_bytes.to_string()),
        ("KAFKA__INSTANCE_ID", format!("bench-{number}")),
        ("PIPELINE__STATE", options.state.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value));
    Service::start_from(COUNTER, "counter", kafka, &settings)
}
