//! Laws of the stage.

use chassis::Output;
use chassis::testing::{Emitted, Input, StageDriver};
use proptest::prelude::*;
use schema::{DeadLetter, OriginalEncoding, ValidatedEvent, partition_for, topic};
use validator::config::Config;
use validator::stage::{INVALID, VALIDATED, Validator};

const FULL: &str = include_str!("../../testdata/payloads/metric_event_1_1_full.json");
const MINIMAL: &str = include_str!("../../testdata/payloads/metric_event_1_0_minimal.json");
const EVENT_MS: i64 = 1_770_805_800_123;
const HOUR_MS: i64 = 3_600_000;

fn validator() -> Validator {
    let config = Config::default();
    Validator::new(
        config.limits().unwrap(),
        config.ticks,
        config.duplicates.forget_after_ms,
    )
}

fn driver() -> StageDriver<Validator> {
    StageDriver::new(
        validator(),
        topic::RAW.name,
        &[topic::VALIDATED.partitions, topic::INVALID.partitions],
    )
}

/// What came of one record; ticks beside it are left out.
fn outcome(emitted: Vec<Emitted>) -> Result<Emitted, TestCaseError> {
    let mut outcomes: Vec<_> = emitted
        .into_iter()
        .filter(|record| Output(record.output) == INVALID || record.key.is_some())
        .collect();
    prop_assert_eq!(outcomes.len(), 1, "one record in, one out");
    Ok(outcomes.remove(0))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        "[\\[\\]{}\",:a-z0-9.eE+\\-\\\\ \n]{0,200}".prop_map(String::into_bytes),
        // A good record, damaged.
        (
            prop::sample::select(vec![FULL, MINIMAL]),
            proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            any::<prop::sample::Index>(),
        )
            .prop_map(|(record, damage, cut)| {
                let mut bytes = record.as_bytes().to_vec();
                for (at, byte) in damage {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                if cut.index(4) == 0 {
                    bytes.truncate(cut.index(bytes.len()));
                }
                bytes
            }),
    ]
}

/// Some reading of a small fleet: with and without sequence, of one of so many collector runs, repeated, late, broken.
fn reading(runs: u8) -> impl Strategy<Value = Input> {
    (
        0..3_i32,
        0..12_u32,
        prop_oneof![4 => (0..30_u64).prop_map(Some), 1 => Just(None)],
        0..runs,
        -400_i64..4_000,
        prop::sample::select(vec!["61", "61.5", "999", "9223372036854775794", "\"NaN\"", "null"]),
    )
        .prop_map(|(partition, gpu, sequence, run, age_s, temperature)| {
            let gpu = format!("GPU-00000000-0000-0000-000{partition}-{gpu:012}");
            let event_ms = EVENT_MS + i64::from(run) * 1_000;
            let collector = sequence.map_or_else(String::new, |sequence| {
                format!(r#","collector":{{"sequence":{sequence},"boot_id":"boot-{run}"}}"#)
            });
            let value = format!(
                r#"{{"timestamp":"{}","gpu":{{"gpu_uuid":"{gpu}"}},"metrics":{{"health":{{"gpu_temp_c":{temperature}}}}}{collector}}}"#,
                schema::Timestamp::from_millis(event_ms),
            );
            Input {
                partition,
                offset: 0,
                timestamp_ms: event_ms + age_s * 1_000,
                key: Some(gpu.into_bytes()),
                value: Some(value.into_bytes()),
                headers: Vec::new(),
            }
        })
}

#[derive(Clone, Debug)]
enum Step {
    Record(Input),
    Idle(i32, i64),
    Commit,
    Abort,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => reading(3).prop_map(Step::Record),
        2 => (0..3_i32, 0..30_i64).prop_map(|(partition, hours)| {
            Step::Idle(partition, EVENT_MS + hours * HOUR_MS)
        }),
        3 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => Just(Step::Crash),
    ]
}

fn apply(driver: &mut StageDriver<Validator>, step: &Step) {
    match step {
        Step::Record(input) => driver.process(input),
        Step::Idle(partition, now_ms) => driver.idle(*partition, *now_ms),
        Step::Commit | Step::Abort | Step::Crash => {}
    }
}

proptest! {
    #[test]
    fn any_bytes_come_out_once_as_they_are_or_as_a_dead_letter_that_holds_them(
        value in proptest::option::weighted(0.95, bytes()),
        key in proptest::option::of(prop_oneof![
            Just(b"GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..40),
        ]),
        partition in 0..32_i32,
        offset in any::<i64>(),
        timestamp_ms in prop_oneof![Just(EVENT_MS), any::<i64>()],
        header in proptest::option::of(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            any::<i64>().prop_map(|at| at.to_string().into_bytes()),
        ]),
    ) {
        let input = Input {
            partition,
            offset,
            timestamp_ms,
            key: key.clone(),
            value: value.clone(),
            headers: header
                .map(|value| (topic::ORIGINAL_APPEND_TIME.to_owned(), value))
                .into_iter()
                .collect(),
        };
        let out = outcome(driver().run(&[input]))?;
        prop_assert_eq!(&out.key, &key);
        let out_value = out.value.unwrap();
        if Output(out.output) == VALIDATED {
            prop_assert_eq!(out.partition, partition_for(&key.unwrap(), topic::VALIDATED.partitions));
            serde_json::from_slice::<ValidatedEvent<'_>>(&out_value).unwrap();
        } else {
            let expected = key.as_deref().map_or(partition % 8, |key| partition_for(key, 8));
            prop_assert_eq!(out.partition, expected);
            let letter: DeadLetter = serde_json::from_slice(&out_value).unwrap();
            prop_assert!(!letter.validation_errors.is_empty());
            prop_assert_eq!((letter.source.partition, letter.source.offset), (partition, offset));
            let original = match letter.original_encoding {
                OriginalEncoding::Utf8 => letter.original.into_bytes(),
                OriginalEncoding::Base64 => {
                    use base64::Engine;
                    base64::engine::general_purpose::STANDARD.decode(letter.original).unwrap()
                }
            };
            prop_assert_eq!(original, value.unwrap_or_default());
        }
    }

    #[test]
    fn a_valid_record_keeps_every_byte_before_what_is_added(
        order in Just((0..5_usize).collect::<Vec<_>>()).prop_shuffle(),
        space in "[ \n\t]{0,3}",
        unknown in "[a-z]{1,8}",
        unknown_value in prop::sample::select(vec!["1e-7", "[1, 2.50 ,{}]", "\"\\u00e9\"", "{\"a\":null}", "-0.0"]),
        power in 0.0..2_000.0_f64,
        age_ms in 0..HOUR_MS,
    ) {
        let members = [
            format!(r#""timestamp":{space}"2026-02-11T10:30:00.123Z""#),
            format!(r#""gpu"{space}:{{"gpu_uuid":"GPU-1","x_{unknown}":{unknown_value}}}"#),
            format!(r#""metrics":{{"health":{{{space}"power_usage_w":{power}{space}}}}}"#),
            format!(r#""x_{unknown}":{unknown_value}{space}"#),
            r#""quality":{"stale":false}"#.to_owned(),
        ];
        let members: Vec<&str> = order.iter().map(|index| members[*index].as_str()).collect();
        let record = format!("{space}{{{}{space}}}{space}", members.join(","));
        let input = Input {
            timestamp_ms: EVENT_MS + age_ms,
            key: Some(b"GPU-1".to_vec()),
            value: Some(record.clone().into_bytes()),
            ..Input::default()
        };
        let out = outcome(driver().run(&[input]))?;
        prop_assert_eq!(Output(out.output), VALIDATED);
        let out = String::from_utf8(out.value.unwrap()).unwrap();
        let kept = record.trim_ascii_end().strip_suffix('}').unwrap();
        let added = out.strip_prefix(kept).unwrap();
        let flags = if age_ms > 60_000 { "\"late\"" } else { "" };
        prop_assert_eq!(added, format!(
            r#","validation_timestamp":"{}","validation_version":"1","quality_flags":[{flags}]}}"#,
            schema::Timestamp::from_millis(EVENT_MS + age_ms)
        ));
    }

    #[test]
    fn commits_aborts_and_crashes_change_no_output(steps in proptest::collection::vec(step(), 0..150)) {
        let mut plain = driver();
        for step in &steps {
            apply(&mut plain, step);
        }
        let expected = plain.commit();

        let mut shaken = driver();
        let (mut since_commit, mut committed) = (Vec::new(), Vec::new());
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                Step::Commit => {
                    committed.extend(shaken.commit());
                    since_commit.clear();
                }
                // What was not committed comes again.
                Step::Abort | Step::Crash => {
                    match step {
                        Step::Abort => shaken.abort(),
                        _ => shaken.crash(validator()).unwrap(),
                    }
                    for step in &since_commit {
                        apply(&mut shaken, step);
                    }
                }
                step => {
                    apply(&mut shaken, &step);
                    since_commit.push(step);
                }
            }
        }
        prop_assert_eq!(committed, expected);
    }

    #[test]
    fn a_prefix_that_comes_again_adds_only_dead_letters(
        records in proptest::collection::vec(reading(2), 1..60),
        prefix in any::<prop::sample::Index>(),
    ) {
        let mut once = driver();
        let first = once.run(&records);
        let valid = |emitted: &[Emitted]| {
            emitted
                .iter()
                .filter(|record| Output(record.output) == VALIDATED && record.key.is_some())
                .count()
        };
        // As many collector runs and event times as are remembered of a GPU.
        let again = &records[..=prefix.index(records.len())];
        let second = once.run(again);
        prop_assert_eq!(valid(&second), 0, "{} valid at first", valid(&first));
    }
}

#[test]
fn a_record_of_ten_megabytes_becomes_a_dead_letter_that_fits_into_a_record() {
    let value = format!("{{\"x\":\"{}\"}}", "\\\"".repeat(5 * 1024 * 1024));
    let input = Input {
        timestamp_ms: EVENT_MS,
        key: Some(vec![b'k'; 100_000]),
        value: Some(value.clone().into_bytes()),
        ..Input::default()
    };
    let out = outcome(driver().run(&[input])).unwrap();
    assert_eq!(Output(out.output), INVALID);
    assert_eq!(out.key, None, "no GPU has a key like that");
    let out = out.value.unwrap();
    assert!(out.len() < 1_000_000, "{}", out.len());
    let letter: DeadLetter = serde_json::from_slice(&out).unwrap();
    assert_eq!(letter.original_size_bytes, value.len() as u64);
    assert!(letter.original_truncated);
    assert_eq!(letter.validation_errors[0].code, "record_too_large");
}
