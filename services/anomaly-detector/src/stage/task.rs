//! The state of one partition: its GPUs and its clock.

use crate::domain::detector::Detector;
use crate::domain::rule::Rule;
use crate::domain::rules::absence::{Clock, Presence};
use crate::domain::state::{GpuState, LAYOUT_VERSION};
use crate::domain::watch::{Key, Watch};
use crate::metrics::{Counts, Note};
use chassis::{Changelog, RestoreError, Table, TableValue, Task};
use std::sync::Arc;

impl TableValue for GpuState {
    const VERSION: u8 = LAYOUT_VERSION;
}

impl TableValue for Clock {
    const VERSION: u8 = LAYOUT_VERSION;
}

/// The clock's key in the changelog. No GPU's UUID begins with a zero byte.
const CLOCK_KEY: &[u8] = b"\0clock";

/// One partition.
#[derive(Debug)]
pub struct DetectorTask {
    gpus: Table<GpuState>,
    clock: Table<Clock>,
    derived: Option<Derived>,
    /// What the gauges show of this partition.
    shown: Shown,
    counts: Arc<Counts>,
    /// What is counted when the transaction is committed: after an abort the same records come again.
    pub(super) tally: Tally,
}

/// What follows from the GPUs' state. Built when it is first needed after a restore or an abort.
#[derive(Debug, Default)]
struct Derived {
    watch: Watch,
    now: Shown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shown {
    gpus: u32,
    firing: [u32; Rule::COUNT],
}

/// Counts of the open transaction.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) readings: u64,
    pub(super) late: u64,
    pub(super) ticks: u64,
    pub(super) forgotten: u64,
    pub(super) alerts: Vec<Note>,
    pub(super) dead_letters: Vec<&'static str>,
}

/// A GPU whose time has come.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) key: Key,
    pub(super) presence: Presence,
}

impl DetectorTask {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self {
            gpus: Table::new(),
            clock: Table::new(),
            derived: None,
            shown: Shown::default(),
            counts,
            tally: Tally::default(),
        }
    }

    /// The state of a GPU.
    pub fn gpu(&self, key: &[u8]) -> Option<&GpuState> {
        self.gpus.get(key)
    }

    /// The partition's time.
    pub fn clock(&self) -> Clock {
        self.clock.get(CLOCK_KEY).copied().unwrap_or_default()
    }

    /// A record or tick of `at_ms` came.
    pub(super) fn advance(&mut self, at_ms: i64, detector: &Detector) {
        let mut clock = self.clock();
        // Deadlines are built from the time before this record, or one that this record reaches would be passed over.
        Derived::of(&mut self.derived, &self.gpus, &clock, detector);
        clock.advance(at_ms, &detector.limits().absence);
        if self.clock.get(CLOCK_KEY) != Some(&clock) {
            self.clock.insert(CLOCK_KEY, clock);
        }
    }

    /// Changes a GPU's state, and keeps what follows from it right.
    pub(super) fn change<R>(
        &mut self,
        key: &[u8],
        detector: &Detector,
        change: impl FnOnce(&mut GpuState) -> R,
    ) -> R {
        let clock = self.clock();
        let derived = Derived::of(&mut self.derived, &self.gpus, &clock, detector);
        let is_new = self.gpus.get(key).is_none();
        let state = self.gpus.get_or_insert_with(key, GpuState::default);
        derived.now.take_out(state);
        let host = state.place.hostname.clone();
        let result = change(state);
        derived.now.put_in(state);
        derived.now.gpus += u32::from(is_new);
        if state.place.hostname != host {
            derived
                .watch
                .moved(key, host.as_deref(), state.place.hostname.as_deref());
        }
        let limits = &detector.limits().absence;
        derived
            .watch
            .by(key, state.presence.look_at_ms(&clock, limits));
        result
    }

    /// Lets `last_words` change a GPU's state, and deletes it.
    pub(super) fn forget(&mut self, key: &[u8], last_words: impl FnOnce(&mut GpuState)) {
        let Some(state) = self.gpus.get_mut(key) else {
            return;
        };
        if let Some(derived) = &mut self.derived {
            derived.now.take_out(state);
            derived.now.gpus -= 1;
            derived
                .watch
                .moved(key, state.place.hostname.as_deref(), None);
        }
        last_words(state);
        self.gpus.remove(key);
        self.tally.forgotten += 1;
    }

    /// The next GPU that is silent now. Each is given once for one time of the partition.
    pub(super) fn due(&mut self, detector: &Detector) -> Option<Due> {
        let clock = self.clock();
        let limits = &detector.limits().absence;
        let derived = Derived::of(&mut self.derived, &self.gpus, &clock, detector);
        while let Some((at_ms, key)) = derived.watch.due(clock.witness_ms) {
            let Some(state) = self.gpus.get(&key) else {
                continue;
            };
            let presence = state.presence;
            let deadline_ms = presence.deadline_ms(&clock, limits);
            if deadline_ms > at_ms {
                derived.watch.by(&key, deadline_ms);
                continue;
            }
            derived.watch.by(&key, presence.look_at_ms(&clock, limits));
            return Some(Due { key, presence });
        }
        None
    }

    /// Another GPU of the same host, in this partition, has reported since.
    pub(super) fn has_living_sibling(&self, due: &Due) -> bool {
        let host = self
            .gpus
            .get(&due.key)
            .and_then(|state| state.place.hostname.as_deref());
        let (Some(host), Some(derived)) = (host, &self.derived) else {
            return false;
        };
        derived
            .watch
            .on_host(host)
            .filter(|key| *key != &*due.key)
            .filter_map(|key| self.gpus.get(key))
            .any(|sibling| due.presence.is_outlived_by(&sibling.presence))
    }

    fn show(&mut self, now: Shown) {
        let difference = |now: u32, before: u32| f64::from(now) - f64::from(before);
        self.counts
            .gpus
            .increment(difference(now.gpus, self.shown.gpus));
        for (rule, gauge) in self.counts.firing.iter().enumerate() {
            let (now, before) = (now.firing[rule], self.shown.firing[rule]);
            if now != before {
                gauge.increment(difference(now, before));
            }
        }
        self.shown = now;
    }
}

impl Derived {
    fn of<'a>(
        kept: &'a mut Option<Self>,
        gpus: &Table<GpuState>,
        clock: &Clock,
        detector: &Detector,
    ) -> &'a mut Self {
        kept.get_or_insert_with(|| {
            let mut derived = Self::default();
            let limits = &detector.limits().absence;
            for key in gpus.sorted_keys() {
                let Some(state) = gpus.get(&key) else {
                    continue;
                };
                derived
                    .watch
                    .by(&key, state.presence.look_at_ms(clock, limits));
                derived
                    .watch
                    .moved(&key, None, state.place.hostname.as_deref());
                derived.now.put_in(state);
                derived.now.gpus += 1;
            }
            derived
        })
    }
}

impl Shown {
    fn put_in(&mut self, state: &GpuState) {
        for rule in state.incidents.firing() {
            self.firing[rule as usize] += 1;
        }
    }

    fn take_out(&mut self, state: &GpuState) {
        for rule in state.incidents.firing() {
            self.firing[rule as usize] -= 1;
        }
    }
}

impl Task for DetectorTask {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        self.derived = None;
        if key == CLOCK_KEY {
            self.clock.restore(key, value)
        } else {
            self.gpus.restore(key, value)
        }
    }

    fn flush(&mut self, changelog: &mut Changelog) {
        self.gpus.flush(changelog);
        self.clock.flush(changelog);
    }

    fn committed(&mut self) {
        self.gpus.committed();
        self.clock.committed();
        let tally = std::mem::take(&mut self.tally);
        self.counts.readings.increment(tally.readings);
        self.counts.late.increment(tally.late);
        self.counts.ticks.increment(tally.ticks);
        self.counts.forgotten.increment(tally.forgotten);
        tally.alerts.into_iter().for_each(Counts::alert);
        tally.dead_letters.into_iter().for_each(Counts::dead_letter);
        if let Some(now) = self.derived.as_ref().map(|derived| derived.now)
            && now != self.shown
        {
            self.show(now);
        }
    }

    fn aborted(&mut self) {
        self.gpus.aborted();
        self.clock.aborted();
        self.derived = None;
        self.tally = Tally::default();
    }

    fn entries(&self) -> usize {
        self.gpus.len()
    }
}

impl Drop for DetectorTask {
    /// The partition goes to another instance, and so do its alerts.
    fn drop(&mut self) {
        self.show(Shown::default());
    }
}
