//! One reading of one GPU, in the units and the precision that it leaves with.

use crate::topology::GpuIdentity;
use schema::Timestamp;

/// The most distinct Xids that a reading counts.
pub const MAX_XID_COUNTS: usize = 4;

/// Whose job runs on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The scheduler's number.
    pub id: u32,
    /// Which user, 0 to 99.
    pub user: u8,
    /// Which project, 0 to 11.
    pub project: u8,
    /// Which kind of work, an index into [`Job::NAMESPACES`].
    pub namespace: u8,
}

impl Job {
    /// Kubernetes namespaces, with the prefix of their pods and the name of their container.
    pub const NAMESPACES: [(&'static str, &'static str, &'static str); 4] = [
        ("ml-training", "llm-pretrain", "trainer"),
        ("research", "notebook", "jupyter"),
        ("inference", "llm-serve", "server"),
        ("batch", "embed", "worker"),
    ];
}

/// What becomes of a reading on its way to the topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Sent once, at once, whole.
    #[default]
    Normal,
    /// Sent twice.
    Twice,
    /// Held back until the fault is over.
    Held,
    /// Broken in this way (0 to 7).
    Broken(u8),
}

impl Delivery {
    /// Whether the values can be trusted to be within their ranges.
    pub fn is_whole(self) -> bool {
        !matches!(self, Self::Broken(_))
    }
}

/// One reading of one GPU. Fractions are kept as whole numbers of their last digit, so that every output prints the
/// same decimal.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which GPU.
    pub gpu: GpuIdentity,
    /// Event time: when the values were true.
    pub time: Timestamp,
    /// Counts the readings of this GPU from 1.
    pub sequence: u64,
    /// Milliseconds that the scrape took.
    pub latency_ms: u16,
    /// Who runs on it.
    pub job: Option<Job>,
    /// What becomes of it.
    pub delivery: Delivery,
    /// Four fields are blank: HBM temperature (or PCIe replays without HBM), power, SM activity, lifetime SBEs.
    pub blank: bool,

    /// Core temperature.
    pub gpu_temp_c: i16,
    /// HBM temperature; none without the sensor.
    pub memory_temp_c: Option<i16>,
    /// Board power in mW.
    pub power_mw: u32,
    /// Clock-event reasons.
    pub throttle_reasons: u16,
    /// Time below application clocks because of temperature.
    pub thermal_violation_ns: u64,
    /// Time below application clocks because of power.
    pub power_violation_ns: u64,
    /// Time with `HW_THERMAL_SLOWDOWN`.
    pub hw_thermal_ns: u64,
    /// Time with `HW_POWER_BRAKE_SLOWDOWN`.
    pub power_brake_ns: u64,
    /// Time with `SW_POWER_CAP`.
    pub sw_power_cap_ns: u64,

    /// Frame buffer used.
    pub fb_used_mib: u32,
    /// Frame buffer free.
    pub fb_free_mib: u32,
    /// Single-bit errors since the driver was loaded.
    pub sbe_volatile: u64,
    /// Double-bit errors since the driver was loaded.
    pub dbe_volatile: u32,
    /// Single-bit errors, lifetime.
    pub sbe_aggregate: u64,
    /// Double-bit errors, lifetime.
    pub dbe_aggregate: u32,
    /// Rows remapped for correctable errors.
    pub row_remap_correctable: u16,
    /// Rows remapped for uncorrectable errors.
    pub row_remap_uncorrectable: u16,
    /// A remap waits for a reset.
    pub row_remap_pending: bool,
    /// A remap failed.
    pub row_remap_failure: bool,

    /// SM activity in 0.01 %.
    pub sm_active: u16,
    /// SM occupancy in 0.01 %.
    pub sm_occupancy: u16,
    /// Tensor pipe activity in 0.01 %.
    pub tensor_active: u16,
    /// Memory activity in 0.01 %.
    pub dram_active: u16,
    /// Graphics engine activity in 0.01 %.
    pub gr_engine_active: u16,
    /// PCIe bytes sent, 10 kB a second.
    pub pcie_tx: u32,
    /// PCIe bytes received, 10 kB a second.
    pub pcie_rx: u32,
    /// NVLink bytes sent, 10 kB a second.
    pub nvlink_tx: u32,
    /// NVLink bytes received, 10 kB a second.
    pub nvlink_rx: u32,
    /// Utilisation in percent.
    pub gpu_util_pct: u8,
    /// Memory copy utilisation in percent.
    pub mem_copy_util_pct: u8,
    /// Encoder utilisation in percent.
    pub encoder_util_pct: u8,
    /// Decoder utilisation in percent.
    pub decoder_util_pct: u8,

    /// SM clock.
    pub sm_clock_mhz: u16,
    /// Energy since the driver was loaded.
    pub energy_mj: u64,
    /// PCIe generation now.
    pub pcie_gen: u8,
    /// PCIe lanes now.
    pub pcie_width: u8,
    /// PCIe replays.
    pub pcie_replay: u32,
    /// PCIe correctable errors.
    pub pcie_correctable: u32,
    /// NVLink flit CRC errors.
    pub nvlink_crc_flit: u32,
    /// NVLink data CRC errors.
    pub nvlink_crc_data: u32,
    /// NVLink replays.
    pub nvlink_replay: u32,
    /// NVLink recoveries.
    pub nvlink_recovery: u32,

    /// The last Xid; 0 without.
    pub last_xid: u16,
    /// Xids of the last five minutes with their counts; unused places count 0.
    pub xid_counts: [(u16, u16); MAX_XID_COUNTS],
    /// The recovery that the driver asks for.
    pub recovery_action: u8,
}

impl Reading {
    /// The share of the frame buffer in use, in 0.01 %.
    pub fn fb_used_bp(&self) -> u32 {
        let total = u64::from(self.gpu.sku.fb_total_mib);
        u32::try_from((u64::from(self.fb_used_mib) * 10_000 + total / 2) / total).unwrap_or(10_000)
    }

    /// The margin to the maximum operating temperature, where the board reports it.
    pub fn margin_c(&self) -> Option<i16> {
        self.gpu
            .sku
            .reports_margin
            .then(|| self.gpu.sku.max_op_c - self.gpu_temp_c)
    }

    /// Banks by spare rows left: all, most, some, few, none. Each uncorrectable remap takes a row of a bank of its own,
    /// until a failure, which means that one bank has none left.
    pub fn banks(&self) -> Option<[u16; 5]> {
        let all = self.gpu.sku.memory_banks;
        (all > 0).then(|| {
            let none = u16::from(self.row_remap_failure);
            let high = self
                .row_remap_uncorrectable
                .saturating_add(self.row_remap_correctable)
                .min(all - none);
            [all - high - none, high, 0, 0, none]
        })
    }

    /// The counted Xids.
    pub fn xids(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.xid_counts
            .iter()
            .copied()
            .filter(|(_, count)| *count > 0)
    }
}
