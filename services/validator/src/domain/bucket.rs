//! How a bucket of GPUs is written into the changelog.
//!
//! One changelog record a GPU and commit would cost more than the readings themselves. GPUs get a slot in the order in
//! which they arrive, so that those that report together sit together, and a bucket of slots is one record.
//!
//! Layout: one version byte, then postcard: stream time, and a list of entries. An entry is its place in the bucket, the
//! GPU (16 bytes where its UUID is a plain one), and its history with times relative to stream time.

use super::gpu_id::GpuId;
use super::history::{History, Run};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Slots in a bucket.
pub const SLOTS: usize = 32;
/// The version of the layout.
const VERSION: u8 = 1;

/// A GPU and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which GPU.
    pub id: GpuId,
    /// What was seen.
    pub history: History,
}

/// A bucket, read back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Stream time when it was written.
    pub stream_time_ms: i64,
    /// The slots that are taken: their place in the bucket and what they hold.
    pub entries: Vec<(usize, Known)>,
}

/// A bucket can't be read back.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It was written with another layout.
    Version(Option<u8>),
    /// Its bytes make no sense.
    Corrupt,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(Some(version)) => write!(
                f,
                "state was written with layout version {version}, this binary reads version {VERSION}"
            ),
            Self::Version(None) => f.write_str("state record without a version"),
            Self::Corrupt => write!(f, "state of version {VERSION} can't be read"),
        }
    }
}

/// Appends the bucket whose slots are `slots` (at most [`SLOTS`]) to `out`.
pub fn write<'a>(
    stream_time_ms: i64,
    slots: impl Iterator<Item = Option<(&'a GpuId, &'a History)>> + Clone,
    out: &mut Vec<u8>,
) {
    out.push(VERSION);
    let start = out.len();
    let wire = (stream_time_ms, Entries(stream_time_ms, slots));
    match postcard::to_extend(&wire, std::mem::take(out)) {
        Ok(written) => *out = written,
        // Memory is the only thing written to, and every type above has a form in postcard: it can't fail. If it did,
        // an empty record would make the restore say so.
        Err(_) => out.truncate(start.min(out.len())),
    }
}

/// Reads a bucket back.
pub fn read(bytes: &[u8]) -> Result<Bucket, Unreadable> {
    let body = match bytes.split_first() {
        Some((&VERSION, body)) => body,
        other => return Err(Unreadable::Version(other.map(|(version, _)| *version))),
    };
    let ((stream_time_ms, entries), rest) =
        postcard::take_from_bytes::<(i64, Vec<EntryWire>)>(body)
            .map_err(|_| Unreadable::Corrupt)?;
    if !rest.is_empty() {
        return Err(Unreadable::Corrupt);
    }
    let entries = entries
        .into_iter()
        .map(|entry| entry.into_known(stream_time_ms))
        .collect::<Option<_>>()
        .ok_or(Unreadable::Corrupt)?;
    Ok(Bucket {
        stream_time_ms,
        entries,
    })
}

struct Entries<I>(i64, I);

impl<'a, I: Iterator<Item = Option<(&'a GpuId, &'a History)>> + Clone> Serialize for Entries<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let taken = self.1.clone().flatten().count();
        let mut seq = serializer.serialize_seq(Some(taken))?;
        for (place, slot) in (0_u8..).zip(self.1.clone()) {
            if let Some((id, history)) = slot {
                seq.serialize_element(&EntryRef {
                    place,
                    id,
                    history,
                    stream_time_ms: self.0,
                })?;
            }
        }
        seq.end()
    }
}

struct EntryRef<'a> {
    place: u8,
    id: &'a GpuId,
    history: &'a History,
    stream_time_ms: i64,
}

impl Serialize for EntryRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let history = self.history;
        let id = match self.id {
            GpuId::Plain(number) => IdRef::Plain(number.to_be_bytes()),
            GpuId::Other(text) => IdRef::Other(text),
        };
        (
            self.place,
            id,
            self.stream_time_ms.wrapping_sub(history.ingest_ms),
            history.ingest_ms.wrapping_sub(history.event_ms),
            Mapped(history.runs(), RunWire::from),
            Mapped(history.times(), |time: i64| {
                history.event_ms.wrapping_sub(time)
            }),
        )
            .serialize(serializer)
    }
}

/// A slice written as a list of what a function makes of each element.
struct Mapped<'a, T, F>(&'a [T], F);

impl<T: Copy, U: Serialize, F: Fn(T) -> U> Serialize for Mapped<'_, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|item| self.1(*item)))
    }
}

#[derive(Serialize)]
enum IdRef<'a> {
    Plain([u8; 16]),
    Other(&'a str),
}

#[derive(Deserialize)]
enum IdWire {
    Plain([u8; 16]),
    Other(Box<str>),
}

/// The window is written inverted: nearly always all of it was seen, and a zero takes one byte.
#[derive(Serialize, Deserialize)]
struct RunWire([u8; 8], u64, u64);

impl From<Run> for RunWire {
    fn from(run: Run) -> Self {
        Self(run.id.to_le_bytes(), run.highest, !run.window)
    }
}

#[derive(Deserialize)]
struct EntryWire(u8, IdWire, i64, i64, Vec<RunWire>, Vec<i64>);

impl EntryWire {
    fn into_known(self, stream_time_ms: i64) -> Option<(usize, Known)> {
        let Self(place, id, ingest_ago, event_ago, runs, times) = self;
        let place = usize::from(place);
        let ingest_ms = stream_time_ms.wrapping_sub(ingest_ago);
        let event_ms = ingest_ms.wrapping_sub(event_ago);
        let runs: Vec<Run> = runs
            .into_iter()
            .map(|RunWire(id, highest, unseen)| Run {
                id: u64::from_le_bytes(id),
                highest,
                window: !unseen,
            })
            .collect();
        let times: Vec<i64> = times
            .into_iter()
            .map(|ago| event_ms.wrapping_sub(ago))
            .collect();
        let history = History::from_parts(ingest_ms, event_ms, &runs, &times)?;
        let id = match id {
            IdWire::Plain(bytes) => GpuId::Plain(u128::from_be_bytes(bytes)),
            IdWire::Other(text) => GpuId::Other(text),
        };
        (place < SLOTS).then_some((place, Known { id, history }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::{Sequence, Stamp};
    use proptest::prelude::*;

    fn known() -> impl Strategy<Value = Known> {
        let id = prop_oneof![
            any::<u128>().prop_map(GpuId::Plain),
            "[A-Z]{0,8}".prop_map(|text| GpuId::Other(text.into())),
        ];
        let stamp =
            (any::<i64>(), any::<Option<(u64, u64)>>()).prop_map(|(event_ms, sequence)| Stamp {
                event_ms,
                sequence: sequence.map(|(run, number)| Sequence { run, number }),
            });
        (id, proptest::collection::vec((stamp, any::<i64>()), 1..20)).prop_map(|(id, stamps)| {
            let mut history = History::default();
            let admitted = stamps
                .into_iter()
                .filter(|(stamp, ingest_ms)| history.admit(*stamp, *ingest_ms).is_ok())
                .count();
            assert!(admitted > 0, "the first always is");
            Known { id, history }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            slots in proptest::collection::vec(proptest::option::of(known()), 0..=SLOTS),
            stream_time_ms in any::<i64>(),
        ) {
            let mut out = b"before".to_vec();
            write(
                stream_time_ms,
                slots.iter().map(|slot| slot.as_ref().map(|known| (&known.id, &known.history))),
                &mut out,
            );
            prop_assert_eq!(&out[..6], b"before");
            let entries = slots.into_iter().enumerate().filter_map(|(i, slot)| Some((i, slot?))).collect();
            prop_assert_eq!(read(&out[6..]), Ok(Bucket { stream_time_ms, entries }));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
            let versioned: Vec<u8> = std::iter::once(VERSION).chain(bytes).collect();
            drop(read(&versioned));
        }
    }

    #[test]
    fn a_typical_gpu_takes_about_forty_bytes() {
        let mut history = History::default();
        for number in 0..1_000 {
            let stamp = Stamp {
                event_ms: 1_770_805_800_000 + i64::try_from(number).unwrap() * 10_000,
                sequence: Some(Sequence {
                    run: u64::MAX / 3,
                    number,
                }),
            };
            history.admit(stamp, stamp.event_ms + 130).unwrap();
        }
        let id = GpuId::Plain(u128::MAX / 3);
        let mut out = Vec::new();
        write(
            history.ingest_ms + 5_000,
            std::iter::repeat_n(Some((&id, &history)), SLOTS),
            &mut out,
        );
        assert!(out.len() <= SLOTS * 40, "{}", out.len());
    }

    #[test]
    fn another_version_is_refused_with_both_versions_named() {
        assert_eq!(
            read(&[9, 0]).unwrap_err().to_string(),
            "state was written with layout version 9, this binary reads version 1"
        );
        assert_eq!(read(&[]), Err(Unreadable::Version(None)));
        assert_eq!(read(&[VERSION, 0, 0, 7]), Err(Unreadable::Corrupt));
    }
}
