//! Limits by model, for what a GPU does not report about itself.
//!
//! Sources: the profiles of NVIDIA's mock NVML (`k8s-test-infra`) for power, absolute temperatures and PCIe; NVSentinel's
//! ADR-042 for slowdown offsets. What a GPU reports always wins, and a model that is not here has no fallback at all:
//! a wrong limit is worse than none.

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sku {
    /// How the model's name begins, without "NVIDIA " or "Tesla ".
    pub prefix: &'static str,
    /// Default power limit in watts.
    pub power_w: f64,
    /// Maximum operating temperature of the core in °C; none where the GPU knows only margins.
    pub max_op_c: Option<f64>,
    /// The margin to the maximum operating temperature at which the hardware slows down, in °C.
    pub slowdown_offset_c: f64,
    /// Maximum operating temperature of HBM in °C; none for GDDR.
    pub hbm_max_op_c: Option<f64>,
    /// PCIe generation; 16 lanes all of them.
    pub pcie_generation: f64,
}

/// PCIe lanes of every model in the table.
pub const PCIE_LANES: f64 = 16.0;

const fn sku(
    prefix: &'static str,
    power_w: f64,
    max_op_c: Option<f64>,
    slowdown_offset_c: f64,
    hbm_max_op_c: Option<f64>,
    pcie_generation: f64,
) -> Sku {
    Sku {
        prefix,
        power_w,
        max_op_c,
        slowdown_offset_c,
        hbm_max_op_c,
        pcie_generation,
    }
}

/// The first prefix that fits counts: longer names stand before shorter ones. Blackwell's PCIe generation is taken as 5:
/// the mock's 6 is contradicted elsewhere, and a reported generation wins anyway.
#[rustfmt::skip]
const SKUS: &[Sku] = &[
    sku("A100-PCIE", 250.0, Some(83.0), -4.0, Some(95.0), 4.0),
    sku("A100 80GB PCIe", 300.0, Some(83.0), -4.0, Some(95.0), 4.0),
    sku("A100", 400.0, Some(83.0), -4.0, Some(95.0), 4.0),
    sku("H100 PCIe", 350.0, None, -2.0, Some(95.0), 5.0),
    sku("H100", 700.0, None, -2.0, Some(95.0), 5.0),
    sku("H200", 700.0, None, -2.0, Some(95.0), 5.0),
    sku("B200", 1_000.0, Some(85.0), -3.0, Some(95.0), 5.0),
    sku("GB200", 1_000.0, Some(85.0), -2.0, Some(95.0), 5.0),
    sku("GB300", 1_400.0, Some(85.0), -2.0, Some(95.0), 5.0),
    sku("L40S", 350.0, Some(89.0), -2.0, None, 4.0),
    sku("L40", 300.0, Some(89.0), -2.0, None, 4.0),
    sku("T4", 70.0, Some(89.0), -4.0, None, 3.0),
];

/// The entry of the model that the driver calls `name`.
pub fn lookup(name: &str) -> Option<&'static Sku> {
    let name = name
        .strip_prefix("NVIDIA ")
        .or_else(|| name.strip_prefix("Tesla "))
        .unwrap_or(name);
    SKUS.iter().find(|sku| name.starts_with(sku.prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_by_the_names_that_drivers_give() {
        let cases = [
            ("NVIDIA A100-SXM4-80GB", Some(400.0)),
            ("NVIDIA A100-PCIE-40GB", Some(250.0)),
            ("NVIDIA A100 80GB PCIe", Some(300.0)),
            ("NVIDIA H100 80GB HBM3", Some(700.0)),
            ("NVIDIA H100 PCIe", Some(350.0)),
            ("NVIDIA GB200", Some(1_000.0)),
            ("NVIDIA L40S", Some(350.0)),
            ("Tesla T4", Some(70.0)),
            ("NVIDIA RTX A6000", None),
        ];
        for (name, power_w) in cases {
            assert_eq!(lookup(name).map(|sku| sku.power_w), power_w, "{name}");
        }
    }

    #[test]
    fn no_prefix_hides_a_longer_one_behind_it() {
        for (at, sku) in SKUS.iter().enumerate() {
            let hidden = SKUS[..at]
                .iter()
                .any(|before| sku.prefix.starts_with(before.prefix));
            assert!(!hidden, "{} is never reached", sku.prefix);
        }
    }
}
