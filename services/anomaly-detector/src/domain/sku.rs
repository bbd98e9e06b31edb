//! Limits by model, for what a GPU does not report about itself.
//!
//! Sources: the profiles of NVIDIA's mock NVML (`k8s-test-infra`) for power and absolute temperatures, NVSentinel's
//! ADR-042 for slowdown offsets. What a GPU reports always wins; a model that is not here has no fallback at all.

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sku {
    /// How the model's name begins, without "NVIDIA " or "Tesla ".
    pub prefix: &'static str,
    /// Default power limit in watts.
    pub power_w: f64,
    /// Maximum operating temperature of the core in °C; none where the GPU knows only margins.
    pub max_op_c: Option<f64>,
    /// The margin to maximum operating temperature at which the hardware slows down, in °C.
    pub slowdown_offset_c: f64,
    /// Maximum operating temperature of HBM in °C; none for GDDR.
    pub hbm_max_op_c: Option<f64>,
}

const fn sku(
    prefix: &'static str,
    power_w: f64,
    max_op_c: Option<f64>,
    slowdown_offset_c: f64,
    hbm_max_op_c: Option<f64>,
) -> Sku {
    Sku {
        prefix,
        power_w,
        max_op_c,
        slowdown_offset_c,
        hbm_max_op_c,
    }
}

/// The first prefix that fits counts: longer names stand before shorter ones.
#[rustfmt::skip]
const SKUS: &[Sku] = &[
    sku("A100-PCIE", 250.0, Some(83.0), -4.0, Some(95.0)),
    sku("A100 80GB PCIe", 300.0, Some(83.0), -4.0, Some(95.0)),
    sku("A100", 400.0, Some(83.0), -4.0, Some(95.0)),
    sku("H100 PCIe", 350.0, None, -2.0, Some(95.0)),
    sku("H100", 700.0, None, -2.0, Some(95.0)),
    sku("H200", 700.0, None, -2.0, Some(95.0)),
    sku("B200", 1_000.0, Some(85.0), -3.0, Some(95.0)),
    sku("GB200", 1_000.0, Some(85.0), -2.0, Some(95.0)),
    sku("GB300", 1_400.0, Some(85.0), -2.0, Some(95.0)),
    sku("L40S", 350.0, Some(89.0), -2.0, None),
    sku("L40", 300.0, Some(89.0), -2.0, None),
    sku("T4", 70.0, Some(89.0), -4.0, None),
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
        let power = |name| lookup(name).map(|sku| sku.power_w);
        assert_eq!(power("NVIDIA A100-SXM4-80GB"), Some(400.0));
        assert_eq!(power("NVIDIA A100-PCIE-40GB"), Some(250.0));
        assert_eq!(power("NVIDIA H100 80GB HBM3"), Some(700.0));
        assert_eq!(power("NVIDIA H100 PCIe"), Some(350.0));
        assert_eq!(power("NVIDIA GB200"), Some(1_000.0));
        assert_eq!(power("NVIDIA L40S"), Some(350.0));
        assert_eq!(power("NVIDIA L40"), Some(300.0));
        assert_eq!(power("Tesla T4"), Some(70.0));
        assert_eq!(power("NVIDIA RTX A6000"), None);
    }

    #[test]
    fn no_prefix_hides_a_longer_one_behind_it() {
        for (at, sku) in SKUS.iter().enumerate() {
            assert!(
                !SKUS[..at]
                    .iter()
                    .any(|before| sku.prefix.starts_with(before.prefix)),
                "{} is never reached",
                sku.prefix
            );
        }
    }
}
