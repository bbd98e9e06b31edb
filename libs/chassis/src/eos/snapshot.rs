//! When a partition's state changes go to its changelog: with each commit, or gathered for a snapshot now and then.
//!
//! A snapshot brings the changelog to the state at one input offset, in the transaction that commits that offset. Between
//! two of them the committed offset runs ahead, and its metadata says how far the changelog is behind: whoever takes the
//! partition over replays the input from there with its outputs muted. A key that changes many times between two
//! snapshots is written once.

use crate::stage::Changelog;
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

/// What the changelog of one partition lacks.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Committed changes since the last snapshot, each with its turn.
    pending: FxHashMap<Box<[u8]>, Pending>,
    turn: u64,
    /// Changes of the open transaction, which does not write them.
    staged: Changelog,
    /// The open transaction writes everything.
    writing: bool,
    due: Instant,
    /// The changelog holds the state as of this input offset.
    pub(super) applied: Option<i64>,
}

#[derive(Debug)]
struct Pending {
    turn: u64,
    value: Option<Box<[u8]>>,
}

impl Snapshot {
    /// Nothing is lacking; the first snapshot is `due`.
    pub(super) fn new(due: Instant) -> Self {
        Self {
            pending: FxHashMap::default(),
            turn: 0,
            staged: Changelog::default(),
            writing: false,
            due,
            applied: None,
        }
    }

    /// Whether the open transaction, about to be committed at `now`, is to write everything.
    pub(super) fn begin(&mut self, now: Instant, rolling: bool) -> bool {
        self.writing = !rolling || now >= self.due;
        self.writing
    }

    /// The next commit writes everything, however early.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = now;
    }

    /// Whether the changelog lacks something.
    pub(super) fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Where a transaction that does not write its changes puts them.
    pub(super) fn stage(&mut self) -> &mut Changelog {
        self.staged.clear();
        &mut self.staged
    }

    /// What is lacking and not in `changes`, which are written after it; oldest change first, as in a compacted log.
    pub(super) fn lacking(&self, changes: &Changelog) -> Vec<(&[u8], Option<&[u8]>)> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let newer: std::collections::BTreeSet<&[u8]> =
            changes.staged().map(|(key, _)| key).collect();
        let mut lacking: Vec<(&Box<[u8]>, &Pending)> = self
            .pending
            .iter()
            .filter(|(key, _)| !newer.contains(&***key))
            .collect();
        lacking.sort_unstable_by_key(|(_, pending)| pending.turn);
        lacking
            .into_iter()
            .map(|(key, pending)| (&**key, pending.value.as_deref()))
            .collect()
    }

    /// The transaction is committed up to `next`; when it wrote everything, the next snapshot is due `interval` later.
    pub(super) fn committed(&mut self, next: Option<i64>, now: Instant, interval: Duration) {
        if self.writing {
            self.pending.clear();
            self.applied = next;
            self.due = now + interval;
            self.writing = false;
        } else {
            let staged = std::mem::take(&mut self.staged);
            self.absorb(&staged);
            self.staged = staged;
        }
        self.staged.clear();
    }

    /// The transaction is aborted.
    pub(super) fn aborted(&mut self) {
        self.writing = false;
        self.staged.clear();
    }

    /// These changes are committed, and the changelog does not have them.
    pub(super) fn absorb(&mut self, changes: &Changelog) {
        for (key, value) in changes.staged() {
            self.turn += 1;
            let pending = Pending {
                turn: self.turn,
                value: value.map(Into::into),
            };
            match self.pending.get_mut(key) {
                Some(old) => *old = pending,
                None => drop(self.pending.insert(key.into(), pending)),
            }
        }
    }

    /// The offset for the metadata of a commit, where the changelog stays behind it.
    pub(super) fn behind_at(&self) -> Option<i64> {
        if self.writing { None } else { self.applied }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn changes(list: &[(&str, Option<&str>)]) -> Changelog {
        let mut changes = Changelog::default();
        for (key, value) in list {
            match value {
                Some(value) => changes.put(key.as_bytes(), value.as_bytes()),
                None => changes.delete(key.as_bytes()),
            }
        }
        changes
    }

    fn text(list: Vec<(&[u8], Option<&[u8]>)>) -> Vec<String> {
        list.into_iter()
            .map(|(key, value)| {
                let value = value.map_or("deleted".into(), String::from_utf8_lossy);
                format!("{} {value}", String::from_utf8_lossy(key))
            })
            .collect()
    }

    #[test]
    fn between_snapshots_the_last_change_of_a_key_is_kept_in_the_order_of_the_log() {
        let start = Instant::now();
        let mut snapshot = Snapshot::new(start + MINUTE);
        snapshot.applied = Some(10);
        for (next, list) in [
            (20, vec![("a", Some("1")), ("b", Some("1"))]),
            (30, vec![("c", Some("1")), ("a", Some("2"))]),
            (40, vec![("b", None)]),
        ] {
            assert!(!snapshot.begin(start, true));
            *snapshot.stage() = changes(&list);
            assert_eq!(snapshot.behind_at(), Some(10));
            snapshot.committed(Some(next), start, MINUTE);
        }
        let none = Changelog::default();
        assert_eq!(text(snapshot.lacking(&none)), ["c 1", "a 2", "b deleted"]);
        assert_eq!(
            text(snapshot.lacking(&changes(&[("a", Some("3"))]))),
            ["c 1", "b deleted"]
        );
    }

    #[test]
    fn an_aborted_transaction_leaves_what_was_lacking_before_it() {
        let start = Instant::now();
        let mut snapshot = Snapshot::new(start);
        snapshot.absorb(&changes(&[("a", Some("1"))]));
        // A snapshot that fails.
        assert!(snapshot.begin(start, true));
        snapshot.aborted();
        assert!(snapshot.is_behind());
        // A commit without one that fails.
        assert!(!snapshot.begin(start.checked_sub(MINUTE).unwrap(), true));
        *snapshot.stage() = changes(&[("a", Some("2"))]);
        snapshot.aborted();
        assert_eq!(text(snapshot.lacking(&Changelog::default())), ["a 1"]);
    }

    #[test]
    fn a_committed_snapshot_leaves_nothing_lacking_until_the_next_is_due() {
        let start = Instant::now();
        let mut snapshot = Snapshot::new(start);
        snapshot.absorb(&changes(&[("a", Some("1"))]));
        assert!(snapshot.begin(start, true));
        assert_eq!(snapshot.behind_at(), None);
        snapshot.committed(Some(50), start, MINUTE);
        assert!(!snapshot.is_behind());
        assert_eq!(snapshot.applied, Some(50));
        assert!(!snapshot.begin(start + MINUTE / 2, true));
        snapshot.aborted();
        assert!(snapshot.begin(start + MINUTE, true));
    }

    #[test]
    fn with_every_commit_nothing_is_ever_gathered() {
        let start = Instant::now();
        let mut snapshot = Snapshot::new(start + MINUTE);
        assert!(snapshot.begin(start, false));
        assert_eq!(snapshot.behind_at(), None);
        snapshot.committed(Some(1), start, MINUTE);
        assert!(!snapshot.is_behind());
    }
}
