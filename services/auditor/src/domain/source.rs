//! The header `source`: where an output comes from.

/// `topic/partition/offset`, as `docs/spec/lineage.md` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// The input topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// Reads a header's value; none if it is no source.
pub fn parse(value: &[u8]) -> Option<Source<'_>> {
    let text = std::str::from_utf8(value).ok()?;
    let (rest, offset) = text.rsplit_once('/')?;
    let (topic, partition) = rest.rsplit_once('/')?;
    let source = Source {
        topic,
        partition: partition.parse().ok()?,
        offset: offset.parse().ok()?,
    };
    (!topic.is_empty() && source.partition >= 0 && (0..i64::MAX).contains(&source.offset))
        .then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_topic_partition_and_offset() {
        let source = Source {
            topic: "gpu-metrics-raw",
            partition: 17,
            offset: 204_511,
        };
        assert_eq!(parse(b"gpu-metrics-raw/17/204511"), Some(source));
        for wrong in [
            &b"gpu-metrics-raw/17"[..],
            b"/1/2",
            b"a/-1/2",
            b"a/1/-2",
            b"a/1/x",
            b"a/1/9223372036854775807",
            b"a/99999999999/2",
            b"\xff/1/2",
            b"",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
