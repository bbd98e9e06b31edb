//! What stays with a GPU for life, and with a job as long as it lasts.

use crate::random::Key;
use crate::reading::Job;

pub(crate) const LANE_LIFE: u64 = 28;

/// Of all GPUs, one in twenty has single-bit errors (arXiv 2508.03513); most of these few, some up to 200 an hour.
const SBE_SHARE: f64 = 0.05;
const SBE_MAX_PER_HOUR: f64 = 200.0;

pub(crate) fn sbe_per_hour(own: Key) -> f64 {
    let life = own.with(LANE_LIFE);
    if life.with(4).uniform() < SBE_SHARE {
        (0.05 / life.with(5).uniform()).min(SBE_MAX_PER_HOUR)
    } else {
        0.0
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 200 an hour over two years"
)]
pub(crate) fn lifetime_sbe(own: Key, per_hour: f64) -> u64 {
    (per_hour * 17_520.0 * own.with(LANE_LIFE).with(6).uniform()) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each is below its small bound"
)]
pub(crate) fn job(key: Key) -> Job {
    Job {
        id: 1_000_000 + key.with(31).below(9_000_000),
        user: key.with(32).below(100) as u8,
        project: key.with(33).below(12) as u8,
        namespace: key.with(34).below(Job::NAMESPACES.len() as u32) as u8,
    }
}
