//! Reads topics for one writer: a consumer, and the loop that makes batches of its records.
//!
//! librdkafka is told of a partition only when it has been claimed in the database and its place is known, so that no
//! record is ever read that was not asked for. While the writer stores one batch the next one is read; while the
//! database is away what is read is held, partitions are paused, and the consumer stays in its group.

mod answers;
mod housekeeping;
mod placing;
mod record;

use crate::availability::Availability;
use crate::config::Config;
use crate::domain::assignment::Assignment;
use crate::domain::batch::Batch;
use crate::domain::letter::Unstorable;
use crate::domain::offsets::Place;
use crate::group::{Group, topic_places};
use crate::kafka::{self, PollError};
use crate::writer::{Command, Outcome};
use crate::{HANG_DEADLINE, SERVICE, metrics};
use chassis::standby::Standby;
use chassis::{App, Error, Gate, Heartbeat, resume};
use housekeeping::Broker;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use record::Reading;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How long a poll waits for a record when there is nothing else to do.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Records that are read before anything else is looked at.
const STRIDE: usize = 256;
/// How long the consumer may go without a poll while the writer is busy; after that its partitions are paused and it
/// polls on. A pause throws away what was fetched ahead, so that a writer that is merely slower than Kafka brings none.
const WRITER_PATIENCE: Duration = Duration::from_secs(2);
/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at what readiness and metrics need.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);

/// What the writer has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Claim,
    Store,
}

/// Reads for one writer.
pub(crate) struct Reader {
    number: usize,
    name: String,
    config: Arc<Config>,
    consumer: BaseConsumer<Group>,
    kafka: Arc<Availability>,
    ask: mpsc::Sender<Command>,
    answers: Receiver<Outcome>,
    asked: Asked,
    batch: Box<Batch>,
    /// The buffers of the batch that was stored last.
    spare: Box<Batch>,
    /// When the first record of the batch was read.
    began: Option<Instant>,
    /// The last poll found nothing.
    drained: bool,
    /// Records whose rows the database refused: dead letters when they are read again.
    refused: BTreeMap<(Place, i64), Unstorable>,
    paused: bool,
    broker: Broker,
    standby: Standby,
    /// Where the round of questions for the ends of partitions goes on.
    ends_from: usize,
    start: Instant,
    housekeeping_due: Instant,
    gate: Gate,
    heartbeat: Heartbeat,
    shutdown: CancellationToken,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("name", &self.name)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(
        number: usize,
        config: &Arc<Config>,
        app: &App,
        kafka: &Arc<Availability>,
        ask: mpsc::Sender<Command>,
        answers: Receiver<Outcome>,
    ) -> Result<Self, Error> {
        let name = format!("reader-{number}");
        let client = kafka::consumer(config, SERVICE.name, number);
        let group = Group::new(config.topics.clone());
        let consumer = BaseConsumer::from_config_and_context(&client, group)
            .map_err(|error| Error::config(format!("kafka: {error}")))?;
        metrics::partitions(number, 0, 0);
        Ok(Self {
            number,
            consumer,
            config: Arc::clone(config),
            kafka: Arc::clone(kafka),
            ask,
            answers,
            asked: Asked::Nothing,
            batch: Box::default(),
            spare: Box::default(),
            began: None,
            drained: false,
            refused: BTreeMap::new(),
            paused: false,
            broker: Broker::default(),
            standby: Standby::default(),
            ends_from: 0,
            start: Instant::now(),
            housekeeping_due: Instant::now(),
            gate: app.gate(&name),
            heartbeat: app.heartbeat(&name, HANG_DEADLINE),
            shutdown: app.shutdown(),
            name,
        })
    }

    /// Works until told to stop, then has stored what was read, if the database is there, and leaves the group.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        self.gate.close("no partition assigned yet");
        while !self.shutdown.is_cancelled() {
            self.heartbeat.beat();
            self.turn()?;
        }
        self.gate.close("draining");
        self.drain()?;
        metrics::partitions(self.number, 0, 0);
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Error> {
        self.take_answer(Duration::ZERO)?;
        self.hand_over()?;
        if self.asked == Asked::Nothing || !self.is_full() {
            self.resume()?;
            self.read()?;
        } else if self.paused {
            self.poll(POLL_WAIT)?;
            self.take_answer(POLL_WAIT)?;
        } else if !self.take_answer(WRITER_PATIENCE)? {
            self.pause()?;
        }
        self.place_partitions()?;
        if Instant::now() >= self.housekeeping_due {
            self.housekeeping()?;
            self.housekeeping_due = Instant::now() + HOUSEKEEPING_INTERVAL;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let sink = &self.config.sink;
        self.batch.records() >= sink.max_records || self.batch.bytes() >= sink.max_bytes()
    }

    /// Reads records until the batch is full, nothing is left, or it is time to look at something else.
    fn read(&mut self) -> Result<(), Error> {
        let mut timeout = POLL_WAIT;
        if let Some(began) = self.began {
            let sink = &self.config.sink;
            let wait = if self.drained {
                sink.min_wait()
            } else {
                sink.max_wait()
            };
            timeout = timeout.min(wait.saturating_sub(began.elapsed()));
        }
        for _ in 0..STRIDE {
            if !self.poll(timeout)? {
                self.drained = true;
                return Ok(());
            }
            self.drained = false;
            timeout = Duration::ZERO;
            if self.is_full() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Serves the group and takes one record, if there is one; false if there was nothing.
    fn poll(&mut self, timeout: Duration) -> Result<bool, Error> {
        let polled = self.consumer.poll(timeout);
        let revoked = self.consumer.context().take_revoked();
        for place in revoked.iter().copied() {
            self.batch.abandon(place);
            self.refused.retain(|(refused, _), _| *refused != place);
            metrics::lag(self.config.topics.of(place.table), place.partition, 0);
        }
        let error = match polled {
            None => return Ok(false),
            Some(Ok(record)) => {
                let reading = Reading {
                    config: &self.config,
                    group: self.consumer.context(),
                    refused: &self.refused,
                };
                if reading.add(&record, &mut self.batch)? {
                    self.began.get_or_insert_with(Instant::now);
                }
                return Ok(true);
            }
            Some(Err(error)) => error,
        };
        self.poll_error(&error)?;
        Ok(true)
    }

    fn poll_error(&mut self, error: &KafkaError) -> Result<(), Error> {
        let group = self.config.kafka.group(SERVICE.name);
        match kafka::poll_error(group, error) {
            PollError::Wait => debug!(%error, "consumer"),
            // The event may be old news by the time it is read; only a question without an answer is proof.
            PollError::Away => {
                if !self.answers() {
                    self.kafka.missed(&self.name, &error.to_string());
                    self.broker.lost();
                }
            }
            // Which partition it was is not told.
            PollError::OffsetGone => {
                debug!(%error, "looking at every partition's log again");
                let doubted = self.group().doubt();
                self.unassign(&doubted)?;
            }
            PollError::NoTopic => self.broker.misses_topic(),
            PollError::Stop(stop) => return Err(stop),
        }
        self.consumer.context().signs().check()
    }

    fn group(&self) -> MutexGuard<'_, Assignment> {
        self.consumer.context().assignment()
    }

    fn pause(&mut self) -> Result<(), Error> {
        debug!(
            reader = self.name,
            "the writer is held up; partitions are paused"
        );
        self.paused = true;
        let reading = topic_places(&self.config.topics, self.group().reading());
        self.consumer
            .pause(&reading)
            .map_err(|error| Error::internal(format!("pause: {error}")))
    }

    fn resume(&mut self) -> Result<(), Error> {
        if !self.paused {
            return Ok(());
        }
        self.paused = false;
        let reading = topic_places(&self.config.topics, self.group().reading());
        self.consumer
            .resume(&reading)
            .map_err(|error| Error::internal(format!("resume: {error}")))?;
        resume::wake(&self.consumer, reading);
        Ok(())
    }

    /// Has the writer end what it does and store what was read.
    fn drain(&mut self) -> Result<(), Error> {
        loop {
            self.heartbeat.beat();
            if self.asked == Asked::Nothing {
                if self.batch.is_empty() {
                    return Ok(());
                }
                self.store()?;
            }
            self.take_answer(POLL_WAIT)?;
        }
    }
}
