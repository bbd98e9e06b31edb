//! Findings as log lines, a bounded number a minute.

use crate::domain::audit::Finding;
use crate::domain::pipeline::STAGES;
use std::time::{Duration, Instant};
use tracing::{error, warn};

const MINUTE: Duration = Duration::from_mins(1);

/// Tells.
#[derive(Debug)]
pub(crate) struct Report {
    most: u32,
    since: Instant,
    told: u32,
    withheld: u64,
}

impl Report {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most,
            since: Instant::now(),
            told: 0,
            withheld: 0,
        }
    }

    pub(crate) fn tell(&mut self, findings: &[Finding], names: &[String]) {
        if self.since.elapsed() >= MINUTE {
            if self.withheld > 0 {
                warn!(
                    findings = self.withheld,
                    "more was found in the last minute than is logged; metrics have all"
                );
            }
            (self.since, self.told, self.withheld) = (Instant::now(), 0, 0);
        }
        for finding in findings {
            if self.told >= self.most {
                self.withheld += 1;
                continue;
            }
            self.told += 1;
            let stage = &STAGES[finding.stage];
            let (stage_name, partition) = (stage.name, finding.partition);
            let topic = names.get(stage.input).map_or("", String::as_str);
            let verdict = &finding.verdict;
            for (what, ranges) in [
                (
                    "lost: the stage has passed them without an outcome",
                    &verdict.lost,
                ),
                ("doubled: they have more than one outcome", &verdict.doubled),
                (
                    "phantom: they have an outcome and are no committed records",
                    &verdict.phantom,
                ),
            ] {
                if !ranges.is_empty() {
                    error!(stage = stage_name, topic, partition, offsets = %ranges, count = ranges.count, "{what}");
                }
            }
            if !verdict.unaudited.is_empty() {
                let ranges = &verdict.unaudited;
                warn!(stage = stage_name, topic, partition, offsets = %ranges, count = ranges.count, "unaudited: records that could tell are gone");
            }
        }
    }
}
