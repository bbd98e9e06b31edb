use super::*;
use crate::domain::offsets::Place;

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/testdata/");

#[expect(
    clippy::disallowed_methods,
    reason = "golden files are read where they are used"
)]
fn payload(name: &str) -> String {
    std::fs::read_to_string(format!("{TESTDATA}{name}")).unwrap()
}

/// The outcome, and the number of fields that were written.
fn outcome(
    table: Table,
    key: Option<&[u8]>,
    value: Option<&str>,
) -> (Result<Decoded, Unstorable>, Option<usize>) {
    let mut batch = Batch::default();
    let place = Place {
        table,
        partition: 0,
    };
    let slice = batch.reach(place, 1, None, 5);
    let input = Input {
        key,
        value: value.map(str::as_bytes),
    };
    let decoded = decode(table, &input, (slice, 5), &mut batch);
    let fields = [
        crate::domain::batch::Way::Plain,
        crate::domain::batch::Way::Merge,
    ]
    .into_iter()
    .find_map(|way| {
        let rows = batch.rows(table, way);
        let piece = rows.pieces(&rows.kept(&[0])).first().copied()?.to_vec();
        Some(count_fields(&piece))
    });
    (decoded, fields)
}

fn count_fields(row: &[u8]) -> usize {
    let declared = usize::from(u16::from_be_bytes([row[0], row[1]]));
    let (mut rest, mut found) = (&row[2..], 0);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length);
        rest = &after[usize::try_from(length).unwrap_or(0)..];
        found += 1;
    }
    assert_eq!(declared, found, "declared and written");
    found
}

fn code(table: Table, value: &str) -> &'static str {
    let (decoded, fields) = outcome(table, Some(b"GPU-1"), Some(value));
    assert_eq!(fields, None, "nothing is left of a record that failed");
    decoded.unwrap_err().code
}

#[test]
fn the_golden_payloads_make_a_row_with_every_column() {
    for (table, name) in [
        (Table::Readings, "enriched_event_1_1.json"),
        (Table::OneMinute, "window_aggregate_1m.json"),
        (Table::Alerts, "alert_brief.json"),
        (Table::Scores, "health_score_brief.json"),
    ] {
        let (decoded, fields) = outcome(table, Some(b"GPU-1"), Some(&payload(name)));
        assert_eq!(decoded, Ok(Decoded::Row), "{name}");
        assert_eq!(fields, Some(table.columns().len()), "{name}");
    }
}

#[test]
fn a_tick_makes_no_row_and_another_record_without_a_key_is_a_dead_letter() {
    let tick = payload("tick_1_1.json");
    let (decoded, fields) = outcome(Table::Readings, None, Some(&tick));
    assert_eq!((decoded, fields), (Ok(Decoded::Tick), None));
    let (decoded, _) = outcome(Table::Readings, None, Some("{}"));
    assert_eq!(decoded.unwrap_err().code, "not_a_tick");
    let (decoded, _) = outcome(Table::Alerts, Some(b"GPU-1"), None);
    assert_eq!(decoded.unwrap_err().code, "no_value");
}

#[test]
fn what_cannot_be_read_or_stored_is_named() {
    let reading = payload("enriched_event_1_1.json");
    assert_eq!(code(Table::Readings, "{"), "not_readable");
    assert_eq!(code(Table::Readings, &"[".repeat(100_000)), "not_readable");
    let infinite = reading.replace(r#""gpu_temp_c":65.0"#, r#""gpu_temp_c":1e999"#);
    assert_ne!(infinite, reading);
    assert_eq!(code(Table::Readings, &infinite), "not_readable");
    let nul = reading.replace("gpu-node-042", r"gpu\u0000");
    assert_eq!(code(Table::Readings, &nul), "not_storable");
    let index = reading.replace(r#""device_index":0"#, r#""device_index":4000000000"#);
    assert_eq!(code(Table::Readings, &index), "not_storable");
    let long = reading.replace("GPU-8f3c2a10", &"x".repeat(300));
    assert_eq!(code(Table::Readings, &long), "bad_gpu_uuid");

    let window = payload("window_aggregate_1m.json");
    assert_eq!(code(Table::FifteenMinutes, &window), "wrong_window");
    let xid = window.replace("[48,94]", "[48,3000000000]");
    assert_eq!(code(Table::OneMinute, &xid), "not_storable");
    let deep = window.replace(r#""counters":{"#, r#""counters":{"\u0000":1,"#);
    assert_eq!(code(Table::OneMinute, &deep), "not_storable");

    let early =
        payload("alert_brief.json").replace("2026-02-11T10:30:00.123Z", "-009000-01-01T00:00:00Z");
    assert_eq!(code(Table::Alerts, &early), "not_storable");
}

#[test]
fn a_word_that_a_later_version_adds_is_stored() {
    let score = payload("health_score_brief.json").replace(r#""good""#, r#""splendid""#);
    let (decoded, _) = outcome(Table::Scores, Some(b"GPU-1"), Some(&score));
    assert_eq!(decoded, Ok(Decoded::Row));
}

#[test]
fn a_correction_goes_the_way_of_rows_that_replace_others() {
    let window = payload("window_aggregate_1m.json").replace(r#""revision":0"#, r#""revision":1"#);
    let mut batch = Batch::default();
    let input = Input {
        key: None,
        value: Some(window.as_bytes()),
    };
    decode(Table::OneMinute, &input, (0, 5), &mut batch).unwrap();
    assert!(
        batch
            .rows(Table::OneMinute, crate::domain::batch::Way::Plain)
            .is_empty()
    );
    assert!(
        !batch
            .rows(Table::OneMinute, crate::domain::batch::Way::Merge)
            .is_empty()
    );
}
