use super::*;
use crate::domain::flags::Flag;
use crate::domain::history::Sequence;
use proptest::prelude::*;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;

type Log = BTreeMap<Vec<u8>, Vec<u8>>;

fn stamp(number: u64, event_ms: i64) -> Stamp {
    Stamp {
        event_ms,
        sequence: Some(Sequence { run: 7, number }),
    }
}

fn uuid(gpu: usize) -> String {
    // Some plain, some not.
    if gpu.is_multiple_of(3) {
        format!("MIG-{gpu}")
    } else {
        format!("GPU-00000000-0000-0000-0000-{gpu:012x}")
    }
}

fn commit(ledger: &mut Ledger, log: &mut Log) {
    ledger.flush(|key, value| match value {
        Some(value) => {
            log.insert(key.to_vec(), value.to_vec());
        }
        None => {
            log.remove(key);
        }
    });
    ledger.committed();
}

fn restored(log: &Log) -> Ledger {
    let mut ledger = Ledger::new(DAY_MS);
    for (key, value) in log {
        ledger.restore(key, Some(value)).unwrap();
    }
    ledger
}

#[test]
fn gpus_that_arrive_together_share_a_bucket() {
    let (mut ledger, mut log) = (Ledger::new(DAY_MS), Log::new());
    for gpu in 0..100 {
        ledger.admit(&uuid(gpu), stamp(1, 1_000), 1_000).unwrap();
    }
    commit(&mut ledger, &mut log);
    assert_eq!(log.len(), 4);
    assert_eq!(ledger.len(), 100);
    // Only the bucket that changed is written again.
    ledger.admit(&uuid(40), stamp(2, 2_000), 2_000).unwrap();
    let mut written = Vec::new();
    ledger.flush(|key, _| written.push(key.to_vec()));
    assert_eq!(written, [1_u32.to_be_bytes().to_vec()]);
}

#[test]
fn stream_time_is_kept_also_when_no_bucket_changed() {
    let (mut ledger, mut log) = (Ledger::new(DAY_MS), Log::new());
    assert_eq!(ledger.stream_time_ms(), None);
    commit(&mut ledger, &mut log);
    assert!(log.is_empty());
    ledger.advance(5_000);
    commit(&mut ledger, &mut log);
    assert_eq!(restored(&log).stream_time_ms(), Some(5_000));
    ledger.admit(&uuid(1), stamp(1, 6_000), 6_000).unwrap();
    ledger.admit(&uuid(2), stamp(1, 3_000), 3_000).unwrap();
    commit(&mut ledger, &mut log);
    assert_eq!(restored(&log).stream_time_ms(), Some(6_000));
}

#[test]
fn a_gpu_that_was_silent_for_long_is_forgotten_and_its_slot_given_to_another() {
    let (mut ledger, mut log) = (Ledger::new(DAY_MS), Log::new());
    for gpu in 0..SLOTS {
        ledger.admit(&uuid(gpu), stamp(1, 1_000), 1_000).unwrap();
    }
    ledger.admit(&uuid(99), stamp(1, 1_000), 1_000).unwrap();
    commit(&mut ledger, &mut log);
    // To the millisecond: at the limit it is known, after it not.
    let limit = 1_000 + DAY_MS;
    ledger.admit(&uuid(99), stamp(2, limit), limit).unwrap();
    assert!(ledger.repeat(&uuid(0), stamp(1, 1_000)).is_some());
    ledger.advance(limit + 1);
    assert_eq!(ledger.repeat(&uuid(0), stamp(1, 1_000)), None);
    // Nothing is odd about a GPU that is seen for the first time.
    assert_eq!(
        ledger.admit(&uuid(1), stamp(50, limit), limit),
        Ok(Flags::NONE)
    );
    // It takes a commit for each bucket until all slots were looked at, and one to write what was freed.
    for _ in 0..4 {
        commit(&mut ledger, &mut log);
    }
    assert_eq!(ledger.len(), 2);
    ledger.admit(&uuid(500), stamp(1, limit), limit).unwrap();
    commit(&mut ledger, &mut log);
    assert_eq!(log.len(), 2);
    assert_eq!(restored(&log).len(), 3);
}

#[test]
fn an_empty_bucket_leaves_the_changelog_but_not_stream_time() {
    let (mut ledger, mut log) = (Ledger::new(DAY_MS), Log::new());
    ledger.admit(&uuid(1), stamp(1, 1_000), 1_000).unwrap();
    commit(&mut ledger, &mut log);
    ledger.advance(2_000 + DAY_MS);
    commit(&mut ledger, &mut log);
    commit(&mut ledger, &mut log);
    assert_eq!(
        log.keys().collect::<Vec<_>>(),
        [&CLOCK.to_be_bytes().to_vec()]
    );
    assert!(ledger.is_empty());
    assert_eq!(restored(&log).stream_time_ms(), Some(2_000 + DAY_MS));
}

#[test]
fn what_is_not_a_changelog_of_ours_is_refused() {
    let mut ledger = Ledger::new(DAY_MS);
    assert_eq!(ledger.restore(b"key", Some(&[1])), Err(Unrestorable::Key));
    assert_eq!(
        ledger.restore(&(CLOCK - 1).to_be_bytes(), Some(&[1])),
        Err(Unrestorable::Key)
    );
    let error = ledger
        .restore(&3_u32.to_be_bytes(), Some(&[200]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "bucket 3: state was written with layout version 200, this binary reads version 1"
    );
}

#[test]
fn a_gpu_that_moved_to_another_bucket_is_found_where_it_is_now() {
    // An uncompacted changelog still holds older versions of a bucket.
    let (mut ledger, mut log) = (Ledger::new(DAY_MS), Log::new());
    ledger.admit(&uuid(1), stamp(1, 1_000), 1_000).unwrap();
    let mut records = Vec::new();
    ledger.flush(|key, value| records.push((key.to_vec(), value.map(<[u8]>::to_vec))));
    commit(&mut ledger, &mut log);
    let mut other = Ledger::new(DAY_MS);
    for gpu in 100..100 + SLOTS {
        other.admit(&uuid(gpu), stamp(1, 1_000), 1_000).unwrap();
    }
    other.admit(&uuid(1), stamp(9, 2_000), 2_000).unwrap();
    other.flush(|key, value| records.push((key.to_vec(), value.map(<[u8]>::to_vec))));
    let mut ledger = Ledger::new(DAY_MS);
    for (key, value) in &records {
        ledger.restore(key, value.as_deref()).unwrap();
    }
    assert_eq!(ledger.len(), SLOTS + 1);
    assert!(ledger.repeat(&uuid(1), stamp(9, 2_000)).is_some());
    assert_eq!(
        ledger.admit(&uuid(1), stamp(11, 3_000), 3_000),
        Ok({
            let mut flags = Flags::NONE;
            flags.add(Flag::SequenceGap);
            flags
        })
    );
}

#[derive(Clone, Debug)]
enum Step {
    Admit { gpu: usize, number: u64, at: i64 },
    Tick(i64),
    Commit,
    Abort,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..80_usize, 0..20_u64, 0..3_i64).prop_map(|(gpu, number, days)| Step::Admit {
            gpu,
            number,
            at: days * DAY_MS * 2 / 3,
        }),
        2 => (0..5_i64).prop_map(|days| Step::Tick(days * DAY_MS)),
        3 => Just(Step::Commit),
        2 => Just(Step::Abort),
        2 => Just(Step::Crash),
    ]
}

type Answer = (usize, u64, Option<Result<Flags, Repeat>>);

/// Applies `staged` to `ledger`: the answers, in order.
fn replay(ledger: &mut Ledger, staged: &[Step]) -> Vec<Answer> {
    staged
        .iter()
        .map(|step| match step {
            Step::Admit { gpu, number, at } => (
                *gpu,
                *number,
                Some(ledger.admit(&uuid(*gpu), stamp(*number, *at), *at)),
            ),
            Step::Tick(at) => {
                ledger.advance(*at);
                (0, 0, None)
            }
            Step::Commit | Step::Abort | Step::Crash => unreachable!("not staged"),
        })
        .collect()
}

proptest! {
    #[test]
    fn aborts_and_crashes_change_no_answer(steps in proptest::collection::vec(step(), 0..300)) {
        let plain: Vec<Step> = steps
            .iter()
            .filter(|step| matches!(step, Step::Admit { .. } | Step::Tick(_)))
            .cloned()
            .collect();
        let expected = replay(&mut Ledger::new(DAY_MS), &plain);

        let (mut ledger, mut log) = (Ledger::new(DAY_MS), Log::new());
        let (mut staged, mut answers, mut committed) = (Vec::new(), Vec::new(), Vec::new());
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                Step::Commit => {
                    commit(&mut ledger, &mut log);
                    committed.append(&mut answers);
                    staged.clear();
                    prop_assert_eq!(restored(&log).stream_time_ms(), ledger.stream_time_ms());
                }
                // The same records come again.
                Step::Abort => {
                    ledger.aborted();
                    answers = replay(&mut ledger, &staged);
                }
                Step::Crash => {
                    ledger = restored(&log);
                    answers = replay(&mut ledger, &staged);
                }
                step => {
                    answers.extend(replay(&mut ledger, std::slice::from_ref(&step)));
                    staged.push(step);
                }
            }
        }
        prop_assert_eq!(committed, expected);
        prop_assert!(restored(&log).len() >= ledger.len());
    }
}
