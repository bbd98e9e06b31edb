use super::*;
use schema::Source;

fn raw(offset: i64, sequence: u32) -> OwnedRecord {
    record(
        offset,
        format!(
            r#"{{"timestamp":"2026-01-01T00:00:{sequence:02}Z","gpu":{{"gpu_uuid":"GPU-1"}},"power":1,"collector":{{"sequence":{sequence}}}}}"#
        ),
    )
}

fn record(offset: i64, value: String) -> OwnedRecord {
    OwnedRecord {
        partition: 3,
        offset,
        key: Some(b"GPU-1".to_vec()),
        value: Some(value.into_bytes()),
        headers: Vec::new(),
        timestamp: 1_000 + offset,
    }
}

fn with(input: &OwnedRecord, offset: i64, added: &str) -> OwnedRecord {
    let text = input.text();
    record(offset, format!("{}{added}}}", &text[..text.len() - 1]))
}

fn validated(input: &OwnedRecord, offset: i64) -> OwnedRecord {
    with(
        input,
        offset,
        r#","validation_timestamp":"t","quality_flags":[]"#,
    )
}

fn letter(input: &OwnedRecord) -> Letter {
    Letter {
        service: "validator".to_owned(),
        source: Source {
            topic: topic::RAW.name.to_owned(),
            partition: input.partition,
            offset: input.offset,
        },
    }
}

fn wrongs(tally: &Tally) -> Vec<(Wrong, i64)> {
    tally
        .findings
        .iter()
        .map(|finding| (finding.wrong, finding.offset))
        .collect()
}

/// Ten records: the fourth is broken, the eighth is the seventh again.
fn sound() -> (Vec<OwnedRecord>, Vec<OwnedRecord>, Vec<Letter>) {
    let mut inputs: Vec<_> = (0..10).map(|n| raw(i64::from(n), n)).collect();
    inputs[3].value = Some(b"{".to_vec());
    inputs[7].value = inputs[6].value.clone();
    let letters = vec![letter(&inputs[3]), letter(&inputs[7])];
    let outputs = (0..10)
        .filter(|n| ![3, 7].contains(n))
        .zip(100..)
        .map(|(n, offset)| validated(&inputs[n], offset))
        .collect();
    (inputs, outputs, letters)
}

#[test]
fn one_outcome_each_is_no_finding() {
    let (inputs, outputs, letters) = sound();
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(wrongs(&tally), []);
    assert_eq!((tally.inputs, tally.passed, tally.dead_letters), (10, 8, 2));
}

#[test]
fn a_lost_record_is_found() {
    let (inputs, mut outputs, letters) = sound();
    outputs.remove(4);
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(wrongs(&tally), [(Wrong::Lost, 5)]);
    assert_eq!(tally.findings[0].timestamp_ms, 1_005);
}

#[test]
fn a_lost_dead_letter_is_found() {
    let (inputs, outputs, mut letters) = sound();
    letters.remove(0);
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(wrongs(&tally), [(Wrong::Lost, 3)]);
}

#[test]
fn a_doubled_record_is_found() {
    let (inputs, mut outputs, letters) = sound();
    outputs.push(validated(&inputs[5], 200));
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(wrongs(&tally), [(Wrong::Doubled, 5)]);
}

#[test]
fn a_dead_letter_that_comes_twice_or_beside_a_valid_record_is_found() {
    let (inputs, outputs, mut letters) = sound();
    letters.push(letter(&inputs[3]));
    letters.push(letter(&inputs[0]));
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(wrongs(&tally), [(Wrong::Doubled, 0), (Wrong::Doubled, 3)]);
}

#[test]
fn one_lost_and_another_doubled_do_not_cancel_out() {
    let (inputs, mut outputs, letters) = sound();
    outputs[2] = validated(&inputs[5], 102);
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(wrongs(&tally), [(Wrong::Lost, 2), (Wrong::Doubled, 5)]);
}

#[test]
fn a_changed_record_is_found() {
    let (inputs, mut outputs, letters) = sound();
    let text = outputs[0].text().replace("\"power\":1", "\"power\":2");
    outputs[0].value = Some(text.into_bytes());
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(wrongs(&tally), [(Wrong::Changed, 0)]);
}

#[test]
fn a_record_that_says_that_it_was_written_anew_is_matched_by_its_reading() {
    let (mut inputs, mut outputs, letters) = sound();
    let anew = |input: &OwnedRecord, from: &str| {
        let blank = r#","validation_timestamp":"t","quality_flags":["blank"]"#;
        let text = with(input, 101, blank).text().replace(from, "null");
        record(101, text)
    };
    outputs[1] = anew(&inputs[1], "1,\"coll");
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(tally.rewritten, 0, "nothing was blank");
    assert_ne!(wrongs(&tally), []);

    let sentinel = inputs[1]
        .text()
        .replace("\"power\":1", "\"power\":9223372036854775794");
    inputs[1].value = Some(sentinel.into_bytes());
    outputs[1] = anew(&inputs[1], "9223372036854775794");
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!((wrongs(&tally), tally.rewritten), (Vec::new(), 1));

    outputs.push(outputs[1].clone());
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(tally.count(Wrong::Doubled), 1);
}

#[test]
fn a_record_out_of_nowhere_is_found() {
    let (inputs, mut outputs, letters) = sound();
    outputs.push(validated(&raw(50, 50), 250));
    let tally = conserve(&VALIDATION, &inputs, &outputs, &letters);
    assert_eq!(wrongs(&tally), [(Wrong::Invented, 250)]);
}

#[test]
fn ticks_pass_the_enricher_as_they_are_and_are_counted() {
    let (_, inputs, _) = sound();
    let mut inputs = inputs;
    let mut tick = record(300, r#"{"tick":"2026-01-01T00:01:00Z"}"#.to_owned());
    tick.key = None;
    inputs.push(tick.clone());
    let mut outputs: Vec<_> = inputs
        .iter()
        .map(|input| with(input, input.offset, r#","asset_status":"unknown""#))
        .collect();
    outputs.pop();
    let tally = conserve(&ENRICHMENT, &inputs, &outputs, &[]);
    assert_eq!(wrongs(&tally), [(Wrong::Lost, 300)]);
    outputs.push(tick);
    let tally = conserve(&ENRICHMENT, &inputs, &outputs, &[]);
    assert_eq!((wrongs(&tally), tally.passed), (Vec::new(), 9));
}
