//! One step of one host.

use schema::Timestamp;

/// Time constants of a first-order lag of core and HBM temperature behind load. Chosen: a heat sink takes a minute or so.
const CORE_LAG_MS: f32 = 45_000.0;
const MEMORY_LAG_MS: f32 = 80_000.0;

/// What a step has in common for all GPUs of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Since the start of the simulation.
    pub(crate) now_ms: u64,
    /// Since the host's last step.
    pub(crate) dt_ms: u64,
    /// Counts the host's steps from 0.
    pub(crate) step: u64,
    /// Event time.
    pub(crate) time: Timestamp,
    /// Milliseconds that the scrape took.
    pub(crate) latency_ms: u16,
    pub(crate) core_follow: f32,
    pub(crate) memory_follow: f32,
}

impl Moment {
    pub(crate) fn new(
        now_ms: u64,
        dt_ms: u64,
        step: u64,
        time: Timestamp,
        latency_ms: u16,
    ) -> Self {
        let follow = |lag_ms: f32| 1.0 - (-(dt_ms as f32) / lag_ms).exp();
        Self {
            now_ms,
            dt_ms,
            step,
            time,
            latency_ms,
            core_follow: follow(CORE_LAG_MS),
            memory_follow: follow(MEMORY_LAG_MS),
        }
    }
}
