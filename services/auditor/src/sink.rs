//! Looks for samples in the sink's tables.
//!
//! The sink stores rows and the offset that they reach in one transaction. So a record below the offset in `sink_offsets` has
//! a row, or the sink has given it up and a dead letter says so.

use crate::config::Config;
use crate::domain::audit::Offsets;
use crate::domain::pipeline::TopicId;
use crate::domain::sample::{self, RowKey, TABLES};
use crate::follower::Sample;
use crate::{HANG_DEADLINE, metrics};
use chassis::{App, Error, Gate};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

/// Longest time for one look at the database.
const LOOK_TIMEOUT: Duration = Duration::from_mins(1);
/// Rows asked for in one query.
const BATCH: usize = 5_000;
/// Looks at a sample whose row is missing, before it counts: its dead letter is published after its offset is stored.
const LOOKS: u8 = 3;
/// Missing rows that are named in one log line.
const NAMED: usize = 8;

type Place = (TopicId, i32, i64);

struct Waiting {
    key: RowKey,
    looks: u8,
}

struct Sink {
    config: Arc<Config>,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    waiting: BTreeMap<Place, Waiting>,
    letters: BTreeSet<Place>,
    /// How far the topics reach, by topic and partition.
    ends: watch::Receiver<Offsets>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

/// Looks until `app` shuts down. Without a database there is nothing to look at, which is said once.
pub(crate) async fn run(
    config: Arc<Config>,
    mut samples: mpsc::Receiver<Sample>,
    ends: watch::Receiver<Offsets>,
    app: App,
) -> Result<(), Error> {
    let Some(url) = &config.database.url else {
        info!("database.url is not set; the sink's tables are not audited");
        return Ok(());
    };
    let options = PgConnectOptions::from_str(url.expose())
        .map_err(|_| Error::config("database.url can't be read"))?
        .application_name("auditor");
    let shutdown = app.shutdown();
    let (gate, heartbeat) = (app.gate("database"), app.heartbeat("sink", HANG_DEADLINE));
    let mut sink = Sink {
        options,
        connection: None,
        waiting: BTreeMap::new(),
        letters: BTreeSet::new(),
        ends,
        config: Arc::clone(&config),
    };
    metrics::database_up(false);
    let mut ticks = tokio::time::interval(config.sink.interval());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut beats = tokio::time::interval(HANG_DEADLINE / 3);
    let mut away = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = beats.tick() => heartbeat.beat(),
            sample = samples.recv() => match sample {
                Some(sample) => sink.take(sample),
                None => return Ok(()),
            },
            _ = ticks.tick() => {
                heartbeat.beat();
                let looked = tokio::select! {
                    looked = tokio::time::timeout(LOOK_TIMEOUT, sink.look()) => looked,
                    () = shutdown.cancelled() => return Ok(()),
                };
                let outcome = looked.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
                sink.told(outcome, &gate, &mut away);
            }
        }
    }
}

impl Sink {
    fn take(&mut self, sample: Sample) {
        match sample {
            Sample::Row {
                topic,
                partition,
                offset,
                key,
            } => {
                // Its dead letter came first.
                if self.letters.contains(&(topic, partition, offset)) {
                    return;
                }
                if self.waiting.len() >= self.config.sink.max_samples {
                    metrics::sink_unaudited(table(topic));
                    return;
                }
                self.waiting
                    .insert((topic, partition, offset), Waiting { key, looks: 0 });
            }
            Sample::Letter(place) => {
                let source = crate::domain::source::parse(place.as_bytes());
                let names = self.config.topics.audited();
                if let Some(source) = source
                    && let Some(topic) = names.iter().position(|name| *name == source.topic)
                {
                    let place = (topic, source.partition, source.offset);
                    self.waiting.remove(&place);
                    // It may come before its sample does.
                    if self.letters.len() >= self.config.sink.max_samples {
                        self.letters.pop_first();
                    }
                    self.letters.insert(place);
                }
            }
        }
    }

    fn told(&mut self, outcome: Result<(), sqlx::Error>, gate: &Gate, away: &mut bool) {
        match outcome {
            Ok(()) => {
                if *away {
                    info!("the sink's database is there again");
                }
                *away = false;
                gate.open();
            }
            Err(error) => {
                self.connection = None;
                if !*away {
                    warn!(%error, "the sink's database can't be asked; trying again");
                }
                *away = true;
                gate.close(format!("the sink's database can't be asked: {error}"));
            }
        }
        metrics::database_up(!*away);
        metrics::sink_pending(self.waiting.len());
    }

    async fn look(&mut self) -> Result<(), sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => PgConnection::connect_with(&self.options).await?,
        };
        let stored = self.stored(&mut connection).await?;
        self.show_lag(&stored);
        for (topic, table) in TABLES {
            let due: Vec<Place> = self
                .waiting
                .keys()
                .filter(|(of, partition, offset)| {
                    *of == topic
                        && stored
                            .get(&(topic, *partition))
                            .is_some_and(|next| offset < next)
                })
                .copied()
                .collect();
            for places in due.chunks(BATCH) {
                self.compare(&mut connection, topic, table, places).await?;
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn show_lag(&self, stored: &BTreeMap<(TopicId, i32), i64>) {
        for (topic, _) in TABLES {
            let ends = self.ends.borrow();
            let partitions = (0..).zip(ends.get(topic).into_iter().flatten());
            let lag = partitions
                .map(|(partition, end)| {
                    (end - stored.get(&(topic, partition)).unwrap_or(&0)).max(0)
                })
                .sum();
            metrics::sink_lag(self.config.topics.audited()[topic], lag);
        }
    }

    /// How far the sink is.
    async fn stored(
        &self,
        connection: &mut PgConnection,
    ) -> Result<BTreeMap<(TopicId, i32), i64>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT topic, partition, next_offset FROM sink_offsets WHERE next_offset IS NOT NULL",
        )
        .fetch_all(&mut *connection)
        .await?;
        let names = self.config.topics.audited();
        let mut stored = BTreeMap::new();
        for row in rows {
            let (name, partition, next): (String, i32, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if let Some(topic) = names.iter().position(|known| *known == name) {
                stored.insert((topic, partition), next);
            }
        }
        Ok(stored)
    }

    async fn compare(
        &mut self,
        connection: &mut PgConnection,
        topic: TopicId,
        table: &'static str,
        places: &[Place],
    ) -> Result<(), sqlx::Error> {
        let mut keys: (Vec<&str>, Vec<i64>, Vec<&str>) = Default::default();
        for place in places {
            if let Some(Waiting { key, .. }) = self.waiting.get(place) {
                keys.0.push(&key.id);
                keys.1.push(key.time.as_millis());
                keys.2.push(&key.state);
            }
        }
        let rows = sqlx::query(AssertSqlSafe(sample::query(topic, table)))
            .bind(keys.0)
            .bind(keys.1)
            .bind(keys.2)
            .fetch_all(&mut *connection)
            .await?;
        let (mut checked, mut missing, mut doubled) = (0, Vec::new(), Vec::new());
        for (place, row) in places.iter().zip(&rows) {
            let count: i64 = row.try_get(0)?;
            let Some(waiting) = self.waiting.get_mut(place) else {
                continue;
            };
            waiting.looks += 1;
            if count == 0 && waiting.looks < LOOKS && !self.letters.contains(place) {
                continue;
            }
            checked += 1;
            self.waiting.remove(place);
            match count {
                1 => {}
                0 if self.letters.remove(place) => {}
                0 => missing.push(*place),
                _ => doubled.push(*place),
            }
        }
        metrics::sink_rows(table, checked, missing.len() as u64, doubled.len() as u64);
        for (what, places) in [
            (
                "missing: the sink has passed these records, and has no row of them",
                missing,
            ),
            (
                "doubled: the sink has several rows of these records",
                doubled,
            ),
        ] {
            if !places.is_empty() {
                let named: Vec<String> = places
                    .iter()
                    .take(NAMED)
                    .map(|(_, partition, offset)| format!("{partition}/{offset}"))
                    .collect();
                let topic = self.config.topics.audited()[topic];
                error!(
                    table,
                    topic,
                    count = places.len(),
                    records = named.join(" "),
                    "{what}"
                );
            }
        }
        Ok(())
    }
}

fn table(topic: TopicId) -> &'static str {
    TABLES
        .iter()
        .find(|(stored, _)| *stored == topic)
        .map_or("none", |(_, table)| *table)
}
