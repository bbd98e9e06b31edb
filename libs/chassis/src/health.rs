//! Liveness and readiness as values that somebody holds, not flags that somebody must remember.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What `/healthz` and `/readyz` answer from.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    gates: Mutex<BTreeMap<String, Result<(), String>>>,
    heartbeats: Mutex<BTreeMap<String, Beat>>,
}

#[derive(Clone, Debug)]
struct Beat {
    /// Milliseconds since `start`.
    last: Arc<AtomicU64>,
    max_age: Duration,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                start: Instant::now(),
                gates: Mutex::default(),
                heartbeats: Mutex::default(),
            }),
        }
    }

    pub(crate) fn gate(&self, name: &str) -> Gate {
        let gate = Gate {
            name: name.to_owned(),
            health: self.clone(),
        };
        gate.close("starting");
        gate
    }

    pub(crate) fn heartbeat(&self, name: &str, max_age: Duration) -> Heartbeat {
        let last = Arc::new(AtomicU64::new(self.now_ms()));
        self.shared
            .heartbeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(
                name.to_owned(),
                Beat {
                    last: Arc::clone(&last),
                    max_age,
                },
            );
        Heartbeat {
            name: name.to_owned(),
            last,
            health: self.clone(),
        }
    }

    /// Every closed gate with its reason; empty means ready. While there is no gate yet, the service has not begun.
    pub(crate) fn unready(&self) -> Vec<(String, String)> {
        let gates = self
            .shared
            .gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if gates.is_empty() {
            return vec![("service".to_owned(), "starting".to_owned())];
        }
        gates
            .iter()
            .filter_map(|(name, state)| {
                state
                    .as_ref()
                    .err()
                    .map(|reason| (name.clone(), reason.clone()))
            })
            .collect()
    }

    /// Every heartbeat that is overdue, with its age; empty means alive.
    pub(crate) fn overdue(&self) -> Vec<(String, Duration)> {
        let now = self.now_ms();
        let beats = self
            .shared
            .heartbeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        beats
            .iter()
            .filter_map(|(name, beat)| {
                let age =
                    Duration::from_millis(now.saturating_sub(beat.last.load(Ordering::Relaxed)));
                (age > beat.max_age).then(|| (name.clone(), age))
            })
            .collect()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One condition of readiness. Closed at first.
#[derive(Debug)]
pub struct Gate {
    name: String,
    health: Health,
}

impl Gate {
    /// The condition holds.
    pub fn open(&self) {
        self.set(Ok(()));
    }

    /// It does not, because of `reason`.
    pub fn close(&self, reason: impl Into<String>) {
        self.set(Err(reason.into()));
    }

    fn set(&self, state: Result<(), String>) {
        let mut gates = self
            .health
            .shared
            .gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        gates.insert(self.name.clone(), state);
    }
}

/// Proof that a loop goes round. Dropping it takes it out of the account: a loop that has ended is not stuck.
#[derive(Debug)]
pub struct Heartbeat {
    name: String,
    last: Arc<AtomicU64>,
    health: Health,
}

impl Heartbeat {
    /// The loop went round.
    pub fn beat(&self) {
        self.last.store(self.health.now_ms(), Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let mut beats = self
            .health
            .shared
            .heartbeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        beats.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_gate_is_open() {
        let health = Health::new();
        assert_eq!(
            health.unready(),
            [("service".to_owned(), "starting".to_owned())]
        );
        let (kafka, database) = (health.gate("kafka"), health.gate("database"));
        kafka.open();
        assert_eq!(
            health.unready(),
            [("database".to_owned(), "starting".to_owned())]
        );
        database.open();
        assert!(health.unready().is_empty());
        kafka.close("broker away");
        assert_eq!(
            health.unready(),
            [("kafka".to_owned(), "broker away".to_owned())]
        );
    }

    #[test]
    fn an_overdue_heartbeat_is_named_and_a_dropped_one_is_not() {
        let health = Health::new();
        let stuck = health.heartbeat("stuck", Duration::ZERO);
        let fine = health.heartbeat("fine", Duration::from_hours(1));
        while health.overdue().is_empty() {
            std::hint::spin_loop();
        }
        fine.beat();
        assert_eq!(health.overdue().len(), 1);
        assert_eq!(health.overdue()[0].0, "stuck");
        drop(stuck);
        assert!(health.overdue().is_empty());
    }
}
