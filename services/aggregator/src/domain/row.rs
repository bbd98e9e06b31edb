//! One reading's numbers, and how they are written down: what changed since the reading before.
//!
//! ```text
//! flags     1 byte   1: only changes to the row before follow; 2: Xid counts follow
//! offset    varint   event time, milliseconds since the block's start
//! labels    varint   number of the GPU's label set
//! columns   1 byte n, then n bytes: a set of columns, little-endian
//! values    one for each of these columns, ascending
//! xids      varint n, then n times varint code and value
//! ```
//!
//! A value is a byte that says how it is written (scale in the upper half, length in the lower), then that many bytes
//! of a zigzag integer which, divided by the scale, gives the same bits again; or the eight bytes themselves. So 65.0
//! takes two bytes, 312.5 three and an idle zero one.

use super::column::{COLUMN_COUNT, Mask, columns_in};
use super::wire::{Malformed, Reader, put_varint, unzigzag, zigzag};

/// The numbers of a reading by column; a missing one has no bit in `mask` and is zero in `values`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which columns the reading has.
    pub mask: Mask,
    /// Their values.
    pub values: [f64; COLUMN_COUNT],
}

impl Row {
    /// No column.
    pub const EMPTY: Self = Self {
        mask: 0,
        values: [0.0; COLUMN_COUNT],
    };

    /// The value of `column`.
    #[inline]
    pub fn get(&self, column: usize) -> Option<f64> {
        (self.mask >> column & 1 == 1).then(|| self.values[column])
    }

    /// Sets the value of `column`; none takes it out.
    #[inline]
    pub fn set(&mut self, column: usize, value: Option<f64>) {
        if let Some(value) = value {
            self.mask |= 1 << column;
            self.values[column] = value;
        } else {
            self.mask &= !(1 << column);
            self.values[column] = 0.0;
        }
    }
}

/// What a row has besides its numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Event time, milliseconds since the block's start.
    pub offset_ms: u64,
    /// Number of the GPU's label set.
    pub labels: u32,
    /// Xids by code, ascending, with their counts.
    pub xid_counts: Vec<(u32, f64)>,
}

const CHANGES_ONLY: u8 = 1;
const HAS_XIDS: u8 = 2;

/// Appends `row`: whole, or as changes to `previous`.
pub fn encode(
    out: &mut Vec<u8>,
    offset_ms: u64,
    labels: u32,
    xid_counts: &[(u32, f64)],
    row: &Row,
    previous: Option<&Row>,
) {
    let mut flags = 0;
    if previous.is_some() {
        flags |= CHANGES_ONLY;
    }
    if !xid_counts.is_empty() {
        flags |= HAS_XIDS;
    }
    out.push(flags);
    put_varint(out, offset_ms);
    put_varint(out, u64::from(labels));
    let columns = previous.map_or(row.mask, |previous| changed(previous, row));
    put_mask(out, columns);
    for column in columns_in(columns) {
        put_value(out, row.get(column));
    }
    if !xid_counts.is_empty() {
        put_varint(out, xid_counts.len() as u64);
        for (code, count) in xid_counts {
            put_varint(out, u64::from(*code));
            put_value(out, Some(*count));
        }
    }
}

/// Reads the row at the front of `reader` into `head` and `row`. `row` must hold the row before, if there is one.
pub fn decode(reader: &mut Reader<'_>, head: &mut Head, row: &mut Row) -> Result<(), Malformed> {
    let flags = reader.byte()?;
    if flags & !(CHANGES_ONLY | HAS_XIDS) != 0 {
        return Err(Malformed("a row with unknown flags"));
    }
    head.offset_ms = reader.varint()?;
    head.labels =
        u32::try_from(reader.varint()?).map_err(|_| Malformed("a label set beyond all numbers"))?;
    if flags & CHANGES_ONLY == 0 {
        *row = Row::EMPTY;
    }
    for column in columns_in(mask(reader)?) {
        row.set(column, value(reader)?);
    }
    head.xid_counts.clear();
    if flags & HAS_XIDS != 0 {
        for _ in 0..reader.length()? {
            let code = u32::try_from(reader.varint()?)
                .map_err(|_| Malformed("an Xid beyond all numbers"))?;
            let count = value(reader)?.ok_or(Malformed("an Xid without a count"))?;
            head.xid_counts.push((code, count));
        }
    }
    Ok(())
}

/// The row holds changes only, so that the row before is needed to read it.
pub fn is_change(encoded: &[u8]) -> bool {
    encoded
        .first()
        .is_some_and(|flags| flags & CHANGES_ONLY != 0)
}

#[inline]
fn changed(previous: &Row, row: &Row) -> Mask {
    let mut words = [0_u64; 2];
    for (word, (before, after)) in words
        .iter_mut()
        .zip(previous.values.chunks(64).zip(row.values.chunks(64)))
    {
        for (bit, (before, after)) in before.iter().zip(after).enumerate() {
            *word |= u64::from(before.to_bits() != after.to_bits()) << bit;
        }
    }
    (Mask::from(words[0]) | Mask::from(words[1]) << 64) | (previous.mask ^ row.mask)
}

fn put_mask(out: &mut Vec<u8>, mask: Mask) {
    let bytes = mask.to_le_bytes();
    let n = (Mask::BITS - mask.leading_zeros()).div_ceil(8);
    out.push(n.to_le_bytes()[0]);
    out.extend_from_slice(&bytes[..n as usize]);
}

fn mask(reader: &mut Reader<'_>) -> Result<Mask, Malformed> {
    let n = usize::from(reader.byte()?);
    let mut bytes = [0; 16];
    bytes
        .get_mut(..n)
        .ok_or(Malformed("a set of too many columns"))?
        .copy_from_slice(reader.take(n)?);
    let mask = Mask::from_le_bytes(bytes);
    if mask >> COLUMN_COUNT != 0 {
        return Err(Malformed(
            "a column that this version does not know; a later version wrote it",
        ));
    }
    Ok(mask)
}

const SCALES: [f64; 3] = [1.0, 100.0, 1_000_000.0];
const AS_IT_IS: u8 = 3;
const MISSING: u8 = 4;

#[inline]
fn put_value(out: &mut Vec<u8>, value: Option<f64>) {
    let Some(value) = value else {
        out.push(MISSING << 4);
        return;
    };
    for (tag, scale) in (0..).zip(SCALES) {
        let scaled = value * scale;
        // Rounding half away from zero.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whether it was right is checked, so that any number may come out here"
        )]
        let integer = (scaled + 0.5_f64.copysign(scaled)) as i64;
        if (integer as f64 / scale).to_bits() == value.to_bits() {
            put_low_bytes(out, tag, zigzag(integer));
            return;
        }
    }
    out.push(AS_IT_IS << 4 | 8);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

#[inline]
fn put_low_bytes(out: &mut Vec<u8>, tag: u8, number: u64) {
    let n = (u64::BITS - number.leading_zeros()).div_ceil(8);
    out.push(tag << 4 | n.to_le_bytes()[0]);
    // All eight and then back is faster than a copy of a length that the compiler does not know.
    let end = out.len() + n as usize;
    out.extend_from_slice(&number.to_le_bytes());
    out.truncate(end);
}

#[inline]
fn value(reader: &mut Reader<'_>) -> Result<Option<f64>, Malformed> {
    let tag = reader.byte()?;
    let number = reader.low_bytes(usize::from(tag & 0xf))?;
    match tag >> 4 {
        MISSING => Ok(None),
        AS_IT_IS => Ok(Some(f64::from_bits(number))),
        scale => {
            let scale = SCALES
                .get(usize::from(scale))
                .ok_or(Malformed("a value of an unknown kind"))?;
            Ok(Some(unzigzag(number) as f64 / scale))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(0.0),
            Just(-0.0),
            (-100_000..100_000_i32).prop_map(f64::from),
            (-1_000_000..1_000_000_i32).prop_map(|v| f64::from(v) / 10.0),
            (-100_000_000..100_000_000_i32).prop_map(|v| f64::from(v) / 1e6),
            any::<i64>().prop_map(|v| v as f64),
            any::<f64>().prop_filter("finite", |v| v.is_finite()),
        ]
    }

    fn any_row() -> impl Strategy<Value = Row> {
        proptest::collection::vec(proptest::option::of(any_value()), COLUMN_COUNT).prop_map(
            |values| {
                let mut row = Row::EMPTY;
                for (column, value) in values.into_iter().enumerate() {
                    row.set(column, value);
                }
                row
            },
        )
    }

    fn bits(row: &Row) -> (Mask, Vec<u64>) {
        (row.mask, row.values.iter().map(|v| v.to_bits()).collect())
    }

    proptest! {
        #[test]
        fn rows_read_back_bit_for_bit(
            rows in proptest::collection::vec((any_row(), 0..60_000_u64, 0..300_u32), 1..5),
            xid_counts in proptest::collection::vec((any::<u32>(), any_value()), 0..3),
        ) {
            let mut bytes = Vec::new();
            let mut previous: Option<&Row> = None;
            for (row, offset_ms, labels) in &rows {
                encode(&mut bytes, *offset_ms, *labels, &xid_counts, row, previous);
                previous = Some(row);
            }
            let mut reader = Reader::new(&bytes);
            let (mut head, mut read) = (Head::default(), Row::EMPTY);
            for (row, offset_ms, labels) in &rows {
                decode(&mut reader, &mut head, &mut read).unwrap();
                prop_assert_eq!(bits(&read), bits(row));
                prop_assert_eq!((head.offset_ms, head.labels), (*offset_ms, *labels));
                prop_assert_eq!(&head.xid_counts, &xid_counts);
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut reader = Reader::new(&bytes);
            let read = decode(&mut reader, &mut Head::default(), &mut Row::EMPTY.clone());
            prop_assert!(read.is_err() || reader.rest().len() < bytes.len());
        }
    }

    #[test]
    fn what_did_not_change_takes_no_room() {
        let mut row = Row::EMPTY;
        row.set(0, Some(65.0));
        row.set(40, Some(312.5));
        let mut whole = Vec::new();
        encode(&mut whole, 10, 0, &[], &row, None);
        // flags, offset, labels, mask of 6 bytes, 2 + 3 bytes of values
        assert_eq!(whole.len(), 3 + 7 + 2 + 3);
        let mut same = Vec::new();
        encode(&mut same, 10, 0, &[], &row, Some(&row));
        assert_eq!(same.len(), 3 + 1);
        assert!(is_change(&same) && !is_change(&whole));
    }

    #[test]
    fn a_column_of_a_later_version_is_refused() {
        let mut bytes = vec![0, 0, 0, 16];
        bytes.extend_from_slice(&(1_u128 << 100).to_le_bytes());
        bytes.push(0);
        let refused = decode(
            &mut Reader::new(&bytes),
            &mut Head::default(),
            &mut Row::EMPTY.clone(),
        );
        assert!(refused.unwrap_err().to_string().contains("later version"));
    }
}
