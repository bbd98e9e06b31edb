//! One task a target: asks at its own pace, and hands on what it gets.

use crate::config::ScrapeConfig;
use crate::discovery::Targets;
use crate::domain::event::{Taken, event};
use crate::domain::join::{Scraped, scrape};
use crate::domain::sequence::Sequences;
use crate::domain::target::{Target, phase_ms};
use crate::fetch::{FetchError, client, fetch};
use crate::metrics::{GPUS, READINGS, ROWS, SCRAPE_DURATION, SCRAPES, TARGETS};
use crate::outbox::Outbox;
use chassis::{Error, Heartbeat};
use metrics::{counter, gauge, histogram};
use reqwest::Client;
use schema::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// The state of a target, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Up,
    Down,
}

/// What all targets share.
#[derive(Debug)]
pub(crate) struct Scraper {
    client: Client,
    config: ScrapeConfig,
    outbox: Arc<Outbox>,
    boot_id: String,
    sequences: Mutex<Sequences>,
    places: Semaphore,
    suspect_places: Semaphore,
    states: Mutex<BTreeMap<String, State>>,
}

impl Scraper {
    /// A scraper that hands records to `outbox`; `boot_id` names this run.
    pub(crate) fn new(
        config: ScrapeConfig,
        outbox: Arc<Outbox>,
        boot_id: String,
    ) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            client: client().map_err(|error| Error::internal(format!("HTTP client: {error}")))?,
            places: Semaphore::new(config.concurrency),
            suspect_places: Semaphore::new(config.suspect_concurrency),
            config,
            outbox,
            boot_id,
            sequences: Mutex::default(),
            states: Mutex::default(),
        }))
    }

    /// Keeps one task for each current target until `shutdown`, then waits for them to end.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut targets: watch::Receiver<Targets>,
        heartbeat: Heartbeat,
        shutdown: CancellationToken,
    ) {
        const BEAT: Duration = Duration::from_secs(1);
        let mut running: BTreeMap<String, (Target, CancellationToken)> = BTreeMap::new();
        let tasks = TaskTracker::new();
        loop {
            let current = targets.borrow_and_update().clone();
            running.retain(|url, (target, stop)| {
                let keep = current.get(url) == Some(target);
                if !keep {
                    stop.cancel();
                }
                keep
            });
            self.states
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|url, _| current.contains_key(url));
            for (url, target) in current {
                running.entry(url).or_insert_with_key(|url| {
                    let stop = shutdown.child_token();
                    self.set_state(url, State::Unknown);
                    tasks.spawn(Arc::clone(&self).keep_asking(target.clone(), stop.clone()));
                    (target, stop)
                });
            }
            self.show_states();
            loop {
                heartbeat.beat();
                tokio::select! {
                    changed = targets.changed() => {
                        if changed.is_err() {
                            shutdown.cancelled().await;
                        }
                        break;
                    }
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(BEAT) => {}
                }
            }
            if shutdown.is_cancelled() {
                break;
            }
        }
        tasks.close();
        // A scrape under way is cut off by its own timeout at the latest; the beat goes on meanwhile.
        loop {
            heartbeat.beat();
            if tokio::time::timeout(BEAT, tasks.wait()).await.is_ok() {
                return;
            }
        }
    }

    /// Asks `target` at its phase of each interval. A scrape is never later than its interval's end, since it is cut off by
    /// its timeout, so that no other target and not the next turn waits for it.
    async fn keep_asking(self: Arc<Self>, target: Target, stop: CancellationToken) {
        let interval_ms = target.interval_ms;
        let mut next_ms = next_turn(wall_clock_ms(), interval_ms, phase_ms(&target));
        let mut health = State::Unknown;
        loop {
            // A clock that was set back must not silence a target until it has caught up.
            let wait = next_ms.saturating_sub(wall_clock_ms()).min(interval_ms);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            }
            let outcome = tokio::select! {
                // What was asked for is still taken in when the service drains, but not waited for.
                () = stop.cancelled() => return,
                outcome = self.turn(&target, health) => outcome,
            };
            health = self.judge(&target, health, outcome);
            next_ms = next_turn(
                wall_clock_ms().max(next_ms + 1),
                interval_ms,
                phase_ms(&target),
            );
        }
    }

    /// One scrape: how many readings it gave, or why none. None when there was no place for it.
    async fn turn(&self, target: &Target, health: State) -> Option<Result<usize, FetchError>> {
        // Endpoints that do not answer hold a place for all of their timeout. They have places of their own, so that a dead
        // rack delays nobody.
        let _place = if health == State::Down {
            self.suspect_places.try_acquire().ok()?
        } else {
            self.places.acquire().await.ok()?
        };
        let began = Instant::now();
        let asked = wall_clock();
        let fetched = fetch(
            &self.client,
            &target.url,
            target.timeout_ms,
            self.config.max_body_bytes,
        )
        .await;
        let outcome = fetched.map(|body| {
            let answered = wall_clock();
            let text = String::from_utf8_lossy(&body);
            let scraped = scrape(&text);
            self.hand_on(target, &scraped, asked, answered);
            scraped.readings.len()
        });
        histogram!(SCRAPE_DURATION).record(began.elapsed().as_secs_f64());
        Some(outcome)
    }

    fn hand_on(&self, target: &Target, scraped: &Scraped, asked: Timestamp, answered: Timestamp) {
        let summary = scraped.summary;
        for (outcome, rows) in [
            (
                "used",
                summary.visited - scraped.without_gpu.min(summary.visited),
            ),
            ("skipped", summary.skipped),
            ("malformed", summary.malformed),
            ("without_gpu", scraped.without_gpu),
        ] {
            counter!(ROWS, "outcome" => outcome).increment(rows as u64);
        }
        if let Some((line, error)) = summary.first_malformed {
            tracing::debug!(
                target = target.url,
                line,
                error = error.name(),
                "a malformed line was skipped"
            );
        }
        counter!(READINGS).increment(scraped.readings.len() as u64);
        let taken = Taken {
            asked,
            answered,
            labels: &target.labels,
            boot_id: &self.boot_id,
        };
        for reading in &scraped.readings {
            let sequence = {
                let mut sequences = self
                    .sequences
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                sequences.next(&reading.uuid)
            };
            match serde_json::to_vec(&event(reading, taken, sequence)) {
                Ok(value) => self.outbox.push(reading.uuid.as_bytes(), value),
                Err(error) => {
                    warn!(gpu = reading.uuid, %error, "a reading could not be written as JSON");
                }
            }
        }
        let gpus = self
            .sequences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        gauge!(GPUS).set(gpus as f64);
    }

    /// Counts the outcome, and tells a change of the target's state once.
    fn judge(
        &self,
        target: &Target,
        before: State,
        outcome: Option<Result<usize, FetchError>>,
    ) -> State {
        let (label, state, reason) = match outcome {
            None => ("skipped", before, None),
            Some(Ok(0)) => ("empty", State::Up, Some("it shows no GPU".to_owned())),
            Some(Ok(_)) => ("ok", State::Up, None),
            Some(Err(error)) => (error.outcome(), State::Down, Some(error.to_string())),
        };
        counter!(SCRAPES, "outcome" => label).increment(1);
        if state != before {
            let reason = reason.unwrap_or_default();
            match state {
                State::Down => warn!(target = target.url, reason, "target down"),
                State::Up if before == State::Down => info!(target = target.url, "target up again"),
                State::Up if !reason.is_empty() => {
                    warn!(target = target.url, reason, "target up, but");
                }
                State::Up | State::Unknown => {}
            }
            self.set_state(&target.url, state);
            self.show_states();
        }
        state
    }

    fn set_state(&self, url: &str, state: State) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(url.to_owned(), state);
    }

    fn show_states(&self) {
        let counts = {
            let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
            [State::Up, State::Down, State::Unknown]
                .map(|state| states.values().filter(|s| **s == state).count())
        };
        for (label, count) in ["up", "down", "unknown"].into_iter().zip(counts) {
            gauge!(TARGETS, "state" => label).set(count as f64);
        }
    }
}

/// The first time after `now_ms` that is `phase_ms` into an interval of the wall clock.
fn next_turn(now_ms: u64, interval_ms: u64, phase_ms: u64) -> u64 {
    let interval_ms = interval_ms.max(1);
    let shifted = now_ms.saturating_sub(phase_ms);
    (shifted / interval_ms + u64::from(now_ms >= phase_ms)) * interval_ms + phase_ms
}

fn wall_clock_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

fn wall_clock() -> Timestamp {
    Timestamp::from_millis(i64::try_from(wall_clock_ms()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_at_the_phase_of_each_interval() {
        assert_eq!(next_turn(0, 10, 3), 3);
        assert_eq!(next_turn(2, 10, 3), 3);
        assert_eq!(next_turn(3, 10, 3), 13);
        assert_eq!(next_turn(12, 10, 3), 13);
        assert_eq!(next_turn(13, 10, 0), 20);
        assert_eq!(next_turn(20, 10, 0), 30);
    }
}
