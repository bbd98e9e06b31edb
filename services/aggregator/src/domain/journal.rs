//! The journal: every accepted reading, once, in the order of acceptance.
//!
//! A transaction writes what it accepted as one segment (several when it is large) under the next sequence number. A
//! segment is deleted when the quarters of all its entries are folded away. So a reading costs its own bytes, and not
//! those of its GPU's whole state.
//!
//! ```text
//! version   1 byte
//! entries   varint   GPU's number in this segment * 2, + 1 for a revision; number 0 is a new GPU, whose UUID follows
//!           signed   minutes from the entry before
//!   row       varint length, then the row
//!   revision  1 byte   size of the window, 0 one minute, 1 fifteen
//!             varint   how often it was corrected
//! ```
//!
//! A row may hold changes to the row before it in its minute. All rows of a minute go together, since segments are
//! kept by quarters, so that the row before is there as long as it is needed.

use super::column::Mask;
use super::row::{self, Head, Row};
use super::window::{MINUTE_MS, quarter_end};
use super::wire::{Malformed, Reader, put_signed, put_varint};
use schema::WindowSize;
use std::collections::BTreeMap;

/// The version of a segment's layout.
pub const VERSION: u8 = 1;

/// A segment is closed when it has this many bytes: well below the largest record that a producer sends by default.
const SEGMENT_BYTES: usize = 256 * 1024;

/// At most so many segments are deleted in one transaction, so that the end of a quarter does not make a large one.
/// A transaction adds one segment, seldom more, so that this catches up.
const DELETED_AT_ONCE: usize = 64;

/// What is kept about segments, and the segments of the open transaction.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Sequence number of the next segment.
    pub next: u64,
    /// Committed segments by the end of the last quarter that needs them.
    live: BTreeMap<i64, Vec<u64>>,
    open: Vec<Segment>,
    /// Segments that the flush under way deletes, all under this key of `live`.
    deleted: Option<(i64, usize)>,
    /// Counts segments begun; a GPU's number is only good within one.
    begun: u64,
}

#[derive(Clone, Debug)]
struct Segment {
    bytes: Vec<u8>,
    keep_until: i64,
    minute: i64,
    gpus: u64,
}

/// Where state is written.
pub trait Log {
    /// Sets `key` to `value`.
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// Deletes `key`.
    fn delete(&mut self, key: &[u8]);
}

impl Journal {
    /// Adds a row of the GPU to the minute at `start`; `framed` is the row with its length before it.
    pub fn row(&mut self, uuid: &str, number: &mut (u64, u64), start: i64, framed: &[u8]) {
        self.entry(uuid, number, start, 0).extend_from_slice(framed);
    }

    /// Adds that a window of the GPU was corrected so often.
    pub fn revision(
        &mut self,
        uuid: &str,
        number: &mut (u64, u64),
        (end, size): (i64, WindowSize),
        revision: u32,
    ) {
        let bytes = self.entry(uuid, number, end - size.as_millis(), 1);
        bytes.push(match size {
            WindowSize::OneMinute => 0,
            WindowSize::FifteenMinutes => 1,
        });
        put_varint(bytes, u64::from(revision));
    }

    fn entry(
        &mut self,
        uuid: &str,
        number: &mut (u64, u64),
        start: i64,
        kind: u64,
    ) -> &mut Vec<u8> {
        if self
            .open
            .last()
            .is_none_or(|segment| segment.bytes.len() >= SEGMENT_BYTES)
        {
            self.begun += 1;
            self.open.push(Segment {
                bytes: vec![VERSION],
                keep_until: i64::MIN,
                minute: 0,
                gpus: 0,
            });
        }
        let at = self.open.len() - 1;
        let segment = &mut self.open[at];
        if number.0 == self.begun {
            put_varint(&mut segment.bytes, number.1 << 1 | kind);
        } else {
            segment.gpus += 1;
            *number = (self.begun, segment.gpus);
            put_varint(&mut segment.bytes, kind);
            put_uuid(&mut segment.bytes, uuid);
        }
        let minute = start.div_euclid(MINUTE_MS);
        put_signed(&mut segment.bytes, minute - segment.minute);
        segment.minute = minute;
        segment.keep_until = segment.keep_until.max(quarter_end(start));
        &mut segment.bytes
    }

    /// Writes the open segments.
    pub fn flush(&mut self, log: &mut impl Log) {
        for (sequence, segment) in (self.next..).zip(&self.open) {
            log.put(&key(sequence), &segment.bytes);
        }
    }

    /// Deletes some of the segments that no quarter after `folded_to` needs.
    pub fn delete(&mut self, folded_to: i64, log: &mut impl Log) {
        self.deleted = None;
        if let Some((keep_until, sequences)) = self.live.first_key_value()
            && *keep_until <= folded_to
        {
            let n = sequences.len().min(DELETED_AT_ONCE);
            for sequence in &sequences[..n] {
                log.delete(&key(*sequence));
            }
            self.deleted = Some((*keep_until, n));
        }
    }

    /// The flush is committed.
    pub fn committed(&mut self) {
        if let Some((keep_until, n)) = self.deleted.take()
            && let Some(sequences) = self.live.get_mut(&keep_until)
        {
            sequences.drain(..n);
            if sequences.is_empty() {
                self.live.remove(&keep_until);
            }
        }
        for segment in std::mem::take(&mut self.open) {
            self.restored(self.next, segment.keep_until);
            self.next += 1;
        }
        self.begun += 1;
    }

    /// The transaction is aborted.
    pub fn aborted(&mut self) {
        self.deleted = None;
        self.open.clear();
        self.begun += 1;
    }

    /// A segment is in the changelog.
    pub fn restored(&mut self, sequence: u64, keep_until: i64) {
        self.live.entry(keep_until).or_default().push(sequence);
    }

    /// How many segments are kept.
    pub fn segments(&self) -> usize {
        self.live.values().map(Vec::len).sum()
    }

    /// Segments of the open transaction.
    pub fn open_segments(&self) -> u64 {
        self.open.len() as u64
    }
}

/// First byte of a segment's key; its sequence number, eight bytes big-endian, follows.
pub const KEY_PREFIX: u8 = b'j';

/// The key of a segment.
pub fn key(sequence: u64) -> [u8; 9] {
    let mut key = [KEY_PREFIX; 9];
    key[1..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// One entry of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A reading.
    Row {
        /// The minute's start.
        start: i64,
        /// The row, without its length.
        encoded: &'a [u8],
        /// Columns that it adds to those of its minute.
        columns: Mask,
    },
    /// A correction.
    Revision {
        /// The window.
        window: (i64, WindowSize),
        /// How often it was corrected.
        revision: u32,
    },
}

/// Reads a segment, checking every row of it; gives each entry with its GPU to `visit`, and returns the end of the last
/// quarter that needs it.
pub fn read(bytes: &[u8], mut visit: impl FnMut(&str, Entry<'_>)) -> Result<i64, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != VERSION {
        return Err(Malformed("a journal segment of another version"));
    }
    let mut uuids: Vec<String> = Vec::new();
    let mut minute = 0_i64;
    let mut keep_until = i64::MIN;
    let (mut head, mut numbers) = (Head::default(), Row::EMPTY);
    while !reader.is_empty() {
        let tag = reader.varint()?;
        let at = match (tag >> 1) as usize {
            0 => {
                uuids.push(uuid(&mut reader)?);
                uuids.len() - 1
            }
            number => number - 1,
        };
        let uuid = uuids
            .get(at)
            .ok_or(Malformed("a GPU that is not in the segment"))?;
        minute = minute
            .checked_add(reader.signed()?)
            .filter(|minute| minute.unsigned_abs() < MAX_MINUTE)
            .ok_or(Malformed("a minute beyond time"))?;
        let start = minute * MINUTE_MS;
        keep_until = keep_until.max(quarter_end(start));
        if tag & 1 == 0 {
            let n = reader.length()?;
            let encoded = reader.take(n)?;
            // Whatever the row before was, this adds the columns that it sets.
            numbers.mask = 0;
            let mut body = Reader::new(encoded);
            row::decode(&mut body, &mut head, &mut numbers)?;
            if !body.is_empty() || head.offset_ms >= MINUTE_MS.unsigned_abs() {
                return Err(Malformed("a row that is not one"));
            }
            let columns = numbers.mask;
            visit(
                uuid,
                Entry::Row {
                    start,
                    encoded,
                    columns,
                },
            );
        } else {
            let size = match reader.byte()? {
                0 => WindowSize::OneMinute,
                1 => WindowSize::FifteenMinutes,
                _ => return Err(Malformed("a window of an unknown size")),
            };
            let revision = u32::try_from(reader.varint()?)
                .map_err(|_| Malformed("a revision beyond all numbers"))?;
            let window = (start + size.as_millis(), size);
            visit(uuid, Entry::Revision { window, revision });
        }
    }
    Ok(keep_until)
}

/// More minutes than any event time has that is accepted.
const MAX_MINUTE: u64 = 1 << 40;

const PLAIN: u8 = 0;
/// Prefixes of UUIDs whose hexadecimal digits are written as sixteen bytes.
const PREFIXES: [&str; 2] = ["GPU-", "MIG-"];
/// Where the dashes are.
const DASHES: [usize; 4] = [8, 13, 18, 23];

fn put_uuid(out: &mut Vec<u8>, uuid: &str) {
    for (tag, prefix) in (1..).zip(PREFIXES) {
        if let Some(digits) = uuid.strip_prefix(prefix)
            && let Some(bytes) = hexadecimal(digits.as_bytes())
        {
            out.push(tag);
            out.extend_from_slice(&bytes);
            return;
        }
    }
    out.push(PLAIN);
    put_varint(out, uuid.len() as u64);
    out.extend_from_slice(uuid.as_bytes());
}

fn uuid(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let tag = reader.byte()?;
    if tag == PLAIN {
        let n = reader.length()?;
        return String::from_utf8(reader.take(n)?.to_vec())
            .map_err(|_| Malformed("a UUID that is not UTF-8"));
    }
    let prefix = PREFIXES
        .get(usize::from(tag) - 1)
        .ok_or(Malformed("a UUID of an unknown kind"))?;
    let mut text = String::with_capacity(prefix.len() + 36);
    text.push_str(prefix);
    for byte in reader.take(16)? {
        for digit in [byte >> 4, byte & 0xf] {
            if DASHES.contains(&(text.len() - prefix.len())) {
                text.push('-');
            }
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    Ok(text)
}

/// The sixteen bytes of `8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11`; none for any other form, capitals included.
fn hexadecimal(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 || DASHES.iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut bytes = [0; 16];
    let digits = text
        .iter()
        .enumerate()
        .filter(|(at, _)| !DASHES.contains(at));
    for (place, (_, digit)) in digits.enumerate() {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        bytes[place / 2] = bytes[place / 2] << 4 | value;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
