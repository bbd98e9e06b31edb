//! What is due when, and which GPUs share a host: derived from the states of a partition, rebuilt from them after a restore
//! or an abort.
//!
//! A record makes due at most what time has reached; nothing ever looks at all GPUs.

use rustc_hash::FxHashMap;
use schema::{Grade, HealthState};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::limits::Limits;
use super::state::GpuState;

type Key = Arc<[u8]>;

/// How many grades and states there are.
pub const GRADES: usize = 7;
/// See [`GRADES`].
pub const STATES: usize = 6;

/// GPUs by the grade and the state of their last score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By grade, in the order of its declaration.
    pub grades: [u64; GRADES],
    /// By state, in the order of its declaration.
    pub states: [u64; STATES],
}

/// The index over a partition's GPUs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    entries: FxHashMap<Key, Entry>,
    /// By watched time.
    silences: BTreeSet<(i64, Key)>,
    /// By stream time.
    heartbeats: BTreeSet<(i64, Key)>,
    hosts: FxHashMap<u32, BTreeSet<Key>>,
    census: Census,
}

/// What is known of a GPU here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    silence_ms: Option<i64>,
    heartbeat_ms: Option<i64>,
    host: u32,
    shown: Option<(Grade, HealthState)>,
}

impl Entry {
    fn of(state: &GpuState, limits: &Limits) -> Self {
        Self {
            silence_ms: state.silence_due_ms(limits),
            heartbeat_ms: state.heartbeat_due_ms(limits),
            host: state.host(),
            shown: state.published().map(|p| (p.grade, p.state)),
        }
    }
}

impl Index {
    /// Takes over what `state` says of the GPU `key`.
    pub fn set(&mut self, key: &[u8], state: &GpuState, limits: &Limits) {
        let next = Entry::of(state, limits);
        let Some((key, before)) = self.entries.get_key_value(key) else {
            let key = Key::from(key);
            self.replace(&key, Entry::default(), next);
            self.entries.insert(key, next);
            return;
        };
        let (key, before) = (Arc::clone(key), *before);
        if before != next {
            self.replace(&key, before, next);
            self.entries.insert(key, next);
        }
    }

    /// The GPU `key` is gone.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some((key, before)) = self.entries.remove_entry(key) {
            self.replace(&key, before, Entry::default());
        }
    }

    /// The GPU whose silence is due first, if it is at `watched_ms`.
    pub fn silent(&self, watched_ms: i64) -> Option<Arc<[u8]>> {
        due(&self.silences, watched_ms)
    }

    /// The GPU whose heartbeat is due first, if it is at `stream_ms`.
    pub fn heartbeat(&self, stream_ms: i64) -> Option<Arc<[u8]>> {
        due(&self.heartbeats, stream_ms)
    }

    /// The other GPUs of the host of `key`, in order of their keys.
    pub fn siblings<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let entry = self.entries.get(key);
        let host = entry.and_then(|entry| self.hosts.get(&entry.host));
        host.into_iter()
            .flatten()
            .map(AsRef::as_ref)
            .filter(move |sibling| *sibling != key)
    }

    /// GPUs by grade and state.
    pub const fn census(&self) -> Census {
        self.census
    }

    fn replace(&mut self, key: &Key, before: Entry, next: Entry) {
        swap(&mut self.silences, key, before.silence_ms, next.silence_ms);
        swap(
            &mut self.heartbeats,
            key,
            before.heartbeat_ms,
            next.heartbeat_ms,
        );
        // 0 is a host without a name: its GPUs have nothing in common.
        if before.host != next.host {
            if let Some(host) = self.hosts.get_mut(&before.host) {
                host.remove(key);
                if host.is_empty() {
                    self.hosts.remove(&before.host);
                }
            }
            if next.host != 0 {
                self.hosts
                    .entry(next.host)
                    .or_default()
                    .insert(Arc::clone(key));
            }
        }
        if let Some((grade, state)) = before.shown {
            self.census.grades[grade as usize] -= 1;
            self.census.states[state as usize] -= 1;
        }
        if let Some((grade, state)) = next.shown {
            self.census.grades[grade as usize] += 1;
            self.census.states[state as usize] += 1;
        }
    }
}

fn due(queue: &BTreeSet<(i64, Key)>, now_ms: i64) -> Option<Key> {
    let (due_ms, key) = queue.first()?;
    (*due_ms <= now_ms).then(|| Arc::clone(key))
}

fn swap(queue: &mut BTreeSet<(i64, Key)>, key: &Key, before: Option<i64>, next: Option<i64>) {
    if before == next {
        return;
    }
    if let Some(due_ms) = before {
        queue.remove(&(due_ms, Arc::clone(key)));
    }
    if let Some(due_ms) = next {
        queue.insert((due_ms, Arc::clone(key)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Clock;
    use crate::domain::state::Published;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn state(host: u32, watched_ms: i64, published_ms: Option<i64>) -> GpuState {
        let mut state = GpuState::new(Clock {
            stream_ms: 1,
            watched_ms,
        });
        state.host = host;
        state.published = published_ms.map(|at_ms| Published {
            at_ms,
            hundredths: Some(10_000),
            grade: Grade::Excellent,
            state: HealthState::Ok,
        });
        state
    }

    #[test]
    fn what_is_due_comes_in_order_of_time_and_key() {
        let limits = Limits::default();
        let mut index = Index::default();
        index.set(b"b", &state(7, 0, Some(0)), &limits);
        index.set(b"a", &state(7, 0, None), &limits);
        index.set(b"c", &state(0, 5_000, Some(9)), &limits);
        assert_eq!(index.silent(179_999), None);
        assert_eq!(index.silent(180_000).as_deref(), Some(&b"a"[..]));
        index.remove(b"a");
        assert_eq!(index.silent(180_000).as_deref(), Some(&b"b"[..]));
        assert_eq!(index.heartbeat(899_999), None);
        assert_eq!(index.heartbeat(900_009).as_deref(), Some(&b"b"[..]));
        index.set(b"b", &state(7, 1_000, Some(900_000)), &limits);
        assert_eq!(index.heartbeat(900_009).as_deref(), Some(&b"c"[..]));
        assert_eq!(index.census().grades[0], 2);
    }

    #[test]
    fn gpus_of_a_host_without_a_name_are_no_siblings() {
        let limits = Limits::default();
        let mut index = Index::default();
        for (key, host) in [(&b"a"[..], 7), (b"b", 7), (b"c", 0), (b"d", 0)] {
            index.set(key, &state(host, 0, None), &limits);
        }
        assert_eq!(index.siblings(b"a").collect::<Vec<_>>(), [b"b"]);
        assert_eq!(index.siblings(b"c").count(), 0);
    }

    proptest! {
        #[test]
        fn an_index_kept_up_is_the_index_built_anew(
            steps in proptest::collection::vec((0..6_u8, 0..4_u32, 0..100_000_i64, proptest::option::of(0..100_000_i64), proptest::bool::weighted(0.2)), 0..80),
        ) {
            let limits = Limits::default();
            let (mut kept, mut states) = (Index::default(), BTreeMap::new());
            for (key, host, watched_ms, published_ms, remove) in steps {
                if remove {
                    kept.remove(&[key]);
                    states.remove(&key);
                } else {
                    let state = state(host, watched_ms, published_ms);
                    kept.set(&[key], &state, &limits);
                    states.insert(key, state);
                }
                let mut anew = Index::default();
                for (key, state) in &states {
                    anew.set(&[*key], state, &limits);
                }
                prop_assert_eq!(&kept, &anew);
            }
        }
    }
}
