//! Laws: whatever the log, and wherever transactions end, fail or are cut off, the committed output is the oracle's.

use crate::records::{
    START, any_inputs, any_windows, driver, expected, inputs, reading, shown, shown_by_oracle,
    temperature, tick, uuid,
};
use aggregator::Windows;
use aggregator::stage::Aggregator;
use chassis::Task;
use chassis::testing::{Emitted, Input};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use schema::{WindowAggregate, WindowSize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What happens after a record.
#[derive(Clone, Copy, Debug)]
enum Then {
    GoOn,
    Commit,
    Abort,
    Crash,
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        12 => Just(Then::GoOn),
        4 => Just(Then::Commit),
        1 => Just(Then::Abort),
        1 => Just(Then::Crash),
    ]
}

/// Processes everything; an abort or a crash goes back to the last commit.
fn run(inputs: &[Input], windows: Windows, thens: &[Then]) -> Vec<Emitted> {
    let mut driver = driver(windows);
    let mut committed = Vec::new();
    let mut thens = thens.iter();
    let (mut next, mut committed_to) = (0, 0);
    while next < inputs.len() {
        driver.process(&inputs[next]);
        next += 1;
        match thens.next().copied().unwrap_or(Then::GoOn) {
            Then::GoOn => {}
            Then::Commit => {
                committed.extend(driver.commit());
                committed_to = next;
            }
            Then::Abort => {
                driver.abort();
                next = committed_to;
            }
            Then::Crash => {
                driver.crash(Aggregator::new(windows)).unwrap();
                next = committed_to;
            }
        }
    }
    committed.extend(driver.commit());
    committed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn committed_output_is_the_oracles_wherever_transactions_end(
        inputs in any_inputs(),
        windows in any_windows(),
        thens in proptest::collection::vec(then(), 0..200),
    ) {
        let found = shown(&run(&inputs, windows, &thens));
        let expected = shown_by_oracle(&expected(&inputs, &windows));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_quarter_is_its_fifteen_minutes_together(inputs in any_inputs(), windows in any_windows()) {
        let end = tick(START + 40_000_000);
        let mut inputs = inputs;
        inputs.push(Input { offset: 1_000, value: Some(end.to_string().into_bytes()), ..Input::default() });
        let (texts, _) = shown(&run(&inputs, windows, &[]));
        let mut latest: BTreeMap<(String, WindowSize, i64), WindowAggregate> = BTreeMap::new();
        for text in texts {
            let window: WindowAggregate = serde_json::from_str(&text).unwrap();
            let key = (window.gpu_uuid.clone(), window.window, window.window_start.as_millis());
            if let Some(before) = latest.get(&key) {
                prop_assert_eq!(window.revision, before.revision + 1);
            }
            latest.insert(key, window);
        }
        for ((gpu, size, start), quarter) in &latest {
            if *size == WindowSize::OneMinute {
                let of = (gpu.clone(), WindowSize::FifteenMinutes, start.div_euclid(900_000) * 900_000);
                prop_assert!(latest.contains_key(&of));
                continue;
            }
            let minutes: Vec<&WindowAggregate> = (0..15)
                .filter_map(|minute| latest.get(&(gpu.clone(), WindowSize::OneMinute, start + minute * 60_000)))
                .collect();
            prop_assert_eq!(quarter.count, minutes.iter().map(|minute| minute.count).sum::<u64>());
            prop_assert_eq!(quarter.first_timestamp, minutes[0].first_timestamp);
            prop_assert_eq!(quarter.last_timestamp, minutes[minutes.len() - 1].last_timestamp);
            for (name, level) in &quarter.metrics {
                let levels: Vec<_> = minutes.iter().filter_map(|minute| minute.metrics.get(name)).collect();
                prop_assert_eq!(level.count, levels.iter().map(|level| level.count).sum::<u64>());
                prop_assert!(levels.iter().all(|minute| minute.min >= level.min && minute.max <= level.max));
                prop_assert!(levels.iter().any(|minute| minute.min <= level.min));
                prop_assert!(levels.iter().any(|minute| minute.max >= level.max));
            }
            for (name, counter) in &quarter.counters {
                let counters: Vec<_> = minutes.iter().filter_map(|minute| minute.counters.get(name)).collect();
                let sum = counters.iter().fold(0.0, |sum, counter| sum + counter.increment);
                prop_assert_eq!(counter.increment.to_bits(), sum.to_bits());
                prop_assert_eq!(counter.resets, counters.iter().map(|counter| counter.resets).sum::<u32>());
                prop_assert_eq!(Some(counter.last), counters.last().map(|counter| counter.last));
            }
            let xids: BTreeSet<u32> = minutes.iter().flat_map(|minute| minute.xids.iter().copied()).collect();
            prop_assert_eq!(&quarter.xids, &xids.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(
                quarter.throttle.map_or(0, |throttle| throttle.reasons),
                minutes.iter().filter_map(|minute| minute.throttle).fold(0, |all, throttle| all | throttle.reasons)
            );
        }
    }

    #[test]
    fn partitions_do_not_know_of_each_other(
        first in any_inputs(),
        second in any_inputs(),
        order in proptest::collection::vec(any::<bool>(), 240),
    ) {
        let windows = Windows::default();
        let alone = |inputs: &[Input]| shown(&run(inputs, windows, &[]));
        let expected = (alone(&first), alone(&second));
        let mut driver = chassis::testing::StageDriver::new(
            Aggregator::new(windows),
            "gpu-metrics-enriched",
            &[2, 2, 2],
        );
        let mut second: Vec<Input> = second.into_iter().map(|input| Input { partition: 1, ..input }).rev().collect();
        let mut first: Vec<Input> = first.into_iter().rev().collect();
        let mut order = order.into_iter();
        loop {
            let from_first = order.next().unwrap_or(true);
            let taken = if from_first { first.pop().or_else(|| second.pop()) } else { second.pop().or_else(|| first.pop()) };
            match taken {
                Some(input) => driver.process(&input),
                None => break,
            }
        }
        let emitted = driver.commit();
        let of = |partition| -> Vec<Emitted> {
            emitted.iter().filter(|record| record.partition == partition).cloned().collect()
        };
        prop_assert_eq!((shown(&of(0)), shown(&of(1))), expected);
    }
}

/// The laws above are only worth what their logs hold.
#[test]
fn made_up_logs_reach_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..100 {
        let inputs = any_inputs().new_tree(&mut runner).unwrap().current();
        let windows = any_windows().new_tree(&mut runner).unwrap().current();
        let (texts, dead) = shown(&run(&inputs, windows, &[]));
        let mut log = BTreeSet::new();
        if !dead.is_empty() {
            log.insert("a dead letter");
        }
        for text in texts {
            let window: WindowAggregate = serde_json::from_str(&text).unwrap();
            log.insert(match (window.window, window.revision) {
                (WindowSize::OneMinute, 0) => "a minute",
                (WindowSize::OneMinute, _) => "a minute corrected",
                (WindowSize::FifteenMinutes, 0) => "a quarter",
                (WindowSize::FifteenMinutes, _) => "a quarter corrected",
            });
            if window.revision > 1 {
                log.insert("corrected twice");
            }
            if window.window == WindowSize::FifteenMinutes && window.count > 5 {
                log.insert("a quarter of many readings");
            }
            if window.counters.values().any(|counter| counter.resets > 0) {
                log.insert("a counter reset");
            }
            if window
                .counters
                .values()
                .any(|counter| counter.increment > 0.0)
            {
                log.insert("an increment");
            }
            if !window.xids.is_empty() {
                log.insert("an Xid");
            }
            if window
                .throttle
                .is_some_and(|throttle| throttle.concern_samples > 0)
            {
                log.insert("throttling");
            }
        }
        for what in log {
            *seen.entry(what).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 11, "{seen:?}");
    assert!(seen.values().all(|logs| *logs >= 10), "{seen:?}");
}

#[test]
fn a_reading_that_comes_twice_counts_twice_and_moves_no_counter() {
    // Telling repeats apart is the validator's work: what is in the log was accepted.
    let energy = |at: i64, mj: f64| {
        let metrics = json!({"power": {"total_energy_mj": mj}});
        reading(1, START + at, START + at, metrics)
    };
    let repeated = energy(20_000, 150.0);
    let inputs = inputs([
        energy(10_000, 100.0),
        repeated.clone(),
        repeated,
        energy(30_000, 180.0),
        tick(START + 90_000),
    ]);
    let (texts, dead) = shown(&run(&inputs, Windows::default(), &[]));
    assert_eq!((texts.len(), dead.len()), (1, 0));
    let window: WindowAggregate = serde_json::from_str(&texts[0]).unwrap();
    let counter = window.counters["total_energy_mj"];
    assert_eq!(
        (window.count, counter.increment, counter.resets),
        (4, 80.0, 0)
    );
}

#[test]
fn idle_partitions_close_on_ticks() {
    let minute = 60_000;
    let inputs = inputs([
        temperature(1, START + 5_000, START + 5_100, 60.0),
        tick(START + minute + 29_999),
        tick(START + minute + 30_000),
        tick(START + 15 * minute + 30_000),
    ]);
    let mut driver = driver(Windows::default());
    let counts: Vec<usize> = inputs
        .iter()
        .map(|input| {
            driver.process(input);
            driver.commit().len()
        })
        .collect();
    assert_eq!(counts, [0, 0, 1, 1]);
}

#[test]
fn catching_up_after_hours_loses_no_window() {
    let gpus = 50;
    let mut values = Vec::new();
    for minute in 0..240 {
        for gpu in 0..gpus {
            let at = START + minute * 60_000 + 1_000;
            values.push(temperature(gpu, at, at + 500, 50.0));
        }
    }
    // All at once, and then time jumps.
    values.push(tick(START + 10 * 3_600_000));
    let mut driver = driver(Windows::default());
    let emitted = driver.run(&inputs(values));
    let windows = |output| emitted.iter().filter(|r| r.output == output).count();
    assert_eq!((windows(0), windows(1)), (240 * gpus, 16 * gpus));
}

#[test]
fn a_late_record_corrects_its_minute_its_quarter_and_the_increments_after_it() {
    let energy = |at: i64, ingest: i64, mj: f64| {
        reading(
            1,
            START + at,
            START + ingest,
            json!({"power": {"total_energy_mj": mj}}),
        )
    };
    let inputs = inputs([
        energy(10_000, 10_000, 100.0),
        energy(130_000, 130_000, 160.0),
        tick(START + 930_000),
        // Between the two, a restart nobody had seen.
        energy(70_000, 931_000, 20.0),
    ]);
    let mut driver = driver(Windows::default());
    driver.run(&inputs[..3]);
    let (texts, dead) = shown(&driver.run(&inputs[3..]));
    assert!(dead.is_empty());
    let found: Vec<(WindowSize, i64, u32, f64, u32)> = texts
        .iter()
        .map(|text| {
            let window: WindowAggregate = serde_json::from_str(text).unwrap();
            let energy = window.counters["total_energy_mj"];
            let start = window.window_start.as_millis() - START;
            (
                window.window,
                start,
                window.revision,
                energy.increment,
                energy.resets,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            // It was empty when it closed: what it has now is its first correction.
            (WindowSize::OneMinute, 60_000, 1, 20.0, 1),
            (WindowSize::OneMinute, 120_000, 1, 140.0, 0),
            (WindowSize::FifteenMinutes, 0, 1, 160.0, 1),
        ]
    );
}

#[test]
fn a_record_beyond_correction_is_a_dead_letter_with_its_bytes() {
    let inputs = inputs([
        tick(START + 60_000 + 30_000 + 899_999),
        temperature(1, START, START + 10, 50.0),
        tick(START + 60_000 + 30_000 + 900_000),
        temperature(1, START + 1, START + 10, 51.0),
    ]);
    let mut driver = driver(Windows::default());
    let emitted = driver.run(&inputs);
    let (windows, dead) = shown(&emitted);
    // The minute and its quarter, which had closed, too.
    assert_eq!((windows.len(), dead), (2, vec![3]));
    let letter: schema::DeadLetter =
        serde_json::from_slice(emitted[2].value.as_deref().unwrap()).unwrap();
    assert_eq!(
        letter.original.as_bytes(),
        inputs[3].value.as_deref().unwrap()
    );
    assert_eq!(letter.key.as_deref(), Some(uuid(1).as_str()));
    assert_eq!(letter.validation_errors[0].code, "too_late");
    assert_eq!(letter.timestamp.as_millis(), START + 10);
}

#[test]
fn what_is_settled_leaves_memory_and_the_changelog() {
    let windows = Windows {
        forget_after_ms: 600_000,
        ..Windows::default()
    };
    let mut driver = driver(windows);
    let mut offset = 0;
    let mut process = |driver: &mut chassis::testing::StageDriver<Aggregator>,
                       value: serde_json::Value| {
        let mut input = inputs([value]).remove(0);
        input.offset = offset;
        offset += 1;
        driver.process(&input);
    };
    for step in 0..300 {
        let at = START + step * 10_000;
        process(
            &mut driver,
            temperature(usize::try_from(step % 7).unwrap(), at, at, 50.0),
        );
        driver.commit();
    }
    assert_eq!(driver.task(0).unwrap().entries(), 7);
    for step in 0..50 {
        process(&mut driver, tick(START + 10_000_000 + step));
        driver.commit();
    }
    assert_eq!(driver.task(0).unwrap().entries(), 0);
    // And what is restored from the changelog is as empty.
    driver.crash(Aggregator::new(windows)).unwrap();
    assert_eq!(driver.task(0).unwrap().entries(), 0);
    process(
        &mut driver,
        temperature(3, START + 10_000_000, START + 10_000_100, 50.0),
    );
    assert_eq!(driver.task(0).unwrap().entries(), 1);
}

/// Key, value, and the reason that they are given up for.
type Broken = (Option<&'static str>, Option<Vec<u8>>, &'static str);

#[test]
fn what_cannot_be_read_is_a_dead_letter_and_stops_nothing() {
    let good = temperature(1, START, START, 50.0).to_string();
    let broken: Vec<Broken> = vec![
        (Some("k"), Some(b"{".to_vec()), "unreadable_reading"),
        (Some("k"), Some(vec![0xff, 0xfe]), "unreadable_reading"),
        (Some("k"), Some(b"[]".to_vec()), "unreadable_reading"),
        (
            Some("k"),
            Some(format!("{good} x").into()),
            "unreadable_reading",
        ),
        (
            Some("k"),
            Some(good.replace("50.0", "\"hot\"").into()),
            "unreadable_reading",
        ),
        (
            Some("k"),
            Some(good.replace("50.0", "1e999").into()),
            "unreadable_reading",
        ),
        (
            Some("k"),
            Some(good.replace("2026-", "1926-").into()),
            "unreadable_reading",
        ),
        (
            Some("k"),
            Some(good.replace("gpu_uuid", "uuid").into()),
            "unreadable_reading",
        ),
        (
            Some("k"),
            Some(good.replace("\"metrics\"", "\"m\"").into()),
            "unreadable_reading",
        ),
        (
            Some("k"),
            Some(tick(START).to_string().into()),
            "unreadable_reading",
        ),
        (Some("k"), None, "missing_value"),
        (None, None, "missing_value"),
        (None, Some(good.clone().into()), "unreadable_tick"),
        (None, Some(b"null".to_vec()), "unreadable_tick"),
    ];
    let mut driver = driver(Windows::default());
    for (offset, (key, value, _)) in (0..).zip(&broken) {
        driver.process(&Input {
            offset,
            key: key.map(|key| key.as_bytes().to_vec()),
            value: value.clone(),
            timestamp_ms: START,
            ..Input::default()
        });
    }
    let emitted = driver.commit();
    assert_eq!(emitted.len(), broken.len());
    for (record, (key, value, code)) in emitted.iter().zip(&broken) {
        let letter: schema::DeadLetter =
            serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        assert_eq!(letter.validation_errors[0].code, *code, "{value:?}");
        assert_eq!(letter.key.as_deref(), *key);
        assert_eq!(
            letter.original_size_bytes,
            value.as_ref().map_or(0, Vec::len) as u64
        );
        assert_eq!(letter.timestamp.as_millis(), START);
    }
    assert_eq!(driver.run(&inputs([tick(START + 100_000)])).len(), 0);
}
