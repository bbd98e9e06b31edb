//! From a record to a row: each topic's values are parsed into what the table holds and written straight into the batch.

mod alert;
mod reading;
mod score;
mod window;

use super::batch::Batch;
use super::copy;
use super::letter::Unstorable;
use super::table::Table;
use schema::Tick;

/// The longest UUID that is taken; NVIDIA's have 40 characters, MIG's up to 60.
const MAX_UUID_BYTES: usize = 256;

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A row of the batch.
    Row,
    /// It carries nothing to store.
    Tick,
}

/// Adds the row of a record of `table`'s topic to `batch`; `origin` is its slice and offset.
pub fn decode(
    table: Table,
    input: &Input<'_>,
    origin: (usize, i64),
    batch: &mut Batch,
) -> Result<Decoded, Unstorable> {
    let value = input
        .value
        .ok_or_else(|| Unstorable::new("no_value", "the record has no value"))?;
    if table == Table::Readings && input.key.is_none() {
        return match serde_json::from_slice::<Tick>(value) {
            Ok(_) => Ok(Decoded::Tick),
            Err(_) => Err(Unstorable::new(
                "not_a_tick",
                "the record has no key and is no tick",
            )),
        };
    }
    match table {
        Table::Readings => reading::decode(value, origin, batch),
        Table::OneMinute | Table::FifteenMinutes => window::decode(table, value, origin, batch),
        Table::Alerts => alert::decode(value, origin, batch),
        Table::Scores => score::decode(value, origin, batch),
    }
    .map(|()| Decoded::Row)
}

fn check_uuid(uuid: &str) -> Result<(), Unstorable> {
    if uuid.is_empty() || uuid.len() > MAX_UUID_BYTES || uuid.contains('\0') {
        return Err(Unstorable::of(
            "bad_gpu_uuid",
            "gpu_uuid",
            format_args!(
                "gpu_uuid has {} bytes, or U+0000 among them; 1 to {MAX_UUID_BYTES} are taken",
                uuid.len()
            ),
        ));
    }
    Ok(())
}

fn not_readable(error: &serde_json::Error) -> Unstorable {
    Unstorable::new("not_readable", error)
}

impl From<copy::Unstorable> for Unstorable {
    fn from(error: copy::Unstorable) -> Self {
        Self::of("not_storable", error.field, &error)
    }
}

#[cfg(test)]
mod tests;
