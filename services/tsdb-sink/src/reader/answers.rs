//! What the writer is asked for, and what its answers mean.

use super::{Asked, Reader};
use crate::domain::batch::Batch;
use crate::domain::letter::Unstorable;
use crate::domain::offsets::{Place, Stored, Verdict};
use crate::metrics;
use crate::writer::{Command, Outcome};
use chassis::Error;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tracing::{info, warn};

impl Reader {
    /// Asks the writer for the next thing, if it has nothing to do.
    pub(super) fn hand_over(&mut self) -> Result<(), Error> {
        if self.asked != Asked::Nothing {
            return Ok(());
        }
        let now = self.start.elapsed();
        let to_claim = self.group().to_claim(now);
        if !to_claim.is_empty() {
            return self.ask(Asked::Claim, Command::Claim(to_claim));
        }
        if self.is_due() {
            self.store()?;
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        let sink = &self.config.sink;
        self.began.is_some_and(|began| {
            let age = began.elapsed();
            self.is_full() || age >= sink.max_wait() || self.drained && age >= sink.min_wait()
        })
    }

    pub(super) fn store(&mut self) -> Result<(), Error> {
        let spare = std::mem::take(&mut self.spare);
        let batch = std::mem::replace(&mut self.batch, spare);
        self.began = None;
        self.ask(Asked::Store, Command::Store(batch))
    }

    fn ask(&mut self, asked: Asked, command: Command) -> Result<(), Error> {
        // One at a time is asked for, so that there is room.
        self.ask.try_send(command).map_err(|_| writer_ended())?;
        self.asked = asked;
        Ok(())
    }

    /// Waits for the writer's answer; false if there was none.
    pub(super) fn take_answer(&mut self, wait: Duration) -> Result<bool, Error> {
        if self.asked == Asked::Nothing {
            return Ok(false);
        }
        let outcome = match self.answers.recv_timeout(wait) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => return Err(writer_ended()),
        };
        self.asked = Asked::Nothing;
        match outcome {
            Outcome::Claimed(claims) => self.claimed(&claims),
            Outcome::Stored(batch, verdicts) => self.stored(batch, &verdicts)?,
            Outcome::Refused(batch, refused) => self.refused(batch, refused)?,
            // The service stops.
            Outcome::Dropped => self.group().claim_failed(self.start.elapsed()),
            Outcome::Failed(error) => return Err(error),
        }
        Ok(true)
    }

    fn claimed(&self, claims: &[(Place, Stored)]) {
        self.group().claimed(claims);
        info!(
            reader = self.name,
            partitions = claims.len(),
            "partitions claimed"
        );
    }

    fn stored(&mut self, batch: Box<Batch>, verdicts: &[Verdict]) -> Result<(), Error> {
        let now = self.start.elapsed();
        let mut again = Vec::new();
        for (index, (slice, verdict)) in batch.slices().iter().zip(verdicts).enumerate() {
            let place = slice.place;
            let counts = batch.counts(index);
            let topic = self.config.topics.of(place.table);
            match verdict {
                Verdict::Store { .. } | Verdict::Already => {
                    if matches!(verdict, Verdict::Store { .. }) {
                        metrics::records(topic, counts.records);
                        metrics::ticks(counts.ticks);
                    }
                    self.group().stored(place, slice.epoch, slice.end);
                    self.refused
                        .retain(|(refused, offset), _| *refused != place || *offset >= slice.end);
                }
                Verdict::Gap { wanted } => {
                    let partition = place.partition;
                    warn!(topic, partition, ?wanted, base = ?slice.base, "reading again where the database ends");
                    metrics::gap();
                    again.push((place, slice.epoch, *wanted));
                }
                Verdict::Fenced => {
                    // A slice that was abandoned has an epoch that nobody has.
                    if self.group().epoch(place) == Some(slice.epoch) {
                        let partition = place.partition;
                        warn!(
                            topic,
                            partition, "fenced: somebody else has claimed this partition"
                        );
                    }
                    let was_read = self.group().fenced(place, slice.epoch, now);
                    self.leave(place, was_read)?;
                }
            }
        }
        metrics::batch(outcome(verdicts));
        self.rewind(&again)?;
        self.keep_buffers(batch);
        Ok(())
    }

    /// Has the whole batch read again; this time the refused records are dead letters.
    fn refused(
        &mut self,
        batch: Box<Batch>,
        refused: Vec<(Place, i64, Unstorable)>,
    ) -> Result<(), Error> {
        let again: Vec<(Place, i64, Option<i64>)> = batch
            .slices()
            .iter()
            .map(|slice| (slice.place, slice.epoch, slice.base))
            .collect();
        for (place, offset, why) in refused {
            self.refused.insert((place, offset), why);
        }
        self.rewind(&again)?;
        self.keep_buffers(batch);
        Ok(())
    }

    fn keep_buffers(&mut self, mut batch: Box<Batch>) {
        batch.clear(self.config.sink.max_bytes());
        self.spare = batch;
    }

    fn rewind(&mut self, again: &[(Place, i64, Option<i64>)]) -> Result<(), Error> {
        for (place, epoch, next) in again {
            if self.group().epoch(*place) != Some(*epoch) {
                continue;
            }
            let was_read = self.group().rewind(*place, *epoch, *next);
            self.leave(*place, was_read)?;
        }
        Ok(())
    }

    /// Forgets what was read of a partition after what the writer had.
    fn leave(&mut self, place: Place, was_read: bool) -> Result<(), Error> {
        if was_read {
            self.batch.abandon(place);
            self.unassign(&[place])?;
        }
        Ok(())
    }
}

/// The label of a batch that was not refused.
fn outcome(verdicts: &[Verdict]) -> &'static str {
    let any = |wanted: fn(&Verdict) -> bool| verdicts.iter().any(wanted);
    if any(|verdict| matches!(verdict, Verdict::Store { .. })) {
        "stored"
    } else if any(|verdict| matches!(verdict, Verdict::Gap { .. })) {
        "gap"
    } else if any(|verdict| matches!(verdict, Verdict::Fenced)) {
        "fenced"
    } else {
        "repeated"
    }
}

fn writer_ended() -> Error {
    Error::internal("the writer has ended")
}
