//! The fields of a raw record that the schema knows, as one table that both readers go by: the fast one
//! ([`super::scan`]) and the thorough one ([`super::audit`]).

use schema::METRICS;

/// A JSON object with known fields. Others may be there too; nobody looks at them.
#[derive(Clone, Debug)]
pub struct Object {
    /// What the object is for.
    pub role: Role,
    /// At most 64, since a set of them is kept in one word.
    pub fields: Vec<Field>,
}

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Optional, like most.
    Plain,
    /// `gpu`, which must be there.
    Gpu,
    /// `metrics`, which must be there.
    Metrics,
}

/// A known field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its name as it begins a member: `"name":`.
    pub token: Box<str>,
    /// What its value looks like. Null is always allowed and means absent.
    pub shape: Shape,
}

/// The form of a value. Where it is blankable, a blank sentinel in its place means "no value".
#[derive(Clone, Debug)]
pub enum Shape {
    /// An object with known fields.
    Object(Object),
    /// A string that is kept for [`super::reading::Reading`].
    Kept(Keep),
    /// A string.
    Text {
        /// See [`Shape`].
        blankable: bool,
    },
    /// An array of strings.
    Texts {
        /// See [`Shape`].
        blankable: bool,
    },
    /// A metric, by its index in [`METRICS`]; blankable.
    Metric(u16),
    /// A number.
    Number,
    /// A number that is not negative; blankable.
    Count,
    /// An object whose members are all [`Shape::Count`]s.
    Counts,
    /// True or false.
    Bool,
    /// An integer of 32 bits.
    Unsigned {
        /// See [`Shape`].
        blankable: bool,
    },
    /// `collector.sequence`: an integer of 64 bits.
    Sequence,
    /// A name that only the pipeline gives; a raw record's is taken out.
    Reserved,
}

/// Which kept string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// `timestamp`
    Timestamp,
    /// `gpu.gpu_uuid`; a blank sentinel counts as absent.
    GpuUuid,
    /// `gpu.name`; blankable.
    ModelName,
    /// `collector.boot_id`
    BootId,
}

/// Top-level names that this and later stages add. A record that brings one would have it twice.
pub const RESERVED: [&str; 5] = [
    "validation_timestamp",
    "validation_version",
    "quality_flags",
    "asset_status",
    "asset",
];

const TEXT: Shape = Shape::Text { blankable: false };
const GPU_TEXT: Shape = Shape::Text { blankable: true };

impl Object {
    /// A raw record ([`schema::MetricEvent`]).
    pub fn record() -> Self {
        let mut fields = vec![
            field("schema_version", TEXT),
            field("event_type", TEXT),
            field("timestamp", Shape::Kept(Keep::Timestamp)),
            field("collection_timestamp", TEXT),
            field("processing_timestamp", TEXT),
            field("gpu", Shape::Object(gpu())),
            object(
                "host",
                ["hostname", "cluster", "rack", "datacenter"]
                    .map(|name| field(name, TEXT))
                    .into(),
            ),
            field("metrics", Shape::Object(metrics())),
            object(
                "quality",
                vec![
                    field("collection_latency_ms", Shape::Number),
                    field("stale", Shape::Bool),
                    field("sample_count", Shape::Unsigned { blankable: false }),
                    field("error", TEXT),
                    field("blank_fields", Shape::Texts { blankable: false }),
                ],
            ),
            object(
                "workload",
                ["namespace", "pod", "container", "job_id", "user", "project"]
                    .map(|name| field(name, TEXT))
                    .into(),
            ),
            object(
                "collector",
                vec![
                    field("sequence", Shape::Sequence),
                    field("boot_id", Shape::Kept(Keep::BootId)),
                ],
            ),
        ];
        fields.extend(RESERVED.map(|name| field(name, Shape::Reserved)));
        Self {
            role: Role::Plain,
            fields,
        }
    }

    /// The index of the field called `name`. Looked for from `hint` on, since a producer writes its fields in the same
    /// order every time.
    #[inline]
    pub fn find(&self, name: &str, hint: usize) -> Option<usize> {
        let (before, after) = self.fields.split_at(hint.min(self.fields.len()));
        if let Some(at) = after.iter().position(|field| field.name == name) {
            return Some(hint + at);
        }
        before.iter().position(|field| field.name == name)
    }
}

fn gpu() -> Object {
    let mut fields = vec![
        field("gpu_id", GPU_TEXT),
        field("gpu_uuid", Shape::Kept(Keep::GpuUuid)),
        field("device_index", Shape::Unsigned { blankable: true }),
        field("pci_bus_id", GPU_TEXT),
        field("name", Shape::Kept(Keep::ModelName)),
    ];
    fields.extend(
        [
            "architecture",
            "compute_capability",
            "serial",
            "driver_version",
            "vbios",
        ]
        .map(|name| field(name, GPU_TEXT)),
    );
    Object {
        role: Role::Gpu,
        fields,
    }
}

fn metrics() -> Object {
    let mut groups: Vec<Field> = Vec::new();
    for (index, metric) in (0_u16..).zip(METRICS) {
        if groups.last().is_none_or(|group| group.name != metric.group) {
            groups.push(object(metric.group, Vec::new()));
        }
        if let Some(Field {
            shape: Shape::Object(group),
            ..
        }) = groups.last_mut()
        {
            group.fields.push(field(metric.name, Shape::Metric(index)));
        }
    }
    for (group, extra) in [
        (
            "health",
            field("throttle_reasons_decoded", Shape::Texts { blankable: true }),
        ),
        (
            "memory",
            object(
                "bank_remap_avail",
                ["max", "high", "partial", "low", "none"]
                    .map(|name| field(name, Shape::Count))
                    .into(),
            ),
        ),
        ("errors", field("xid_counts", Shape::Counts)),
    ] {
        for found in &mut groups {
            if let Shape::Object(object) = &mut found.shape
                && found.name == group
            {
                object.fields.push(extra.clone());
            }
        }
    }
    Object {
        role: Role::Metrics,
        fields: groups,
    }
}

fn field(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        token: format!("\"{name}\":").into(),
        shape,
    }
}

fn object(name: &'static str, fields: Vec<Field>) -> Field {
    field(
        name,
        Shape::Object(Object {
            role: Role::Plain,
            fields,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn check(object: &Object, metrics: &mut BTreeSet<u16>) {
        assert!(object.fields.len() <= 64);
        let names: BTreeSet<_> = object.fields.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), object.fields.len(), "a name twice: {names:?}");
        for (index, field) in object.fields.iter().enumerate() {
            for hint in 0..=object.fields.len() {
                assert_eq!(object.find(field.name, hint), Some(index));
            }
            match &field.shape {
                Shape::Object(inner) => check(inner, metrics),
                Shape::Metric(index) => assert!(metrics.insert(*index)),
                _ => {}
            }
        }
        assert_eq!(object.find("no_such_field", 3), None);
    }

    #[test]
    fn every_metric_of_the_schema_has_its_place() {
        let mut metrics = BTreeSet::new();
        check(&Object::record(), &mut metrics);
        assert_eq!(metrics.len(), METRICS.len());
    }
}
