//! How far the fleet has come: what is left to be read by each group.

use crate::ground::Ground;
use crate::role::Role;
use e2e::stored;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use schema::topic::Topic;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::Reader;

const REQUEST_WITHIN: Duration = Duration::from_secs(10);
const READ_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Offsets that may be markers and aborted records: so many are read to find out.
const READ_AT_MOST: i64 = 5_000;

/// Waits until nothing is left for any of `consumers` to read: how long that took.
///
/// # Errors
/// What is left after `bound`.
pub(crate) fn wait_until_done(
    ground: &Ground,
    consumers: &[Role],
    bound: Duration,
) -> Result<Duration, String> {
    let began = Instant::now();
    let watch = Watch {
        ground,
        stable: client(ground, "chaos", "read_committed")?,
        all: client(ground, "chaos", "read_uncommitted")?,
        reader: Reader::new(ground.bootstrap()),
    };
    // In the order of the data's way: whose input is finished does not get more.
    for role in consumers.iter().copied() {
        loop {
            let left = match watch.left(role) {
                Ok(0) => break,
                Ok(left) => format!("{left} offsets"),
                Err(error) => error,
            };
            if began.elapsed() > bound {
                return Err(format!(
                    "{role} has {left} left after {} s",
                    bound.as_secs()
                ));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(began.elapsed())
}

/// Looks at what is left.
struct Watch<'a> {
    ground: &'a Ground,
    stable: BaseConsumer,
    all: BaseConsumer,
    reader: Reader,
}

impl Watch<'_> {
    /// Offsets that `role` has not finished, markers not counted at the end.
    fn left(&self, role: Role) -> Result<i64, String> {
        let mut all = 0;
        if role == Role::TsdbSink {
            let stored = stored_offsets(self.ground)?;
            for topic in stored::TOPICS {
                let reached = (0..topic.partitions)
                    .map(|partition| {
                        let reached = stored.get(&(topic.name.to_owned(), partition));
                        (partition, reached.copied().unwrap_or(0))
                    })
                    .collect();
                all += self.behind(topic, &reached)?;
            }
            let letters = self.ground.sql("SELECT count(*) FROM sink_dead_letters")?;
            return Ok(all + letters.trim().parse::<i64>().unwrap_or(1));
        }
        if let Some(topic) = role.input() {
            all += self.behind(topic, &committed(self.ground, role, topic)?)?;
        }
        Ok(all)
    }

    /// Offsets between `reached` and the end of each partition, 0 if none of them is a record.
    fn behind(&self, topic: &Topic, reached: &BTreeMap<i32, i64>) -> Result<i64, String> {
        let end_of = |client: &BaseConsumer, partition: i32| {
            client
                .fetch_watermarks(topic.name, partition, REQUEST_WITHIN)
                .map(|(_, end)| end)
                .map_err(|error| format!("an end that can't be read ({error})"))
        };
        let mut between = 0;
        let mut open = BTreeMap::new();
        for (partition, offset) in reached {
            let end = end_of(&self.all, *partition)?;
            // What an open transaction holds back may still become records.
            let undecided = end - end_of(&self.stable, *partition)?;
            if undecided > 0 {
                return Ok(undecided);
            }
            if end > *offset {
                between += end - offset;
                open.insert(*partition, *offset);
            }
        }
        if open.is_empty() || between > READ_AT_MOST {
            return Ok(between);
        }
        let records = self.reader.read(topic.name, &open, READ_WITHIN).len();
        Ok(i64::try_from(records).unwrap_or(i64::MAX))
    }
}

fn stored_offsets(ground: &Ground) -> Result<BTreeMap<(String, i32), i64>, String> {
    let rows = ground.sql("SELECT topic, partition, coalesce(next_offset, 0) FROM sink_offsets")?;
    let row = |line: &str| {
        let mut columns = line.split('|');
        let topic = columns.next()?.to_owned();
        let partition = columns.next()?.parse().ok()?;
        Some(((topic, partition), columns.next()?.parse().ok()?))
    };
    Ok(rows.lines().filter_map(row).collect())
}

fn committed(ground: &Ground, role: Role, topic: &Topic) -> Result<BTreeMap<i32, i64>, String> {
    let mut wanted = TopicPartitionList::new();
    for partition in 0..topic.partitions {
        wanted.add_partition(topic.name, partition);
    }
    let offsets = client(ground, role.name(), "read_committed")?
        .committed_offsets(wanted, REQUEST_WITHIN)
        .map_err(|error| format!("offsets that can't be read ({error})"))?;
    let reached = |offset: Offset| match offset {
        Offset::Offset(offset) => offset,
        _ => 0,
    };
    Ok(offsets
        .elements()
        .iter()
        .map(|element| (element.partition(), reached(element.offset())))
        .collect())
}

fn client(ground: &Ground, group: &str, isolation: &str) -> Result<BaseConsumer, String> {
    ClientConfig::new()
        .set("bootstrap.servers", ground.bootstrap())
        .set("group.id", group)
        .set("isolation.level", isolation)
        .create()
        .map_err(|error| format!("a client that can't be made ({error})"))
}
