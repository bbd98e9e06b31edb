//! Whether something that others need is there, as those who use it find out.

use chassis::Gate;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{debug, info, warn};

/// The database or the broker: there while nobody misses it. Its going and coming is said once, whoever notices.
pub(crate) struct Availability {
    what: &'static str,
    gate: Gate,
    changed: fn(bool),
    missed_by: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Availability")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

impl Availability {
    /// `changed` is told of each change.
    pub(crate) fn new(what: &'static str, gate: Gate, changed: fn(bool)) -> Self {
        changed(false);
        Self {
            what,
            gate,
            changed,
            missed_by: Mutex::default(),
        }
    }

    /// `who` can't use it.
    pub(crate) fn missed(&self, who: &str, reason: &str) {
        let mut missed_by = self.lock();
        if missed_by.is_empty() {
            warn!(reason, "{} is not there; waiting for it", self.what);
            (self.changed)(false);
        } else {
            debug!(who, reason, "{} is still not there", self.what);
        }
        missed_by.insert(who.to_owned());
        self.gate
            .close(format!("{} is not there: {reason}", self.what));
    }

    /// `who` has used it.
    pub(crate) fn used(&self, who: &str) {
        let mut missed_by = self.lock();
        if missed_by.remove(who) && missed_by.is_empty() {
            info!("{} is there again", self.what);
        }
        if missed_by.is_empty() {
            self.gate.open();
            (self.changed)(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.missed_by
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_again_when_nobody_misses_it_any_more() {
        let app = chassis::App::detached(crate::SERVICE);
        let database = Availability::new("PostgreSQL", app.gate("database"), |_| {});
        assert_eq!(app.unready().len(), 1);
        database.used("a");
        assert!(app.unready().is_empty());
        database.missed("a", "gone");
        database.missed("b", "gone");
        database.used("a");
        assert_eq!(app.unready().len(), 1, "b still misses it");
        database.used("b");
        assert!(app.unready().is_empty());
    }
}
