//! Made-up records of `gpu-metrics-enriched`, and what a stage makes of a list of them.

use aggregator::Windows;
use aggregator::oracle::{self, Outcome};
use aggregator::stage::{Aggregator, FIFTEEN_MINUTES, INVALID, ONE_MINUTE};
use chassis::testing::{Emitted, Input, StageDriver};
use proptest::prelude::*;
use schema::{DeadLetter, Tick, Timestamp, WindowAggregate, topic};
use serde_json::{Value, json};

/// 2026-02-11T10:30:00Z, the start of a quarter.
pub(crate) const START: i64 = 1_770_805_800_000;

/// One partition, so that order is total.
pub(crate) const OUTPUTS: [i32; 3] = [1, 1, 1];

pub(crate) fn driver(windows: Windows) -> StageDriver<Aggregator> {
    StageDriver::new(Aggregator::new(windows), topic::ENRICHED.name, &OUTPUTS)
}

pub(crate) fn uuid(gpu: usize) -> String {
    format!("GPU-8f3c2a10-1b7e-4c55-9d20-{gpu:012x}")
}

fn time(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}

/// A reading with these metrics by group.
#[expect(clippy::needless_pass_by_value, reason = "it is made for the call")]
pub(crate) fn reading(gpu: usize, at: i64, ingest: i64, metrics: Value) -> Value {
    json!({
        "schema_version": "1.1",
        "event_type": "gpu_metric_sample",
        "timestamp": time(at),
        "gpu": {"gpu_uuid": uuid(gpu)},
        "metrics": metrics,
        "validation_timestamp": time(ingest),
        "validation_version": "1",
        "quality_flags": [],
        "asset_status": "unknown",
    })
}

/// A reading with just a temperature.
pub(crate) fn temperature(gpu: usize, at: i64, ingest: i64, celsius: f64) -> Value {
    reading(gpu, at, ingest, json!({"health": {"gpu_temp_c": celsius}}))
}

pub(crate) fn tick(at: i64) -> Value {
    serde_json::to_value(Tick::at(Timestamp::from_millis(at))).unwrap()
}

/// Records of partition 0 with these values, in order.
pub(crate) fn inputs(values: impl IntoIterator<Item = Value>) -> Vec<Input> {
    (0..)
        .zip(values)
        .map(|(offset, value)| Input {
            offset,
            key: value["gpu"]["gpu_uuid"]
                .as_str()
                .map(|uuid| uuid.as_bytes().to_vec()),
            value: Some(value.to_string().into_bytes()),
            ..Input::default()
        })
        .collect()
}

/// What the oracle says of `inputs`.
pub(crate) fn expected(inputs: &[Input], windows: &Windows) -> Outcome {
    let records: Vec<_> = inputs
        .iter()
        .map(|input| oracle::Record {
            partition: input.partition,
            offset: input.offset,
            key: input.key.as_deref(),
            value: input.value.as_deref(),
        })
        .collect();
    oracle::aggregate(&records, windows)
}

/// Windows as text, in the order of emission, and the offsets of dead letters.
pub(crate) fn shown(emitted: &[Emitted]) -> (Vec<String>, Vec<i64>) {
    let mut windows = Vec::new();
    let mut dead = Vec::new();
    for record in emitted {
        let value = record.value.as_deref().unwrap();
        if record.output == INVALID.0 {
            let letter: DeadLetter = serde_json::from_slice(value).unwrap();
            dead.push(letter.source.offset);
        } else {
            let text = str::from_utf8(value).unwrap();
            let window: WindowAggregate = serde_json::from_str(text).unwrap();
            let output = match window.window {
                schema::WindowSize::OneMinute => ONE_MINUTE,
                schema::WindowSize::FifteenMinutes => FIFTEEN_MINUTES,
            };
            assert_eq!(record.output, output.0);
            assert_eq!(record.key.as_deref(), Some(window.gpu_uuid.as_bytes()));
            windows.push(text.to_owned());
        }
    }
    (windows, dead)
}

/// The same of the oracle's.
pub(crate) fn shown_by_oracle(outcome: &Outcome) -> (Vec<String>, Vec<i64>) {
    let windows = outcome
        .windows
        .iter()
        .map(|window| serde_json::to_string(window).unwrap())
        .collect();
    let mut dead: Vec<i64> = outcome
        .too_late
        .iter()
        .chain(&outcome.unreadable)
        .map(|place| place.1)
        .collect();
    dead.sort_unstable();
    (windows, dead)
}

/// A number as sensors give them, and as they should not.
fn level() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (20..90_i32).prop_map(f64::from),
        3 => (0..1_000_i32).prop_map(|tenths| f64::from(tenths) / 10.0),
        1 => Just(0.0),
        1 => Just(-0.0),
        1 => -1e3..1e3,
        1 => prop_oneof![Just(f64::MAX), Just(1e-300), Just(1e17), Just(f64::MIN)],
    ]
}

/// Counts grow by chance only, so that resets are frequent.
fn count() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0..6_i32).prop_map(f64::from),
        2 => (0..1_000_000_000_000_i64).prop_map(|count| count as f64),
        1 => 0.0..10.0,
    ]
}

fn metrics() -> impl Strategy<Value = Value> {
    let maybe = |value: BoxedStrategy<f64>| proptest::option::weighted(0.7, value);
    (
        maybe(level().boxed()),
        maybe(level().boxed()),
        maybe((0..300_i32).prop_map(f64::from).boxed()),
        maybe(count().boxed()),
        maybe(count().boxed()),
        maybe(prop_oneof![Just(0.0), Just(31.0), Just(79.0), Just(1.5)].boxed()),
        proptest::option::weighted(0.2, (0..3_i32, 0..3_i32)),
        proptest::option::weighted(0.2, 0..5_i32),
    )
        .prop_map(
            |(temperature, clock, throttle, ecc, energy, xid, xid_counts, banks)| {
                let mut metrics = json!({
                    "health": {"gpu_temp_c": temperature, "throttle_reasons": throttle, "throttle_reasons_decoded": ["x"]},
                    "memory": {"ecc_sbe_volatile": ecc, "row_remap_pending": 0},
                    "clocks": {"sm_clock_mhz": clock},
                    "power": {"total_energy_mj": energy, "enforced_limit_w": 700.0},
                    "cooling": null,
                    "errors": {"last_xid": xid, "recovery_action": 1},
                    "unknown_group": {"a": [1, {"b": null}]},
                });
                if let Some((first, second)) = xid_counts {
                    metrics["errors"]["xid_counts"] = json!({"79": first, "31": second, "none": 4});
                }
                if let Some(banks) = banks {
                    metrics["memory"]["bank_remap_avail"] = json!({"max": 640, "none": banks, "new": 1});
                }
                metrics
            },
        )
}

#[derive(Clone, Debug)]
enum Step {
    Tick {
        wait: i64,
    },
    Reading {
        wait: i64,
        gpu: usize,
        lag: i64,
        metrics: Value,
        labels: (u8, u8, u8),
    },
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![
        6 => 0..2_000_i64,
        4 => 0..40_000_i64,
        1 => 0..400_000_i64,
        1 => Just(0),
    ];
    // How far event time is behind ingest time: mostly little, at times ahead, late, or far too late.
    let lag = prop_oneof![
        8 => 0..5_000_i64,
        3 => 0..60_000_i64,
        2 => 0..600_000_i64,
        1 => 0..3_000_000_i64,
        2 => -120_000..0_i64,
        1 => Just(0),
    ];
    prop_oneof![
        1 => wait.clone().prop_map(|wait| Step::Tick { wait }),
        8 => (wait, 0..3_usize, lag, metrics(), (0..3_u8, 0..3_u8, 0..2_u8))
            .prop_map(|(wait, gpu, lag, metrics, labels)| Step::Reading { wait, gpu, lag, metrics, labels }),
    ]
}

/// A stretch of some partition's log.
pub(crate) fn any_inputs() -> impl Strategy<Value = Vec<Input>> {
    proptest::collection::vec(step(), 1..120).prop_map(|steps| {
        let mut now = START;
        let values = steps.into_iter().map(|step| match step {
            Step::Tick { wait } => {
                now += wait;
                tick(now)
            }
            Step::Reading {
                wait,
                gpu,
                lag,
                metrics,
                labels: (model, host, asset),
            } => {
                now += wait;
                // A tenth of a second, so that equal event times are frequent.
                let at = (now - lag) / 100 * 100;
                let mut value = reading(gpu, at, now, metrics);
                if model > 0 {
                    value["gpu"]["name"] = json!(format!("model \"{model}\""));
                }
                if host > 0 {
                    value["host"] = json!({"hostname": format!("node-{host}"), "rack": "r0"});
                }
                if asset > 0 {
                    value["asset"] = json!({"model": "M", "rack_id": "r1", "cluster_id": "c"});
                }
                value
            }
        });
        inputs(values.collect::<Vec<_>>())
    })
}

/// Settings under which a short log reaches every branch, and the defaults.
pub(crate) fn any_windows() -> impl Strategy<Value = Windows> {
    prop_oneof![
        Just(Windows::default()),
        Just(Windows {
            grace_ms: 30_000,
            correction_horizon_ms: 300_000,
            forget_after_ms: 1_200_000,
        }),
        Just(Windows {
            grace_ms: 0,
            correction_horizon_ms: 0,
            forget_after_ms: 60_000,
        }),
        Just(Windows {
            grace_ms: 10_000,
            correction_horizon_ms: 1_800_000,
            forget_after_ms: 3_600_000,
        }),
    ]
}
