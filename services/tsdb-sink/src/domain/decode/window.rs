//! A window's result (`gpu-metrics-1min`, `gpu-metrics-15min`) as a row.

use super::{check_uuid, not_readable};
use crate::domain::batch::{Batch, Way};
use crate::domain::letter::Unstorable;
use crate::domain::table::{HEADLINES, Statistic, Table};
use schema::{GaugeWindow, Text, ThrottleWindow, Timestamp, WindowSize};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What is stored of a `WindowAggregate`. Gauges and counters go into the row as the JSON that they are.
#[derive(Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "`window` and `window_start` are names on the wire"
)]
struct Window<'a> {
    #[serde(borrow)]
    gpu_uuid: Text<'a>,
    window: WindowSize,
    window_start: Timestamp,
    revision: u32,
    count: u64,
    first_timestamp: Timestamp,
    last_timestamp: Timestamp,
    #[serde(borrow)]
    metrics: &'a RawValue,
    #[serde(borrow)]
    counters: &'a RawValue,
    #[serde(default)]
    throttle: Option<ThrottleWindow>,
    #[serde(default)]
    xids: Vec<u32>,
}

/// The gauges with columns of their own, in the order of [`HEADLINES`].
#[derive(Deserialize)]
struct Headlines {
    gpu_temp_c: Option<GaugeWindow>,
    memory_temp_c: Option<GaugeWindow>,
    power_usage_w: Option<GaugeWindow>,
    sm_active_pct: Option<GaugeWindow>,
    sm_clock_mhz: Option<GaugeWindow>,
}

impl Headlines {
    fn in_order(self) -> [Option<GaugeWindow>; HEADLINES.len()] {
        [
            self.gpu_temp_c,
            self.memory_temp_c,
            self.power_usage_w,
            self.sm_active_pct,
            self.sm_clock_mhz,
        ]
    }
}

pub(super) fn decode(
    table: Table,
    value: &[u8],
    origin: (usize, i64),
    batch: &mut Batch,
) -> Result<(), Unstorable> {
    let window: Window<'_> = serde_json::from_slice(value).map_err(|error| not_readable(&error))?;
    if table.window() != Some(window.window) {
        return Err(Unstorable::of(
            "wrong_window",
            "window",
            "the window's size is not that of the topic",
        ));
    }
    check_uuid(&window.gpu_uuid)?;
    let headlines: Headlines =
        serde_json::from_str(window.metrics.get()).map_err(|error| not_readable(&error))?;
    let headlines = headlines.in_order();
    let throttle = window.throttle;
    // A correction replaces the row that is there; a first result finds none.
    let way = if window.revision == 0 {
        Way::Plain
    } else {
        Way::Merge
    };
    let gpu = batch.gpu(&window.gpu_uuid);
    batch.add((table, way), origin, (window.window_start, gpu), |fields| {
        fields.int4_of("revision", Some(window.revision))?;
        fields.int8_of("count", Some(window.count))?;
        fields.time("first_timestamp", Some(window.first_timestamp))?;
        fields.time("last_timestamp", Some(window.last_timestamp))?;
        for (gauge, (_, statistics)) in headlines.iter().zip(HEADLINES) {
            for statistic in statistics {
                fields.float8(gauge.map(|gauge| of_gauge(&gauge, *statistic)));
            }
        }
        fields.jsonb("metrics", Some(window.metrics.get()))?;
        fields.jsonb("counters", Some(window.counters.get()))?;
        fields.int8_of("throttle.reasons", throttle.map(|t| t.reasons))?;
        fields.int8_of("throttle.samples", throttle.map(|t| t.samples))?;
        fields.int8_of(
            "throttle.concern_samples",
            throttle.map(|t| t.concern_samples),
        )?;
        fields.int4_array_of("xids", &window.xids)
    })?;
    Ok(())
}

const fn of_gauge(gauge: &GaugeWindow, statistic: Statistic) -> f64 {
    match statistic {
        Statistic::Min => gauge.min,
        Statistic::Avg => gauge.mean,
        Statistic::Max => gauge.max,
        Statistic::P95 => gauge.p95,
    }
}
