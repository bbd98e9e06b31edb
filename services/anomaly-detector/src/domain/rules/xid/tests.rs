use super::*;
use crate::domain::reading::XidCounts;
use proptest::prelude::*;
use schema::Text;

const START_MS: i64 = 1_770_805_800_000;

fn errors(last_xid: Option<u16>, counts: &[(u16, u32)]) -> Errors {
    Errors {
        last_xid,
        recovery_action: None,
        xid_counts: XidCounts(counts.to_vec()),
    }
}

struct Feed {
    state: XidState,
    at_ms: i64,
}

impl Feed {
    fn new() -> Self {
        Self {
            state: XidState::default(),
            at_ms: START_MS,
        }
    }

    /// The occurrences of a reading ten seconds after the last.
    fn next(&mut self, last_xid: u16, counts: &[(u16, u32)]) -> Vec<(u16, u32)> {
        self.at_ms += 10_000;
        let errors = errors(Some(last_xid), counts);
        self.state
            .occurrences(&errors, &XidLimits::default(), self.at_ms)
            .into_iter()
            .map(|o| (o.code, o.count))
            .collect()
    }
}

#[test]
fn the_gauge_sticks_and_only_its_change_is_an_occurrence() {
    let mut feed = Feed::new();
    assert_eq!(feed.next(0, &[]), []);
    assert_eq!(feed.next(79, &[]), [(79, 1)]);
    for _ in 0..100 {
        assert_eq!(feed.next(79, &[]), []);
    }
    assert_eq!(feed.next(0, &[]), [], "the driver was loaded again");
    assert_eq!(feed.next(79, &[]), [(79, 1)]);
    assert_eq!(feed.next(48, &[]), [(48, 1)]);
}

#[test]
fn what_the_gauge_showed_at_first_sight_is_history() {
    let mut feed = Feed::new();
    assert_eq!(feed.next(79, &[]), []);
    assert_eq!(feed.next(79, &[]), []);
}

#[test]
fn what_the_count_showed_at_first_sight_happened_within_its_window() {
    let mut feed = Feed::new();
    assert_eq!(feed.next(79, &[(79, 1)]), [(79, 1)]);
    assert_eq!(feed.next(79, &[(79, 1)]), []);
}

#[test]
fn a_repeat_of_the_same_code_shows_in_the_count() {
    let mut feed = Feed::new();
    feed.next(0, &[]);
    assert_eq!(feed.next(94, &[(94, 1)]), [(94, 1)]);
    assert_eq!(feed.next(94, &[(94, 1)]), []);
    assert_eq!(feed.next(94, &[(94, 3)]), [(94, 2)]);
    assert_eq!(feed.next(94, &[(94, 1)]), [], "the window moves on");
    assert_eq!(feed.next(94, &[]), []);
    assert_eq!(feed.next(94, &[(94, 1)]), [(94, 1)]);
}

#[test]
fn gauge_and_count_that_tell_at_different_times_tell_of_one_occurrence() {
    let mut feed = Feed::new();
    feed.next(0, &[]);
    assert_eq!(feed.next(31, &[]), [(31, 1)]);
    assert_eq!(feed.next(31, &[(31, 1)]), [], "told by the gauge already");
    assert_eq!(feed.next(31, &[(31, 2)]), [(31, 1)]);
    assert_eq!(feed.next(31, &[(31, 2), (13, 1)]), [(13, 1)]);
    assert_eq!(
        feed.next(13, &[(31, 2), (13, 1)]),
        [],
        "told by the count already"
    );
}

#[test]
fn a_reading_without_any_xid_field_changes_nothing() {
    let mut feed = Feed::new();
    feed.next(94, &[(94, 1)]);
    let blank = errors(None, &[]);
    feed.at_ms += 10_000;
    assert_eq!(
        feed.state
            .occurrences(&blank, &XidLimits::default(), feed.at_ms),
        []
    );
    assert_eq!(feed.next(94, &[(94, 1)]), []);
}

#[test]
fn a_burst_is_one_and_only_another_job_makes_it_a_repeat() {
    let mut state = XidState::default();
    let limits = XidLimits::default();
    let mut signal = |minute: i64, job: Option<&'static str>| {
        let workload = Workload {
            job_id: job.map(Text::from),
            ..Workload::default()
        };
        let occurrence = Occurrence {
            code: 31,
            count: 1,
            before: 0,
        };
        let now_ms = START_MS + minute * 60_000;
        state
            .repeated(&[occurrence], &workload, &limits, now_ms)
            .signal
    };
    assert_eq!(signal(0, Some("a")), Signal::Clear);
    assert_eq!(signal(2, Some("b")), Signal::Clear, "within the burst");
    assert_eq!(signal(10, Some("b")), Signal::Clear, "the same job");
    assert_eq!(signal(20, None), Signal::Clear, "who knows");
    assert_eq!(signal(30, Some("c")), Signal::Raise);
    assert_eq!(
        signal(30 + 24 * 60, Some("d")),
        Signal::Clear,
        "a day later"
    );
}

#[test]
fn what_the_driver_asks_for_is_graver_than_draining_except_for_that() {
    let signal = |number| {
        let errors = Errors {
            recovery_action: number,
            ..errors(None, &[])
        };
        recovery_asked(&errors).signal
    };
    assert_eq!(signal(None), Signal::Unknown);
    assert_eq!(signal(Some(0)), Signal::Clear);
    assert_eq!(signal(Some(3)), Signal::Raise);
    for number in [1, 2, 4] {
        assert_eq!(signal(Some(number)), Signal::Urgent);
    }
}

proptest! {
    /// However an exporter shows what happened, no occurrence is told twice, and with a count that shows all of them none
    /// is missed. The oracle knows the occurrences themselves.
    #[test]
    fn occurrences_are_told_once_each(
        happens in proptest::collection::vec(proptest::option::weighted(0.2, prop_oneof![Just(31_u16), Just(79), Just(94)]), 1..60),
        gauge_lags in any::<bool>(),
    ) {
        let mut feed = Feed::new();
        feed.next(0, &[]);
        let (mut told, mut last, mut shown_last) = (Vec::new(), 0, 0);
        for at in 0..happens.len() {
            let in_window = &happens[at.saturating_sub(5)..=at];
            let mut counts: Vec<(u16, u32)> = Vec::new();
            for code in [31, 79, 94] {
                let count = in_window.iter().filter(|h| **h == Some(code)).count();
                if count > 0 { counts.push((code, u32::try_from(count).unwrap())); }
            }
            if !gauge_lags { shown_last = last; }
            last = happens[at].unwrap_or(last);
            if gauge_lags { std::mem::swap(&mut shown_last, &mut last); last = happens[at].unwrap_or(shown_last); }
            told.extend(feed.next(shown_last, &counts));
        }
        for code in [31, 79, 94] {
            let real = happens.iter().filter(|h| **h == Some(code)).count();
            let sum: u32 = told.iter().filter(|(c, _)| *c == code).map(|(_, n)| n).sum();
            prop_assert!(sum as usize <= real + 1, "{}: {} told, {} happened: {:?}", code, sum, real, happens);
        }
    }
}
