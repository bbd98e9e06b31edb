//! What an Xid counts as.

use super::factor::Factor;
use super::number;
use serde::{Deserialize, Serialize};

/// What an Xid is to the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A fault of the GPU.
    Fault(Factor),
    /// The application's doing, unless several applications have it.
    Application,
}

/// The class of an Xid; none when it says nothing about health.
///
/// 63 (remap recorded) is told by the remap counters, 154 by the recovery action, 93 and 160 to 165 are bookkeeping. 46
/// is not in the study's list; NVIDIA's catalogue resets a GPU for it like for 62.
pub const fn class(code: u16) -> Option<Class> {
    Some(match code {
        48 | 171 | 172 => Class::Fault(Factor::DoubleBitEcc),
        95 | 140 => Class::Fault(Factor::UncontainedEcc),
        94 => Class::Fault(Factor::ContainedEcc),
        64 => Class::Fault(Factor::RowRemapFailure),
        92 => Class::Fault(Factor::SbeStorm),
        79 => Class::Fault(Factor::GpuLost),
        46 | 62 | 109 | 110 | 119 | 120 | 143 | 158 | 167 => Class::Fault(Factor::FatalXid),
        74 | 136 | 144..=150 | 155 => Class::Fault(Factor::NvlinkXid),
        121..=123 => Class::Fault(Factor::HardwareXid),
        13 | 31 | 32 | 43 | 45 | 69 => Class::Application,
        _ => return None,
    })
}

/// Codes of the exporter's window count that are remembered.
const CODES_KEPT: usize = 16;

/// What the exporter showed last: the sticky gauge, and the counts over its window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    gauge: Option<u16>,
    counts: Vec<(u16, u32)>,
}

impl Shown {
    /// Takes what the next reading shows, and calls `seen` with each Xid that came up since: when the gauge changed to
    /// it, or when its count over the window grew.
    ///
    /// The gauge keeps its value for weeks, so that on the first reading of a GPU it tells nothing about when; a count is of
    /// the last minutes and always does.
    pub fn advance(
        &mut self,
        gauge: Option<u16>,
        counts: Option<&[(u16, u32)]>,
        mut seen: impl FnMut(u16, u32),
    ) {
        match self.gauge {
            None => self.gauge = Some(gauge.unwrap_or(0)),
            Some(before) => {
                // Blank after a restart of the exporter is no news (dcgm-exporter issues 646 and 700).
                if let Some(now) = gauge {
                    if now != before && now != 0 {
                        seen(now, 1);
                    }
                    self.gauge = Some(now);
                }
            }
        }
        let Some(counts) = counts else { return };
        for (code, count) in counts.iter().take(CODES_KEPT) {
            let before = self.counts.iter().find(|(known, _)| known == code);
            let before = before.map_or(0, |(_, count)| *count);
            if *count > before {
                seen(*code, count - before);
            }
        }
        self.counts.clear();
        let some = counts.iter().filter(|(_, count)| *count > 0);
        self.counts.extend(some.take(CODES_KEPT));
    }
}

/// Jobs kept.
const JOBS_KEPT: usize = 8;

/// Jobs that ran when an application Xid came up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs(Vec<(i64, u32)>);

impl Jobs {
    /// The job `job` had an application Xid at `at_ms`. Returns how many different jobs had one within `window_ms`.
    pub fn note(&mut self, at_ms: i64, job: u32, window_ms: i64) -> usize {
        self.0
            .retain(|(seen_ms, known)| at_ms - seen_ms < window_ms && *known != job);
        if self.0.len() == JOBS_KEPT {
            self.0.remove(0);
        }
        self.0.push((at_ms, job));
        self.0.len()
    }
}

/// A job's identity: the scheduler's id, else the pod's name; none where neither is known.
pub fn job(job_id: Option<&str>, namespace: Option<&str>, pod: Option<&str>) -> Option<u32> {
    job_id
        .map(|id| number::hash(["job", id]))
        .or_else(|| pod.map(|pod| number::hash(["pod", namespace.unwrap_or_default(), pod])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_nvidias_catalogue() {
        let of = |factor| -> Vec<u16> {
            (0..=200)
                .filter(|code| class(*code) == Some(Class::Fault(factor)))
                .collect()
        };
        assert_eq!(of(Factor::DoubleBitEcc), [48, 171, 172]);
        assert_eq!(of(Factor::UncontainedEcc), [95, 140]);
        assert_eq!(
            of(Factor::FatalXid),
            [46, 62, 109, 110, 119, 120, 143, 158, 167]
        );
        assert_eq!(
            of(Factor::NvlinkXid),
            [74, 136, 144, 145, 146, 147, 148, 149, 150, 155]
        );
        for code in [13, 31, 32, 43, 45, 69] {
            assert_eq!(class(code), Some(Class::Application), "{code}");
        }
        for code in [0, 63, 93, 137, 154, 999] {
            assert_eq!(class(code), None, "{code}");
        }
    }

    type Counts<'a> = &'a [(u16, u32)];

    /// The Xids that a sequence of (gauge, counts) brings up.
    fn seen(shown: &[(Option<u16>, Counts<'_>)]) -> Vec<(u16, u32)> {
        let (mut state, mut seen) = (Shown::default(), Vec::new());
        for (gauge, counts) in shown {
            state.advance(*gauge, Some(counts), |code, n| seen.push((code, n)));
        }
        seen
    }

    #[test]
    fn a_sticky_gauge_tells_once_and_not_at_first_sight() {
        // DCGM issue 277: the gauge never resets.
        assert_eq!(seen(&[(Some(79), &[]), (Some(79), &[])]), []);
        let stuck = [
            (Some(0), &[][..]),
            (Some(48), &[]),
            (Some(48), &[]),
            (None, &[]),
            (Some(48), &[]),
        ];
        assert_eq!(seen(&stuck), [(48, 1)]);
        // The gauge vanishes while there was no Xid: its first value is news then.
        assert_eq!(seen(&[(None, &[]), (Some(94), &[])]), [(94, 1)]);
    }

    #[test]
    fn a_repeat_of_the_same_code_shows_in_the_count() {
        let counts = [
            (Some(31), &[(31, 1)][..]),
            (Some(31), &[(31, 3)]),
            (Some(31), &[(31, 1)]),
            (Some(31), &[]),
            (Some(31), &[(31, 1)]),
        ];
        assert_eq!(seen(&counts), [(31, 1), (31, 2), (31, 1)]);
    }

    #[test]
    fn counts_that_are_not_read_are_not_zero() {
        let mut state = Shown::default();
        let mut seen = 0;
        state.advance(Some(0), Some(&[(94, 1)]), |_, n| seen += n);
        state.advance(None, None, |_, n| seen += n);
        state.advance(Some(0), Some(&[(94, 1)]), |_, n| seen += n);
        assert_eq!(seen, 1);
    }

    #[test]
    fn jobs_count_once_each_and_for_a_day() {
        let mut jobs = Jobs::default();
        let day = 86_400_000;
        assert_eq!(jobs.note(0, 1, day), 1);
        assert_eq!(jobs.note(1, 1, day), 1);
        assert_eq!(jobs.note(2, 2, day), 2);
        assert_eq!(jobs.note(3, 3, day), 3);
        assert_eq!(jobs.note(day + 2, 4, day), 2);
        assert_ne!(
            job(None, Some("a"), Some("b")),
            job(None, Some("ab"), Some(""))
        );
        assert_eq!(job(None, Some("a"), None), None);
    }
}
