use super::*;
use crate::config::Config;
use crate::domain::sample::{FULL_1_0, FULL_1_1, MINIMAL, with, without};

/// Event time of the sample records.
const EVENT_MS: i64 = 1_770_805_800_123;
const DAY_MS: i64 = 86_400_000;

struct Bench {
    judge: Judge,
    ledger: Ledger,
}

/// A verdict in a form that compares.
#[derive(Debug, PartialEq)]
enum Outcome {
    Valid(Vec<&'static str>),
    Invalid(Vec<&'static str>),
}

impl Bench {
    fn new() -> Self {
        Self {
            judge: Judge::new(Config::default().limits().unwrap()),
            ledger: Ledger::new(DAY_MS),
        }
    }

    fn judge_bytes(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, at_ms: i64) -> Outcome {
        let raw = Raw {
            key,
            value,
            ingest: Ingest {
                at_ms,
                header_is_bad: false,
            },
        };
        match self.judge.judge(&raw, &mut self.ledger) {
            Verdict::Valid { flags, .. } => {
                Outcome::Valid(flags.iter().map(Flag::as_str).collect())
            }
            Verdict::Invalid(reasons) => {
                Outcome::Invalid(reasons.codes().into_iter().map(Code::as_str).collect())
            }
        }
    }

    fn judge_at(&mut self, text: &str, at_ms: i64) -> Outcome {
        // By hand, since some of the texts are no JSON.
        let quoted = text
            .split_once("\"gpu_uuid\":")
            .and_then(|(_, rest)| rest.split_inclusive('"').nth(1))
            .map_or_else(|| "\"GPU-1\"".to_owned(), |rest| format!("\"{rest}"));
        let key: String = serde_json::from_str(&quoted).unwrap();
        self.judge_bytes(Some(key.as_bytes()), Some(text.as_bytes()), at_ms)
    }
}

fn judge(text: &str) -> Outcome {
    Bench::new().judge_at(text, EVENT_MS)
}

fn valid(flags: &[&'static str]) -> Outcome {
    Outcome::Valid(flags.to_vec())
}

fn invalid(codes: &[&'static str]) -> Outcome {
    Outcome::Invalid(codes.to_vec())
}

fn with_metric(name: &str, value: &str) -> String {
    let metric = schema::METRICS.iter().find(|m| m.name == name).unwrap();
    with(
        FULL_1_1,
        &format!("/metrics/{}/{name}", metric.group),
        value,
    )
}

#[test]
fn sound_records_of_every_version_are_valid() {
    for payload in [MINIMAL, FULL_1_0, FULL_1_1] {
        assert_eq!(judge(payload), valid(&[]));
    }
}

#[test]
fn what_must_be_there_must_be_there() {
    let check = |pointer: &str, code: &'static str| {
        assert_eq!(judge(&without(FULL_1_1, pointer)), invalid(&[code]));
        assert_eq!(judge(&with(FULL_1_1, pointer, "null")), invalid(&[code]));
    };
    check("/metrics", "missing_metrics");
    check("/timestamp", "missing_timestamp");
    let mut bench = Bench::new();
    for text in [
        without(FULL_1_1, "/gpu"),
        without(FULL_1_1, "/gpu/gpu_uuid"),
        with(FULL_1_1, "/gpu/gpu_uuid", "\"<<<NULL>>>\""),
    ] {
        assert_eq!(
            bench.judge_bytes(Some(b"GPU-1"), Some(text.as_bytes()), EVENT_MS),
            invalid(&["missing_gpu_uuid"])
        );
    }
    for uuid in ["", "a\\nb", &"x".repeat(129)] {
        let text = with(FULL_1_1, "/gpu/gpu_uuid", &format!("\"{uuid}\""));
        assert_eq!(judge(&text), invalid(&["invalid_gpu_uuid"]));
    }
}

#[test]
fn the_key_must_be_the_gpus_uuid() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.judge_bytes(None, Some(FULL_1_1.as_bytes()), EVENT_MS),
        invalid(&["missing_key"])
    );
    assert_eq!(
        bench.judge_bytes(Some(b"GPU-other"), Some(FULL_1_1.as_bytes()), EVENT_MS),
        invalid(&["key_mismatch"])
    );
    assert_eq!(
        bench.judge_bytes(Some(&[0xff]), Some(FULL_1_1.as_bytes()), EVENT_MS),
        invalid(&["key_mismatch"])
    );
}

#[test]
fn every_reason_is_given_not_just_the_first() {
    let text = with(
        &with(
            &with(FULL_1_1, "/metrics/health/gpu_temp_c", "\"NaN\""),
            "/metrics/memory/ecc_dbe_aggregate",
            "-1",
        ),
        "/metrics/health/power_usage_w",
        "2500",
    );
    let mut bench = Bench::new();
    assert_eq!(
        bench.judge_bytes(None, Some(text.as_bytes()), EVENT_MS + 2 * 3_600_000),
        invalid(&[
            "missing_key",
            "timestamp_too_old",
            "wrong_type",
            "out_of_range",
            "negative_counter"
        ])
    );
}

#[test]
fn bytes_that_are_no_record_are_named() {
    let mut bench = Bench::new();
    let mut check = |value: Option<&[u8]>, codes: &[&'static str]| {
        assert_eq!(
            bench.judge_bytes(Some(b"GPU-1"), value, EVENT_MS),
            invalid(codes)
        );
    };
    check(None, &["missing_value"]);
    check(Some(b""), &["malformed_json"]);
    check(Some(b"\xff\xfe{}"), &["not_utf8"]);
    check(Some(b"[]"), &["not_an_object"]);
    check(Some(&vec![b' '; 262_145]), &["record_too_large"]);
    check(Some(&vec![b'x'; 10 * 1024 * 1024]), &["record_too_large"]);
    check(Some(&vec![b' '; 262_144]), &["malformed_json"]);
    check(Some(&vec![b'['; 100_000]), &["malformed_json", "too_deep"]);
}

#[test]
fn nesting_that_readers_do_not_follow_is_refused_even_in_an_unknown_field() {
    let nested = |depth: usize| {
        with(
            FULL_1_1,
            "/trace_id",
            &format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        )
    };
    assert_eq!(judge(&nested(MAX_DEPTH - 1)), valid(&[]));
    assert_eq!(judge(&nested(MAX_DEPTH)), invalid(&["too_deep"]));
}

#[test]
fn event_time_is_held_against_the_append_time() {
    let at = |age_ms: i64| Bench::new().judge_at(FULL_1_1, EVENT_MS + age_ms);
    assert_eq!(at(60_000), valid(&[]));
    assert_eq!(at(60_001), valid(&["late"]));
    assert_eq!(at(3_600_000), valid(&["late"]));
    assert_eq!(at(3_600_001), invalid(&["timestamp_too_old"]));
    assert_eq!(at(-300_000), valid(&[]));
    assert_eq!(at(-300_001), invalid(&["timestamp_in_future"]));
    for text in [
        "\"yesterday\"",
        "\"\"",
        "\"2026-02-11\"",
        "\"2026-02-30T00:00:00Z\"",
    ] {
        assert_eq!(
            judge(&with(FULL_1_1, "/timestamp", text)),
            invalid(&["invalid_timestamp"])
        );
    }
    assert_eq!(
        judge(&with(FULL_1_1, "/timestamp", "1770805800")),
        invalid(&["wrong_type"])
    );
}

/// Fact 8: power above TDP is normal, and Blackwell takes more than a kilowatt.
#[test]
fn power_that_real_gpus_draw_is_valid_and_not_even_odd() {
    let check = |model: &str, power: &str, expected: Outcome| {
        let text = with(
            &with_metric("power_usage_w", power),
            "/gpu/name",
            &format!("\"{model}\""),
        )
        .replace("\"sm_clock_mhz\":1755", "\"sm_clock_mhz\":1410");
        assert_eq!(judge(&text), expected, "{model} {power}");
    };
    check("NVIDIA A100-SXM4-80GB", "442", valid(&[]));
    check("NVIDIA A100-SXM4-80GB", "600", valid(&[]));
    check("NVIDIA B200", "1100", valid(&[]));
    check("NVIDIA GB300", "1600", valid(&[]));
    check("NVIDIA A100-SXM4-80GB", "900", valid(&["out_of_range"]));
    check("Tesla T4", "300", valid(&["out_of_range"]));
    check("NVIDIA H100 PCIe", "650", valid(&["out_of_range"]));
    check("NVIDIA H100 80GB HBM3", "650", valid(&[]));
    check("A model of next year", "1900", valid(&[]));
    check("NVIDIA B200", "2000.5", invalid(&["out_of_range"]));
    check("NVIDIA B200", "-0.5", invalid(&["out_of_range"]));
}

#[test]
fn what_can_not_be_is_invalid() {
    let check = |name: &str, value: &str, expected: Outcome| {
        assert_eq!(judge(&with_metric(name, value)), expected, "{name} {value}");
    };
    check("gpu_temp_c", "-20", valid(&[]));
    check("gpu_temp_c", "-20.5", invalid(&["out_of_range"]));
    check("gpu_temp_c", "131", invalid(&["out_of_range"]));
    check("gpu_temp_c", "1e999", invalid(&["not_finite"]));
    check("gpu_temp_c", "-1e999", invalid(&["not_finite"]));
    check("gpu_temp_c", "\"NaN\"", invalid(&["wrong_type"]));
    check("gpu_temp_c", "NaN", invalid(&["malformed_json"]));
    check("gpu_temp_c", "null", valid(&[]));
    check("sm_active_pct", "100.5", valid(&[]));
    check("sm_active_pct", "100.6", invalid(&["out_of_range"]));
    check("ecc_sbe_aggregate", "-1", invalid(&["negative_counter"]));
    check("ecc_sbe_aggregate", "55000000000", valid(&[]));
    check("row_remap_failure", "2", invalid(&["out_of_range"]));
    check("mem_clock_mhz", "15001", invalid(&["out_of_range"]));
    check("sm_clock_mhz", "2179", valid(&["out_of_range"]));
}

/// Fact 4: DCGM's blanks are huge numbers.
#[test]
fn a_blank_sentinel_is_no_value_and_no_fault() {
    for value in [
        "9223372036854775794",
        "2147483632",
        "140737488355328.0",
        "\"<<<NOT_SUPPORTED>>>\"",
    ] {
        assert_eq!(
            judge(&with_metric("memory_temp_c", value)),
            valid(&["blank"]),
            "{value}"
        );
    }
}

/// Fact 6: idle, application clocks and the power cap are bits, too.
#[test]
fn throttle_reasons_are_a_mask_that_is_passed_on() {
    for value in ["0", "1", "2", "4", "256", "511", "232"] {
        assert_eq!(judge(&with_metric("throttle_reasons", value)), valid(&[]));
    }
}

#[test]
fn a_repeat_is_a_duplicate_also_beside_other_reasons() {
    let mut bench = Bench::new();
    assert_eq!(bench.judge_at(FULL_1_1, EVENT_MS), valid(&[]));
    assert_eq!(
        bench.judge_at(FULL_1_1, EVENT_MS + 1),
        invalid(&["duplicate"])
    );
    assert_eq!(
        bench.judge_at(FULL_1_1, EVENT_MS + 3_600_001),
        invalid(&["timestamp_too_old", "duplicate"])
    );
    let next = FULL_1_1.replace("\"sequence\":4711", "\"sequence\":4713");
    assert_eq!(bench.judge_at(&next, EVENT_MS), valid(&["sequence_gap"]));
    let restarted = FULL_1_1
        .replace("\"sequence\":4711", "\"sequence\":1")
        .replace("5b1f0c2e", "ffffffff");
    assert_eq!(
        bench.judge_at(&restarted, EVENT_MS),
        valid(&["collector_restart"])
    );
    assert_eq!(bench.judge_at(FULL_1_0, EVENT_MS), valid(&[]));
    assert_eq!(bench.judge_at(FULL_1_0, EVENT_MS), invalid(&["duplicate"]));
}

#[test]
fn an_invalid_record_leaves_no_trace() {
    let mut bench = Bench::new();
    let broken = with_metric("gpu_temp_c", "999");
    for _ in 0..2 {
        assert_eq!(
            bench.judge_at(&broken, EVENT_MS),
            invalid(&["out_of_range"])
        );
    }
    assert!(bench.ledger.is_empty());
    assert_eq!(bench.judge_at(FULL_1_1, EVENT_MS), valid(&[]));
}

#[test]
fn records_that_need_a_second_look_are_judged_alike() {
    let escaped = FULL_1_1.replace("GPU-604ac76c", "GPU\\u002d604ac76c");
    let mut bench = Bench::new();
    assert_eq!(bench.judge_at(&escaped, EVENT_MS), valid(&[]));
    assert_eq!(bench.judge_at(FULL_1_1, EVENT_MS), invalid(&["duplicate"]));
    let largest = FULL_1_1.replace("4711", "18446744073709551615");
    assert_eq!(bench.judge_at(&largest, EVENT_MS), valid(&["sequence_gap"]));
    let reserved = FULL_1_1
        .replace("{\"schema", "{\"asset\":null,\"schema")
        .replace("4711", "4712");
    let mut bench = Bench::new();
    assert_eq!(bench.judge_at(&reserved, EVENT_MS), valid(&[]));
}
