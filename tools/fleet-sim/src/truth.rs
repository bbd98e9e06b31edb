//! The ground-truth file, written as event time goes on.

use crate::cli::write_line;
use crate::fleet::Plan;
use std::io::{self, Write};

/// Faults are looked up a day of event time ahead.
const DAY_MS: u64 = 86_400_000;

/// Where the ground truth goes.
pub(crate) struct TruthFile {
    out: Option<Box<dyn Write + Send>>,
    written_to_ms: u64,
}

impl TruthFile {
    pub(crate) const fn none() -> Self {
        Self {
            out: None,
            written_to_ms: 0,
        }
    }

    pub(crate) fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out: Some(out),
            written_to_ms: 0,
        }
    }

    /// Writes what begins before the end of the day that `now_ms` after the start is in, unless it is written.
    pub(crate) fn reach(&mut self, plan: &Plan, now_ms: u64) -> io::Result<()> {
        let Some(out) = &mut self.out else {
            return Ok(());
        };
        let end = plan.config().duration_ms.unwrap_or(u64::MAX);
        while self.written_to_ms <= now_ms && self.written_to_ms < end {
            let until = (self.written_to_ms + DAY_MS).min(end);
            for fault in plan.faults_between(self.written_to_ms, until) {
                write_line(out, &plan.ground_truth(&fault))?;
            }
            out.flush()?;
            self.written_to_ms = until;
        }
        Ok(())
    }
}
