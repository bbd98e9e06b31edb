//! Reads every topic, on a thread of its own, and gives the audit what it reads.

use crate::config::Config;
use crate::domain::audit::{Audit, Move, Offsets, Seen, Survey};
use crate::domain::pipeline::{RAW, STAGES, TopicId};
use crate::domain::sample::{self, RowKey};
use crate::domain::snapshot::Snapshot;
use crate::domain::standstill::Watch;
use crate::journal::{self, Journal, NoSnapshot};
use crate::kafka::{self, Signs};
use crate::report::Report;
use crate::surveyor::{NoSurvey, Surveyor};
use crate::{HANG_DEADLINE, metrics};
use chassis::{App, Error, Gate, Heartbeat};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc as samples, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long a poll waits for a record.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Records that are read before anything else is looked at.
const STRIDE: usize = 4_096;
/// Between two looks at what can be judged.
const JUDGE_INTERVAL: Duration = Duration::from_millis(200);
/// A verdict that waits for records for so long asks whether they are still there.
const RESURVEY: Duration = Duration::from_secs(10);
/// Between two tries while the broker is away.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait for the last snapshot's acknowledgement.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The header that says where an output comes from.
const SOURCE: &str = "source";
/// The header of dead letters of services that are no stages of the loop.
const DEDUP_KEY: &str = "dedup-key";

/// What the sink's audit is told of a record.
#[derive(Clone, Debug)]
pub(crate) enum Sample {
    /// A record of a topic that the sink stores: it must have become a row.
    Row {
        topic: TopicId,
        partition: i32,
        offset: i64,
        key: RowKey,
    },
    /// The sink has given a record up: `topic/partition/offset` of it.
    Letter(String),
}

/// Reads.
pub(crate) struct Follower {
    config: Arc<Config>,
    names: Vec<String>,
    samples: samples::Sender<Sample>,
    /// How far the topics reach, for those who look at the sink.
    ends: watch::Sender<Offsets>,
    signs: Signs,
    gate: Gate,
    heartbeat: Heartbeat,
    shutdown: CancellationToken,
    away: bool,
    /// The client has given up a partition, and reads nothing more of it.
    misplaced: bool,
    watch: Watch,
    watched: Instant,
}

/// The thread that asks, as the follower sees it.
struct Questions {
    ask: Sender<()>,
    answers: Receiver<Result<Survey, NoSurvey>>,
    /// Where reading was when the question was put.
    asked: Option<Offsets>,
}

impl Questions {
    fn put(&self) {
        if self.ask.send(()).is_err() {
            debug!("the surveyor is gone");
        }
    }
}

/// What is there once the broker has answered.
struct Reading {
    consumer: BaseConsumer<Signs>,
    audit: Audit,
    journal: Journal,
    report: Report,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

impl Follower {
    pub(crate) fn new(
        config: &Arc<Config>,
        samples: samples::Sender<Sample>,
        ends: watch::Sender<Offsets>,
        app: &App,
    ) -> Self {
        metrics::kafka_up(false);
        Self {
            names: config.topics.audited().map(str::to_owned).to_vec(),
            config: Arc::clone(config),
            samples,
            ends,
            signs: Signs::default(),
            gate: app.gate("kafka"),
            heartbeat: app.heartbeat("follower", HANG_DEADLINE),
            shutdown: app.shutdown(),
            away: false,
            misplaced: false,
            watch: Watch::default(),
            watched: Instant::now(),
        }
    }

    /// Reads until told to stop, then writes a last snapshot.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let surveyor = Surveyor::new(&self.config, &self.signs)?;
        let ((ask, asked), (answer, answers)) = (mpsc::channel(), mpsc::channel());
        std::thread::Builder::new()
            .name("surveyor".to_owned())
            .spawn(move || surveyor.run(&asked, &answer))
            .map_err(|error| Error::internal(format!("thread: {error}")))?;
        let mut questions = Questions {
            ask,
            answers,
            asked: None,
        };
        let Some(mut reading) = self.begin(&mut questions)? else {
            return Ok(());
        };
        let now = Instant::now();
        let (mut judge_due, mut survey_due, mut snapshot_due) = (now, now, now);
        while !self.shutdown.is_cancelled() {
            self.heartbeat.beat();
            self.read(&mut reading)?;
            self.signs.check()?;
            let now = Instant::now();
            if now < judge_due {
                continue;
            }
            judge_due = now + JUDGE_INTERVAL;
            let idle = self.judge(&mut reading, &mut questions)?;
            // Also while a verdict waits for records, if it waits long: they may be gone, which only a survey tells.
            let due = if idle {
                survey_due
            } else {
                survey_due + RESURVEY
            };
            if now >= due && questions.asked.is_none() {
                survey_due = now + Duration::from_millis(self.config.audit.survey_interval_ms);
                questions.asked = Some(reading.audit.next().clone());
                questions.put();
            }
            if now >= snapshot_due {
                snapshot_due = now + Duration::from_millis(self.config.audit.snapshot_interval_ms);
                if reading.journal.write(&reading.audit.snapshot(unix_ms()))? {
                    warn!("a snapshot was not taken by the broker; the next one has it all");
                }
            }
        }
        self.gate.close("draining");
        reading.journal.write(&reading.audit.snapshot(unix_ms()))?;
        reading.journal.flush(FLUSH_TIMEOUT);
        Ok(())
    }

    /// Waits for the broker, and begins where the last snapshot left off; none when told to stop.
    fn begin(&mut self, questions: &mut Questions) -> Result<Option<Reading>, Error> {
        self.gate.close("waiting for Kafka");
        loop {
            if self.shutdown.is_cancelled() {
                return Ok(None);
            }
            self.heartbeat.beat();
            self.signs.check()?;
            match journal::load(&self.config, &self.signs) {
                Ok(snapshot) => {
                    let Some(survey) = self.first_survey(questions)? else {
                        return Ok(None);
                    };
                    return self.start(snapshot.as_ref(), &survey).map(Some);
                }
                Err(NoSnapshot::Stop(stop)) => return Err(stop),
                Err(NoSnapshot::Wait(reason)) => self.missed(&reason),
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn first_survey(&mut self, questions: &mut Questions) -> Result<Option<Survey>, Error> {
        questions.put();
        while !self.shutdown.is_cancelled() {
            self.heartbeat.beat();
            self.signs.check()?;
            match questions.answers.recv_timeout(RETRY_PAUSE) {
                Ok(Ok(survey)) => {
                    // Where a stage stands decides where its audit begins: all must tell.
                    if survey.committed.iter().all(Option::is_some) {
                        self.used();
                        return Ok(Some(survey));
                    }
                    self.missed("a stage's position is not stable yet");
                }
                Ok(Err(NoSurvey::Stop(stop))) => return Err(stop),
                Ok(Err(NoSurvey::Wait(reason))) => self.missed(&reason),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::internal("the surveyor is gone"));
                }
            }
            std::thread::sleep(RETRY_PAUSE);
            questions.put();
        }
        Ok(None)
    }

    fn start(&self, snapshot: Option<&Snapshot>, survey: &Survey) -> Result<Reading, Error> {
        let (limits, start) = (self.config.audit.limits(), self.config.audit.start());
        let mut audit = Audit::new(self.names.clone(), limits, start, snapshot, survey);
        let client = kafka::reader(&self.config);
        let consumer: BaseConsumer<Signs> =
            BaseConsumer::from_config_and_context(&client, self.signs.clone())
                .map_err(|error| Error::config(format!("kafka: {error}")))?;
        match snapshot {
            Some(snapshot) if snapshot.names == self.names => {
                let since = snapshot.time_ms - self.config.audit.identity_horizon_ms;
                match self.offsets_since(&consumer, survey, since) {
                    Ok(offsets) => audit.remember_from(&offsets),
                    Err(error) => {
                        warn!(%error, "outputs before the last snapshot are not known again");
                    }
                }
                info!(
                    age_ms = unix_ms() - snapshot.time_ms,
                    "going on where the last snapshot was taken"
                );
            }
            Some(_) => warn!("the last snapshot is of other topics; the audit begins anew"),
            None => info!(start = ?self.config.audit.start, "no snapshot yet; the audit begins"),
        }
        let asked = audit.next().clone();
        // Records that went while nobody read.
        audit.survey(survey, &asked);
        self.read_from(&consumer, audit.next())?;
        self.gate.open();
        metrics::show(&audit, &self.names);
        Ok(Reading {
            consumer,
            audit,
            journal: Journal::new(&self.config, &self.signs)?,
            report: Report::new(self.config.audit.max_findings_a_minute),
        })
    }

    /// Reads every partition from `next` on.
    fn read_from(&self, consumer: &BaseConsumer<Signs>, next: &Offsets) -> Result<(), Error> {
        let failed = |error: KafkaError| Error::internal(format!("assignment: {error}"));
        let mut assignment = TopicPartitionList::new();
        for (name, offsets) in self.names.iter().zip(next) {
            for (partition, offset) in (0..).zip(offsets) {
                assignment
                    .add_partition_offset(name, partition, Offset::Offset(*offset))
                    .map_err(failed)?;
            }
        }
        consumer.assign(&assignment).map_err(failed)
    }

    /// By topic and partition: the first record that is not older than `since`; the end where there is none.
    fn offsets_since(
        &self,
        consumer: &BaseConsumer<Signs>,
        survey: &Survey,
        since: i64,
    ) -> Result<Offsets, KafkaError> {
        let mut asked = TopicPartitionList::new();
        for (name, ends) in self.names.iter().zip(&survey.ends) {
            for (partition, _) in (0..).zip(ends) {
                asked.add_partition_offset(name, partition, Offset::Offset(since.max(0)))?;
            }
        }
        let told = consumer.offsets_for_times(asked, QUERY_TIMEOUT)?;
        // Where a partition was not answered for, what was asked is still there, and would be taken for an offset.
        for element in told.elements() {
            element.error()?;
        }
        let told = told.to_topic_map();
        let of =
            |name: &String, partition: i32, end: i64| match told.get(&(name.clone(), partition)) {
                Some(Offset::Offset(offset)) => *offset,
                _ => end,
            };
        let topics = self.names.iter().zip(&survey.ends);
        Ok(topics
            .map(|(name, ends)| (0..).zip(ends).map(|(p, end)| of(name, p, *end)).collect())
            .collect())
    }

    fn read(&mut self, reading: &mut Reading) -> Result<(), Error> {
        let Reading {
            consumer, audit, ..
        } = reading;
        let mut wait = POLL_WAIT;
        for _ in 0..STRIDE {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(record)) => self.take(audit, &record),
                Some(Err(error)) => {
                    kafka::check(&error)?;
                    self.trouble(&error);
                }
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn trouble(&mut self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => self.missed(&error.to_string()),
            // The client has given a partition up, and does not say which: where it goes on, the next survey finds.
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                warn!(%error, "the reader has lost its place; it goes on from there after the next survey");
                self.misplaced = true;
            }
            _ => debug!(%error, "reader"),
        }
    }

    fn take(&self, audit: &mut Audit, record: &BorrowedMessage<'_>) {
        let name = record.topic();
        let Some(topic) = self.names.iter().position(|known| known == name) else {
            return;
        };
        let (mut source, mut letter) = (None, None);
        if topic != RAW
            && let Some(headers) = record.headers()
        {
            for header in headers.iter() {
                match header.key {
                    SOURCE => source = header.value,
                    DEDUP_KEY => letter = header.value,
                    _ => {}
                }
            }
        }
        let key = record.key();
        let value = record.payload().unwrap_or_default();
        audit.record(&Seen {
            topic,
            partition: record.partition(),
            offset: record.offset(),
            time_ms: record.timestamp().to_millis().unwrap_or(0),
            key,
            value,
            source,
            foreign: letter.is_some(),
        });
        if self.config.database.url.is_some() && topic != RAW {
            self.sample(topic, record, letter);
        }
    }

    /// Tells the sink's audit of one record in so many. A dead letter is one record in a great many: all of them.
    fn sample(&self, topic: TopicId, record: &BorrowedMessage<'_>, letter: Option<&[u8]>) {
        let sample = if let Some(letter) = letter {
            Sample::Letter(String::from_utf8_lossy(letter).into_owned())
        } else {
            let Some((_, table)) = sample::TABLES.iter().find(|(stored, _)| *stored == topic)
            else {
                return;
            };
            if record.offset() % i64::from(self.config.sink.sample_every) != 0 {
                return;
            }
            let value = record.payload().unwrap_or_default();
            let Some(key) = sample::row_key(topic, record.key(), value) else {
                return;
            };
            if key.time.as_millis() < unix_ms() - self.config.sink.max_age_ms {
                metrics::sink_unaudited(table);
                return;
            }
            Sample::Row {
                topic,
                partition: record.partition(),
                offset: record.offset(),
                key,
            }
        };
        if self.samples.try_send(sample).is_err() {
            let table = sample::TABLES.iter().find(|(stored, _)| *stored == topic);
            metrics::sink_unaudited(table.map_or("none", |(_, table)| *table));
        }
    }

    /// Judges what can be judged; whether another survey is wanted.
    fn judge(&mut self, reading: &mut Reading, questions: &mut Questions) -> Result<bool, Error> {
        let positions = reading
            .consumer
            .position()
            .map_err(|error| Error::internal(format!("position: {error}")))?;
        for element in positions.elements() {
            let topic = self.names.iter().position(|name| name == element.topic());
            if let (Some(topic), Ok(partition), Offset::Offset(offset)) = (
                topic,
                usize::try_from(element.partition()),
                element.offset(),
            ) {
                reading.audit.reached(topic, partition, offset);
            }
        }
        match questions.answers.try_recv() {
            Ok(Ok(survey)) => {
                self.used();
                if let Some(asked) = questions.asked.take() {
                    self.ends.send_replace(survey.ends.clone());
                    let moves = reading.audit.survey(&survey, &asked);
                    if !moves.is_empty() || self.misplaced {
                        self.watch.forget();
                    }
                    self.watch.told(&survey.stable);
                    self.go(&reading.consumer, &moves)?;
                    if std::mem::take(&mut self.misplaced) {
                        self.read_from(&reading.consumer, reading.audit.next())?;
                    }
                }
            }
            Ok(Err(NoSurvey::Stop(stop))) => return Err(stop),
            Ok(Err(NoSurvey::Wait(reason))) => {
                questions.asked = None;
                self.watch.forget();
                self.missed(&reason);
            }
            Err(_) => {}
        }
        let now = Instant::now();
        let elapsed = now.duration_since(std::mem::replace(&mut self.watched, now));
        if let Some(found) = self.watch.look(elapsed, reading.audit.next()) {
            // Only a new client reads on, and a restart brings one.
            return Err(Error::temporary(format!(
                "{} partition {}: the client has stopped to read it, at {} of {}",
                self.names[found.topic], found.partition, found.next, found.stable
            )));
        }
        let before: Vec<bool> = (0..STAGES.len()).map(|i| reading.audit.waits(i)).collect();
        let idle = reading.audit.settle();
        for (index, stage) in STAGES.iter().enumerate() {
            if before[index] && !reading.audit.waits(index) {
                metrics::judged(stage.name, unix_ms());
            }
        }
        reading
            .report
            .tell(&reading.audit.take_findings(), &self.names);
        metrics::show(&reading.audit, &self.names);
        Ok(idle)
    }

    /// Reads on elsewhere.
    fn go(&self, consumer: &BaseConsumer<Signs>, moves: &[Move]) -> Result<(), Error> {
        if moves.is_empty() {
            return Ok(());
        }
        let failed = |error: KafkaError| Error::internal(format!("assignment: {error}"));
        let (mut old, mut new) = (TopicPartitionList::new(), TopicPartitionList::new());
        for (topic, partition, offset) in moves {
            let name = &self.names[*topic];
            warn!(
                topic = name,
                partition,
                offset,
                "records are gone, or the topic is another one; reading goes on here"
            );
            old.add_partition(name, *partition);
            new.add_partition_offset(name, *partition, Offset::Offset(*offset))
                .map_err(failed)?;
        }
        consumer.incremental_unassign(&old).map_err(failed)?;
        consumer.incremental_assign(&new).map_err(failed)
    }

    fn missed(&mut self, reason: &str) {
        if !self.away {
            warn!(reason, "Kafka is not there; waiting for it");
            metrics::kafka_up(false);
        }
        self.away = true;
        self.gate.close(format!("Kafka is not there: {reason}"));
    }

    fn used(&mut self) {
        if self.away {
            info!("Kafka is there again");
        }
        self.away = false;
        metrics::kafka_up(true);
        self.gate.open();
    }
}

fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
