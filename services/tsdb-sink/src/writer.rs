//! Stores batches: rows and offsets in one database transaction.
//!
//! A partition's row in `sink_offsets` is locked before anything is stored, and says what is stored already and who may
//! store. So a batch may be tried any number of times, also after a commit whose answer was lost, and by an instance that
//! has lost its partitions without noticing: what is there is not stored again.

use crate::availability::Availability;
use crate::config::Config;
use crate::copy_in;
use crate::database::{Database, Trouble, trouble, within};
use crate::domain::batch::{Batch, Letter, Way};
use crate::domain::bisect::Bisect;
use crate::domain::letter::Unstorable;
use crate::domain::offsets::{Place, Slice, Stored, Verdict, judge};
use crate::domain::statements::Statements;
use crate::domain::table::Table;
use crate::gpus::Gpus;
use crate::tables::Storage;
use crate::{claim, metrics, partitions};
use chassis::Error;
use schema::Timestamp;
use sqlx::{Connection, PgConnection};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// First and longest pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Tries that others may be in the way of until that counts as an outage.
const BUSY_TRIES: u32 = 5;

/// What a writer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Become the one who stores these partitions.
    Claim(Vec<Place>),
    /// Store this.
    Store(Box<Batch>),
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Each partition's claim.
    Claimed(Vec<(Place, Stored)>),
    /// What became of each slice.
    Stored(Box<Batch>, Vec<Verdict>),
    /// Nothing was stored: the database refuses these records' rows.
    Refused(Box<Batch>, Vec<(Place, i64, Unstorable)>),
    /// Nothing was stored, since the service stops.
    Dropped,
    /// The service can't go on.
    Failed(Error),
}

/// What went wrong with one try.
#[derive(Debug)]
enum Failure {
    Database(sqlx::Error),
    /// While rows of a table were stored.
    Rows(Table, sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// One connection's worth of storing.
pub(crate) struct Writer {
    name: String,
    owner: String,
    config: Arc<Config>,
    database: Database,
    availability: Arc<Availability>,
    prepared: watch::Receiver<Option<Storage>>,
    /// Told when dead letters have been stored.
    letters: Arc<Notify>,
    shutdown: CancellationToken,
    connection: Option<PgConnection>,
    statements: [Statements; Table::ALL.len()],
    gpus: Gpus,
    /// Partitions that are known to exist.
    existing: BTreeSet<crate::domain::calendar::Partition>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn new(
        number: usize,
        config: &Arc<Config>,
        database: &Database,
        availability: &Arc<Availability>,
        prepared: &watch::Receiver<Option<Storage>>,
        letters: &Arc<Notify>,
        shutdown: &CancellationToken,
    ) -> Self {
        Self {
            name: format!("writer-{number}"),
            owner: format!("{}-{number}", config.kafka.instance()),
            config: Arc::clone(config),
            database: database.clone(),
            availability: Arc::clone(availability),
            prepared: prepared.clone(),
            letters: Arc::clone(letters),
            shutdown: shutdown.clone(),
            connection: None,
            statements: Table::ALL.map(Statements::new),
            gpus: Gpus::new(),
            existing: BTreeSet::new(),
        }
    }

    /// Works until nobody asks any more.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        outcomes: std::sync::mpsc::Sender<Outcome>,
    ) {
        while let Some(command) = commands.recv().await {
            let outcome = match self.wait_until_prepared().await {
                Some(storage) => Box::pin(self.execute(command, storage)).await,
                None => Outcome::Dropped,
            };
            if outcomes.send(outcome).is_err() {
                return;
            }
        }
    }

    async fn wait_until_prepared(&mut self) -> Option<Storage> {
        tokio::select! {
            () = self.shutdown.cancelled(), if self.prepared.borrow().is_none() => None,
            prepared = self.prepared.wait_for(Option::is_some) => prepared.ok().and_then(|storage| *storage),
        }
    }

    /// Tries until it is done, a row is to blame, or the service stops.
    async fn execute(&mut self, command: Command, storage: Storage) -> Outcome {
        let mut command = command;
        let mut replace = BTreeSet::new();
        let (mut pause, mut busy) = (FIRST_PAUSE, 0);
        loop {
            let reused = self.connection.is_some();
            let limit = self.database.answer_timeout() * 2;
            let outcome = match &mut command {
                Command::Claim(places) => {
                    let places = places.clone();
                    let claim = Box::pin(self.claim(&places));
                    within_failure(limit, claim).await.map(Outcome::Claimed)
                }
                Command::Store(batch) => {
                    let started = Instant::now();
                    let store = Box::pin(self.store(batch, storage, &replace));
                    within_failure(limit, store).await.map(|verdicts| {
                        metrics::batch_duration(started.elapsed());
                        Outcome::Stored(std::mem::take(batch), verdicts)
                    })
                }
            };
            let failure = match outcome {
                Ok(outcome) => {
                    self.availability.used(&self.name);
                    return outcome;
                }
                Err(failure) => failure,
            };
            metrics::batch("failed");
            // Whatever state it is in.
            self.connection = None;
            let (Failure::Database(error) | Failure::Rows(_, error)) = &failure;
            let trouble = trouble(error);
            debug!(writer = self.name, ?trouble, "try failed");
            let reason = match (trouble, &failure, &mut command) {
                // The server has closed a connection that was idle: no outage yet.
                (Trouble::Away(_), ..) if reused => continue,
                (Trouble::Busy(_), ..) if busy < BUSY_TRIES => {
                    busy += 1;
                    String::new()
                }
                (Trouble::Duplicate, Failure::Rows(table, _), _) if replace.insert(*table) => {
                    continue;
                }
                (Trouble::Value(..), Failure::Rows(table, _), Command::Store(batch)) => {
                    let by_way = replace.contains(table);
                    match self.find_bad_rows(batch, *table, by_way).await {
                        Ok(bad) if !bad.is_empty() => {
                            metrics::batch("refused");
                            self.availability.used(&self.name);
                            return Outcome::Refused(std::mem::take(batch), bad);
                        }
                        Ok(_) => format!("it refuses every row of {}: {error}", table.name()),
                        Err(error) => error.to_string(),
                    }
                }
                (Trouble::Away(told) | Trouble::Busy(told), ..) => told,
                (Trouble::Duplicate | Trouble::Value(..), ..) => error.to_string(),
                (other, ..) => {
                    return Outcome::Failed(other.stop().unwrap_or_else(|| Error::internal(error)));
                }
            };
            if !reason.is_empty() {
                self.availability.missed(&self.name, &reason);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Outcome::Dropped,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    async fn connection(&mut self) -> Result<PgConnection, sqlx::Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.database.connect_as(&self.owner).await,
        }
    }

    async fn claim(&mut self, places: &[Place]) -> Result<Vec<(Place, Stored)>, Failure> {
        let mut connection = self.connection().await?;
        let topics = &self.config.topics;
        let claimed = claim::claim(&mut connection, topics, places, &self.owner).await;
        if let Err(error) = &claimed
            && matches!(trouble(error), Trouble::Busy(_))
        {
            let ended = claim::end_sessions(&mut connection, topics, places, &self.owner).await?;
            if ended > 0 {
                warn!(
                    writer = self.name,
                    ended, "sessions of former owners ended: they held on to their partitions"
                );
            }
        }
        let claims = claimed?;
        self.connection = Some(connection);
        Ok(claims)
    }

    async fn store(
        &mut self,
        batch: &mut Batch,
        storage: Storage,
        replace: &BTreeSet<Table>,
    ) -> Result<Vec<Verdict>, Failure> {
        let mut connection = self.connection().await?;
        if storage == Storage::Partitions {
            self.make_partitions(&mut connection, batch).await?;
        }
        let ids = self.gpus.resolve(&mut connection, batch.gpus()).await?;
        batch.set_gpu_ids(&ids);

        let mut transaction = connection.begin().await?;
        let stored = claim::lock(&mut transaction, &self.config.topics, batch.slices()).await?;
        let verdicts: Vec<Verdict> = batch
            .slices()
            .iter()
            .map(|slice| {
                stored
                    .get(&slice.place)
                    .map_or(Verdict::Fenced, |stored| judge(slice, stored))
            })
            .collect();
        let from: Vec<i64> = verdicts.iter().map(first_offset).collect();
        let mut counts = [0; Table::ALL.len()];
        for table in Table::ALL {
            let by_way = replace.contains(&table);
            counts[table.index()] = self
                .send_rows(&mut transaction, batch, table, by_way, &from)
                .await
                .map_err(|error| Failure::Rows(table, error))?;
        }
        let letters: Vec<&Letter> = batch
            .letters()
            .iter()
            .filter(|letter| letter.offset >= from[letter.slice])
            .collect();
        self.send_letters(&mut transaction, batch.slices(), &letters)
            .await?;
        let moved: Vec<(&Slice, Option<i64>)> = batch
            .slices()
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::Store { .. }))
            .map(|(slice, _)| {
                (
                    slice,
                    stored.get(&slice.place).and_then(|stored| stored.next),
                )
            })
            .collect();
        claim::advance(&mut transaction, &self.config.topics, &moved).await?;
        transaction.commit().await?;

        self.connection = Some(connection);
        for table in Table::ALL {
            metrics::rows(table.name(), counts[table.index()]);
        }
        for letter in &letters {
            metrics::dead_letter(letter.code);
        }
        if !letters.is_empty() {
            self.letters.notify_one();
        }
        Ok(verdicts)
    }

    /// The rows of one table; the number of those that were sent.
    async fn send_rows(
        &self,
        connection: &mut PgConnection,
        batch: &Batch,
        table: Table,
        replace: bool,
        from: &[i64],
    ) -> Result<u64, sqlx::Error> {
        let statements = &self.statements[table.index()];
        let (plain, merge) = (batch.rows(table, Way::Plain), batch.rows(table, Way::Merge));
        let (kept_plain, kept_merge) = (plain.kept(from), merge.kept(from));
        let mut staged = merge.pieces(&kept_merge);
        if replace {
            staged.splice(0..0, plain.pieces(&kept_plain));
        } else if !kept_plain.is_empty() {
            copy_in::append(connection, statements, &plain.pieces(&kept_plain)).await?;
        }
        if !staged.is_empty() {
            copy_in::merge(connection, statements, &staged).await?;
        }
        Ok((kept_plain.len() + kept_merge.len()) as u64)
    }

    async fn send_letters(
        &self,
        connection: &mut PgConnection,
        slices: &[Slice],
        letters: &[&Letter],
    ) -> Result<(), sqlx::Error> {
        for letter in letters {
            let place = slices[letter.slice].place;
            sqlx::query(
                "INSERT INTO sink_dead_letters (topic, partition, \"offset\", key, value) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(self.config.topics.of(place.table))
            .bind(place.partition)
            .bind(letter.offset)
            .bind(letter.key.as_deref())
            .bind(&letter.value)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    /// Makes the partitions that the batch's rows want. One that can't be made now is made by the next look after them:
    /// its rows go to the default partition meanwhile.
    async fn make_partitions(
        &mut self,
        connection: &mut PgConnection,
        batch: &Batch,
    ) -> Result<(), sqlx::Error> {
        let now = now();
        for partition in batch.partitions().difference(&self.existing.clone()) {
            if !partition.is_wanted(now, self.config.retention.days(partition.table)) {
                continue;
            }
            match partitions::make(connection, *partition).await {
                Ok(_) => {
                    self.existing.insert(*partition);
                }
                Err(error) if matches!(trouble(&error), Trouble::Busy(_)) => {
                    debug!(%error, partition = partition.name(), "left for later");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The records whose rows `table` refuses; none when it refuses all.
    async fn find_bad_rows(
        &mut self,
        batch: &mut Batch,
        table: Table,
        replace: bool,
    ) -> Result<Vec<(Place, i64, Unstorable)>, sqlx::Error> {
        let mut connection = self.database.connect().await?;
        // Numbers of GPUs are in the rows already: the try that failed came that far.
        let everything = vec![i64::MIN; batch.slices().len()];
        let mut found = Vec::new();
        for way in [Way::Plain, Way::Merge] {
            let rows = batch.rows(table, way);
            let kept = rows.kept(&everything);
            if kept.is_empty() {
                continue;
            }
            let mut search = Bisect::new(kept.len());
            while let Some(range) = search.next_range() {
                let single = range.len() == 1;
                let pieces = rows.pieces(&kept[range.clone()]);
                let by_stage = replace || way == Way::Merge;
                let refused = self
                    .probe(&mut connection, table, by_stage, &pieces)
                    .await?;
                if let (Some(reason), true) = (&refused, single) {
                    let (slice, offset) = rows.origin(kept[range.start]);
                    found.push((batch.slices()[slice].place, offset, reason.clone()));
                }
                search.answer(refused.is_none());
                if search.is_hopeless() {
                    return Ok(Vec::new());
                }
            }
        }
        for (place, offset, reason) in &found {
            let topic = self.config.topics.of(place.table);
            warn!(
                topic,
                partition = place.partition,
                offset,
                reason = reason.message,
                "the database refuses a record's row"
            );
        }
        Ok(found)
    }

    /// Stores rows and takes it back; why they were refused.
    async fn probe(
        &self,
        connection: &mut PgConnection,
        table: Table,
        by_stage: bool,
        pieces: &[&[u8]],
    ) -> Result<Option<Unstorable>, sqlx::Error> {
        let statements = &self.statements[table.index()];
        let mut transaction = connection.begin().await?;
        let result = if by_stage {
            copy_in::merge(&mut transaction, statements, pieces).await
        } else {
            copy_in::append(&mut transaction, statements, pieces).await
        };
        transaction.rollback().await?;
        match result {
            Ok(()) => Ok(None),
            Err(error) => match trouble(&error) {
                Trouble::Value(code, message) => Ok(Some(Unstorable::refused(&code, &message))),
                Trouble::Duplicate => Ok(None),
                _ => Err(error),
            },
        }
    }
}

const fn first_offset(verdict: &Verdict) -> i64 {
    match verdict {
        Verdict::Store { from } => *from,
        Verdict::Already | Verdict::Gap { .. } | Verdict::Fenced => i64::MAX,
    }
}

async fn within_failure<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match within(limit, async { Ok(work.await) }).await {
        Ok(result) => result,
        Err(timed_out) => Err(Failure::Database(timed_out)),
    }
}

/// Wall-clock time: what retention is judged by.
pub(crate) fn now() -> Timestamp {
    let now = jiff::Timestamp::now().as_millisecond();
    Timestamp::from_millis(now)
}
