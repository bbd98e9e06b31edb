//! The bits of NVIDIA's clock-event ("throttle") reasons.

/// Bits that mean trouble: `HW_SLOWDOWN | SW_THERMAL_SLOWDOWN | HW_THERMAL_SLOWDOWN | HW_POWER_BRAKE_SLOWDOWN`.
///
/// The others are idle, configuration, or a power cap at the limit, which is normal under load: `throttle_reasons > 0`
/// is not throttling.
pub const CONCERN_MASK: u64 = 0xE8;

/// One bit of field 112 (`DCGM_FI_DEV_CLOCKS_EVENT_REASONS`, formerly `..CLOCK_THROTTLE_REASONS`), `dcgm_fields.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThrottleReason {
    /// 0x1: nothing runs.
    GpuIdle,
    /// 0x2: limited by the applications clocks setting.
    ApplicationsClocksSetting,
    /// 0x4: at the software power limit; expected at TDP.
    SwPowerCap,
    /// 0x8: hardware slowdown, the umbrella of 0x40 and 0x80.
    HwSlowdown,
    /// 0x10: held back to the clocks of its sync-boost group.
    SyncBoost,
    /// 0x20: the driver slows down because of temperature.
    SwThermalSlowdown,
    /// 0x40: the hardware slows down because of temperature.
    HwThermalSlowdown,
    /// 0x80: external power brake (power supply, chassis).
    HwPowerBrakeSlowdown,
    /// 0x100: limited by the display clock setting.
    DisplayClockSetting,
}

impl ThrottleReason {
    /// All reasons, lowest bit first.
    pub const ALL: [Self; 9] = [
        Self::GpuIdle,
        Self::ApplicationsClocksSetting,
        Self::SwPowerCap,
        Self::HwSlowdown,
        Self::SyncBoost,
        Self::SwThermalSlowdown,
        Self::HwThermalSlowdown,
        Self::HwPowerBrakeSlowdown,
        Self::DisplayClockSetting,
    ];

    /// The reason's bit.
    pub const fn bit(self) -> u64 {
        match self {
            Self::GpuIdle => 0x1,
            Self::ApplicationsClocksSetting => 0x2,
            Self::SwPowerCap => 0x4,
            Self::HwSlowdown => 0x8,
            Self::SyncBoost => 0x10,
            Self::SwThermalSlowdown => 0x20,
            Self::HwThermalSlowdown => 0x40,
            Self::HwPowerBrakeSlowdown => 0x80,
            Self::DisplayClockSetting => 0x100,
        }
    }

    /// NVIDIA's name in lower case, as `throttle_reasons_decoded` holds it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GpuIdle => "gpu_idle",
            Self::ApplicationsClocksSetting => "applications_clocks_setting",
            Self::SwPowerCap => "sw_power_cap",
            Self::HwSlowdown => "hw_slowdown",
            Self::SyncBoost => "sync_boost",
            Self::SwThermalSlowdown => "sw_thermal_slowdown",
            Self::HwThermalSlowdown => "hw_thermal_slowdown",
            Self::HwPowerBrakeSlowdown => "hw_power_brake_slowdown",
            Self::DisplayClockSetting => "display_clock_setting",
        }
    }

    /// The reasons set in `mask`, lowest bit first.
    pub fn decode(mask: u64) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |reason| mask & reason.bit() != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_concern_mask_is_the_four_bad_bits() {
        let bad: Vec<_> = ThrottleReason::decode(CONCERN_MASK)
            .map(ThrottleReason::name)
            .collect();
        assert_eq!(
            bad,
            [
                "hw_slowdown",
                "sw_thermal_slowdown",
                "hw_thermal_slowdown",
                "hw_power_brake_slowdown"
            ]
        );
    }
}
