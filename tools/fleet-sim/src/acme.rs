//! How hot and how hungry real A100s are: quantiles from the Acme traces.
//!
//! Source: InternLM/AcmeTrace, `data/utilization/util_pkl/gpu_{power,temp}_{kalos,seren}.pkl` ("Characterization of
//! Large Language Model Development in the Datacenter", NSDI 2024), about 4,700 A100-SXM4-80GB (400 W) in two clusters.
//! Licence: CC-BY-4.0, <https://creativecommons.org/licenses/by/4.0/>. Changed: read off at 46 percentiles, linear in
//! between. Of the two temperature arrays the first is read as the core, the second as the HBM.

/// How many percentiles are kept.
pub(crate) const POINTS: usize = 46;

/// The percentiles at which the quantiles below stand.
pub(crate) const PERCENT: [f64; POINTS] = [
    0.0, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0, 22.5, 25.0, 27.5, 30.0, 32.5, 35.0,
    37.5, 40.0, 42.5, 45.0, 47.5, 50.0, 52.5, 55.0, 57.5, 60.0, 62.5, 65.0, 67.5, 70.0, 72.5, 75.0,
    77.5, 80.0, 82.5, 85.0, 87.5, 90.0, 92.5, 95.0, 97.5, 99.0, 99.5, 99.9, 100.0,
];

/// The marginals of one cluster.
#[derive(Debug)]
pub struct Marginals {
    /// The cluster's name in the trace.
    pub name: &'static str,
    pub(crate) power_w: [f64; POINTS],
    pub(crate) gpu_temp_c: [f64; POINTS],
    pub(crate) memory_temp_c: [f64; POINTS],
}

/// The cluster Kalos.
pub static KALOS: Marginals = Marginals {
    name: "kalos",
    power_w: [
        55.7, 59.5, 60.2, 61.1, 61.9, 62.5, 63.0, 63.5, 63.9, 64.4, 65.0, 65.6, 66.4, 68.2, 73.0,
        76.6, 90.4, 92.5, 94.0, 95.4, 96.9, 98.8, 101.4, 106.4, 119.6, 128.1, 148.2, 184.6, 235.6,
        286.3, 324.9, 353.3, 371.6, 382.2, 388.6, 393.0, 396.7, 400.1, 403.6, 407.6, 413.0, 422.9,
        440.0, 454.8, 488.0, 599.7,
    ],
    gpu_temp_c: [
        15.0, 22.0, 22.0, 24.0, 25.0, 26.0, 27.0, 27.0, 28.0, 29.0, 29.0, 30.0, 30.0, 31.0, 32.0,
        33.0, 34.0, 35.0, 36.0, 37.0, 38.0, 39.0, 39.8, 40.8, 42.0, 43.0, 44.0, 45.0, 46.8, 48.0,
        49.0, 50.0, 51.0, 52.0, 53.8, 54.8, 56.0, 57.0, 58.0, 60.0, 61.8, 63.8, 65.8, 67.6, 71.0,
        79.0,
    ],
    memory_temp_c: [
        19.0, 27.0, 30.0, 38.0, 40.0, 41.0, 42.0, 43.0, 43.0, 44.0, 44.0, 45.0, 46.0, 46.0, 47.0,
        47.0, 48.0, 49.0, 49.0, 50.0, 50.0, 51.0, 51.0, 52.0, 52.0, 53.0, 53.0, 54.0, 54.8, 55.0,
        56.0, 56.0, 57.0, 57.8, 58.0, 59.0, 60.0, 60.8, 61.0, 62.0, 63.8, 65.0, 66.8, 67.8, 70.0,
        80.0,
    ],
};

/// The cluster Seren.
pub static SEREN: Marginals = Marginals {
    name: "seren",
    power_w: [
        15.4, 59.2, 60.0, 60.9, 61.8, 62.5, 63.0, 63.5, 64.0, 64.4, 64.9, 65.5, 66.2, 67.1, 69.8,
        73.4, 76.6, 88.6, 90.7, 92.2, 93.6, 94.9, 96.4, 98.7, 102.5, 110.9, 118.2, 124.2, 134.0,
        163.3, 211.3, 255.8, 289.8, 316.4, 336.7, 355.1, 373.1, 387.2, 395.0, 401.3, 407.7, 418.4,
        436.9, 450.1, 472.0, 558.0,
    ],
    gpu_temp_c: [
        23.0, 25.0, 25.0, 26.0, 27.0, 28.0, 28.0, 29.0, 29.0, 30.0, 30.0, 31.0, 31.0, 32.0, 33.0,
        33.0, 34.0, 34.0, 35.0, 35.0, 36.0, 38.0, 39.0, 40.0, 41.0, 42.8, 44.0, 46.0, 47.8, 49.0,
        50.8, 52.0, 53.0, 54.0, 55.0, 56.0, 57.8, 59.0, 61.0, 63.0, 65.0, 67.0, 69.0, 70.6, 72.0,
        80.0,
    ],
    memory_temp_c: [
        21.0, 25.0, 27.0, 30.0, 39.0, 42.0, 43.0, 44.0, 44.0, 45.0, 45.0, 46.0, 46.0, 47.0, 47.0,
        48.0, 48.0, 48.0, 49.0, 49.0, 50.0, 51.0, 51.0, 52.0, 53.0, 53.8, 54.0, 55.0, 55.8, 56.0,
        57.0, 58.0, 58.8, 59.0, 60.0, 61.0, 62.0, 63.0, 64.0, 65.0, 66.0, 68.0, 69.0, 69.8, 72.0,
        82.0,
    ],
};

impl Marginals {
    /// Board power in watts below which a GPU is for the share `u` (0 to 1) of its time.
    pub fn power_w(&self, u: f64) -> f64 {
        quantile(&self.power_w, u)
    }

    /// Core temperature in degrees Celsius at `u`.
    pub fn gpu_temp_c(&self, u: f64) -> f64 {
        quantile(&self.gpu_temp_c, u)
    }

    /// HBM temperature in degrees Celsius at `u`.
    pub fn memory_temp_c(&self, u: f64) -> f64 {
        quantile(&self.memory_temp_c, u)
    }
}

fn quantile(values: &[f64; POINTS], u: f64) -> f64 {
    let percent = (u * 100.0).clamp(0.0, 100.0);
    let above = PERCENT
        .partition_point(|p| *p <= percent)
        .clamp(1, POINTS - 1);
    let (low, high) = (PERCENT[above - 1], PERCENT[above]);
    let share = (percent - low) / (high - low);
    values[above - 1] + share * (values[above] - values[above - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_source_and_rise() {
        assert!((KALOS.power_w(0.5) - 101.4).abs() < 0.05);
        assert!((SEREN.power_w(0.75) - 289.8).abs() < 0.05);
        assert!((KALOS.gpu_temp_c(0.05) - 25.0).abs() < 0.05);
        assert!((SEREN.memory_temp_c(1.0) - 82.0).abs() < 0.05);
        for marginals in [&KALOS, &SEREN] {
            for values in [
                &marginals.power_w,
                &marginals.gpu_temp_c,
                &marginals.memory_temp_c,
            ] {
                assert!(values.is_sorted());
            }
        }
        assert!(PERCENT.is_sorted());
    }
}
