//! Temperatures against the limits that the GPU itself reports, and against its own past.
//!
//! There is no global limit: from Hopper on a GPU reports margins, its limits differ by board, and a fleet that is cooled
//! well never comes near 85 °C.

use super::super::action::Action;
use super::super::finding::{Detail, Finding, Series, Signal, plain};
use super::super::limits::Thermal;
use super::super::reading::Health;
use super::super::recent::Level;
use super::super::rule::{Rule, RuleDef};
use super::super::sku::Sku;
use super::baseline::{Baseline, Sample};
use schema::Severity;

/// `thermal_margin`
pub const THERMAL_MARGIN: RuleDef = RuleDef {
    rule: Rule::ThermalMargin,
    id: "thermal_margin",
    alert_type: "temperature_spike",
    severity: Severity::Warning,
    urgent_severity: Severity::Critical,
    is_repair_class: false,
    condition: "2 °C or less to the maximum operating temperature for 60 s; critical at the hardware's slowdown for 30 s",
    clears: "more than 6 °C for 5 min",
    source: "NVSentinel ADR-042 for the slowdown; 2 °C: our choice",
    words: "reduce workload; inspect cooling",
    action: Action::None,
    urgent_action: Action::ContactSupport,
    message: |finding| {
        format!(
            "{} °C left to the maximum operating temperature, limit {}",
            finding.shown(),
            finding.limit()
        )
    },
};

/// `hbm_temp`
pub const HBM_TEMP: RuleDef = RuleDef {
    rule: Rule::HbmTemp,
    id: "hbm_temp",
    alert_type: "temperature_spike",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "memory within 5 °C of its maximum operating temperature for 60 s",
    clears: "more than 8 °C away for 5 min",
    source: "field 151, else 95 °C for HBM; 5 °C: our choice",
    words: "inspect cooling; reduce workload",
    action: Action::None,
    urgent_action: Action::None,
    message: |finding| {
        format!(
            "memory at {} °C, warned of from {} °C",
            finding.shown(),
            finding.limit()
        )
    },
};

/// `temp_spike`
pub const TEMP_SPIKE: RuleDef = RuleDef {
    rule: Rule::TempSpike,
    id: "temp_spike",
    alert_type: "temperature_spike",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "busy, and 8 °C and 4 standard deviations hotter than this GPU used to be at equal power, for 60 s",
    clears: "below 2 standard deviations, or idle, for 5 min",
    source: "no limit of heat fits all: healthy A100s stay below 70 °C at the 99th percentile (AcmeTrace); 8 °C and 4 deviations: our choice",
    words: "inspect cooling: fan, airflow, coolant, dust, thermal paste",
    action: Action::None,
    urgent_action: Action::None,
    message: |finding| {
        let usual = match finding.detail {
            Detail::Number(usual_c) => plain(usual_c),
            _ => "unknown".to_owned(),
        };
        format!(
            "{} °C where {usual} °C is usual at this power",
            finding.shown()
        )
    },
};

/// The distance to the maximum operating temperature in °C: as the GPU reports it, else from its own limit, else from
/// its model's.
pub fn margin_c(health: &Health, sku: Option<&Sku>) -> Option<f64> {
    health.temp_limit_margin_c.or_else(|| {
        let max_op_c = health.gpu_max_op_temp_c.or_else(|| sku?.max_op_c)?;
        Some(max_op_c - health.gpu_temp_c?)
    })
}

/// The margin at which the hardware slows the GPU down: as the GPU reports it, else its model's.
fn slowdown_offset_c(health: &Health, sku: Option<&Sku>) -> Option<f64> {
    match (health.gpu_max_op_temp_c, health.slowdown_temp_c) {
        (Some(max_op_c), Some(slowdown_c)) => Some(max_op_c - slowdown_c),
        _ => Some(sku?.slowdown_offset_c),
    }
}

/// What the temperatures of a reading say against limits.
pub fn observe(
    health: &Health,
    margin_c: Option<f64>,
    sku: Option<&Sku>,
    limits: &Thermal,
    findings: &mut Vec<Finding>,
) {
    findings.push(margin(margin_c, slowdown_offset_c(health, sku), limits));
    findings.push(hbm(health, sku, limits));
}

fn margin(margin_c: Option<f64>, offset_c: Option<f64>, limits: &Thermal) -> Finding {
    let finding = |signal| Finding::new(Rule::ThermalMargin, signal, "temp_limit_margin_c");
    let Some(margin_c) = margin_c else {
        return finding(Signal::Unknown);
    };
    let offset_c = offset_c.filter(|offset_c| margin_c <= *offset_c);
    let signal = if offset_c.is_some() {
        Signal::Urgent
    } else if margin_c <= limits.margin_warn_c {
        Signal::Raise
    } else if margin_c > limits.margin_clear_c {
        Signal::Clear
    } else {
        Signal::Quiet
    };
    finding(signal)
        .against(margin_c, offset_c.unwrap_or(limits.margin_warn_c))
        .series(Series::Level(Level::Margin))
}

fn hbm(health: &Health, sku: Option<&Sku>, limits: &Thermal) -> Finding {
    let finding = |signal| Finding::new(Rule::HbmTemp, signal, "memory_temp_c");
    let max_op_c = health
        .mem_max_op_temp_c
        .or_else(|| sku?.hbm_max_op_c)
        .filter(|max_op_c| *max_op_c > 0.0);
    let (Some(temp_c), Some(max_op_c)) = (health.memory_temp_c, max_op_c) else {
        return finding(Signal::Unknown);
    };
    let left_c = max_op_c - temp_c;
    let signal = if left_c <= limits.hbm_warn_c {
        Signal::Raise
    } else if left_c > limits.hbm_clear_c {
        Signal::Clear
    } else {
        Signal::Quiet
    };
    finding(signal)
        .against(temp_c, max_op_c - limits.hbm_warn_c)
        .series(Series::Level(Level::MemoryTemp))
}

/// What the core's temperature says against its own past. `sample` is none when temperature, power or its limit are
/// unknown.
pub fn observe_past(
    baseline: &mut Baseline,
    sample: Option<&Sample>,
    is_busy: Option<bool>,
    limits: &Thermal,
) -> Finding {
    let finding = |signal| Finding::new(Rule::TempSpike, signal, "gpu_temp_c");
    let Some(sample) = sample else {
        return finding(Signal::Unknown);
    };
    let comparison = baseline.compare(sample, limits);
    if is_busy == Some(false) {
        // Idle, a neighbour's heat is most of what one sees.
        return finding(Signal::Clear).against(sample.temp_c, sample.temp_c);
    }
    let Some(comparison) = comparison else {
        return finding(Signal::Quiet);
    };
    let signal = if comparison.rise_c >= limits.spike_rise_c && comparison.z >= limits.spike_z {
        Signal::Raise
    } else if comparison.z < limits.spike_clear_z {
        Signal::Clear
    } else {
        Signal::Quiet
    };
    finding(signal)
        .against(sample.temp_c, comparison.expected_c + limits.spike_rise_c)
        .series(Series::Level(Level::GpuTemp))
        .detail(Detail::Number(comparison.expected_c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sku;

    fn health(temp_c: f64) -> Health {
        Health {
            gpu_temp_c: Some(temp_c),
            ..Health::default()
        }
    }

    #[test]
    fn what_the_gpu_reports_wins_over_its_model_and_no_model_means_no_limit() {
        let a100 = sku::lookup("NVIDIA A100-SXM4-80GB");
        assert_eq!(margin_c(&health(80.0), a100), Some(3.0));
        assert_eq!(margin_c(&health(80.0), None), None);
        assert_eq!(
            margin_c(&health(80.0), sku::lookup("NVIDIA H100 80GB HBM3")),
            None,
            "an H100 knows only margins"
        );
        let own = Health {
            gpu_max_op_temp_c: Some(90.0),
            ..health(80.0)
        };
        assert_eq!(margin_c(&own, a100), Some(10.0));
        let reported = Health {
            temp_limit_margin_c: Some(20.0),
            ..own.clone()
        };
        assert_eq!(margin_c(&reported, a100), Some(20.0));
        let slowdown = Health {
            slowdown_temp_c: Some(95.0),
            ..own
        };
        assert_eq!(slowdown_offset_c(&slowdown, a100), Some(-5.0));
        assert_eq!(slowdown_offset_c(&health(80.0), a100), Some(-4.0));
        assert_eq!(slowdown_offset_c(&health(80.0), None), None);
    }

    #[test]
    fn signals_follow_the_margin() {
        let limits = Thermal::default();
        let signal = |margin_c| margin(Some(margin_c), Some(-2.0), &limits).signal;
        assert_eq!(signal(20.0), Signal::Clear);
        assert_eq!(signal(6.0), Signal::Quiet);
        assert_eq!(signal(2.0), Signal::Raise);
        assert_eq!(signal(-1.9), Signal::Raise);
        assert_eq!(signal(-2.0), Signal::Urgent);
        assert_eq!(margin(Some(-20.0), None, &limits).signal, Signal::Raise);
        assert_eq!(margin(None, None, &limits).signal, Signal::Unknown);
    }

    #[test]
    fn memory_is_judged_only_where_its_limit_is_known() {
        let limits = Thermal::default();
        let hot = Health {
            memory_temp_c: Some(91.0),
            ..Health::default()
        };
        let h200 = sku::lookup("NVIDIA H200");
        assert_eq!(hbm(&hot, h200, &limits).signal, Signal::Raise);
        assert_eq!(hbm(&hot, None, &limits).signal, Signal::Unknown);
        assert_eq!(
            hbm(&hot, sku::lookup("NVIDIA L40S"), &limits).signal,
            Signal::Unknown
        );
        let own = Health {
            mem_max_op_temp_c: Some(105.0),
            ..hot
        };
        assert_eq!(hbm(&own, h200, &limits).signal, Signal::Clear);
    }
}
