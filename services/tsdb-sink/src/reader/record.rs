//! A record into a batch.

use crate::SERVICE;
use crate::config::Config;
use crate::domain::batch::{Batch, Letter};
use crate::domain::decode::{Decoded, Input, decode};
use crate::domain::letter::{Original, Unstorable};
use crate::domain::offsets::Place;
use crate::group::Group;
use chassis::Error;
use rdkafka::message::{BorrowedMessage, Message};
use std::collections::BTreeMap;

/// What a record is put into a batch with.
pub(super) struct Reading<'a> {
    pub(super) config: &'a Config,
    pub(super) group: &'a Group,
    pub(super) refused: &'a BTreeMap<(Place, i64), Unstorable>,
}

impl Reading<'_> {
    /// Adds a record to `batch`; false when it is none to store.
    pub(super) fn add(
        &self,
        record: &BorrowedMessage<'_>,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        let Some(table) = self.config.topics.table(record.topic()) else {
            return Ok(false);
        };
        let (partition, offset) = (record.partition(), record.offset());
        let place = Place { table, partition };
        let Some((epoch, base)) = self.group.assignment().read(place, offset) else {
            return Ok(false);
        };
        let slice = batch.reach(place, epoch, base, offset);
        let input = Input {
            key: record.key(),
            value: record.payload(),
        };
        let decoded = match self.refused.get(&(place, offset)) {
            Some(why) => Err(why.clone()),
            None => decode(table, &input, (slice, offset), batch),
        };
        let why = match decoded {
            Ok(Decoded::Row) => return Ok(true),
            Ok(Decoded::Tick) => {
                batch.tick(slice);
                return Ok(true);
            }
            Err(why) => why,
        };
        let original = Original {
            topic: record.topic(),
            partition,
            offset,
            timestamp_ms: record.timestamp().to_millis().unwrap_or_default(),
            key: input.key,
            value: input.value,
        };
        let letter = original.letter(SERVICE.name, SERVICE.version, &why);
        let value = serde_json::to_vec(&letter)
            .map_err(|error| Error::internal(format!("dead letter: {error}")))?;
        batch.give_up(Letter {
            slice,
            offset,
            key: original.short_key().map(<[u8]>::to_vec),
            value,
            code: why.code,
        });
        Ok(true)
    }
}
