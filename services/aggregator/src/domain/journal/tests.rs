use super::super::block::Block;
use super::*;
use proptest::prelude::*;

/// A changelog topic, compacted.
#[derive(Debug, Default)]
struct Kept {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    deleted: usize,
}

impl Log for Kept {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.records.insert(key.to_vec(), value.to_vec());
    }

    fn delete(&mut self, key: &[u8]) {
        assert!(self.records.remove(key).is_some(), "deleted what was there");
        self.deleted += 1;
    }
}

const GPU: &str = "GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11";
const QUARTER: i64 = 15 * MINUTE_MS;

/// A row with a temperature, after its length.
fn framed(celsius: f64) -> Vec<u8> {
    let mut row = Row::EMPTY;
    row.set(0, Some(celsius));
    let mut encoded = Vec::new();
    row::encode(&mut encoded, 1_000, 0, &[], &row, None);
    Block::new(0, 0).push(&encoded, row.mask).to_vec()
}

/// What is written in it, in order: the GPU, the window's end, and the row or the revision.
fn entries(segment: &[u8]) -> Vec<(String, i64, Result<Vec<u8>, u32>)> {
    let mut found = Vec::new();
    read(segment, |uuid, entry| {
        found.push(match entry {
            Entry::Row { start, encoded, .. } => {
                (uuid.to_owned(), start + MINUTE_MS, Ok(encoded.to_vec()))
            }
            Entry::Revision { window, revision } => (uuid.to_owned(), window.0, Err(revision)),
        });
    })
    .unwrap();
    found
}

fn any_uuid() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..6_u8).prop_map(|n| format!("GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d{n:02x}")),
        1 => Just("MIG-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11".to_owned()),
        1 => Just("GPU-8F3C2A10-1B7E-4C55-9D20-6A1E0B7C4D11".to_owned()),
        1 => Just("GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d1é".to_owned()),
        1 => "[a-zA-Z0-9é-]{1,60}",
    ]
}

proptest! {
    #[test]
    fn what_is_written_comes_back_in_order(
        transactions in proptest::collection::vec(
            proptest::collection::vec(
                (any_uuid(), -40_000_000..40_000_000_i64, proptest::option::weighted(0.2, 1..5_u32), 0..100_i32),
                1..30,
            ),
            1..5,
        )
    ) {
        let mut journal = Journal::default();
        let mut log = Kept::default();
        let mut numbers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut expected = Vec::new();
        for (at, transaction) in transactions.iter().enumerate() {
            for (uuid, minute, revision, celsius) in transaction {
                let number = numbers.entry(uuid.clone()).or_default();
                let start = minute * MINUTE_MS;
                let framed = framed(f64::from(*celsius));
                match revision {
                    None => {
                        journal.row(uuid, number, start, &framed);
                        expected.push((uuid.clone(), start + MINUTE_MS, Ok(framed[1..].to_vec())));
                    }
                    Some(revision) => {
                        let window = (start + MINUTE_MS, WindowSize::OneMinute);
                        journal.revision(uuid, number, window, *revision);
                        expected.push((uuid.clone(), window.0, Err(*revision)));
                    }
                }
            }
            journal.flush(&mut log);
            // A transaction that comes to nothing leaves its number to the next.
            if at % 2 == 1 {
                journal.aborted();
                expected.truncate(expected.len() - transaction.len());
                log.records.remove(key(journal.next).as_slice());
            } else {
                journal.committed();
            }
        }
        let found: Vec<_> = log.records.values().flat_map(|segment| entries(segment)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), is_versioned in any::<bool>()) {
        let mut bytes = bytes;
        if is_versioned {
            bytes.insert(0, VERSION);
        }
        let mut entries = 0;
        let read = read(&bytes, |_, _| entries += 1);
        prop_assert_eq!(read.is_ok() && entries == 0, bytes == [VERSION]);
    }
}

#[test]
fn a_cut_segment_is_refused_wherever_it_is_cut() {
    let mut journal = Journal::default();
    let mut log = Kept::default();
    journal.row(GPU, &mut (0, 0), 60_000, &framed(50.5));
    journal.flush(&mut log);
    let segment = &log.records[key(0).as_slice()];
    assert_eq!(read(segment, |_, _| {}), Ok(QUARTER));
    for cut in (0..segment.len()).filter(|cut| *cut != 1) {
        assert!(read(&segment[..cut], |_, _| {}).is_err(), "{cut}");
    }
    let mut later = segment.clone();
    later[0] = VERSION + 1;
    let refused = read(&later, |_, _| {}).unwrap_err();
    assert_eq!(refused.to_string(), "a journal segment of another version");
}

#[test]
fn a_large_transaction_makes_several_segments_of_bounded_size() {
    let mut journal = Journal::default();
    let mut log = Kept::default();
    let framed = framed(50.5);
    let n = 200_000;
    let mut number = (0, 0);
    for minute in 0..n {
        journal.row(GPU, &mut number, minute * MINUTE_MS, &framed);
    }
    journal.flush(&mut log);
    journal.committed();
    assert!(log.records.len() > 3, "{}", log.records.len());
    assert_eq!(journal.segments(), log.records.len());
    let (mut rows, longest) = log.records.values().fold((0, 0), |(rows, longest), s| {
        (rows + entries(s).len(), longest.max(s.len()))
    });
    assert!(longest < SEGMENT_BYTES + 100, "{longest}");
    assert_eq!(rows, usize::try_from(n).unwrap());
    rows = entries(&log.records[key(1).as_slice()]).len();
    assert!(rows > 1_000, "a GPU has a number in every segment: {rows}");
}

#[test]
fn segments_go_some_at_a_time_when_no_quarter_needs_them_and_the_delete_is_committed() {
    let mut journal = Journal::default();
    let mut log = Kept::default();
    let segments = DELETED_AT_ONCE + 10;
    for _ in 0..segments {
        journal.row(GPU, &mut (0, 0), 0, &framed(50.0));
        // The last quarter of a segment keeps it.
        journal.row(GPU, &mut (0, 0), QUARTER, &framed(50.0));
        journal.flush(&mut log);
        journal.committed();
    }
    assert_eq!(journal.segments(), segments);
    journal.delete(2 * QUARTER - 1, &mut log);
    assert_eq!(log.deleted, 0);

    let mut aborted = Kept {
        records: log.records.clone(),
        deleted: 0,
    };
    journal.delete(2 * QUARTER, &mut aborted);
    assert_eq!(aborted.deleted, DELETED_AT_ONCE);
    journal.aborted();
    assert_eq!(journal.segments(), segments);

    for left in [10, 0, 0] {
        journal.delete(2 * QUARTER, &mut log);
        journal.committed();
        assert_eq!((journal.segments(), log.records.len()), (left, left));
    }
    assert_eq!(log.deleted, segments);
}
