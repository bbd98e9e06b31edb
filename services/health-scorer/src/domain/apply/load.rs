//! What a reading says about load, clocks held down, temperatures, and work.

use super::{Moment, fit, mark};
use crate::domain::counter::{Span, Step};
use crate::domain::dimension::Dimension;
use crate::domain::hour::Throttled;
use crate::domain::number;
use crate::domain::reading::Reading;
use crate::domain::state::GpuState;
use schema::ThrottleReason;

/// Takes power and limits. Returns whether the GPU is busy.
pub(super) fn power(state: &mut GpuState, reading: &Reading<'_>, moment: &Moment<'_>) -> bool {
    let own = &reading.metrics.power;
    let model_w = moment.sku.map(|sku| sku.power_w);
    if let Some(default_w) = own.default_limit_w {
        state.levels.default_limit_w = Some(number::small(default_w));
    }
    let limit_w = own.enforced_limit_w.filter(|watts| *watts > 0.0);
    if let Some(watts) = limit_w {
        state.levels.power_limit_w = Some(number::small(watts));
    } else if state.levels.power_limit_w.is_none() {
        let watts = own.default_limit_w.or(model_w);
        state.levels.power_limit_w = watts.map(number::small);
    }
    let limit_w = state.levels.power_limit_w.map(f64::from);
    let draw_w = reading.metrics.health.power_usage_w;
    if let Some(watts) = draw_w {
        state.levels.has_power = true;
        let minute = mark(state, moment.clock, Dimension::Power);
        let tenths = number::whole(watts * 10.0).map_or(0, fit);
        minute.power_tenths = minute.power_tenths.saturating_add(tenths);
        minute.power_samples = minute.power_samples.saturating_add(1);
    } else if state.levels.has_power {
        // That it can't be read any more is something known.
        mark(state, moment.clock, Dimension::Power);
    }
    let load = &moment.limits.load;
    let utilization = reading.metrics.performance.gpu_utilization_pct;
    utilization.is_some_and(|percent| percent > load.busy_utilization_pct)
        || draw_w
            .zip(limit_w)
            .is_some_and(|(watts, limit_w)| watts > load.busy_power_share * limit_w)
}

/// Takes the time in which clocks were held down. Returns whether a counter of it shows a reset.
pub(super) fn throttling(state: &mut GpuState, reading: &Reading<'_>, moment: &Moment<'_>) -> bool {
    let health = &reading.metrics.health;
    let counters = &mut state.counters;
    let hw_thermal = counters
        .hw_thermal
        .advance(health.hw_thermal_slowdown_ns, Span::DriverLoad);
    let sw_thermal = counters
        .sw_thermal
        .advance(health.sw_thermal_slowdown_ns, Span::DriverLoad);
    let brake = counters
        .brake
        .advance(health.hw_power_brake_slowdown_ns, Span::DriverLoad);
    let violation = counters
        .thermal_violation
        .advance(health.thermal_violation_ns, Span::DriverLoad);
    let energy = counters
        .energy
        .advance(reading.metrics.power.total_energy_mj, Span::DriverLoad);

    let stands_for_ms = moment.stands_for_ms();
    let elapsed_ms = moment.elapsed_ms.map_or(0, number::span);
    let bits = health.throttle_reasons.unwrap_or(0);
    let sampled = |reason: ThrottleReason| {
        if bits & reason.bit() == 0 {
            0
        } else {
            stands_for_ms
        }
    };
    // The counter is exact, the mask a sample; a counter that was away for a while must not give its time twice.
    let timed = |value: Option<u64>, step: Option<Step>, reason| match (value, step) {
        (None, _) => sampled(reason),
        (Some(_), step) => step.map_or(0, |step| {
            number::millis_of_nanos(step.increment).min(elapsed_ms)
        }),
    };
    let limit_w = state.levels.power_limit_w.map(f64::from);
    let is_capped_low = health
        .power_usage_w
        .zip(limit_w)
        .is_some_and(|(watts, limit_w)| watts < moment.limits.power.low_cap_share * limit_w);
    let throttled = Throttled {
        hw_thermal_ms: timed(
            health.hw_thermal_slowdown_ns,
            hw_thermal,
            ThrottleReason::HwThermalSlowdown,
        ),
        sw_thermal_ms: timed(
            health.sw_thermal_slowdown_ns,
            sw_thermal,
            ThrottleReason::SwThermalSlowdown,
        ),
        brake_ms: timed(
            health.hw_power_brake_slowdown_ns,
            brake,
            ThrottleReason::HwPowerBrakeSlowdown,
        ),
        hw_slowdown_ms: sampled(ThrottleReason::HwSlowdown),
        low_cap_ms: if is_capped_low {
            sampled(ThrottleReason::SwPowerCap)
        } else {
            0
        },
    };
    state.hour.add(moment.clock.watched_ms, throttled);
    if health.throttle_reasons.is_some() {
        mark(state, moment.clock, Dimension::Performance);
    }
    if health.throttle_reasons.is_some() || health.hw_thermal_slowdown_ns.is_some() {
        mark(state, moment.clock, Dimension::Thermal);
    }
    let steps = [hw_thermal, sw_thermal, brake, violation, energy];
    steps.iter().flatten().any(|step| step.is_restart)
}

/// Takes the margins to the limits that the GPU itself reports, else to its model's.
pub(super) fn temperatures(
    state: &mut GpuState,
    reading: &Reading<'_>,
    is_busy: bool,
    moment: &Moment<'_>,
) {
    let health = &reading.metrics.health;
    let sku = moment.sku;
    let max_op_c = health.gpu_max_op_temp_c;
    let core = health.temp_limit_margin_c.or_else(|| {
        let limit_c = max_op_c.or(sku.and_then(|sku| sku.max_op_c))?;
        Some(limit_c - health.gpu_temp_c?)
    });
    // Boards without the sensor answer 0.
    let memory = health
        .memory_temp_c
        .filter(|celsius| *celsius > 0.0)
        .and_then(|celsius| {
            let limit_c = health
                .mem_max_op_temp_c
                .or(sku.and_then(|sku| sku.hbm_max_op_c))?;
            Some(limit_c - celsius)
        });
    let offset = max_op_c
        .zip(health.slowdown_temp_c)
        .map(|(max_op_c, slowdown_c)| max_op_c - slowdown_c)
        .or(sku.map(|sku| sku.slowdown_offset_c));
    if let Some(offset) = offset {
        state.levels.slowdown_tenths = Some(number::tenths(offset));
    }
    let fine_tenths = number::tenths(moment.limits.thermal.margin_c);
    if let Some(margin_c) = core {
        let minute = mark(state, moment.clock, Dimension::Thermal);
        if is_busy {
            minute.core.add(number::tenths(margin_c), fine_tenths);
        }
    }
    if let Some(margin_c) = memory
        && is_busy
    {
        let minute = state.quarter.at(moment.clock.watched_ms);
        minute.memory.add(number::tenths(margin_c), fine_tenths);
    }
}

/// Takes what shows only while the GPU works.
pub(super) fn work(
    state: &mut GpuState,
    reading: &Reading<'_>,
    is_busy: bool,
    moment: &Moment<'_>,
) {
    let link = &reading.metrics.interconnect;
    let performance = &reading.metrics.performance;
    let limits = &moment.limits.performance;
    let now_of_most = |now: Option<f64>, most: Option<f64>| {
        now.zip(most)
            .map(|(now, most)| (number::small(now), number::small(most)))
    };
    let lanes = now_of_most(link.pcie_width, link.pcie_width_max);
    let generation = now_of_most(link.pcie_gen, link.pcie_gen_max);
    if lanes.is_some() || generation.is_some() {
        mark(state, moment.clock, Dimension::Performance);
    }
    // At idle a link goes to sleep: nothing that is seen then counts, and nothing seen before is over.
    if is_busy {
        if let Some((now, most)) = lanes {
            state.narrow.look(moment.at_ms, now < most);
            state.levels.lanes = lanes;
        }
        if let Some((now, most)) = generation {
            state.slow.look(moment.at_ms, now < most);
            state.levels.generation = generation;
        }
    }
    let seen = performance
        .gpu_utilization_pct
        .zip(performance.sm_active_pct);
    if let Some((utilization, sm_active)) = seen {
        mark(state, moment.clock, Dimension::Performance);
        let diverges = utilization >= limits.divergence_utilization_pct
            && sm_active < limits.divergence_sm_active_pct;
        state.divergence.look(moment.at_ms, diverges);
    }
}
