use super::*;
use proptest::prelude::*;

type Owned = (String, Vec<(String, String)>, f64, Option<i64>);

fn rows(text: &str) -> (Vec<Owned>, Summary) {
    let mut rows = Vec::new();
    let summary = read(text, Some, |name: &str, sample| {
        let labels = sample
            .labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()))
            .collect();
        rows.push((name.to_owned(), labels, sample.value, sample.timestamp_ms));
    });
    (rows, summary)
}

fn one(line: &str) -> Owned {
    let (mut rows, summary) = rows(line);
    assert_eq!((rows.len(), summary.malformed), (1, 0), "{line}");
    rows.remove(0)
}

#[test]
fn a_row_has_labels_a_value_and_perhaps_a_time() {
    let row = one(
        r#"DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-1",modelName="NVIDIA H100 80GB HBM3"} 61 1770805800123"#,
    );
    assert_eq!(row.0, "DCGM_FI_DEV_GPU_TEMP");
    assert_eq!(
        row.1[2],
        ("modelName".to_owned(), "NVIDIA H100 80GB HBM3".to_owned())
    );
    assert_eq!(
        (row.2.to_bits(), row.3),
        (61.0_f64.to_bits(), Some(1_770_805_800_123))
    );
    assert_eq!(one("up 1").1, []);
    assert_eq!(one("up{} 1").1, []);
    assert_eq!(
        one("  a:b_c\t{ x = \"1\" , y=\"2\", }\t-1.5e3  \r")
            .2
            .to_bits(),
        (-1500.0_f64).to_bits()
    );
}

#[test]
fn values_may_be_infinite_or_no_number() {
    assert!(one("x NaN").2.is_nan());
    assert!(one("x +Inf").2.is_infinite());
    assert_eq!(one("x -Inf").2.to_bits(), f64::NEG_INFINITY.to_bits());
    assert_eq!(
        one("x 9223372036854775794").2.to_bits(),
        2.0_f64.powi(63).to_bits()
    );
}

#[test]
fn escapes_in_labels_are_undone() {
    let row = one(r#"x{a="say \"hi\"\\\n",b="C:\dir",c="}{,=",d="ü"} 1"#);
    let values: Vec<_> = row.1.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["say \"hi\"\\\n", "C:\\dir", "}{,=", "ü"]);
}

#[test]
fn comments_blank_lines_and_crlf_do_not_matter() {
    let (rows, summary) = rows("# HELP x y\r\n# TYPE x gauge\r\n\r\nx 1\r\n   \n#\n y 2");
    assert_eq!(rows.len(), 2);
    assert_eq!(summary.malformed, 0);
}

#[test]
fn a_malformed_line_costs_only_itself() {
    for (line, error) in [
        ("{a=\"1\"} 1", LineError::Name),
        ("9x 1", LineError::Name),
        ("x", LineError::Name),
        ("x-y 1", LineError::Name),
        ("x{a=1} 1", LineError::Labels),
        ("x{a=\"1\" 1", LineError::Labels),
        ("x{a=\"1} 1", LineError::Labels),
        ("x{a=\"1\"b=\"2\"} 1", LineError::Labels),
        ("x{=\"1\"} 1", LineError::Labels),
        ("x{a=\"\\", LineError::Labels),
        ("x{", LineError::Labels),
        ("x{} ", LineError::Value),
        ("x one", LineError::Value),
        ("x 1 noon", LineError::Timestamp),
        ("x 1 2 3", LineError::Timestamp),
        ("x 1 # {trace_id=\"1\"} 1", LineError::Timestamp),
    ] {
        let (rows, summary) = rows(&format!("good 1\n{line}\ngood 2\n"));
        assert_eq!(rows.len(), 2, "{line}");
        assert_eq!(summary.first_malformed, Some((2, error)), "{line}");
    }
}

#[test]
fn rows_of_no_interest_are_not_looked_into() {
    let mut seen = 0;
    let summary = read(
        "go_info{x=\"unfinished 1\nDCGM_A 1\n",
        |name| name.starts_with("DCGM").then_some(()),
        |(), _| seen += 1,
    );
    assert_eq!((seen, summary.skipped, summary.malformed), (1, 1, 0));
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in "\\PC{0,200}|[ -~\n\\\\\"{}=,#]{0,300}") {
        let lines = text.split('\n').count();
        let (rows, summary) = rows(&text);
        prop_assert!(rows.len() + summary.malformed <= lines);
    }

    #[test]
    fn bytes_cut_anywhere_are_read_up_to_there(cut in 0_usize..200) {
        let text = "DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-ü\\\"\"} 61 17\nDCGM_FI_DEV_SM_CLOCK{gpu=\"0\"} 1410\n";
        let mut end = cut.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (rows, summary) = rows(&text[..end]);
        prop_assert!(rows.len() <= 2 && summary.malformed <= 1);
    }

    #[test]
    fn what_is_written_is_read(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,20}",
        labels in prop::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,8}", "[^\r]{0,20}"), 0..6),
        value in prop::num::f64::ANY,
        time in prop::option::of(any::<i64>()),
        crlf: bool,
    ) {
        let inside: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let time_text = time.map(|time| format!(" {time}")).unwrap_or_default();
        let end = if crlf { "\r\n" } else { "\n" };
        let text = format!("{name}{{{}}} {value}{time_text}{end}", inside.join(","));
        let row = one(&text);
        prop_assert_eq!(row.0, name);
        prop_assert_eq!(row.1, labels);
        prop_assert!(row.2.to_bits() == value.to_bits() || row.2.is_nan() && value.is_nan());
        prop_assert_eq!(row.3, time);
    }
}
