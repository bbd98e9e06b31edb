//! A whole service on the chassis: counts the records of each key, exactly once.
//!
//! Reads `counter.input`, keeps a count a key, and writes it to `counter.output` with each record. The broker tests run
//! it as a process of its own, kill it and stop it: whatever happens, the counts of a key on the output topic are
//! 1, 2, 3, … without a gap or a repeat.

use chassis::{
    App, Changelog, Error, HttpConfig, InvalidConfig, KafkaConfig, LogConfig, Outbox, Output,
    PipelineConfig, Record, RestoreError, Service, ServiceConfig, ShutdownConfig, Stage, Table,
    TableValue, Task,
};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::Duration;

const COUNTS: Output = Output(0);

fn main() -> ExitCode {
    let service = Service {
        name: "counter",
        version: env!("CARGO_PKG_VERSION"),
        describe_metrics: || {},
    };
    chassis::main(service, run)
}

async fn run(config: Config, app: App) -> Result<(), Error> {
    let topology = chassis::eos::Topology {
        input: config.counter.input.clone(),
        outputs: vec![config.counter.output.clone()],
        changelog: Some(config.counter.changelog.clone()),
        table: None,
    };
    let work = Duration::from_micros(config.counter.work_us);
    let state_bytes = config.counter.state_bytes;
    chassis::eos::run(&app, &config.kafka, &config.pipeline, topology, move || {
        Counter { work, state_bytes }
    })
    .await
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    http: HttpConfig,
    log: LogConfig,
    shutdown: ShutdownConfig,
    kafka: KafkaConfig,
    pipeline: PipelineConfig,
    counter: CounterConfig,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CounterConfig {
    input: String,
    output: String,
    changelog: String,
    /// Microseconds of pretended work a record, so that a test can strike in mid-transaction.
    work_us: u64,
    /// Bytes of pretended state a key, beside its count.
    state_bytes: usize,
}

impl ServiceConfig for Config {
    fn http(&self) -> &HttpConfig {
        &self.http
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn shutdown(&self) -> &ShutdownConfig {
        &self.shutdown
    }

    fn validate(&self) -> Result<(), InvalidConfig> {
        self.kafka.validate("kafka")?;
        self.pipeline.validate("pipeline")?;
        for (key, value) in [
            ("counter.input", &self.counter.input),
            ("counter.output", &self.counter.output),
            ("counter.changelog", &self.counter.changelog),
        ] {
            if value.is_empty() {
                return Err(InvalidConfig::new(key, "must be set"));
            }
        }
        Ok(())
    }
}

struct Counter {
    work: Duration,
    state_bytes: usize,
}

#[derive(Clone, Serialize, Deserialize)]
struct Count {
    count: u64,
    ballast: Vec<u8>,
}

impl Count {
    fn new(state_bytes: usize, seed: u64) -> Self {
        // Numbers of a linear congruential generator (Knuth), so that compression has no easy game.
        let mut state = seed;
        let ballast = (0..state_bytes).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        });
        Self {
            count: 0,
            ballast: ballast.collect(),
        }
    }
}

impl TableValue for Count {
    const VERSION: u8 = 1;
}

struct Counts(Table<Count>);

impl Stage for Counter {
    type Task = Counts;

    fn open(&mut self, _partition: i32) -> Counts {
        Counts(Table::new())
    }

    fn process(&mut self, task: &mut Counts, record: &Record<'_>, out: &mut Outbox) {
        if !self.work.is_zero() {
            std::thread::sleep(self.work);
        }
        let key = record.key.unwrap_or_default();
        let seed = record.offset.unsigned_abs();
        let state_bytes = self.state_bytes;
        let count = task
            .0
            .get_or_insert_with(key, || Count::new(state_bytes, seed));
        count.count += 1;
        out.send(
            COUNTS,
            out.co_partition(COUNTS),
            Some(key),
            Some(count.count.to_string().as_bytes()),
        );
    }
}

impl Task for Counts {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        self.0.restore(key, value)
    }

    fn flush(&mut self, changelog: &mut Changelog) {
        self.0.flush(changelog);
    }

    fn committed(&mut self) {
        self.0.committed();
    }

    fn aborted(&mut self) {
        self.0.aborted();
    }

    fn entries(&self) -> usize {
        self.0.len()
    }
}
