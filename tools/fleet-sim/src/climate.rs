//! Load and temperature as marginals: tables that turn a latent level into watts and degrees.
//!
//! A GPU's load has a latent level, uniform over time and over the fleet; the quantile function of the Acme traces turns
//! it into watts. Temperature follows a Gaussian copula: the load's normal score, and the place (GPU, host, rack, time of
//! day), added with weights whose squares sum to 1, are again standard normal, so that the quantile function gives the
//! traces' marginals while hot load means hot silicon and a bad slot stays a bad slot.

use crate::acme::Marginals;
use crate::random::{narrow, normal_quantile};

const U_STEPS: usize = 4_096;
const Z_STEPS: usize = 1_024;
const Z_MAX: f32 = 4.0;

/// Correlation of core temperature with load, and of HBM temperature with load. Chosen, not measured.
const CORE_FOLLOWS_LOAD: f32 = 0.85;
const MEMORY_FOLLOWS_LOAD: f32 = 0.75;

/// What a place adds, by share: squares sum to 1.
const SHARE_GPU: f32 = 0.66;
const SHARE_HOST: f32 = 0.45;
const SHARE_RACK: f32 = 0.45;
const SHARE_DAY: f32 = 0.40;
const MEMORY_SHARES_PLACE: f32 = 0.75;

const MS_PER_DAY: f64 = 86_400_000.0;

/// What a place does to temperature, in standard deviations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) gpu: f32,
    pub(crate) host: f32,
    pub(crate) rack: f32,
    pub(crate) day: f32,
    pub(crate) memory: f32,
}

/// The tables of one cluster.
#[derive(Debug)]
pub(crate) struct Climate {
    power_by_u: Vec<f32>,
    z_by_u: Vec<f32>,
    u_by_z: Vec<f32>,
    core_by_z: Vec<f32>,
    memory_by_z: Vec<f32>,
}

impl Climate {
    pub(crate) fn new(marginals: &Marginals) -> Self {
        let by_u = |f: &dyn Fn(f64) -> f64| -> Vec<f32> {
            (0..=U_STEPS)
                .map(|step| narrow(f(step as f64 / U_STEPS as f64)))
                .collect()
        };
        let by_z = |f: &dyn Fn(f64) -> f64| -> Vec<f32> {
            (0..=Z_STEPS)
                .map(|step| {
                    let z = (step as f64 / Z_STEPS as f64).mul_add(2.0, -1.0) * f64::from(Z_MAX);
                    narrow(f(normal_distribution(z)))
                })
                .collect()
        };
        let end = 0.5 / U_STEPS as f64;
        Self {
            power_by_u: by_u(&|u| marginals.power_w(u)),
            z_by_u: by_u(&|u| normal_quantile(u.clamp(end, 1.0 - end))),
            u_by_z: by_z(&|u| u),
            core_by_z: by_z(&|u| marginals.gpu_temp_c(u)),
            memory_by_z: by_z(&|u| marginals.memory_temp_c(u)),
        }
    }

    /// The uniform level of a standard normal score.
    pub(crate) fn level(&self, z: f32) -> f32 {
        at_z(&self.u_by_z, z)
    }

    /// Watts of an A100 at `level`.
    pub(crate) fn power_w(&self, level: f32) -> f32 {
        interpolate(&self.power_by_u, level)
    }

    /// The temperatures (core, HBM) that an A100 at `level` and `place` tends to.
    pub(crate) fn temperatures_c(&self, level: f32, place: Place) -> (f32, f32) {
        let load = interpolate(&self.z_by_u, level);
        let surroundings = SHARE_GPU * place.gpu
            + SHARE_HOST * place.host
            + SHARE_RACK * place.rack
            + SHARE_DAY * place.day;
        let rest = |share: f32| (1.0 - share * share).sqrt();
        let memory = MEMORY_SHARES_PLACE * surroundings + rest(MEMORY_SHARES_PLACE) * place.memory;
        (
            at_z(
                &self.core_by_z,
                CORE_FOLLOWS_LOAD * load + rest(CORE_FOLLOWS_LOAD) * surroundings,
            ),
            at_z(
                &self.memory_by_z,
                MEMORY_FOLLOWS_LOAD * load + rest(MEMORY_FOLLOWS_LOAD) * memory,
            ),
        )
    }
}

/// The time of day as a score of unit variance: warmest `phase` of a day after midnight UTC plus a quarter.
pub(crate) fn time_of_day(epoch_ms: i64, phase: f64) -> f32 {
    let share = epoch_ms as f64 / MS_PER_DAY + phase;
    narrow(std::f64::consts::SQRT_2 * (share.fract() * std::f64::consts::TAU).sin())
}

fn at_z(table: &[f32], z: f32) -> f32 {
    interpolate(table, (z + Z_MAX) / (2.0 * Z_MAX))
}

/// The table's value at `share` (0 to 1, clamped) of its length, linear in between.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the place is within the table, whose length is a few thousand"
)]
fn interpolate(table: &[f32], share: f32) -> f32 {
    let last = table.len() - 1;
    let place = share.clamp(0.0, 1.0) * last as f32;
    let below = (place as usize).min(last - 1);
    let rest = place - below as f32;
    table[below] + rest * (table[below + 1] - table[below])
}

/// The standard normal distribution function, by bisection of its quantile function: tables are built once.
fn normal_distribution(z: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if normal_quantile(middle) < z {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::KALOS;
    use crate::random::Key;

    #[test]
    fn latent_levels_become_the_traces_marginals() {
        let climate = Climate::new(&KALOS);
        let n = 200_000_u64;
        let (mut core, mut memory, mut power) = (Vec::new(), Vec::new(), Vec::new());
        for draw in 0..n {
            let key = Key::new(draw);
            let level = narrow(key.with(0).uniform());
            let place = Place {
                gpu: key.with(1).normal(),
                host: key.with(2).normal(),
                rack: key.with(3).normal(),
                day: key.with(4).normal(),
                memory: key.with(5).normal(),
            };
            let (c, m) = climate.temperatures_c(level, place);
            core.push(c);
            memory.push(m);
            power.push(climate.power_w(level));
        }
        for values in [&mut core, &mut memory, &mut power] {
            values.sort_by(f32::total_cmp);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in the list"
        )]
        let at = |values: &[f32], u: f64| f64::from(values[(u * n as f64) as usize]);
        for u in [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99] {
            assert!(
                (at(&core, u) - KALOS.gpu_temp_c(u)).abs() < 0.5,
                "core at {u}"
            );
            assert!(
                (at(&memory, u) - KALOS.memory_temp_c(u)).abs() < 0.5,
                "memory at {u}"
            );
            assert!(
                (at(&power, u) - KALOS.power_w(u)).abs() < 3.0,
                "power at {u}"
            );
        }
    }

    #[test]
    fn a_days_temperature_swings_around_its_mean_with_unit_variance() {
        let (mut sum, mut squares) = (0.0, 0.0);
        for minute in 0..1_440 {
            let value = f64::from(time_of_day(1_770_805_800_000 + minute * 60_000, 0.3));
            sum += value;
            squares += value * value;
        }
        assert!((sum / 1_440.0).abs() < 1e-3);
        assert!((squares / 1_440.0 - 1.0).abs() < 1e-3);
    }
}
