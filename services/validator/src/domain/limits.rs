//! Which values can be, and which values a model of GPU gives.
//!
//! Two ranges a metric. Outside the general one a value is physically impossible, so that the record is broken. Inside
//! it, but outside what the model can do, a value is odd and gets a flag: the model table may be wrong, or the sensor.

use schema::{METRIC_COUNT, METRICS, MetricDef, MetricKind};

/// The least and the greatest value, both allowed.
pub type Range = (f64, f64);

/// One range a metric, by index into [`METRICS`].
pub type Ranges = [Range; METRIC_COUNT];

/// The limits against which records are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The longest value that is looked into, in bytes.
    pub record_max_bytes: usize,
    /// How far event time may be behind ingest time.
    pub too_old_after_ms: i64,
    /// How far event time may be ahead of ingest time.
    pub future_tolerance_ms: i64,
    /// From when on event time behind ingest time is late.
    pub late_after_ms: i64,
    /// What can be.
    pub general: Ranges,
    /// What the models do.
    pub models: Vec<Model>,
}

/// A model of GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What the configuration calls it.
    pub id: String,
    /// The words that its name must have, upper case.
    pub words: Vec<String>,
    /// What it can do: within the general ranges.
    pub ranges: Ranges,
}

impl Limits {
    /// The place in [`Limits::models`] of the model that `name` (`NVIDIA A100-SXM4-80GB`) tells of. Of several the one
    /// with most words is taken, then the first.
    ///
    /// Words end at anything but a letter or a digit, so that `B200` is not found in `GB200`.
    pub fn model(&self, name: &str) -> Option<usize> {
        let name: Vec<String> = name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_uppercase)
            .collect();
        let mut best: Option<usize> = None;
        for (index, model) in self.models.iter().enumerate() {
            let fits = model.words.iter().all(|word| name.contains(word));
            if fits && best.is_none_or(|best| self.models[best].words.len() < model.words.len()) {
                best = Some(index);
            }
        }
        best
    }

    /// The ranges of the model at place `model`; the general ones where none is known.
    #[inline]
    pub fn ranges(&self, model: Option<usize>) -> &Ranges {
        model.map_or(&self.general, |index| &self.models[index].ranges)
    }
}

/// Signed 64-bit counters end here.
const COUNTER_MAX: f64 = (1_u64 << 63) as f64;
/// The largest integer up to which doubles hold every one.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;

/// What can be, unless configured otherwise: every value that a sound sensor of any known GPU can give.
pub fn general_ranges() -> Ranges {
    std::array::from_fn(|index| general(&METRICS[index]))
}

fn general(metric: &MetricDef) -> Range {
    match metric.name {
        // Multiprocessors reach 2,520 MHz (L40S).
        "sm_clock_mhz" => (0.0, 3_500.0),
        // Differences of two temperatures. Hopper and later give their thresholds as offsets, too (-2, -5).
        "temp_limit_margin_c" | "slowdown_temp_c" | "shutdown_temp_c" => (-150.0, 150.0),
        // NVML: "may exceed 100% in certain cases".
        "fan_speed_pct" => (0.0, 200.0),
        // Generation 6 and 32 lanes are the most there is.
        "pcie_gen" | "pcie_gen_max" => (0.0, 16.0),
        "pcie_width" | "pcie_width_max" => (0.0, 64.0),
        "nvlink_links_up" => (0.0, 256.0),
        _ => by_kind(metric),
    }
}

fn by_kind(metric: &MetricDef) -> Range {
    match (metric.kind, metric.unit) {
        (MetricKind::Counter, _) => (0.0, COUNTER_MAX),
        (MetricKind::Flag, _) => (0.0, 1.0),
        (MetricKind::Bitmask, _) => (0.0, EXACT_MAX),
        (MetricKind::Code, _) => (0.0, f64::from(u32::MAX)),
        // Cold boots dip below zero; 130 is beyond every shutdown temperature.
        (_, "Cel") => (-20.0, 130.0),
        // GB300 has a limit of 1,400 W and boosts to 1,600.
        (_, "W") => (0.0, 2_000.0),
        // Averages of samples overshoot a little.
        (_, "%") => (0.0, 100.5),
        // Effective clocks of GDDR memory.
        (_, "MHz") => (0.0, 15_000.0),
        // 4 TiB; GB300 has 288 GiB.
        (_, "MiB") => (0.0, 4_194_304.0),
        // 10 TB/s; NVLink 5 has 1.8 for both directions.
        (_, "MB/s") => (0.0, 10_000_000.0),
        _ => (0.0, EXACT_MAX),
    }
}

/// The models that are known without configuration: id, words of the name, highest power limit in W, highest
/// multiprocessor clock in MHz (NVIDIA's mock profiles and data sheets).
pub const MODELS: [(&str, &[&str], f64, f64); 9] = [
    ("a100", &["A100"], 400.0, 1_410.0),
    ("h100", &["H100"], 700.0, 1_980.0),
    ("h100-pcie", &["H100", "PCIE"], 350.0, 1_755.0),
    ("h200", &["H200"], 700.0, 1_980.0),
    ("b200", &["B200"], 1_200.0, 2_100.0),
    ("gb200", &["GB200"], 1_200.0, 2_100.0),
    ("gb300", &["GB300"], 1_600.0, 2_200.0),
    ("l40s", &["L40S"], 350.0, 2_520.0),
    ("t4", &["T4"], 70.0, 1_590.0),
];

/// Power above the limit is normal: A100s with a limit of 400 W were seen at up to 600 (Acme, some 10^9 samples), 1.5
/// times the limit. A little above that a value says more about the sensor, or about a board with another limit.
pub const POWER_HEADROOM: f64 = 1.6;
/// The table's clocks are those of the default boards; variants differ by a few percent.
pub const CLOCK_HEADROOM: f64 = 1.1;

/// `range` made to lie within `bounds`; `bounds` itself where the two have nothing in common.
pub fn within(range: Range, bounds: Range) -> Range {
    let (min, max) = (range.0.max(bounds.0), range.1.min(bounds.1));
    if min < max { (min, max) } else { bounds }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::metric_index;

    #[test]
    fn every_metric_has_a_general_range() {
        for (metric, (min, max)) in METRICS.iter().zip(general_ranges()) {
            assert!(min < max && max.is_finite(), "{}", metric.name);
        }
    }

    #[test]
    fn readings_of_real_fleets_are_possible() {
        let general = general_ranges();
        let check = |name: &str, value: f64| {
            let (min, max) = general[metric_index(name).unwrap()];
            assert!((min..=max).contains(&value), "{name} {value}");
        };
        for power in [0.0, 61.8, 442.0, 600.0, 1_100.0, 1_600.0] {
            check("power_usage_w", power);
        }
        check("gpu_temp_c", -20.0);
        check("gpu_temp_c", 130.0);
        check("sm_clock_mhz", 2_520.0);
        check("mem_clock_mhz", 15_000.0);
        check("sm_active_pct", 100.5);
        check("temp_limit_margin_c", -5.0);
        check("ecc_sbe_aggregate", 5.5e10);
        check("recovery_action", 4.0);
    }
}
