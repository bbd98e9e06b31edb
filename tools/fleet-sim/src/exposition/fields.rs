//! The fields of dcgm-exporter that the simulator fills, with their names before and after DCGM 4.6.

use crate::json::{INT64_BLANK, INT64_NOT_SUPPORTED};
use crate::reading::Reading;

/// What a row carries.
pub(super) enum Value {
    Whole(u64),
    Signed(i64),
    /// Millionths, printed with six decimals.
    Double(u64),
    /// DCGM's blank among doubles.
    BlankDouble,
    /// The field is not in the answer.
    Absent,
}

/// One field.
pub(super) struct Field {
    pub(super) old: &'static str,
    pub(super) new: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
    /// What a MIG instance shows: a share of the device's value, or the same.
    pub(super) per_instance: bool,
    pub(super) value: fn(&Reading) -> Value,
}

/// A counter of NVLink errors, in sum or link by link.
pub(super) struct LinkField {
    pub(super) old: &'static str,
    pub(super) new: &'static str,
    pub(super) per_link: &'static str,
    pub(super) help: &'static str,
    pub(super) value: fn(&Reading) -> u32,
}

/// NVLink state "active" (`NVML_NVLINK_STATE_ACTIVE`).
pub(super) const LINK_UP: u64 = 1;

macro_rules! new_name {
    ($old:literal) => {
        $old
    };
    ($old:literal $new:literal) => {
        $new
    };
}

macro_rules! kind {
    (gauge) => {
        "gauge"
    };
    (shared) => {
        "gauge"
    };
    (counter) => {
        "counter"
    };
}

macro_rules! per_instance {
    (shared) => {
        true
    };
    ($other:ident) => {
        false
    };
}

macro_rules! fields {
    ($( $kind:ident $old:literal $(/ $new:literal)?, $help:literal => $value:expr; )*) => {
        pub(super) static FIELDS: &[Field] = &[$( Field {
            old: $old,
            new: new_name!($old $($new)?),
            kind: kind!($kind),
            help: $help,
            per_instance: per_instance!($kind),
            value: $value,
        } ),*];
    };
}

// `shared` is a gauge of which each MIG instance has a value of its own.
fields! {
    gauge "DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz)." => |r| Value::Whole(r.sm_clock_mhz.into());
    gauge "DCGM_FI_DEV_MEM_CLOCK",
        "Memory clock frequency (in MHz)." => |r| Value::Whole(r.gpu.sku.memory_mhz.into());
    gauge "DCGM_FI_DEV_MEMORY_TEMP" / "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS",
        "Memory temperature (in C)." => memory_temperature;
    gauge "DCGM_FI_DEV_GPU_TEMP" / "DCGM_FI_DEV_GPU_TEMP_CELSIUS",
        "GPU temperature (in C)." => |r| Value::Signed(r.gpu_temp_c.into());
    gauge "DCGM_FI_DEV_MEM_MAX_OP_TEMP" / "DCGM_FI_DEV_MEMORY_MAX_OP_TEMP_CELSIUS",
        "Maximum operating temperature of the memory (in C)." => |r| celsius(r.gpu.sku.memory_max_op_c);
    gauge "DCGM_FI_DEV_GPU_MAX_OP_TEMP" / "DCGM_FI_DEV_GPU_MAX_OP_TEMP_CELSIUS",
        "Maximum operating temperature of the GPU (in C)." => |r| celsius(Some(r.gpu.sku.max_op_c));
    gauge "DCGM_FI_DEV_GPU_TEMP_LIMIT" / "DCGM_FI_DEV_GPU_TEMP_MARGIN_CELSIUS",
        "Thermal margin (in C)." => |r| celsius(r.margin_c());
    gauge "DCGM_FI_DEV_SLOWDOWN_TEMP" / "DCGM_FI_DEV_GPU_TEMP_SLOWDOWN_CELSIUS",
        "Slowdown temperature (in C)." => |r| celsius(r.gpu.sku.slowdown_c);
    gauge "DCGM_FI_DEV_SHUTDOWN_TEMP" / "DCGM_FI_DEV_GPU_TEMP_SHUTDOWN_CELSIUS",
        "Shutdown temperature (in C)." => |r| celsius(r.gpu.sku.shutdown_c);
    gauge "DCGM_FI_DEV_POWER_USAGE" / "DCGM_FI_DEV_BOARD_POWER_WATTS",
        "Power draw (in W)."
        => |r| if r.blank { Value::BlankDouble } else { Value::Double(u64::from(r.power_mw) * 1_000) };
    gauge "DCGM_FI_DEV_ENFORCED_POWER_LIMIT" / "DCGM_FI_DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS",
        "Power limit in force (in W)." => |r| watts(r.gpu.sku.power_limit_w);
    gauge "DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF" / "DCGM_FI_DEV_BOARD_POWER_LIMIT_DEFAULT_WATTS",
        "Default power limit (in W)." => |r| watts(r.gpu.sku.power_limit_w);
    counter "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "Total energy consumption since boot (in mJ)." => |r| Value::Whole(r.energy_mj);
    gauge "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS" / "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
        "Clock event reasons (mask)." => |r| Value::Whole(r.throttle_reasons.into());
    counter "DCGM_FI_DEV_POWER_VIOLATION",
        "Throttling duration due to power constraints (in ns)." => |r| Value::Whole(r.power_violation_ns);
    counter "DCGM_FI_DEV_THERMAL_VIOLATION",
        "Throttling duration due to thermal constraints (in ns)." => |r| Value::Whole(r.thermal_violation_ns);
    counter "DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP_NS",
        "Time at the software power cap (in ns)." => |r| Value::Whole(r.sw_power_cap_ns);
    counter "DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS",
        "Time in software thermal slowdown (in ns)." => |_| Value::Whole(0);
    counter "DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS",
        "Time in hardware thermal slowdown (in ns)." => |r| Value::Whole(r.hw_thermal_ns);
    counter "DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS",
        "Time in power brake (in ns)." => |r| Value::Whole(r.power_brake_ns);
    counter "DCGM_FI_DEV_PCIE_REPLAY_COUNTER" / "DCGM_FI_DEV_PCIE_REPLAY_TOTAL",
        "Total number of PCIe retries." => |r| Value::Whole(r.pcie_replay.into());
    counter "DCGM_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS" / "DCGM_FI_DEV_PCIE_CORRECTABLE_ERROR_TOTAL",
        "Total number of correctable PCIe errors." => |r| Value::Whole(r.pcie_correctable.into());
    gauge "DCGM_FI_DEV_PCIE_MAX_LINK_GEN", "Highest PCIe generation." => |r| Value::Whole(r.gpu.sku.pcie_gen.into());
    gauge "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH", "Most PCIe lanes." => |_| Value::Whole(16);
    gauge "DCGM_FI_DEV_PCIE_LINK_GEN", "PCIe generation." => |r| Value::Whole(r.pcie_gen.into());
    gauge "DCGM_FI_DEV_PCIE_LINK_WIDTH", "PCIe lanes." => |r| Value::Whole(r.pcie_width.into());
    gauge "DCGM_FI_DEV_GPU_UTIL" / "DCGM_FI_DEV_GPU_UTIL_RATIO",
        "GPU utilization (in %)." => |r| Value::Whole(r.gpu_util_pct.into());
    gauge "DCGM_FI_DEV_MEM_COPY_UTIL", "Memory utilization (in %)." => |r| Value::Whole(r.mem_copy_util_pct.into());
    gauge "DCGM_FI_DEV_ENC_UTIL", "Encoder utilization (in %)." => |r| Value::Whole(r.encoder_util_pct.into());
    gauge "DCGM_FI_DEV_DEC_UTIL", "Decoder utilization (in %)." => |r| Value::Whole(r.decoder_util_pct.into());
    gauge "DCGM_FI_DEV_FB_TOTAL", "Framebuffer memory (in MiB)." => |r| Value::Whole(r.gpu.sku.fb_total_mib.into());
    shared "DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB)." => |r| Value::Whole(r.fb_free_mib.into());
    shared "DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB)." => |r| Value::Whole(r.fb_used_mib.into());
    gauge "DCGM_FI_DEV_FB_RESERVED",
        "Framebuffer memory reserved (in MiB)." => |r| Value::Whole(r.gpu.sku.fb_reserved_mib.into());
    counter "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "Total number of single-bit volatile ECC errors." => |r| Value::Whole(r.sbe_volatile);
    counter "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "Total number of double-bit volatile ECC errors." => |r| Value::Whole(r.dbe_volatile.into());
    counter "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL",
        "Total number of single-bit persistent ECC errors."
        => |r| Value::Whole(if r.blank { INT64_BLANK } else { r.sbe_aggregate });
    counter "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL",
        "Total number of double-bit persistent ECC errors." => |r| Value::Whole(r.dbe_aggregate.into());
    counter "DCGM_FI_DEV_RETIRED_SBE" / "DCGM_FI_DEV_PAGE_RETIRED_SBE_TOTAL",
        "Total number of retired pages due to single-bit errors." => retired;
    counter "DCGM_FI_DEV_RETIRED_DBE" / "DCGM_FI_DEV_PAGE_RETIRED_DBE_TOTAL",
        "Total number of retired pages due to double-bit errors." => retired;
    counter "DCGM_FI_DEV_RETIRED_PENDING" / "DCGM_FI_DEV_PAGE_RETIRED_PENDING",
        "Total number of pages pending retirement." => retired;
    counter "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS" / "DCGM_FI_DEV_ROW_REMAP_UNCORRECTABLE_TOTAL",
        "Number of remapped rows for uncorrectable errors" => |r| remap(r, r.row_remap_uncorrectable.into());
    counter "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS" / "DCGM_FI_DEV_ROW_REMAP_CORRECTABLE_TOTAL",
        "Number of remapped rows for correctable errors" => |r| remap(r, r.row_remap_correctable.into());
    gauge "DCGM_FI_DEV_ROW_REMAP_FAILURE" / "DCGM_FI_DEV_ROW_REMAP_FAILED",
        "Whether remapping of rows has failed" => |r| remap(r, r.row_remap_failure.into());
    gauge "DCGM_FI_DEV_ROW_REMAP_PENDING",
        "Whether a row remap waits for a reset" => |r| remap(r, r.row_remap_pending.into());
    gauge "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_MAX" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_MAX",
        "Banks with all spare rows" => |r| bank(r, 0);
    gauge "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_HIGH" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_HIGH",
        "Banks with most spare rows" => |r| bank(r, 1);
    gauge "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_PARTIAL" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_PARTIAL",
        "Banks with some spare rows" => |r| bank(r, 2);
    gauge "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_LOW" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_LOW",
        "Banks with few spare rows" => |r| bank(r, 3);
    gauge "DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_NONE" / "DCGM_FI_DEV_BANK_REMAP_AVAIL_NONE",
        "Banks without spare rows" => |r| bank(r, 4);
    gauge "DCGM_FI_DEV_THRESHOLD_SRM" / "DCGM_FI_DEV_SRAM_EXCEEDED",
        "Whether the SRAM error threshold is exceeded" => |r| remap(r, 0);
    gauge "DCGM_FI_DEV_MEMORY_UNREPAIRABLE_FLAG" / "DCGM_FI_DEV_MEMORY_UNREPAIRABLE",
        "Whether memory can't be repaired" => |r| remap(r, 0);
    gauge "DCGM_FI_DEV_GET_GPU_RECOVERY_ACTION" / "DCGM_FI_DEV_GPU_RECOVERY_ACTION",
        "Recovery that the driver asks for" => |r| Value::Whole(r.recovery_action.into());
    shared "DCGM_FI_PROF_GR_ENGINE_ACTIVE" / "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO",
        "Ratio of time the graphics engine is active." => |r| ratio(r.gr_engine_active);
    shared "DCGM_FI_PROF_SM_ACTIVE" / "DCGM_FI_PROF_SM_UTIL_RATIO",
        "The ratio of cycles an SM has at least 1 warp assigned."
        => |r| if r.blank { Value::BlankDouble } else { ratio(r.sm_active) };
    shared "DCGM_FI_PROF_SM_OCCUPANCY" / "DCGM_FI_PROF_SM_OCCUPANCY_RATIO",
        "The ratio of number of warps resident on an SM." => |r| ratio(r.sm_occupancy);
    shared "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE" / "DCGM_FI_PROF_TENSOR_UTIL_RATIO",
        "Ratio of cycles the tensor (HMMA) pipe is active." => |r| ratio(r.tensor_active);
    shared "DCGM_FI_PROF_DRAM_ACTIVE" / "DCGM_FI_PROF_DRAM_UTIL_RATIO",
        "Ratio of cycles the device memory interface is active sending or receiving data."
        => |r| ratio(r.dram_active);
    gauge "DCGM_FI_PROF_PCIE_TX_BYTES",
        "The rate of data transmitted over the PCIe bus (in bytes per second)."
        => |r| Value::Whole(u64::from(r.pcie_tx) * 10_000);
    gauge "DCGM_FI_PROF_PCIE_RX_BYTES",
        "The rate of data received over the PCIe bus (in bytes per second)."
        => |r| Value::Whole(u64::from(r.pcie_rx) * 10_000);
    gauge "DCGM_FI_PROF_NVLINK_TX_BYTES",
        "The rate of data transmitted over NVLink (in bytes per second)." => |r| nvlink_bytes(r, r.nvlink_tx);
    gauge "DCGM_FI_PROF_NVLINK_RX_BYTES",
        "The rate of data received over NVLink (in bytes per second)." => |r| nvlink_bytes(r, r.nvlink_rx);
}

macro_rules! link_fields {
    ($( $old:literal / $new:literal / $per_link:literal, $help:literal => $value:expr; )*) => {
        pub(super) static LINK_FIELDS: &[LinkField] = &[$(
            LinkField { old: $old, new: $new, per_link: $per_link, help: $help, value: $value }
        ),*];
    };
}

link_fields! {
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL" / "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_TOTAL" / "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_PER_LINK_TOTAL",
        "Total number of NVLink flow-control CRC errors." => |r| r.nvlink_crc_flit;
    "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL" / "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_TOTAL" / "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_PER_LINK_TOTAL",
        "Total number of NVLink data CRC errors." => |r| r.nvlink_crc_data;
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL" / "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_TOTAL" / "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_PER_LINK_TOTAL",
        "Total number of NVLink retries." => |r| r.nvlink_replay;
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL" / "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_TOTAL" / "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_PER_LINK_TOTAL",
        "Total number of NVLink recovery errors." => |r| r.nvlink_recovery;
}

/// Boards without the sensor answer 0.
fn memory_temperature(r: &Reading) -> Value {
    match r.memory_temp_c {
        Some(_) if r.blank => Value::Whole(INT64_NOT_SUPPORTED),
        Some(celsius) => Value::Signed(celsius.into()),
        None => Value::Whole(0),
    }
}

fn watts(limit: u16) -> Value {
    Value::Double(u64::from(limit) * 1_000_000)
}

fn ratio(bp: u16) -> Value {
    Value::Double(u64::from(bp) * 100)
}

fn celsius(value: Option<i16>) -> Value {
    value.map_or(Value::Absent, |celsius| Value::Signed(i64::from(celsius)))
}

fn remap(reading: &Reading, value: u64) -> Value {
    if reading.gpu.sku.memory_banks > 0 {
        Value::Whole(value)
    } else {
        Value::Absent
    }
}

fn retired(reading: &Reading) -> Value {
    if reading.gpu.sku.memory_banks > 0 {
        Value::Absent
    } else {
        Value::Whole(0)
    }
}

fn bank(reading: &Reading, at: usize) -> Value {
    reading
        .banks()
        .map_or(Value::Absent, |banks| Value::Whole(u64::from(banks[at])))
}

fn nvlink_bytes(reading: &Reading, tens_of_kb: u32) -> Value {
    if reading.gpu.sku.nvlinks > 0 {
        Value::Whole(u64::from(tens_of_kb) * 10_000)
    } else {
        Value::Absent
    }
}
