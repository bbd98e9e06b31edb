//! The columns of a stored reading: every number that windows are made of, by a number that never changes.

use schema::{METRIC_COUNT, METRICS, MetricKind};

/// A set of columns, one bit each.
pub type Mask = u128;

/// How many columns there are.
pub const COLUMN_COUNT: usize = COLUMNS.len();

/// The columns' names; a column's number is its place.
///
/// The numbers stand in the changelog: a new metric goes to the end, and no line ever moves. A test tells when the
/// schema has a metric that is missing here. `recovery_action` is, on purpose: a code is no level, and what came up is
/// told by the anomaly-detector. `bank_remap_…` are the members of `bank_remap_avail`.
pub const COLUMNS: [&str; 68] = [
    "gpu_temp_c",
    "memory_temp_c",
    "power_usage_w",
    "throttle_reasons",
    "temp_limit_margin_c",
    "slowdown_temp_c",
    "shutdown_temp_c",
    "gpu_max_op_temp_c",
    "mem_max_op_temp_c",
    "thermal_violation_ns",
    "power_violation_ns",
    "hw_thermal_slowdown_ns",
    "sw_thermal_slowdown_ns",
    "hw_power_brake_slowdown_ns",
    "sw_power_cap_ns",
    "fb_used_mib",
    "fb_free_mib",
    "fb_total_mib",
    "utilization_pct",
    "ecc_sbe_volatile",
    "ecc_dbe_volatile",
    "ecc_sbe_aggregate",
    "ecc_dbe_aggregate",
    "retired_pages_sbe",
    "retired_pages_dbe",
    "retired_pages_pending",
    "row_remap_correctable",
    "row_remap_uncorrectable",
    "row_remap_pending",
    "row_remap_failure",
    "sram_threshold_exceeded",
    "memory_unrepairable",
    "sm_active_pct",
    "sm_occupancy_pct",
    "tensor_active_pct",
    "dram_active_pct",
    "gr_engine_active_pct",
    "pcie_tx_mb_per_sec",
    "pcie_rx_mb_per_sec",
    "nvlink_tx_mb_per_sec",
    "nvlink_rx_mb_per_sec",
    "gpu_utilization_pct",
    "memory_copy_utilization_pct",
    "encoder_utilization_pct",
    "decoder_utilization_pct",
    "sm_clock_mhz",
    "mem_clock_mhz",
    "enforced_limit_w",
    "default_limit_w",
    "total_energy_mj",
    "fan_speed_pct",
    "pcie_gen",
    "pcie_width",
    "pcie_gen_max",
    "pcie_width_max",
    "pcie_replay",
    "pcie_correctable_errors",
    "nvlink_crc_flit",
    "nvlink_crc_data",
    "nvlink_replay",
    "nvlink_recovery",
    "nvlink_links_up",
    "last_xid",
    "bank_remap_max",
    "bank_remap_high",
    "bank_remap_partial",
    "bank_remap_low",
    "bank_remap_none",
];

/// Members of `bank_remap_avail`, in the order of their columns.
pub const BANK_REMAP_MEMBERS: [&str; 5] = ["max", "high", "partial", "low", "none"];

/// The first of the five columns of `bank_remap_avail`.
pub const BANK_REMAP: usize = column("bank_remap_max");

/// The mask of clock-event reasons.
pub const THROTTLE_REASONS: usize = column("throttle_reasons");

/// The sticky Xid.
pub const LAST_XID: usize = column("last_xid");

/// Gauges, flags and limits: what has a minimum, a mean and percentiles.
pub const LEVELS: Mask = levels();

/// Counters: what has increments.
pub const COUNTERS: Mask = of_kind(MetricKind::Counter);

/// Columns whose reading is held against the one before.
pub const TRACKED: Mask = COUNTERS | (1 << LAST_XID);

/// The column of each metric, by its index in [`METRICS`]; none for those that are not stored.
pub const COLUMN_OF_METRIC: [Option<u8>; METRIC_COUNT] = columns_of_metrics();

/// The columns in `mask`, ascending.
pub fn columns_in(mask: Mask) -> impl Iterator<Item = usize> {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of it")]
    let (low, high) = (mask as u64, (mask >> 64) as u64);
    Bits { low, high }
}

/// Two words, since finding the lowest bit of one is a single instruction.
struct Bits {
    low: u64,
    high: u64,
}

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.low != 0 {
            let column = self.low.trailing_zeros();
            self.low &= self.low - 1;
            return Some(column as usize);
        }
        if self.high != 0 {
            let column = self.high.trailing_zeros();
            self.high &= self.high - 1;
            return Some(64 + column as usize);
        }
        None
    }
}

pub(super) const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn find(name: &str) -> Option<usize> {
    let mut at = 0;
    while at < COLUMNS.len() {
        if equal(COLUMNS[at], name) {
            return Some(at);
        }
        at += 1;
    }
    None
}

const fn column(name: &str) -> usize {
    match find(name) {
        Some(column) => column,
        // Reached while compiling only.
        None => unreachable!(),
    }
}

const fn of_kind(kind: MetricKind) -> Mask {
    let mut mask = 0;
    let mut at = 0;
    while at < METRIC_COUNT {
        if METRICS[at].kind as u8 == kind as u8
            && let Some(column) = find(METRICS[at].name)
        {
            mask |= 1 << column;
        }
        at += 1;
    }
    mask
}

const fn levels() -> Mask {
    let bank_remap = ((1 << BANK_REMAP_MEMBERS.len()) - 1) << BANK_REMAP;
    of_kind(MetricKind::Gauge) | of_kind(MetricKind::Flag) | of_kind(MetricKind::Limit) | bank_remap
}

const fn columns_of_metrics() -> [Option<u8>; METRIC_COUNT] {
    let mut columns = [None; METRIC_COUNT];
    let mut at = 0;
    while at < METRIC_COUNT {
        if let Some(column) = find(METRICS[at].name) {
            #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 128")]
            let column = column as u8;
            columns[at] = Some(column);
        }
        at += 1;
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_but_the_recovery_action_has_a_column_and_every_column_a_meaning() {
        let columns: BTreeSet<&str> = COLUMNS.into_iter().collect();
        assert_eq!(columns.len(), COLUMN_COUNT, "names are unique");
        assert!(COLUMN_COUNT <= Mask::BITS as usize);
        let mut expected: BTreeSet<String> = METRICS.iter().map(|m| m.name.to_owned()).collect();
        assert!(expected.remove("recovery_action"));
        expected.extend(BANK_REMAP_MEMBERS.map(|member| format!("bank_remap_{member}")));
        assert_eq!(
            columns,
            expected.iter().map(String::as_str).collect::<BTreeSet<_>>()
        );
        let special = (1 << THROTTLE_REASONS) | (1 << LAST_XID);
        assert_eq!(LEVELS & COUNTERS, 0);
        assert_eq!((LEVELS | COUNTERS) & special, 0);
        assert_eq!(LEVELS | COUNTERS | special, (1 << COLUMN_COUNT) - 1);
    }

    #[test]
    fn the_numbers_of_columns_are_those_in_the_changelog() {
        // A change here makes old state unreadable: append instead.
        assert_eq!(THROTTLE_REASONS, 3);
        assert_eq!(column("sm_active_pct"), 32);
        assert_eq!(LAST_XID, 62);
        assert_eq!(BANK_REMAP, 63);
    }

    #[test]
    fn columns_come_in_ascending_order() {
        let mask = 1 | (1 << 63) | (1 << 64) | (1 << 100);
        assert_eq!(columns_in(mask).collect::<Vec<_>>(), [0, 63, 64, 100]);
        assert_eq!(columns_in(0).count(), 0);
    }
}
