//! A window's result as JSON: the bytes that `serde_json` writes for a [`schema::WindowAggregate`], without making one.
//!
//! A window has some sixty named results; a map of them with a `String` each would cost more than the numbers do.

use super::column::{COLUMN_COUNT, COLUMNS, COUNTERS, LEVELS, columns_in};
use super::fold::Fold;
use super::gpu::{Gpu, LabelSets, WindowKey};
use super::time_text::TimeText;
use schema::{CounterWindow, GaugeWindow, ThrottleWindow, WindowSize};

/// Writes results.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// Columns with their names, by name, as a map has them.
    levels: Vec<(usize, Vec<u8>)>,
    counters: Vec<(usize, Vec<u8>)>,
    times: TimeText,
}

impl Default for Renderer {
    fn default() -> Self {
        let named = |mask, first: &str| {
            let mut columns: Vec<_> = columns_in(mask)
                .map(|column| {
                    let name = COLUMNS[column];
                    (column, format!("\"{name}\":{{\"{first}\":").into_bytes())
                })
                .collect();
            columns.sort_by_key(|(column, _)| COLUMNS[*column]);
            columns
        };
        Self {
            levels: named(LEVELS, "count"),
            counters: named(COUNTERS, "increment"),
            times: TimeText::default(),
        }
    }
}

impl Renderer {
    /// Appends the result of the window that `fold` has just folded.
    pub fn window(
        &mut self,
        out: &mut Vec<u8>,
        gpu: &Gpu,
        (end, size): WindowKey,
        revision: u32,
        fold: &mut Fold,
    ) {
        out.extend_from_slice(b"{\"gpu_uuid\":");
        text(out, &gpu.uuid);
        out.extend_from_slice(match size {
            WindowSize::OneMinute => b",\"window\":\"1m\"",
            WindowSize::FifteenMinutes => b",\"window\":\"15m\"",
        });
        self.time(out, b",\"window_start\":\"", end - size.as_millis());
        self.time(out, b"\",\"window_end\":\"", end);
        out.extend_from_slice(b"\",\"revision\":");
        integer(out, u64::from(revision));
        out.extend_from_slice(b",\"count\":");
        integer(out, fold.count);
        self.time(out, b",\"first_timestamp\":\"", fold.first);
        self.time(out, b"\",\"last_timestamp\":\"", fold.last);
        out.push(b'"');
        labels(out, fold, &gpu.labels);
        self.levels(out, fold);
        self.counters(out, fold);
        if let Some(throttle) = fold.throttle {
            throttled(out, throttle);
        }
        if !fold.xids.is_empty() {
            let mut before: &[u8] = b",\"xids\":[";
            for xid in &fold.xids {
                out.extend_from_slice(before);
                integer(out, u64::from(*xid));
                before = b",";
            }
            out.push(b']');
        }
        out.push(b'}');
    }

    fn time(&mut self, out: &mut Vec<u8>, before: &[u8], millis: i64) {
        out.extend_from_slice(before);
        self.times.write(out, millis);
    }

    fn levels(&self, out: &mut Vec<u8>, fold: &mut Fold) {
        out.extend_from_slice(b",\"metrics\":{");
        let mut is_first = true;
        for (column, name) in &self.levels {
            if fold.levels >> column & 1 == 0 {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            out.extend_from_slice(name);
            level(out, &fold.level(*column));
        }
        out.push(b'}');
    }

    fn counters(&self, out: &mut Vec<u8>, fold: &Fold) {
        out.extend_from_slice(b",\"counters\":{");
        let mut is_first = true;
        for (column, name) in &self.counters {
            if fold.counters >> column & 1 == 0 {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            out.extend_from_slice(name);
            let CounterWindow {
                increment,
                resets,
                last,
            } = fold.counter(*column);
            number(out, increment);
            out.extend_from_slice(b",\"resets\":");
            integer(out, u64::from(resets));
            out.extend_from_slice(b",\"last\":");
            number(out, last);
            out.push(b'}');
        }
        out.push(b'}');
    }
}

fn labels(out: &mut Vec<u8>, fold: &Fold, sets: &LabelSets) {
    const NAMES: [&[u8]; 4] = [
        b",\"model\":",
        b",\"hostname\":",
        b",\"rack\":",
        b",\"cluster\":",
    ];
    for (at, (name, number)) in NAMES.into_iter().zip(fold.labels).enumerate() {
        let label = number
            .and_then(|number| sets.get(number))
            .and_then(|labels| labels[at].as_deref());
        if let Some(label) = label {
            out.extend_from_slice(name);
            text(out, label);
        }
    }
}

fn level(out: &mut Vec<u8>, level: &GaugeWindow) {
    let GaugeWindow {
        count,
        min,
        max,
        mean,
        p50,
        p95,
        p99,
    } = *level;
    integer(out, count);
    let named: [(&[u8], f64); 6] = [
        (b",\"min\":", min),
        (b",\"max\":", max),
        (b",\"mean\":", mean),
        (b",\"p50\":", p50),
        (b",\"p95\":", p95),
        (b",\"p99\":", p99),
    ];
    // Of a handful of readings most results are the same number, and writing one costs more than copying it.
    let mut written: [(u64, usize, usize); 6] = [(0, 0, 0); 6];
    for (at, (name, value)) in named.into_iter().enumerate() {
        out.extend_from_slice(name);
        let bits = value.to_bits();
        let from = out.len();
        match written[..at].iter().find(|other| other.0 == bits) {
            Some((_, from, to)) => out.extend_from_within(*from..*to),
            None => number(out, value),
        }
        written[at] = (bits, from, out.len());
    }
    out.push(b'}');
}

fn throttled(out: &mut Vec<u8>, throttle: ThrottleWindow) {
    out.extend_from_slice(b",\"throttle\":{\"reasons\":");
    integer(out, throttle.reasons);
    out.extend_from_slice(b",\"samples\":");
    integer(out, throttle.samples);
    out.extend_from_slice(b",\"concern_samples\":");
    integer(out, throttle.concern_samples);
    out.push(b'}');
}

fn integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// As `serde_json` writes a number with a fraction.
fn number(out: &mut Vec<u8>, value: f64) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what does not come back the same is written otherwise"
    )]
    let whole = value as i32;
    if f64::from(whole).to_bits() == value.to_bits() {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        out.extend_from_slice(b".0");
        return;
    }
    let written = serde_json::to_writer(out, &value);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

fn text(out: &mut Vec<u8>, value: &str) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

const _: () = assert!(COLUMN_COUNT <= u8::MAX as usize);
