//! Assets from CSV (RFC 4180) with a header.

use crate::domain::draft::Draft;
use crate::domain::field::Field;
use crate::domain::rows::{Lines, Refused, RowError, Rows, malformed};
use csv::{ByteRecord, ReaderBuilder};
use schema::Asset;
use std::collections::BTreeSet;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads all assets of `document`, at most `limit`. Columns may stand in any order; an empty cell is no value.
pub fn read(document: &[u8], limit: usize) -> Result<Vec<Asset>, Refused> {
    let document = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(document);
    let mut record = ByteRecord::new();
    if !next(&mut reader, &mut record)? {
        return Err(malformed(1, "the document is empty; it needs a header"));
    }
    let columns = columns(&record, Lines::new(document).of(start(document, &record)))?;
    let mut rows = Rows::new(limit);
    let mut lines = Lines::new(document);
    while next(&mut reader, &mut record)? {
        let line = lines.of(start(document, &record));
        rows.begin()?;
        if record.len() != columns.len() {
            let reason = format!(
                "the row has {} cells, the header {}",
                record.len(),
                columns.len()
            );
            rows.refuse(line, None, reason);
            continue;
        }
        let mut draft = Draft::default();
        for (field, cell) in columns.iter().zip(&record) {
            let read = std::str::from_utf8(cell)
                .map_err(|_| "is not UTF-8".to_owned())
                .and_then(|text| field.of_text(text));
            draft.set(*field, read);
        }
        rows.take(line, draft);
    }
    rows.finish()
}

fn next(reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord) -> Result<bool, Refused> {
    reader.read_byte_record(record).map_err(|error| {
        let line = error.position().map_or(1, csv::Position::line);
        malformed(line, error.to_string())
    })
}

/// Where the record begins. The reader's own place is before the line ends that it skips, and its line count depends on
/// how lines end.
fn start(document: &[u8], record: &ByteRecord) -> usize {
    let place = record
        .position()
        .and_then(|position| usize::try_from(position.byte()).ok())
        .unwrap_or(0);
    let skipped = document
        .get(place..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    place + skipped
}

/// The fields of the header. Unknown, repeated and missing ones are all named.
fn columns(header: &ByteRecord, line: u64) -> Result<Vec<Field>, Refused> {
    let mut errors = Vec::new();
    let mut refuse = |name: &str, reason: &str| {
        errors.push(RowError {
            line,
            field: Some(name.to_owned()),
            reason: reason.to_owned(),
        });
    };
    let (mut fields, mut seen) = (Vec::new(), BTreeSet::new());
    for cell in header {
        let name = String::from_utf8_lossy(cell);
        match Field::named(&name) {
            Some(field) if !seen.insert(field) => refuse(&name, "is in the header twice"),
            Some(field) => fields.push(field),
            None => refuse(&name, "is no column of an asset"),
        }
    }
    for field in Field::ALL {
        if field.is_required() && !seen.contains(&field) {
            refuse(field.name(), "is missing in the header");
        }
    }
    if errors.is_empty() {
        Ok(fields)
    } else {
        Err(Refused::BadRows {
            total: errors.len(),
            told: errors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schema::SlaTier;

    fn uuid(n: u32) -> String {
        format!("GPU-00000000-0000-0000-0000-{n:012}")
    }

    fn errors(document: &str) -> Vec<(u64, Option<String>)> {
        match read(document.as_bytes(), 100).unwrap_err() {
            Refused::BadRows { told, total } => {
                assert_eq!(told.len(), total);
                told.into_iter().map(|e| (e.line, e.field)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn columns_stand_in_any_order_and_empty_cells_are_no_values() {
        let document = format!(
            "\u{feff}model,gpu_uuid,priority,notes,sla_tier\r\nNVIDIA L4,{},3,\"a, \"\"b\"\"\nc\",staging\r\nNVIDIA L4,{},,,\r\n",
            uuid(2),
            uuid(1)
        );
        let assets = read(document.as_bytes(), 100).unwrap();
        assert_eq!(assets[0].gpu_uuid, uuid(1));
        assert_eq!(
            (assets[0].priority, assets[0].sla_tier, &assets[0].notes),
            (5, SlaTier::Development, &None)
        );
        assert_eq!(
            (
                assets[1].priority,
                assets[1].sla_tier,
                assets[1].notes.as_deref()
            ),
            (3, SlaTier::Staging, Some("a, \"b\"\nc"))
        );
    }

    #[test]
    fn every_bad_row_is_named_by_its_line_and_field() {
        let field = |name: &str| Some(name.to_owned());
        let document = format!(
            "gpu_uuid,model,priority,warranty_expiry,notes\n{a},m,5,2026-02-30,\"two\nlines\"\n{b},,12,,\n\n{c},m,5\n{d},m,5,,\n{d},m,5,,\n",
            a = uuid(1),
            b = uuid(2),
            c = uuid(3),
            d = uuid(4),
        );
        let expected = [
            (2, field("warranty_expiry")),
            (4, field("priority")),
            (4, field("model")),
            (6, None),
            (8, field("gpu_uuid")),
        ];
        assert_eq!(errors(&document), expected);
        assert_eq!(errors(&document.replace('\n', "\r\n")), expected);
    }

    #[test]
    fn a_header_is_refused_by_the_names_of_its_columns() {
        let field = |name: &str| Some(name.to_owned());
        assert_eq!(
            errors("gpu_uuid,rack,priority,priority\n"),
            [
                (1, field("rack")),
                (1, field("priority")),
                (1, field("model"))
            ]
        );
        assert!(matches!(read(b"", 1), Err(Refused::Malformed(_))));
        assert_eq!(read(b"gpu_uuid,model\n", 1), Ok(vec![]));
    }

    #[test]
    fn text_that_is_not_utf8_is_named() {
        let mut document = format!("gpu_uuid,model\n{},", uuid(1)).into_bytes();
        document.extend_from_slice(b"\xff\n");
        let Err(Refused::BadRows { told, .. }) = read(&document, 1) else {
            panic!("taken")
        };
        assert_eq!(
            (
                told[0].line,
                told[0].field.as_deref(),
                told[0].reason.as_str()
            ),
            (2, Some("model"), "is not UTF-8")
        );
    }

    #[test]
    fn one_row_too_many_is_refused() {
        let document = format!("gpu_uuid,model\n{},m\n{},m\n", uuid(1), uuid(2));
        assert_eq!(read(document.as_bytes(), 2).unwrap().len(), 2);
        assert_eq!(
            read(document.as_bytes(), 1),
            Err(Refused::TooManyRows { limit: 1 })
        );
    }

    #[test]
    fn many_errors_are_counted_and_the_first_hundred_told() {
        let mut document = "gpu_uuid,model\n".to_owned();
        for _ in 0..150 {
            document.push_str("x,m\n");
        }
        let Err(Refused::BadRows { told, total }) = read(document.as_bytes(), 200) else {
            panic!("taken")
        };
        assert_eq!((told.len(), total), (100, 150));
    }

    proptest! {
        #[test]
        fn what_a_csv_writer_wrote_is_read_back(names in proptest::collection::vec("[ -~é]{0,8}x", 1..6)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["gpu_uuid", "model", "rack_id"]).unwrap();
            let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
            for (n, name) in (0..).zip(&names) {
                writer.write_record([&uuid(n), name, name]).unwrap();
            }
            let assets = read(&writer.into_inner().unwrap(), 100).unwrap();
            let read: Vec<String> = assets.into_iter().map(|a| a.model).collect();
            prop_assert_eq!(read, names);
        }

        #[test]
        fn no_document_makes_it_panic(document in "[a-z_,\"\n\r{}:;= 0-9-]{0,200}") {
            drop(read(format!("gpu_uuid,model,tags,priority\n{document}").as_bytes(), 10));
        }
    }
}
