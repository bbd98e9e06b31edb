//! Laws: what is written does not depend on how the work was cut, what was aborted, or what crashed.

use super::script::{
    DAY, Gpu, HOUR, OUTPUT_PARTITIONS, START_MS, Script, TOPIC, alerts_of, driver, stage,
};
use chassis::testing::{Emitted, Input, StageDriver};
use proptest::prelude::*;
use schema::{Alert, AlertState};
use std::collections::BTreeMap;

/// What befalls one of a few GPUs, or their partition.
#[derive(Clone, Debug)]
enum Event {
    Set(usize, &'static str, u32),
    Reset(usize),
    Vanish(usize),
    Return(usize),
    Move(usize),
    Late(usize),
    Garbage,
    Pass(i64),
    Silence(i64),
}

const FIELDS: &[(&str, &[u32])] = &[
    ("health.gpu_temp_c", &[50, 70, 80]),
    ("health.memory_temp_c", &[60, 92]),
    ("health.temp_limit_margin_c", &[0, 4, 30]),
    ("health.throttle_reasons", &[0, 1, 0x20, 0x48, 0x88]),
    ("health.power_usage_w", &[70, 400, 690]),
    ("memory.ecc_sbe_volatile", &[0, 500, 200_000]),
    ("memory.ecc_dbe_volatile", &[0, 1, 2]),
    ("memory.row_remap_pending", &[0, 1]),
    ("memory.row_remap_uncorrectable", &[3, 4, 6]),
    ("interconnect.pcie_width", &[8, 16]),
    ("interconnect.pcie_replay", &[0, 300]),
    ("interconnect.nvlink_replay", &[0, 1, 2]),
    ("interconnect.nvlink_links_up", &[17, 18]),
    ("errors.last_xid", &[0, 31, 48, 79, 94, 119]),
    ("errors.recovery_action", &[0, 1, 3]),
];
const GPUS: usize = 4;

fn event() -> impl Strategy<Value = Event> {
    let gpu = || 0..GPUS;
    prop_oneof![
        10 => (gpu(), 0..FIELDS.len(), any::<prop::sample::Index>()).prop_map(|(gpu, field, value)| {
            let (path, values) = FIELDS[field];
            Event::Set(gpu, path, values[value.index(values.len())])
        }),
        1 => gpu().prop_map(Event::Reset),
        2 => gpu().prop_map(Event::Vanish),
        2 => gpu().prop_map(Event::Return),
        1 => gpu().prop_map(Event::Move),
        1 => gpu().prop_map(Event::Late),
        1 => Just(Event::Garbage),
        8 => (1..40_i64).prop_map(Event::Pass),
        1 => (30..3_000_i64).prop_map(Event::Silence),
    ]
}

fn play(events: &[Event]) -> Vec<Input> {
    let mut gpus: Vec<_> = (1..).take(GPUS).map(Gpu::new).collect();
    gpus[3] = gpus[3].clone().on("gpu-node-043");
    let mut is_there = [true; GPUS];
    let (mut script, mut at_s) = (Script::new(), 0);
    for event in events {
        match event {
            Event::Set(gpu, path, value) => {
                gpus[*gpu].set(path, *value);
            }
            Event::Reset(gpu) => {
                gpus[*gpu].reset(at_s);
            }
            Event::Vanish(gpu) => is_there[*gpu] = false,
            Event::Return(gpu) => is_there[*gpu] = true,
            Event::Move(gpu) => gpus[*gpu] = gpus[*gpu].clone().on("gpu-node-044"),
            Event::Late(gpu) => {
                script.late(&gpus[*gpu], at_s - 25, at_s);
            }
            Event::Garbage => {
                script.raw(Some(b"GPU-x"), Some(b"?"), START_MS + at_s * 1_000);
            }
            Event::Pass(readings) => {
                for _ in 0..*readings {
                    for (gpu, _) in gpus.iter().zip(is_there).filter(|(_, there)| *there) {
                        script.reading(gpu, at_s);
                    }
                    at_s += 10;
                    script.tick(at_s - 5);
                }
            }
            Event::Silence(seconds) => at_s += seconds,
        }
    }
    script.inputs
}

/// How the work is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Commit,
    Abort,
    Crash,
}

fn cuts() -> impl Strategy<Value = Vec<(usize, Cut)>> {
    let cut = prop_oneof![3 => Just(Cut::Commit), 1 => Just(Cut::Abort), 1 => Just(Cut::Crash)];
    proptest::collection::vec((1..60_usize, cut), 0..60)
}

/// Runs `inputs`; after each so many records comes a cut, and what was not committed comes again.
fn run_cut(inputs: &[Input], cuts: &[(usize, Cut)]) -> Vec<Emitted> {
    let mut driver: StageDriver<_> = driver();
    let (mut emitted, mut committed, mut at) = (Vec::new(), 0, 0);
    for (records, cut) in cuts {
        let to = (at + records).min(inputs.len());
        for input in &inputs[at..to] {
            driver.process(input);
        }
        at = to;
        match cut {
            Cut::Commit => {
                emitted.extend(driver.commit());
                committed = at;
            }
            Cut::Abort => {
                driver.abort();
                at = committed;
            }
            Cut::Crash => {
                driver.crash(stage()).unwrap();
                at = committed;
            }
        }
    }
    emitted.extend(driver.run(&inputs[at..]));
    emitted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cut_abort_or_crash_writes_the_same(
        events in proptest::collection::vec(event(), 1..60),
        cuts in cuts(),
    ) {
        let inputs = play(&events);
        let whole = driver().run(&inputs);
        let cut = run_cut(&inputs, &cuts);
        let short = |emitted: &[Emitted]| -> Vec<String> { emitted.iter().map(|e| String::from_utf8_lossy(e.value.as_ref().unwrap()).into_owned()).collect() };
        prop_assert!(cut == whole, "{:#?}\nbut whole:\n{:#?}", short(&cut), short(&whole));
    }

    #[test]
    fn a_replay_from_another_topic_gives_the_same_alerts(events in proptest::collection::vec(event(), 1..60)) {
        let inputs = play(&events);
        let moved: Vec<_> = inputs.iter().map(|input| Input {
            offset: input.offset + 77,
            timestamp_ms: input.timestamp_ms + DAY * 1_000,
            ..input.clone()
        }).collect();
        let mut replay = StageDriver::new(stage(), "replay", &OUTPUT_PARTITIONS);
        let without_evidence = |emitted: &[Emitted]| -> Vec<Alert> {
            alerts_of(emitted).into_iter().map(|mut alert| {
                alert.context.evidence_offsets.clear();
                alert
            }).collect()
        };
        prop_assert_eq!(without_evidence(&replay.run(&moved)), without_evidence(&driver().run(&inputs)));
    }

    #[test]
    fn an_incident_begins_once_ends_at_most_once_and_keeps_its_name(events in proptest::collection::vec(event(), 1..60)) {
        let mut open: BTreeMap<String, Alert> = BTreeMap::new();
        let mut seen = Vec::new();
        for alert in alerts_of(&driver().run(&play(&events))) {
            match open.get(&alert.fingerprint) {
                None => {
                    prop_assert_eq!(alert.state, AlertState::Firing);
                    prop_assert!(!seen.contains(&alert.alert_id), "an id comes again: {:?}", alert);
                    seen.push(alert.alert_id.clone());
                }
                Some(before) => {
                    prop_assert_eq!(&alert.alert_id, &before.alert_id);
                    prop_assert_eq!(alert.first_seen, before.first_seen);
                    prop_assert!(alert.severity >= before.severity);
                    prop_assert!(alert.count >= before.count);
                    prop_assert!(alert.timestamp >= before.timestamp);
                    let since_ms = alert.timestamp.millis_since(before.timestamp);
                    let is_news = alert.severity > before.severity || alert.xid != before.xid || alert.state == AlertState::Resolved;
                    prop_assert!(is_news || since_ms >= 4 * HOUR * 1_000, "told again without news: {:?}", alert);
                }
            }
            prop_assert_eq!(alert.resolved_at.is_some(), alert.state == AlertState::Resolved);
            prop_assert!(alert.timestamp >= alert.first_seen);
            match alert.state {
                AlertState::Firing => { open.insert(alert.fingerprint.clone(), alert); }
                AlertState::Resolved => { open.remove(&alert.fingerprint); }
            }
        }
    }
}

#[test]
fn the_laws_are_tested_on_alerts_of_many_kinds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut rules: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..96 {
        let events = proptest::collection::vec(event(), 1..60)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        for alert in alerts_of(&driver().run(&play(&events))) {
            *rules.entry(alert.rule_id).or_default() += 1;
        }
    }
    assert!(rules.len() >= 18, "{rules:?}");
    assert_eq!(TOPIC, "gpu-metrics-enriched");
}
