//! Reads topics for one writer: a consumer, and the loop that makes batches of its records.
//!
//! librdkafka is told of a partition only when it has been claimed in the database and its place is known, so that no
//! record is ever read that was not asked for. While the writer stores one batch the next one is read; while the
//! database is away what is read is held, partitions are paused, and the consumer stays in its group.

use crate::availability::Availability;
use crate::config::{Config, LostInput};
use crate::domain::assignment::{Assignment, Placement};
use crate::domain::batch::{Batch, Letter};
use crate::domain::decode::{Decoded, Input, decode};
use crate::domain::letter::{Original, Unstorable};
use crate::domain::offsets::{Continuity, Place, Stored, Verdict, continuity};
use crate::domain::table::Table;
use crate::group::{Group, topic_places};
use crate::kafka::{self, PollError};
use crate::writer::{Command, Outcome};
use crate::{HANG_DEADLINE, SERVICE, metrics};
use chassis::{App, Error, Gate, Heartbeat};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// How long a poll waits for a record when there is nothing else to do.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Records that are read before anything else is looked at.
const STRIDE: usize = 256;
/// How long the consumer may go without a poll while the writer is busy; after that its partitions are paused and it
/// polls on. A pause throws away what was fetched ahead, so that a writer that is merely slower than Kafka brings none.
const WRITER_PATIENCE: Duration = Duration::from_secs(2);
/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Partitions that are placed before the next poll.
const PLACES_PER_TURN: usize = 32;
/// Between two looks at what readiness and metrics need.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);
/// Partitions whose end is asked for in one round while they are paused.
const ENDS_PER_ROUND: usize = 8;
/// How long a topic may be missing, since metadata of a topic made just now takes a moment to spread.
const TOPIC_PATIENCE: Duration = Duration::from_secs(10);

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
    batch: Batch,
    /// The buffers of the batch that was stored last.
    spare: Batch,
    /// When the first record of the batch was read.
    began: Option<Instant>,
    /// The last poll found nothing.
    drained: bool,
    /// Records whose rows the database refused: dead letters when they are read again.
    refused: BTreeMap<(Place, i64), Unstorable>,
    paused: bool,
    subscribed: bool,
    reachable: bool,
    topics_missing_since: Option<Instant>,
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
            batch: Batch::default(),
            spare: Batch::default(),
            began: None,
            drained: false,
            refused: BTreeMap::new(),
            paused: false,
            subscribed: false,
            reachable: false,
            topics_missing_since: None,
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
                    self.reachable = false;
                }
            }
            // Which partition it was is not told.
            PollError::OffsetGone => {
                debug!(%error, "looking at every partition's log again");
                let doubted = self.group().doubt();
                self.unassign(&doubted)?;
            }
            PollError::NoTopic => {
                self.topics_missing_since.get_or_insert_with(Instant::now);
            }
            PollError::Stop(stop) => return Err(stop),
        }
        self.consumer.context().signs().check()
    }

    /// Asks the writer for the next thing, if it has nothing to do.
    fn hand_over(&mut self) -> Result<(), Error> {
        if self.asked != Asked::Nothing {
            return Ok(());
        }
        let now = self.start.elapsed();
        let to_claim = self.group().to_claim(now);
        if !to_claim.is_empty() {
            return self.ask(Asked::Claim, Command::Claim(to_claim));
        }
        if self.is_due() {
            self.store()?;
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        let sink = &self.config.sink;
        self.began.is_some_and(|began| {
            let age = began.elapsed();
            self.is_full() || age >= sink.max_wait() || self.drained && age >= sink.min_wait()
        })
    }

    fn store(&mut self) -> Result<(), Error> {
        let spare = std::mem::take(&mut self.spare);
        let batch = std::mem::replace(&mut self.batch, spare);
        self.began = None;
        self.ask(Asked::Store, Command::Store(batch))
    }

    fn ask(&mut self, asked: Asked, command: Command) -> Result<(), Error> {
        // One at a time is asked for, so that there is room.
        self.ask.try_send(command).map_err(|_| writer_ended())?;
        self.asked = asked;
        Ok(())
    }

    /// Waits for the writer's answer; false if there was none.
    fn take_answer(&mut self, wait: Duration) -> Result<bool, Error> {
        if self.asked == Asked::Nothing {
            return Ok(false);
        }
        let outcome = match self.answers.recv_timeout(wait) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => return Err(writer_ended()),
        };
        self.asked = Asked::Nothing;
        match outcome {
            Outcome::Claimed(claims) => self.claimed(&claims),
            Outcome::Stored(batch, verdicts) => self.stored(batch, &verdicts)?,
            Outcome::Refused(batch, refused) => self.refused(batch, refused)?,
            // The service stops.
            Outcome::Dropped => self.group().claim_failed(self.start.elapsed()),
            Outcome::Failed(error) => return Err(error),
        }
        Ok(true)
    }

    fn claimed(&self, claims: &[(Place, Stored)]) {
        self.group().claimed(claims);
        info!(
            reader = self.name,
            partitions = claims.len(),
            "partitions claimed"
        );
    }

    fn stored(&mut self, batch: Batch, verdicts: &[Verdict]) -> Result<(), Error> {
        let now = self.start.elapsed();
        let mut again = Vec::new();
        for (index, (slice, verdict)) in batch.slices().iter().zip(verdicts).enumerate() {
            let place = slice.place;
            let counts = batch.counts(index);
            let topic = self.config.topics.of(place.table);
            match verdict {
                Verdict::Store { .. } | Verdict::Already => {
                    if matches!(verdict, Verdict::Store { .. }) {
                        metrics::records(topic, counts.records);
                        metrics::ticks(counts.ticks);
                    }
                    self.group().stored(place, slice.epoch, slice.end);
                    self.refused
                        .retain(|(refused, offset), _| *refused != place || *offset >= slice.end);
                }
                Verdict::Gap { wanted } => {
                    let partition = place.partition;
                    warn!(topic, partition, ?wanted, base = ?slice.base, "reading again where the database ends");
                    metrics::gap();
                    again.push((place, slice.epoch, *wanted));
                }
                Verdict::Fenced => {
                    // A slice that was abandoned has an epoch that nobody has.
                    if self.group().epoch(place) == Some(slice.epoch) {
                        let partition = place.partition;
                        warn!(
                            topic,
                            partition, "fenced: somebody else has claimed this partition"
                        );
                    }
                    let was_read = self.group().fenced(place, slice.epoch, now);
                    self.leave(place, was_read)?;
                }
            }
        }
        metrics::batch(outcome(verdicts));
        self.rewind(&again)?;
        self.keep_buffers(batch);
        Ok(())
    }

    /// Has the whole batch read again; this time the refused records are dead letters.
    fn refused(
        &mut self,
        batch: Batch,
        refused: Vec<(Place, i64, Unstorable)>,
    ) -> Result<(), Error> {
        let again: Vec<(Place, i64, Option<i64>)> = batch
            .slices()
            .iter()
            .map(|slice| (slice.place, slice.epoch, slice.base))
            .collect();
        for (place, offset, why) in refused {
            self.refused.insert((place, offset), why);
        }
        self.rewind(&again)?;
        self.keep_buffers(batch);
        Ok(())
    }

    fn keep_buffers(&mut self, mut batch: Batch) {
        batch.clear(self.config.sink.max_bytes());
        self.spare = batch;
    }

    fn rewind(&mut self, again: &[(Place, i64, Option<i64>)]) -> Result<(), Error> {
        for (place, epoch, next) in again {
            if self.group().epoch(*place) != Some(*epoch) {
                continue;
            }
            let was_read = self.group().rewind(*place, *epoch, *next);
            self.leave(*place, was_read)?;
        }
        Ok(())
    }

    /// Forgets what was read of a partition after what the writer had.
    fn leave(&mut self, place: Place, was_read: bool) -> Result<(), Error> {
        if was_read {
            self.batch.abandon(place);
            self.unassign(&[place])?;
        }
        Ok(())
    }

    fn group(&self) -> std::sync::MutexGuard<'_, Assignment> {
        self.consumer.context().assignment()
    }

    /// Compares the logs of partitions that are claimed with what is stored, and reads those that are whole.
    fn place_partitions(&mut self) -> Result<(), Error> {
        let now = self.start.elapsed();
        let wanted = self.group().to_place(now);
        if wanted.is_empty() || !self.reachable {
            return Ok(());
        }
        let skip_lost = self.config.sink.on_lost_input == LostInput::Earliest;
        let mut list = TopicPartitionList::new();
        for (place, next) in wanted.into_iter().take(PLACES_PER_TURN) {
            let topic = self.config.topics.of(place.table);
            let partition = place.partition;
            let ends = self
                .consumer
                .fetch_watermarks(topic, partition, QUERY_TIMEOUT);
            let (low, high) = match ends {
                Ok(ends) => ends,
                Err(error) => {
                    debug!(topic, partition, %error, "the ends of a log are not known yet");
                    break;
                }
            };
            let found = continuity(next, low, high);
            let placement = self.group().place(place, found, skip_lost, now);
            match placement {
                Placement::Read(start) => {
                    if let (Continuity::Lost { from, to }, true) = (found, skip_lost) {
                        warn!(
                            topic,
                            partition,
                            from,
                            to,
                            "records were removed before they were stored; going on"
                        );
                    }
                    let start = start.map_or(Offset::Beginning, Offset::Offset);
                    list.add_partition_offset(topic, partition, start)
                        .map_err(|error| Error::internal(format!("offset: {error}")))?;
                }
                Placement::Stop { news: true } => stopped(topic, partition, found),
                Placement::Stop { news: false } | Placement::Gone => {}
            }
        }
        if list.count() > 0 {
            self.consumer
                .incremental_assign(&list)
                .map_err(|error| Error::temporary(format!("assign: {error}")))?;
            // librdkafka remembers a pause also of a partition that went away and came back.
            if self.paused {
                self.consumer.pause(&list)
            } else {
                self.consumer.resume(&list)
            }
            .map_err(|error| Error::internal(format!("pause or resume: {error}")))?;
        }
        Ok(())
    }

    fn unassign(&self, places: &[Place]) -> Result<(), Error> {
        if places.is_empty() {
            return Ok(());
        }
        self.consumer
            .incremental_unassign(&topic_places(&self.config.topics, places.iter().copied()))
            .map_err(|error| Error::temporary(format!("unassign: {error}")))
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
            .map_err(|error| Error::internal(format!("resume: {error}")))
    }

    fn housekeeping(&mut self) -> Result<(), Error> {
        self.consumer.context().signs().check()?;
        if !self.reachable {
            self.reachable = self.answers();
            if self.reachable {
                self.kafka.used(&self.name);
            } else {
                self.consumer.context().signs().check()?;
                self.kafka.missed(&self.name, "no answer");
                return Ok(());
            }
        }
        if !self.subscribed || self.topics_missing_since.is_some() {
            self.look_for_topics()?;
        }
        self.tell_readiness();
        self.measure_lag();
        Ok(())
    }

    fn answers(&self) -> bool {
        let topic = self.config.topics.of(Table::Readings);
        self.consumer
            .fetch_metadata(Some(topic), QUERY_TIMEOUT)
            .is_ok()
    }

    /// Joins the group when every topic is there.
    fn look_for_topics(&mut self) -> Result<(), Error> {
        for table in Table::ALL {
            let topic = self.config.topics.of(table);
            let Ok(metadata) = self.consumer.fetch_metadata(Some(topic), QUERY_TIMEOUT) else {
                self.reachable = false;
                return Ok(());
            };
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let error = match found {
                Some(found) if found.error().is_none() && !found.partitions().is_empty() => {
                    continue;
                }
                Some(found) => found.error().map(Code::from),
                None => None,
            };
            if error == Some(Code::TopicAuthorizationFailed) {
                return Err(Error::permission(format!("no right to read topic {topic}")));
            }
            self.gate.close(format!("topic {topic} is not there"));
            let since = *self.topics_missing_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= TOPIC_PATIENCE {
                return Err(Error::unavailable(format!(
                    "topic {topic} is not there; create it first"
                )));
            }
            return Ok(());
        }
        self.topics_missing_since = None;
        if !self.subscribed {
            let topics = Table::ALL.map(|table| self.config.topics.of(table));
            self.consumer
                .subscribe(&topics)
                .map_err(|error| Error::unavailable(format!("subscribe: {error}")))?;
            self.subscribed = true;
            let group = self.config.kafka.group(SERVICE.name);
            info!(reader = self.name, group, "joining the group");
        }
        Ok(())
    }

    fn tell_readiness(&self) {
        let counts = self.group().counts();
        metrics::partitions(self.number, counts.assigned, counts.stopped);
        if !self.consumer.context().joined() {
            self.gate.close("no partition assigned yet");
        } else if counts.stopped > 0 {
            self.gate.close(format!(
                "{} partitions are stopped: records are missing from their topics",
                counts.stopped
            ));
        } else if counts.reading < counts.assigned {
            self.gate.close(format!(
                "reading {} of {} partitions",
                counts.reading, counts.assigned
            ));
        } else {
            self.gate.open();
        }
    }

    /// From the consumer's own statistics; while partitions are paused those stand still, and the broker is asked.
    fn measure_lag(&mut self) {
        if !self.paused {
            self.consumer.context().measure_lag();
            return;
        }
        let places: Vec<Place> = self.group().places().collect();
        let from = self.ends_from % places.len().max(1);
        for place in places
            .iter()
            .cycle()
            .skip(from)
            .take(ENDS_PER_ROUND.min(places.len()))
        {
            let topic = self.config.topics.of(place.table);
            let ends = self
                .consumer
                .fetch_watermarks(topic, place.partition, QUERY_TIMEOUT);
            let Ok((low, high)) = ends else {
                return;
            };
            if let Some((next, _)) = self.group().stored_next(*place) {
                let lag = high - next.unwrap_or(low).max(low);
                metrics::lag(topic, place.partition, lag.max(0));
            }
            self.ends_from += 1;
        }
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

/// What a record is put into a batch with.
struct Reading<'a> {
    config: &'a Config,
    group: &'a Group,
    refused: &'a BTreeMap<(Place, i64), Unstorable>,
}

impl Reading<'_> {
    /// Adds a record to `batch`; false when it is none to store.
    fn add(&self, record: &BorrowedMessage<'_>, batch: &mut Batch) -> Result<bool, Error> {
        let Some(table) = self.config.topics.table(record.topic()) else {
            return Ok(false);
        };
        let (partition, offset) = (record.partition(), record.offset());
        let place = Place { table, partition };
        let Some((epoch, base)) = self.group.assignment().read(place, offset) else {
            return Ok(false);
        };
        let slice = batch.reach(place, epoch, base, offset);
        let input = Input {
            key: record.key(),
            value: record.payload(),
        };
        let decoded = match self.refused.get(&(place, offset)) {
            Some(why) => Err(why.clone()),
            None => decode(table, &input, (slice, offset), batch),
        };
        let why = match decoded {
            Ok(Decoded::Row) => return Ok(true),
            Ok(Decoded::Tick) => {
                batch.tick(slice);
                return Ok(true);
            }
            Err(why) => why,
        };
        let original = Original {
            topic: record.topic(),
            partition,
            offset,
            timestamp_ms: record.timestamp().to_millis().unwrap_or_default(),
            key: input.key,
            value: input.value,
        };
        let letter = original.letter(SERVICE.name, SERVICE.version, &why);
        let value = serde_json::to_vec(&letter)
            .map_err(|error| Error::internal(format!("dead letter: {error}")))?;
        batch.give_up(Letter {
            slice,
            offset,
            key: original.short_key().map(<[u8]>::to_vec),
            value,
            code: why.code,
        });
        Ok(true)
    }
}

fn stopped(topic: &str, partition: i32, found: Continuity) {
    match found {
        Continuity::Lost { from, to } => error!(
            topic,
            partition,
            from,
            to,
            lost = to - from,
            "records were removed before they were stored; the partition is stopped. To go on without them, set \
             sink.on_lost_input = \"earliest\""
        ),
        Continuity::Ahead { stored, end } => error!(
            topic,
            partition,
            stored,
            end,
            "the log ends before what is stored: it is another log; the partition is stopped. If the topic was made \
             anew, delete the partition's row in sink_offsets"
        ),
        Continuity::Whole(_) => {}
    }
}

/// The label of a batch that was not refused.
fn outcome(verdicts: &[Verdict]) -> &'static str {
    let any = |wanted: fn(&Verdict) -> bool| verdicts.iter().any(wanted);
    if any(|verdict| matches!(verdict, Verdict::Store { .. })) {
        "stored"
    } else if any(|verdict| matches!(verdict, Verdict::Gap { .. })) {
        "gap"
    } else if any(|verdict| matches!(verdict, Verdict::Fenced)) {
        "fenced"
    } else {
        "repeated"
    }
}

fn writer_ended() -> Error {
    Error::internal("the writer has ended")
}
