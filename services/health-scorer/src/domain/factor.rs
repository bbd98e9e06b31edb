//! Every reason why a score is not 100: what it costs, how long it is remembered, what it forbids.
//!
//! One table is the rules' defaults, the configuration's names and the README's list. Points are taken from the factor's
//! dimension; a cap bounds the overall score while the factor's condition holds, whatever the mean says.

use super::dimension::Dimension;
use schema::HealthState;
use serde::{Deserialize, Serialize};

/// What the table says about a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorSpec {
    /// Its name on the wire and in the configuration.
    pub name: &'static str,
    /// The dimension it takes points from.
    pub dimension: Dimension,
    /// Its defaults.
    pub rule: FactorRule,
    /// What should happen with the GPU while its condition holds.
    pub state: Option<HealthState>,
    /// What it is.
    pub what: &'static str,
    /// Where the numbers come from.
    pub source: &'static str,
    /// The sentence for a person: `{value}` and `{limit}` stand for what was seen and what it was held against, with a `%` for
    /// shares.
    pub evidence: &'static str,
}

/// What a factor costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorRule {
    /// Points: for each occurrence, or while it holds.
    pub points: f64,
    /// Points for each unit of its value on top, where it has one.
    pub slope: Option<f64>,
    /// The most points it takes.
    pub max_points: f64,
    /// Days until an occurrence counts half; none for what holds or does not.
    pub half_life_days: Option<f64>,
    /// The most that the overall score may be while its condition holds.
    pub cap: Option<f64>,
}

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

impl FactorRule {
    /// What is left of a penalty after `age_ms`: half of it after a half-life. An age below zero is none.
    pub fn decay(&self, age_ms: i64) -> f64 {
        match self.half_life_days {
            Some(days) => (-(age_ms.max(0) as f64) / (days * DAY_MS as f64)).exp2(),
            None => 1.0,
        }
    }

    /// Points for a value of `units` above where the slope begins.
    pub fn sloped(&self, units: f64) -> f64 {
        (self.points + self.slope.unwrap_or(0.0) * units).clamp(0.0, self.max_points)
    }
}

macro_rules! factors {
    ($(
        $variant:ident $name:literal $dimension:ident
        [$points:literal, $slope:expr, $max:literal, $half_life:expr, $cap:expr, $state:expr]
        $what:literal, $source:literal, $evidence:literal;
    )*) => {
        /// A factor. The order is part of the layout of stored state: new ones go to the end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Factor {
            $( #[doc = $what] $variant, )*
        }

        impl Factor {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// What the table says about it.
            pub const fn spec(self) -> &'static FactorSpec {
                match self {
                    $( Self::$variant => &FactorSpec {
                        name: $name,
                        dimension: Dimension::$dimension,
                        rule: FactorRule {
                            points: $points,
                            slope: $slope,
                            max_points: $max,
                            half_life_days: $half_life,
                            cap: $cap,
                        },
                        state: $state,
                        what: $what,
                        source: $source,
                        evidence: $evidence,
                    }, )*
                }
            }
        }
    };
}

impl Factor {
    /// Its place in [`Factor::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The factor with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|factor| factor.spec().name == name)
    }
}

const DEGRADED: Option<HealthState> = Some(HealthState::Degraded);
const DRAIN: Option<HealthState> = Some(HealthState::Drain);
const RMA: Option<HealthState> = Some(HealthState::RmaCandidate);
const LOST: Option<HealthState> = Some(HealthState::Lost);

// [points, slope, most points, half-life in days, cap, state while it holds]
factors! {
    DoubleBitEcc "double_bit_ecc" Memory [40.0, None, 100.0, Some(14.0), None, DRAIN]
        "A double-bit ECC error (its counter, or Xid 48, 171, 172), each time. Drain until a reset is seen.", "DCGM's health watch fails a volatile double-bit error; NVIDIA's Xid catalogue resets for 48",
        "{value} double-bit ECC error(s)";
    RepeatedDoubleBitEcc "repeated_double_bit_ecc" Memory [0.0, None, 100.0, None, Some(40.0), DRAIN]
        "Two or more double-bit errors in 30 days.", "Titan (SC20): 311 of 3,946 GPUs had a second",
        "{value} double-bit ECC errors at different times";
    UncontainedEcc "uncontained_ecc" Memory [45.0, None, 100.0, Some(14.0), Some(40.0), DRAIN]
        "An uncontained memory error (Xid 95, 140), each time. Capped until a reset is seen.", "Xid catalogue: RESET_GPU; DCGM fails both",
        "{value} uncontained memory error(s)";
    ContainedEcc "contained_ecc" Memory [15.0, None, 100.0, Some(14.0), None, None]
        "A contained memory error (Xid 94), each time: one application died, no more.", "Xid catalogue: RESTART_APP; DCGM only warns",
        "{value} contained memory error(s)";
    RowRemapPending "row_remap_pending" Memory [20.0, None, 20.0, None, Some(60.0), DRAIN]
        "A row remap waits for a GPU reset.", "NVSentinel: PENDING_ROW_REMAP is COMPONENT_RESET",
        "a row remap waits for a GPU reset";
    RowRemapFailure "row_remap_failure" Memory [60.0, None, 60.0, None, Some(20.0), RMA]
        "A row remap failed: the flag, or Xid 64 until the flag reads 0 after a reset.", "NVIDIA's condition for a replacement (GPU memory error management)",
        "a row remap failed";
    RowRemaps "row_remaps" Memory [0.0, Some(5.0), 25.0, None, None, None]
        "Rows remapped for uncorrectable errors, U in all: slope x log2(1 + U).", "NVIDIA: 8 spare rows a bank, 512 in all; Delta (arXiv 2503.11901): half of the remaps do not end it",
        "{value} row(s) remapped for uncorrectable errors";
    RecentRowRemaps "recent_row_remaps" Memory [5.0, None, 25.0, None, None, None]
        "Rows newly remapped for uncorrectable errors in 7 days, each.", "growth is the lead indicator (Delta)",
        "{value} row(s) newly remapped for uncorrectable errors";
    RowRemapsExhausted "row_remaps_exhausted" Memory [0.0, None, 100.0, None, Some(20.0), RMA]
        "512 or more rows remapped: the spare rows are used up.", "DCGM's health watch; NVIDIA: 512 remaps at most",
        "{value} rows remapped, {limit} use the spare rows up";
    BanksLow "banks_low" Memory [5.0, None, 5.0, None, None, None]
        "Banks with few spare rows left.", "NVIDIA: 8 spare rows a bank (fields 385 to 389)",
        "{value} bank(s) with few spare rows left";
    BanksExhausted "banks_exhausted" Memory [20.0, None, 20.0, None, Some(55.0), DEGRADED]
        "Banks with no spare row left: the next fault there can't be repaired.", "NVIDIA: 8 spare rows a bank (fields 385 to 389)",
        "{value} bank(s) without a spare row left";
    SramThreshold "sram_threshold" Memory [60.0, None, 60.0, None, Some(20.0), RMA]
        "The SRAM error threshold is exceeded.", "NVIDIA's condition for a replacement (field 346)",
        "the SRAM error threshold is exceeded";
    MemoryUnrepairable "memory_unrepairable" Memory [90.0, None, 90.0, None, Some(10.0), RMA]
        "Memory can't be repaired.", "DCGM's health watch fails field 1507",
        "memory can't be repaired";
    SbeRate "sbe_rate" Memory [0.0, Some(5.0), 20.0, None, None, None]
        "Single-bit errors in the worst hour of 24, r, from 10 an hour: slope x log10(r / 10).", "a log scale: limits in use run from 100 an hour (GHI) to 5e7 in all (Meta), and DCGM issue 313 saw 17,700 a second without one double-bit error",
        "{value} single-bit ECC errors in the worst hour of 24, {limit} are free";
    SbeStorm "sbe_storm" Memory [10.0, None, 10.0, Some(7.0), None, None]
        "The driver reports a high rate of single-bit errors (Xid 92).", "Xid catalogue: IGNORE, then support",
        "the driver reports a high rate of single-bit errors";
    RetiredPages "retired_pages" Memory [10.0, None, 10.0, None, None, None]
        "Pages retired for double-bit errors (before Ampere).", "NVIDIA: dynamic page retirement",
        "{value} page(s) retired for double-bit errors";
    RetiredPagesPending "retired_pages_pending" Memory [0.0, None, 100.0, None, Some(60.0), DRAIN]
        "Pages wait for a reset to be retired (before Ampere).", "DCGM's health watch warns",
        "pages wait for a reset to be retired";
    RetiredPagesFull "retired_pages_full" Memory [0.0, None, 100.0, None, Some(20.0), RMA]
        "63 or more pages retired (before Ampere).", "DCGM's health watch fails; 64 is the most there is room for",
        "{value} pages retired, {limit} are too many";

    ThermalMargin "thermal_margin" Thermal [0.0, Some(2.0), 24.0, None, None, None]
        "The margin m to the maximum operating temperature under load, at the worst 5 % of 15 minutes, below 8 degrees: slope x (8 - m).", "Acme's healthy A100s keep 14 to 17 degrees at the 99th percentile",
        "{value} degrees to the maximum operating temperature under load, {limit} are free";
    ThermalSlowdown "thermal_slowdown" Thermal [35.0, None, 35.0, None, Some(50.0), DEGRADED]
        "That margin at or past the one where the hardware slows down; takes the place of `thermal_margin`.", "NVSentinel ADR-042: -2 on Hopper, -3 on B200; A100 87 against 83 degrees",
        "{value} degrees to the maximum operating temperature under load, the hardware slows down at {limit}";
    HbmMargin "hbm_margin" Thermal [0.0, Some(2.0), 25.0, None, None, None]
        "The same margin of the memory.", "gpud: HBM against its own maximum (field 151)",
        "{value} degrees to the memory's maximum operating temperature under load, {limit} are free";
    HwThermalSlowdown "hw_thermal_slowdown" Thermal [10.0, Some(100.0), 40.0, None, None, None]
        "Share of the last hour in which the hardware throttled for heat (0x40), from 0.1 %: points + slope x share.", "DCGM's zero threshold alarms too often (issues 242, 270, 285)",
        "throttled for heat by the hardware in {value%} % of the last hour";
    SwThermalSlowdown "sw_thermal_slowdown" Thermal [0.0, Some(50.0), 20.0, None, None, None]
        "Share of the last hour in which the driver throttled for heat (0x20), from 0.1 %.", "as above; milder, since the driver acts first",
        "throttled for heat by the driver in {value%} % of the last hour";

    PcieWidth "pcie_width" Performance [25.0, None, 25.0, None, Some(70.0), DEGRADED]
        "Fewer PCIe lanes than card and slot have, under load.", "InfiniteHBD: 25 of 158 GPU faults",
        "{value} of {limit} PCIe lanes under load";
    PcieGeneration "pcie_generation" Performance [15.0, None, 15.0, None, None, None]
        "A lower PCIe generation than card and slot have, under load. At idle it saves power.", "Minder: PCIe downgrades are 8.6 % of faults",
        "PCIe Gen{value} of Gen{limit} under load";
    ProfilingDivergence "profiling_divergence" Performance [25.0, None, 25.0, None, None, None]
        "Utilisation of 90 % and more while no multiprocessor works, for 10 minutes: a hang, or a broken profiler.", "DCGM issue 303",
        "busy by utilisation, yet no multiprocessor works";
    HwSlowdown "hw_slowdown" Performance [0.0, Some(20.0), 20.0, None, None, None]
        "Share of the last hour with the hardware's slowdown (0x8), the umbrella of heat and brake.", "NVIDIA's clock event reasons",
        "slowed down by the hardware in {value%} % of the last hour";

    PowerBrake "power_brake" Power [15.0, Some(100.0), 45.0, None, None, None]
        "Share of the last hour with the external power brake (0x80), from 0.1 %: points + slope x share.", "power supply, distribution or chassis",
        "braked by the power supply in {value%} % of the last hour";
    PowerOverLimit "power_over_limit" Power [15.0, None, 15.0, None, None, None]
        "Mean power of 15 minutes above 1.15 times the limit in force.", "Acme's A100s draw 1.10 times it at the 99th percentile: above TDP is normal",
        "{value} W drawn in the mean of 15 minutes, {limit} W are plausible";
    PowerCapLow "power_cap_low" Power [15.0, None, 15.0, None, None, None]
        "Held down by the power cap (0x4) for 10 minutes of the last hour while drawing less than 85 % of the limit. At the limit a cap is normal.", "NVIDIA's clock event reasons",
        "held down by the power cap for {value} s of the last hour while drawing little, {limit} s are free";
    PowerLimitLowered "power_limit_lowered" Power [5.0, None, 5.0, None, None, None]
        "The limit in force is below the factory's: configuration drift.", "information",
        "the power limit is {value} W, the factory's {limit} W";
    PowerUnreadable "power_unreadable" Power [10.0, None, 10.0, None, None, None]
        "Power can't be read any more while other fields can.", "sensor or power controller",
        "power can't be read any more";

    GpuLost "gpu_lost" Reliability [60.0, None, 100.0, Some(28.0), Some(10.0), LOST]
        "Fallen off the bus (Xid 79), or silent while its host's other GPUs report, each time. Capped while it is silent, whoever is to blame.", "Xid catalogue: RESTART_BM; dcgm-exporter issue 348: a lost GPU's series vanish",
        "lost {value} time(s)";
    GpuReturned "gpu_returned" Reliability [0.0, None, 100.0, None, Some(50.0), DEGRADED]
        "Back for less than 24 hours after it was lost.", "InfiniteHBD: 153 of 584 faults repeat on the node within 7 days",
        "back since it was lost";
    FatalXid "fatal_xid" Reliability [20.0, None, 100.0, Some(28.0), Some(50.0), DRAIN]
        "A fault that needs a reset (Xid 46, 62, 109, 110, 119, 120, 143, 158, 167), each time. Capped until a reset is seen.", "Xid catalogue: RESET_GPU",
        "{value} fault(s) that need a reset";
    NvlinkXid "nvlink_xid" Reliability [10.0, None, 30.0, Some(14.0), None, None]
        "An NVLink fault (Xid 74, 136, 144 to 150, 155), each time.", "Fire-Flyer: 43 % of all Xids are 74, on few GPUs",
        "{value} NVLink fault(s)";
    HardwareXid "hardware_xid" Reliability [5.0, None, 30.0, Some(14.0), None, None]
        "A fault of the management bus or the C2C link (Xid 121, 122, 123), each time.", "Delta: 122 seen 77 times on A100",
        "{value} fault(s) of the management bus";
    ApplicationXidRepeat "application_xid_repeat" Reliability [10.0, None, 10.0, Some(7.0), None, None]
        "Application Xids (13, 31, 32, 43, 45, 69) in three jobs within 24 hours: then it is not the application. One alone costs nothing.", "they outnumber hardware Xids a hundred to one (Delta, Fire-Flyer)",
        "application faults in {value} different jobs within a day";
    NvlinkErrors "nvlink_errors" Reliability [10.0, None, 10.0, Some(1.0), None, None]
        "NVLink replays or recoveries.", "DCGM's health watch fails the first one",
        "{value} NVLink replay(s) and recoveries";
    NvlinkCrc "nvlink_crc" Reliability [20.0, None, 20.0, Some(1.0), None, None]
        "100 NVLink CRC errors a second.", "DCGM's health watch",
        "{value} NVLink CRC errors a second";
    NvlinkDown "nvlink_down" Reliability [0.0, None, 100.0, None, Some(40.0), DRAIN]
        "Fewer links of NVLink up than this GPU has had.", "DCGM's health watch fails a link that is down",
        "{value} of {limit} NVLink links up";
    PcieReplay "pcie_replay" Reliability [15.0, None, 15.0, Some(1.0), None, None]
        "More PCIe replays a minute than generation and lanes allow (Gen4 x16: 16, Gen5 x16: 31).", "DCGM's health watch; Meta RSC: PCIe errors come with 43 to 63 % of Xid 79",
        "{value} PCIe replays in a minute, {limit} are allowed";
    Completeness "completeness" Reliability [0.0, Some(100.0), 20.0, None, None, None]
        "Share of the last 24 hours (or since it was first seen) with readings, c, below 95 %: slope x (0.95 - c). Not when its whole host was silent.", "the original, without its penalty for a new GPU",
        "readings in {value%} % of the last day, {limit%} % are expected";
    RepeatedIncidents "repeated_incidents" Reliability [30.0, None, 30.0, Some(28.0), Some(50.0), DEGRADED]
        "Three or more incidents in 28 days that needed a repair: a lemon.", "Meta RSC (arXiv 2410.21680): over 85 % of lemon nodes found so",
        "{value} incidents that needed a repair";
    RecoveryDrainP2p "recovery_drain_p2p" Reliability [0.0, None, 100.0, None, Some(60.0), DRAIN]
        "The driver asks to drain peer-to-peer traffic (recovery action 3).", "field 1523, Xid 154: the authoritative action",
        "the driver asks to drain peer-to-peer traffic";
    RecoveryReset "recovery_reset" Reliability [0.0, None, 100.0, None, Some(50.0), DRAIN]
        "The driver asks for a GPU reset (recovery action 1).", "field 1523, Xid 154: the authoritative action",
        "the driver asks for a GPU reset";
    RecoveryDrainReset "recovery_drain_and_reset" Reliability [0.0, None, 100.0, None, Some(40.0), DRAIN]
        "The driver asks to drain and reset the GPU (recovery action 4).", "field 1523, Xid 154: the authoritative action",
        "the driver asks to drain and reset the GPU";
    RecoveryReboot "recovery_reboot" Reliability [0.0, None, 100.0, None, Some(30.0), DRAIN]
        "The driver asks for a reboot of the node (recovery action 2).", "field 1523, Xid 154: the authoritative action",
        "the driver asks for a reboot of the node";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<_> = Factor::ALL.iter().map(|f| f.spec().name).collect();
        assert_eq!(names.len(), Factor::ALL.len());
        for (at, factor) in Factor::ALL.iter().enumerate() {
            assert_eq!(factor.index(), at);
            assert_eq!(Factor::named(factor.spec().name), Some(*factor));
        }
        assert_eq!(Factor::named("power_cv"), None);
    }

    #[test]
    fn every_factor_costs_something_and_says_why() {
        for factor in Factor::ALL {
            let spec = factor.spec();
            let rule = spec.rule;
            let costs = rule.points > 0.0 || rule.slope.is_some() || rule.cap.is_some();
            assert!(costs, "{}", spec.name);
            assert!((0.0..=100.0).contains(&rule.points), "{}", spec.name);
            assert!(rule.points <= rule.max_points, "{}", spec.name);
            assert!(spec.what.ends_with('.'), "{}", spec.name);
            assert!(!spec.source.is_empty(), "{}", spec.name);
        }
    }

    #[test]
    fn a_penalty_halves_with_each_half_life() {
        let rule = Factor::DoubleBitEcc.spec().rule;
        let cases = [
            (0, 1.0),
            (-DAY_MS, 1.0),
            (7 * DAY_MS, 0.5_f64.sqrt()),
            (14 * DAY_MS, 0.5),
            (42 * DAY_MS, 0.125),
        ];
        for (age_ms, left) in cases {
            assert!((rule.decay(age_ms) - left).abs() < 1e-12, "{age_ms}");
        }
        let holds = Factor::RowRemapPending.spec().rule;
        assert!((holds.decay(365 * DAY_MS) - 1.0).abs() < f64::EPSILON);
    }
}
