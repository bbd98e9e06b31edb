//! The transactional producer: finite calls under a deadline of our own, and a shield against late requests.
//!
//! librdkafka speaks the first transaction protocol (no KIP-890). There a commit or abort that a slow network held back
//! can still arrive after its call returned, and then ends the *next* transaction, silently. So whenever a call was
//! slow, timed out or failed, the producer is suspect and is rebuilt before another transaction begins: the new
//! producer's `init_transactions` raises the epoch, and the broker drops whatever of the old one still comes.

use super::recovery::{self, Recovery};
use crate::stall::Stalls;
use crate::{Error, Heartbeat};
use librdkafka_guard::native;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, Statistics};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// One try of a transactional call; it is repeated until the deadline.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before a refused call is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// The header of an output record that names the input record that caused it: `docs/spec/lineage.md`.
const SOURCE_HEADER: &str = "source";

/// What the client's background threads noticed.
#[derive(Clone, Debug, Default)]
pub(super) struct Signs {
    inner: Arc<SignFlags>,
    stalls: Arc<Stalls>,
}

#[derive(Debug, Default)]
struct SignFlags {
    request_timed_out: AtomicBool,
    authentication_failed: AtomicBool,
}

impl Signs {
    /// Those of a client that is watched, too.
    pub(super) fn watched(stalls: &Arc<Stalls>) -> Self {
        Self {
            inner: Arc::default(),
            stalls: Arc::clone(stalls),
        }
    }

    pub(super) fn authentication_failed(&self) -> bool {
        self.inner.authentication_failed.load(Ordering::Relaxed)
    }

    fn request_timed_out(&self) -> bool {
        self.inner.request_timed_out.load(Ordering::Relaxed)
    }
}

impl ClientContext for Signs {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A timed-out EndTxn raises no error event; this log line is its only sign.
        if facility == "REQTMOUT" {
            self.inner.request_timed_out.store(true, Ordering::Relaxed);
        }
        // The client recovers by itself; what matters to an operator is logged by the loop, once.
        debug!(facility, ?level, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(
            error.rdkafka_error_code(),
            Some(Code::Authentication | Code::SaslAuthenticationFailed)
        ) {
            self.inner
                .authentication_failed
                .store(true, Ordering::Relaxed);
        }
        debug!(%error, reason, "client error");
    }

    fn stats(&self, statistics: Statistics) {
        self.stalls.note(Instant::now(), &statistics);
    }
}

impl ConsumerContext for Signs {}

impl ProducerContext for Signs {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {
        // Only failures are reported; the commit then fails too and says which recovery it takes. What an abort purged
        // is no failure.
        if let Err((error, _)) = result
            && !matches!(
                error.rdkafka_error_code(),
                Some(Code::PurgeQueue | Code::PurgeInflight)
            )
        {
            debug!(%error, "record not delivered; the transaction will be aborted");
        }
    }
}

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// A commit or abort that took this long makes the producer suspect.
    pub(super) suspicious: Duration,
    /// A transaction that has not ended by then is given up.
    pub(super) give_up: Duration,
}

/// A producer with at most one open transaction.
pub(super) struct Producer {
    client_config: ClientConfig,
    /// What its transactions are about, for an error that a person reads.
    subject: String,
    deadlines: Deadlines,
    heartbeat: Arc<Heartbeat>,
    native: Option<ThreadedProducer<Signs>>,
    signs: Signs,
    open: bool,
    suspect: bool,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("open", &self.open)
            .field("suspect", &self.suspect)
            .finish_non_exhaustive()
    }
}

impl Producer {
    pub(super) fn new(
        client_config: ClientConfig,
        subject: String,
        deadlines: Deadlines,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        Self {
            client_config,
            subject,
            deadlines,
            heartbeat,
            native: None,
            signs: Signs::default(),
            open: false,
            suspect: false,
        }
    }

    /// The client, to be closed.
    pub(super) const fn take(&mut self) -> Option<ThreadedProducer<Signs>> {
        self.native.take()
    }

    fn native(&self) -> Result<&ThreadedProducer<Signs>, Recovery> {
        let missing = Recovery::Rebuild { fenced: false };
        self.native.as_ref().ok_or(missing)
    }

    /// A transaction is open.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// The next transaction needs [`Producer::connect`] first.
    const fn needs_connect(&self) -> bool {
        self.native.is_none() || (self.suspect && !self.open)
    }

    /// Tries once to get a fresh producer: makes it, fences its predecessor and aborts what that left open. `Ok(false)`
    /// when the broker does not answer yet.
    pub(super) fn connect(&mut self) -> Result<bool, Error> {
        if self.needs_connect() {
            if self.native.take().is_some() {
                metrics::counter!("chassis_producer_rebuilds_total").increment(1);
                info!("producer rebuilt");
            }
            self.signs = Signs::default();
            let native =
                ThreadedProducer::from_config_and_context(&self.client_config, self.signs.clone())
                    .map_err(|error| Error::config(format!("kafka: {error}")))?;
            let result = native.init_transactions(CALL_TIMEOUT);
            self.heartbeat.beat();
            match result {
                Ok(()) => {
                    self.native = Some(native);
                    self.suspect = false;
                    self.open = false;
                }
                Err(_) if self.signs.authentication_failed() => {
                    return Err(recovery::authentication_failed());
                }
                Err(error) => {
                    return match recovery::of_transaction(&self.subject, &error) {
                        Recovery::Stop(stop) => Err(stop),
                        Recovery::Retry | Recovery::Abort | Recovery::Rebuild { .. } => {
                            debug!(%error, "init_transactions not done yet");
                            Ok(false)
                        }
                    };
                }
            }
        }
        Ok(true)
    }

    pub(super) fn begin(&mut self) -> Result<(), Recovery> {
        let native = self.native()?;
        match native.begin_transaction() {
            Ok(()) => {
                self.open = true;
                Ok(())
            }
            Err(error) => {
                self.suspect = true;
                Err(match recovery::of_transaction("begin", &error) {
                    // `_CONFLICT` after an unfinished abort: there is nothing to retry here, a new producer is.
                    Recovery::Retry | Recovery::Abort => Recovery::Rebuild { fenced: false },
                    other => other,
                })
            }
        }
    }

    /// Queues one record of the open transaction, with where it came from.
    pub(super) fn send(
        &mut self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        source: Option<&str>,
    ) -> Result<(), Recovery> {
        let native = self.native()?;
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        if let Some(source) = source {
            let header = Header {
                key: SOURCE_HEADER,
                value: Some(source),
            };
            record = record.headers(OwnedHeaders::new_with_capacity(1).insert(header));
        }
        let mut give_up: Option<Instant> = None;
        loop {
            let Err((error, refused)) = native.send(record) else {
                return Ok(());
            };
            match recovery::of_send(topic, &error) {
                // The queue is full: the background thread drains it, unless the broker is away for good.
                Recovery::Retry => {
                    let at =
                        *give_up.get_or_insert_with(|| Instant::now() + self.deadlines.give_up);
                    if Instant::now() >= at {
                        return Err(Recovery::Abort);
                    }
                    self.heartbeat.beat();
                    std::thread::sleep(RETRY_PAUSE);
                    record = refused;
                }
                other => {
                    warn!(topic, partition, %error, "record refused; the transaction is aborted");
                    // A refusal only says that the client is dead; the client itself says of what.
                    return Err(match (other, native.client().fatal_error()) {
                        (Recovery::Rebuild { .. }, Some((code, _))) => Recovery::Rebuild {
                            fenced: recovery::is_fencing(code),
                        },
                        (other, _) => other,
                    });
                }
            }
        }
    }

    /// Commits the open transaction with the consumer's `offsets`. On an error the transaction is not committed, unless
    /// the error is `Rebuild`: then it is in doubt, and only the group's offsets, read after the rebuild, can tell.
    pub(super) fn commit(
        &mut self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), Recovery> {
        let started = Instant::now();
        let give_up = started + self.deadlines.give_up;
        let native = self.native()?;
        let mut result = self.flush(native, give_up);
        let mut refused = false;
        if result.is_ok() {
            // Retriable but not resumable: the same arguments each time.
            result = self.repeat("sending offsets", give_up, || {
                native.send_offsets_to_transaction(offsets, group, CALL_TIMEOUT)
            });
            // Refused by the group (a rebalance, most often), which is an answer: nothing of it is under way any more.
            refused = matches!(result, Err(Recovery::Abort));
        }
        if result.is_ok() {
            let end = || native.commit_transaction(CALL_TIMEOUT);
            result = match self.repeat("commit", give_up, end) {
                // The client calls a transaction failed that may have failed only here, after its EndTxn was sent.
                Err(Recovery::Abort) => Err(Recovery::Rebuild { fenced: false }),
                other => other,
            };
        }
        self.judge(started, result.is_ok() || refused);
        if result.is_ok() {
            self.open = false;
        }
        result
    }

    /// Before the offsets: what is still queued when they are refused is thrown away by the client, and librdkafka 2.12.1
    /// forgets to count what it had already made a request of. The next transaction would then fail (`skipped sequence
    /// numbers`), and with a commit in doubt.
    fn flush(&self, native: &ThreadedProducer<Signs>, give_up: Instant) -> Result<(), Recovery> {
        loop {
            match native::flush(native.client(), CALL_TIMEOUT) {
                Ok(()) => return Ok(()),
                Err(Code::OperationTimedOut) if Instant::now() < give_up => self.heartbeat.beat(),
                Err(code) => {
                    warn!(%code, "records not delivered in time; the transaction is aborted");
                    return Err(Recovery::Abort);
                }
            }
        }
    }

    /// Aborts the open transaction. When that fails the producer is suspect, and its successor aborts in its place.
    pub(super) fn abort(&mut self) -> Result<(), Recovery> {
        let Some(native) = &self.native else {
            self.open = false;
            return Ok(());
        };
        let started = Instant::now();
        let give_up = started + self.deadlines.give_up;
        let result = self.repeat("abort", give_up, || native.abort_transaction(CALL_TIMEOUT));
        self.judge(started, result.is_ok());
        self.open = false;
        match result {
            Ok(()) => Ok(()),
            Err(Recovery::Stop(stop)) => Err(Recovery::Stop(stop)),
            Err(Recovery::Rebuild { fenced }) => Err(Recovery::Rebuild { fenced }),
            Err(Recovery::Retry | Recovery::Abort) => Err(Recovery::Rebuild { fenced: false }),
        }
    }

    /// The state is unknown: the transaction is over as far as this process is concerned.
    pub(super) const fn abandon(&mut self) {
        self.open = false;
        self.suspect = true;
    }

    fn judge(&mut self, started: Instant, ok: bool) {
        let slow = started.elapsed() >= self.deadlines.suspicious;
        if !ok || slow || self.signs.request_timed_out() {
            self.suspect = true;
        }
    }

    fn repeat(
        &self,
        what: &str,
        give_up: Instant,
        mut call: impl FnMut() -> KafkaResult<()>,
    ) -> Result<(), Recovery> {
        loop {
            let result = call();
            self.heartbeat.beat();
            let Err(error) = result else { return Ok(()) };
            match recovery::of_transaction(&self.subject, &error) {
                Recovery::Retry if Instant::now() < give_up => std::thread::sleep(RETRY_PAUSE),
                Recovery::Retry => {
                    warn!(what, %error, "gave up at the deadline");
                    return Err(Recovery::Rebuild { fenced: false });
                }
                other => {
                    debug!(what, %error, recovery = ?other, "failed");
                    return Err(other);
                }
            }
        }
    }
}
