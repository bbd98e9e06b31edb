//! Consume, transform, produce: exactly once.
//!
//! Outputs, state changes and input offsets commit in one transaction (KIP-447); consumers read committed records only.
//! A crash, a rebalance or an abort therefore changes when something is written, never what.
//!
//! Each worker is one thread with a consumer, a producer and a [`Stage`] of its own. One round polls records, applies
//! them, and commits when the input is drained or the commit interval is over, whichever comes first.

mod metadata;
pub(crate) mod meters;
mod pace;
mod partition;
mod partition_counts;
mod pipeline;
mod producer;
mod reader;
mod recovery;
mod restore;
mod settings;
mod snapshot;
mod takeover;
mod tasks;
mod worker;

pub use pipeline::{LostInput, PipelineConfig, StateMode};

use crate::{App, Error, Gate, KafkaConfig, Stage};
use partition_counts::PartitionCounts;
use settings::Settings;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use worker::Worker;

/// Which topics a stage reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The topic whose records are processed.
    pub input: String,
    /// The topics it writes; [`crate::Output`] is a place in this list. Partition counts must divide the input's.
    pub outputs: Vec<String>,
    /// The compacted topic that holds its state; as many partitions as the input.
    pub changelog: Option<String>,
    /// A compacted topic that it looks things up in; its partition count must divide the input's, and a key must stand
    /// in the input's partition modulo that count.
    pub table: Option<String>,
}

/// How long a worker may be without progress before the process is ended: longer than every deadline of ours, so that
/// only a call that never returns gets here.
const HANG_DEADLINE: Duration = Duration::from_secs(90);
/// Pause between looks at the heartbeats.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Runs `topology` with a stage for each worker until `app` shuts down. Waits for Kafka where it is away.
pub async fn run<S: Stage>(
    app: &App,
    kafka: &KafkaConfig,
    pipeline: &PipelineConfig,
    topology: Topology,
    stage: impl Fn() -> S + Send + 'static,
) -> Result<(), Error> {
    let gate = app.gate("kafka");
    // All of them before one opens: a service is not ready between two of its conditions.
    let gates: Vec<(String, Gate)> = (0..pipeline.workers)
        .map(|number| {
            let name = format!("worker-{number}");
            let gate = app.gate(&name);
            (name, gate)
        })
        .collect();
    let service = app.service().name;
    let probe_config = kafka.client(&format!("{service}-probe"));
    let heartbeat = app.heartbeat("connect", HANG_DEADLINE);
    let (probe_topology, shutdown) = (topology.clone(), app.shutdown());
    // librdkafka's calls block; they stay off the runtime's own threads.
    let found = tokio::task::spawn_blocking(move || {
        let result = PartitionCounts::find(&probe_config, &probe_topology, |reason| {
            heartbeat.beat();
            gate.close(reason);
            shutdown.is_cancelled()
        });
        gate.open();
        result
    })
    .await
    .map_err(|error| Error::internal(format!("connect: {error}")))??;
    let Some(counts) = found else {
        return Ok(());
    };
    counts.check(&topology)?;

    let (ended, mut results) = mpsc::channel(pipeline.workers);
    for (number, (name, gate)) in gates.into_iter().enumerate() {
        let settings = Arc::new(Settings::new(
            service, kafka, pipeline, &topology, &counts, number,
        ));
        let worker = Worker::new(
            settings,
            stage(),
            app.heartbeat(&name, HANG_DEADLINE),
            gate,
            app.shutdown(),
        )?;
        let ended = ended.clone();
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                let result = worker.run();
                // The receiver is gone only when the process is on its way out.
                drop(ended.blocking_send(result));
            })
            .map_err(|error| Error::internal(format!("thread: {error}")))?;
    }
    drop(ended);
    let mut first_error = None;
    loop {
        tokio::select! {
            result = results.recv() => match result {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    // The other workers finish what they have; then the process goes.
                    first_error.get_or_insert(error);
                    app.shutdown().cancel();
                }
                None => break,
            },
            () = tokio::time::sleep(WATCH_INTERVAL) => {
                if let Some((name, age)) = app.overdue().into_iter().next() {
                    return Err(Error::temporary(format!(
                        "{name}: a call into the Kafka client has not returned for {} s",
                        age.as_secs()
                    )));
                }
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}
