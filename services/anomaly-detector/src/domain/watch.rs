//! Which GPUs of a partition to look at next, and who shares a host with whom.
//!
//! All of it follows from the state of the GPUs, so that none of it is kept: it is built anew after a restore or an abort.

use std::collections::{BTreeMap, BTreeSet};

/// A GPU's key.
pub type Key = Box<[u8]>;

/// Deadlines and hosts.
#[derive(Debug, Default)]
pub struct Watch {
    /// By deadline, then by key. An entry may be earlier than the GPU's true deadline, never later.
    queue: BTreeSet<(i64, Key)>,
    /// The entry of each GPU.
    queued: BTreeMap<Key, i64>,
    hosts: BTreeMap<Box<str>, BTreeSet<Key>>,
}

impl Watch {
    /// `key` must be looked at by `at_ms`. A later deadline than the one it has is put off until the earlier one is due, so
    /// that a reading costs a lookup and no change of the queue.
    pub fn by(&mut self, key: &[u8], at_ms: i64) {
        match self.queued.get_mut(key) {
            Some(queued_ms) if *queued_ms <= at_ms => {}
            Some(queued_ms) => {
                let key: Key = key.into();
                self.queue.remove(&(*queued_ms, key.clone()));
                *queued_ms = at_ms;
                self.queue.insert((at_ms, key));
            }
            None => {
                self.queued.insert(key.into(), at_ms);
                self.queue.insert((at_ms, key.into()));
            }
        }
    }

    /// Takes out the first entry that is due at `now_ms`. Whose true deadline is later must be put in again with that one,
    /// even if it is due too: only then does the order follow from the true deadlines alone.
    pub fn due(&mut self, now_ms: i64) -> Option<(i64, Key)> {
        let (at_ms, _) = self.queue.first()?;
        if *at_ms > now_ms {
            return None;
        }
        let (at_ms, key) = self.queue.pop_first()?;
        self.queued.remove(&key);
        Some((at_ms, key))
    }

    /// `key` is on `host`, and no longer on `before`.
    pub fn moved(&mut self, key: &[u8], before: Option<&str>, host: Option<&str>) {
        if let Some(before) = before
            && let Some(gpus) = self.hosts.get_mut(before)
        {
            gpus.remove(key);
            if gpus.is_empty() {
                self.hosts.remove(before);
            }
        }
        if let Some(host) = host {
            match self.hosts.get_mut(host) {
                Some(gpus) => {
                    gpus.insert(key.into());
                }
                None => {
                    self.hosts
                        .insert(host.into(), BTreeSet::from([Key::from(key)]));
                }
            }
        }
    }

    /// The GPUs of `host`.
    pub fn on_host(&self, host: &str) -> impl Iterator<Item = &[u8]> {
        self.hosts.get(host).into_iter().flatten().map(|key| &**key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_gpu_is_due_at_its_earliest_deadline_and_once() {
        let mut watch = Watch::default();
        watch.by(b"a", 30);
        watch.by(b"a", 40);
        watch.by(b"b", 30);
        watch.by(b"b", 20);
        assert_eq!(watch.due(19), None);
        assert_eq!(watch.due(35), Some((20, Key::from(&b"b"[..]))));
        assert_eq!(watch.due(35), Some((30, Key::from(&b"a"[..]))));
        assert_eq!(watch.due(99), None);
    }

    #[test]
    fn hosts_follow_moves() {
        let mut watch = Watch::default();
        watch.moved(b"a", None, Some("x"));
        watch.moved(b"b", None, Some("x"));
        watch.moved(b"a", Some("x"), Some("y"));
        assert_eq!(watch.on_host("x").collect::<Vec<_>>(), [b"b"]);
        assert_eq!(watch.on_host("y").collect::<Vec<_>>(), [b"a"]);
        watch.moved(b"a", Some("y"), None);
        assert!(watch.hosts.len() == 1 && watch.on_host("y").next().is_none());
    }

    proptest! {
        /// Putting later deadlines off must not change who is found due, or when, or in what order.
        #[test]
        fn looking_again_finds_the_same_as_an_exact_queue(
            steps in proptest::collection::vec((0..8_u8, 1..50_i64, 0..10_i64), 1..200)
        ) {
            let (mut lazy, mut exact) = (Watch::default(), BTreeMap::<u8, i64>::new());
            let mut now = 0;
            for (key, ahead, step) in steps {
                now += step;
                lazy.by(&[key], now + ahead);
                exact.insert(key, now + ahead);
                let mut found = Vec::new();
                while let Some((at, due)) = lazy.due(now) {
                    let true_deadline = exact[&due[0]];
                    if true_deadline > at {
                        lazy.by(&due, true_deadline);
                    } else {
                        found.push((true_deadline, due[0]));
                    }
                }
                let mut expected: Vec<_> = exact.iter().map(|(key, at)| (*at, *key)).filter(|(at, _)| *at <= now).collect();
                expected.sort_unstable();
                exact.retain(|_, at| *at > now);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
