use super::*;
use proptest::prelude::*;

const RULE: Rule = Rule::ThermalMargin;
const START_MS: i64 = 1_770_805_800_000;

fn timing() -> Timing {
    Timing {
        hold_ms: 60_000,
        urgent_hold_ms: 30_000,
        clear: Clear::After(300_000),
    }
}

/// Feeds one signal every ten seconds from second `from`; returns each change with its second.
struct Run {
    incidents: Incidents,
    timing: Timing,
    noise: Alerts,
    last_reset_ms: Option<i64>,
}

impl Run {
    fn new(timing: Timing) -> Self {
        Self {
            incidents: Incidents::default(),
            timing,
            noise: Alerts::default(),
            last_reset_ms: None,
        }
    }

    fn at(&mut self, second: i64, signal: Signal, xid: Option<u16>) -> Option<Change> {
        self.step(second, signal, xid, true)
    }

    fn step(
        &mut self,
        second: i64,
        signal: Signal,
        xid: Option<u16>,
        is_continuous: bool,
    ) -> Option<Change> {
        let finding = Finding {
            xid,
            ..Finding::new(RULE, signal, "m")
        };
        let moment = Moment {
            now_ms: START_MS + second * 1_000,
            offset: second,
            is_continuous,
            last_reset_ms: self.last_reset_ms,
        };
        self.incidents
            .observe(&finding, &self.timing, &self.noise, &moment)
    }

    fn lasts(&mut self, signal: Signal, seconds: std::ops::Range<i64>) -> Vec<(i64, Kind)> {
        seconds
            .step_by(10)
            .filter_map(|second| Some((second, self.at(second, signal, None)?.kind)))
            .collect()
    }
}

#[test]
fn a_condition_fires_when_it_has_lasted_and_ends_when_it_has_been_away() {
    let mut run = Run::new(timing());
    assert_eq!(run.lasts(Signal::Clear, 0..100), []);
    assert_eq!(run.lasts(Signal::Raise, 100..200), [(160, Kind::Fired)]);
    assert_eq!(run.lasts(Signal::Quiet, 200..1_000), []);
    assert_eq!(run.lasts(Signal::Clear, 1_000..1_200), []);
    assert_eq!(run.lasts(Signal::Raise, 1_200..1_210), []);
    assert_eq!(
        run.lasts(Signal::Clear, 1_210..2_000),
        [(1_510, Kind::Resolved)]
    );
    assert!(run.incidents.firing().next().is_none());
}

#[test]
fn a_condition_that_pauses_begins_again_but_an_unknown_value_is_no_pause() {
    let mut run = Run::new(timing());
    run.lasts(Signal::Raise, 0..50);
    run.at(50, Signal::Quiet, None);
    assert_eq!(run.lasts(Signal::Raise, 60..110), []);
    run.at(110, Signal::Unknown, None);
    let fired = run.at(120, Signal::Raise, None).unwrap();
    assert_eq!(fired.kind, Kind::Fired);
    assert_eq!(fired.first_seen_ms, START_MS + 60_000);
    assert_eq!((fired.count, fired.first_offset), (6, 60));
}

#[test]
fn what_was_before_a_gap_does_not_count_towards_how_long_it_lasted() {
    let mut run = Run::new(timing());
    run.lasts(Signal::Raise, 0..50);
    assert_eq!(run.step(3_600, Signal::Raise, None, false), None);
    assert_eq!(
        run.lasts(Signal::Raise, 3_610..3_700),
        [(3_660, Kind::Fired)]
    );
    run.lasts(Signal::Clear, 3_700..3_900);
    assert_eq!(run.step(9_000, Signal::Clear, None, false), None);
    assert_eq!(
        run.lasts(Signal::Clear, 9_010..9_400),
        [(9_300, Kind::Resolved)]
    );
}

#[test]
fn the_graver_form_has_a_hold_of_its_own_and_is_never_taken_back() {
    let mut run = Run::new(timing());
    let fired = (0..4)
        .find_map(|i| run.at(i * 10, Signal::Urgent, None))
        .unwrap();
    assert_eq!(
        (fired.kind, fired.severity, fired.first_seen_ms),
        (Kind::Fired, Severity::Critical, START_MS)
    );

    let mut run = Run::new(timing());
    assert_eq!(run.lasts(Signal::Raise, 0..100), [(60, Kind::Fired)]);
    assert_eq!(
        run.lasts(Signal::Urgent, 100..200),
        [(130, Kind::Escalated)]
    );
    assert_eq!(run.lasts(Signal::Raise, 200..300), []);
    let resolved = (30..90)
        .find_map(|i| run.at(i * 10, Signal::Clear, None))
        .unwrap();
    assert_eq!(
        (resolved.kind, resolved.severity),
        (Kind::Resolved, Severity::Critical)
    );
}

#[test]
fn an_alert_that_goes_on_is_repeated_and_another_xid_is_told_at_once() {
    let mut run = Run::new(Timing {
        hold_ms: 0,
        ..timing()
    });
    assert_eq!(
        run.at(0, Signal::Raise, Some(119)).unwrap().kind,
        Kind::Fired
    );
    assert_eq!(run.at(10, Signal::Raise, Some(119)), None);
    let updated = run.at(20, Signal::Raise, Some(62)).unwrap();
    assert_eq!((updated.kind, updated.xid), (Kind::Updated, Some(62)));
    assert_eq!(
        run.lasts(Signal::Raise, 30..30_000),
        [(14_420, Kind::Repeated), (28_820, Kind::Repeated)]
    );
}

#[test]
fn what_needs_a_reset_ends_after_one_or_after_a_long_time() {
    let hour = 3_600;
    let clear = Clear::Reset {
        after_ms: hour * 1_000,
        without_ms: 24 * hour * 1_000,
    };
    let new_run = || {
        let mut run = Run::new(Timing {
            hold_ms: 0,
            urgent_hold_ms: 0,
            clear,
        });
        run.noise.repeat_after_s = 2_592_000;
        run.at(0, Signal::Raise, None);
        run
    };
    let mut run = new_run();
    assert_eq!(run.lasts(Signal::Clear, 10..5 * hour), []);
    run.last_reset_ms = Some(START_MS + 5 * hour * 1_000);
    assert_eq!(
        run.lasts(Signal::Clear, 5 * hour..7 * hour),
        [(6 * hour, Kind::Resolved)]
    );
    let mut run = new_run();
    run.last_reset_ms = Some(START_MS - 1);
    assert_eq!(
        run.lasts(Signal::Clear, 10..30 * hour),
        [(24 * hour, Kind::Resolved)]
    );
}

#[test]
fn what_never_ends_goes_on_until_the_gpu_is_forgotten() {
    let mut run = Run::new(Timing {
        hold_ms: 0,
        urgent_hold_ms: 0,
        clear: Clear::Never,
    });
    run.at(0, Signal::Raise, None);
    let changes = run.lasts(Signal::Clear, 10..1_000_000);
    assert!(changes.iter().all(|(_, kind)| *kind == Kind::Repeated));
    let ended = run.incidents.end_all();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].0, ended[0].1.kind), (RULE, Kind::Resolved));
}

#[test]
fn an_alert_that_flaps_is_held() {
    let mut run = Run::new(Timing {
        hold_ms: 0,
        urgent_hold_ms: 0,
        clear: Clear::After(0),
    });
    let mut changes = Vec::new();
    for second in (0..3_000).step_by(10) {
        let signal = if second % 20 == 0 {
            Signal::Raise
        } else {
            Signal::Clear
        };
        changes.extend(
            run.at(second, signal, None)
                .map(|change| (second, change.kind)),
        );
    }
    assert_eq!(
        changes,
        [
            (0, Kind::Fired),
            (10, Kind::Resolved),
            (20, Kind::Fired),
            (30, Kind::Resolved),
            (40, Kind::Fired),
        ]
    );
    // The last raise was at 2,980 s.
    assert_eq!(
        run.lasts(Signal::Clear, 3_000..8_000),
        [(6_580, Kind::Resolved)]
    );
}

fn signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        Just(Signal::Unknown),
        Just(Signal::Clear),
        Just(Signal::Quiet),
        Just(Signal::Raise),
        Just(Signal::Urgent),
    ]
}

proptest! {
    /// The naive oracle keeps the whole history and looks back from each reading.
    #[test]
    fn firing_and_resolving_equal_what_the_whole_history_says(
        runs in proptest::collection::vec((signal(), 1..12_usize), 1..30)
    ) {
        let signals: Vec<Signal> = runs.into_iter().flat_map(|(s, n)| std::iter::repeat_n(s, n)).collect();
        let mut run = Run::new(Timing { hold_ms: 40_000, urgent_hold_ms: 20_000, clear: Clear::After(50_000) });
        run.noise.flap_transitions = 100;
        run.noise.repeat_after_s = 2_592_000;
        let mut is_firing = false;
        for at in 0..signals.len() {
            let second = i64::try_from(at).unwrap() * 10;
            let change = run.at(second, signals[at], None).map(|change| change.kind);
            // How many readings back the last stretch goes in which only `keep` and unknown ones stand, if it ends here.
            let stretch = |is_part: fn(Signal) -> bool, keeps_unknown: bool| {
                let mut first = None;
                for back in (0..=at).rev() {
                    if is_part(signals[back]) { first = Some(back); }
                    else if !(keeps_unknown && signals[back] == Signal::Unknown) { break; }
                }
                first.map(|first| (at - first) * 10)
            };
            let raised = |s: Signal| matches!(s, Signal::Raise | Signal::Urgent);
            let raised_s = raised(signals[at]).then(|| stretch(raised, true)).flatten();
            let urgent_s = (signals[at] == Signal::Urgent).then(|| stretch(|s| s == Signal::Urgent, true)).flatten();
            let clear_s = (signals[at] == Signal::Clear).then(|| stretch(|s| s == Signal::Clear, true)).flatten();
            let expected = if !is_firing && (raised_s.is_some_and(|s| s >= 40) || urgent_s.is_some_and(|s| s >= 20)) {
                is_firing = true;
                Some(Kind::Fired)
            } else if is_firing && clear_s.is_some_and(|s| s >= 50) {
                is_firing = false;
                Some(Kind::Resolved)
            } else {
                None
            };
            prop_assert_eq!(change.filter(|kind| *kind != Kind::Escalated), expected, "at {} of {:?}", at, &signals[..=at]);
        }
    }
}
