use super::*;
use crate::domain::audit::audit;
use crate::domain::reason::Reasons;
use crate::domain::sample::{FULL_1_0, FULL_1_1, MINIMAL, with};
use proptest::prelude::*;
use schema::MetricEvent;

fn scanned(text: &str) -> Option<(Reading<'_>, Numbers)> {
    let mut numbers = Numbers::new();
    let reading = scan(&Object::record(), text, &mut numbers)?;
    Some((reading, numbers))
}

/// What `scan` accepts, the schema reads with the same values, and the thorough reader has nothing against.
fn check_agreement(text: &str) -> Result<(), TestCaseError> {
    let Some((reading, mut numbers)) = scanned(text) else {
        return Ok(());
    };
    let mut audited = Numbers::new();
    let mut reasons = Reasons::default();
    let audit = audit(&Object::record(), text, &mut audited, &mut reasons).unwrap();
    prop_assert_eq!(&audit.reading, &reading);
    prop_assert!(reasons.is_empty(), "{reasons:?}");
    let bits = |numbers: &mut Numbers| {
        numbers.sort_by_key(|(index, _)| *index);
        numbers
            .iter()
            .map(|(index, value)| (*index, value.to_bits()))
            .collect::<Vec<_>>()
    };
    // The checks send a record with a sentinel to the thorough reader, which takes it out.
    let mut values = numbers.clone();
    values.retain(|(_, value)| !is_blank(*value));
    prop_assert_eq!(bits(&mut values), bits(&mut audited));
    let (Given::Value(timestamp), Given::Value(gpu_uuid), Given::Value(())) =
        (&reading.timestamp, &reading.gpu_uuid, &reading.metrics)
    else {
        return Ok(());
    };
    if schema::Timestamp::parse(timestamp).is_err() {
        return Ok(());
    }
    let event: MetricEvent<'_> = serde_json::from_str(text)
        .map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
    prop_assert_eq!(event.gpu.gpu_uuid.as_str(), gpu_uuid.as_ref());
    prop_assert_eq!(event.gpu.name.as_deref(), reading.model_name.as_deref());
    prop_assert_eq!(
        event.collector.as_ref().and_then(|c| c.sequence),
        reading.sequence
    );
    let mut read = Numbers::new();
    event
        .metrics
        .for_each(|index, value| read.push((u16::try_from(index).unwrap(), value)));
    prop_assert_eq!(bits(&mut numbers), bits(&mut read));
    Ok(())
}

#[test]
fn golden_payloads_are_read_without_a_second_look() {
    for payload in [MINIMAL, FULL_1_0, FULL_1_1] {
        assert!(scanned(payload).is_some(), "{payload}");
        check_agreement(payload).unwrap();
        let pretty: serde_json::Value = serde_json::from_str(payload).unwrap();
        let pretty = serde_json::to_string_pretty(&pretty).unwrap();
        assert!(scanned(&pretty).is_some(), "{pretty}");
        check_agreement(&pretty).unwrap();
    }
    let (reading, numbers) = scanned(FULL_1_1).unwrap();
    assert_eq!(
        reading,
        Reading {
            timestamp: Given::Value("2026-02-11T10:30:00.123Z".into()),
            gpu_uuid: Given::Value("GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52".into()),
            model_name: Some("NVIDIA H100 80GB HBM3".into()),
            metrics: Given::Value(()),
            sequence: Some(4_711),
            boot_id: Some("5b1f0c2e-6d0a-4e53-9c35-0a9c6f2f7a11".into()),
        }
    );
    let power = schema::metric_index("power_usage_w").unwrap();
    assert!(numbers.contains(&(u16::try_from(power).unwrap(), 648.25)));
}

#[test]
fn fields_in_another_order_and_escaped_names_are_read() {
    let text = r#"{"metrics":{"clocks":{"mem_clock_mhz":1,"sm_clock_mhz":2}},"gpu":{"name":"a\u0042","gpu_uuid":"G"},"\u0074imestamp":"t"}"#;
    let (reading, numbers) = scanned(text).unwrap();
    assert_eq!(reading.timestamp, Given::Value("t".into()));
    assert_eq!(reading.gpu_uuid, Given::Value("G".into()));
    assert_eq!(reading.model_name, Some("aB".into()));
    assert_eq!(numbers.len(), 2);
}

#[test]
fn whatever_is_unusual_gets_a_second_look() {
    for text in [
        "",
        "{",
        "[]",
        "{}x",
        r#"{"timestamp":"a","timestamp":"b"}"#,
        r#"{"timestamp":1}"#,
        r#"{"timestamp":"a",}"#,
        r#"{"timestamp" "a"}"#,
        r#"{"asset":null}"#,
        r#"{"gpu":[]}"#,
        r#"{"gpu":{"gpu_uuid":"<<<NOT_FOUND>>>"}}"#,
        r#"{"gpu":{"device_index":-0}}"#,
        r#"{"gpu":{"device_index":1.0}}"#,
        r#"{"gpu":{"device_index":4294967296}}"#,
        r#"{"gpu":{"device_index":2147483633}}"#,
        r#"{"collector":{"sequence":-1}}"#,
        r#"{"metrics":{"health":{"gpu_temp_c":"65"}}}"#,
        r#"{"metrics":{"health":{"gpu_temp_c":01}}}"#,
        r#"{"metrics":{"health":{"gpu_temp_c":1.}}}"#,
        r#"{"metrics":{"health":{"gpu_temp_c":.5}}}"#,
        r#"{"metrics":{"health":{"gpu_temp_c":-}}}"#,
        r#"{"metrics":{"health":{"gpu_temp_c":NaN}}}"#,
        r#"{"metrics":{"health":{"gpu_temp_c":1e999}}}"#,
        r#"{"metrics":{"health":{"gpu_temp_c":true}}}"#,
        r#"{"metrics":{"health":{"throttle_reasons_decoded":[null]}}}"#,
        r#"{"metrics":{"health":{"throttle_reasons_decoded":["<<<NULL>>>"]}}}"#,
        r#"{"metrics":{"errors":{"xid_counts":{"94":-1}}}}"#,
        r#"{"metrics":{"errors":{"xid_counts":{"94":null}}}}"#,
        r#"{"unknown":"\ud800\x"}"#,
        r#"{"unknown":[1,]}"#,
        "{\"host\":{\"rack\":\"a\u{1}\"}}",
        r#"{"host":{"rack":"\ud800"}}"#,
    ] {
        assert_eq!(scanned(text), None, "{text}");
    }
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_filter_map("finite", |v| v.is_finite().then(|| format!("{v}"))),
        any::<f64>().prop_filter_map("finite", |v| v.is_finite().then(|| format!("{v:e}"))),
        any::<i64>().prop_map(|v| v.to_string()),
        any::<u64>().prop_map(|v| v.to_string()),
        "-?[0-9]{1,22}(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn numbers_are_read_to_the_last_bit_as_serde_json_reads_them(number in number()) {
        let text = format!(r#"{{"metrics":{{"health":{{"power_usage_w":{number}}}}}}}"#);
        let read = scanned(&text).map(|(_, numbers)| numbers[0].1.to_bits());
        let expected = serde_json::from_str::<f64>(&number).ok().map(f64::to_bits);
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_plain_string_ends_where_it_must(text in "[ -~\u{0}-\u{1f}üé€😀\"\\\\]{0,40}") {
        let expected = text.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\').unwrap_or(text.len());
        prop_assert_eq!(plain_len(text.as_bytes()), expected);
    }

    #[test]
    fn a_damaged_record_is_refused_or_read_as_the_schema_reads_it(
        payload in prop_oneof![Just(MINIMAL), Just(FULL_1_0), Just(FULL_1_1)],
        damage in proptest::collection::vec((any::<prop::sample::Index>(), "[\\-0-9.eE,:\"{}\\[\\]a-z\\\\ ]"), 1..4),
    ) {
        let mut bytes = payload.as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte.as_bytes()[0];
        }
        check_agreement(str::from_utf8(&bytes).unwrap())?;
    }

    #[test]
    fn a_record_with_any_value_anywhere_is_refused_or_read_as_the_schema_reads_it(
        pointer in prop::sample::select(vec![
            "/timestamp", "/gpu", "/gpu/gpu_uuid", "/gpu/name", "/gpu/device_index", "/host", "/host/rack",
            "/metrics", "/metrics/health", "/metrics/health/gpu_temp_c", "/metrics/health/throttle_reasons_decoded",
            "/metrics/memory/bank_remap_avail", "/metrics/memory/bank_remap_avail/none", "/metrics/errors/xid_counts",
            "/metrics/errors/xid_counts/94", "/quality/stale", "/quality/sample_count", "/quality/error",
            "/quality/blank_fields", "/collector/sequence", "/collector/boot_id", "/trace_id", "/metrics/new",
        ]),
        value in prop_oneof![
            number(),
            prop::sample::select(vec![
                "null", "true", "false", "\"\"", "\"x\"", "\"<<<NULL>>>\"", "\"\\ud800\"", "\"\\u00fc\"", "[]", "[1]",
                "[null]", "[\"a\"]", "{}", "{\"a\":1}", "{\"a\":null}", "{\"a\":\"b\"}", "nul", "tru",
                "[\"GPU-1\"]", "2147483634", "9223372036854775794",
            ]).prop_map(str::to_owned),
        ],
    ) {
        check_agreement(&with(FULL_1_1, pointer, &value))?;
    }
}
