//! The metrics of a reading: one struct a group, and one table of them all.

use crate::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a metric's number means, and so how it may be folded over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricKind {
    /// A level: minimum, maximum, mean and percentiles make sense.
    Gauge,
    /// A cumulative count: only its increments make sense, and it may restart from zero (driver reload, GPU reset).
    Counter,
    /// 0 or 1.
    Flag,
    /// The last code seen (`last_xid`): a sticky gauge, neither a level nor a count.
    Code,
    /// A mask of bits.
    Bitmask,
    /// A limit that the device reports about itself; constant in practice.
    Limit,
}

/// One metric of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDef {
    /// The group it stands in: `health` in `metrics.health.gpu_temp_c`.
    pub group: &'static str,
    /// Its name, unique among all groups, unit last.
    pub name: &'static str,
    /// What its number means.
    pub kind: MetricKind,
    /// The unit in UCUM-like short form (`Cel`, `W`, `MiB`, `%`, `MHz`, `ns`, `1`).
    pub unit: &'static str,
}

macro_rules! metric_groups {
    ($(
        $(#[$group_doc:meta])*
        $group:ident $field:ident { $( $(#[$doc:meta])* $name:ident: $kind:ident $unit:literal, )* } $( + { $( $(#[$extra_doc:meta])* $extra:ident: $extra_ty:ty, )* } )?
    )*) => {
        $(
            $(#[$group_doc])*
            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
            pub struct $group<'a> {
                $(
                    $(#[$doc])*
                    #[serde(default, skip_serializing_if = "Option::is_none")]
                    pub $name: Option<f64>,
                )*
                $($(
                    $(#[$extra_doc])*
                    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
                    pub $extra: Option<$extra_ty>,
                )*)?
                #[doc(hidden)]
                #[serde(skip)]
                pub lifetime: std::marker::PhantomData<&'a ()>,
            }
        )*

        /// Every metric of a reading by group. A missing number is unknown, never zero.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct Metrics<'a> {
            $(
                $(#[$group_doc])*
                #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$group<'a>>,
            )*
        }

        /// Every scalar metric, in the order of the wire groups; a metric's place in it is its index.
        pub const METRICS: &[MetricDef] = &[
            $($( MetricDef { group: stringify!($field), name: stringify!($name), kind: MetricKind::$kind, unit: $unit }, )*)*
        ];

        /// The number of scalar metrics.
        pub const METRIC_COUNT: usize = METRICS.len();

        impl Metrics<'_> {
            /// Calls `visit` with the index (into [`METRICS`]) and the value of each metric that is known.
            pub fn for_each(&self, mut visit: impl FnMut(usize, f64)) {
                let mut index = 0;
                $(
                    if let Some(group) = &self.$field {
                        let mut at = index;
                        $( if let Some(value) = group.$name { visit(at, value); } at += 1; )*
                        debug_assert!(at >= index);
                    }
                    index += [$(stringify!($name)),*].len();
                )*
                debug_assert_eq!(index, METRIC_COUNT);
            }

            /// The value of the metric with `index` in [`METRICS`], when it is known.
            pub fn get(&self, index: usize) -> Option<f64> {
                let mut found = None;
                self.for_each(|at, value| if at == index { found = Some(value); });
                found
            }

            /// Sets the metric `name`, making its group where it is absent; false when there is no such metric.
            pub fn set(&mut self, name: &str, value: Option<f64>) -> bool {
                match name {
                    $($( stringify!($name) => self.$field.get_or_insert_default().$name = value, )*)*
                    _ => return false,
                }
                true
            }
        }
    };
}

metric_groups! {
    /// Temperatures, power and throttling.
    Health health {
        /// Core temperature (field 150).
        gpu_temp_c: Gauge "Cel",
        /// HBM temperature (140); absent on cards without the sensor.
        memory_temp_c: Gauge "Cel",
        /// Board power, averaged by the driver (155).
        power_usage_w: Gauge "W",
        /// Clock-event reasons (112); see [`crate::ThrottleReason`].
        throttle_reasons: Bitmask "1",
        /// Distance to the maximum operating temperature (153); 0 is at it, negative past it.
        temp_limit_margin_c: Gauge "Cel",
        /// Slowdown temperature (158).
        slowdown_temp_c: Limit "Cel",
        /// Shutdown temperature (159).
        shutdown_temp_c: Limit "Cel",
        /// Maximum operating temperature of the core (152).
        gpu_max_op_temp_c: Limit "Cel",
        /// Maximum operating temperature of the memory (151).
        mem_max_op_temp_c: Limit "Cel",
        /// Time below application clocks because of temperature (241).
        thermal_violation_ns: Counter "ns",
        /// Time below application clocks because of power (240).
        power_violation_ns: Counter "ns",
        /// Time with `HW_THERMAL_SLOWDOWN` (1423).
        hw_thermal_slowdown_ns: Counter "ns",
        /// Time with `SW_THERMAL_SLOWDOWN` (1422).
        sw_thermal_slowdown_ns: Counter "ns",
        /// Time with `HW_POWER_BRAKE_SLOWDOWN` (1424).
        hw_power_brake_slowdown_ns: Counter "ns",
        /// Time with `SW_POWER_CAP` (1420).
        sw_power_cap_ns: Counter "ns",
    } + {
        /// The names of the bits of `throttle_reasons`.
        throttle_reasons_decoded: Vec<Text<'a>>,
    }
    /// Frame buffer, ECC, page retirement and row remapping.
    Memory memory {
        /// Frame buffer used (252).
        fb_used_mib: Gauge "MiB",
        /// Frame buffer free (251).
        fb_free_mib: Gauge "MiB",
        /// Frame buffer in all (250).
        fb_total_mib: Limit "MiB",
        /// Share of the frame buffer used.
        utilization_pct: Gauge "%",
        /// Single-bit errors since the driver was loaded (310).
        ecc_sbe_volatile: Counter "1",
        /// Double-bit errors since the driver was loaded (311).
        ecc_dbe_volatile: Counter "1",
        /// Single-bit errors, lifetime (312).
        ecc_sbe_aggregate: Counter "1",
        /// Double-bit errors, lifetime (313).
        ecc_dbe_aggregate: Counter "1",
        /// Pages retired for single-bit errors (390); before Ampere.
        retired_pages_sbe: Counter "1",
        /// Pages retired for double-bit errors (391); before Ampere.
        retired_pages_dbe: Counter "1",
        /// Pages wait for a reboot to be retired (392).
        retired_pages_pending: Flag "1",
        /// Rows remapped for correctable errors (394).
        row_remap_correctable: Counter "1",
        /// Rows remapped for uncorrectable errors (393).
        row_remap_uncorrectable: Counter "1",
        /// A remap waits for a GPU reset (396).
        row_remap_pending: Flag "1",
        /// A remap failed (395): NVIDIA's condition for a replacement.
        row_remap_failure: Flag "1",
        /// The SRAM error threshold is exceeded (346).
        sram_threshold_exceeded: Flag "1",
        /// Memory can't be repaired (1507).
        memory_unrepairable: Flag "1",
    } + {
        /// Banks by the spare rows they have left (385 to 389).
        bank_remap_avail: BankRemap<'a>,
    }
    /// Activity and traffic.
    Performance performance {
        /// Share of time with at least one warp on a multiprocessor (1002).
        sm_active_pct: Gauge "%",
        /// Share of warps resident (1003).
        sm_occupancy_pct: Gauge "%",
        /// Share of time the tensor pipe was active (1004).
        tensor_active_pct: Gauge "%",
        /// Share of time the memory interface moved data (1005).
        dram_active_pct: Gauge "%",
        /// Share of time the graphics engine was active (1001).
        gr_engine_active_pct: Gauge "%",
        /// PCIe bytes sent, 10^6 a second (1009).
        pcie_tx_mb_per_sec: Gauge "MB/s",
        /// PCIe bytes received, 10^6 a second (1010).
        pcie_rx_mb_per_sec: Gauge "MB/s",
        /// NVLink bytes sent, 10^6 a second (1011).
        nvlink_tx_mb_per_sec: Gauge "MB/s",
        /// NVLink bytes received, 10^6 a second (1012).
        nvlink_rx_mb_per_sec: Gauge "MB/s",
        /// Utilisation as the driver reports it (203).
        gpu_utilization_pct: Gauge "%",
        /// Memory copy utilisation (204).
        memory_copy_utilization_pct: Gauge "%",
        /// Encoder utilisation (206).
        encoder_utilization_pct: Gauge "%",
        /// Decoder utilisation (207).
        decoder_utilization_pct: Gauge "%",
    }
    /// Clocks.
    Clocks clocks {
        /// Multiprocessor clock (100).
        sm_clock_mhz: Gauge "MHz",
        /// Memory clock (101).
        mem_clock_mhz: Gauge "MHz",
    }
    /// Power limits and energy.
    Power power {
        /// The limit in force (164).
        enforced_limit_w: Limit "W",
        /// The limit from the factory (163).
        default_limit_w: Limit "W",
        /// Energy since the driver was loaded (156).
        total_energy_mj: Counter "mJ",
    }
    /// Cooling.
    Cooling cooling {
        /// Fan speed; absent on passively cooled boards.
        fan_speed_pct: Gauge "%",
    }
    /// PCIe and NVLink.
    Interconnect interconnect {
        /// PCIe generation now (237); drops at idle by design.
        pcie_gen: Gauge "1",
        /// PCIe lanes now (238).
        pcie_width: Gauge "1",
        /// The highest PCIe generation of card and slot (235).
        pcie_gen_max: Limit "1",
        /// The most PCIe lanes of card and slot (236).
        pcie_width_max: Limit "1",
        /// PCIe replays (202).
        pcie_replay: Counter "1",
        /// PCIe correctable errors (1501).
        pcie_correctable_errors: Counter "1",
        /// NVLink flit CRC errors, all links (409).
        nvlink_crc_flit: Counter "1",
        /// NVLink data CRC errors, all links (419).
        nvlink_crc_data: Counter "1",
        /// NVLink replays, all links (429).
        nvlink_replay: Counter "1",
        /// NVLink recoveries, all links (439).
        nvlink_recovery: Counter "1",
        /// Links of NVLink that are up.
        nvlink_links_up: Gauge "1",
    }
    /// Faults that the driver reports.
    Errors errors {
        /// The last Xid (230): sticky, so that a repeat of the same code does not show here.
        last_xid: Code "1",
        /// The recovery that the driver asks for (1523): 0 none, 1 GPU reset, 2 node reboot, 3 drain P2P, 4 drain and reset.
        recovery_action: Code "1",
    } + {
        /// Xids by code, counted over the exporter's window (`DCGM_EXP_XID_ERRORS_COUNT`).
        xid_counts: BTreeMap<Text<'a>, f64>,
    }
}

/// Memory banks by the spare rows they have left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BankRemap<'a> {
    /// Banks with all spare rows left (385).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Banks with most left (386).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Banks with some left (387).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<f64>,
    /// Banks with few left (388).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Banks with none left (389): the next fault there can't be repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<f64>,
    #[doc(hidden)]
    #[serde(skip)]
    pub lifetime: std::marker::PhantomData<&'a ()>,
}

/// The index of metric `name` in [`METRICS`].
pub fn metric_index(name: &str) -> Option<usize> {
    METRICS.iter().position(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_has_a_name_of_its_own_and_is_visited_at_its_index() {
        let names: BTreeSet<_> = METRICS.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), METRIC_COUNT);
        for (index, metric) in METRICS.iter().enumerate() {
            let mut metrics = Metrics::default();
            assert!(metrics.set(metric.name, Some(7.0)));
            let mut visited = Vec::new();
            metrics.for_each(|at, value| visited.push((at, value)));
            assert_eq!(visited, [(index, 7.0)], "{}", metric.name);
            let json = serde_json::to_value(&metrics).unwrap();
            assert_eq!(json[metric.group][metric.name], 7.0);
        }
        assert!(!Metrics::default().set("no_such_metric", None));
    }
}
