//! Does each input offset have exactly one outcome, by the `source` headers of `docs/spec/lineage.md`? A pure function.

use crate::verdict::{Kind, Violation};
use std::collections::BTreeMap;
use testbed::OwnedRecord;

/// The header.
pub(crate) const SOURCE_HEADER: &str = "source";

/// Holds the sources of `outcomes` (all of them, dead letters included, that say they come from this partition) against
/// the records of it.
pub(crate) fn trace(
    topic: &str,
    partition: i32,
    inputs: &[OwnedRecord],
    outcomes: &[&OwnedRecord],
) -> Vec<Violation> {
    let mut open: BTreeMap<i64, (usize, i64)> = inputs
        .iter()
        .map(|input| (input.offset, (0, input.timestamp)))
        .collect();
    let mut violations = Vec::new();
    for outcome in outcomes {
        match source(outcome) {
            Some((named, at, offset)) if named == topic && at == partition => {
                match open.get_mut(&offset) {
                    Some((count, _)) => *count += 1,
                    None => violations.push(Violation::new(
                        Kind::Invented,
                        Some(outcome.timestamp),
                        format!(
                            "an outcome names {topic}/{partition}/{offset}, where no record is"
                        ),
                    )),
                }
            }
            found => violations.push(Violation::new(
                Kind::Invented,
                Some(outcome.timestamp),
                format!(
                    "an outcome of {topic}/{partition} (itself at offset {}) names {found:?}",
                    outcome.offset
                ),
            )),
        }
    }
    open.retain(|_, (count, _)| *count != 1);
    let mut places: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    if !open.is_empty() {
        for outcome in outcomes {
            if let Some((_, _, offset)) = source(outcome)
                && open.contains_key(&offset)
            {
                let key = outcome.key.as_deref().map(String::from_utf8_lossy);
                let place = format!(
                    "partition {} offset {} at {} ms with {}",
                    outcome.partition,
                    outcome.offset,
                    outcome.timestamp,
                    key.map_or_else(|| "no key".to_owned(), |key| format!("key {key}")),
                );
                places.entry(offset).or_default().push(place);
            }
        }
    }
    for (offset, (count, at_ms)) in open {
        let kind = if count == 0 {
            Kind::Lost
        } else {
            Kind::Doubled
        };
        let places = places.remove(&offset).unwrap_or_default().join(", ");
        violations.push(Violation::new(
            kind,
            Some(at_ms),
            format!("{topic}/{partition}/{offset} is the source of {count} outcomes: {places}"),
        ));
    }
    violations
}

fn source(record: &OwnedRecord) -> Option<(&str, i32, i64)> {
    let text = std::str::from_utf8(record.header(SOURCE_HEADER)?).ok()?;
    let mut parts = text.rsplitn(3, '/');
    let offset = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    Some((parts.next()?, partition, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, source: Option<&str>) -> OwnedRecord {
        OwnedRecord {
            partition: 4,
            offset,
            key: None,
            value: None,
            headers: source
                .map(|source| (SOURCE_HEADER.to_owned(), Some(source.as_bytes().to_vec())))
                .into_iter()
                .collect(),
            timestamp: 0,
        }
    }

    fn kinds(sources: &[Option<&str>]) -> Vec<Kind> {
        let inputs: Vec<_> = [10, 11, 14].map(|offset| record(offset, None)).to_vec();
        let outcomes: Vec<_> = sources.iter().map(|source| record(0, *source)).collect();
        let outcomes: Vec<_> = outcomes.iter().collect();
        trace("raw", 4, &inputs, &outcomes)
            .into_iter()
            .map(|violation| violation.kind)
            .collect()
    }

    #[test]
    fn each_offset_once_is_no_violation_in_any_order_and_with_gaps() {
        let sources = [Some("raw/4/14"), Some("raw/4/10"), Some("raw/4/11")];
        assert_eq!(kinds(&sources), []);
    }

    #[test]
    fn a_lost_a_doubled_and_an_invented_source_are_found() {
        assert_eq!(kinds(&[Some("raw/4/14"), Some("raw/4/10")]), [Kind::Lost]);
        let all = [Some("raw/4/14"), Some("raw/4/10"), Some("raw/4/11")];
        let and = |more| kinds(&[all.as_slice(), &[more]].concat());
        assert_eq!(and(Some("raw/4/11")), [Kind::Doubled]);
        assert_eq!(and(Some("raw/4/12")), [Kind::Invented], "an aborted offset");
        assert_eq!(and(Some("raw/5/11")), [Kind::Invented]);
        assert_eq!(and(Some("nonsense")), [Kind::Invented]);
        assert_eq!(and(None), [Kind::Invented]);
    }
}
