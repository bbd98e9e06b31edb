//! Records as JSON lines.

use crate::fleet::{Fleet, Record};
use crate::truth::TruthFile;
use serde_json::value::RawValue;
use std::io::{self, Write};

#[derive(serde::Serialize)]
struct Keyed<'a> {
    key: &'a str,
    append_time: schema::Timestamp,
    value: Value<'a>,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Whole(&'a RawValue),
    Broken(String),
}

/// Prints every record, or the first `limit`.
pub(crate) fn run(
    fleet: &mut Fleet,
    limit: Option<u64>,
    keyed: bool,
    truth: &mut TruthFile,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut failed = None;
    let mut print = |record: Record<'_>| {
        if left > 0 && failed.is_none() {
            left -= 1;
            failed = write_record(&record, keyed, out).err();
        }
        failed.is_none() && left > 0
    };
    let mut more = true;
    while more && let Some(now_ms) = fleet.next_ms() {
        truth.reach(fleet.plan(), now_ms)?;
        fleet.step_host_at(now_ms, |record| more = print(record));
    }
    fleet.finish(|record| {
        print(record);
    });
    failed.map_or(Ok(()), Err)?;
    out.flush()
}

fn write_record(record: &Record<'_>, keyed: bool, out: &mut impl Write) -> io::Result<()> {
    if keyed {
        let value = match serde_json::from_slice(record.value) {
            Ok(raw) => Value::Whole(raw),
            Err(_) => Value::Broken(String::from_utf8_lossy(record.value).into_owned()),
        };
        let key = std::str::from_utf8(record.key).map_err(io::Error::other)?;
        serde_json::to_writer(
            &mut *out,
            &Keyed {
                key,
                append_time: record.append_time,
                value,
            },
        )?;
    } else {
        out.write_all(record.value)?;
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetConfig;
    use crate::schedule::FaultPlan;

    fn lines(keyed: bool, limit: Option<u64>) -> Vec<Vec<u8>> {
        let mut fleet = Fleet::new(FleetConfig {
            duration_ms: Some(180_000),
            faults: FaultPlan::demo(64),
            ..FleetConfig::default()
        })
        .unwrap();
        let mut out = Vec::new();
        run(&mut fleet, limit, keyed, &mut TruthFile::none(), &mut out).unwrap();
        out.split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }

    #[test]
    fn keyed_lines_are_json_even_where_the_value_is_broken() {
        let lines = lines(true, None);
        let mut broken = 0;
        for line in &lines[..lines.len() - 1] {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert!(value["key"].as_str().unwrap().starts_with("GPU-"));
            broken += usize::from(value["value"].is_string());
        }
        assert!(broken > 0);
        assert!(lines.len() > 1_000);
    }

    #[test]
    fn a_limit_is_kept() {
        assert_eq!(lines(false, Some(10)).len(), 11);
    }
}
