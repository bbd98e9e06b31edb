//! The fields of DCGM that a reading is made of: their names before and after DCGM 4.6's renaming, their units, and how
//! rows of one GPU are put together.
//!
//! Names and ids are those of `dcgm_fields.h`. DCGM 4.6 renamed 326 fields and kept the old names as aliases, so a fleet
//! shows both; a few fields exist twice with different units (`SM_CLOCK` in MHz and `SM_CLOCK_HERTZ`) and have ids of
//! their own. `GPU_UTIL_RATIO` is `GPU_UTIL` renamed: its values stay whole percents, whatever the name says.

use rustc_hash::FxHashMap;
use schema::{METRICS, MetricKind, metric_index};
use std::sync::LazyLock;

/// How a value becomes the schema's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As it is.
    Same,
    /// 0 to 1, for percent.
    Ratio,
    /// Bytes a second, for 10^6 bytes a second.
    BytesPerSecond,
    /// Joules, for millijoules.
    Joules,
    /// Hertz, for megahertz.
    Hertz,
}

/// What a MIG instance's row says about the whole GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The device's own value, shown once more.
    Device,
    /// The instance's part; parts add up.
    Sum,
    /// A share of the instance's slices.
    Slices,
}

/// Where a field's value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The metric with this index in `schema::METRICS`.
    Metric(usize),
    /// Banks by spare rows left: all, most, some, few, none.
    Bank(usize),
    /// The share of the frame buffer in use, where its size is not known otherwise.
    FbUsedRatio,
    /// A counter of Xids by code.
    XidCount,
    /// The state of an NVLink.
    LinkState,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its place in [`FIELDS`].
    pub index: usize,
    /// Where its value goes.
    pub destination: Destination,
    /// Its unit.
    pub unit: Unit,
    /// What MIG rows mean.
    pub scope: Scope,
}

/// A row of the table of fields.
#[derive(Clone, Copy, Debug)]
pub struct FieldDef {
    /// DCGM's number; 0 for the exporter's own.
    pub id: u16,
    /// The name that goes into a counters file: old where there are two, since exporters of any age know it.
    pub name: &'static str,
    /// The name since DCGM 4.6, where it differs.
    pub new_name: Option<&'static str>,
    /// Where it goes: a metric's name, or a special destination.
    pub to: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// What MIG rows mean.
    pub scope: Scope,
}

macro_rules! optional {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

macro_rules! fields {
    ($( $id:literal $name:literal $(/ $new:literal)? => $to:literal $unit:ident $scope:ident; )*) => {
        /// Every field of a GPU that a reading uses.
        pub const FIELDS: &[FieldDef] = &[$(
            FieldDef { id: $id, name: $name, new_name: optional!($($new)?), to: $to, unit: Unit::$unit, scope: Scope::$scope },
        )*];
    };
}

fields! {
    100 "DCGM_FI_DEV_SM_CLOCK" => "sm_clock_mhz" Same Device;
    1603 "DCGM_FI_DEV_SM_CLOCK_HERTZ" => "sm_clock_mhz" Hertz Device;
    101 "DCGM_FI_DEV_MEM_CLOCK" => "mem_clock_mhz" Same Device;
    1604 "DCGM_FI_DEV_MEMORY_CLOCK_HERTZ" => "mem_clock_mhz" Hertz Device;
    112 "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS" / "DCGM_FI_DEV_CLOCKS_EVENT_REASONS" => "throttle_reasons" Same Device;
    140 "DCGM_FI_DEV_MEMORY_TEMP" / "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS" => "memory_temp_c" Same Device;
    150 "DCGM_FI_DEV_GPU_TEMP" / "DCGM_FI_DEV_GPU_TEMP_CELSIUS" => "gpu_temp_c" Same Device;
    151 "DCGM_FI_DEV_MEM_MAX_OP_TEMP" / "DCGM_FI_DEV_MEMORY_MAX_OP_TEMP_CELSIUS" => "mem_max_op_temp_c" Same Device;
    152 "DCGM_FI_DEV_GPU_MAX_OP_TEMP" / "DCGM_FI_DEV_GPU_MAX_OP_TEMP_CELSIUS" => "gpu_max_op_temp_c" Same Device;
    153 "DCGM_FI_DEV_GPU_TEMP_LIMIT" / "DCGM_FI_DEV_GPU_TEMP_MARGIN_CELSIUS" => "temp_limit_margin_c" Same Device;
    155 "DCGM_FI_DEV_POWER_USAGE" / "DCGM_FI_DEV_BOARD_POWER_WATTS" => "power_usage_w" Same Device;
    156 "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" => "total_energy_mj" Same Device;
    1611 "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL" => "total_energy_mj" Joules Device;
    158 "DCGM_FI_DEV_SLOWDOWN_TEMP" / "DCGM_FI_DEV_GPU_TEMP_SLOWDOWN_CELSIUS" => "slowdown_temp_c" Same Device;
    159 "DCGM_FI_DEV_SHUTDOWN_TEMP" / "DCGM_FI_DEV_GPU_TEMP_SHUTDOWN_CELSIUS" => "shutdown_temp_c" Same Device;
    163 "DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF" / "DCGM_FI_DEV_BOARD_POWER_LIMIT_DEFAULT_WATTS" => "default_limit_w" Same Device;
    164 "DCGM_FI_DEV_ENFORCED_POWER_LIMIT" / "DCGM_FI_DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS" => "enforced_limit_w" Same Device;
    191 "DCGM_FI_DEV_FAN_SPEED" => "fan_speed_pct" Same Device;
    1612 "DCGM_FI_DEV_FAN_SPEED_RATIO" => "fan_speed_pct" Ratio Device;
    202 "DCGM_FI_DEV_PCIE_REPLAY_COUNTER" / "DCGM_FI_DEV_PCIE_REPLAY_TOTAL" => "pcie_replay" Same Device;
    203 "DCGM_FI_DEV_GPU_UTIL" / "DCGM_FI_DEV_GPU_UTIL_RATIO" => "gpu_utilization_pct" Same Device;
    204 "DCGM_FI_DEV_MEM_COPY_UTIL" => "memory_copy_utilization_pct" Same Device;
    206 "DCGM_FI_DEV_ENC_UTIL" => "encoder_utilization_pct" Same Device;
    207 "DCGM_FI_DEV_DEC_UTIL" => "decoder_utilization_pct" Same Device;
    230 "DCGM_FI_DEV_XID_ERRORS" / "DCGM_FI_DEV_XID_ERROR" => "last_xid" Same Device;
    235 "DCGM_FI_DEV_PCIE_MAX_LINK_GEN" => "pcie_gen_max" Same Device;
    236 "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH" => "pcie_width_max" Same Device;
    237 "DCGM_FI_DEV_PCIE_LINK_GEN" => "pcie_gen" Same Device;
    238 "DCGM_FI_DEV_PCIE_LINK_WIDTH" => "pcie_width" Same Device;
    240 "DCGM_FI_DEV_POWER_VIOLATION" => "power_violation_ns" Same Device;
    241 "DCGM_FI_DEV_THERMAL_VIOLATION" => "thermal_violation_ns" Same Device;
    250 "DCGM_FI_DEV_FB_TOTAL" => "fb_total_mib" Same Device;
    251 "DCGM_FI_DEV_FB_FREE" => "fb_free_mib" Same Sum;
    252 "DCGM_FI_DEV_FB_USED" => "fb_used_mib" Same Sum;
    254 "DCGM_FI_DEV_FB_USED_PERCENT" / "DCGM_FI_DEV_FB_USED_RATIO" => "@fb_used_ratio" Ratio Slices;
    310 "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL" => "ecc_sbe_volatile" Same Device;
    311 "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL" => "ecc_dbe_volatile" Same Device;
    312 "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL" => "ecc_sbe_aggregate" Same Device;
    313 "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL" => "ecc_dbe_aggregate" Same Device;
    346 "DCGM_FI_DEV_THRESHOLD_SRM" / "DCGM_FI_DEV_SRAM_EXCEEDED" => "sram_threshold_exceeded" Same Device;
    385 "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_MAX" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_MAX" => "@bank0" Same Device;
    386 "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_HIGH" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_HIGH" => "@bank1" Same Device;
    387 "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_PARTIAL" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_PARTIAL" => "@bank2" Same Device;
    388 "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_LOW" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_LOW" => "@bank3" Same Device;
    389 "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_NONE" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_NONE" => "@bank4" Same Device;
    390 "DCGM_FI_DEV_RETIRED_SBE" / "DCGM_FI_DEV_PAGE_RETIRED_SBE_TOTAL" => "retired_pages_sbe" Same Device;
    391 "DCGM_FI_DEV_RETIRED_DBE" / "DCGM_FI_DEV_PAGE_RETIRED_DBE_TOTAL" => "retired_pages_dbe" Same Device;
    392 "DCGM_FI_DEV_RETIRED_PENDING" / "DCGM_FI_DEV_PAGE_RETIRED_PENDING" => "retired_pages_pending" Same Device;
    393 "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS" / "DCGM_FI_DEV_ROW_REMAP_UNCORRECTABLE_TOTAL" => "row_remap_uncorrectable" Same Device;
    394 "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS" / "DCGM_FI_DEV_ROW_REMAP_CORRECTABLE_TOTAL" => "row_remap_correctable" Same Device;
    395 "DCGM_FI_DEV_ROW_REMAP_FAILURE" / "DCGM_FI_DEV_ROW_REMAP_FAILED" => "row_remap_failure" Same Device;
    396 "DCGM_FI_DEV_ROW_REMAP_PENDING" => "row_remap_pending" Same Device;
    409 "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL" / "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_TOTAL" => "nvlink_crc_flit" Same Device;
    419 "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL" / "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_TOTAL" => "nvlink_crc_data" Same Device;
    429 "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL" / "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_TOTAL" => "nvlink_replay" Same Device;
    439 "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL" / "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_TOTAL" => "nvlink_recovery" Same Device;
    1001 "DCGM_FI_PROF_GR_ENGINE_ACTIVE" / "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO" => "gr_engine_active_pct" Ratio Slices;
    1002 "DCGM_FI_PROF_SM_ACTIVE" / "DCGM_FI_PROF_SM_UTIL_RATIO" => "sm_active_pct" Ratio Slices;
    1003 "DCGM_FI_PROF_SM_OCCUPANCY" / "DCGM_FI_PROF_SM_OCCUPANCY_RATIO" => "sm_occupancy_pct" Ratio Slices;
    1004 "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE" / "DCGM_FI_PROF_TENSOR_UTIL_RATIO" => "tensor_active_pct" Ratio Slices;
    1005 "DCGM_FI_PROF_DRAM_ACTIVE" / "DCGM_FI_PROF_DRAM_UTIL_RATIO" => "dram_active_pct" Ratio Slices;
    1009 "DCGM_FI_PROF_PCIE_TX_BYTES" => "pcie_tx_mb_per_sec" BytesPerSecond Device;
    1010 "DCGM_FI_PROF_PCIE_RX_BYTES" => "pcie_rx_mb_per_sec" BytesPerSecond Device;
    1011 "DCGM_FI_PROF_NVLINK_TX_BYTES" => "nvlink_tx_mb_per_sec" BytesPerSecond Device;
    1012 "DCGM_FI_PROF_NVLINK_RX_BYTES" => "nvlink_rx_mb_per_sec" BytesPerSecond Device;
    1420 "DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP_NS" => "sw_power_cap_ns" Same Device;
    1422 "DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS" => "sw_thermal_slowdown_ns" Same Device;
    1423 "DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS" => "hw_thermal_slowdown_ns" Same Device;
    1424 "DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS" => "hw_power_brake_slowdown_ns" Same Device;
    1501 "DCGM_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS" / "DCGM_FI_DEV_PCIE_CORRECTABLE_ERROR_TOTAL" => "pcie_correctable_errors" Same Device;
    1507 "DCGM_FI_DEV_MEMORY_UNREPAIRABLE_FLAG" / "DCGM_FI_DEV_MEMORY_UNREPAIRABLE" => "memory_unrepairable" Same Device;
    1508 "DCGM_FI_DEV_NVLINK_GET_STATE" / "DCGM_FI_DEV_NVLINK_LINK_STATUS" => "@link_state" Same Device;
    1523 "DCGM_FI_DEV_GET_GPU_RECOVERY_ACTION" / "DCGM_FI_DEV_GPU_RECOVERY_ACTION" => "recovery_action" Same Device;
    1525 "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_PER_LINK_TOTAL" => "nvlink_crc_flit" Same Device;
    1526 "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_PER_LINK_TOTAL" => "nvlink_crc_data" Same Device;
    1527 "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_PER_LINK_TOTAL" => "nvlink_replay" Same Device;
    1528 "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_PER_LINK_TOTAL" => "nvlink_recovery" Same Device;
    0 "DCGM_EXP_XID_ERRORS_COUNT" => "@xid_count" Same Device;
}

/// Fields that become labels of the other rows, old and new name: driver version, serial number, VBIOS version.
pub const LABEL_FIELDS: [(&str, Option<&str>); 3] = [
    (
        "DCGM_FI_DRIVER_VERSION",
        Some("DCGM_FI_SYSTEM_DRIVER_VERSION"),
    ),
    ("DCGM_FI_DEV_SERIAL", Some("DCGM_FI_DEV_BOARD_SERIAL")),
    ("DCGM_FI_DEV_VBIOS_VERSION", None),
];

/// A row's field, and its link where the name carries one (`.._L17`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The field.
    pub field: Field,
    /// The link in the name.
    pub link: Option<u8>,
}

/// The most links that a name or a label may tell.
pub const MAX_LINKS: u8 = 64;

/// The field that rows named `name` show; none when it is of no interest.
pub fn named(name: &str) -> Option<Named> {
    static BY_NAME: LazyLock<FxHashMap<&'static str, Field>> = LazyLock::new(|| {
        let mut by_name = FxHashMap::default();
        for (index, def) in FIELDS.iter().enumerate() {
            let Some(destination) = destination(def.to) else {
                continue;
            };
            let field = Field {
                index,
                destination,
                unit: def.unit,
                scope: def.scope,
            };
            by_name.insert(def.name, field);
            if let Some(new_name) = def.new_name {
                by_name.insert(new_name, field);
            }
        }
        by_name
    });
    if !name.starts_with("DCGM_") {
        return None;
    }
    if let Some(field) = BY_NAME.get(name) {
        return Some(Named {
            field: *field,
            link: None,
        });
    }
    let (total, link) = without_link(name)?;
    BY_NAME.get(total).map(|field| Named {
        field: *field,
        link: Some(link),
    })
}

/// The total that a link's counter belongs to: `DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L3` and
/// `DCGM_FI_DEV_NVLINK_REPLAY_ERROR_L3_TOTAL` are parts of `.._REPLAY_ERROR_COUNT_TOTAL`.
fn without_link(name: &str) -> Option<(&'static str, u8)> {
    const COUNTERS: [(&str, &str); 4] = [
        ("CRC_FLIT", "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL"),
        ("CRC_DATA", "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL"),
        ("REPLAY", "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL"),
        ("RECOVERY", "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL"),
    ];
    let rest = name.strip_prefix("DCGM_FI_DEV_NVLINK_")?;
    let (counter, total) = COUNTERS
        .iter()
        .find(|(counter, _)| rest.starts_with(counter))?;
    let rest = rest[counter.len()..].strip_prefix("_ERROR_")?;
    let digits = match rest.strip_prefix("COUNT_L") {
        Some(digits) => digits,
        None => rest.strip_prefix('L')?.strip_suffix("_TOTAL")?,
    };
    let link = digits.parse().ok().filter(|link| *link < MAX_LINKS)?;
    Some((total, link))
}

fn destination(to: &str) -> Option<Destination> {
    match to {
        "@fb_used_ratio" => Some(Destination::FbUsedRatio),
        "@xid_count" => Some(Destination::XidCount),
        "@link_state" => Some(Destination::LinkState),
        _ => match to.strip_prefix("@bank") {
            Some(at) => at.parse().ok().map(Destination::Bank),
            None => metric_index(to).map(Destination::Metric),
        },
    }
}

/// DCGM's blanks (`dcgm_structs.h`): base, and 1 to 3 above it for "not found", "not supported", "no permission".
const INT32_BLANK: std::ops::RangeInclusive<f64> = 2_147_483_632.0..=2_147_483_635.0;
const FP64_BLANK: f64 = 140_737_488_355_328.0;
/// 2^63: what 0x7ffffffffffffff0 and the three numbers after it are as doubles.
const INT64_BLANK: f64 = (1_u64 << 63) as f64;

impl Field {
    /// The schema's value of `raw`; none for a blank or for what is no number.
    pub fn convert(&self, raw: f64) -> Option<f64> {
        if !raw.is_finite() || self.is_blank(raw) {
            return None;
        }
        Some(match self.unit {
            Unit::Same => raw,
            // Exporters print six decimals; a percentage keeps four, without the noise of a binary product.
            Unit::Ratio => (raw * 1e6).round() / 1e4,
            Unit::BytesPerSecond | Unit::Hertz => raw / 1e6,
            Unit::Joules => (raw * 1e3).round(),
        })
    }

    /// Cumulative counters and byte rates may be any number below 2^63; a level beyond 2^47, or at one of the four 32-bit
    /// blanks, is none.
    fn is_blank(&self, raw: f64) -> bool {
        let large = match self.destination {
            Destination::Metric(index) => {
                METRICS[index].kind == MetricKind::Counter || self.unit == Unit::BytesPerSecond
            }
            _ => false,
        };
        raw >= INT64_BLANK || !large && (raw >= FP64_BLANK || INT32_BLANK.contains(&raw))
    }

    /// The name under which a blank is reported: the metric's.
    pub fn reported_name(&self) -> &'static str {
        match self.destination {
            Destination::Metric(index) => METRICS[index].name,
            Destination::Bank(_) => "bank_remap_avail",
            Destination::FbUsedRatio => "utilization_pct",
            Destination::XidCount => "xid_counts",
            Destination::LinkState => "nvlink_links_up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_field_has_a_destination_and_names_are_unique() {
        let mut names = BTreeSet::new();
        for def in FIELDS {
            assert!(destination(def.to).is_some(), "{}", def.to);
            assert!(names.insert(def.name), "{}", def.name);
            assert!(
                def.new_name.is_none_or(|name| names.insert(name)),
                "{:?}",
                def.new_name
            );
            assert_eq!(
                named(def.name).map(|named| named.field),
                def.new_name
                    .map_or(named(def.name), named)
                    .map(|named| named.field)
            );
        }
    }

    #[test]
    fn every_metric_that_dcgm_has_comes_from_some_field() {
        let derived = ["utilization_pct", "nvlink_links_up"];
        for metric in METRICS {
            let found = FIELDS.iter().any(|def| def.to == metric.name);
            assert_eq!(found, !derived.contains(&metric.name), "{}", metric.name);
        }
    }

    #[test]
    fn links_in_names_belong_to_their_total() {
        for name in [
            "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L17",
            "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_L17_TOTAL",
        ] {
            let found = named(name).unwrap();
            assert_eq!(found.link, Some(17));
            assert_eq!(found.field.reported_name(), "nvlink_replay");
        }
        assert_eq!(named("DCGM_FI_DEV_NVLINK_BANDWIDTH_L0"), None);
        assert_eq!(named("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L64"), None);
        assert_eq!(named("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L"), None);
        assert_eq!(named("go_goroutines"), None);
    }

    fn number(text: &str) -> f64 {
        text.parse().unwrap()
    }

    fn converted(name: &str, raw: f64) -> Option<f64> {
        named(name).unwrap().field.convert(raw)
    }

    #[test]
    fn units_become_the_schemas() {
        assert_eq!(converted("DCGM_FI_PROF_SM_ACTIVE", 0.873), Some(87.3));
        assert_eq!(converted("DCGM_FI_PROF_SM_UTIL_RATIO", 0.873), Some(87.3));
        assert_eq!(converted("DCGM_FI_DEV_GPU_UTIL_RATIO", 87.0), Some(87.0));
        assert_eq!(
            converted("DCGM_FI_PROF_PCIE_TX_BYTES", 145_200_000.0),
            Some(145.2)
        );
        assert_eq!(
            converted("DCGM_FI_DEV_SM_CLOCK_HERTZ", 1_410_000_000.0),
            Some(1410.0)
        );
        assert_eq!(
            converted("DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", 12.345),
            Some(12_345.0)
        );
        assert_eq!(converted("DCGM_FI_DEV_FAN_SPEED_RATIO", 0.5), Some(50.0));
    }

    #[test]
    fn blanks_of_every_kind_are_no_values() {
        for blank in [
            2_147_483_632.0,
            2_147_483_633.0,
            2_147_483_634.0,
            2_147_483_635.0,
            140_737_488_355_328.0,
            140_737_488_355_331.0,
            number("9223372036854775792"),
            number("9223372036854775795"),
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            assert_eq!(converted("DCGM_FI_DEV_GPU_TEMP", blank), None, "{blank}");
            assert_eq!(converted("DCGM_FI_PROF_SM_ACTIVE", blank), None, "{blank}");
        }
        assert_eq!(
            converted(
                "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
                number("9223372036854775794")
            ),
            None
        );
    }

    #[test]
    fn large_counters_are_values() {
        // 39 hours in nanoseconds pass the blank of doubles, 25 days at 1 kW in millijoules that of 32-bit integers.
        assert_eq!(
            converted("DCGM_FI_DEV_THERMAL_VIOLATION", 140_737_488_355_328.0),
            Some(140_737_488_355_328.0)
        );
        assert_eq!(
            converted("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 2_147_483_632.0),
            Some(2_147_483_632.0)
        );
        assert_eq!(
            converted("DCGM_FI_PROF_PCIE_RX_BYTES", 2_147_483_632.0),
            Some(2_147.483_632)
        );
    }
}
