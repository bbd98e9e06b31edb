use super::*;
use crate::domain::sample::{FULL_1_0, FULL_1_1, with};
use crate::domain::scan::scan;
use schema::MetricEvent;

struct Found {
    rewritten: String,
    blank: bool,
    reasons: Vec<(String, String, String)>,
}

fn look(text: &str) -> Found {
    let mut reasons = Reasons::default();
    let mut numbers = Numbers::new();
    let audit = audit(&Object::record(), text, &mut numbers, &mut reasons);
    let (rewritten, blank) = audit.map_or_else(
        || (text.to_owned(), false),
        |audit| {
            let bytes = rewrite::apply(text, audit.edits);
            (String::from_utf8(bytes).unwrap(), audit.blank)
        },
    );
    Found {
        rewritten,
        blank,
        reasons: reasons
            .into_wire()
            .into_iter()
            .map(|reason| {
                (
                    reason.code,
                    reason.field.unwrap_or_default(),
                    reason.message,
                )
            })
            .collect(),
    }
}

/// The reasons against `text` are exactly these, as (code, field).
fn check(text: &str, expected: &[(&str, &str)]) {
    let found = look(text).reasons;
    let found: Vec<_> = found
        .iter()
        .map(|(code, field, _)| (code.as_str(), field.as_str()))
        .collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn a_sound_record_has_nothing_against_it() {
    for payload in [FULL_1_0, FULL_1_1] {
        let found = look(payload);
        assert_eq!(found.reasons, []);
        assert!(!found.blank);
        assert_eq!(found.rewritten, payload);
    }
}

#[test]
fn malformed_json_is_named_with_its_position() {
    let found = look("{\"timestamp\":\n\"a\",}");
    assert_eq!(found.reasons[0].0, "malformed_json");
    assert!(
        found.reasons[0].2.contains("line 2 column 5"),
        "{:?}",
        found.reasons
    );
    check("", &[("malformed_json", "")]);
    check("{\"a\":NaN}", &[("malformed_json", "")]);
    check("{\"a\":Infinity}", &[("malformed_json", "")]);
    check(r#"{"a":1} x"#, &[("malformed_json", "")]);
    check(r#"{"\ud800":1}"#, &[("malformed_json", "")]);
    check(
        r#"{"host":{"rack":"\ud800"}}"#,
        &[("malformed_json", "host.rack")],
    );
}

#[test]
fn what_is_no_object_is_said_to_be_none() {
    for (text, kind) in [
        ("[1]", "the array [1]"),
        ("\"x\"", "the string \"x\""),
        ("1", "the number 1"),
        ("null", "null"),
        ("true", "the boolean true"),
    ] {
        let found = look(text).reasons;
        assert_eq!(found[0].0, "not_an_object");
        assert!(found[0].2.contains(kind), "{found:?}");
    }
}

#[test]
fn every_misfit_is_named_not_just_the_first() {
    check(
        r#"{"timestamp":17,"gpu":{"gpu_uuid":false,"device_index":-1,"name":3},
            "host":[],"metrics":{"health":{"gpu_temp_c":"NaN","power_usage_w":1e999,"power_usage_w":3},"memory":7},
            "quality":{"stale":"no","sample_count":1.5},"collector":{"sequence":-4}}"#,
        &[
            ("wrong_type", "timestamp"),
            ("wrong_type", "gpu.gpu_uuid"),
            ("wrong_type", "gpu.device_index"),
            ("wrong_type", "gpu.name"),
            ("wrong_type", "host"),
            ("wrong_type", "metrics.health.gpu_temp_c"),
            ("not_finite", "metrics.health.power_usage_w"),
            ("duplicate_field", "metrics.health.power_usage_w"),
            ("wrong_type", "metrics.memory"),
            ("wrong_type", "quality.stale"),
            ("wrong_type", "quality.sample_count"),
            ("wrong_type", "collector.sequence"),
        ],
    );
}

#[test]
fn of_many_misfits_in_a_list_the_first_is_named_and_the_others_counted() {
    let found = look(
        r#"{"metrics":{"health":{"throttle_reasons_decoded":["a",1,null,{}]},"errors":{"xid_counts":{"31":-1,"94":"x"}}}}"#,
    );
    assert_eq!(
        found.reasons,
        [
            (
                "wrong_type".to_owned(),
                "metrics.health.throttle_reasons_decoded[1]".to_owned(),
                "must be a string, is the number 1 (and 2 more)".to_owned()
            ),
            (
                "negative_counter".to_owned(),
                "metrics.errors.xid_counts.31".to_owned(),
                "is -1, a count can't be negative (and 1 more)".to_owned()
            ),
        ]
    );
}

#[test]
fn blank_sentinels_become_null_and_no_other_byte_changes() {
    let before = r#"{ "gpu" : {"gpu_uuid":"G","serial": "<<<NOT_SUPPORTED>>>" ,"device_index":2147483632},
        "metrics":{"health":{"gpu_temp_c":65.0,"memory_temp_c": 9223372036854775794,"power_usage_w":140737488355328.0,
        "throttle_reasons":"<<<NULL>>>"},"memory":{"bank_remap_avail":{"max":2147483634}}, "new":[9223372036854775794]}}"#;
    let after = r#"{ "gpu" : {"gpu_uuid":"G","serial": null ,"device_index":null},
        "metrics":{"health":{"gpu_temp_c":65.0,"memory_temp_c": null,"power_usage_w":null,
        "throttle_reasons":null},"memory":{"bank_remap_avail":{"max":null}}, "new":[9223372036854775794]}}"#;
    let found = look(before);
    assert_eq!(found.reasons, []);
    assert!(found.blank);
    assert_eq!(found.rewritten, after);
}

#[test]
fn blank_items_of_a_container_are_taken_out() {
    let found = look(
        r#"{"metrics":{"health":{"throttle_reasons_decoded":["<<<NULL>>>" , "SW_POWER_CAP"]},"errors":{"xid_counts":{"31":1,"94":9223372036854775793}}}}"#,
    );
    assert!(found.blank);
    assert_eq!(
        found.rewritten,
        r#"{"metrics":{"health":{"throttle_reasons_decoded":["SW_POWER_CAP"]},"errors":{"xid_counts":{"31":1}}}}"#
    );
    let found = look(
        r#"{"metrics":{"health":{"throttle_reasons_decoded":"<<<NULL>>>"},"errors":{"xid_counts":"<<<NULL>>>"}}}"#,
    );
    assert_eq!(
        found.rewritten,
        r#"{"metrics":{"health":{"throttle_reasons_decoded":null},"errors":{"xid_counts":null}}}"#
    );
}

#[test]
fn reserved_names_are_taken_out_at_the_top_and_only_there() {
    let found = look(
        r#"{"asset":{"model":"x"}, "timestamp":"t","quality_flags":["late"],"validation_version":"9","gpu":{"asset":1}, "asset_status":"known", "asset":2}"#,
    );
    assert_eq!(found.reasons, []);
    assert!(!found.blank);
    assert_eq!(found.rewritten, r#"{"timestamp":"t","gpu":{"asset":1}}"#);
}

#[test]
fn a_blank_uuid_is_no_uuid() {
    let text = with(FULL_1_1, "/gpu/gpu_uuid", "\"<<<NOT_FOUND>>>\"");
    let mut numbers = Numbers::new();
    let mut reasons = Reasons::default();
    let audit = audit(&Object::record(), &text, &mut numbers, &mut reasons).unwrap();
    assert_eq!(audit.reading.gpu_uuid, Given::Absent);
    assert!(reasons.is_empty() && audit.edits.is_empty());
}

/// Every known field with every kind of value: the thorough reader agrees with the schema on what fits.
#[test]
fn the_table_of_fields_says_what_the_schema_says() {
    let values = [
        "null",
        "true",
        "1",
        "-1",
        "1.5",
        "1e3",
        "-0",
        "1e999",
        "4294967296",
        "\"x\"",
        "\"\\ud800\"",
        "[]",
        "[1]",
        "[\"a\"]",
        "[null]",
        "{}",
        "{\"a\":1}",
        "{\"a\":\"x\"}",
        "{\"a\":null}",
    ];
    let mut checked = 0;
    let mut pointers = Vec::new();
    collect(&Object::record(), "", &mut pointers);
    for (pointer, is_count, is_required) in pointers {
        for value in values {
            let text = with(FULL_1_1, &pointer, value);
            let found = look(&text);
            // The thorough reader is stricter in three points: structs aren't arrays, counts aren't negative, and a
            // timestamp's content is checked elsewhere; laxer in one: what is required is checked elsewhere.
            let stricter = value.starts_with('[')
                || (is_count && matches!(value, "-1"))
                || pointer == "/timestamp";
            let laxer = is_required && value == "null";
            let is_group = matches!(pointer.as_str(), "/gpu" | "/metrics");
            let read = serde_json::from_str::<MetricEvent<'_>>(&text);
            if !(stricter || laxer || is_group) {
                assert_eq!(
                    found.reasons.is_empty(),
                    read.is_ok(),
                    "{pointer} = {value}: {:?} {read:?}",
                    found.reasons
                );
            }
            if found.reasons.is_empty() && !laxer && pointer != "/timestamp" && pointer != "/gpu" {
                assert!(read.is_ok(), "{pointer} = {value}: {read:?}");
                let mut numbers = Numbers::new();
                let rewritten = scan(&Object::record(), &found.rewritten, &mut numbers);
                assert!(rewritten.is_some(), "{pointer} = {value}");
            }
            checked += 1;
        }
    }
    assert!(checked > 2_000, "{checked}");
}

fn collect(object: &Object, at: &str, pointers: &mut Vec<(String, bool, bool)>) {
    for field in &object.fields {
        let pointer = format!("{at}/{}", field.name);
        if let Shape::Object(inner) = &field.shape {
            collect(inner, &pointer, pointers);
        }
        let is_count = matches!(field.shape, Shape::Count | Shape::Counts);
        let is_required = matches!(
            pointer.as_str(),
            "/timestamp" | "/gpu" | "/gpu/gpu_uuid" | "/metrics"
        );
        if !matches!(field.shape, Shape::Reserved) {
            pointers.push((pointer, is_count, is_required));
        }
    }
}
