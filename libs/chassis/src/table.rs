//! Keyed state with an undo log.

use crate::stage::{Changelog, RestoreError};
use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a [`Table`] holds under a key.
///
/// It is written as one version byte and then postcard. A new layout gets a new version and reads the old one in
/// [`TableValue::upgrade`].
pub trait TableValue: Clone + Serialize + DeserializeOwned + Send {
    /// The version of the layout.
    const VERSION: u8;

    /// Reads a value that was written with another version.
    fn upgrade(version: u8, bytes: &[u8]) -> Result<Self, RestoreError> {
        let _ = bytes;
        Err(RestoreError::new(format!(
            "state was written with layout version {version}, this binary reads version {}",
            Self::VERSION
        )))
    }
}

/// A hash map by byte key that can go back to its state at the last commit, and that knows what to write to the
/// changelog.
///
/// The first touch of a key after a commit keeps a clone of its value (the pre-image); an abort puts it back. Between
/// commits the pre-images are also the list of what changed.
#[derive(Debug)]
pub struct Table<V> {
    entries: FxHashMap<Box<[u8]>, Entry<V>>,
    undo: Vec<(Box<[u8]>, Option<V>)>,
    /// Grows with every commit and abort; an entry touched in this epoch has its pre-image kept already.
    epoch: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: Option<V>,
    touched: u64,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Table<V> {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            entries: FxHashMap::default(),
            undo: Vec::new(),
            epoch: 1,
        }
    }
}

impl<V: TableValue> Table<V> {
    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        self.entries.get(key).and_then(|entry| entry.value.as_ref())
    }

    /// The value of `key` to change, made by `default` where it is absent.
    pub fn get_or_insert_with(&mut self, key: &[u8], default: impl FnOnce() -> V) -> &mut V {
        self.touch(key).get_or_insert_with(default)
    }

    /// The value of `key` to change, if it is there.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.get(key)?;
        self.touch(key).as_mut()
    }

    /// Sets `key` to `value`.
    pub fn insert(&mut self, key: &[u8], value: V) {
        *self.touch(key) = Some(value);
    }

    /// Deletes `key`.
    pub fn remove(&mut self, key: &[u8]) {
        if self.get(key).is_some() {
            *self.touch(key) = None;
        }
    }

    /// Every key, sorted, so that what is done for each comes in the same order in every run.
    pub fn sorted_keys(&self) -> Vec<Box<[u8]>> {
        let mut keys: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, e)| e.value.is_some())
            .map(|(key, _)| key.clone())
            .collect();
        keys.sort_unstable();
        keys
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// It holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// [`crate::Task::restore`] for this table, with `key` as given to [`Table::flush`].
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        let Some(bytes) = value else {
            self.entries.remove(key);
            return Ok(());
        };
        let (version, body) = bytes
            .split_first()
            .ok_or_else(|| RestoreError::new("state record without a version"))?;
        let value = if *version == V::VERSION {
            postcard::from_bytes(body).map_err(|error| {
                RestoreError::new(format!("state of version {version} can't be read: {error}"))
            })?
        } else {
            V::upgrade(*version, body)?
        };
        self.entries.insert(
            key.into(),
            Entry {
                value: Some(value),
                touched: 0,
            },
        );
        Ok(())
    }

    /// [`crate::Task::flush`] for this table: each key that changed since the last commit, once.
    pub fn flush(&self, changelog: &mut Changelog) {
        for (key, _) in &self.undo {
            match self.get(key) {
                Some(value) => changelog.put_with(key, |buffer| {
                    buffer.push(V::VERSION);
                    // Writing to memory fails only for a type that postcard can't represent; its restore then says so.
                    drop(postcard::to_io(value, buffer));
                }),
                None => changelog.delete(key),
            }
        }
    }

    /// [`crate::Task::committed`] for this table.
    pub fn committed(&mut self) {
        for (key, _) in self.undo.drain(..) {
            if self
                .entries
                .get(&key)
                .is_some_and(|entry| entry.value.is_none())
            {
                self.entries.remove(&key);
            }
        }
        self.epoch += 1;
    }

    /// [`crate::Task::aborted`] for this table.
    pub fn aborted(&mut self) {
        for (key, pre_image) in self.undo.drain(..).rev() {
            match pre_image {
                Some(value) => {
                    self.entries.insert(
                        key,
                        Entry {
                            value: Some(value),
                            touched: 0,
                        },
                    );
                }
                None => {
                    self.entries.remove(&key);
                }
            }
        }
        self.epoch += 1;
    }

    fn touch(&mut self, key: &[u8]) -> &mut Option<V> {
        if !self.entries.contains_key(key) {
            self.entries.insert(
                key.into(),
                Entry {
                    value: None,
                    touched: 0,
                },
            );
        }
        let Some(entry) = self.entries.get_mut(key) else {
            unreachable!("inserted above")
        };
        if entry.touched != self.epoch {
            entry.touched = self.epoch;
            self.undo.push((key.into(), entry.value.clone()));
        }
        &mut entry.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl TableValue for u64 {
        const VERSION: u8 = 1;
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u8, u64),
        Add(u8),
        Remove(u8),
        Commit,
        Abort,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..6_u8, any::<u64>()).prop_map(|(k, v)| Op::Insert(k, v)),
            4 => (0..6_u8).prop_map(Op::Add),
            2 => (0..6_u8).prop_map(Op::Remove),
            1 => Just(Op::Commit),
            1 => Just(Op::Abort),
        ]
    }

    fn contents(table: &Table<u64>) -> BTreeMap<Vec<u8>, u64> {
        table
            .sorted_keys()
            .into_iter()
            .map(|k| (k.to_vec(), *table.get(&k).unwrap()))
            .collect()
    }

    proptest! {
        #[test]
        fn an_abort_goes_back_to_the_commit_and_the_changelog_rebuilds_it(ops in proptest::collection::vec(op(), 0..200)) {
            let mut table = Table::<u64>::new();
            let mut restored = Table::<u64>::new();
            let mut now = BTreeMap::<Vec<u8>, u64>::new();
            let mut committed = now.clone();
            for op in ops {
                match op {
                    Op::Insert(k, v) => { table.insert(&[k], v); now.insert(vec![k], v); }
                    Op::Add(k) => {
                        let v = table.get_or_insert_with(&[k], || 0);
                        *v = v.wrapping_add(1);
                        let v = now.entry(vec![k]).or_insert(0);
                        *v = v.wrapping_add(1);
                    }
                    Op::Remove(k) => { table.remove(&[k]); now.remove(&vec![k]); }
                    Op::Commit => {
                        let mut changelog = Changelog::default();
                        table.flush(&mut changelog);
                        table.committed();
                        for (key, value) in changelog.staged() { restored.restore(key, value).unwrap(); }
                        committed = now.clone();
                        prop_assert_eq!(contents(&restored), committed.clone());
                        prop_assert_eq!(table.len(), committed.len());
                    }
                    Op::Abort => { table.aborted(); now = committed.clone(); }
                }
                prop_assert_eq!(contents(&table), now.clone());
            }
        }
    }

    #[test]
    fn state_of_another_version_is_refused_with_both_versions_named() {
        let error = Table::<u64>::new()
            .restore(b"k", Some(&[9, 1]))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "state was written with layout version 9, this binary reads version 1"
        );
    }
}
