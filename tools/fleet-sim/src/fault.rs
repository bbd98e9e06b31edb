//! The faults that can be injected: what each is called, how often it happens, and what should be said about it.

use crate::sku::Sku;
use serde::{Deserialize, Serialize};

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3_600;

/// What a pipeline is expected to make of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// The rules named in the ground truth fire.
    Alert,
    /// Nothing may fire: it is the application's fault, or an oddity of the data.
    NoAlert,
    /// The records go to the dead letter topic.
    DeadLetter,
    /// The repeated records are recognised and counted once.
    Duplicate,
    /// The records are taken, and flagged as late.
    Late,
}

/// What a kind of fault needs of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any GPU.
    Any,
    /// HBM with a temperature sensor.
    Hbm,
    /// Row remapping (Ampere and later).
    RowRemap,
    /// NVLink.
    NvLink,
}

impl Needs {
    /// Whether `sku` has it.
    pub fn met_by(self, sku: &Sku) -> bool {
        match self {
            Self::Any => true,
            Self::Hbm => sku.memory_max_op_c.is_some(),
            Self::RowRemap => sku.memory_banks > 0,
            Self::NvLink => sku.nvlinks > 0,
        }
    }
}

/// The facts of one kind of fault.
#[derive(Debug)]
pub struct FaultFacts {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub what: &'static str,
    /// The Xid that comes with it.
    pub xid: Option<u16>,
    /// The rules that should fire.
    pub rules: &'static [&'static str],
    /// What is expected of the pipeline.
    pub expect: Expectation,
    /// How long it lasts unless the list says otherwise, in seconds.
    pub lasts_s: u32,
    /// Events per 10,000 GPUs and day on Ampere and older, and on Hopper and newer.
    pub per_10k_gpu_days: [f64; 2],
    /// What the GPU must have.
    pub needs: Needs,
}

macro_rules! faults {
    ($( $(#[$doc:meta])* $kind:ident { name: $name:literal, what: $what:literal, xid: $xid:expr, rules: [$($rule:literal),*], expect: $expect:ident, lasts_s: $lasts:expr, rate: [$old:literal, $new:literal], needs: $needs:ident } )*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum FaultKind {
            $( $(#[$doc])* #[serde(rename = $name)] $kind, )*
        }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// What is known about this kind.
            pub const fn facts(self) -> &'static FaultFacts {
                match self {
                    $( Self::$kind => &FaultFacts {
                        name: $name,
                        what: $what,
                        xid: $xid,
                        rules: &[$($rule),*],
                        expect: Expectation::$expect,
                        lasts_s: $lasts,
                        per_10k_gpu_days: [$old, $new],
                        needs: Needs::$needs,
                    }, )*
                }
            }
        }
    };
}

// Rates: Llama 3 (arXiv 2407.21783), InfiniteHBD, NCSA Delta (arXiv 2503.11901) and Fire-Flyer, per 10,000 GPUs and day.
// Where a study saw a range (Xid 74: 15 to 48, Xid 31: 7 to 222), the lower part of it is taken.
faults! {
    /// A double-bit error, until the GPU is reset.
    Dbe { name: "dbe", what: "a double-bit ECC error (Xid 48); reset at the end", xid: Some(48), rules: ["ecc_dbe"], expect: Alert, lasts_s: HOUR_S, rate: [0.54, 0.81], needs: Any }
    /// A contained memory error.
    ContainedEcc { name: "contained_ecc", what: "a contained memory error (Xid 94); the application dies", xid: Some(94), rules: ["contained_ecc"], expect: Alert, lasts_s: HOUR_S, rate: [0.33, 1.6], needs: RowRemap }
    /// An uncontained memory error, until the GPU is reset.
    UncontainedEcc { name: "uncontained_ecc", what: "an uncontained memory error (Xid 95); reset at the end", xid: Some(95), rules: ["uncontained_ecc"], expect: Alert, lasts_s: HOUR_S, rate: [0.28, 2.2], needs: RowRemap }
    /// A row remap that waits for a reset.
    RowRemapPending { name: "row_remap_pending", what: "an uncorrectable row remap is pending (Xid 63) until the GPU is reset at the end", xid: Some(63), rules: ["row_remap_pending"], expect: Alert, lasts_s: 6 * HOUR_S, rate: [0.76, 1.8], needs: RowRemap }
    /// A row remap that failed.
    RowRemapFailure { name: "row_remap_failure", what: "a row remap failed (Xid 64): a bank is out of spare rows", xid: Some(64), rules: ["row_remap_failure"], expect: Alert, lasts_s: 24 * HOUR_S, rate: [0.03, 0.9], needs: RowRemap }
    /// Fallen off the bus.
    Xid79Lost { name: "xid79_lost", what: "the GPU falls off the bus: one reading with Xid 79, then none; back after a reboot at the end", xid: Some(79), rules: ["gpu_lost"], expect: Alert, lasts_s: 4 * HOUR_S, rate: [0.10, 0.07], needs: Any }
    /// The GPU System Processor does not answer.
    GspTimeout { name: "gsp_timeout", what: "the GSP does not answer (Xid 119); reset at the end", xid: Some(119), rules: ["xid_fatal"], expect: Alert, lasts_s: HOUR_S, rate: [0.30, 0.30], needs: Any }
    /// A page fault of an application.
    AppXid31 { name: "app_xid31", what: "an application's page fault (Xid 31)", xid: Some(31), rules: [], expect: NoAlert, lasts_s: MINUTE_S, rate: [100.0, 199.0], needs: Any }
    /// A user's fault that stopped the GPU.
    AppXid43 { name: "app_xid43", what: "an application's fault stops its context (Xid 43)", xid: Some(43), rules: [], expect: NoAlert, lasts_s: MINUTE_S, rate: [12.0, 12.0], needs: Any }
    /// Cooling fails under load.
    ThermalThrottle { name: "thermal_throttle", what: "cooling fails under load: the core reaches its slowdown temperature, bits 0x48 are set, clocks fall", xid: None, rules: ["thermal_throttle", "thermal_margin"], expect: Alert, lasts_s: 20 * MINUTE_S, rate: [0.07, 0.07], needs: Any }
    /// The power supply asks for less.
    PowerBrake { name: "power_brake", what: "the power supply brakes the board: bits 0x88, half the clocks", xid: None, rules: ["power_brake"], expect: Alert, lasts_s: 15 * MINUTE_S, rate: [0.05, 0.05], needs: Any }
    /// A fan of the host fails.
    FanFailure { name: "fan_failure", what: "a fan of the host fails: the core drifts up by 1.2 degrees a minute under load, to 25 degrees or 3 below its maximum", xid: None, rules: ["temp_spike"], expect: Alert, lasts_s: 40 * MINUTE_S, rate: [0.05, 0.05], needs: Any }
    /// The memory overheats.
    HbmHot { name: "hbm_hot", what: "the HBM climbs to 1 degree below its maximum", xid: None, rules: ["hbm_temp"], expect: Alert, lasts_s: 20 * MINUTE_S, rate: [0.05, 0.05], needs: Hbm }
    /// A storm of corrected errors.
    SbeStorm { name: "sbe_storm", what: "5 single-bit errors a second (Xid 92)", xid: Some(92), rules: ["ecc_sbe_storm"], expect: Alert, lasts_s: 3 * HOUR_S, rate: [0.10, 0.10], needs: Any }
    /// A link goes bad.
    NvlinkErrors { name: "nvlink_errors", what: "an NVLink replays, recovers and miscounts (Xid 74)", xid: Some(74), rules: ["nvlink_errors"], expect: Alert, lasts_s: 15 * MINUTE_S, rate: [15.0, 0.10], needs: NvLink }
    /// The PCIe link is narrow.
    PcieDowntrain { name: "pcie_downtrain", what: "the PCIe link trains at 8 of 16 lanes under load", xid: None, rules: ["pcie_degraded"], expect: Alert, lasts_s: 6 * HOUR_S, rate: [0.22, 0.22], needs: Any }
    /// No readings, no reason.
    GpuSilent { name: "gpu_silent", what: "no readings of this GPU, while its siblings report", xid: None, rules: ["gpu_lost", "telemetry_gap"], expect: Alert, lasts_s: 10 * MINUTE_S, rate: [0.0, 0.0], needs: Any }
    /// The host restarts.
    HostReboot { name: "host_reboot", what: "the whole host is silent, then its counters start again from zero", xid: None, rules: ["telemetry_gap"], expect: Alert, lasts_s: 5 * MINUTE_S, rate: [0.0, 0.0], needs: Any }
    /// The driver is loaded anew.
    CounterReset { name: "counter_reset", what: "the driver is loaded anew: volatile counters start again from zero", xid: None, rules: [], expect: NoAlert, lasts_s: MINUTE_S, rate: [2.0, 2.0], needs: Any }
    /// Fields without a value.
    BlankSentinels { name: "blank_sentinels", what: "four fields carry DCGM's blank sentinels", xid: None, rules: [], expect: NoAlert, lasts_s: 5 * MINUTE_S, rate: [0.0, 0.0], needs: Any }
    /// The clock is wrong.
    ClockFuture { name: "clock_future", what: "event times are 10 minutes ahead", xid: None, rules: [], expect: DeadLetter, lasts_s: MINUTE_S, rate: [0.0, 0.0], needs: Any }
    /// Sent twice.
    Duplicate { name: "duplicate", what: "every record is sent twice", xid: None, rules: [], expect: Duplicate, lasts_s: 2 * MINUTE_S, rate: [0.0, 0.0], needs: Any }
    /// Sent late.
    Late { name: "late", what: "records are held back and sent together at the end", xid: None, rules: [], expect: Late, lasts_s: 90, rate: [0.0, 0.0], needs: Any }
    /// Not a reading.
    Malformed { name: "malformed", what: "records are broken, in eight ways by turns", xid: None, rules: [], expect: DeadLetter, lasts_s: MINUTE_S, rate: [0.0, 0.0], needs: Any }
}

impl FaultKind {
    /// Its rate on `sku`, in events per GPU and second; 0 where the GPU can't have it.
    pub(crate) fn rate_per_gpu_second(self, sku: &Sku) -> f64 {
        let facts = self.facts();
        if !facts.needs.met_by(sku) {
            return 0.0;
        }
        let newer = matches!(sku.architecture, "Hopper" | "Blackwell");
        facts.per_10k_gpu_days[usize::from(newer)] / (10_000.0 * 86_400.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The table of the README.
    fn table() -> String {
        let mut table = String::from(
            "| kind | what happens | lasts | per 10,000 GPUs and day: Ampere and before, later | expect | rules |\n|---|---|---|---|---|---|\n",
        );
        for kind in FaultKind::ALL {
            let facts = kind.facts();
            let expect = serde_json::to_value(facts.expect).unwrap();
            let [old, new] = facts.per_10k_gpu_days;
            let row = [
                format!("`{}`", facts.name),
                facts.what.to_owned(),
                if facts.lasts_s % HOUR_S == 0 {
                    format!("{} h", facts.lasts_s / HOUR_S)
                } else if facts.lasts_s % MINUTE_S == 0 {
                    format!("{} min", facts.lasts_s / MINUTE_S)
                } else {
                    format!("{} s", facts.lasts_s)
                },
                if old + new > 0.0 {
                    format!("{old}, {new}")
                } else {
                    "-".to_owned()
                },
                expect.as_str().unwrap().to_owned(),
                facts
                    .rules
                    .iter()
                    .map(|rule| format!("`{rule}`"))
                    .collect::<Vec<_>>()
                    .join(", "),
            ];
            table += "| ";
            table += &row.join(" | ");
            table += " |\n";
        }
        table
    }

    #[test]
    fn the_readme_has_the_table_of_faults() {
        let readme = include_str!("../README.md");
        assert!(
            readme.contains(&table()),
            "put this into README.md:\n{}",
            table()
        );
    }

    #[test]
    fn names_are_unique_and_round_trip() {
        let names: BTreeSet<_> = FaultKind::ALL
            .iter()
            .map(|kind| kind.facts().name)
            .collect();
        assert_eq!(names.len(), FaultKind::ALL.len());
        for kind in FaultKind::ALL {
            let json = serde_json::to_string(kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.facts().name));
            assert_eq!(serde_json::from_str::<FaultKind>(&json).unwrap(), *kind);
        }
    }

    #[test]
    fn a_fault_expects_rules_exactly_when_it_expects_an_alert() {
        for kind in FaultKind::ALL {
            let facts = kind.facts();
            assert_eq!(
                facts.expect == Expectation::Alert,
                !facts.rules.is_empty(),
                "{}",
                facts.name
            );
            assert!(facts.lasts_s > 0);
        }
    }

    #[test]
    fn hardware_failures_come_at_the_studies_rate_and_applications_far_outnumber_them() {
        let h100 = Sku::by_id("h100").unwrap();
        let hardware: f64 = FaultKind::ALL
            .iter()
            .filter(|kind| kind.facts().expect == Expectation::Alert)
            .map(|kind| kind.rate_per_gpu_second(h100) * 86_400.0 * 10_000.0)
            .sum();
        let application: f64 = [FaultKind::AppXid31, FaultKind::AppXid43]
            .iter()
            .map(|kind| kind.rate_per_gpu_second(h100) * 86_400.0 * 10_000.0)
            .sum();
        assert!((5.0..12.0).contains(&hardware), "{hardware}");
        assert!(application > 20.0 * hardware);
    }
}
