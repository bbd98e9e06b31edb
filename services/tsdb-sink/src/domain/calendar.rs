//! Partitions of plain `PostgreSQL` by time: which exist, which are made, which go.

use super::table::Table;
use jiff::tz::TimeZone;
use schema::Timestamp;
use std::ops::Range;

const DAY_MS: i64 = 86_400_000;
/// Partitions made before their time comes.
const AHEAD: i64 = 2;
/// Rows further in the future than this get no partition of their own: a broken clock must not make thousands.
const MAX_AHEAD_DAYS: i64 = 7;
/// Four digits of the year, two of the month, two of the day.
const DATE_FORMAT: &str = "%Y%m%d";

/// A partition: `[start, end)` in days since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Its table.
    pub table: Table,
    /// Its first day.
    pub start_day: i64,
}

impl Partition {
    /// The partition of `table` that holds `time`.
    pub const fn of(table: Table, time: Timestamp) -> Self {
        let days = table.partition_days();
        let day = time.as_millis().div_euclid(DAY_MS);
        Self {
            table,
            start_day: day.div_euclid(days) * days,
        }
    }

    /// The times that it holds.
    pub const fn range(self) -> Range<Timestamp> {
        let end_day = self.start_day + self.table.partition_days();
        Timestamp::from_millis(self.start_day * DAY_MS)..Timestamp::from_millis(end_day * DAY_MS)
    }

    /// Its table's name in the database: `gpu_metrics_p20261121`.
    pub fn name(self) -> String {
        let date = jiff::Timestamp::from_millisecond(self.range().start.as_millis())
            .unwrap_or(jiff::Timestamp::MAX)
            .to_zoned(TimeZone::UTC);
        format!("{}_p{}", self.table.name(), date.strftime(DATE_FORMAT))
    }

    /// The partition of `table` that is called `name`.
    pub fn parse(table: Table, name: &str) -> Option<Self> {
        let date = name.strip_prefix(table.name())?.strip_prefix("_p")?;
        let date = jiff::civil::Date::strptime(DATE_FORMAT, date).ok()?;
        let start = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let partition = Self::of(table, Timestamp::from_millis(start.as_millisecond()));
        (partition.name() == name).then_some(partition)
    }

    /// Everything in it is older than `retention_days`.
    pub const fn is_expired(self, now: Timestamp, retention_days: u32) -> bool {
        self.range().end.as_millis() <= horizon(now, retention_days).as_millis()
    }

    /// Whether it shall exist when there are rows for it; else they go to the default partition.
    pub const fn is_wanted(self, now: Timestamp, retention_days: u32) -> bool {
        !self.is_expired(now, retention_days)
            && self.range().start.as_millis() < now.as_millis() + MAX_AHEAD_DAYS * DAY_MS
    }

    /// The partitions of `table` that shall exist whether there are rows or not: this one and the next ones.
    pub fn upcoming(table: Table, now: Timestamp) -> impl Iterator<Item = Self> {
        let first = Self::of(table, now);
        (0..=AHEAD).map(move |n| Self {
            table,
            start_day: first.start_day + n * table.partition_days(),
        })
    }
}

/// The oldest time that is kept.
pub const fn horizon(now: Timestamp, retention_days: u32) -> Timestamp {
    // As a cast: `i64::from` is not const; u32 always fits.
    now.plus_millis(-(retention_days as i64 * DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn partitions_are_whole_days_in_utc_and_named_by_their_first() {
        let partition = Partition::of(Table::Readings, time("2026-11-21T23:59:59.999Z"));
        assert_eq!(partition.name(), "gpu_metrics_p20261121");
        assert_eq!(partition.range().start, time("2026-11-21T00:00:00Z"));
        assert_eq!(partition.range().end, time("2026-11-22T00:00:00Z"));
        let week = Partition::of(Table::Alerts, time("2026-11-21T12:00:00Z"));
        assert_eq!(week.name(), "alerts_p20261119");
        assert_eq!(week.range().end, time("2026-11-26T00:00:00Z"));
        assert_eq!(
            Partition::parse(Table::Readings, "gpu_metrics_default"),
            None
        );
        assert_eq!(
            Partition::parse(Table::Readings, "gpu_metrics_1min_p20261121"),
            None
        );
        // No day that a week's partition begins with.
        assert_eq!(Partition::parse(Table::Alerts, "alerts_p20261120"), None);
    }

    #[test]
    fn a_partition_goes_when_its_last_instant_is_too_old_and_none_is_made_far_ahead() {
        let now = time("2026-11-21T12:00:00Z");
        let day = |text: &str| Partition::of(Table::Readings, time(text));
        assert!(day("2026-11-13T00:00:00Z").is_expired(now, 7));
        assert!(!day("2026-11-14T00:00:00Z").is_expired(now, 7));
        assert!(day("2026-11-14T00:00:00Z").is_wanted(now, 7));
        assert!(!day("2026-11-13T00:00:00Z").is_wanted(now, 7));
        assert!(day("2026-11-28T00:00:00Z").is_wanted(now, 7));
        assert!(!day("2026-11-29T00:00:00Z").is_wanted(now, 7));
        let names: Vec<String> = Partition::upcoming(Table::Readings, now)
            .map(Partition::name)
            .collect();
        assert_eq!(
            names,
            [
                "gpu_metrics_p20261121",
                "gpu_metrics_p20261122",
                "gpu_metrics_p20261123"
            ]
        );
    }

    proptest! {
        #[test]
        fn every_time_has_one_partition_whose_name_reads_back(millis in -30_000_000_000_000_i64..200_000_000_000_000) {
            let time = Timestamp::from_millis(millis);
            for table in Table::ALL {
                let partition = Partition::of(table, time);
                prop_assert!(partition.range().contains(&time));
                let next = Partition::of(table, partition.range().end);
                prop_assert_eq!(next.range().start, partition.range().end);
                if millis > 0 {
                    prop_assert_eq!(Partition::parse(table, &partition.name()), Some(partition));
                }
            }
        }
    }
}
