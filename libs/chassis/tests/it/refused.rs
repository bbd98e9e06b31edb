//! A refused `send`: librdkafka would commit the rest of the transaction; the chassis must abort, undo and come again.

use crate::support::{PARTITIONS, Topics, assert_exactly_once, produce};
use chassis::eos::Topology;
use chassis::{
    App, Changelog, KafkaConfig, Outbox, Output, PipelineConfig, Record, RestoreError, Service,
    Stage, Table, TableValue, Task,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const OUT: Output = Output(0);

/// Counts as the example does, but aims some records at a partition that does not exist.
struct Clumsy {
    refusals_left: Arc<AtomicU32>,
    seen: u32,
}

#[derive(Clone, Serialize, Deserialize)]
struct Count(u64);

impl TableValue for Count {
    const VERSION: u8 = 1;
}

struct Counts(Table<Count>);

impl Stage for Clumsy {
    type Task = Counts;

    fn open(&mut self, _partition: i32) -> Counts {
        Counts(Table::new())
    }

    fn process(&mut self, task: &mut Counts, record: &Record<'_>, out: &mut Outbox) {
        let key = record.key.unwrap_or_default();
        let count = task.0.get_or_insert_with(key, || Count(0));
        count.0 += 1;
        self.seen += 1;
        let refuse = self.seen.is_multiple_of(97)
            && self
                .refusals_left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        let partition = if refuse {
            PARTITIONS + 7
        } else {
            out.co_partition(OUT)
        };
        out.send(
            OUT,
            partition,
            Some(key),
            Some(count.0.to_string().as_bytes()),
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_send_aborts_and_state_goes_back() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, 40, 3_000);
    let app = App::detached(Service {
        name: "clumsy",
        version: "0",
        describe_metrics: || {},
    });
    let shutdown = app.shutdown();
    let refusals_left = Arc::new(AtomicU32::new(5));
    let config = KafkaConfig {
        bootstrap_servers: kafka.clone(),
        group_id: Some(topics.input.clone()),
        instance_id: Some("a".to_owned()),
        ..KafkaConfig::default()
    };
    let topology = Topology {
        input: topics.input.clone(),
        outputs: vec![topics.output.clone()],
        changelog: Some(topics.changelog.clone()),
        table: None,
    };
    let stage_refusals = Arc::clone(&refusals_left);
    let running = tokio::spawn(async move {
        chassis::eos::run(
            &app,
            &config,
            &PipelineConfig::default(),
            topology,
            move || Clumsy {
                refusals_left: Arc::clone(&stage_refusals),
                seen: 0,
            },
        )
        .await
    });
    tokio::task::spawn_blocking(move || assert_exactly_once(&kafka, &topics, 40, 3_000))
        .await
        .unwrap();
    assert_eq!(
        refusals_left.load(Ordering::Relaxed),
        0,
        "every refusal was tried"
    );
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
