//! The windows of a list of records, worked out plainly: what the service must agree with.
//!
//! Nothing here is shared with the streaming code but the settings. Every result is computed from the list of all readings
//! accepted so far, every time it is needed. Slow, and meant to be read.
//!
//! The service never calls it. It is public, and stands here instead of among the tests, because the end-to-end tests
//! hold the running fleet against it, too.

use crate::domain::window::Windows;
use schema::{
    CONCERN_MASK, CounterWindow, EnrichedEvent, GaugeWindow, METRICS, MetricKind, ThrottleWindow,
    Tick, Timestamp, WindowAggregate, WindowSize,
};
use std::collections::{BTreeMap, BTreeSet};

/// One record of `gpu-metrics-enriched`.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key; none for a tick.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// What comes of a list of records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Every window emitted, corrections included, in the order of emission within each partition.
    pub windows: Vec<WindowAggregate>,
    /// Partition and offset of readings beyond correction.
    pub too_late: Vec<(i32, i64)>,
    /// Partition and offset of records that are neither reading nor tick.
    pub unreadable: Vec<(i32, i64)>,
}

impl Outcome {
    /// The last revision of each window, by GPU, size and start.
    pub fn latest(&self) -> BTreeMap<(String, WindowSize, Timestamp), WindowAggregate> {
        let mut latest = BTreeMap::new();
        for window in &self.windows {
            let key = (window.gpu_uuid.clone(), window.window, window.window_start);
            latest.insert(key, window.clone());
        }
        latest
    }
}

/// Aggregates `records`, which must be in the order of their offsets within each partition.
pub fn aggregate(records: &[Record<'_>], windows: &Windows) -> Outcome {
    let mut outcome = Outcome::default();
    let partitions: BTreeSet<i32> = records.iter().map(|record| record.partition).collect();
    for partition in partitions {
        let mut state = Partition {
            windows: *windows,
            stream_time: i64::MIN,
            readings: BTreeMap::new(),
            revisions: BTreeMap::new(),
        };
        for record in records.iter().filter(|r| r.partition == partition) {
            state.record(record, &mut outcome);
        }
    }
    outcome
}

/// A reading as the oracle sees it.
#[derive(Clone, Debug)]
struct Reading {
    time: i64,
    offset: i64,
    /// Every number by name.
    metrics: BTreeMap<String, f64>,
    xid_counts: BTreeMap<u32, f64>,
    /// Model, host name, rack, cluster.
    labels: [Option<String>; 4],
}

/// A window of a GPU.
type Window = (i64, WindowSize, String);

struct Partition {
    windows: Windows,
    stream_time: i64,
    /// All that were accepted, by GPU.
    readings: BTreeMap<String, Vec<Reading>>,
    /// What was emitted, with its revision.
    revisions: BTreeMap<Window, u32>,
}

const SIZES: [WindowSize; 2] = [WindowSize::OneMinute, WindowSize::FifteenMinutes];

fn end_of(time: i64, size: WindowSize) -> i64 {
    let size = size.as_millis();
    time.div_euclid(size) * size + size
}

impl Partition {
    fn record(&mut self, record: &Record<'_>, outcome: &mut Outcome) {
        let place = (record.partition, record.offset);
        let value = record.value.unwrap_or_default();
        if record.key.is_none() {
            match serde_json::from_slice::<Tick>(value) {
                Ok(tick) => self.advance(tick.validation_timestamp.as_millis(), outcome),
                Err(_) => outcome.unreadable.push(place),
            }
            return;
        }
        let Ok(event) = serde_json::from_slice::<EnrichedEvent<'_>>(value) else {
            outcome.unreadable.push(place);
            return;
        };
        self.advance(event.validation_timestamp.as_millis(), outcome);
        let closes_at =
            end_of(event.timestamp.as_millis(), WindowSize::OneMinute) + self.windows.grace_ms;
        if self.stream_time >= closes_at + self.windows.correction_horizon_ms {
            outcome.too_late.push(place);
            return;
        }
        let gpu = event.gpu.gpu_uuid.to_string();
        let reading = Reading::of(&event, record.offset);
        let closed: Vec<Window> = self
            .candidates(&gpu, &reading)
            .into_iter()
            // A result looks at nothing after its window's end.
            .filter(|window| window.0 > reading.time && self.is_closed(window.0))
            .collect();
        let before: Vec<Option<String>> = closed.iter().map(|w| self.shown(w)).collect();
        self.readings.entry(gpu).or_default().push(reading);
        for (window, before) in closed.into_iter().zip(before) {
            if self.shown(&window) != before {
                *self.revisions.entry(window.clone()).or_insert(0) += 1;
                outcome.windows.extend(self.result(&window));
            }
        }
    }

    /// Every window of the GPU that a reading could change: all of them. Minutes first, earliest first.
    fn candidates(&self, gpu: &str, reading: &Reading) -> Vec<Window> {
        let mut windows = BTreeSet::new();
        let readings = self.readings.get(gpu).into_iter().flatten();
        for reading in readings.chain([reading]) {
            for size in SIZES {
                windows.insert((size, end_of(reading.time, size)));
            }
        }
        windows
            .into_iter()
            .map(|(size, end)| (end, size, gpu.to_owned()))
            .collect()
    }

    fn is_closed(&self, end: i64) -> bool {
        self.stream_time != i64::MIN && end + self.windows.grace_ms <= self.stream_time
    }

    /// Emits what closes when stream time comes to `ingest`.
    fn advance(&mut self, ingest: i64, outcome: &mut Outcome) {
        let mut open = BTreeSet::new();
        for (gpu, readings) in &self.readings {
            for reading in readings {
                for size in SIZES {
                    let end = end_of(reading.time, size);
                    if !self.is_closed(end) {
                        open.insert((end, size, gpu.clone()));
                    }
                }
            }
        }
        self.stream_time = self.stream_time.max(ingest);
        for window in open {
            if self.is_closed(window.0) {
                outcome.windows.extend(self.result(&window));
            }
        }
    }

    fn shown(&self, window: &Window) -> Option<String> {
        self.result(window)
            .and_then(|result| serde_json::to_string(&result).ok())
    }

    /// All readings of the GPU, by event time and then offset.
    fn history(&self, gpu: &str) -> Vec<&Reading> {
        let mut readings: Vec<&Reading> = self.readings.get(gpu).into_iter().flatten().collect();
        readings.sort_by_key(|reading| (reading.time, reading.offset));
        readings
    }

    /// The window's result as of now; none when it has no readings.
    fn result(&self, window: &Window) -> Option<WindowAggregate> {
        let (end, size, gpu) = window;
        let start = end - size.as_millis();
        let history = self.history(gpu);
        let from = history.iter().position(|r| r.time >= start)?;
        let to = history.iter().rposition(|r| r.time < *end)? + 1;
        if from >= to {
            return None;
        }
        let inside = &history[from..to];
        let label = |at: usize| inside.iter().rev().find_map(|r| r.labels[at].clone());
        let mut metrics = BTreeMap::new();
        let mut counters = BTreeMap::new();
        for (name, kind) in kinds() {
            let values: Vec<f64> = inside
                .iter()
                .filter_map(|reading| reading.metrics.get(&name).copied())
                .collect();
            if values.is_empty() {
                continue;
            }
            match kind {
                MetricKind::Gauge | MetricKind::Flag | MetricKind::Limit => {
                    metrics.insert(name, level(&values));
                }
                MetricKind::Counter => {
                    let counter = self.counter(&name, &history, from, to);
                    counters.insert(name, counter);
                }
                MetricKind::Bitmask | MetricKind::Code => {}
            }
        }
        Some(WindowAggregate {
            gpu_uuid: gpu.clone(),
            window: *size,
            window_start: Timestamp::from_millis(start),
            window_end: Timestamp::from_millis(*end),
            revision: self.revisions.get(window).copied().unwrap_or(0),
            count: inside.len() as u64,
            first_timestamp: Timestamp::from_millis(inside[0].time),
            last_timestamp: Timestamp::from_millis(inside[inside.len() - 1].time),
            model: label(0),
            hostname: label(1),
            rack: label(2),
            cluster: label(3),
            metrics,
            counters,
            throttle: throttle(inside),
            xids: self.xids(&history, from, to),
        })
    }

    /// The reading before `history[at]` that has the metric, unless it is too far back.
    fn before(&self, name: &str, history: &[&Reading], at: usize) -> Option<f64> {
        let before = history[..at]
            .iter()
            .rev()
            .find(|reading| reading.metrics.contains_key(name))?;
        let is_near = history[at].time - before.time <= self.windows.forget_after_ms;
        is_near.then(|| before.metrics[name])
    }

    fn counter(&self, name: &str, history: &[&Reading], from: usize, to: usize) -> CounterWindow {
        // The increments of each minute, which are then added up.
        let mut minutes: BTreeMap<i64, f64> = BTreeMap::new();
        let mut resets = 0;
        let mut last = 0.0;
        for at in from..to {
            let Some(value) = history[at].metrics.get(name).copied() else {
                continue;
            };
            last = value;
            let increment = match self.before(name, history, at) {
                None => 0.0,
                Some(before) if value < before => {
                    resets += 1;
                    value
                }
                Some(before) => value - before,
            };
            *minutes
                .entry(end_of(history[at].time, WindowSize::OneMinute))
                .or_insert(0.0) += increment;
        }
        let mut increment = 0.0;
        for minute in minutes.values() {
            increment += minute;
        }
        CounterWindow {
            increment: finite(increment),
            resets,
            last,
        }
    }

    fn xids(&self, history: &[&Reading], from: usize, to: usize) -> Vec<u32> {
        let mut xids = BTreeSet::new();
        for at in from..to {
            let reading = history[at];
            let sticky = reading.metrics.get("last_xid").copied();
            if let (Some(value), Some(before)) = (sticky, self.before("last_xid", history, at))
                && value.to_bits() != before.to_bits()
                && value.fract() == 0.0
                && (1.0..=f64::from(u32::MAX)).contains(&value)
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a whole number in the range of u32"
                )]
                let code = value as u32;
                xids.insert(code);
            }
            if at == 0 || reading.time - history[at - 1].time > self.windows.forget_after_ms {
                continue;
            }
            for (code, count) in &reading.xid_counts {
                let before = history[at - 1].xid_counts.get(code).copied();
                if *count > before.unwrap_or(0.0) {
                    xids.insert(*code);
                }
            }
        }
        xids.into_iter().collect()
    }
}

impl Reading {
    fn of(event: &EnrichedEvent<'_>, offset: i64) -> Self {
        let mut metrics = BTreeMap::new();
        event.metrics.for_each(|index, value| {
            metrics.insert(METRICS[index].name.to_owned(), value);
        });
        let banks = event
            .metrics
            .memory
            .as_ref()
            .and_then(|memory| memory.bank_remap_avail.as_ref());
        if let Some(banks) = banks {
            for (name, value) in [
                ("bank_remap_max", banks.max),
                ("bank_remap_high", banks.high),
                ("bank_remap_partial", banks.partial),
                ("bank_remap_low", banks.low),
                ("bank_remap_none", banks.none),
            ] {
                if let Some(value) = value {
                    metrics.insert(name.to_owned(), value);
                }
            }
        }
        let mut xid_counts = BTreeMap::new();
        let counts = event
            .metrics
            .errors
            .as_ref()
            .and_then(|errors| errors.xid_counts.as_ref());
        for (name, count) in counts.into_iter().flatten() {
            if let Ok(code) = name.parse::<u32>()
                && code > 0
                && code.to_string() == name.as_str()
            {
                xid_counts.insert(code, *count);
            }
        }
        let owned = |text: Option<&schema::Text<'_>>| text.map(|text| text.as_str().to_owned());
        let (host, asset) = (event.host.as_ref(), event.asset.as_ref());
        let model = event.gpu.name.as_ref();
        Self {
            time: event.timestamp.as_millis(),
            offset,
            metrics,
            xid_counts,
            labels: [
                owned(model.or_else(|| asset?.model.as_ref())),
                owned(host.and_then(|host| host.hostname.as_ref())),
                owned(
                    asset
                        .and_then(|asset| asset.rack_id.as_ref())
                        .or_else(|| host?.rack.as_ref()),
                ),
                owned(
                    asset
                        .and_then(|asset| asset.cluster_id.as_ref())
                        .or_else(|| host?.cluster.as_ref()),
                ),
            ],
        }
    }
}

fn kinds() -> impl Iterator<Item = (String, MetricKind)> {
    let banks = ["max", "high", "partial", "low", "none"]
        .map(|member| (format!("bank_remap_{member}"), MetricKind::Gauge));
    METRICS
        .iter()
        .map(|metric| (metric.name.to_owned(), metric.kind))
        .chain(banks)
}

fn level(values: &[f64]) -> GaugeWindow {
    let mut sum = 0.0;
    for value in values {
        sum += value;
    }
    let n = values.len();
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Nearest rank: the smallest value that at least so many of a hundred are not above.
    let percentile = |q: usize| {
        (1..=n)
            .find(|rank| rank * 100 >= q * n)
            .map_or(sorted[n - 1], |rank| sorted[rank - 1])
    };
    GaugeWindow {
        count: n as u64,
        min: sorted[0],
        max: sorted[n - 1],
        mean: finite(sum / n as f64),
        p50: percentile(50),
        p95: percentile(95),
        p99: percentile(99),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bits of a mask; what is negative or too large for one is clamped"
)]
fn throttle(inside: &[&Reading]) -> Option<ThrottleWindow> {
    let masks: Vec<u64> = inside
        .iter()
        .filter_map(|reading| reading.metrics.get("throttle_reasons"))
        .map(|mask| *mask as u64)
        .collect();
    if masks.is_empty() {
        return None;
    }
    Some(ThrottleWindow {
        reasons: masks.iter().fold(0, |all, mask| all | mask),
        samples: masks.len() as u64,
        concern_samples: masks
            .iter()
            .filter(|mask| **mask & CONCERN_MASK != 0)
            .count() as u64,
    })
}

fn finite(value: f64) -> f64 {
    value.clamp(f64::MIN, f64::MAX)
}
