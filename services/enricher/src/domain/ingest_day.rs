//! The day on which a record was ingested, found without parsing the record.
//!
//! A warranty is judged on the day of `validation_timestamp`, the ingest time of the raw record: unlike the append time
//! of the validated record it is the same in every replay. The validator splices it near the end, so that a look at the
//! last bytes finds it.

use super::warranty::Day;
use schema::Timestamp;
use serde::Deserialize;

const MEMBER: &[u8] = b"\"validation_timestamp\":\"";
/// The length of `2026-02-11T10:30:00.123Z`.
const TIME_LENGTH: usize = 24;

/// The day of the top-level `validation_timestamp` of `record`, a JSON object; none where it has none.
pub fn ingest_day(record: &[u8]) -> Option<Day> {
    from_tail(record).or_else(|| from_parse(record))
}

/// Looks backwards from the closing brace for the member, and gives up at the first other brace.
///
/// In well-formed JSON this finds the top-level member or nothing. The name's closing quote follows a letter, so it is
/// no escape; its opening quote follows a comma or a brace, so it is none either; hence the bytes are a member, not text
/// inside a string. No brace lies between it and the record's last one, so the object it belongs to is the record.
fn from_tail(record: &[u8]) -> Option<Day> {
    let body = record.trim_ascii_end().strip_suffix(b"}")?;
    for (at, byte) in body.iter().enumerate().rev() {
        match byte {
            b'{' | b'}' => return None,
            b'"' if body[at..].starts_with(MEMBER)
                && at > 0
                && matches!(body[at - 1], b',' | b'{') =>
            {
                return canonical_day(&body[at + MEMBER.len()..]);
            }
            _ => {}
        }
    }
    None
}

/// The day of a time as [`Timestamp`] writes it, at the start of `text`. Any other form of RFC 3339 is left to the parser.
fn canonical_day(text: &[u8]) -> Option<Day> {
    let time = text.get(..TIME_LENGTH)?;
    let is_canonical = time
        .iter()
        .zip(b"dddd-dd-ddTdd:dd:dd.dddZ")
        .all(|(byte, form)| {
            if *form == b'd' {
                byte.is_ascii_digit()
            } else {
                byte == form
            }
        });
    if !is_canonical || text.get(TIME_LENGTH) != Some(&b'"') {
        return None;
    }
    let number = |digits: &[u8]| {
        digits
            .iter()
            .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
    };
    Some(Day::from_civil(
        number(&time[..4]),
        number(&time[5..7]),
        number(&time[8..10]),
    ))
}

fn from_parse(record: &[u8]) -> Option<Day> {
    #[derive(Deserialize)]
    struct Ingest {
        validation_timestamp: Timestamp,
    }
    serde_json::from_slice::<Ingest>(record)
        .ok()
        .map(|ingest| Day::of(ingest.validation_timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: &str = "2026-02-11T10:30:00.123Z";

    fn day(text: &str) -> Option<Day> {
        Timestamp::parse(text).ok().map(Day::of)
    }

    #[test]
    fn the_validators_splice_is_found_without_a_parse() {
        let record = format!(
            r#"{{"gpu":{{"gpu_uuid":"GPU-1"}},"validation_timestamp":"{TIME}","validation_version":"1","quality_flags":["late","blank"]}}"#
        );
        assert_eq!(from_tail(record.as_bytes()), day(TIME));
        let at_first = format!(r#"{{"validation_timestamp":"{TIME}"}} "#);
        assert_eq!(from_tail(at_first.as_bytes()), day(TIME));
    }

    #[test]
    fn what_only_looks_like_it_is_left_to_the_parser() {
        let check = |record: &str, expected: Option<Day>| {
            assert_eq!(ingest_day(record.as_bytes()), expected, "{record}");
        };
        let other = "1999-01-01T00:00:00.000Z";
        // In a nested object, in a string, followed by an object, in another form, and not at all.
        check(
            &format!(
                r#"{{"validation_timestamp":"{TIME}","x":{{"validation_timestamp":"{other}"}}}}"#
            ),
            day(TIME),
        );
        check(
            &format!(
                r#"{{"validation_timestamp":"{TIME}","x":",\"validation_timestamp\":\"{other}\""}}"#
            ),
            day(TIME),
        );
        check(
            &format!(r#"{{"validation_timestamp":"{TIME}","x":{{}}}}"#),
            day(TIME),
        );
        check(
            r#"{"validation_timestamp": "2026-02-11T23:30:00-02:00"}"#,
            day("2026-02-12T01:30:00Z"),
        );
        check(
            r#"{"validation_timestamp":"2026-02-11T23:30:00-02:00"}"#,
            day("2026-02-12T01:30:00Z"),
        );
        check(
            &format!(r#"{{"x":[{{"validation_timestamp":"{other}"}}]}}"#),
            None,
        );
        check(r#"{"validation_timestamp":17}"#, None);
        check("{}", None);
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[ -~]{0,12}",
            1 => Just(r#"{"validation_timestamp":"2001-01-01T00:00:00.000Z"}"#.to_owned()),
            1 => Just(r#","validation_timestamp":"2001-01-01T00:00:00.000Z"#.to_owned()),
            1 => Just("validation_timestamp".to_owned()),
        ]
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            text().prop_map(serde_json::Value::from),
            any::<i32>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::vec((text(), inner), 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_look_at_the_tail_gives_what_a_parse_gives(
            before in proptest::collection::vec((text(), value()), 0..4),
            millis in proptest::option::of(0_i64..250_000_000_000_000),
            after in proptest::collection::vec((text(), value()), 0..3),
        ) {
            let mut object: serde_json::Map<_, _> = before.into_iter().filter(|(name, _)| name != "validation_timestamp").collect();
            if let Some(millis) = millis {
                object.insert("validation_timestamp".to_owned(), Timestamp::from_millis(millis).to_string().into());
            }
            object.extend(after.into_iter().filter(|(name, _)| name != "validation_timestamp"));
            let record = serde_json::to_vec(&object).unwrap();
            prop_assert_eq!(ingest_day(&record), millis.map(|m| Day::of(Timestamp::from_millis(m))));
            if let Some(found) = from_tail(&record) {
                prop_assert_eq!(Some(found), from_parse(&record));
            }
        }
    }
}
