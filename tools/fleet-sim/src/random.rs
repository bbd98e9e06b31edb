//! Randomness without state: every draw is a hash of what it is for.
//!
//! A stream would tie each GPU's numbers to how many draws others made before it. Here a draw depends on the seed and
//! on its own coordinates alone, so that GPU 7 is the same in a fleet of eight and in a fleet of a million.

use std::sync::LazyLock;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const NORMAL_STEPS: usize = 4096;

/// A place in the tree of draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(mix(seed ^ GOLDEN))
    }

    /// The place below this one that belongs to `lane`.
    pub(crate) const fn with(self, lane: u64) -> Self {
        Self(mix(self.0.wrapping_add(lane.wrapping_mul(GOLDEN) | 1)))
    }

    /// 64 random bits.
    pub(crate) const fn bits(self) -> u64 {
        mix(self.0)
    }

    /// Uniform in (0, 1).
    pub(crate) fn uniform(self) -> f64 {
        unit(self.bits())
    }

    /// Uniform in 0..n.
    pub(crate) const fn below(self, n: u32) -> u32 {
        (((self.bits() >> 32) * n as u64) >> 32) as u32
    }

    /// Standard normal.
    pub(crate) fn normal(self) -> f32 {
        normal(self.bits())
    }
}

/// The finaliser of `splitmix64` (Steele, Lea, Flood 2014).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Uniform in (0, 1) from the upper 53 bits.
pub(crate) fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// Standard normal from the upper 12 bits: the midpoints of 4,096 equal shares, so that no tail is beyond 3.67.
pub(crate) fn normal(bits: u64) -> f32 {
    static TABLE: LazyLock<Box<[f32]>> = LazyLock::new(|| {
        (0..NORMAL_STEPS)
            .map(|step| narrow(normal_quantile((step as f64 + 0.5) / NORMAL_STEPS as f64)))
            .collect()
    });
    TABLE[(bits >> 52) as usize]
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "physics needs three digits, and a million GPUs need the memory"
)]
pub(crate) const fn narrow(value: f64) -> f32 {
    value as f32
}

/// The quantile function of the standard normal distribution for `p` in (0, 1), after P. J. Acklam; relative error
/// below 1.2e-9.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
    ];
    const TAIL: f64 = 0.024_25;

    let polynomial =
        |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if p < TAIL {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / (polynomial(&D, q) * q + 1.0)
    } else if p <= 1.0 - TAIL {
        let q = p - 0.5;
        let r = q * q;
        polynomial(&A, r) * q / (polynomial(&B, r) * r + 1.0)
    } else {
        -normal_quantile(1.0 - p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_quantile_has_its_textbook_values() {
        for (p, z) in [
            (0.5, 0.0),
            (0.841_344_746, 1.0),
            (0.975, 1.959_964),
            (0.001, -3.090_232),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-5, "{p}");
        }
    }

    #[test]
    fn draws_are_uniform_and_normal_enough_and_lanes_differ() {
        let key = Key::new(7);
        let n = 100_000;
        let (mut sum, mut squares, mut mean) = (0.0_f64, 0.0_f64, 0.0_f64);
        for lane in 0..n {
            let z = f64::from(key.with(lane).normal());
            sum += z;
            squares += z * z;
            mean += key.with(lane).with(1).uniform();
        }
        let n = n as f64;
        assert!((sum / n).abs() < 0.02, "{}", sum / n);
        assert!((squares / n - 1.0).abs() < 0.02, "{}", squares / n);
        assert!((mean / n - 0.5).abs() < 0.005, "{}", mean / n);
        assert_ne!(key.with(1).bits(), key.with(2).bits());
        assert_ne!(key.with(1).with(2).bits(), key.with(2).with(1).bits());
    }
}
