//! GPUs that fall silent, and come back.

use super::clock::Clock;
use super::factor::Factor;
use super::limits::{Limits, seconds_ms};
use super::state::GpuState;
use serde::{Deserialize, Serialize};

/// Who is to blame for a silence, as far as one partition can tell: a host's GPUs are spread over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    /// Another GPU of the same host still reported.
    Gpu,
    /// The host's other GPUs in this partition fell silent too.
    Host,
    /// The host has no other GPU in this partition.
    Unknown,
}

impl Blame {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gpu, Self::Host, Self::Unknown];

    /// Its name, for a metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Host => "host",
            Self::Unknown => "unknown",
        }
    }

    /// What the silence of a GPU last seen at `last_seen_ms` is put down to, given when its host's other GPUs were last
    /// seen (all in watched time).
    ///
    /// A host that stops takes its GPUs away within one interval; one that is seen half of the allowed silence later did
    /// not stop.
    pub fn of(
        last_seen_ms: i64,
        allowed_silence_ms: i64,
        siblings_last_seen_ms: impl IntoIterator<Item = i64>,
    ) -> Self {
        siblings_last_seen_ms
            .into_iter()
            .max()
            .map_or(Self::Unknown, |latest_ms| {
                if latest_ms - last_seen_ms >= allowed_silence_ms / 2 {
                    Self::Gpu
                } else {
                    Self::Host
                }
            })
    }
}

/// A silence that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Stream time at which it was found.
    pub since_ms: i64,
    /// Who is to blame.
    pub blame: Blame,
}

/// The GPU counts as lost from now on. What lasts is only put down to a GPU that is to blame, and to a fall off the bus
/// once.
pub fn declare_lost(state: &mut GpuState, blame: Blame, clock: Clock, limits: &Limits) {
    state.lost = Some(Lost {
        since_ms: clock.stream_ms,
        blame,
    });
    if blame == Blame::Gpu && state.fallen_ms.is_none() {
        super::apply::fault(state, Factor::GpuLost, clock.stream_ms, 1, 0, limits);
    }
}

/// A reading came, in order or not; it ends a silence.
pub fn seen(state: &mut GpuState, clock: Clock, limits: &Limits) {
    let gap_ms = clock.watched_ms - state.last_seen_watched_ms;
    let interval_ms = state.interval_ms(limits);
    let lost = state.lost.take();
    let is_hosts_fault = lost.is_some_and(|lost| lost.blame == Blame::Host);
    if gap_ms > interval_ms * 3 / 2 && !is_hosts_fault {
        let missed_ms = super::number::span(gap_ms - interval_ms);
        state.missed_ms.add(clock.stream_ms, missed_ms);
    }
    if let Some(lost) = lost
        && (lost.blame == Blame::Gpu || state.fallen_ms.is_some())
    {
        state.returned_ms = Some(clock.stream_ms);
        state.fallen_ms = None;
    }
    if lost.is_some() {
        state.present_since_ms = clock.watched_ms;
    }
    state.last_seen_ms = clock.stream_ms;
    state.last_seen_watched_ms = clock.watched_ms;
}

/// After a reading at `at_ms` that was applied: a GPU that reported Xid 79 and goes on reporting is there after all.
pub fn settle(state: &mut GpuState, at_ms: i64, was_reset: bool, clock: Clock, limits: &Limits) {
    let Some(fallen_ms) = state.fallen_ms else {
        return;
    };
    let is_steady = at_ms - fallen_ms >= seconds_ms(limits.absence.return_s);
    if fallen_ms < at_ms && (was_reset || is_steady) {
        state.fallen_ms = None;
        state.returned_ms = Some(clock.stream_ms);
    }
}

/// The GPU has been silent for so long that nobody waits for it any more.
pub fn is_forgotten(state: &GpuState, clock: Clock, limits: &Limits) -> bool {
    state.lost.is_some()
        && clock.stream_ms - state.last_seen_ms >= seconds_ms(limits.absence.forget_after_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_blamed_on_the_gpu_only_while_its_host_lives() {
        let cases: [(&[i64], Blame); 5] = [
            (&[], Blame::Unknown),
            (&[100_000], Blame::Host),
            (&[109_000, 93_000], Blame::Host),
            (&[120_000], Blame::Gpu),
            (&[90_000, 130_000], Blame::Gpu),
        ];
        for (siblings, blame) in cases {
            let found = Blame::of(100_000, 30_000, siblings.iter().copied());
            assert_eq!(found, blame, "{siblings:?}");
        }
    }
}
