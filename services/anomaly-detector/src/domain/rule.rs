//! The table of rules: what each is called, how bad it is, when it begins and ends, and what to do.

use super::action::Action;
use super::finding::Finding;
use super::incident::{Clear, Timing};
use super::limits::{Limits, ms};
use super::rules::{absence, ecc, nvlink, pcie, prediction, remap, thermal, throttling, xid};
use schema::Severity;
use serde::{Deserialize, Serialize};

/// A rule. State holds its place in this list: new ones go to the end, none is ever taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rule {
    /// `gpu_lost`
    GpuLost,
    /// `telemetry_gap`
    TelemetryGap,
    /// `ecc_dbe`
    EccDbe,
    /// `uncontained_ecc`
    UncontainedEcc,
    /// `contained_ecc`
    ContainedEcc,
    /// `ecc_sbe_storm`
    EccSbeStorm,
    /// `row_remap_pending`
    RowRemapPending,
    /// `row_remap_failure`
    RowRemapFailure,
    /// `bank_exhausted`
    BankExhausted,
    /// `sram_threshold`
    SramThreshold,
    /// `memory_unrepairable`
    MemoryUnrepairable,
    /// `xid_fatal`
    XidFatal,
    /// `xid_hardware`
    XidHardware,
    /// `xid_app`
    XidApp,
    /// `xid_app_repeat`
    XidAppRepeat,
    /// `xid_notice`
    XidNotice,
    /// `recovery_action`
    RecoveryAction,
    /// `thermal_margin`
    ThermalMargin,
    /// `hbm_temp`
    HbmTemp,
    /// `temp_spike`
    TempSpike,
    /// `thermal_throttle`
    ThermalThrottle,
    /// `hw_slowdown`
    HwSlowdown,
    /// `power_brake`
    PowerBrake,
    /// `power_cap_low`
    PowerCapLow,
    /// `pcie_degraded`
    PcieDegraded,
    /// `pcie_replay`
    PcieReplay,
    /// `nvlink_errors`
    NvlinkErrors,
    /// `nvlink_down`
    NvlinkDown,
    /// `failure_prediction`
    FailurePrediction,
    /// `lemon_gpu`
    LemonGpu,
}

/// What is fixed about a rule.
#[derive(Clone, Copy, Debug)]
pub struct RuleDef {
    /// The rule.
    pub rule: Rule,
    /// Its name: `rule_id`, the name of its runbook page, the label of its metrics.
    pub id: &'static str,
    /// `alert_type`
    pub alert_type: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How bad its graver form is; the same where it has none.
    pub urgent_severity: Severity,
    /// It is a fault that ends in a reset, a restart or a replacement, and so counts towards a lemon.
    pub is_repair_class: bool,
    /// What makes it fire, with the default limits.
    pub condition: &'static str,
    /// What ends it, with the default limits.
    pub clears: &'static str,
    /// Where condition and limits come from.
    pub source: &'static str,
    /// What to do.
    pub words: &'static str,
    /// What to do, for NVSentinel.
    pub action: Action,
    /// What to do when it is graver, for NVSentinel.
    pub urgent_action: Action,
    /// What was seen, in one sentence.
    pub message: fn(&Finding) -> String,
}

/// Every rule, in the order of [`Rule`].
pub const RULES: [RuleDef; 30] = [
    absence::GPU_LOST,
    absence::TELEMETRY_GAP,
    ecc::ECC_DBE,
    ecc::UNCONTAINED_ECC,
    ecc::CONTAINED_ECC,
    ecc::ECC_SBE_STORM,
    remap::ROW_REMAP_PENDING,
    remap::ROW_REMAP_FAILURE,
    remap::BANK_EXHAUSTED,
    remap::SRAM_THRESHOLD,
    remap::MEMORY_UNREPAIRABLE,
    xid::XID_FATAL,
    xid::XID_HARDWARE,
    xid::XID_APP,
    xid::XID_APP_REPEAT,
    xid::XID_NOTICE,
    xid::RECOVERY_ACTION,
    thermal::THERMAL_MARGIN,
    thermal::HBM_TEMP,
    thermal::TEMP_SPIKE,
    throttling::THERMAL_THROTTLE,
    throttling::HW_SLOWDOWN,
    throttling::POWER_BRAKE,
    throttling::POWER_CAP_LOW,
    pcie::PCIE_DEGRADED,
    pcie::PCIE_REPLAY,
    nvlink::NVLINK_ERRORS,
    nvlink::NVLINK_DOWN,
    prediction::FAILURE_PREDICTION,
    prediction::LEMON_GPU,
];

impl Rule {
    /// How many there are.
    pub const COUNT: usize = RULES.len();

    /// Its entry in the table.
    pub const fn def(self) -> &'static RuleDef {
        &RULES[self as usize]
    }

    /// How bad it is.
    pub const fn severity(self, is_urgent: bool) -> Severity {
        if is_urgent {
            self.def().urgent_severity
        } else {
            self.def().severity
        }
    }

    /// It goes by stream time, since silence has no event time.
    pub const fn is_about_silence(self) -> bool {
        matches!(self, Self::GpuLost | Self::TelemetryGap)
    }

    /// How long it must last, and what ends it, under `limits`.
    pub fn timing(self, limits: &Limits) -> Timing {
        let Limits {
            absence,
            ecc,
            thermal,
            throttling,
            pcie,
            nvlink,
            xid,
            prediction,
            ..
        } = limits;
        let held = |hold_s, urgent_hold_s, clear_s| Timing {
            hold_ms: ms(hold_s),
            urgent_hold_ms: ms(urgent_hold_s),
            clear: Clear::After(ms(clear_s)),
        };
        let at_once = |clear| Timing {
            hold_ms: 0,
            urgent_hold_ms: 0,
            clear,
        };
        let for_a_while = |clear_s| at_once(Clear::After(ms(clear_s)));
        let until_reset = |after_s, without_s| {
            at_once(Clear::Reset {
                after_ms: ms(after_s),
                without_ms: ms(without_s),
            })
        };
        match self {
            Self::GpuLost => for_a_while(absence.return_s),
            Self::TelemetryGap | Self::RowRemapPending | Self::RecoveryAction => for_a_while(0),
            Self::EccDbe | Self::UncontainedEcc => {
                until_reset(ecc.clean_after_reset_s, ecc.clean_without_reset_s)
            }
            Self::ContainedEcc => for_a_while(ecc.contained_clean_s),
            Self::EccSbeStorm => held(ecc.storm_hold_s, 0, ecc.storm_calm_s),
            Self::RowRemapFailure
            | Self::BankExhausted
            | Self::SramThreshold
            | Self::MemoryUnrepairable => at_once(Clear::Never),
            Self::XidFatal => until_reset(xid.fatal_clean_s, xid.fatal_without_reset_s),
            Self::XidHardware | Self::XidAppRepeat => for_a_while(xid.hardware_clear_s),
            Self::XidApp | Self::XidNotice => for_a_while(xid.info_clear_s),
            Self::ThermalMargin => held(
                thermal.margin_warn_hold_s,
                thermal.margin_critical_hold_s,
                thermal.margin_clear_s,
            ),
            Self::HbmTemp => held(thermal.hbm_hold_s, 0, thermal.hbm_clear_s),
            Self::TempSpike => held(thermal.spike_hold_s, 0, thermal.spike_clear_s),
            // Their windows are their holds.
            Self::ThermalThrottle | Self::HwSlowdown | Self::PowerBrake => {
                for_a_while(throttling.clear_s)
            }
            Self::PowerCapLow => held(throttling.power_cap_hold_s, 0, throttling.clear_s),
            Self::PcieDegraded => held(pcie.degraded_hold_s, pcie.degraded_hold_s, pcie.restored_s),
            Self::PcieReplay => held(pcie.replay_hold_s, 0, pcie.replay_clear_s),
            Self::NvlinkErrors => for_a_while(nvlink.clear_s),
            Self::NvlinkDown => held(nvlink.down_hold_s, nvlink.down_hold_s, nvlink.up_s),
            Self::FailurePrediction | Self::LemonGpu => for_a_while(prediction.clear_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_rule_stands_at_its_place_with_a_name_of_its_own() {
        for (at, def) in RULES.iter().enumerate() {
            assert_eq!(def.rule as usize, at, "{}", def.id);
            assert!(def.severity <= def.urgent_severity, "{}", def.id);
            assert!(!def.words.is_empty() && !def.condition.is_empty());
            assert!(!def.clears.is_empty() && !def.source.is_empty());
        }
        let ids: BTreeSet<_> = RULES.iter().map(|def| def.id).collect();
        assert_eq!(ids.len(), Rule::COUNT);
    }

    /// As the table writes it: in the largest unit in which it is whole, seconds below two minutes.
    fn written(duration_ms: i64) -> String {
        let seconds = duration_ms / 1_000;
        match seconds {
            0..120 => format!("{seconds} s"),
            120..3_600 => format!("{} min", seconds / 60),
            3_600..=86_400 => format!("{} h", seconds / 3_600),
            _ => format!("{} d", seconds / 86_400),
        }
    }

    #[test]
    fn what_the_table_says_of_holds_and_ends_is_what_the_defaults_are() {
        let limits = Limits::default();
        for def in RULES {
            let timing = def.rule.timing(&limits);
            let mut told = vec![
                (def.condition, timing.hold_ms),
                (def.condition, timing.urgent_hold_ms),
            ];
            match timing.clear {
                Clear::After(after_ms) => told.push((def.clears, after_ms)),
                Clear::Reset {
                    after_ms,
                    without_ms,
                } => told.extend([(def.clears, after_ms), (def.clears, without_ms)]),
                Clear::Never => assert!(def.clears.starts_with("never"), "{}", def.id),
            }
            for (text, duration_ms) in told {
                let duration = written(duration_ms);
                assert!(
                    duration_ms == 0 || text.contains(&duration),
                    "{}: \"{text}\" does not say {duration}",
                    def.id
                );
            }
        }
    }

    #[test]
    fn the_briefs_four_alert_types_are_there() {
        let types: BTreeSet<_> = RULES.iter().map(|def| def.alert_type).collect();
        for alert_type in [
            "temperature_spike",
            "ecc_errors",
            "throttling",
            "failure_prediction",
        ] {
            assert!(types.contains(alert_type), "{alert_type}");
        }
    }

    #[test]
    fn a_rules_place_in_state_never_moves() {
        // The first and the last of version 1 of the state; a new rule goes behind.
        assert_eq!(postcard::to_stdvec(&Rule::GpuLost).unwrap(), [0]);
        assert_eq!(postcard::to_stdvec(&Rule::ThermalMargin).unwrap(), [17]);
        assert_eq!(postcard::to_stdvec(&Rule::LemonGpu).unwrap(), [29]);
    }

    #[test]
    fn information_is_never_a_repair_and_an_application_never_critical() {
        for def in RULES {
            if def.severity == Severity::Info {
                assert!(!def.is_repair_class, "{}", def.id);
                assert_eq!(def.urgent_severity, Severity::Info, "{}", def.id);
            }
        }
    }
}
