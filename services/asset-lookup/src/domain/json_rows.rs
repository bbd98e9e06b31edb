//! Assets from a JSON array.

use super::draft::Draft;
use super::rows::{Lines, Refused, Rows, malformed};
use schema::Asset;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Reads all assets of `document`, at most `limit`.
pub fn read(document: &[u8], limit: usize) -> Result<Vec<Asset>, Refused> {
    let text = std::str::from_utf8(document).map_err(|error| {
        let line = Lines::new(document).of(error.valid_up_to());
        malformed(line, "the document is not UTF-8")
    })?;
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        let line = u64::try_from(error.line()).unwrap_or(1);
        malformed(line.max(1), format!("not a JSON array: {error}"))
    })?;
    let mut rows = Rows::new(limit);
    let mut lines = Lines::new(document);
    for element in elements {
        // The element is a part of the text, so that the difference of their addresses is its place.
        let start = element.get().as_ptr() as usize - text.as_ptr() as usize;
        let line = lines.of(start);
        rows.begin()?;
        match serde_json::from_str::<Map<String, Value>>(element.get()) {
            Ok(members) => rows.take(line, Draft::of_object(members)),
            Err(error) => rows.refuse(line, None, format!("not a JSON object: {error}")),
        }
    }
    rows.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rows::RowError;

    fn uuid(n: u32) -> String {
        format!("GPU-00000000-0000-0000-0000-{n:012}")
    }

    #[test]
    fn every_bad_element_is_named_by_its_line_and_field() {
        let document = format!(
            "[\n{{\"gpu_uuid\":\"{}\",\"model\":\"m\"}},\n\n  {{\"gpu_uuid\":\"{}\",\n  \"model\":\"m\",\"rack\":1}}, 7,\n{{\"gpu_uuid\":\"{}\",\"model\":\"m\"}}]",
            uuid(1),
            uuid(2),
            uuid(1)
        );
        let Err(Refused::BadRows { told, total }) = read(document.as_bytes(), 10) else {
            panic!("taken")
        };
        assert_eq!(total, 3);
        assert_eq!(told[0].line, 4);
        assert_eq!(told[0].field.as_deref(), Some("rack"));
        assert_eq!((told[1].line, &told[1].field), (5, &None));
        assert_eq!(
            told[2],
            RowError {
                line: 6,
                field: Some("gpu_uuid".to_owned()),
                reason: "is on line 2 too".to_owned()
            }
        );
    }

    #[test]
    fn what_is_no_array_is_refused_with_the_line() {
        let line = |document: &[u8]| match read(document, 10).unwrap_err() {
            Refused::Malformed(error) => error.line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(b"[\n{},\n"), 3);
        assert_eq!(line(b"{}"), 1);
        assert_eq!(line(b""), 1);
        assert_eq!(line(b"[\n\"\xff\"]"), 2);
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(deep.as_bytes(), 10).is_err());
    }

    #[test]
    fn one_element_too_many_is_refused() {
        let document = format!(
            r#"[{{"gpu_uuid":"{}","model":"m"}},{{"gpu_uuid":"{}","model":"m"}}]"#,
            uuid(2),
            uuid(1)
        );
        let assets = read(document.as_bytes(), 2).unwrap();
        assert_eq!(assets[0].gpu_uuid, uuid(1));
        assert_eq!(
            read(document.as_bytes(), 1),
            Err(Refused::TooManyRows { limit: 1 })
        );
        assert_eq!(read(b"[]", 1), Ok(vec![]));
    }
}
