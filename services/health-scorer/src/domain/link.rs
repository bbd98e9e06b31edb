//! What a PCIe link may do without being ill.

/// Replays a minute and lane by generation, 1 to 6: DCGM's health watch, `DcgmGPUHardwareLimits.h`.
const REPLAYS_PER_MINUTE_AND_LANE: [f64; 6] = [0.15, 0.30, 0.48, 0.96, 1.92, 3.84];

/// The replays a minute that a link of this generation and width may have; none for a generation that is not known.
pub fn pcie_replays_per_minute(generation: f64, lanes: f64) -> Option<f64> {
    let rate = (1..).zip(REPLAYS_PER_MINUTE_AND_LANE);
    let (_, rate) = rate
        .into_iter()
        .find(|(number, _)| (generation - f64::from(*number)).abs() < 0.5)?;
    (lanes > 0.0).then(|| (rate * lanes).ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_dcgm() {
        let cases = [
            (3.0, 16.0, Some(8.0)),
            (4.0, 16.0, Some(16.0)),
            (5.0, 16.0, Some(31.0)),
            (4.0, 8.0, Some(8.0)),
            (7.0, 16.0, None),
            (4.0, 0.0, None),
        ];
        for (generation, lanes, limit) in cases {
            assert_eq!(
                pcie_replays_per_minute(generation, lanes),
                limit,
                "Gen{generation} x{lanes}"
            );
        }
    }
}
