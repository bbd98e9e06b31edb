//! The models of GPU that a fleet may hold, with their own limits.
//!
//! Power limits, temperatures, links and memory follow NVIDIA's mock profiles (NVIDIA/k8s-test-infra, `nvml-mock`) and
//! data sheets. Where no public number was at hand the value is a plausible one: `idle_w` but for the A100 (Acme
//! traces) and H100, `hotter_by_c`, `memory_banks` but for the A100, and the clocks of H200 and B200.

/// One model.
#[derive(Debug)]
pub struct Sku {
    /// Short name for the command line.
    pub id: &'static str,
    /// The model name as the driver gives it.
    pub name: &'static str,
    /// Architecture.
    pub architecture: &'static str,
    /// CUDA compute capability.
    pub compute_capability: &'static str,
    /// Memory in GB, as it is sold.
    pub memory_gb: i32,
    /// Frame buffer in MiB.
    pub fb_total_mib: u32,
    /// Frame buffer that the driver keeps, in MiB.
    pub fb_reserved_mib: u32,
    /// Default power limit in W.
    pub power_limit_w: u16,
    /// Power of an idle board in W.
    pub idle_w: u16,
    /// Temperature at which the hardware slows down, where the board reports it. Hopper reports a margin instead.
    pub slowdown_c: Option<i16>,
    /// Temperature at which the board shuts down, where it reports it.
    pub shutdown_c: Option<i16>,
    /// Maximum operating temperature of the core.
    pub max_op_c: i16,
    /// Maximum operating temperature of the HBM; none without the sensor.
    pub memory_max_op_c: Option<i16>,
    /// The driver reports the margin to the maximum operating temperature (field 153).
    pub reports_margin: bool,
    /// Degrees above the A100 under full load.
    pub hotter_by_c: f32,
    /// Highest SM clock in MHz.
    pub sm_max_mhz: u16,
    /// SM clock at idle in MHz.
    pub sm_idle_mhz: u16,
    /// Memory clock in MHz.
    pub memory_mhz: u16,
    /// PCIe generation.
    pub pcie_gen: u8,
    /// The link drops to the first generation at idle.
    pub pcie_sleeps: bool,
    /// Links of NVLink; 0 without.
    pub nvlinks: u8,
    /// Bytes a second over NVLink in one direction.
    pub nvlink_bytes_per_sec: u64,
    /// Memory banks that can remap rows; 0 on boards that retire pages instead.
    pub memory_banks: u16,
    /// First year of purchase.
    pub first_year: i16,
    /// VBIOS version.
    pub vbios: &'static str,
}

/// Every model.
pub static SKUS: &[Sku] = &[
    Sku {
        id: "a100",
        name: "NVIDIA A100-SXM4-80GB",
        architecture: "Ampere",
        compute_capability: "8.0",
        memory_gb: 80,
        fb_total_mib: 81_920,
        fb_reserved_mib: 669,
        power_limit_w: 400,
        idle_w: 60,
        slowdown_c: Some(89),
        shutdown_c: Some(92),
        max_op_c: 85,
        memory_max_op_c: Some(95),
        reports_margin: false,
        hotter_by_c: 0.0,
        sm_max_mhz: 1410,
        sm_idle_mhz: 210,
        memory_mhz: 1593,
        pcie_gen: 4,
        pcie_sleeps: false,
        nvlinks: 12,
        nvlink_bytes_per_sec: 300_000_000_000,
        memory_banks: 640,
        first_year: 2021,
        vbios: "92.00.45.00.06",
    },
    Sku {
        id: "a100-40gb",
        name: "NVIDIA A100-SXM4-40GB",
        architecture: "Ampere",
        compute_capability: "8.0",
        memory_gb: 40,
        fb_total_mib: 40_960,
        fb_reserved_mib: 612,
        power_limit_w: 400,
        idle_w: 52,
        slowdown_c: Some(87),
        shutdown_c: Some(92),
        max_op_c: 83,
        memory_max_op_c: Some(95),
        reports_margin: false,
        hotter_by_c: 0.0,
        sm_max_mhz: 1410,
        sm_idle_mhz: 210,
        memory_mhz: 1215,
        pcie_gen: 4,
        pcie_sleeps: false,
        nvlinks: 12,
        nvlink_bytes_per_sec: 300_000_000_000,
        memory_banks: 640,
        first_year: 2020,
        vbios: "92.00.19.00.01",
    },
    Sku {
        id: "h100",
        name: "NVIDIA H100 80GB HBM3",
        architecture: "Hopper",
        compute_capability: "9.0",
        memory_gb: 80,
        fb_total_mib: 81_559,
        fb_reserved_mib: 551,
        power_limit_w: 700,
        idle_w: 72,
        slowdown_c: None,
        shutdown_c: None,
        max_op_c: 87,
        memory_max_op_c: Some(95),
        reports_margin: true,
        hotter_by_c: 6.0,
        sm_max_mhz: 1980,
        sm_idle_mhz: 345,
        memory_mhz: 2619,
        pcie_gen: 5,
        pcie_sleeps: false,
        nvlinks: 18,
        nvlink_bytes_per_sec: 450_000_000_000,
        memory_banks: 2560,
        first_year: 2023,
        vbios: "96.00.89.00.01",
    },
    Sku {
        id: "h200",
        name: "NVIDIA H200",
        architecture: "Hopper",
        compute_capability: "9.0",
        memory_gb: 141,
        fb_total_mib: 143_771,
        fb_reserved_mib: 602,
        power_limit_w: 700,
        idle_w: 76,
        slowdown_c: None,
        shutdown_c: None,
        max_op_c: 87,
        memory_max_op_c: Some(95),
        reports_margin: true,
        hotter_by_c: 5.0,
        sm_max_mhz: 1980,
        sm_idle_mhz: 345,
        memory_mhz: 3201,
        pcie_gen: 5,
        pcie_sleeps: false,
        nvlinks: 18,
        nvlink_bytes_per_sec: 450_000_000_000,
        memory_banks: 3072,
        first_year: 2024,
        vbios: "96.00.A0.00.03",
    },
    Sku {
        id: "b200",
        name: "NVIDIA B200",
        architecture: "Blackwell",
        compute_capability: "10.0",
        memory_gb: 180,
        fb_total_mib: 183_359,
        fb_reserved_mib: 729,
        power_limit_w: 1000,
        idle_w: 140,
        slowdown_c: Some(90),
        shutdown_c: Some(95),
        max_op_c: 85,
        memory_max_op_c: Some(95),
        reports_margin: true,
        hotter_by_c: 4.0,
        sm_max_mhz: 2100,
        sm_idle_mhz: 120,
        memory_mhz: 3996,
        pcie_gen: 5,
        pcie_sleeps: false,
        nvlinks: 18,
        nvlink_bytes_per_sec: 900_000_000_000,
        memory_banks: 4096,
        first_year: 2025,
        vbios: "97.00.82.00.2F",
    },
    Sku {
        id: "l40s",
        name: "NVIDIA L40S",
        architecture: "Ada Lovelace",
        compute_capability: "8.9",
        memory_gb: 48,
        fb_total_mib: 46_068,
        fb_reserved_mib: 474,
        power_limit_w: 350,
        idle_w: 35,
        slowdown_c: Some(93),
        shutdown_c: Some(96),
        max_op_c: 89,
        memory_max_op_c: None,
        reports_margin: false,
        hotter_by_c: 8.0,
        sm_max_mhz: 2520,
        sm_idle_mhz: 210,
        memory_mhz: 9001,
        pcie_gen: 4,
        pcie_sleeps: true,
        nvlinks: 0,
        nvlink_bytes_per_sec: 0,
        memory_banks: 192,
        first_year: 2023,
        vbios: "95.02.66.00.02",
    },
    Sku {
        id: "t4",
        name: "Tesla T4",
        architecture: "Turing",
        compute_capability: "7.5",
        memory_gb: 16,
        fb_total_mib: 15_360,
        fb_reserved_mib: 424,
        power_limit_w: 70,
        idle_w: 10,
        slowdown_c: Some(93),
        shutdown_c: Some(96),
        max_op_c: 89,
        memory_max_op_c: None,
        reports_margin: false,
        hotter_by_c: 10.0,
        sm_max_mhz: 1590,
        sm_idle_mhz: 300,
        memory_mhz: 5001,
        pcie_gen: 3,
        pcie_sleeps: true,
        nvlinks: 0,
        nvlink_bytes_per_sec: 0,
        memory_banks: 0,
        first_year: 2019,
        vbios: "90.04.96.00.9F",
    },
];

impl Sku {
    /// The model with the short name `id`.
    pub fn by_id(id: &str) -> Option<&'static Self> {
        SKUS.iter().find(|sku| sku.id == id)
    }

    /// The temperature at which the hardware slows down: reported, or on Hopper 2 degrees past the maximum operating
    /// temperature (NVSentinel, ADR-042).
    pub(crate) fn slowdown_or_derived_c(&self) -> i16 {
        self.slowdown_c.unwrap_or(self.max_op_c + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn limits_are_in_order_and_names_are_unique() {
        let ids: BTreeSet<_> = SKUS.iter().map(|sku| sku.id).collect();
        assert_eq!(ids.len(), SKUS.len());
        for sku in SKUS {
            assert!(sku.idle_w < sku.power_limit_w, "{}", sku.id);
            assert!(sku.max_op_c < sku.slowdown_or_derived_c(), "{}", sku.id);
            if let (Some(slowdown), Some(shutdown)) = (sku.slowdown_c, sku.shutdown_c) {
                assert!(slowdown < shutdown, "{}", sku.id);
            }
            assert!(sku.fb_reserved_mib < sku.fb_total_mib, "{}", sku.id);
            assert_eq!(
                sku.nvlinks == 0,
                sku.nvlink_bytes_per_sec == 0,
                "{}",
                sku.id
            );
        }
    }
}
