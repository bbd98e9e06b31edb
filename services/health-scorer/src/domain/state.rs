//! What is remembered of a GPU: enough to score it at any later time, and no more.

use super::absence::Lost;
use super::clock::Clock;
use super::counter::Counter;
use super::history::History;
use super::hour::Hour;
use super::ledger::Ledger;
use super::limits::{Limits, seconds_ms};
use super::quarter::Quarter;
use super::streak::Streak;
use super::tally::Tally;
use super::xid::{Jobs, Shown};
use schema::{Grade, HealthState};
use serde::{Deserialize, Serialize};

/// Gaps between readings that the interval is the median of.
pub const GAPS: usize = 5;

/// One GPU. Around 300 bytes for a healthy one, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuState {
    /// Stream time of the first reading.
    pub(crate) first_seen_ms: i64,
    /// Watched time of the first reading, or of the first one after the last silence.
    pub(crate) present_since_ms: i64,
    /// Stream time of the last reading, in order or not.
    pub(crate) last_seen_ms: i64,
    /// Watched time of the last reading, in order or not.
    pub(crate) last_seen_watched_ms: i64,
    /// The latest event time; only a later reading is applied.
    pub(crate) last_event_ms: Option<i64>,
    /// The last gaps between event times, oldest first; 0 is none.
    pub(crate) gaps_ms: [u32; GAPS],
    /// A hash of the host's name; 0 where it is not known.
    pub(crate) host: u32,
    /// It is silent.
    pub(crate) lost: Option<Lost>,
    /// Event time of an Xid 79 that is not over.
    pub(crate) fallen_ms: Option<i64>,
    /// Stream time of its return after it was lost.
    pub(crate) returned_ms: Option<i64>,
    /// Event time of the last reading that showed a reset of the GPU or a reload of its driver.
    pub(crate) reset_ms: Option<i64>,
    /// Last values of counters.
    pub(crate) counters: Counters,
    /// Last known levels.
    pub(crate) levels: Levels,
    /// Xids as the exporter showed them last.
    pub(crate) xids: Shown,
    /// Jobs that met an application Xid.
    pub(crate) jobs: Jobs,
    /// The last fifteen minutes.
    pub(crate) quarter: Quarter,
    /// The last hour.
    pub(crate) hour: Hour,
    /// Single-bit errors by hour.
    pub(crate) single_bit: Tally,
    /// Milliseconds without readings by hour.
    pub(crate) missed_ms: Tally,
    /// PCIe with fewer lanes under load.
    pub(crate) narrow: Streak,
    /// PCIe with a lower generation under load.
    pub(crate) slow: Streak,
    /// Busy, yet no work seen by the profiler.
    pub(crate) divergence: Streak,
    /// Fewer links of NVLink than there were.
    pub(crate) link_down: Streak,
    /// What happened.
    pub(crate) ledger: Ledger,
    /// Hourly scores.
    pub(crate) history: History,
    /// The last score that was written.
    pub(crate) published: Option<Published>,
}

/// Last values of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub(crate) sbe_volatile: Counter,
    pub(crate) sbe_aggregate: Counter,
    pub(crate) dbe_volatile: Counter,
    pub(crate) dbe_aggregate: Counter,
    pub(crate) row_remaps: Counter,
    pub(crate) energy: Counter,
    pub(crate) thermal_violation: Counter,
    pub(crate) hw_thermal: Counter,
    pub(crate) sw_thermal: Counter,
    pub(crate) brake: Counter,
    pub(crate) pcie_replay: Counter,
    pub(crate) nvlink_crc_flit: Counter,
    pub(crate) nvlink_crc_data: Counter,
    pub(crate) nvlink_replay: Counter,
    pub(crate) nvlink_recovery: Counter,
}

/// Last known levels. A reading that lacks one leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    pub(crate) row_remaps: Option<u32>,
    pub(crate) row_remap_pending: Option<bool>,
    pub(crate) row_remap_failure: Option<bool>,
    pub(crate) sram_threshold: Option<bool>,
    pub(crate) memory_unrepairable: Option<bool>,
    pub(crate) banks_low: Option<u32>,
    pub(crate) banks_none: Option<u32>,
    pub(crate) retired_sbe: Option<u32>,
    pub(crate) retired_dbe: Option<u32>,
    pub(crate) retired_pending: Option<bool>,
    pub(crate) recovery_action: Option<u32>,
    /// The power limit in force, in watts: the GPU's own, else its model's.
    pub(crate) power_limit_w: Option<u16>,
    /// The factory's.
    pub(crate) default_limit_w: Option<u16>,
    /// Power was read at least once.
    pub(crate) has_power: bool,
    /// The margin at which the hardware slows down, in tenths of a degree.
    pub(crate) slowdown_tenths: Option<i16>,
    /// PCIe lanes and the most there can be, as last seen under load.
    pub(crate) lanes: Option<(u16, u16)>,
    /// PCIe generation and the highest there can be, as last seen under load.
    pub(crate) generation: Option<(u16, u16)>,
    /// Links of NVLink that are up.
    pub(crate) links: Option<u16>,
    /// The most links that were ever up.
    pub(crate) links_most: u16,
    /// PCIe replays a minute, as last found above the limit, and that limit.
    pub(crate) replays: Option<(u32, u16)>,
    /// NVLink CRC errors a second, as last found above the limit.
    pub(crate) crc_per_second: Option<u32>,
}

/// The last score that was written, as far as the next one is compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Stream time.
    pub at_ms: i64,
    /// The number, in hundredths of a point.
    pub hundredths: Option<u16>,
    /// The grade.
    pub grade: Grade,
    /// The state.
    pub state: HealthState,
}

impl GpuState {
    /// Of a GPU whose first reading comes at `clock`.
    pub fn new(clock: Clock) -> Self {
        Self {
            first_seen_ms: clock.stream_ms,
            present_since_ms: clock.watched_ms,
            last_seen_ms: clock.stream_ms,
            last_seen_watched_ms: clock.watched_ms,
            last_event_ms: None,
            gaps_ms: [0; GAPS],
            host: 0,
            lost: None,
            fallen_ms: None,
            returned_ms: None,
            reset_ms: None,
            counters: Counters::default(),
            levels: Levels::default(),
            xids: Shown::default(),
            jobs: Jobs::default(),
            quarter: Quarter::default(),
            hour: Hour::default(),
            single_bit: Tally::default(),
            missed_ms: Tally::default(),
            narrow: Streak::default(),
            slow: Streak::default(),
            divergence: Streak::default(),
            link_down: Streak::default(),
            ledger: Ledger::default(),
            history: History::default(),
            published: None,
        }
    }

    /// The time from one reading to the next: the median of the last gaps, so that neither one missing reading nor one
    /// that was sent twice changes it.
    pub fn interval_ms(&self, limits: &Limits) -> i64 {
        let mut gaps = self.gaps_ms;
        gaps.sort_unstable();
        let unknown = gaps.iter().take_while(|gap| **gap == 0).count();
        let known = &gaps[unknown..];
        let median = known.get(known.len().saturating_sub(1) / 2);
        let interval = median.map_or(seconds_ms(limits.absence.interval_s), |gap| i64::from(*gap));
        interval.min(seconds_ms(limits.absence.max_interval_s))
    }

    /// Watched time at which it counts as lost unless another reading comes; none while it is.
    pub fn silence_due_ms(&self, limits: &Limits) -> Option<i64> {
        if self.lost.is_some() {
            return None;
        }
        let silence = self.interval_ms(limits) * i64::from(limits.absence.intervals);
        Some(self.last_seen_watched_ms + silence.max(seconds_ms(limits.absence.min_silence_s)))
    }

    /// Stream time at which a heartbeat is due; none before the first score.
    pub fn heartbeat_due_ms(&self, limits: &Limits) -> Option<i64> {
        let published = self.published?;
        Some(published.at_ms + seconds_ms(limits.publish.heartbeat_s))
    }

    /// Watched time of its last reading.
    pub const fn last_seen_watched_ms(&self) -> i64 {
        self.last_seen_watched_ms
    }

    /// A hash of its host's name.
    pub const fn host(&self) -> u32 {
        self.host
    }

    /// The last score that was written.
    pub const fn published(&self) -> Option<Published> {
        self.published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_median_of_the_last_gaps() {
        let limits = Limits::default();
        let mut state = GpuState::new(Clock::default());
        let cases = [
            ([0, 0, 0, 0, 0], 60_000),
            ([0, 0, 0, 0, 30_000], 30_000),
            ([0, 0, 30_000, 29_000, 31_000], 30_000),
            ([10_000, 60_000, 10_100, 9_900, 1], 10_000),
            ([900_000; GAPS], 300_000),
        ];
        for (gaps_ms, interval_ms) in cases {
            state.gaps_ms = gaps_ms;
            assert_eq!(state.interval_ms(&limits), interval_ms, "{gaps_ms:?}");
        }
    }

    #[test]
    fn a_short_interval_still_takes_half_a_minute_of_silence() {
        let limits = Limits::default();
        let mut state = GpuState::new(Clock::default());
        state.gaps_ms = [1_000; GAPS];
        assert_eq!(state.silence_due_ms(&limits), Some(30_000));
        state.gaps_ms = [60_000; GAPS];
        assert_eq!(state.silence_due_ms(&limits), Some(180_000));
        assert_eq!(state.heartbeat_due_ms(&limits), None);
    }
}
