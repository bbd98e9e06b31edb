use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const RUN: u64 = 7;

fn numbered(run: u64, number: u64, event_ms: i64) -> Stamp {
    Stamp {
        event_ms,
        sequence: Some(Sequence { run, number }),
    }
}

fn timed(event_ms: i64) -> Stamp {
    Stamp {
        event_ms,
        sequence: None,
    }
}

fn flags(list: &[Flag]) -> Flags {
    let mut flags = Flags::NONE;
    for flag in list {
        flags.add(*flag);
    }
    flags
}

#[test]
fn a_sequence_number_passes_once() {
    let mut history = History::default();
    assert_eq!(history.admit(numbered(RUN, 5, 50), 50), Ok(Flags::NONE));
    assert_eq!(history.admit(numbered(RUN, 6, 60), 60), Ok(Flags::NONE));
    assert_eq!(
        history.admit(numbered(RUN, 5, 50), 61),
        Err(Repeat::Sequence(5))
    );
    // Whatever its event time: the collector counts its readings.
    assert_eq!(
        history.admit(numbered(RUN, 6, 99), 61),
        Err(Repeat::Sequence(6))
    );
}

#[test]
fn a_gap_is_flagged_and_what_fills_it_passes_without_a_flag() {
    let mut history = History::default();
    assert_eq!(history.admit(numbered(RUN, 1, 1), 1), Ok(Flags::NONE));
    assert_eq!(
        history.admit(numbered(RUN, 4, 4), 4),
        Ok(flags(&[Flag::SequenceGap]))
    );
    assert_eq!(history.admit(numbered(RUN, 2, 2), 5), Ok(Flags::NONE));
    assert_eq!(history.admit(numbered(RUN, 3, 3), 5), Ok(Flags::NONE));
    assert_eq!(
        history.admit(numbered(RUN, 2, 2), 6),
        Err(Repeat::Sequence(2))
    );
}

#[test]
fn what_is_behind_the_window_counts_as_a_repeat() {
    let mut history = History::default();
    history.admit(numbered(RUN, 0, 0), 0).unwrap();
    assert_eq!(
        history.admit(numbered(RUN, WINDOW, 1), 1),
        Ok(flags(&[Flag::SequenceGap]))
    );
    assert_eq!(history.admit(numbered(RUN, 1, 2), 1), Ok(Flags::NONE));
    assert_eq!(
        history.admit(numbered(RUN, 0, 3), 1),
        Err(Repeat::BehindWindow {
            number: 0,
            highest: WINDOW
        })
    );
    history.admit(numbered(RUN, u64::MAX, 4), 4).unwrap();
    assert_eq!(
        history.repeat(numbered(RUN, u64::MAX, 4)),
        Some(Repeat::Sequence(u64::MAX))
    );
}

#[test]
fn a_new_run_is_a_restart_and_the_last_records_of_the_old_one_still_pass_once() {
    let mut history = History::default();
    history.admit(numbered(1, 100, 10), 10).unwrap();
    assert_eq!(
        history.admit(numbered(2, 1, 20), 20),
        Ok(flags(&[Flag::CollectorRestart]))
    );
    assert_eq!(history.admit(numbered(1, 101, 11), 21), Ok(Flags::NONE));
    assert_eq!(history.admit(numbered(2, 2, 21), 22), Ok(Flags::NONE));
    assert_eq!(
        history.repeat(numbered(1, 100, 10)),
        Some(Repeat::Sequence(100))
    );
    assert_eq!(
        history.repeat(numbered(2, 1, 20)),
        Some(Repeat::Sequence(1))
    );
    // A third run pushes out the one that was used longest ago.
    assert_eq!(
        history.admit(numbered(3, 1, 30), 30),
        Ok(flags(&[Flag::CollectorRestart]))
    );
    assert_eq!(
        history.runs().iter().map(|run| run.id).collect::<Vec<_>>(),
        [3, 2]
    );
}

#[test]
fn a_collector_without_a_boot_id_may_begin_again() {
    let mut history = History::default();
    for number in 1..=10 {
        let at = i64::try_from(number).unwrap() * 10;
        history
            .admit(numbered(UNNAMED_RUN, number, at), at)
            .unwrap();
    }
    // The same number again, but newer than all that was seen: no repeat can be.
    assert_eq!(
        history.admit(numbered(UNNAMED_RUN, 1, 200), 200),
        Ok(flags(&[Flag::CollectorRestart]))
    );
    assert_eq!(
        history.admit(numbered(UNNAMED_RUN, 2, 210), 210),
        Ok(Flags::NONE)
    );
    assert_eq!(
        history.admit(numbered(UNNAMED_RUN, 2, 210), 211),
        Err(Repeat::Sequence(2))
    );
}

#[test]
fn event_times_out_of_order_pass_once_each() {
    let mut history = History::default();
    for at in [30, 10, 20] {
        assert_eq!(history.admit(timed(at), 40), Ok(Flags::NONE));
    }
    for at in [30, 10, 20] {
        assert_eq!(history.admit(timed(at), 41), Err(Repeat::EventTime));
    }
}

#[test]
fn run_ids_do_not_change_from_version_to_version() {
    // They are in changelogs.
    assert_eq!(run_id(None), UNNAMED_RUN);
    assert_eq!(run_id(Some("")), 1);
    assert_eq!(
        run_id(Some("5b1f0c2e-6d0a-4e53-9c35-0a9c6f2f7a11")),
        7_667_795_384_876_397_773
    );
    assert_ne!(run_id(Some("a")), run_id(Some("b")));
    assert_ne!(run_id(Some("a")), run_id(Some("a\0")));
}

/// Remembers everything.
#[derive(Default)]
struct Oracle {
    seen: BTreeSet<(u64, u64)>,
    highest: BTreeMap<u64, u64>,
}

impl Oracle {
    fn is_repeat(&mut self, run: u64, number: u64) -> bool {
        let highest = self.highest.entry(run).or_insert(number);
        let behind_window = highest.saturating_sub(number) >= WINDOW;
        *highest = (*highest).max(number);
        behind_window || !self.seen.insert((run, number))
    }
}

proptest! {
    #[test]
    fn repeats_are_those_of_an_oracle_that_remembers_everything(
        steps in proptest::collection::vec((1..=2_u64, 0..200_u64), 1..400),
    ) {
        let mut history = History::default();
        let mut oracle = Oracle::default();
        for (at, (run, number)) in (0..).zip(steps) {
            let repeat = history.admit(numbered(run, number, at), at).is_err();
            prop_assert_eq!(repeat, oracle.is_repeat(run, number), "{} {}", run, number);
        }
    }

    #[test]
    fn of_readings_without_a_number_the_last_few_event_times_are_told_from_repeats(
        times in proptest::collection::vec(0..30_i64, 1..200),
    ) {
        let mut history = History::default();
        let mut accepted: Vec<i64> = Vec::new();
        for time in times {
            let repeat = history.admit(timed(time), 100).is_err();
            let expected = accepted.iter().rev().take(TIMES).any(|seen| *seen == time);
            prop_assert_eq!(repeat, expected);
            if !repeat {
                accepted.push(time);
            }
        }
    }

    #[test]
    fn what_is_admitted_is_a_repeat_from_then_on(
        run in any::<u64>(), number in any::<u64>(), event_ms in any::<i64>(), ingest_ms in any::<i64>(),
        earlier in proptest::collection::vec((0..3_u64, any::<u64>(), any::<i64>()), 0..10),
    ) {
        let mut history = History::default();
        let mut admitted = 0;
        for (run, number, event_ms) in earlier {
            admitted += usize::from(history.admit(numbered(run, number, event_ms), event_ms).is_ok());
        }
        prop_assert!(admitted > 0 || history == History::default());
        for stamp in [numbered(run, number, event_ms), timed(event_ms)] {
            if history.admit(stamp, ingest_ms).is_ok() {
                prop_assert!(history.repeat(stamp).is_some());
            }
            let before = history;
            prop_assert!(history.admit(stamp, ingest_ms).is_err());
            prop_assert_eq!(history, before);
        }
    }
}
