//! The seam between a service's logic and Kafka: records in, records and state changes out.
//!
//! A [`Stage`] is driven by [`crate::eos`] in production and by [`crate::testing::StageDriver`] in tests, with the same
//! calls in the same order. It does no I/O and reads no clock.

use rdkafka::message::{BorrowedMessage, Message};
use std::fmt;

/// What a service does with its input.
///
/// One stage serves one worker; it may hold what all its partitions share (limits, tables, scratch buffers). What
/// belongs to one input partition lives in a [`Task`].
pub trait Stage: Send + 'static {
    /// The state of one input partition.
    type Task: Task;

    /// The empty state of `partition`, which was just assigned; the changelog is then restored into it.
    fn open(&mut self, partition: i32) -> Self::Task;

    /// Applies one record. The outcome depends on the stage, the task and the record alone.
    fn process(&mut self, task: &mut Self::Task, record: &Record<'_>, out: &mut Outbox);

    /// The broker confirmed at `now_ms` (wall clock, milliseconds since the epoch) that `task`'s partition holds nothing
    /// unread, and it has been quiet for the configured time. Called again after each such time while it stays quiet.
    ///
    /// For the stage at the edge that turns silence into records; what it emits here is all that the wall clock decides.
    fn idle(&mut self, task: &mut Self::Task, now_ms: i64, out: &mut Outbox) {
        let _ = (task, now_ms, out);
    }

    /// Applies one record of the table topic; a null value deletes the key. All that is in the table when a
    /// partition is assigned arrives before that partition's first record.
    fn table(&mut self, record: &Record<'_>) {
        let _ = record;
    }

    /// No assigned partition needs this partition of the table any more.
    fn forget_table(&mut self, table_partition: i32) {
        let _ = table_partition;
    }
}

/// The state of one input partition, in memory, rebuilt from its changelog.
///
/// Between two commits it must be able to go back: [`Task::committed`] makes what was staged stand, [`Task::aborted`]
/// undoes it to the pre-image. [`crate::Table`] does both for keyed state.
pub trait Task: Send {
    /// Applies one record of the changelog, oldest first; a null value deletes. An error stops the service, since state
    /// that can't be read must not be guessed.
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        let _ = (key, value);
        Err(RestoreError::new(
            "this stage keeps no state, yet its changelog holds some",
        ))
    }

    /// Writes every change since the last commit. Called once for each transaction, after its last record.
    fn flush(&mut self, changelog: &mut Changelog) {
        let _ = changelog;
    }

    /// The transaction that carried the last flush is committed.
    fn committed(&mut self) {}

    /// The transaction was aborted: undo everything since the last commit. The same records come again.
    fn aborted(&mut self) {}

    /// Entries held, for the gauge `chassis_state_entries`.
    fn entries(&self) -> usize {
        0
    }
}

/// No state.
impl Task for () {}

/// A changelog record can't be read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreError(String);

impl RestoreError {
    /// With the reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RestoreError {}

/// One record, borrowed from the client's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Topic it was read from.
    pub topic: &'a str,
    /// Partition it was read from.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The broker's append time in milliseconds since the epoch (all topics use log-append time).
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// A record's headers, looked at only when asked for.
#[derive(Clone, Copy)]
pub struct Headers<'a>(pub(crate) HeaderSource<'a>);

#[derive(Clone, Copy)]
pub(crate) enum HeaderSource<'a> {
    None,
    Kafka(&'a BorrowedMessage<'a>),
    Slice(&'a [(String, Vec<u8>)]),
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const EMPTY: Headers<'static> = Headers(HeaderSource::None);

    /// Headers given as pairs, for tests.
    pub const fn from_slice(pairs: &'a [(String, Vec<u8>)]) -> Self {
        Self(HeaderSource::Slice(pairs))
    }

    /// The value of the last header called `name`.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        match self.0 {
            HeaderSource::None => None,
            HeaderSource::Kafka(message) => {
                use rdkafka::message::Headers as _;
                let headers = message.headers()?;
                (0..headers.count())
                    .rev()
                    .map(|i| headers.get(i))
                    .find(|header| header.key == name)
                    .and_then(|header| header.value)
            }
            HeaderSource::Slice(pairs) => pairs
                .iter()
                .rev()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_slice()),
        }
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers")
    }
}

/// One of a stage's output topics: its place in [`crate::eos::Topology::outputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Output(pub usize);

/// Where a stage puts what it emits. Everything in it becomes part of the open transaction.
#[derive(Debug, Default)]
pub struct Outbox {
    partitions: Vec<i32>,
    input_partition: i32,
    bytes: Vec<u8>,
    staged: Vec<Staged>,
}

#[derive(Clone, Copy, Debug)]
struct Staged {
    output: Output,
    partition: i32,
    key: Option<Span>,
    value: Option<Span>,
}

/// A staged record, ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedRecord<'a> {
    /// Which output.
    pub output: Output,
    /// Which of its partitions.
    pub partition: i32,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
}

impl Outbox {
    /// For outputs with these numbers of partitions.
    pub fn new(partitions: Vec<i32>) -> Self {
        Self {
            partitions,
            ..Self::default()
        }
    }

    /// How many partitions `output` has.
    pub fn partitions(&self, output: Output) -> i32 {
        self.partitions[output.0]
    }

    /// `input partition % output partitions`: keeps the order of each key, since every key of the input partition was
    /// hashed over a multiple of the output's partitions.
    pub fn co_partition(&self, output: Output) -> i32 {
        self.input_partition % self.partitions[output.0]
    }

    /// Emits a record.
    pub fn send(
        &mut self,
        output: Output,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let key = key.map(|key| self.copy(key));
        let value = value.map(|value| self.copy(value));
        self.staged.push(Staged {
            output,
            partition,
            key,
            value,
        });
    }

    /// Emits a record whose value `write` appends to the buffer, without a copy in between. When `write` fails,
    /// nothing is emitted.
    pub fn send_with<E>(
        &mut self,
        output: Output,
        partition: i32,
        key: Option<&[u8]>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let undo_to = self.bytes.len();
        let key = key.map(|key| self.copy(key));
        let start = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(undo_to);
            return Err(error);
        }
        let value = Some((start, self.bytes.len()));
        self.staged.push(Staged {
            output,
            partition,
            key,
            value,
        });
        Ok(())
    }

    /// Records staged and not yet drained.
    pub fn len(&self) -> usize {
        self.staged.len()
    }

    /// Nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    /// What is staged, oldest first.
    pub fn staged(&self) -> impl Iterator<Item = StagedRecord<'_>> {
        self.staged.iter().map(|staged| StagedRecord {
            output: staged.output,
            partition: staged.partition,
            key: staged.key.map(|(from, to)| &self.bytes[from..to]),
            value: staged.value.map(|(from, to)| &self.bytes[from..to]),
        })
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.staged.clear();
        self.bytes.clear();
    }

    /// The partition whose records are processed next; what `co_partition` goes by.
    pub fn set_input_partition(&mut self, partition: i32) {
        self.input_partition = partition;
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        (start, self.bytes.len())
    }
}

/// Bytes of a buffer, from and to.
type Span = (usize, usize);

/// Where a task writes its state changes.
#[derive(Debug, Default)]
pub struct Changelog {
    bytes: Vec<u8>,
    staged: Vec<(Span, Option<Span>)>,
}

impl Changelog {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        let key = self.copy(key);
        let value = self.copy(value);
        self.staged.push((key, Some(value)));
    }

    /// Sets `key` to what `write` appends to the buffer.
    pub fn put_with(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let key = self.copy(key);
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.staged.push((key, Some((start, self.bytes.len()))));
    }

    /// Deletes `key`.
    pub fn delete(&mut self, key: &[u8]) {
        let key = self.copy(key);
        self.staged.push((key, None));
    }

    /// The changes, oldest first.
    pub fn staged(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.staged.iter().map(|(key, value)| {
            (
                &self.bytes[key.0..key.1],
                value.map(|(from, to)| &self.bytes[from..to]),
            )
        })
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.staged.clear();
        self.bytes.clear();
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        (start, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_stages_nothing() {
        let mut out = Outbox::new(vec![8]);
        out.send(Output(0), 1, Some(b"k"), Some(b"v"));
        let failed = out.send_with(Output(0), 2, Some(b"k2"), |buffer| {
            buffer.extend_from_slice(b"half");
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        let staged: Vec<_> = out.staged().collect();
        assert_eq!(
            staged,
            [StagedRecord {
                output: Output(0),
                partition: 1,
                key: Some(b"k"),
                value: Some(b"v")
            }]
        );
    }

    #[test]
    fn co_partition_is_the_remainder() {
        let mut out = Outbox::new(vec![16, 8]);
        out.set_input_partition(27);
        assert_eq!(
            (out.co_partition(Output(0)), out.co_partition(Output(1))),
            (11, 3)
        );
    }
}
