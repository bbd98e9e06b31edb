//! What the auditor, a service of the fleet that is struck like the others, has found.

use crate::verdict::{Kind, Verdict, Violation};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Its metrics, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) const fn new(text: String) -> Self {
        Self(text)
    }

    /// The values of a metric's series.
    fn values<'a, T: FromStr>(&'a self, name: &'a str) -> impl Iterator<Item = T> + 'a {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with(['{', ' ']) {
                return None;
            }
            rest.rsplit(' ').next()?.parse().ok()
        })
    }

    /// Over all series of a metric that counts.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        self.values::<u64>(name).sum()
    }

    /// Has it read everything, and judged everything since `now_s` (seconds since the epoch)?
    fn is_done(&self, now_s: f64) -> bool {
        let mut judged = self
            .values::<f64>("auditor_last_verdict_timestamp_seconds")
            .peekable();
        judged.peek().is_some()
            && judged.all(|at_s| at_s > now_s)
            && self.sum("auditor_lag_records") == 0
            && self.sum("auditor_pending_records") == 0
            && self.sum("auditor_sink_samples_pending") == 0
    }

    /// What it says is wrong, given how many inputs all stages had.
    pub(crate) fn verdict(&self, inputs: usize) -> Verdict {
        let mut verdict = Verdict::default();
        let audited = count(self.sum("auditor_audited_records_total"));
        verdict.count("inputs of the stages, audited", audited);
        verdict.count(
            "rows, audited",
            count(self.sum("auditor_sink_rows_checked_total")),
        );
        if audited != inputs {
            verdict.violations.push(Violation::new(
                Kind::Differs,
                None,
                format!("the auditor has judged {audited} inputs of {inputs}"),
            ));
        }
        for (kind, name) in [
            (Kind::Lost, "auditor_lost_records_total"),
            (Kind::Lost, "auditor_sink_rows_missing_total"),
            (Kind::Doubled, "auditor_doubled_records_total"),
            (Kind::Doubled, "auditor_sink_rows_doubled_total"),
            (Kind::Invented, "auditor_phantom_records_total"),
            (Kind::Differs, "auditor_unaudited_records_total"),
        ] {
            let found = self.sum(name);
            if found > 0 {
                verdict.violations.push(Violation::new(
                    kind,
                    None,
                    format!("the auditor says {name} = {found}"),
                ));
            }
        }
        verdict
    }
}

fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Waits until it has judged everything that was there when this began.
///
/// # Errors
/// What it said last, after `bound`.
pub(crate) fn wait_until_done(port: u16, bound: Duration) -> Result<Metrics, String> {
    let began = Instant::now();
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    loop {
        let (_, text) = e2e::http_get(port, "/metrics");
        let metrics = Metrics(text);
        if metrics.is_done(now_s) {
            return Ok(metrics);
        }
        if began.elapsed() > bound {
            return Err(format!(
                "the auditor is not done after {} s: {} records not read, {} not judged, {} samples of rows wait",
                bound.as_secs(),
                metrics.sum("auditor_lag_records"),
                metrics.sum("auditor_pending_records"),
                metrics.sum("auditor_sink_samples_pending"),
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(lost: u32, pending: u32) -> Metrics {
        Metrics(format!(
            "# TYPE auditor_lost_records_total counter\n\
             auditor_lost_records_total{{stage=\"validator\"}} {lost}\n\
             auditor_audited_records_total{{stage=\"validator\"}} 90\n\
             auditor_audited_records_total{{stage=\"enricher\"}} 10\n\
             auditor_pending_records{{stage=\"validator\"}} {pending}\n\
             auditor_last_verdict_timestamp_seconds{{stage=\"validator\"}} 1000.5\n"
        ))
    }

    #[test]
    fn it_is_done_when_all_is_judged_by_a_verdict_of_now() {
        assert!(metrics(0, 0).is_done(1000.0));
        assert!(!metrics(0, 0).is_done(1001.0), "an old verdict");
        assert!(!metrics(0, 3).is_done(1000.0));
        assert!(!Metrics::default().is_done(1000.0), "no answer");
    }

    #[test]
    fn what_it_finds_and_what_it_misses_are_violations() {
        let kinds = |metrics: Metrics, inputs| -> Vec<Kind> {
            let violations = metrics.verdict(inputs).violations;
            violations.iter().map(|violation| violation.kind).collect()
        };
        assert_eq!(kinds(metrics(0, 0), 100), []);
        assert_eq!(kinds(metrics(2, 0), 100), [Kind::Lost]);
        assert_eq!(kinds(metrics(0, 0), 101), [Kind::Differs]);
    }
}
