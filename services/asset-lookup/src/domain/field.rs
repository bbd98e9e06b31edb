//! The fields of an asset, and what each may hold.

use jiff::civil::Date;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most bytes of a text that names something.
pub const MAX_NAME_BYTES: usize = 200;
/// The most bytes of the notes.
pub const MAX_NOTES_BYTES: usize = 4_000;
/// The most tags.
pub const MAX_TAGS: usize = 64;
/// The most bytes of a tag's name and of its value.
pub const MAX_TAG_BYTES: usize = 200;
/// No GPU has more memory than this, in GB.
pub const MAX_MEMORY_GB: i32 = 4_096;
/// Dates outside these years are slips of the pen.
pub const YEARS: std::ops::RangeInclusive<i16> = 1990..=2199;

/// A field of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `gpu_uuid`
    GpuUuid,
    /// `model`
    Model,
    /// `architecture`
    Architecture,
    /// `compute_capability`
    ComputeCapability,
    /// `memory_gb`
    MemoryGb,
    /// `serial`
    Serial,
    /// `hostname`
    Hostname,
    /// `pci_bus_id`
    PciBusId,
    /// `rack_id`
    RackId,
    /// `cluster_id`
    ClusterId,
    /// `datacenter`
    Datacenter,
    /// `region`
    Region,
    /// `purchase_date`
    PurchaseDate,
    /// `deployment_date`
    DeploymentDate,
    /// `warranty_expiry`
    WarrantyExpiry,
    /// `expected_eol`
    ExpectedEol,
    /// `sla_tier`
    SlaTier,
    /// `priority`
    Priority,
    /// `tags`
    Tags,
    /// `notes`
    Notes,
}

impl Field {
    /// Every field, in the order of the schema.
    pub const ALL: [Self; 20] = [
        Self::GpuUuid,
        Self::Model,
        Self::Architecture,
        Self::ComputeCapability,
        Self::MemoryGb,
        Self::Serial,
        Self::Hostname,
        Self::PciBusId,
        Self::RackId,
        Self::ClusterId,
        Self::Datacenter,
        Self::Region,
        Self::PurchaseDate,
        Self::DeploymentDate,
        Self::WarrantyExpiry,
        Self::ExpectedEol,
        Self::SlaTier,
        Self::Priority,
        Self::Tags,
        Self::Notes,
    ];

    /// Its name on the wire, in the database and in a CSV header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GpuUuid => "gpu_uuid",
            Self::Model => "model",
            Self::Architecture => "architecture",
            Self::ComputeCapability => "compute_capability",
            Self::MemoryGb => "memory_gb",
            Self::Serial => "serial",
            Self::Hostname => "hostname",
            Self::PciBusId => "pci_bus_id",
            Self::RackId => "rack_id",
            Self::ClusterId => "cluster_id",
            Self::Datacenter => "datacenter",
            Self::Region => "region",
            Self::PurchaseDate => "purchase_date",
            Self::DeploymentDate => "deployment_date",
            Self::WarrantyExpiry => "warranty_expiry",
            Self::ExpectedEol => "expected_eol",
            Self::SlaTier => "sla_tier",
            Self::Priority => "priority",
            Self::Tags => "tags",
            Self::Notes => "notes",
        }
    }

    /// The field called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// An asset can't be without it.
    pub const fn is_required(self) -> bool {
        matches!(self, Self::GpuUuid | Self::Model)
    }

    const fn form(self) -> Form {
        match self {
            Self::GpuUuid => Form::Text(gpu_uuid),
            Self::ComputeCapability => Form::Text(compute_capability),
            Self::PciBusId => Form::Text(pci_bus_id),
            Self::PurchaseDate
            | Self::DeploymentDate
            | Self::WarrantyExpiry
            | Self::ExpectedEol => Form::Text(date),
            Self::SlaTier => Form::Text(sla_tier),
            Self::Notes => Form::Text(notes),
            Self::MemoryGb => Form::Integer(1, MAX_MEMORY_GB),
            Self::Priority => Form::Integer(1, 10),
            Self::Tags => Form::Tags,
            Self::Model
            | Self::Architecture
            | Self::Serial
            | Self::Hostname
            | Self::RackId
            | Self::ClusterId
            | Self::Datacenter
            | Self::Region => Form::Text(name),
        }
    }

    /// Reads a JSON value; null is no value.
    pub fn of_json(self, value: Value) -> Result<Option<Content>, String> {
        match (self.form(), value) {
            (_, Value::Null) => Ok(None),
            (Form::Text(check), Value::String(text)) => {
                check(&text)?;
                Ok(Some(Content::Text(text)))
            }
            (Form::Text(_), other) => Err(format!("must be a string, not {}", kind(&other))),
            (Form::Integer(least, most), Value::Number(number)) => number
                .as_i64()
                .ok_or_else(|| "must be a whole number".to_owned())
                .and_then(|number| integer(number, least, most))
                .map(Some),
            (Form::Integer(..), other) => Err(format!("must be a number, not {}", kind(&other))),
            (Form::Tags, Value::Object(members)) => {
                let mut map = BTreeMap::new();
                for (key, value) in members {
                    let Value::String(value) = value else {
                        return Err(format!(
                            "tag {key:?} must be a string, not {}",
                            kind(&value)
                        ));
                    };
                    map.insert(key, value);
                }
                tags(map).map(Some)
            }
            (Form::Tags, other) => Err(format!("must be an object, not {}", kind(&other))),
        }
    }

    /// Reads the text of a CSV cell; an empty one is no value. Tags are a JSON object, or `name=value;name=value`.
    pub fn of_text(self, text: &str) -> Result<Option<Content>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        match self.form() {
            Form::Text(check) => {
                check(text)?;
                Ok(Some(Content::Text(text.to_owned())))
            }
            Form::Integer(least, most) => text
                .parse()
                .map_err(|_| format!("must be a whole number, not {}", shown(text)))
                .and_then(|number| integer(number, least, most))
                .map(Some),
            Form::Tags if text.starts_with('{') => serde_json::from_str(text)
                .map_err(|error| format!("is no JSON object: {error}"))
                .and_then(|value| self.of_json(value)),
            Form::Tags => text
                .split(';')
                .map(|tag| {
                    tag.split_once('=')
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .ok_or_else(|| format!("tag {} must be name=value", shown(tag)))
                })
                .collect::<Result<_, _>>()
                .and_then(tags)
                .map(Some),
        }
    }
}

/// What a field holds, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i32),
    /// Tags.
    Tags(BTreeMap<String, String>),
}

enum Form {
    Text(fn(&str) -> Result<(), String>),
    Integer(i32, i32),
    Tags,
}

fn integer(number: i64, least: i32, most: i32) -> Result<Content, String> {
    i32::try_from(number)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .map(Content::Integer)
        .ok_or_else(|| format!("must be {least} to {most}, not {number}"))
}

fn tags(tags: BTreeMap<String, String>) -> Result<Content, String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("has {} tags, at most {MAX_TAGS}", tags.len()));
    }
    for (key, value) in &tags {
        if key.is_empty() {
            return Err("a tag's name must not be empty".to_owned());
        }
        for text in [key, value] {
            if text.len() > MAX_TAG_BYTES {
                return Err(format!(
                    "tag {} is longer than {MAX_TAG_BYTES} bytes",
                    shown(key)
                ));
            }
            if text.chars().any(char::is_control) {
                return Err(format!("tag {} holds a control character", shown(key)));
            }
        }
    }
    Ok(Content::Tags(tags))
}

fn name(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.trim() != text {
        return Err("must not begin or end with a blank".to_owned());
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(format!(
            "has {} bytes, at most {MAX_NAME_BYTES}",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(())
}

fn notes(text: &str) -> Result<(), String> {
    if text.len() > MAX_NOTES_BYTES {
        return Err(format!(
            "has {} bytes, at most {MAX_NOTES_BYTES}",
            text.len()
        ));
    }
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err("must not hold control characters but line ends and tabs".to_owned());
    }
    Ok(())
}

/// The form in which NVIDIA's tools print it, in lower case: the same text is the key of every reading, so that another
/// spelling would never be found.
fn gpu_uuid(text: &str) -> Result<(), String> {
    let uuid = text
        .strip_prefix("GPU-")
        .or_else(|| text.strip_prefix("MIG-"));
    let is_uuid = uuid.is_some_and(|uuid| {
        uuid.len() == 36
            && uuid.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            })
    });
    if is_uuid {
        Ok(())
    } else {
        Err(format!(
            "must be GPU- or MIG- and a UUID in lower case, not {}",
            shown(text)
        ))
    }
}

fn compute_capability(text: &str) -> Result<(), String> {
    let is_number =
        |part: &str| matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((major, minor)) if is_number(major) && is_number(minor) => Ok(()),
        _ => Err(format!("must be like 9.0, not {}", shown(text))),
    }
}

fn pci_bus_id(text: &str) -> Result<(), String> {
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let is_id = match parts[..] {
        [domain, bus, device, function] => {
            matches!(domain.len(), 4 | 8)
                && (bus.len(), device.len(), function.len()) == (2, 2, 1)
                && [domain, bus, device, function].into_iter().all(hex)
                && text.matches(':').count() == 2
                && text.as_bytes()[text.len() - 2] == b'.'
        }
        _ => false,
    };
    if is_id {
        Ok(())
    } else {
        Err(format!(
            "must be like 00000000:3B:00.0, not {}",
            shown(text)
        ))
    }
}

fn date(text: &str) -> Result<(), String> {
    let date = text
        .parse::<Date>()
        .ok()
        // The parser also takes other forms of ISO 8601.
        .filter(|date| date.to_string() == text)
        .ok_or_else(|| format!("must be a date like 2026-02-11, not {}", shown(text)))?;
    if YEARS.contains(&date.year()) {
        Ok(())
    } else {
        Err(format!(
            "must be in {} to {}, not {text}",
            YEARS.start(),
            YEARS.end()
        ))
    }
}

fn sla_tier(text: &str) -> Result<(), String> {
    if matches!(text, "production" | "staging" | "development") {
        Ok(())
    } else {
        Err(format!(
            "must be production, staging or development, not {}",
            shown(text)
        ))
    }
}

/// Somebody's text in a message, quoted and of bounded length.
fn shown(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        format!("{text:?}")
    } else {
        let cut: String = text.chars().take(MOST).collect();
        format!("{cut:?}…")
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ok(field: Field, text: &str) {
        assert!(field.of_text(text).unwrap().is_some(), "{field:?} {text}");
    }

    fn bad(field: Field, text: &str) -> String {
        field.of_text(text).expect_err(text)
    }

    #[test]
    fn a_uuid_is_as_nvidia_prints_it() {
        ok(Field::GpuUuid, "GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11");
        ok(Field::GpuUuid, "MIG-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11");
        for text in [
            "8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11",
            "GPU-8F3C2A10-1B7E-4C55-9D20-6A1E0B7C4D11",
            "GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d1",
            "GPU-8f3c2a10x1b7e-4c55-9d20-6a1e0b7c4d11",
            "gpu-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11",
            " GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11",
        ] {
            assert!(bad(Field::GpuUuid, text).contains("lower case"));
        }
    }

    #[test]
    fn a_date_is_one_of_the_calendar_in_one_form() {
        ok(Field::WarrantyExpiry, "2024-02-29");
        for text in [
            "2023-02-29",
            "2024-13-01",
            "20240101",
            "2024-1-1",
            "01.01.2024",
            "2024-01-01T00:00:00",
            "+002024-01-01",
        ] {
            assert!(
                bad(Field::WarrantyExpiry, text).contains("must be a date"),
                "{text}"
            );
        }
        assert!(bad(Field::WarrantyExpiry, "0202-01-01").contains("1990 to 2199"));
    }

    #[test]
    fn numbers_tiers_and_addresses_are_within_their_limits() {
        for text in ["1", "10"] {
            ok(Field::Priority, text);
        }
        for text in ["0", "11", "-1", "5.0", "high", "99999999999999999999"] {
            bad(Field::Priority, text);
        }
        ok(Field::MemoryGb, "80");
        bad(Field::MemoryGb, "0");
        ok(Field::SlaTier, "production");
        assert!(bad(Field::SlaTier, "Production").contains("staging"));
        ok(Field::ComputeCapability, "10.3");
        for text in ["9", "9.", ".0", "9.0.0", "nine.0"] {
            bad(Field::ComputeCapability, text);
        }
        ok(Field::PciBusId, "00000000:3B:00.0");
        ok(Field::PciBusId, "0000:3b:00.0");
        for text in [
            "3B:00.0",
            "0000:3B:00:0",
            "0000.3B:00.0",
            "0000:3G:00.0",
            "0000:3B:00.00",
            "ä000:3B:00.0",
        ] {
            bad(Field::PciBusId, text);
        }
    }

    #[test]
    fn names_are_neither_blank_nor_long_nor_odd() {
        ok(Field::Model, "NVIDIA H100 80GB HBM3");
        for text in [" ", " x", "x ", "a\u{0}b", "a\nb"] {
            bad(Field::RackId, text);
        }
        bad(Field::RackId, &"x".repeat(MAX_NAME_BYTES + 1));
        ok(Field::Notes, "two\nlines");
        bad(Field::Notes, "a\u{0}b");
        bad(Field::Notes, &"x".repeat(MAX_NOTES_BYTES + 1));
    }

    #[test]
    fn tags_are_read_from_json_and_from_pairs() {
        let expected = Some(Content::Tags(BTreeMap::from([
            ("team".to_owned(), "vision".to_owned()),
            ("slot".to_owned(), "3".to_owned()),
        ])));
        assert_eq!(
            Field::Tags.of_text(r#"{"team":"vision","slot":"3"}"#),
            Ok(expected.clone())
        );
        assert_eq!(
            Field::Tags.of_text("team=vision;slot=3"),
            Ok(expected.clone())
        );
        assert_eq!(
            Field::Tags.of_json(json!({"team": "vision", "slot": "3"})),
            Ok(expected)
        );
        for text in ["team", "=x", "{\"a\":1}", "{", "{}x"] {
            bad(Field::Tags, text);
        }
        bad(Field::Tags, &format!("a={}", "x".repeat(MAX_TAG_BYTES + 1)));
        let many: Vec<String> = (0..=MAX_TAGS).map(|n| format!("t{n}=x")).collect();
        bad(Field::Tags, &many.join(";"));
    }

    #[test]
    fn a_json_value_has_its_fields_type() {
        assert_eq!(Field::RackId.of_json(Value::Null), Ok(None));
        assert!(Field::RackId.of_json(json!("")).is_err());
        for (field, value) in [
            (Field::RackId, json!(12)),
            (Field::Priority, json!("5")),
            (Field::Priority, json!(5.5)),
            (Field::Tags, json!([])),
            (Field::Tags, json!({"a": null})),
        ] {
            assert!(field.of_json(value).is_err(), "{field:?}");
        }
    }

    #[test]
    fn every_field_has_its_schemas_name() {
        let asset = schema::Asset {
            gpu_uuid: "u".to_owned(),
            model: "m".to_owned(),
            architecture: Some("x".to_owned()),
            compute_capability: Some("x".to_owned()),
            memory_gb: Some(1),
            serial: Some("x".to_owned()),
            hostname: Some("x".to_owned()),
            pci_bus_id: Some("x".to_owned()),
            rack_id: Some("x".to_owned()),
            cluster_id: Some("x".to_owned()),
            datacenter: Some("x".to_owned()),
            region: Some("x".to_owned()),
            purchase_date: Some("x".to_owned()),
            deployment_date: Some("x".to_owned()),
            warranty_expiry: Some("x".to_owned()),
            expected_eol: Some("x".to_owned()),
            sla_tier: schema::SlaTier::Staging,
            priority: 1,
            tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            notes: Some("x".to_owned()),
        };
        let json = serde_json::to_value(asset).unwrap();
        let names: Vec<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names, Field::ALL.map(Field::name));
        assert_eq!(Field::named("rack_id"), Some(Field::RackId));
        assert_eq!(Field::named("rack"), None);
    }
}
