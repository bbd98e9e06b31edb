use super::super::column::COLUMNS;
use super::super::journal;
use super::super::reading::LabelsView;
use super::super::window::QUARTER_MS;
use super::*;
use proptest::prelude::*;
use schema::{Text, WindowAggregate};

const WINDOWS: Windows = Windows {
    grace_ms: 30_000,
    correction_horizon_ms: 900_000,
    forget_after_ms: 3_600_000,
};
/// As many as the settling of one transaction takes.
const SETTLED_AT_ONCE: u32 = 1_024;
const ENERGY: usize = energy();

const fn energy() -> usize {
    let mut at = 0;
    while !super::super::column::equal(COLUMNS[at], "total_energy_mj") {
        at += 1;
    }
    at
}

/// A compacted changelog.
type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// What one flush writes, in its order.
#[derive(Debug, Default, PartialEq)]
struct Changes(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Log for Changes {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_vec(), Some(value.to_vec())));
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.push((key.to_vec(), None));
    }
}

/// A partition with its changelog.
struct Bed {
    partition: Partition,
    work: Workspace,
    records: Records,
}

impl Bed {
    fn new() -> Self {
        Self {
            partition: Partition::new(WINDOWS),
            work: Workspace::new(&WINDOWS),
            records: Records::new(),
        }
    }

    /// A reading of the GPU with that temperature and energy; the windows that it emits.
    fn read(&mut self, gpu: u32, time: i64, ingest: i64, value: f64, host: &str) -> Vec<String> {
        let mut row = Row::EMPTY;
        row.set(0, Some(value));
        row.set(ENERGY, Some(value * 10.0));
        let uuid = format!("GPU-00000000-0000-0000-0000-{gpu:012x}");
        let reading = Reading {
            time,
            ingest,
            gpu_uuid: Text::from(uuid.as_str()),
            labels: LabelsView {
                hostname: Some(Text::from(host)),
                ..LabelsView::default()
            },
            xid_counts: Vec::new(),
        };
        let mut emitted = Vec::new();
        self.partition
            .apply(&reading, &row, &mut self.work, &mut |emission| {
                emitted.push(String::from_utf8(emission.json.to_vec()).unwrap());
            });
        emitted
    }

    fn tick(&mut self, time: i64) -> Vec<String> {
        let mut emitted = Vec::new();
        self.partition
            .advance(time, &mut self.work, &mut |emission| {
                emitted.push(String::from_utf8(emission.json.to_vec()).unwrap());
            });
        emitted
    }

    fn flush(&mut self) -> Changes {
        let mut changes = Changes::default();
        self.partition.flush(&mut changes);
        changes
    }

    fn commit(&mut self) -> Changes {
        let changes = self.flush();
        for (key, value) in &changes.0 {
            match value {
                Some(value) => drop(self.records.insert(key.clone(), value.clone())),
                None => drop(self.records.remove(key)),
            }
        }
        self.partition.committed();
        changes
    }

    /// What a new process makes of the changelog, whose keys come in this order.
    fn restored(&self, mut order: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let mut bed = Self::new();
        assert_eq!(order.len(), self.records.len());
        // Compaction leaves older values, and tombstones, of keys that are far apart.
        if let Some((key, value)) = order.first().cloned() {
            order.push((key, value));
        }
        for (key, value) in &order {
            bed.partition.restore(key, None).unwrap();
            bed.partition.restore(key, Some(value)).unwrap();
        }
        bed.records.clone_from(&self.records);
        bed
    }

    fn kept(&self, prefix: u8) -> usize {
        self.records.keys().filter(|key| key[0] == prefix).count()
    }
}

fn window(json: &str) -> WindowAggregate {
    serde_json::from_str(json).unwrap()
}

/// Of its energy, which is a whole number in these tests.
fn increment(window: &WindowAggregate) -> i64 {
    let text = window.counters["total_energy_mj"].increment.to_string();
    text.parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_state_is_the_same_in_whatever_order_it_is_restored(
        steps in proptest::collection::vec((0..4_u32, 0..120_000_i64, 0..90_000_i64, 0..50_u8, any::<bool>()), 1..120),
        orders in proptest::collection::vec(Just((0..400_usize).collect::<Vec<_>>()).prop_shuffle(), 3),
        cuts in proptest::collection::vec(0..120_usize, 3),
    ) {
        let mut original = Bed::new();
        let mut copy = Bed::new();
        let mut now = 0;
        for (step, (gpu, wait, lag, value, is_end)) in steps.into_iter().enumerate() {
            now += wait;
            let host = if value % 7 == 0 { "other" } else { "host" };
            let emitted = original.read(gpu, now - lag.min(now), now, f64::from(value), host);
            prop_assert_eq!(copy.read(gpu, now - lag.min(now), now, f64::from(value), host), emitted);
            if let Some(at) = cuts.iter().position(|cut| *cut == step) {
                original.commit();
                let mut records: Vec<_> = original.records.clone().into_iter().collect();
                let order = &orders[at];
                let rank = |at: usize| order.get(at).copied().unwrap_or(at);
                let mut ranked: Vec<_> = records.drain(..).enumerate().collect();
                ranked.sort_by_key(|(at, _)| rank(*at));
                copy = original.restored(ranked.into_iter().map(|(_, record)| record).collect());
            } else if is_end {
                original.commit();
                copy.commit();
            }
        }
        now += 10 * QUARTER_MS;
        prop_assert_eq!(copy.tick(now), original.tick(now));
        prop_assert_eq!(copy.partition.gpus(), original.partition.gpus());
    }

    #[test]
    fn an_aborted_transaction_leaves_nothing(
        before in proptest::collection::vec((0..4_u32, 0..90_000_i64, 0..200_000_i64), 0..60),
        aborted in proptest::collection::vec((0..6_u32, 0..400_000_i64, 0..200_000_i64), 1..20),
        is_flushed in any::<bool>(),
    ) {
        let mut touched = Bed::new();
        let mut twin = Bed::new();
        let mut now = 0;
        for (at, (gpu, wait, lag)) in before.into_iter().enumerate() {
            now += wait;
            for bed in [&mut touched, &mut twin] {
                bed.read(gpu, (now - lag).max(0), now, 1.0, "a");
                if at % 5 == 0 {
                    bed.commit();
                }
            }
        }
        touched.commit();
        twin.commit();
        let mut later = now;
        for (gpu, wait, lag) in aborted {
            later += wait;
            touched.read(gpu, (later - lag).max(0), later, 2.0, "b");
        }
        if is_flushed {
            touched.flush();
        }
        touched.partition.aborted();
        prop_assert_eq!(touched.partition.open_windows(), twin.partition.open_windows());
        // The same from here on. A row may be written whole instead of as a change, so that journals differ in bytes; what
        // is restored from them does not.
        for step in 0..40_u32 {
            let at = now + i64::from(step) * 60_000;
            prop_assert_eq!(touched.read(step % 5, at, at, 3.0, "c"), twin.read(step % 5, at, at, 3.0, "c"));
            let keys = |changes: Changes| -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
                let is_segment = |key: &[u8]| key[0] == journal::KEY_PREFIX;
                changes
                    .0
                    .into_iter()
                    .map(|(key, value)| if is_segment(&key) { (key, value.map(drop).map(|()| Vec::new())) } else { (key, value) })
                    .collect()
            };
            prop_assert_eq!(keys(touched.commit()), keys(twin.commit()));
        }
        let [mut touched, mut twin] = [touched, twin].map(|bed| bed.restored(bed.records.clone().into_iter().collect()));
        now += 40 * 60_000;
        for minute in 0..15 {
            prop_assert_eq!(
                touched.read(1, now - minute * 60_000, now, 4.0, "d"),
                twin.read(1, now - minute * 60_000, now, 4.0, "d")
            );
        }
        prop_assert_eq!(touched.tick(now + 2 * QUARTER_MS), twin.tick(now + 2 * QUARTER_MS));
    }
}

#[test]
fn a_quarter_of_many_gpus_is_settled_over_several_transactions_and_unseen() {
    let mut bed = Bed::new();
    let gpus = 2 * SETTLED_AT_ONCE + 10;
    for gpu in 0..gpus {
        bed.read(gpu, 60_000, 60_000, 50.0, "a");
    }
    // The next quarter, so that what is folded is a predecessor.
    for gpu in 0..gpus {
        bed.read(gpu, QUARTER_MS, QUARTER_MS, 50.0 + f64::from(gpu), "a");
    }
    bed.commit();
    assert_eq!(bed.kept(journal::KEY_PREFIX), 1);
    let settled = 2 * QUARTER_MS + 30_000 + 900_000;
    bed.tick(settled - QUARTER_MS - 1);
    let changes = bed.commit();
    assert_eq!(
        changes.0.len(),
        1,
        "only how far time has come: {changes:?}"
    );

    let mut folded = 0;
    for transaction in 0..3 {
        bed.tick(settled - QUARTER_MS + transaction);
        let changes = bed.commit();
        let gpus_written = changes.0.iter().filter(|(key, _)| key[0] == b'g').count();
        assert!(gpus_written <= SETTLED_AT_ONCE as usize, "{gpus_written}");
        folded += gpus_written;
    }
    assert_eq!(folded, gpus as usize);
    // The segment is needed by the later quarter still, and a new process reads it without the first.
    assert_eq!(bed.kept(journal::KEY_PREFIX), 1);
    let mut copy = bed.restored(bed.records.clone().into_iter().collect());
    // A late reading shows the predecessor.
    for bed in [&mut bed, &mut copy] {
        let emitted = bed.read(7, QUARTER_MS + 70_000, settled - QUARTER_MS + 10, 70.0, "a");
        let minute = window(&emitted[0]);
        assert_eq!(increment(&minute), 700 - 570);
        let quarter = window(emitted.last().unwrap());
        assert_eq!(quarter.revision, 1);
        assert_eq!(increment(&quarter), 700 - 500);
    }
    // Then all of it is folded, and both segments go.
    for transaction in 0..6 {
        bed.tick(settled + transaction);
        bed.commit();
    }
    assert_eq!(bed.kept(journal::KEY_PREFIX), 0);
    assert_eq!(bed.partition.segments(), 0);
    assert_eq!(bed.kept(b'g'), gpus as usize);
    // And when no reading that is accepted could be held against theirs, the GPUs.
    for transaction in 0..6 {
        bed.tick(settled + QUARTER_MS + WINDOWS.forget_after_ms + transaction);
        bed.commit();
    }
    assert_eq!((bed.kept(b'g'), bed.partition.gpus()), (0, 0));
    assert_eq!(bed.records.len(), 1, "how far time has come stays");
}

#[test]
fn settling_takes_effect_with_the_commit_only() {
    let mut bed = Bed::new();
    bed.read(1, 0, 0, 50.0, "a");
    bed.commit();
    let late = QUARTER_MS + 930_000;
    bed.tick(late);
    let first = bed.flush();
    assert!(first.0.iter().any(|(key, _)| key[0] == b'g'), "{first:?}");
    bed.partition.aborted();
    bed.tick(late);
    assert_eq!(bed.commit(), first);
    // The segment goes with the next transaction, when the fold stands.
    bed.tick(late + 1);
    let next = bed.commit();
    let deleted = (journal::key(0).to_vec(), None);
    assert!(next.0.contains(&deleted), "{next:?}");
}

#[test]
fn labels_of_readings_that_are_folded_away_are_let_go() {
    let mut bed = Bed::new();
    for minute in 0..30 {
        let at = minute * MINUTE_MS;
        bed.read(1, at, at, 50.0, &format!("host-{minute}"));
        bed.commit();
    }
    let labels = |bed: &Bed| bed.partition.gpus[0].as_ref().unwrap().labels.count();
    assert_eq!(labels(&bed), 30);
    bed.tick(QUARTER_MS + 930_000);
    bed.commit();
    assert_eq!(labels(&bed), 15);
    bed.tick(2 * QUARTER_MS + 930_000);
    bed.commit();
    assert_eq!(labels(&bed), 1);
}

#[test]
fn nothing_new_writes_nothing() {
    let mut bed = Bed::new();
    assert_eq!(bed.flush(), Changes::default());
    bed.read(1, 0, 0, 50.0, "a");
    assert_eq!(bed.commit().0.len(), 3);
    assert_eq!(bed.commit(), Changes::default());
    bed.tick(0);
    assert_eq!(bed.commit(), Changes::default());
}

#[test]
fn open_windows_are_counted_by_gpu_and_size() {
    let mut bed = Bed::new();
    for gpu in 0..3 {
        bed.read(gpu, 0, 0, 50.0, "a");
        bed.read(gpu, 1, 1, 50.0, "a");
    }
    bed.read(0, 60_000, 60_000, 50.0, "a");
    assert_eq!(bed.partition.open_windows(), 4 + 3);
    assert_eq!(bed.tick(90_000).len(), 3);
    assert_eq!(bed.partition.open_windows(), 1 + 3);
    bed.commit();
    let mut copy = bed.restored(bed.records.clone().into_iter().collect());
    copy.tick(90_000);
    assert_eq!(copy.partition.open_windows(), 4);
    assert_eq!(copy.tick(QUARTER_MS + 30_000).len(), 4);
    assert_eq!(copy.partition.open_windows(), 0);
}

#[test]
fn state_that_cannot_be_read_is_refused_by_name() {
    let mut bed = Bed::new();
    bed.read(1, 0, 0, 50.0, "a");
    bed.commit();
    let refusal = |key: &[u8], value: &[u8]| {
        let refused = Partition::new(WINDOWS).restore(key, Some(value));
        refused.unwrap_err().to_string()
    };
    for (key, value) in &bed.records {
        let what = match key[0] {
            journal::KEY_PREFIX => "journal segment 0",
            b'g' => "the record of GPU-00000000-0000-0000-0000-000000000001",
            _ => "the partition's record",
        };
        let mut other_version = value.clone();
        other_version[0] = 200;
        for broken in [&value[..value.len() - 1], &[], &other_version] {
            let refusal = refusal(key, broken);
            assert!(refusal.starts_with(what), "{refusal}, not {what}");
        }
    }
    for key in [b"".as_slice(), b"x", b"j123", b"mm", b"g\xff"] {
        let refusal = refusal(key, b"\x01");
        assert!(refusal.starts_with("a key of no known kind"), "{refusal}");
    }
}
