use super::*;
use crate::domain::reading::read;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

/// What the pipeline writes.
const PLAIN: &str = r#"{"schema_version":"1.1","event_type":"gpu_metric_sample","timestamp":"2026-02-11T10:30:00.123Z","gpu":{"gpu_uuid":"GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11","name":"NVIDIA H100 80GB HBM3","index":3,"mig":null},"host":{"hostname":"dgx-07","rack":"r1","os":"Ubuntu é"},"metrics":{"utilization":{"gpu_util_pct":97.5},"memory":{"ecc_sbe_volatile":0,"bank_remap_avail":{"max":640,"none":0}},"health":{"gpu_temp_c":64.25,"throttle_reasons":4,"throttle_reasons_decoded":["sw_power_cap"]},"power":{"total_energy_mj":123456789012345,"power_usage_w":-0.0},"errors":{"last_xid":0,"xid_counts":{"79":1}},"cooling":null},"collector":{"sequence":17,"boot_id":"b"},"validation_timestamp":"2026-02-11T10:30:00.500Z","validation_version":"1","quality_flags":[],"asset_status":"known","asset":{"rack_id":"rack-12","cluster_id":"c","model":"H100","priority":2}}"#;

/// What the reader makes of `bytes`: reading and numbers, these as bits.
fn by_general_reader(bytes: &[u8]) -> Result<(Reading<'_>, Vec<u64>), String> {
    let mut row = Row::EMPTY;
    let reading = read(bytes, &mut row).map_err(|error| error.to_string())?;
    Ok((reading, bits(&row)))
}

fn bits(row: &Row) -> Vec<u64> {
    let mask = row.mask;
    let values = (0..row.values.len()).map(|at| match mask >> at & 1 {
        0 => u64::MAX,
        _ => row.values[at].to_bits(),
    });
    values.collect()
}

/// Whether the scanner took it; it must not differ from the general reader when it does.
fn check(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let mut row = Row::EMPTY;
    let Some(reading) = scan(bytes, &mut row) else {
        return Ok(false);
    };
    let shown = String::from_utf8_lossy(bytes);
    // An event time out of range is for the caller of either to refuse.
    match by_general_reader(bytes) {
        Ok(expected) => prop_assert_eq!((reading, bits(&row)), expected, "{}", shown),
        Err(error) => prop_assert!(
            reading.time < 0 || error.contains("is outside"),
            "{}: {}",
            error,
            shown
        ),
    }
    Ok(true)
}

/// JSON as text, whose names may stand twice.
#[derive(Clone, Debug)]
enum Json {
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn write(&self, gap: &str, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    out.push_str(gap);
                    item.write(gap, out);
                    out.push_str(gap);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    for part in [gap, "\"", name, "\"", gap, ":", gap] {
                        out.push_str(part);
                    }
                    value.write(gap, out);
                    out.push_str(gap);
                }
                out.push('}');
            }
        }
    }
}

fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<Json> {
    proptest::sample::select(texts)
        .prop_map(|text| Json::Text(text.to_owned()))
        .boxed()
}

/// Values that are right nowhere, or only seldom; some are no JSON.
fn junk() -> BoxedStrategy<Json> {
    let leaf = one_of(&[
        "null",
        "true",
        "false",
        "\"\"",
        "\"a\\\"b\"",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"é\"",
        "1e999",
        "-1e5",
        "0.10",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "1e",
        "tru",
        "nul",
        "NaN",
        "\"",
        "\"a\u{1}\"",
        "12345678901234567890123",
        "[1,]",
        "{,}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "",
    ]);
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Json::Array),
            proptest::collection::vec(("[a-c]{0,2}|gpu|é", inner), 0..3).prop_map(Json::Object),
        ]
    })
    .boxed()
}

fn mostly(value: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
    prop_oneof![40 => value, 1 => junk()].boxed()
}

fn number() -> BoxedStrategy<Json> {
    let any = prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?",
        1 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?",
        1 => Just("null".to_owned()),
    ];
    any.prop_map(Json::Text).boxed()
}

fn text() -> BoxedStrategy<Json> {
    one_of(&[
        "\"a\"",
        "\"node-1\"",
        "\"é\"",
        "\"with \\\"escape\\\"\"",
        "\"\"",
        "null",
    ])
}

/// An object of some of these members, in any order, at times twice, with others among them.
fn object(known: Vec<(&'static str, BoxedStrategy<Json>)>) -> BoxedStrategy<Json> {
    let n = known.len();
    let members: Vec<_> = known
        .into_iter()
        .map(|(name, value)| (Just(name.to_owned()), mostly(value)))
        .collect();
    let other = (
        "[a-z]{1,3}|\\\\u0067pu|é",
        prop_oneof![3 => number(), 1 => junk()],
    );
    (
        members,
        proptest::bool::weighted(0.8),
        any::<Index>(),
        proptest::option::weighted(0.1, other),
    )
        .prop_flat_map(move |(members, is_whole, at, other)| {
            let count = if is_whole { n..=n } else { 0..=n };
            (subsequence(members, count), Just(at), Just(other), 0..12_u8)
        })
        .prop_map(|(mut members, at, other, change)| {
            if !members.is_empty() {
                let at = at.index(members.len());
                match change {
                    0 => members.push(members[at].clone()),
                    1 | 2 => members.rotate_left(at),
                    3 => members.swap(0, at),
                    _ => {}
                }
            }
            members.extend(other);
            Json::Object(members)
        })
        .boxed()
}

fn time() -> BoxedStrategy<Json> {
    prop_oneof![
        12 => one_of(&["\"2026-02-11T10:30:00.123Z\"", "\"2026-02-11T23:59:59.999Z\""]),
        1 => one_of(&[
            "\"2026-02-11T10:30:00Z\"", "\"2026-02-11T10:30:00.123456+01:00\"", "\"1969-12-31T23:59:59.999Z\"",
            "\"2026-02-30T10:30:00.123Z\"", "\"9999-12-31T10:30:00.123Z\"", "1770805800", "\"now\"",
        ]),
    ]
    .boxed()
}

fn record() -> BoxedStrategy<Json> {
    let groups = || {
        let nullable =
            |value: BoxedStrategy<Json>| prop_oneof![12 => value, 1 => one_of(&["null"])].boxed();
        object(vec![
            (
                "memory",
                nullable(object(vec![
                    ("fb_used_bytes", number()),
                    ("ecc_sbe_volatile", number()),
                    (
                        "bank_remap_avail",
                        nullable(object(vec![("max", number()), ("none", number())])),
                    ),
                ])),
            ),
            (
                "health",
                nullable(object(vec![
                    ("gpu_temp_c", number()),
                    ("throttle_reasons", number()),
                    (
                        "throttle_reasons_decoded",
                        one_of(&["[]", "[\"a\", \"b\"]"]),
                    ),
                ])),
            ),
            (
                "power",
                nullable(object(vec![
                    ("power_usage_w", number()),
                    ("total_energy_mj", number()),
                ])),
            ),
            (
                "errors",
                nullable(object(vec![
                    ("last_xid", number()),
                    (
                        "xid_counts",
                        nullable(object(vec![
                            ("79", number()),
                            ("031", number()),
                            ("31", number()),
                        ])),
                    ),
                    ("recovery_action", number()),
                ])),
            ),
        ])
    };
    object(vec![
        ("timestamp", time()),
        ("gpu", object(vec![("gpu_uuid", one_of(&["\"GPU-1\"", "\"é\""])), ("name", text()), ("index", number())])),
        ("host", prop_oneof![5 => object(vec![("hostname", text()), ("rack", text()), ("cluster", text())]), 1 => one_of(&["null"])].boxed()),
        ("metrics", groups()),
        ("collector", object(vec![("sequence", number()), ("boot_id", text())])),
        ("validation_timestamp", time()),
        ("asset", prop_oneof![5 => object(vec![("model", text()), ("rack_id", text()), ("cluster_id", text())]), 1 => one_of(&["null"])].boxed()),
    ])
}

fn gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just(" \t\r\n")]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_taken_is_read_as_the_general_reader_does(record in record(), gap in gap(), after in "[ \n]?|x|\\}|,") {
        let mut text = gap.to_owned();
        record.write(gap, &mut text);
        check((text + &after).as_bytes())?;
    }

    #[test]
    fn damaged_bytes_are_never_taken_for_more_than_the_general_reader_does(
        record in prop_oneof![record(), Just(Json::Text(PLAIN.to_owned()))],
        damages in proptest::collection::vec((any::<Index>(), 0..4_u8, prop_oneof![
            any::<u8>(),
            proptest::sample::select(b"\"\\{}[],:0123456789.-+eE \n\0nul".as_slice()),
        ]), 1..3),
    ) {
        let mut text = String::new();
        record.write("", &mut text);
        let mut bytes = text.into_bytes();
        for (at, damage, byte) in damages {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match damage {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        check(&bytes)?;
    }

    #[test]
    fn any_bytes_are_left_or_read_as_the_general_reader_does(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        check(&bytes)?;
    }

    #[test]
    fn special_bytes_are_found_wherever_they_are(bytes in proptest::collection::vec(
        prop_oneof![5 => b'a'..=b'z', 2 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\')], 0..40)
    ) {
        let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        prop_assert_eq!(special(&bytes), expected);
    }

    #[test]
    fn numbers_are_read_to_the_bit_or_left(text in "-?[0-9]{0,18}(\\.[0-9]{0,18})?(e[0-9])?[,}]") {
        let body = &text[..text.len() - 1];
        let mut scanner = Scanner { rest: text.as_bytes() };
        if let Some(value) = scanner.number() {
            let expected: f64 = serde_json::from_str(body).unwrap();
            prop_assert_eq!(value.to_bits(), expected.to_bits());
            prop_assert_eq!(scanner.rest.len(), 1);
        }
    }

    #[test]
    fn plain_numbers_are_not_left(mantissa in -999_999_999_999_999_i64..=999_999_999_999_999, decimals in 0..6_usize) {
        let text = format!("{:.decimals$},", mantissa as f64 / 1e6);
        let body = &text[..text.len() - 1];
        if body.len() <= 15 {
            let value = Scanner { rest: text.as_bytes() }.number();
            prop_assert_eq!(value, serde_json::from_str::<f64>(body).ok());
        }
    }
}

#[test]
fn plain_records_are_taken_and_every_other_byte_of_them_counts() {
    assert!(check(PLAIN.as_bytes()).unwrap());
    assert!(
        check(
            PLAIN
                .replace(',', " ,\n ")
                .replace(':', " : ")
                .replace(" : 30 : ", ":30:")
                .as_bytes()
        )
        .is_ok()
    );
    let mut taken = 0;
    for at in 0..PLAIN.len() {
        for byte in [b'"', b'\\', b'x', b'7', b'}', b',', 0, 0xff] {
            let mut bytes = PLAIN.as_bytes().to_vec();
            bytes[at] = byte;
            taken += usize::from(check(&bytes).unwrap());
        }
    }
    // A letter or digit for another in a text still is a record.
    assert!(taken > PLAIN.len());
}

#[test]
fn what_is_not_plain_is_left() {
    for (part, other) in [
        (r#""name":"NVIDIA"#, r#""name":"\u004eVIDIA"#),
        (r#""name":"#, r#""gpu_uuid":"GPU-2","name":"#),
        (r#""host":{"#, r#""asset":null,"host":{"#),
        (r#""host":{"#, r#""metrics":{},"host":{"#),
        ("30:00.123Z", "30:00Z"),
        ("64.25", "6.425e1"),
        ("64.25", "64.250000000000001"),
        ("64.25", r#""64.25""#),
        (r#""b"}"#, r#""\n"}"#),
        (r#""gpu_uuid""#, r#""uuid""#),
        (r#""metrics""#, r#""m""#),
    ] {
        let text = PLAIN.replacen(part, other, 1);
        assert_ne!(text, PLAIN, "{part}");
        assert_eq!(
            scan(text.as_bytes(), &mut Row::EMPTY.clone()),
            None,
            "{other}"
        );
    }
}

#[test]
fn what_is_there_twice_counts_as_the_general_reader_counts_it() {
    for (part, other, is_taken) in [
        (r#"{"79":1}"#, r#"{"79":1},"xid_counts":null"#, true),
        (r#"{"79":1}"#, r#"{"79":1},"xid_counts":{"31":2}"#, true),
        (r#"{"79":1}"#, r#"{"79":1,"31":4,"79":2}"#, true),
        (r#""cooling":null"#, r#""errors":{"last_xid":79}"#, true),
        (r#""cooling":null"#, r#""errors":null"#, true),
        (r#""last_xid":0"#, r#""last_xid":0,"last_xid":79"#, true),
        (r#""last_xid":0"#, r#""last_xid":79,"last_xid":null"#, true),
        (
            r#""schema_version""#,
            r#""timestamp":"2026-02-12T00:00:00.000Z","v""#,
            true,
        ),
        (r#""collector":{"#, r#""host":null,"collector":{"#, false),
        (
            r#""collector":{"#,
            r#""gpu":{"gpu_uuid":"GPU-2"},"collector":{"#,
            false,
        ),
        (r#""rack":"r1""#, r#""rack":"r1","rack":null"#, false),
        (r#""gpu_uuid":"#, r#""gpu_uuid":"GPU-2","gpu_uuid":"#, false),
        (
            r#""model":"H100""#,
            r#""model":"H100","model":"H100""#,
            false,
        ),
    ] {
        let text = PLAIN.replacen(part, other, 1);
        assert_ne!(text, PLAIN, "{part}");
        assert_eq!(check(text.as_bytes()).unwrap(), is_taken, "{other}");
    }
}

#[test]
fn values_are_passed_over_whole() {
    for value in [
        "1.5e+3",
        "-0",
        "null",
        "true",
        r#"{"a":[1,{"b":"]}"}],"c":{}}"#,
        "[]",
        "[ 1 , [ ] ]",
        r#"[[["x"]]]"#,
    ] {
        let text = format!("{value},1");
        let mut scanner = Scanner {
            rest: text.as_bytes(),
        };
        assert_eq!(scanner.skip(DEPTH), Some(()), "{value}");
        assert_eq!(scanner.rest, b",1", "{value}");
    }
    let deep = "[".repeat(DEPTH + 1) + &"]".repeat(DEPTH + 1);
    for cut in [
        "{", "[1,", "\"ab", "\"ab\\", "\"a\\n\"", "-", "1.", "1e", "tru", "[1 2]", &deep,
    ] {
        let mut scanner = Scanner {
            rest: cut.as_bytes(),
        };
        assert_eq!(scanner.skip(DEPTH), None, "{cut}");
    }
}
